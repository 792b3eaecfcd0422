"""What this library asks of a payment provider, and what providers tell, in words that belong to none of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Literal, Protocol

from pydantic import ConfigDict, Field

from confiido_booking.database.documents import Embedded, Instant
from confiido_booking.errors import Unavailable
from confiido_booking.ids import Id
from confiido_booking.ledger.models import DisputeState, EntryState
from confiido_booking.ledger.providers import Provider as Refunder
from confiido_booking.money import Money

TIMEOUT_SECONDS = 10.0


class ProviderName(StrEnum):
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


class _Fact(Embedded):
    """One thing a provider tells of one of its payments. Stored with its event until it has been worked in."""

    model_config = ConfigDict(frozen=True)

    payment_id: str
    at: Instant


class Captured(_Fact):
    """The money is there."""

    kind: Literal["captured"] = "captured"
    order_id: str | None = None
    amount: Money
    currency: str
    method: str | None = None


class Failed(_Fact):
    """A try that brought nothing; the same order may still be paid."""

    kind: Literal["failed"] = "failed"
    order_id: str | None = None


class Refunded(_Fact):
    """``state``: settled, failed or pending. ``key``: our own refund's id, where it was we who asked for it."""

    kind: Literal["refunded"] = "refunded"
    refund_id: str
    amount: Money
    currency: str
    state: EntryState
    key: Id | None = None


class Disputed(_Fact):
    kind: Literal["disputed"] = "disputed"
    dispute_id: str
    amount: Money
    currency: str
    state: DisputeState


Fact = Annotated[Captured | Failed | Refunded | Disputed, Field(discriminator="kind")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One verified webhook. ``event_id`` is the same for every delivery of it; no facts: nothing that concerns us."""

    event_id: str
    type: str
    facts: tuple[Fact, ...]


class Provider(Refunder, Protocol):
    """One way to be paid: open an order, believe what comes back, read a webhook, pay back.

    Whatever reaches out gives up in time, and raises Unavailable ``provider_unavailable`` where the provider does not
    answer or is in trouble: what was asked for may or may not have been done, and is asked for again under the same
    key. Invalid ``provider_refused`` is its no.
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

    async def close(self) -> None:
        """Let go of its connections."""
        ...


def not_configured(what: str) -> Unavailable:
    return Unavailable(f"{what} is not configured", code="provider_not_configured")


def unavailable(name: str) -> Unavailable:
    return Unavailable(f"{name} does not answer; please try again", code="provider_unavailable")
