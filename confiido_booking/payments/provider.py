"""What this library asks of a payment provider, and what providers tell, in words that belong to none of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Protocol

from confiido_booking.errors import Unavailable

TIMEOUT_SECONDS = 10.0


class ProviderName(StrEnum):
    MANUAL = "manual"
    RAZORPAY = "razorpay"
    STRIPE = "stripe"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """An amount that somebody is to pay. ``key`` names the attempt for ever: asked for again it is the same one."""

    key: str
    amount: Decimal
    currency: str
    receipt: str
    notes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Checkout:
    """What a frontend needs to let somebody pay: the provider's own fields, amounts in its minor units."""

    order_id: str
    fields: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Returned:
    """A payment that a frontend brought back and the provider vouches for."""

    order_id: str
    payment_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RefundWanted:
    """Money to be paid back. ``key`` is the refund's own id, and the provider's idempotency key."""

    key: str
    payment_id: str
    amount: Decimal
    currency: str


class RefundState(StrEnum):
    PENDING = "pending"
    SETTLED = "settled"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class RefundMade:
    """``refund_id`` is the provider's; None where nobody but us keeps books."""

    refund_id: str | None
    state: RefundState


class DisputeState(StrEnum):
    OPEN = "open"
    WON = "won"
    LOST = "lost"


@dataclass(frozen=True, slots=True, kw_only=True)
class Captured:
    """The money is there."""

    payment_id: str
    order_id: str | None
    amount: Decimal
    currency: str
    method: str | None
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """A try that brought nothing; the same order may still be paid."""

    payment_id: str
    order_id: str | None
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Refunded:
    """``key``: our own refund's id where it was we who asked for it."""

    refund_id: str
    payment_id: str
    amount: Decimal
    currency: str
    state: RefundState
    key: str | None
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Disputed:
    dispute_id: str
    payment_id: str
    amount: Decimal
    currency: str
    state: DisputeState
    at: datetime


Fact = Captured | Failed | Refunded | Disputed


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One verified webhook. ``event_id`` is the same for every delivery of it; no facts: nothing that concerns us."""

    event_id: str
    type: str
    facts: tuple[Fact, ...]


class Provider(Protocol):
    """One way to be paid. Every call that reaches out gives up after ``TIMEOUT_SECONDS``.

    Raises, from every method that reaches out: Unavailable ``provider_unavailable`` where the provider does not answer
    or is in trouble: what was asked for may or may not have been done, and is asked for again under the same key;
    Invalid ``provider_refused`` where it says no.
    """

    async def open(self, wanted: Wanted) -> Checkout:
        """Raises also Invalid ``amount_not_chargeable``."""
        ...

    async def again(self, order_id: str, wanted: Wanted, opened_at: datetime) -> Checkout | None:
        """The checkout of an order that is open; None where nobody can pay it any more."""
        ...

    async def verify(self, returned: Mapping[str, str]) -> Returned:
        """What a frontend brought back from the provider. Raises PaymentNotVerified."""
        ...

    def told(self, raw: bytes, headers: Mapping[str, str], now: datetime) -> Told:
        """A webhook's raw bytes; ``headers`` by lower-case name.

        Raises:
            InvalidSignature: not the provider's, or too old to be believed.
            MalformedEvent: the provider's, but not what it documents.
        """
        ...

    async def refund(self, wanted: RefundWanted) -> RefundMade: ...

    async def close(self) -> None: ...


def not_configured(what: str) -> Unavailable:
    return Unavailable(f"{what} is not configured", code="provider_not_configured")


def unavailable(name: str) -> Unavailable:
    return Unavailable(f"{name} does not answer; please try again", code="provider_unavailable")
