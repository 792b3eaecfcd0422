"""The ledger: the only way money comes onto a session or an invoice, and off it again (MONEY, The ledger; L7).

Every method is repeatable: an entry is applied once, however often it is told and in whatever order. What a process
that died left half done is finished by whoever meets it 30 s later, the worker and the doctor first of all.
"""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from bson import ObjectId

from confiido_booking.actors import Actor, Role
from confiido_booking.billing import reading as invoices_reading
from confiido_booking.billing.rules import refuse_unless_open
from confiido_booking.bookings import cancelling, finding, guards, merging
from confiido_booking.bookings import rules as booking_rules
from confiido_booking.bookings.cancelling import Terms
from confiido_booking.bookings.statuses import SessionStatus
from confiido_booking.database.store import Document
from confiido_booking.errors import (
    BookingError,
    Conflict,
    NotAllowed,
    NotFound,
)
from confiido_booking.ledger import rules
from confiido_booking.ledger.incoming import Incoming
from confiido_booking.ledger.models import (
    OPENING,
    DisputeState,
    Entry,
    EntryKind,
    EntryState,
    Place,
    Target,
)
from confiido_booking.ledger.paying import Paying
from confiido_booking.ledger.refunding import Refunding
from confiido_booking.money import ZERO
from confiido_booking.orders.models import COLLECTION as ORDERS

_BATCH = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Owed:
    """What is left to pay of a session, an order or an invoice, and whose it is."""

    target: Target
    amount: Decimal
    currency: str
    client_id: ObjectId | None
    booking_id: ObjectId | None


