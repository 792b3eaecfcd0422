"""The one reader of request bodies (SPEC 8).

A body that arrives at a route is a JSON object in UTF-8 whose numbers are exact decimals, and which holds nothing
the store could not keep: no NaN, no infinity, no integer over 64 bits, no lone surrogate, no NUL, no key twice.
"""

import json
from collections.abc import Iterable
from decimal import Decimal, InvalidOperation
from email.message import Message
from typing import Any

from starlette.requests import Request

from confiido_booking.errors import BookingError, Invalid, Malformed

MAX_DEPTH = 32
_MAX_DIGITS = 34  # Decimal128's; also bounds what any later conversion to an integer can cost
_MAX_EXPONENT = 308


class BodyTooLarge(BookingError):
    code = "body_too_large"
    sentence = "The body is too large"


class NotJson(BookingError):
    code = "unsupported_media_type"
    sentence = "Send the body as application/json in UTF-8"


class ReadRequest(Request):
    """A request whose body has been read, checked and parsed."""

    def __init__(self, request: Request, raw: bytes, document: dict[str, Any] | None) -> None:
        others = [header for header in request.scope["headers"] if header[0] != b"content-type"]
        headers = [*others, (b"content-type", b"application/json")]  # checked, or there was no body to have a type
        super().__init__({**request.scope, "headers": headers}, request.receive)
        self._raw = raw
        self._document = document

    async def body(self) -> bytes:
        return self._raw

    async def json(self) -> Any:
        return self._document


async def read(request: Request, *, limit: int, required: bool) -> ReadRequest:
    """Read the body, at most ``limit`` bytes of it whether or not its length was announced; none is an empty object.

    Raises:
        BodyTooLarge, NotJson, Malformed, Invalid.
    """
    raw = await received(request, limit)
    if not raw:
        return ReadRequest(request, b"{}", {}) if required else ReadRequest(request, b"", None)
    _check_content_type(request.headers.get("content-type", ""))
    return ReadRequest(request, raw, parse(raw))


def parse(raw: bytes) -> dict[str, Any]:
    """The object in ``raw``. Raises Malformed for what is no JSON, Invalid for JSON that cannot be kept."""
    try:
        document = json.loads(
            raw.decode("utf-8"),
            parse_float=_decimal,
            parse_int=_integer,
            parse_constant=_constant,
            object_pairs_hook=_object,
        )
    except RecursionError:
        raise _too_deep() from None
    except ValueError:  # JSONDecodeError and UnicodeDecodeError
        raise Malformed() from None
    if not isinstance(document, dict):
        raise Invalid("The body must be a JSON object", code="invalid_body")
    _check(document)
    return document


async def received(request: Request, limit: int) -> bytes:
    """The body as it came, at most ``limit`` bytes of it. Raises BodyTooLarge."""
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and (len(announced) > 18 or int(announced) > limit):
        raise BodyTooLarge()
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > limit:
            raise BodyTooLarge()
        parts.append(part)
    return b"".join(parts)


def _check_content_type(header: str) -> None:
    message = Message()
    message["content-type"] = header
    charset = message.get_param("charset", "utf-8")
    kind = message.get_content_type()
    is_json = kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json"))
    if not header or not is_json or str(charset).lower() not in ("utf-8", "utf8"):
        raise NotJson()


def _decimal(text: str) -> Decimal:
    try:
        number = Decimal(text)
    except InvalidOperation:  # an exponent beyond what a Decimal has
        raise _out_of_range() from None
    digits = number.as_tuple().digits
    if abs(number.adjusted()) > _MAX_EXPONENT or len(digits) > _MAX_DIGITS:
        raise _out_of_range()
    return number


def _integer(text: str) -> int:
    if len(text) > 20 or not -(2**63) <= (number := int(text)) < 2**63:
        raise _out_of_range()
    return number


def _constant(name: str) -> None:
    raise _out_of_range()


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) < len(pairs):
        raise Invalid("The body names the same key twice", code="duplicate_key")
    return document


def _check(document: dict[str, Any]) -> None:
    """Look through the whole document without recursion."""
    level: list[Any] = [document]
    for _ in range(MAX_DEPTH):
        level = [part for value in level for part in _parts(value)]
        if not level:
            return
    raise _too_deep()


def _parts(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        for key in value:
            _check_text(key)
        return value.values()
    if isinstance(value, list):
        return value
    if isinstance(value, str):
        _check_text(value)
    return ()


def _check_text(text: str) -> None:
    if "\0" in text or not _encodes(text):
        raise Invalid("A text holds a character that cannot be stored", code="invalid_text")


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _out_of_range() -> Invalid:
    return Invalid("A number is out of range", code="number_out_of_range")


def _too_deep() -> Invalid:
    return Invalid("The body is nested too deeply", code="too_deep")
