"""What invoices ask of the ledger of payments, and how they do without one.

The ledger (MONEY) is the only way money comes onto a session or an invoice. It must, for :meth:`Ledger.record`:

- record one entry for each ``Payment.id`` and apply it once, however often it is asked, also after a crash between the
  two; ``allocations`` is the one part, ``{to: "session"|"invoice", id, amount}``;
- for a session, refuse as MONEY's ``paid`` does: ``already_paid``, ``overpayment``, ``currency_mismatch``, and a
  session that is cancelled; archived sessions included;
- for an invoice, apply the entry by :meth:`Invoices.allocate`, whose guard refuses what is too much, and which applies
  an entry once; a refund of it by the same with a negative amount;
- for a provider's payment of an ``invoiceId``, ask :meth:`Invoices.parts_of` what goes to which line, and leave what
  is refused unplaced.
"""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Protocol

from bson import Decimal128, ObjectId

from confiido_booking.actors import Actor
from confiido_booking.bookings import rules, totals, transitions
from confiido_booking.bookings.context import Context
from confiido_booking.bookings.guards import Command
from confiido_booking.bookings.statuses import PaymentStatus
from confiido_booking.bookings.transitions import Plan
from confiido_booking.bookings.views import Change, View
from confiido_booking.errors import Conflict, Invalid


@dataclass(frozen=True, slots=True, kw_only=True)
class Payment:
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


class Ledger(Protocol):
    async def record(self, payment: Payment) -> None:
        """Record a payment and place it on its session, or on its invoice where it names no session."""
        ...


class Allocating(Protocol):
    """The invoices' side of the ledger."""

    async def allocate(
        self,
        invoice_id: ObjectId,
        *,
        payment_id: str,
        amount: Decimal,
        at: datetime,
        method: str | None = None,
        reference: str | None = None,
    ) -> None: ...


@dataclass(frozen=True, slots=True)
class DirectLedger:
    """Payments without entries: written onto the session, or into the invoice's ``allocations``, and nowhere else."""

    context: Context
    invoices: Allocating

    async def record(self, payment: Payment) -> None:
        if payment.session_id is None or payment.booking_id is None:
            await self.invoices.allocate(
                payment.invoice_id,
                payment_id=payment.id,
                amount=payment.amount,
                at=payment.paid_at,
                method=payment.method,
                reference=payment.reference,
            )
        else:
            await self._pay(payment.booking_id, payment.session_id, payment)

    async def _pay(self, booking_id: ObjectId, session_id: ObjectId, payment: Payment) -> None:
        command = Command(action="pay", actor=payment.actor, now=payment.paid_at, key=payment.id)
        for _ in range(3):
            found = await transitions.explain(self.context, booking_id, session_id, command)
            if isinstance(found, Change):
                return
            refusal = rules.why_not("pay", found.session, payment.actor, payment.paid_at)
            if refusal is not None:
                raise refusal
            money = totals.line(found.session)
            if money.currency != payment.currency:
                raise Invalid("The session has another currency", code="currency_mismatch")
            owed = money.price - money.paid + money.refunded
            if owed <= 0:
                raise Conflict("There is nothing left to pay for this session", code="already_paid")
            if payment.amount > owed:
                raise Invalid("amount is more than what is outstanding", code="overpayment")
            status = PaymentStatus.PAID if payment.amount == owed else PaymentStatus.PARTIALLY_PAID
            plan = Plan(
                fields={
                    "paidAmount": Decimal128(money.paid + payment.amount),
                    "paymentStatus": status.value,
                    "paidAt": payment.paid_at,
                    "paymentMethod": payment.method,
                },
                guard={"version": found.session.get("version")},
            )
            if await transitions.decide(self.context, booking_id, session_id, command, View.HEAD, plan) is not None:
                return
        raise Conflict("The session is changing; please try again", code="try_again")
