"""What providers tell of money: captured, failed, refunded, disputed; in any order, and as often as they like.

A payment's state only moves created < failed < captured < refunded. What is told of a payment before the payment itself
becomes an entry that waits for it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from bson import ObjectId

from confiido_booking.actors import Actor, Role
from confiido_booking.bookings.guards import fresh_key
from confiido_booking.database.store import Document, Duplicate
from confiido_booking.errors import Conflict
from confiido_booking.ledger import rules
from confiido_booking.ledger.applying import Applying
from confiido_booking.ledger.entries import ASK_AGAIN, FINISH_AFTER, Entries, event
from confiido_booking.ledger.locating import ATTEMPTS, CHANGING
from confiido_booking.ledger.models import (
    Allocation,
    DisputeState,
    Entry,
    EntryKind,
    EntryState,
    Place,
)
from confiido_booking.ledger.refunds import Refunds
from confiido_booking.money import ZERO

_TRIES = 5
_PAYMENT = Actor(role=Role.PAYMENT)
_OPEN = [EntryState.CREATED.value, EntryState.FAILED.value]


@dataclass(frozen=True, slots=True)
class Incoming:
    applying: Applying
    refunds: Refunds

    @property
    def entries(self) -> Entries:
        return self.applying.entries

    async def captured(
        self,
        *,
        provider: str,
        provider_payment_id: str,
        provider_order_id: str | None,
        amount: Decimal,
        currency: str,
        method: str | None,
        at: datetime,
    ) -> Entry:
        entry = await self._the_payment(provider, provider_payment_id, provider_order_id, amount, currency, method, at)
        if entry.applied_at is None:
            entry = await self.applying.apply(entry)
        for waiting in await self.entries.find(
            {"provider": provider, "providerPaymentId": provider_payment_id, "refers": None, "dueAt": {"$exists": True}}
        ):
            if waiting.kind is not EntryKind.PAYMENT:
                await self.follow(waiting)
        return entry

    async def _the_payment(
        self,
        provider: str,
        provider_payment_id: str,
        provider_order_id: str | None,
        amount: Decimal,
        currency: str,
        method: str | None,
        at: datetime,
    ) -> Entry:
        """The one entry of this payment: known already, or its attempt's, or a new one."""
        now, key = self.applying.context.clock(), f"{provider}/{provider_payment_id}"
        for _ in range(_TRIES):
            if (known := await self.entries.one({"key": key})) is not None:
                return known
            attempts = await self._attempts(provider, provider_order_id)
            fits = [
                each
                for each in attempts
                if each.key is None and each.state.value in _OPEN and (each.amount, each.currency) == (amount, currency)
            ]
            try:
                if not fits:
                    return await self.entries.insert(
                        _without_attempt(provider, provider_payment_id, amount, currency, method, at, now, attempts)
                    )
                fields = {"key": key, "providerPaymentId": provider_payment_id, "method": method, "paidAt": at}
                taken = await self.entries.change(
                    fits[0],
                    "captured",
                    fields=fields,
                    guard={"key": None},
                    state=EntryState.CAPTURED,
                    due_at=now + FINISH_AFTER,
                )
                if taken is not None:
                    return taken
            except Duplicate:
                continue
        raise Conflict("The payment is changing; please try again", code="try_again")

    async def _attempts(self, provider: str, provider_order_id: str | None) -> list[Entry]:
        if provider_order_id is None:
            return []
        named: Document = {"provider": provider, "providerOrderId": provider_order_id}
        return await self.entries.find({**named, "kind": EntryKind.PAYMENT.value})

    async def failed(
        self, *, provider: str, provider_payment_id: str, provider_order_id: str | None, reason: str | None
    ) -> Entry | None:
        if (known := await self.entries.one({"key": f"{provider}/{provider_payment_id}"})) is not None:
            return known
        attempts = await self._attempts(provider, provider_order_id)
        for attempt in attempts:
            if attempt.state is EntryState.CREATED:
                now = self.applying.context.clock()
                failed = await self.entries.change(
                    attempt,
                    "failed",
                    state=EntryState.FAILED,
                    due_at=now + FINISH_AFTER,
                    reason=reason,
                    told=event("payment.failed", attempt, _PAYMENT, now),
                )
                if failed is not None:
                    await self.note_failure(failed)
                return await self.entries.get(attempt.id)
        return attempts[0] if attempts else None

    async def note_failure(self, attempt: Entry) -> None:
        """The sessions of a failed attempt say so where nothing is paid; a later capture mends it. Repeatable."""
        for _ in range(ATTEMPTS):
            at = await self.applying.located(attempt)
            effects = [each for session in at.sessions if (each := rules.payment_failed(session)) is not None]
            command = self.applying.command(attempt, key=f"{attempt.id}:failed", action="payment-failed")
            if not effects or await self.applying.write(at.document, effects, command):
                await self.entries.change(attempt, "noted")
                return
        raise Conflict(CHANGING, code="try_again")

    async def refund_settled(
        self,
        *,
        provider: str,
        provider_refund_id: str,
        provider_payment_id: str,
        amount: Decimal,
        currency: str,
        refund_id: ObjectId | None,
        at: datetime,
    ) -> Entry:
        key, now = f"{provider}/{provider_refund_id}", self.applying.context.clock()
        known = await self.entries.get(refund_id) if refund_id else None
        known = known or await self.entries.one({"key": key})
        if known is None:
            entry = _outflow(EntryKind.REFUND, provider, provider_payment_id, amount, currency, at, now)
            named = {"id": rules.derived_id(key), "key": key, "provider_refund_id": provider_refund_id}
            known = await self.entries.insert(entry.model_copy(update={**named, "state": EntryState.SETTLED}))
        if known.state is EntryState.PENDING:
            return await self.refunds.settle(known, provider_refund_id=provider_refund_id, at=at)
        return await self.follow(known)

    async def refund_failed(
        self, *, provider: str, provider_refund_id: str, refund_id: ObjectId | None, reason: str | None
    ) -> Entry | None:
        known = await self.entries.get(refund_id) if refund_id else None
        known = known or await self.entries.one({"key": f"{provider}/{provider_refund_id}"})
        if known is None or known.state is not EntryState.PENDING:
            return known
        return await self.refunds.release(known, reason or "refused by the provider")

    async def disputed(
        self,
        *,
        provider: str,
        provider_dispute_id: str,
        provider_payment_id: str,
        amount: Decimal,
        currency: str,
        outcome: DisputeState,
        at: datetime,
    ) -> Entry:
        key, now = f"{provider}/{provider_dispute_id}", self.applying.context.clock()
        entry = _outflow(EntryKind.CHARGEBACK, provider, provider_payment_id, amount, currency, at, now)
        named = {"id": rules.derived_id(key), "key": key, "provider_dispute_id": provider_dispute_id}
        opened = entry.model_copy(
            update={**named, "state": EntryState.CREATED, "dispute": DisputeState.OPEN, "due_at": None}
        )
        payment = await self._payment_of(opened)
        whose = {"client_id": payment.client_id, "target": payment.target} if payment is not None else {}
        told = event("payment.disputed", opened.model_copy(update=whose), _PAYMENT, now)
        dispute = await self.entries.insert(opened, told=told)
        if outcome is DisputeState.OPEN or dispute.state is not EntryState.CREATED:
            return await self.follow(dispute)
        state = EntryState.CAPTURED if outcome is DisputeState.LOST else EntryState.FAILED
        due_at = now + FINISH_AFTER if outcome is DisputeState.LOST else None
        decided = await self.entries.change(
            dispute, outcome.value, state=state, fields={"dispute": outcome.value}, due_at=due_at
        )
        return await self.follow(decided or await self.entries.get(dispute.id) or dispute)

    async def follow(self, entry: Entry) -> Entry:
        """Take back the money of a refund that its provider made, or of a lost dispute, once its payment is there."""
        if entry.applied_at is not None or entry.state not in (EntryState.SETTLED, EntryState.CAPTURED):
            return entry
        payment = await self._payment_of(entry)
        if payment is None:
            await self.entries.change(entry, "waiting", due_at=self.applying.context.clock() + ASK_AGAIN)
            return await self.entries.get(entry.id) or entry
        if payment.applied_at is None:
            payment = await self.applying.apply(payment)
        if entry.refers is None:
            fields = {
                "refers": payment.id,
                "target": payment.target,
                "clientId": payment.client_id,
                "bookingId": payment.booking_id,
            }
            await self.entries.change(entry, "matched", fields=fields, due_at=entry.due_at)
            entry = await self.entries.get(entry.id) or entry
        return await self._taken_back(entry, payment)

    async def _payment_of(self, entry: Entry) -> Entry | None:
        if entry.refers is not None:
            return await self.entries.get(entry.refers)
        payment = await self.entries.one({"key": f"{entry.provider}/{entry.provider_payment_id}"})
        return payment if payment is not None and payment.kind is EntryKind.PAYMENT else None

    async def _taken_back(self, entry: Entry, payment: Entry) -> Entry:
        """First what is unplaced, then what is on an invoice, then from its sessions, in one update."""
        rest, gone = entry.amount, list[Allocation]()
        beside = [each.id for each in payment.allocations if each.to is Place.INVOICE]
        for place in [None, *beside]:
            taken = await self.refunds.take_back(entry, payment.id, place, rest, exactly=False)
            rest -= taken
            if taken and place is not None:
                await self.applying.invoices.allocate(
                    place,
                    payment_id=str(entry.id),
                    amount=-taken,
                    at=self.applying.context.clock(),
                    told="payment.refunded" if entry.kind is EntryKind.REFUND else "payment.charged_back",
                    actor=self.applying.command(entry).actor,
                )
            if taken:
                to = Place.UNPLACED if place is None else Place.INVOICE
                gone.append(Allocation(to=to, id=place, amount=taken))
        on_sessions = await self._off_sessions(entry, payment, rest)
        rest -= sum((each.amount for each in on_sessions), ZERO)
        lost = [Allocation(to=Place.UNPLACED, amount=rest, reason="exceeds_payment")] if rest else []
        done = await self.entries.applied(entry, [*gone, *on_sessions, *lost], state=entry.state)
        await self.refunds.note_refunded(payment.id)
        return done

    async def _off_sessions(self, entry: Entry, payment: Entry, amount: Decimal) -> Sequence[Allocation]:
        ids = [each.id for each in payment.allocations if each.to is Place.SESSION and each.id is not None]
        if not ids:
            return []
        for _ in range(ATTEMPTS):
            at = await self.applying.sessions_of(payment.client_id, ids)
            posted = [(each["sessionId"], rules.posting_of(each, entry.id)) for each in at.sessions]
            if not at.sessions or any(posting for _, posting in posted):
                await self.applying.follow(at.document, at.sessions)
                return [Allocation(to=Place.SESSION, id=id_, amount=p.amount) for id_, p in posted if p and p.amount]
            shares = rules.shares_of_loss(at.sessions, payment.id, amount, entry.currency)
            effects = [rules.taken_back(session, entry, part) for session, part in shares]
            await self.applying.write(
                at.document,
                effects or [rules.untouched(at.sessions[0], entry, "exceeds_payment")],
                self.applying.command(entry, key=fresh_key()),
            )
        raise Conflict(CHANGING, code="try_again")


