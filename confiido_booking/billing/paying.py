"""An invoice is marked paid: one payment for each line is settled on, then the ledger records them (MONEY)."""

import hashlib
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from bson import ObjectId

from confiido_booking.actors import Actor, Role
from confiido_booking.billing import reading, rules
from confiido_booking.billing.allocating import LinePayment, Recording
from confiido_booking.billing.holdings import CHANGING
from confiido_booking.billing.making import ATTEMPTS, Making
from confiido_booking.billing.models import MAX_HISTORY, Invoice, Paying
from confiido_booking.billing.reading import Statement
from confiido_booking.bookings.guards import fresh_key
from confiido_booking.bookings.healing import YOUNG
from confiido_booking.bookings.rules import text
from confiido_booking.database.documents import to_mongo
from confiido_booking.database.store import Document
from confiido_booking.errors import BookingError, Conflict, Invalid


@dataclass(frozen=True, slots=True)
class MarkingPaid(Making):
    """``ledger``: where payments are recorded."""

    ledger: Recording

    async def mark_paid(
        self,
        invoice_id: ObjectId,
        *,
        actor: Actor,
        amount: Decimal | int | None = None,
        method: str | None = None,
        reference: str | None = None,
        request_key: str | None = None,
    ) -> Statement:
        """Record one payment for each line's outstanding, or a part in proportion to them (MONEY). Admin.

        Raises:
            Conflict: ``already_paid``, ``not_issued``, ``invoice_void``. Invalid: ``overpayment``.
        """
        key = request_key or fresh_key()
        for _ in range(ATTEMPTS):
            found = await self._for_admin(invoice_id, actor)
            invoice, now = found.invoice, self.context.clock()
            if invoice.was_done(key):
                return found
            if invoice.paying is not None:
                await self._finish_paying(invoice, now, key)
                continue
            try:
                parts = rules.shares(invoice, found.balance, amount if amount is None else Decimal(amount))
            except BookingError:
                if (await self._read(invoice_id)).was_done(key):  # since it was read
                    continue
                raise
            paying = Paying(
                key=key,
                at=now,
                actor=actor.stamp(),
                parts=parts,
                method=text(method or "manual", "source"),
                reference=text(reference, "reason") if reference else None,
            )
            changed = await self._changed(
                invoice, actor, now, "pay", None, fields={"paying": to_mongo(paying)}, guard={"paying": None}
            )
            if changed is not None:
                await self._pay(changed, now)
                return await reading.find(self.context, invoice_id, actor)
        raise Conflict(CHANGING, code="try_again")

    async def _finish_paying(self, invoice: Invoice, now: datetime, key: str) -> None:
        """Finish a payment that somebody began: the own one under this key, or one older than 30 s."""
        assert invoice.paying is not None
        if invoice.paying.key != key and invoice.paying.at > now - YOUNG:
            raise Conflict("This invoice is being paid; please try again", code="try_again")
        await self._pay(invoice, now, quietly=invoice.paying.key != key)

    async def _pay(self, invoice: Invoice, now: datetime, *, quietly: bool = False) -> None:
        """Record the payments that were settled on, each once, then note that it was done.

        A line that was paid by somebody else meanwhile is passed over; where all were, that is the refusal.
        """
        paying = invoice.paying
        assert paying is not None
        role, user = Role(paying.actor["role"]), paying.actor.get("id")
        refusals: list[BookingError] = []
        for part in paying.parts:
            payment = LinePayment(
                id=_payment_id(invoice.id, paying.key, part.line),
                amount=part.amount,
                currency=invoice.currency,
                invoice_id=invoice.id,
                session_id=part.session_id,
                booking_id=invoice.booking_id,
                method=paying.method or "manual",
                reference=paying.reference,
                paid_at=paying.at,
                actor=Actor(role=role, id=user),
            )
            try:
                await self.ledger.record(payment)
            except (Conflict, Invalid) as refusal:
                refusals.append(refusal)
        in_vain = len(refusals) == len(paying.parts)
        entry: Document = {"at": now, "actor": paying.actor, "action": "paid"}
        entry |= {"reason": paying.reference} if paying.reference else {}
        entry |= {} if in_vain else {"key": paying.key}
        await self.context.store.update(
            "note payment",
            "invoices",
            {"_id": invoice.id, "paying.key": paying.key},
            {
                "$unset": {"paying": ""},
                "$inc": {"version": 1},
                "$push": {"history": {"$each": [entry], "$slice": -MAX_HISTORY}},
            },
        )
        if in_vain and not quietly:
            raise refusals[0]


def _payment_id(invoice_id: ObjectId, key: str, line: int) -> str:
    return hashlib.sha256(f"{invoice_id}:{key}:{line}".encode()).hexdigest()[:24]