@dataclass(frozen=True, slots=True)
class Ledger(Paying, Refunding):
    """``confiido.ledger``."""

    @property
    def incoming(self) -> Incoming:
        return Incoming(self.applying, self.refunds)

    async def cancellation(self, session_id: ObjectId, *, actor: Actor) -> Terms:
        """What a cancellation by this actor would give back now; the same rule as cancelling itself."""
        actor = await self.context.experts.identify(actor)
        found = await finding.find_session(self.context, session_id, actor, only_read=True)
        return cancelling.terms(found.raw_session, actor, self.context.clock())

    async def of_session(self, session_id: ObjectId, *, actor: Actor) -> list[Entry]:
        """The entries of a session, the first first. Its client, admin, service."""
        actor = await self.context.experts.identify(actor)
        found = await finding.find_session(self.context, session_id, actor, only_read=True)
        if actor.role is Role.EXPERT:
            raise NotAllowed("Not authorized to see the payments of this session")
        id_ = found.session_id
        return await self.entries.find({"$or": [{"target.id": id_}, {"allocations.id": id_}]})

    async def owed(self, to: Place, id: ObjectId, *, actor: Actor) -> Owed:
        """What an attempt to pay for this is of; a client's own only.

        Raises:
            NotFound: ``session_not_found``, ``order_not_found``, ``invoice_not_found``.
            Conflict: ``already_paid``, or its state, as of :meth:`paid`.
        """
        actor = await self.context.experts.identify(actor)
        if to is Place.INVOICE:
            return await self._owed_of_invoice(id, actor)
        if to is Place.ORDER:
            document = await self._ordered(id)
            sessions = [each for each in (document or {}).get("sessions", []) if each.get("orderId") == id]
        else:
            found = await finding.find_session(self.context, id, actor)
            document, sessions = found.document, [found.raw_session]
        if document is None or (actor.role is Role.CLIENT and document["clientId"] != actor.id):
            raise NotFound("Order not found", code="order_not_found")
        if actor.role is Role.EXPERT:
            raise booking_rules.not_allowed("pay")
        now = self.context.clock()
        payable = [each for each in sessions if rules.why_unpayable(each, actor, now) is None]
        if not payable:
            refusal = rules.why_unpayable(sessions[0], actor, now)
            raise refusal or Conflict("There is nothing left to pay", code="already_paid")
        return Owed(
            target=Target(to=to, id=sessions[0]["sessionId"] if to is Place.SESSION else id),
            amount=sum((rules.owed(each) for each in payable), ZERO),
            currency=payable[0]["currency"],
            client_id=document["clientId"],
            booking_id=document["_id"],
        )

    async def _ordered(self, order_id: ObjectId) -> Document | None:
        """The document of the client whose order it is, where sessions of it are current."""
        store = self.context.store
        order = await store.find_one("read order", ORDERS, {"_id": order_id}, {"clientId": 1})
        if order is None:
            return None
        query = {**guards.of_client(order["clientId"]), "sessions.orderId": order_id}
        return await merging.followed(store, await store.find_one("read booking", "bookings", query))

    async def _owed_of_invoice(self, id: ObjectId, actor: Actor) -> Owed:
        stated = await invoices_reading.find(self.context, id, actor)
        refuse_unless_open(stated.invoice)
        if not stated.balance.outstanding:
            raise Conflict("There is nothing left to pay on this invoice", code="already_paid")
        return Owed(
            target=Target(to=Place.INVOICE, id=id),
            amount=stated.balance.outstanding,
            currency=stated.invoice.currency,
            client_id=stated.invoice.client_id,
            booking_id=stated.invoice.booking_id,
        )

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
        return await self.entries.insert(
            Entry(
                id=id or ObjectId(),
                kind=EntryKind.PAYMENT,
                state=EntryState.CREATED,
                provider=provider,
                provider_order_id=provider_order_id,
                method=method,
                amount=owed.amount,
                currency=owed.currency,
                client_id=owed.client_id,
                booking_id=owed.booking_id,
                target=owed.target,
                actor=actor.stamp(),
                created_at=self.context.clock(),
            )
        )

    async def attempts(self, owed: Owed, *, provider: str) -> list[Entry]:
        """The open attempts of exactly this amount, the latest first; to be answered again instead of a new one. One
        that failed is open still: its order can be paid by another try."""
        states = [EntryState.CREATED.value, EntryState.FAILED.value]
        wanted = {"target.id": owed.target.id, "provider": provider, "state": {"$in": states}}
        found = await self.entries.find(wanted, sort=(("createdAt", -1), ("_id", -1)))
        return [each for each in found if (each.amount, each.currency) == (owed.amount, owed.currency)]

    async def by_order(self, provider: str, provider_order_id: str) -> Entry | None:
        """The attempt that the provider knows by this order (Razorpay), session or intent (Stripe)."""
        return await self.entries.one({"providerOrderId": provider_order_id, "provider": provider})

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
        return await self.incoming.captured(
            provider=provider,
            provider_payment_id=provider_payment_id,
            provider_order_id=provider_order_id,
            amount=amount,
            currency=currency,
            method=method,
            at=at or self.context.clock(),
        )

    async def failed(
        self,
        *,
        provider: str,
        provider_payment_id: str,
        provider_order_id: str | None = None,
        reason: str | None = None,
    ) -> Entry | None:
        """The attempt came to nothing, unless it has succeeded meanwhile. None: there is no such attempt."""
        return await self.incoming.failed(
            provider=provider,
            provider_payment_id=provider_payment_id,
            provider_order_id=provider_order_id,
            reason=reason,
        )

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
        return await self.incoming.refund_settled(
            provider=provider,
            provider_refund_id=provider_refund_id,
            provider_payment_id=provider_payment_id,
            amount=amount,
            currency=currency,
            refund_id=refund_id,
            at=at or self.context.clock(),
        )

    async def refund_failed(
        self, *, provider: str, provider_refund_id: str, refund_id: ObjectId | None = None, reason: str | None = None
    ) -> Entry | None:
        """The provider will not pay back: what was reserved for it is released."""
        return await self.incoming.refund_failed(
            provider=provider, provider_refund_id=provider_refund_id, refund_id=refund_id, reason=reason
        )

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
    ) -> Entry:
        """A dispute of a payment: while open nothing of it is refunded; lost, it is a chargeback and owed again.

        Returns the dispute's entry. One that comes before its payment waits for it.
        """
        return await self.incoming.disputed(
            provider=provider,
            provider_dispute_id=provider_dispute_id,
            provider_payment_id=provider_payment_id,
            amount=amount,
            currency=currency,
            outcome=outcome,
            at=at or self.context.clock(),
        )

    async def settle(self) -> int:
        """Finish what processes that died have left for more than 30 s, and ask again for what a provider still owes
        an answer. For the worker and the doctor."""
        due = await self.entries.find({"dueAt": {"$lte": self.context.clock()}}, sort=(("dueAt", 1),), limit=_BATCH)
        for entry in due:
            await self.finish(entry)
        return len(due)

    async def finish(self, entry: Entry) -> None:
        """From wherever an entry stands to its end."""
        try:
            if entry.provider == OPENING:
                await self.applying.located(entry)
                await self.applying.opening_noted(entry)
            elif entry.kind is EntryKind.PAYMENT and entry.state is EntryState.FAILED:
                await self.incoming.note_failure(entry)
            elif entry.kind is EntryKind.PAYMENT:
                await self.applying.apply(entry, strict=entry.state is EntryState.CREATED)
            elif entry.state is EntryState.PENDING:
                await self.refunds.resume(entry)
            else:
                await self.incoming.follow(entry)
        except BookingError:
            pass  # refused: that is how it ended
        if (left := await self.entries.get(entry.id)) is not None and left.due_at == entry.due_at:
            await self.entries.postpone(left)

    async def pay_back_due(self) -> int:
        """CONFIIDO_AUTO_REFUND: pay back what cancellations have left due. How many sessions."""
        if not self.context.settings.auto_refund:
            return 0
        due = {"listing.status": SessionStatus.CANCELLED.value, "listing.refundable": True}
        paid_back = 0
        async for listed in self.context.store.walk("service_sessions", due, {"listing": 1}):
            session_id = listed["listing"]["sessionId"]
            try:
                await self.refund(session_id, actor=Actor.system(), reason="What the cancellation left due")
            except BookingError:
                continue  # disputed, or its provider is away
            paid_back += 1
        return paid_back
