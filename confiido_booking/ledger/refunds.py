"""Refunds as somebody asks for them: of a session, by the payments that brought its money; or of a payment (MONEY)."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from bson import ObjectId

from confiido_booking.actors import Actor
from confiido_booking.bookings.guards import Command
from confiido_booking.bookings.rules import text
from confiido_booking.bookings.views import Change
from confiido_booking.database.store import Document
from confiido_booking.errors import Conflict, Unavailable
from confiido_booking.ledger import rules
from confiido_booking.ledger.entries import FINISH_AFTER
from confiido_booking.ledger.locating import ATTEMPTS, CHANGING, again, check_version
from confiido_booking.ledger.models import (
    MANUAL,
    OPENING,
    Allocation,
    DisputeState,
    Entry,
    EntryKind,
    EntryState,
    Place,
    Target,
)
from confiido_booking.ledger.returning import Returning
from confiido_booking.money import ZERO


@dataclass(frozen=True, slots=True)
class Refunds(Returning):
    """How they are carried out is in ``returning.py``."""

    async def of_session(
        self,
        found: Change,
        *,
        actor: Actor,
        amount: object | None,
        reason: str,
        key: str | None,
        of: ObjectId | None = None,
    ) -> list[Entry]:
        """Refund money that is on a session, by its payments, the latest first, or only by ``of``.

        Raises:
            Conflict: ``nothing_to_refund``, ``disputed``; Invalid: ``over_refund``, ``amount_required``.
            Unavailable: ``provider_not_configured``.
        """
        now, session = self.applying.context.clock(), found.raw_session
        leader_id = rules.derived_id("refund", session["sessionId"], of, key) if key else ObjectId()
        if key and (known := await self.entries.get(leader_id)) is not None:
            return await self._done_before(known)
        draft = Entry(
            id=leader_id,
            kind=EntryKind.REFUND,
            state=EntryState.PENDING,
            provider=MANUAL,
            amount=ZERO,
            currency=session["currency"],
            client_id=found.document["clientId"],
            booking_id=found.document["_id"],
            target=Target(to=Place.SESSION, id=session["sessionId"]),
            reason=text(reason, "reason"),
            due_at=now + FINISH_AFTER,
            request_key=key,
            actor=actor.stamp(),
            created_at=now,
        )
        at = await self.applying.located(draft)
        session = at.sessions[0] if at.sessions else session
        parts = rules.refund_parts(session, rules.checked_refund(session, amount), of=of)
        payments = await self.payments_of(parts)
        self._refuse_unless_free(list(payments.values()), await self._disputes(session))
        leader = draft.model_copy(
            update={
                "amount": parts[0].amount,
                "provider": payments[parts[0].payment_id].provider,
                "refers": parts[0].payment_id,
                "parts": [Allocation(to=Place.PAYMENT, id=p.payment_id, amount=p.amount) for p in parts],
            }
        )
        return await self.resume(await self.entries.insert(leader))

    async def set_due(
        self, found: Change, amount: object, *, actor: Actor, reason: str, key: str, if_version: int | None
    ) -> Change:
        """Another refund than the policy's, on the version that was read."""
        applying, session_id = self.applying, found.session_id
        command = Command(
            action="set-refund",
            actor=actor,
            now=applying.context.clock(),
            key=key,
            reason=text(reason, "reason"),
        )
        for _ in range(ATTEMPTS):
            at = await applying.sessions_of(found.document["clientId"], [session_id])
            session = at.sessions[0]
            if any(entry.get("key") == key for entry in session["history"]):
                return Change(at.document or {}, session_id, repeated=True)
            check_version(session, if_version)
            changed = await applying.write(at.document, [rules.due_set(session, amount)], command)
            if changed is not None:
                return Change(changed, session_id)
        raise Conflict(CHANGING, code="try_again")

    async def of_payment(
        self,
        payment: Entry,
        place: Place,
        id: ObjectId | None,
        amount: Decimal,
        *,
        actor: Actor,
        reason: str,
        key: str | None,
    ) -> Entry:
        """Refund a payment's money that is on no session: unplaced, or on an invoice."""
        now = self.applying.context.clock()
        refund_id = rules.derived_id("refund", payment.id, id or place.value, key) if key else ObjectId()
        if key and (known := await self.entries.get(refund_id)) is not None:
            return (await self._done_before(known))[0]
        self._refuse_unless_free([payment], await self.entries.find(_disputes_of([payment])))
        entry = Entry(
            id=refund_id,
            kind=EntryKind.REFUND,
            state=EntryState.PENDING,
            provider=payment.provider,
            amount=amount,
            currency=payment.currency,
            client_id=payment.client_id,
            booking_id=payment.booking_id,
            target=Target(to=place, id=id or payment.id),
            reason=text(reason, "reason"),
            refers=payment.id,
            due_at=now + FINISH_AFTER,
            request_key=key,
            actor=actor.stamp(),
            created_at=now,
        )
        return (await self.resume(await self.entries.insert(entry)))[0]

    async def _done_before(self, known: Entry) -> list[Entry]:
        if known.state is EntryState.FAILED:
            raise again(known.history[-1].reason)
        return await self.resume(known)

    async def _disputes(self, session: Document) -> list[Entry]:
        paid_by = [each.id for each in rules.postings(session) if each.kind is EntryKind.PAYMENT]
        return await self.entries.find(_disputes_of(await self.entries.find({"_id": {"$in": paid_by}})))

    def _refuse_unless_free(self, payments: Sequence[Entry], disputes: Sequence[Entry]) -> None:
        if disputes:
            raise Conflict("This payment is disputed; nothing of it can be refunded now", code="disputed")
        for payment in payments:
            if payment.provider not in (MANUAL, OPENING, *self.providers):
                raise Unavailable("The provider of this payment is not configured", code="provider_not_configured")


def _disputes_of(payments: Sequence[Entry]) -> Document:
    """The open disputes of these payments, also those that came before them."""
    named = [each.provider_payment_id for each in payments if each.provider_payment_id is not None]
    return {
        "kind": EntryKind.CHARGEBACK.value,
        "dispute": DisputeState.OPEN.value,
        "providerPaymentId": {"$in": named},
    }
