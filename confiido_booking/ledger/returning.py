"""Money goes back: reserved first, then paid out by its provider, then settled or released (MONEY, The ledger).

A refund is of one payment. What it takes is reserved by one guarded update before the provider is asked: on the
session, where the money is on one, else on the payment itself. The provider is asked with the refund's id as its
idempotency key, so that a process that died on the way is followed by one that asks again. Where no provider is needed
a refund is settled by the update that reserves it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from bson import ObjectId

from confiido_booking.bookings.guards import fresh_key
from confiido_booking.database.documents import to_mongo
from confiido_booking.database.store import Duplicate
from confiido_booking.errors import BookingError, Conflict, Invalid, NotFound, Unavailable
from confiido_booking.ledger import rules
from confiido_booking.ledger.applying import Applying
from confiido_booking.ledger.entries import ASK_AGAIN, Entries
from confiido_booking.ledger.locating import ATTEMPTS, CHANGING, again
from confiido_booking.ledger.models import (
    COLLECTION,
    MANUAL,
    OPENING,
    Allocation,
    Entry,
    EntryState,
    Place,
    Returned,
)
from confiido_booking.ledger.providers import Provider
from confiido_booking.ledger.rules import Effect, Part
from confiido_booking.money import ZERO


@dataclass(frozen=True, slots=True)
class Returning:
    applying: Applying
    providers: Mapping[str, Provider] = field(default_factory=dict)

    @property
    def entries(self) -> Entries:
        return self.applying.entries

    async def payments_of(self, parts: Sequence[Part]) -> dict[ObjectId, Entry]:
        found = await self.entries.find({"_id": {"$in": [part.payment_id for part in parts]}})
        return {each.id: each for each in found}

    async def resume(self, leader: Entry) -> list[Entry]:
        """From wherever a refund stands to as far as it goes now. All entries of the command."""
        if leader.target is not None and leader.target.to is not Place.SESSION:
            return [await self._resume_beside(leader)]
        legs = self._legs(leader)
        if leader.state is EntryState.PENDING:
            await self._reserved(leader, legs)
        stored = [leader if leg.id == leader.id else await self.entries.insert(leg) for leg in legs]
        return [await self._paid_back(each) for each in stored]

    def _legs(self, leader: Entry) -> list[Entry]:
        """The entries of one refund by several payments. Only the first knows of the others."""
        parts = leader.parts or [Allocation(to=Place.PAYMENT, id=leader.refers, amount=leader.amount)]
        return [
            leader
            if number == 0
            else leader.model_copy(
                update={
                    "id": rules.derived_id(leader.id, number),
                    "amount": part.amount,
                    "refers": part.id,
                    "parts": None,
                    "state": EntryState.PENDING,
                    "allocations": [],
                    "history": [],
                    "applied_at": None,
                    "key": None,
                    "provider_refund_id": None,
                }
            )
            for number, part in enumerate(parts)
        ]

    async def _reserved(self, leader: Entry, legs: Sequence[Entry]) -> None:
        """Reserve all of a refund on its session in one update, or nothing. Raises what refuses it."""
        refusal: BookingError | None = None
        for _ in range(ATTEMPTS):
            at = await self.applying.located(leader)
            if not at.sessions:
                raise NotFound("Session not found", code="session_not_found")
            session = at.sessions[0]
            posted = rules.posting_of(session, leader.id)
            if posted is not None:
                await self.applying.follow(at.document, at.sessions)
                if posted.refers is None:
                    await self.entries.change(leader, "refused", state=EntryState.FAILED, reason=posted.reason)
                    raise refusal or again(posted.reason)
                return
            key, action = leader.request_key, "refund-reserved"
            try:
                effect = rules.reserved(session, legs)
            except BookingError as refused:
                refusal, key, action = refused, fresh_key(), "refund-refused"
                effect = rules.untouched(session, leader, refused.code)
            else:
                payments = await self.payments_of([Part(leg.refers, leg.amount) for leg in legs if leg.refers])
                at_once = {
                    leg.id: leg.amount
                    for leg in legs
                    if leg.refers in payments and payments[leg.refers].provider in (MANUAL, OPENING)
                }
                if at_once:
                    after = rules.settled({**session, **effect.fields}, at_once)
                    effect, action = Effect(session, {**effect.fields, **after.fields}), "refund"
            await self.applying.write(at.document, [effect], self.applying.command(leader, key=key, action=action))
        raise Conflict(CHANGING, code="try_again")

    async def _paid_back(self, leg: Entry) -> Entry:
        """A refund that is reserved: noted where it is settled, else its provider is asked."""
        if leg.state is not EntryState.PENDING:
            return leg
        at = await self.applying.located(leg)
        posting = rules.posting_of(at.sessions[0], leg.id) if at.sessions else None
        if posting is None:
            return leg  # its leader has not reserved it yet
        if posting.pending:
            return await self._asked(leg)
        if not posting.amount:
            return await self._moved(leg, "released", EntryState.RELEASED, reason=posting.reason)
        return await self._settled_entry(leg)

    async def _asked(self, leg: Entry) -> Entry:
        """Ask the provider. What nobody knows, or it does not know yet, is asked again in an hour."""
        payment = await self.entries.get(leg.refers) if leg.refers else None
        if payment is None or payment.provider in (MANUAL, OPENING):
            return await self.settle(leg)
        provider, now = self.providers.get(payment.provider), self.applying.context.clock()
        if provider is None or payment.provider_payment_id is None:
            return await self._moved(leg, "waiting", due_at=now + ASK_AGAIN, reason="provider_not_configured")
        try:
            answer = await provider.refund(
                refund_id=leg.id,
                provider_payment_id=payment.provider_payment_id,
                amount=leg.amount,
                currency=leg.currency,
            )
        except Unavailable as error:
            return await self._moved(leg, "unanswered", due_at=now + ASK_AGAIN, reason=error.code)
        if answer.state is EntryState.SETTLED:
            return await self.settle(leg, provider_refund_id=answer.provider_refund_id)
        if answer.state is EntryState.PENDING:
            named = self._named(leg, payment.provider, answer.provider_refund_id)
            return await self._moved(leg, "asked", due_at=now + ASK_AGAIN, fields=named)
        return await self.release(leg, answer.reason or "refused by the provider")

    def _named(self, leg: Entry, provider: str, provider_refund_id: str | None) -> dict[str, object]:
        if provider_refund_id is None:
            return {}
        return {"providerRefundId": provider_refund_id, "key": f"{provider}/{provider_refund_id}"}

    async def _moved(
        self,
        leg: Entry,
        event: str,
        state: EntryState | None = None,
        *,
        due_at: datetime | None = None,
        reason: str | None = None,
        fields: Mapping[str, object] | None = None,
    ) -> Entry:
        try:
            moved = await self.entries.change(leg, event, state=state, due_at=due_at, reason=reason, fields=fields)
        except Duplicate:  # the provider's webhook was told of as a refund of its own
            moved = None
        return moved or await self.entries.get(leg.id) or leg

    async def settle(self, leg: Entry, *, provider_refund_id: str | None = None, at: datetime | None = None) -> Entry:
        """The money of a reserved refund has gone. Repeatable."""
        if leg.state is not EntryState.PENDING:
            return leg
        await self._changed_on_session(leg, None)
        fields = self._named(leg, leg.provider, provider_refund_id) | {"paidAt": at or self.applying.context.clock()}
        return await self._settled_entry(leg, fields)

    async def release(self, leg: Entry, reason: str) -> Entry:
        """The provider will not pay a reserved refund: its money stays where it was. Repeatable."""
        if leg.state is not EntryState.PENDING:
            return leg
        assert leg.target is not None
        if leg.target.to is Place.SESSION:
            await self._changed_on_session(leg, reason)
        else:
            await self._give_back(leg)
        return await self._moved(leg, "released", EntryState.RELEASED, reason=reason)

    async def _changed_on_session(self, leg: Entry, released_for: str | None) -> None:
        if leg.target is None or leg.target.to is not Place.SESSION:
            return
        for _ in range(ATTEMPTS):
            at = await self.applying.located(leg)
            posting = rules.posting_of(at.sessions[0], leg.id) if at.sessions else None
            if posting is None or not posting.pending:
                return
            if released_for is None:
                effect = rules.settled(at.sessions[0], {leg.id: leg.amount})
                command = self.applying.command(leg, key=fresh_key())
            else:
                effect = rules.released(at.sessions[0], leg.id, leg.amount, released_for)
                command = self.applying.command(leg, key=fresh_key(), action="refund-released")
            if await self.applying.write(at.document, [effect], command) is not None:
                return
        raise Conflict(CHANGING, code="try_again")

    async def _settled_entry(self, leg: Entry, fields: Mapping[str, object] | None = None) -> Entry:
        assert leg.target is not None
        gone_from = Place.UNPLACED if leg.target.to is Place.PAYMENT else leg.target.to
        id_ = None if gone_from is Place.UNPLACED else leg.target.id
        if fields:
            leg = await self._moved(leg, "settled", due_at=self.applying.context.clock(), fields=fields)
        done = await self.entries.applied(
            leg, [Allocation(to=gone_from, id=id_, amount=leg.amount)], state=EntryState.SETTLED
        )
        if leg.refers is not None:
            await self.note_refunded(leg.refers)
        return done

    async def note_refunded(self, payment_id: ObjectId) -> None:
        """A payment all of which went back is ``refunded``."""
        payment = await self.entries.get(payment_id)
        if payment is None or payment.state is not EntryState.CAPTURED:
            return
        gone = await self.entries.find({"refers": payment_id, "appliedAt": {"$exists": True}})
        if sum((each.amount for each in gone), ZERO) >= payment.amount:
            await self.entries.change(payment, "refunded", state=EntryState.REFUNDED, guard={"dueAt": None})

    async def _resume_beside(self, entry: Entry) -> Entry:
        """A refund of money that is on no session: reserved on the payment, and on its invoice."""
        if entry.state is not EntryState.PENDING:
            return entry
        assert entry.target is not None
        assert entry.refers is not None
        place = entry.target.id if entry.target.to is Place.INVOICE else None
        taken = await self.take_back(entry, entry.refers, place, entry.amount, exactly=True)
        if taken and entry.target.to is Place.INVOICE:
            taken = await self._off_invoice(entry, taken)
        if not taken:
            await self._give_back(entry)
            await self.entries.change(entry, "refused", state=EntryState.FAILED, reason="nothing_to_refund")
            raise Conflict("There is nothing to refund", code="nothing_to_refund")
        return await self._asked(entry)

    async def _off_invoice(self, entry: Entry, amount: Decimal) -> Decimal:
        assert entry.target is not None
        for wanted in (-amount, ZERO):
            try:
                return -await self.applying.invoices.allocate(
                    entry.target.id,
                    payment_id=str(entry.id),
                    amount=wanted,
                    at=self.applying.context.clock(),
                    told="payment.refunded",
                    actor=self.applying.command(entry).actor,
                    reference=entry.reason,
                )
            except (Conflict, Invalid) as refused:
                if refused.code == "try_again":
                    raise
        return ZERO

    async def take_back(
        self, entry: Entry, payment_id: ObjectId, place: ObjectId | None, amount: Decimal, *, exactly: bool
    ) -> Decimal:
        """Take money of a payment from where it is unplaced, or on an invoice, for this entry, once. How much.

        The guard is that nothing more has gone back than was read.
        """
        for _ in range(ATTEMPTS):
            payment = await self.entries.get(payment_id)
            assert payment is not None
            for each in payment.returned:
                if each.id == entry.id and each.place == place:
                    return each.amount
            left = left_beside(payment, place)
            taken = min(amount, left)
            if exactly and taken < amount:
                taken = ZERO
            gone = Returned(id=entry.id, amount=taken, place=place)
            as_read = {"_id": payment.id, "returned": [to_mongo(each) for each in payment.returned]}
            if await self.applying.context.store.update(
                "take back", COLLECTION, as_read, {"$push": {"returned": to_mongo(gone)}}
            ):
                return taken
        raise Conflict(CHANGING, code="try_again")

    async def _give_back(self, entry: Entry) -> None:
        """What was taken for a refund that is not to be stays where it was."""
        assert entry.target is not None
        assert entry.refers is not None
        if entry.target.to is Place.INVOICE:
            payment = await self.entries.get(entry.refers)
            taken = next((each.amount for each in payment.returned if each.id == entry.id), ZERO) if payment else ZERO
            placed = await self._off_invoice(entry, ZERO) if taken else ZERO
            if placed:
                await self.applying.invoices.allocate(
                    entry.target.id,
                    payment_id=f"{entry.id}:released",
                    amount=placed,
                    at=self.applying.context.clock(),
                    told="payment.refund_failed",
                    actor=self.applying.command(entry).actor,
                )
        await self.applying.context.store.update(
            "give back",
            COLLECTION,
            {"_id": entry.refers, "returned": {"$elemMatch": {"id": entry.id}}},
            {"$set": {"returned.$.amount": to_mongo(ZERO)}},
        )


def left_beside(payment: Entry, place: ObjectId | None) -> Decimal:
    """What of a payment is still unplaced, or on that invoice."""
    there = sum(
        (
            each.amount
            for each in payment.allocations
            if (each.to is Place.UNPLACED and place is None) or (each.to is Place.INVOICE and each.id == place)
        ),
        ZERO,
    )
    return there - sum((each.amount for each in payment.returned if each.place == place), ZERO)
