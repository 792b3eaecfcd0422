"""Attempts to pay, and what comes of them.

An attempt is an entry of the ledger with the order that the provider opened for it. Its amount is what is owed when it
is opened; what a caller says it is, is only ever compared with that.
"""

import hashlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import IO

from bson import ObjectId

from confiido_booking.actors import Actor, Role
from confiido_booking.bookings.context import Context
from confiido_booking.bookings.workflow import within_deadline
from confiido_booking.errors import NotAllowed, NotFound, wrong_field
from confiido_booking.ledger.models import COLLECTION, Entry, EntryKind, Place
from confiido_booking.ledger.service import Ledger, Owed
from confiido_booking.payments import listing
from confiido_booking.payments.events import ProviderEvents
from confiido_booking.payments.listing import PaymentFilter, PaymentPage, TransactionStats, TransactionStatus
from confiido_booking.payments.provider import Checkout, Provider, ProviderName, Wanted
from confiido_booking.payments.providers import Providers
from confiido_booking.payments.reconciliation import Difference, Reconciliation


@dataclass(frozen=True, slots=True)
class Opened:
    """An attempt, and what a frontend needs to let somebody pay it."""

    entry: Entry
    checkout: Checkout


@dataclass(frozen=True, slots=True)
class Payments:
    """``confiido.payments``."""

    context: Context
    ledger: Ledger
    providers: Providers

    @property
    def events(self) -> ProviderEvents:
        return ProviderEvents(self.context, self.ledger)

    @within_deadline
    async def open(
        self,
        *,
        actor: Actor,
        provider: ProviderName,
        to: Place | None,
        id: ObjectId,
        amount: Decimal | None = None,
        currency: str | None = None,
        receipt: str | None = None,
    ) -> Opened:
        """Open an attempt over all that is owed for a session, an order or an invoice; client (own), admin.

        ``to`` None: ``id`` is a session's or, where there is no such session, an order's.

        An attempt that is open over the same amount is given again. ``amount`` and ``currency``: what the caller
        believes to owe.

        Raises:
            NotFound, Conflict: as of :meth:`Ledger.owed`; also ``already_paid``.
            Invalid: ``amount_mismatch``, ``amount_not_chargeable``, ``provider_refused``.
            Unavailable: ``provider_not_configured``, ``provider_unavailable``. Nothing has changed, and the next try
                asks under the same key.
        """
        owed = await self._owed(to, id, actor)
        if actor.role not in (Role.CLIENT, Role.ADMIN):
            raise NotAllowed("Only the client can pay for this")
        _compare(owed, amount, currency)
        side = self.providers.named(provider)
        attempt_id = await self._next_id(owed, provider)  # before the look for others: none comes to be in between
        for entry in await self.ledger.attempts(owed, provider=provider):
            again = await self._again(side, entry, receipt)
            if again is not None:
                return again
        wanted = _wanted(attempt_id, owed, receipt)
        checkout = await side.open(wanted)
        entry = await self.ledger.open(
            owed, provider=provider, provider_order_id=checkout.order_id, actor=actor, id=attempt_id
        )
        if entry.provider_order_id != checkout.order_id:  # another caller was first; nobody can know of this order
            return await self._again(side, entry, receipt) or Opened(entry, checkout)
        return Opened(entry, checkout)

    @within_deadline
    async def verify(self, *, actor: Actor, provider: ProviderName, returned: Mapping[str, str]) -> Entry:
        """Believe what the client's browser brought back from the provider, if the provider vouches for it.

        Its webhook may have come before or comes later: one payment is one entry.

        Raises:
            PaymentNotVerified; NotFound ``payment_not_found``: no attempt of this client's.
        """
        if actor.role is not Role.CLIENT:
            raise NotAllowed("Only the client can verify a payment")
        vouched = await self.providers.named(provider).verify(returned)
        attempt = await self.ledger.by_order(provider, vouched.order_id)
        if attempt is None or attempt.client_id != actor.id:
            raise NotFound("Payment not found", code="payment_not_found")
        return await self.ledger.captured(
            provider=provider,
            provider_payment_id=vouched.payment_id,
            provider_order_id=vouched.order_id,
            amount=attempt.amount,
            currency=attempt.currency,
        )

    @within_deadline
    async def receive(self, provider: ProviderName, raw: bytes, headers: Mapping[str, str]) -> None:
        """A webhook's raw bytes. ``headers`` by lower-case name. Repeatable, and in any order.

        Raises:
            InvalidSignature; MalformedEvent; Unavailable ``provider_not_configured``.
        """
        told = self.providers.named(provider).told(raw, headers, self.context.clock())
        if told.facts:
            await self.events.receive(provider, told)

    async def list(
        self,
        *,
        actor: Actor,
        filters: PaymentFilter | None = None,
        page: int = 1,
        limit: int = 20,
        cursor: str | None = None,
    ) -> PaymentPage:
        """All entries of the ledger, the latest first; admin."""
        return await listing.entries(
            self.context, actor, filters or PaymentFilter(), page=page, limit=limit, cursor=cursor
        )

    async def transactions(
        self, *, actor: Actor, status: TransactionStatus | None = None, page: int = 1, limit: int = 20
    ) -> tuple[PaymentPage, TransactionStats]:
        """The client's own payments, the latest first, and what all of them come to."""
        return await listing.transactions(self.context, actor, status, page=page, limit=limit)

    def reconcile(
        self, file: IO[str], *, from_: datetime | None = None, to: datetime | None = None
    ) -> AsyncIterator[Difference]:
        """Every difference between a settlement (docs/payments.md), the ledger, the sessions and the invoices.

        ``file``: open as text, ``newline=""``. ``from_``/``to``: of which entries it should tell; default: from its
        first instant to its last. Reads only; one difference at a time.

        Raises:
            Invalid: ``invalid_settlement``.
        """
        return Reconciliation(self.context.store, from_, to).compare(file)

    async def finish(self) -> int:
        """What the worker does: work in the events that are not. How many were."""
        return await self.events.finish()

    async def forget(self) -> int:
        """What the worker does: remove events that were done long ago. How many there were."""
        return await self.events.forget()

    async def _owed(self, to: Place | None, id: ObjectId, actor: Actor) -> Owed:
        if to is not None:
            return await self.ledger.owed(to, id, actor=actor)
        try:
            return await self.ledger.owed(Place.SESSION, id, actor=actor)
        except NotFound as no_session:
            try:
                return await self.ledger.owed(Place.ORDER, id, actor=actor)
            except NotFound:
                raise no_session from None

    async def _again(self, side: Provider, entry: Entry, receipt: str | None) -> Opened | None:
        if entry.provider_order_id is None:
            return None
        wanted = Wanted(
            key=str(entry.id), amount=entry.amount, currency=entry.currency, receipt=receipt or str(entry.id)
        )
        checkout = await side.again(entry.provider_order_id, wanted, entry.created_at)
        return Opened(entry, checkout) if checkout is not None else None

    async def _next_id(self, owed: Owed, provider: ProviderName) -> ObjectId:
        """The same for all who try at once, and for one who tries again: it is the provider's idempotency key."""
        before = await self.context.store.count(
            "count attempts", COLLECTION, {"target.id": owed.target.id, "kind": EntryKind.PAYMENT.value}
        )
        parts = (owed.target.to, owed.target.id, provider, owed.currency, f"{owed.amount:f}", before)
        return ObjectId(hashlib.sha256("\n".join(map(str, parts)).encode()).digest()[:12])


def _wanted(attempt_id: ObjectId, owed: Owed, receipt: str | None) -> Wanted:
    notes = {"payment_id": str(attempt_id), f"{owed.target.to}_id": str(owed.target.id)}
    return Wanted(
        key=str(attempt_id),
        amount=owed.amount,
        currency=owed.currency,
        receipt=receipt or str(attempt_id),
        notes=notes,
    )


def _compare(owed: Owed, amount: Decimal | None, currency: str | None) -> None:
    if currency is not None and currency != owed.currency:
        raise wrong_field("currency", f"is not the one to pay in, {owed.currency}", "currency_mismatch")
    if amount is not None and amount != owed.amount:
        raise wrong_field("amount", "is not what is outstanding", "amount_mismatch")
