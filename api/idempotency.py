"""``Idempotency-Key``: the same key and body get the first answer again (SPEC 8)."""

import contextlib
import re
from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response

from api.envelope import Answer
from confiido_booking.actors import Actor
from confiido_booking.errors import FieldError, Invalid, Unavailable
from confiido_booking.idempotency import IdempotencyKeys, KeptAnswer, digest

HEADER = "Idempotency-Key"
_KEY = re.compile(r"[\x21-\x7e]{1,255}", re.ASCII)
_KEPT_HEADERS = ("etag", "preference-applied")


def request_key(request: Request, actor: Actor) -> str | None:
    """What the library knows the command by: caller and key as one hash; None where no key was sent.

    Raises:
        Invalid: ``invalid_idempotency_key``.
    """
    given = request.headers.get(HEADER)
    if given is None:
        return None
    if not _KEY.fullmatch(given):
        message = "must be 1 to 255 visible ASCII characters"
        raise Invalid(
            f"{HEADER} {message}", code="invalid_idempotency_key", errors=[FieldError(HEADER, message, "header")]
        )
    return digest(actor.role.value, str(actor.id), given)


def fingerprint(request: Request, raw: bytes) -> str:
    """What was asked for: under a key that is older than a day, something else is another command."""
    return digest(request.method, request.url.path + "?" + request.url.query, raw)


async def once(
    keys: IdempotencyKeys, key: str, request: Request, raw: bytes, run: Callable[[], Awaitable[Response]]
) -> Response:
    """Answer as the first request with this key was answered, or run it and keep its answer.

    An answer of 5xx, or one that says to try again, is not final: the key is freed. Where the answer cannot be kept it
    is given all the same; the key is then taken over after a minute, and the command finds its own effect.
    """
    begun = await keys.begin(key, fingerprint(request, raw))
    if isinstance(begun, KeptAnswer):
        headers = {**begun.headers, "Idempotency-Replayed": "true"}
        return Response(begun.body, begun.status, headers, media_type=Answer.media_type)
    try:
        response = await run()
    except Exception:
        with contextlib.suppress(Unavailable):
            await keys.free(begun)
        raise
    with contextlib.suppress(Unavailable):
        if response.status_code >= 500 or "retry-after" in response.headers:
            await keys.free(begun)
        else:
            kept = {name: response.headers[name] for name in _KEPT_HEADERS if name in response.headers}
            await keys.finish(begun, KeptAnswer(response.status_code, bytes(response.body), kept))
    return response
