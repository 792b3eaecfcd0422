"""Where invoices and the ledger of payments meet.

The ledger (MONEY) is the only way money comes onto a session or an invoice. An invoice that is marked paid asks
:meth:`Recording.record` for one payment of each line: a session's line is paid by the session's own money, so that
marking an invoice paid marks its sessions, and a session that was paid shows on its invoice, by one rule. The ledger
places money on standalone lines by :meth:`Allocations.allocate`.
"""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Protocol

from bson import ObjectId

from confiido_booking.actors import Actor, Role
from confiido_booking.billing import reading, rules
from confiido_booking.billing.holdings import CHANGING
from confiido_booking.billing.models import Allocation, Invoice, InvoiceStatus, PaymentPart, Stored
from confiido_booking.billing.reading import Statement
from confiido_booking.bookings.context import Context
from confiido_booking.database.documents import to_mongo
from confiido_booking.database.store import Document
from confiido_booking.errors import Conflict
from confiido_booking.events import outbox

_ATTEMPTS = 5
_MAX_ALLOCATIONS = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class LinePayment:
    """One payment of one line. ``id`` names it for ever: the same payment asked for again has the same one."""

    id: str
    amount: Decimal
    currency: str
    invoice_id: ObjectId
    session_id: ObjectId | None
    booking_id: ObjectId | None
    method: str
    reference: str | None
    paid_at: datetime
    actor: Actor


class Recording(Protocol):
    """The ledger's side."""

    async def record(self, payment: LinePayment) -> None:
        """Record a payment once and place it on its session, or on its invoice where it names no session.

        Raises:
            Conflict: ``already_paid``, or the session's or invoice's state. Invalid: ``overpayment``,
                ``currency_mismatch``.
        """
        ...


@dataclass(frozen=True, slots=True)
class Allocations:
    """The invoices' side: money on standalone lines."""

    context: Context

    @staticmethod
    def refuse(stated: Statement, amount: Decimal) -> None:
        """What :meth:`allocate` would refuse now. Raises as it does."""
        rules.refuse_unless_open(stated.invoice)
        rules.refuse_allocation(stated.invoice, amount, _MAX_ALLOCATIONS)

    async def statement(self, invoice_id: ObjectId) -> Statement:
        """The invoice as it is now. Raises NotFound ``invoice_not_found``."""
        raw = await self.context.store.find_one("read invoice", "invoices", {"_id": invoice_id})
        if raw is None:
            raise reading.not_found()
        return await reading.stated(self.context, Invoice.model_validate(raw))

    async def parts_of(self, invoice_id: ObjectId, amount: Decimal) -> list[PaymentPart]:
        """What of a payment of the whole invoice goes to which line, its session or the invoice.

        Raises:
            Conflict: ``already_paid``, ``not_issued``, ``invoice_void``. Invalid: ``overpayment``.
        """
        found = await self.statement(invoice_id)
        return rules.shares(found.invoice, found.balance, amount)

    async def allocate(
        self,
        invoice_id: ObjectId,
        *,
        payment_id: str,
        amount: Decimal,
        at: datetime,
        told: str,
        actor: Actor,
        method: str | None = None,
        reference: str | None = None,
    ) -> Decimal:
        """Place an entry's money on a standalone invoice, once; a negative amount takes it back, and 0 says that the
        entry never will. How much the entry has placed, now or before. ``told``: the type of the event of it.

        Raises:
            Conflict: ``already_paid``, ``not_issued``, ``invoice_void``. Invalid: ``overpayment``.
        """
        for _ in range(_ATTEMPTS):
            invoice = (await self.statement(invoice_id)).invoice
            for allocation in invoice.allocations:
                if allocation.payment_id == payment_id:
                    await self.follow(invoice_id)
                    return allocation.amount
            if amount > 0:
                rules.refuse_unless_open(invoice)
            rules.refuse_allocation(invoice, amount, _MAX_ALLOCATIONS)
            entry = Allocation(payment_id=payment_id, amount=amount, at=at, method=method, reference=reference)
            guard = {"version": invoice.version, "allocations.paymentId": {"$ne": payment_id}}
            update: Document = {"$push": {"allocations": to_mongo(entry)}, "$inc": {"version": 1}}
            event = _event(told, invoice, actor, self.context.clock(), amount=to_mongo(amount))
            if await self._changed("allocate", invoice, guard, update, event if amount else None):
                await self.follow(invoice_id)
                return amount
        raise Conflict(CHANGING, code="try_again")

    async def follow(self, invoice_id: ObjectId) -> None:
        """After money came or went: when an invoice has become wholly paid, tell. Done twice it is done once."""
        for _ in range(_ATTEMPTS):
            issued = {"_id": invoice_id, "status": Stored.ISSUED.value}
            raw = await self.context.store.find_one("read invoice", "invoices", issued)
            if raw is None:
                return
            stated = await reading.stated(self.context, Invoice.model_validate(raw))
            invoice, balance = stated.invoice, stated.balance
            is_paid = balance.status is InvoiceStatus.PAID and balance.paid > 0
            if is_paid == bool(invoice.settled):
                return
            event = _event("invoice.paid", invoice, Actor(role=Role.PAYMENT), self.context.clock())
            guard = {"settled": True if invoice.settled else {"$ne": True}}
            await self._changed(
                "settle invoice", invoice, guard, {"$set": {"settled": is_paid}}, event if is_paid else None
            )

    async def _changed(
        self, step: str, invoice: Invoice, guard: Document, update: Document, event: Document | None
    ) -> bool:
        """The update with its event. Where a full outbox may be what refused it, that is emptied."""
        if event is not None:
            waiting = outbox.pushed(event)
            pushed = {**update.get("$push", {}), **waiting["$push"]}
            update = {**update, "$push": pushed, "$min": waiting["$min"]}
        store, query = self.context.store, {"_id": invoice.id, **guard, **outbox.room_for_events()}
        if await store.update(step, "invoices", query, update):
            return True
        waiting_there = await store.find_one(
            "read outbox", "invoices", {"_id": invoice.id}, dict.fromkeys(outbox.FIELDS, 1)
        )
        if waiting_there is not None and outbox.is_full(waiting_there):
            await outbox.deliver(store, "invoices", waiting_there)
        return False


def _event(type_: str, invoice: Invoice, actor: Actor, at: datetime, **data: object) -> Document:
    named = {"invoiceId": invoice.id, "number": invoice.number, "total": to_mongo(invoice.total)}
    data = {**named, "currency": invoice.currency, **data}
    return outbox.event(type_, at=at, actor=actor, client_id=invoice.client_id, data=data)
