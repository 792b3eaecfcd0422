"""What every answer looks like (SPEC 8), and the writer of its JSON.

Success: ``{"success": true, "message"?, "data"?}``. Refusal: ``{"success": false, "error", "code", "details"?,
"errors"?}``; ``error`` is always a sentence, because frontends show it as it is.
"""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from functools import lru_cache

import orjson
from bson import Decimal128, ObjectId
from starlette.responses import Response

from confiido_booking.money import number


def _plain(value: object) -> object:
    """The JSON of what the store gives: ids as hex, instants in UTC with milliseconds, money as a number."""
    if isinstance(value, ObjectId):
        return str(value)
    if isinstance(value, datetime):  # of UTC, as the library and the store give them: the zone's name is not asked for
        return value.replace(tzinfo=None).isoformat("T", "milliseconds") + "Z"
    if isinstance(value, Decimal128):
        return _amount(value.bid)
    if isinstance(value, Decimal):
        return number(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


@lru_cache(maxsize=4096)
def _amount(bid: bytes) -> int | float:
    """A document names the same few prices again and again; decoding one takes longer than all the rest of it."""
    return number(Decimal128.from_bid(bid))


def to_json(content: object) -> bytes:
    return orjson.dumps(content, default=_plain, option=orjson.OPT_PASSTHROUGH_DATETIME)


class Answer(Response):
    """A JSON answer of plain values and of the store's own (ObjectId, Decimal128, aware UTC datetime)."""

    media_type = "application/json"

    def render(self, content: object) -> bytes:
        return to_json(content)


def success(
    data: object = None, message: str | None = None, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> Answer:
    content: dict[str, object] = {"success": True}
    if message is not None:
        content["message"] = message
    if data is not None:
        content["data"] = data
    return Answer(content, status_code=status, headers=headers)


def refusal(
    status: int,
    error: str,
    code: str,
    *,
    details: Mapping[str, object] | None = None,
    errors: list[dict[str, str]] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    content: dict[str, object] = {"success": False, "error": error, "code": code}
    if details:
        content["details"] = details
    if errors:
        content["errors"] = errors
    return Answer(content, status_code=status, headers=headers)
