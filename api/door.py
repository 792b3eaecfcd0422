"""The door every guarded route stands behind: identity, then body, then idempotency, then the route itself."""

import re
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Annotated, Any, cast

from fastapi import APIRouter, Depends, Header
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer
from starlette.requests import Request
from starlette.responses import Response

from api import body, idempotency
from api.errors import answer_to, expected
from confiido_booking.actors import Actor
from confiido_booking.client import Confiido
from confiido_booking.errors import BookingError, FieldError, Invalid, NotAuthenticated
from confiido_booking.idempotency import digest

_READING = {"GET", "HEAD", "OPTIONS"}
_ETAG = re.compile(r'(?:W/)?"[\x21\x23-\x7e]*"')
_OURS = re.compile(r'"([0-9]{1,9})"', re.ASCII)
NEVER = -1  # a version no session has


class Door(APIRoute):
    """A route for callers who are known. The routers of ``api/routes`` are made with it."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        route = super().get_route_handler()
        writes = not (self.methods or set()) <= _READING
        field = self.body_field
        required = field is not None and field.field_info.is_required()

        async def through(request: Request) -> Response:
            confiido = library(request)
            actor = request.state.actor = await self._who(request, confiido)
            _refuse_nul(request)
            raw = b""
            if field is not None:
                request = await body.read(request, limit=confiido.settings.max_body_bytes, required=required)
                raw = await request.body()
            key = idempotency.request_key(request, actor) if writes and actor is not None else None
            request.state.request_key = None
            if key is None:
                return await route(request)
            request.state.request_key = digest(key, idempotency.fingerprint(request, raw))
            return await idempotency.once(confiido.idempotency, key, request, raw, lambda: _answered(route, request))

        return through

    async def _who(self, request: Request, confiido: Confiido) -> Actor | None:
        """The caller. Raises NotAuthenticated."""
        return await _identified(request, confiido)


class OpenDoor(Door):
    """A route for everybody, with or without a token; one that is no good is refused all the same."""

    async def _who(self, request: Request, confiido: Confiido) -> Actor | None:
        if "authorization" not in request.headers:
            return None
        return await super()._who(request, confiido)


_BEARER = HTTPBearer(
    auto_error=False, bearerFormat="JWT", description="HS256, RS256 or ES256; `sub`, `role` and `exp` are required"
)


def router(tag: str, prefix: str = "") -> APIRouter:
    """A router whose routes all stand behind the door."""
    return APIRouter(prefix=prefix, tags=[tag], route_class=Door, dependencies=[Depends(_BEARER)])


def open_router(tag: str, prefix: str = "") -> APIRouter:
    """A router whose routes need no token."""
    return APIRouter(prefix=prefix, tags=[tag], route_class=OpenDoor)


async def _answered(route: Callable[[Request], Coroutine[Any, Any, Response]], request: Request) -> Response:
    """The route's answer, its refusals included: they are answers to be kept like any other."""
    try:
        return await route(request)
    except Exception as error:
        refused = expected(error)
        if refused is None:
            raise
        return answer_to(refused)


def library(request: Request) -> Confiido:
    return cast(Confiido, request.app.state.confiido)


async def _identified(request: Request, confiido: Confiido) -> Actor:
    caller = getattr(request.state, "caller", None)
    if isinstance(caller, Actor):
        return await confiido.customers.identify(await confiido.experts.identify(caller))
    raise caller if isinstance(caller, BookingError) else NotAuthenticated()


def _refuse_nul(request: Request) -> None:
    if "\0" in request.url.path or "%00" in request.scope["query_string"].decode("latin-1"):
        raise Invalid("A text holds a character that cannot be stored", code="invalid_text")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, and the library that answers."""

    confiido: Confiido
    actor: Actor


@dataclass(frozen=True, slots=True)
class Writer(Caller):
    """Who commands, and how: under which key, on which version, with how much of an answer."""

    request_key: str | None
    if_version: int | None
    minimal: bool


async def _caller(request: Request) -> Caller:
    return Caller(library(request), request.state.actor)


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who looks at what is open to everybody; ``actor`` None: nobody known."""

    confiido: Confiido
    actor: Actor | None


async def _visitor(request: Request) -> Visitor:
    return Visitor(library(request), request.state.actor)


async def _writer(
    request: Request,
    idempotency_key: Annotated[
        str | None, Header(description="1 to 255 visible ASCII characters; repeating it repeats the first answer")
    ] = None,
    prefer: Annotated[
        str | None, Header(description="`return=minimal` leaves the sessions out of `data.booking`")
    ] = None,
) -> Writer:
    return Writer(library(request), request.state.actor, request.state.request_key, None, _wants_minimal(prefer))


async def _session_writer(
    writer: Annotated[Writer, Depends(_writer)],
    if_match: Annotated[
        str | None, Header(description="The `ETag` of the session as it was read; 412 when it has changed since")
    ] = None,
) -> Writer:
    return Writer(writer.confiido, writer.actor, writer.request_key, version_in(if_match), writer.minimal)


Visiting = Annotated[Visitor, Depends(_visitor)]
Asking = Annotated[Caller, Depends(_caller)]
Writing = Annotated[Writer, Depends(_writer)]
WritingSession = Annotated[Writer, Depends(_session_writer)]


def version_in(if_match: str | None) -> int | None:
    """The version an ``If-Match`` names; None for no header or ``*``, NEVER for a tag that is not one of ours.

    Raises:
        Invalid: ``invalid_if_match`` for anything but one entity tag.
    """
    if if_match is None or if_match.strip() == "*":
        return None
    if not _ETAG.fullmatch(if_match.strip()):
        wrong = FieldError("If-Match", "must be one entity tag", "header")
        raise Invalid("If-Match must be one entity tag", code="invalid_if_match", errors=[wrong])
    ours = _OURS.fullmatch(if_match.strip())
    return int(ours[1]) if ours else NEVER


def _wants_minimal(prefer: str | None) -> bool:
    return any(part.strip().lower().replace('"', "") == "return=minimal" for part in (prefer or "").split(","))