def _without_attempt(
    provider: str,
    provider_payment_id: str,
    amount: Decimal,
    currency: str,
    method: str | None,
    at: datetime,
    now: datetime,
    attempts: Sequence[Entry],
) -> Entry:
    """A payment that no open attempt is of: of the same order once more, of another amount, or of nothing we know."""
    known = attempts[0] if attempts else None
    key = f"{provider}/{provider_payment_id}"
    return Entry(
        id=rules.derived_id(key),
        kind=EntryKind.PAYMENT,
        state=EntryState.CAPTURED,
        provider=provider,
        key=key,
        provider_payment_id=provider_payment_id,
        provider_order_id=known.provider_order_id if known else None,
        method=method,
        amount=amount,
        currency=currency,
        client_id=known.client_id if known else None,
        booking_id=known.booking_id if known else None,
        target=known.target if known else None,
        due_at=now + FINISH_AFTER,
        actor=_PAYMENT.stamp(),
        created_at=now,
        paid_at=at,
    )


def _outflow(
    kind: EntryKind,
    provider: str,
    provider_payment_id: str,
    amount: Decimal,
    currency: str,
    at: datetime,
    now: datetime,
) -> Entry:
    return Entry(
        kind=kind,
        state=EntryState.CREATED,
        provider=provider,
        provider_payment_id=provider_payment_id,
        amount=amount,
        currency=currency,
        due_at=now + FINISH_AFTER,
        actor=_PAYMENT.stamp(),
        created_at=now,
        paid_at=at,
    )
