"""What a run assumes. Every assumption is a parameter, is shown by ``plan`` and is kept with the run."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from hashlib import blake2b
from typing import Any, Literal, Self

from bson import ObjectId

from confiido_booking.errors import Invalid
from confiido_booking.money import currency
from confiido_booking.times import milliseconds, zone

StalePending = Literal["cancel", "keep"]
MissingPrice = Literal["quarantine", "zero"]
LIVE_SESSIONS = 200  # finished sessions that stay in the client's document; older ones go to booking_archive


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The parameters of a run.

    ``timezone``: the zone of wall times. ``currency``: where none is stored. ``dollar``: what a bare ``$`` means.
    ``expert``: for records that name none. ``as_of``: the instant that tells past from future; a later ``apply`` of
    the same run uses the same. ``parameters``: a profile's own defaults, overridden.
    """

    profile: str = "confiido-flat"
    timezone: str = "Asia/Kolkata"
    currency: str = "INR"
    dollar: str | None = None
    expert: ObjectId | None = None
    stale_pending: StalePending = "cancel"
    missing_price: MissingPrice = "quarantine"
    as_of: datetime
    parameters: Mapping[str, str] = field(default_factory=dict)
    client: ObjectId | None = None
    limit: int | None = None

    def __post_init__(self) -> None:
        zone(self.timezone)
        currency(self.currency)
        if self.dollar is not None:
            currency(self.dollar, field="dollar")
        if self.stale_pending not in ("cancel", "keep") or self.missing_price not in ("quarantine", "zero"):
            raise Invalid("stale_pending is cancel or keep, missing_price is quarantine or zero")
        if self.as_of.tzinfo is None:
            raise Invalid("as_of needs an offset", code="invalid_time")
        object.__setattr__(self, "as_of", milliseconds(self.as_of))

    def stored(self) -> dict[str, Any]:
        """As a run keeps them."""
        return {item.name: getattr(self, item.name) for item in fields(self) if getattr(self, item.name) is not None}

    @classmethod
    def restored(cls, stored: Mapping[str, Any]) -> Self:
        return cls(**stored)


def derived_id(*parts: object) -> ObjectId:
    """An id that follows from what it names, so that reruns agree (HISTORY 18)."""
    return ObjectId(blake2b("\x1f".join(map(str, parts)).encode("utf-8", "replace"), digest_size=12).digest())


def derived_claim_id(session_id: ObjectId, attempt: int = 0) -> ObjectId:
    """A claim's id. Its birth lies in the far future, so that a fence against it is never pruned."""
    return ObjectId(b"\xff\xff\xff\xff" + blake2b(f"claim {session_id} {attempt}".encode(), digest_size=8).digest())


_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def derived_reference(client_id: ObjectId) -> str:
    """A booking reference in the form of ``ids.new_reference``."""
    bits = int.from_bytes(blake2b(b"reference" + client_id.binary, digest_size=8).digest())
    letters = "".join(_ALPHABET[bits >> 5 * place & 31] for place in range(10))
    return f"CB-{letters[:5]}-{letters[5:]}"
