"""The ledger: the only way money comes onto a session or an invoice, and off it again (MONEY, The ledger; L7).

Every method is repeatable: an entry is applied once, however often it is told and in whatever order. What a process
that died left half done is finished by whoever meets it 30 s later, the worker and the doctor first of all.
"""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Protocol

from bson import ObjectId

from confiido_booking.actors import Actor
from confiido_booking.bookings.context import Context
from confiido_booking.ledger.models import DisputeState, Entry, EntryState, Place, Target


@dataclass(frozen=True, slots=True, kw_only=True)
class Owed:
    """What is left to pay of a session, an order or an invoice, and whose it is."""

    target: Target
    amount: Decimal
    currency: str
    client_id: ObjectId | None
    booking_id: ObjectId | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RefundAnswer:
    """What a provider said to a refund: ``settled``, ``pending`` (it will tell later), or ``failed`` for good."""

    state: EntryState
    provider_refund_id: str | None = None
    reason: str | None = None


class Provider(Protocol):
    """Who moves the money, as the ledger needs them. ``manual`` and ``opening`` need nobody."""

    @property
    def name(self) -> str: ...

    async def refund(
        self, *, refund_id: ObjectId, provider_payment_id: str, amount: Decimal, currency: str
    ) -> RefundAnswer:
        """Pay back. ``refund_id`` is the idempotency key: asked again with it, nothing more is paid.

        Raises:
            Unavailable: nobody knows whether it was done; the ledger asks again later.
        """
        ...


@dataclass(frozen=True, slots=True)
class Ledger:
    """``confiido.ledger``."""

    context: Context

    async def owed(self, to: Place, id: ObjectId, *, actor: Actor) -> Owed:
        """What an attempt to pay for this is of; a client's own only.

        Raises:
            NotFound: ``session_not_found``, ``order_not_found``, ``invoice_not_found``.
            Conflict: ``already_paid``, or its state, as of :meth:`paid`.
        """
        raise NotImplementedError

    async def open(
        self,
        owed: Owed,
        *,
        provider: str,
        provider_order_id: str,
        actor: Actor,
        id: ObjectId | None = None,
        method: str | None = None,
    ) -> Entry:
        """Note an attempt: the provider has been asked for so much. ``id``: of the entry, where the caller chose it."""
        raise NotImplementedError

    async def attempts(self, owed: Owed, *, provider: str) -> list[Entry]:
        """The open attempts of exactly this amount, the latest first; to be answered again instead of a new one."""
        raise NotImplementedError

    async def by_order(self, provider: str, provider_order_id: str) -> Entry | None:
        """The attempt that the provider knows by this order (Razorpay), session or intent (Stripe)."""
        raise NotImplementedError

    async def captured(
        self,
        *,
        provider: str,
        provider_payment_id: str,
        provider_order_id: str | None = None,
        amount: Decimal,
        currency: str,
        method: str | None = None,
        at: datetime | None = None,
    ) -> Entry:
        """A verified payment: makes its attempt's entry captured and places the money, once.

        What has no attempt, comes too late, is too much or in another currency is kept as unplaced, with the reason;
        never refused.
        """
        raise NotImplementedError

    async def failed(
        self,
        *,
        provider: str,
        provider_payment_id: str,
        provider_order_id: str | None = None,
        reason: str | None = None,
        at: datetime | None = None,
    ) -> Entry | None:
        """The attempt came to nothing, unless it has succeeded meanwhile. None: there is no such attempt."""
        raise NotImplementedError

    async def refund_settled(
        self,
        *,
        provider: str,
        provider_refund_id: str,
        provider_payment_id: str,
        amount: Decimal,
        currency: str,
        refund_id: ObjectId | None = None,
        at: datetime | None = None,
    ) -> Entry:
        """The provider has paid back. ``refund_id``: ours, where it was asked for by us; one that the provider's own
        dashboard made becomes an entry too. What comes before its payment waits for it."""
        raise NotImplementedError

    async def refund_failed(
        self,
        *,
        provider: str,
        provider_refund_id: str,
        refund_id: ObjectId | None = None,
        reason: str | None = None,
        at: datetime | None = None,
    ) -> Entry | None:
        """The provider will not pay back: what was reserved for it is released."""
        raise NotImplementedError

    async def disputed(
        self,
        *,
        provider: str,
        provider_dispute_id: str,
        provider_payment_id: str,
        amount: Decimal,
        currency: str,
        outcome: DisputeState,
        at: datetime | None = None,
    ) -> Entry | None:
        """A dispute of a payment: while open nothing of it is refunded; lost, it is a chargeback and owed again.

        Returns the payment, or the chargeback; None while the payment has not come.
        """
        raise NotImplementedError
