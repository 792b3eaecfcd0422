"""Reading what a provider signed: strict, because the signature says who wrote it, not that it makes sense."""

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal

from bson import ObjectId

from confiido_booking.errors import MalformedEvent
from confiido_booking.payments.amounts import MinorUnits, NotAnAmount

_ID = re.compile(r"[A-Za-z0-9_-]{1,100}", re.ASCII)
_LAST_SECOND = 253_402_300_799  # of the year 9999

Part = Mapping[str, object]


def parsed(raw: bytes) -> Part:
    """The JSON object in ``raw``. Raises MalformedEvent."""
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError):
        raise MalformedEvent() from None
    if not isinstance(document, dict):
        raise MalformedEvent()
    return document


def part(of: Part, *names: str) -> Part:
    """The object at a path. Raises MalformedEvent."""
    for name in names:
        inner = of.get(name)
        if not isinstance(inner, dict):
            raise MalformedEvent(f"The event has no {name}")
        of = inner
    return of


def identifier(of: Part, name: str) -> str:
    """Raises MalformedEvent."""
    found = optional_identifier(of, name)
    if found is None:
        raise MalformedEvent(f"The event has no {name}")
    return found


def optional_identifier(of: Part, name: str) -> str | None:
    """Raises MalformedEvent for what is there and no identifier."""
    value = of.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or not _ID.fullmatch(value):
        raise MalformedEvent(f"The event's {name} is no identifier")
    return value


def our_id(of: object, name: str) -> ObjectId | None:
    """An id that we gave the provider along; None for anything else."""
    value = of.get(name) if isinstance(of, dict) else None
    return ObjectId(value) if isinstance(value, str) and ObjectId.is_valid(value) else None


def word(of: Part, name: str) -> str | None:
    """A short word of the provider's, or nothing."""
    value = of.get(name)
    return value if isinstance(value, str) and re.fullmatch(r"[a-z0-9_.-]{1,50}", value, re.ASCII) else None


def moment(of: Part, name: str) -> datetime:
    """Seconds since 1970. Raises MalformedEvent."""
    value = of.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _LAST_SECOND:
        raise MalformedEvent(f"The event's {name} is no time")
    return datetime.fromtimestamp(value, UTC)


def money(of: Part, name: str, units: MinorUnits) -> tuple[Decimal, str]:
    """The amount under ``name`` in the ``currency`` beside it. Raises MalformedEvent."""
    try:
        return units.read(of.get(name), of.get("currency"))
    except NotAnAmount as error:
        raise MalformedEvent(f"The event's {name} is {error}") from None
