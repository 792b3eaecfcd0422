"""Invoices reckoned without a database: lines and taxes, what is owed and what was paid, what a credit note takes back.

Everything is rounded here, in Python, half up: the engine rounds half to even (MONEY, Invoices).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import NamedTuple

from bson import ObjectId

from confiido_booking import money
from confiido_booking.billing.models import (
    MAX_LINES,
    CreditedLine,
    Invoice,
    InvoiceStatus,
    Kind,
    Line,
    PaymentPart,
    Stored,
    Tax,
    TaxAmount,
    TaxMode,
    TaxTotal,
)
from confiido_booking.bookings import totals
from confiido_booking.bookings.rules import text
from confiido_booking.errors import Conflict, wrong_field
from confiido_booking.money import ZERO

MAX_TAXES = 10
MAX_RATE = Decimal(100)
RATE_PLACES, QUANTITY_PLACES = 4, 4
MAX_QUANTITY = Decimal(1_000_000)


class TaxWish(NamedTuple):
    """A tax as a caller names it."""

    name: str
    rate: Decimal | int
    mode: str = TaxMode.INCLUSIVE


class LineWish(NamedTuple):
    """A line of a standalone invoice as a caller names it."""

    description: str
    quantity: Decimal | int
    unit_price: Decimal | int


class SessionMoney(NamedTuple):
    """What of a session an invoice looks at."""

    status: str
    payment_status: str
    price: Decimal
    paid: Decimal
    refunded: Decimal
    refund_due: Decimal | None

    @property
    def net(self) -> Decimal:
        return self.paid - self.refunded

    @property
    def worth(self) -> Decimal:
        """What may be billed for it: its price while it is owed, else what is kept of what was paid."""
        if totals.counted(self.status, self.payment_status):
            return self.price
        due_back = self.paid if self.refund_due is None else self.refund_due
        return max(ZERO, self.paid - max(due_back, self.refunded))


@dataclass(frozen=True, slots=True)
class Balance:
    """What an invoice comes to now. ``paid`` + ``outstanding`` = total - ``credited``, of each line and of all.

    ``overpaid`` is money on a standalone invoice beyond what is due on it, since a credit note.
    """

    status: InvoiceStatus
    paid: Decimal
    outstanding: Decimal
    credited: Decimal
    overpaid: Decimal
    needs_correction: bool
    owed_by_line: Mapping[int, Decimal]


def checked_taxes(wishes: Sequence[TaxWish], *, of_sessions: bool) -> list[Tax]:
    """The taxes of an invoice, all inclusive or all exclusive; those of sessions inclusive (MONEY).

    Raises:
        Invalid: ``invalid_tax``.
    """
    if len(wishes) > MAX_TAXES:
        raise wrong_field("taxes", f"must be at most {MAX_TAXES}", "invalid_tax")
    taxes = []
    for index, wish in enumerate(wishes):
        name = text(wish.name, f"taxes.{index}.name", limit=60).strip()
        if not name:
            raise wrong_field(f"taxes.{index}.name", "is required", "invalid_tax")
        rate = money.decimal(wish.rate)
        if rate is None or not rate.is_finite() or not 0 <= rate <= MAX_RATE or not _places(rate, RATE_PLACES):
            sentence = f"must be a percent from 0 to {MAX_RATE} of at most {RATE_PLACES} decimals"
            raise wrong_field(f"taxes.{index}.rate", sentence, "invalid_tax")
        if wish.mode not in list(TaxMode):
            raise wrong_field(f"taxes.{index}.mode", "must be inclusive or exclusive", "invalid_tax")
        if of_sessions and wish.mode == TaxMode.EXCLUSIVE:
            raise wrong_field(
                f"taxes.{index}.mode", "must be inclusive: a session's price is all there is", "invalid_tax"
            )
        taxes.append(Tax(name=name, rate=rate, mode=TaxMode(wish.mode)))
    if len({tax.mode for tax in taxes}) > 1:
        raise wrong_field("taxes", "must be all inclusive or all exclusive", "invalid_tax")
    if len({(tax.name, tax.rate) for tax in taxes}) < len(taxes):
        raise wrong_field("taxes", "must name each tax once", "invalid_tax")
    return taxes


def standalone_lines(wishes: Sequence[LineWish], taxes: Sequence[Tax], currency: str) -> list[Line]:
    """The lines of a standalone invoice. Raises Invalid for what is no amount, quantity or text."""
    if not 1 <= len(wishes) <= MAX_LINES:
        raise wrong_field("lines", f"must be 1 to {MAX_LINES}", "invalid_lines")
    lines = []
    for index, wish in enumerate(wishes):
        description = text(wish.description, f"lines.{index}.description", limit=500).strip()
        if not description:
            raise wrong_field(f"lines.{index}.description", "is required", "invalid_lines")
        quantity = money.decimal(wish.quantity)
        if quantity is None or not quantity.is_finite() or not 0 < quantity <= MAX_QUANTITY:
            raise wrong_field(f"lines.{index}.quantity", f"must be above 0, at most {MAX_QUANTITY}", "invalid_lines")
        if not _places(quantity, QUANTITY_PLACES):
            sentence = f"must have at most {QUANTITY_PLACES} decimals"
            raise wrong_field(f"lines.{index}.quantity", sentence, "invalid_lines")
        unit_price = money.amount(wish.unit_price, currency, field=f"lines.{index}.unitPrice")
        lines.append(line(index + 1, description, unit_price, taxes, currency, quantity=quantity))
    money.amount(sum((each.total for each in lines), ZERO), currency, field="total")
    return lines


def line(
    number: int,
    description: str,
    unit_price: Decimal,
    taxes: Sequence[Tax],
    currency: str,
    *,
    quantity: Decimal = Decimal(1),
    session_id: ObjectId | None = None,
) -> Line:
    """One line. Inclusive: net = amount / (1 + Σ rates); exclusive: tax = amount · Σ rates; both rounded half up.

    The tax of a line is then split among its taxes by their rates, the largest remainder first, so that they sum to it.
    """
    given = money.rounded(quantity * unit_price, currency)
    rates = [tax.rate for tax in taxes]
    rate = sum(rates, ZERO) / 100
    if any(tax.mode is TaxMode.EXCLUSIVE for tax in taxes):
        net, tax_amount = given, money.rounded(given * rate, currency)
    else:
        net = money.rounded(given / (1 + rate), currency)
        tax_amount = given - net
    parts = money.split(tax_amount, rates, currency) if taxes else []
    return Line(
        line=number,
        session_id=session_id,
        description=description,
        quantity=quantity,
        unit_price=unit_price,
        net=net,
        taxes=[TaxAmount(name=t.name, rate=t.rate, amount=part) for t, part in zip(taxes, parts, strict=True)],
        tax=tax_amount,
        total=net + tax_amount,
    )


def tax_totals(lines: Sequence[Line]) -> list[TaxTotal]:
    """Each tax over all lines; sums of what the lines say, never reckoned anew."""
    sums: dict[tuple[str, Decimal], TaxTotal] = {}
    for each in lines:
        for tax in each.taxes:
            at = sums.setdefault((tax.name, tax.rate), TaxTotal(name=tax.name, rate=tax.rate, amount=ZERO, base=ZERO))
            at.amount += tax.amount
            at.base += each.net
    return list(sums.values())


def with_sums(invoice: Invoice) -> Invoice:
    """The document with its totals: sums of its lines."""
    return invoice.model_copy(
        update={
            "tax_totals": tax_totals(invoice.lines),
            "subtotal": sum((each.net for each in invoice.lines), ZERO),
            "tax": sum((each.tax for each in invoice.lines), ZERO),
            "total": sum((each.total for each in invoice.lines), ZERO),
        }
    )


def credited(invoice: Invoice) -> dict[int, Decimal]:
    """How much of each line credit notes have taken back."""
    sums = dict.fromkeys((each.line for each in invoice.lines), ZERO)
    for credit in invoice.credits:
        for part in credit.lines:
            sums[part.line] += part.total
    return sums


def is_wholly_credited(invoice: Invoice) -> bool:
    return bool(invoice.credits) and sum(credited(invoice).values(), ZERO) >= invoice.total


def balance(invoice: Invoice, sessions: Mapping[ObjectId, SessionMoney], today: date) -> Balance:
    """What an invoice comes to. ``today``: the day in the operator's zone; due on that day is not overdue yet.

    A session's line is paid by the session's own net money, standalone lines, in their order, by what was allocated to
    the invoice.
    """
    back = credited(invoice)
    pool = sum((allocation.amount for allocation in invoice.allocations), ZERO)
    paid, owed, wrong = ZERO, {}, False
    for each in invoice.lines:
        due = each.total - back[each.line]
        if each.session_id is None:
            covered = min(pool, due)
            pool -= covered
        else:
            session = sessions.get(each.session_id)
            covered = min(max(ZERO, session.net), due) if session else ZERO
            wrong = wrong or (session is not None and due > session.worth)
        paid += covered
        owed[each.line] = due - covered
    is_owed = invoice.kind is Kind.INVOICE and invoice.status is not Stored.VOID
    outstanding = sum(owed.values(), ZERO) if is_owed else ZERO
    return Balance(
        status=_status(invoice, paid, outstanding, today),
        paid=paid if is_owed else ZERO,
        outstanding=outstanding,
        credited=sum(back.values(), ZERO),
        overpaid=pool if is_owed else ZERO,
        needs_correction=wrong and is_owed,
        owed_by_line=owed if is_owed else {},
    )


def _status(invoice: Invoice, paid: Decimal, outstanding: Decimal, today: date) -> InvoiceStatus:
    if invoice.status is not Stored.ISSUED or invoice.kind is Kind.CREDIT_NOTE:
        return InvoiceStatus(invoice.status.value)
    if not outstanding:
        return InvoiceStatus.PAID
    if invoice.due_date is not None and invoice.due_date.date() < today:
        return InvoiceStatus.OVERDUE
    return InvoiceStatus.PARTIALLY_PAID if paid else InvoiceStatus.ISSUED


def shares(invoice: Invoice, state: Balance, amount: Decimal | None) -> list[PaymentPart]:
    """What of a payment goes to each line that still owes: all of it, or in proportion (largest remainder, in order).

    Raises:
        Conflict: ``not_issued``, ``invoice_void``, ``already_paid``; Invalid: ``overpayment``.
    """
    refuse_unless_open(invoice)
    if not state.outstanding:
        raise Conflict("There is nothing left to pay on this invoice", code="already_paid")
    wanted = state.outstanding if amount is None else money.amount(amount, invoice.currency)
    if not wanted:
        raise wrong_field("amount", "must be above 0", "invalid_amount")
    if wanted > state.outstanding:
        raise wrong_field("amount", "is more than what is outstanding", "overpayment")
    owing = [each for each in invoice.lines if state.owed_by_line[each.line]]
    parts = money.split(wanted, [state.owed_by_line[each.line] for each in owing], invoice.currency)
    return [
        PaymentPart(line=each.line, session_id=each.session_id, amount=part)
        for each, part in zip(owing, parts, strict=True)
        if part
    ]


def refuse_unless_open(invoice: Invoice) -> None:
    """Only an issued invoice is paid, credited or, unpaid, made void. Raises Conflict."""
    if invoice.kind is Kind.CREDIT_NOTE:
        raise Conflict("This is a credit note", code="not_an_invoice")
    if invoice.status is Stored.VOID:
        raise Conflict("This invoice is void", code="invoice_void")
    if invoice.status is not Stored.ISSUED:
        raise Conflict("This invoice has not been issued", code="not_issued")


def refuse_allocation(invoice: Invoice, amount: Decimal, most: int) -> None:
    """Money on a standalone invoice: no more than is due, and no more taken back than is there."""
    there = sum((allocation.amount for allocation in invoice.allocations), ZERO)
    back = credited(invoice)
    due = sum((each.total - back[each.line] for each in invoice.lines if each.session_id is None), ZERO)
    if amount > 0 and len(invoice.allocations) >= most:
        raise Conflict("This invoice has too many payments", code="too_many_payments")
    if amount > 0 and there >= due:
        raise Conflict("There is nothing left to pay on this invoice", code="already_paid")
    if amount > 0 and there + amount > due:
        raise wrong_field("amount", "is more than what is outstanding", "overpayment")
    if there + amount < 0:
        raise Conflict("So much was not paid on this invoice", code="not_paid")


def credit_parts(invoice: Invoice, wanted: Sequence[tuple[int, Decimal | int | None]] | None) -> list[CreditedLine]:
    """What a credit note takes back: of each (line, amount with tax; None = all that is left), or of all lines.

    A part of a line takes back its net and its taxes in proportion to what is left of them, so that parts which add up
    to the line take back exactly its net and its taxes.

    Raises:
        Conflict: ``already_credited``: nothing is left of it. Invalid: an unknown line, or more than is left.
    """
    left = {each.line: _left(invoice, each) for each in invoice.lines}
    if wanted is None:
        wanted = [(number, None) for number, parts in left.items() if any(parts)]
    elif not wanted:
        raise wrong_field("lines", "must name at least one line", "invalid_lines")
    if len({number for number, _ in wanted}) < len(wanted):
        raise wrong_field("lines", "must name each line once", "invalid_lines")
    credit = []
    for index, (number, amount) in enumerate(wanted):
        if number not in left:
            raise wrong_field(f"lines.{index}.line", "is not a line of this invoice", "invalid_lines")
        rest = sum(left[number], ZERO)
        field = f"lines.{index}.amount"
        taken = rest if amount is None else money.amount(amount, invoice.currency, field=field)
        if not rest:
            continue
        if not taken:
            raise wrong_field(field, "must be above 0", "invalid_amount")
        if taken > rest:
            raise wrong_field(field, "is more than what is left of the line", "overcredit")
        net, *taxes = money.split(taken, left[number], invoice.currency)
        credit.append(CreditedLine(line=number, net=net, taxes=taxes, total=taken))
    if not credit:
        raise Conflict("There is nothing left to credit", code="already_credited")
    return credit


def fits(invoice: Invoice, parts: Iterable[CreditedLine]) -> bool:
    """Whether so much is still left of the invoice's lines."""
    left = {each.line: _left(invoice, each) for each in invoice.lines}
    return all(
        taken <= rest for part in parts for taken, rest in zip([part.net, *part.taxes], left[part.line], strict=True)
    )


def _left(invoice: Invoice, of: Line) -> list[Decimal]:
    """The net and each tax of a line, less what was credited."""
    left = [of.net, *(tax.amount for tax in of.taxes)]
    for credit in invoice.credits:
        for part in credit.lines:
            if part.line == of.line:
                left = [rest - taken for rest, taken in zip(left, [part.net, *part.taxes], strict=True)]
    return left


def credit_lines(invoice: Invoice, parts: Sequence[CreditedLine]) -> list[Line]:
    """The lines of the credit note itself."""
    of = {each.line: each for each in invoice.lines}
    exclusive = any(tax.mode is TaxMode.EXCLUSIVE for tax in invoice.taxes)
    lines = []
    for number, part in enumerate(parts, 1):
        source = of[part.line]
        whole = part.total == source.total
        lines.append(
            source.model_copy(
                update={
                    "line": number,
                    "quantity": source.quantity if whole else Decimal(1),
                    "unit_price": source.unit_price if whole else (part.net if exclusive else part.total),
                    "net": part.net,
                    "taxes": [
                        tax.model_copy(update={"amount": amount})
                        for tax, amount in zip(source.taxes, part.taxes, strict=True)
                    ],
                    "tax": sum(part.taxes, ZERO),
                    "total": part.total,
                }
            )
        )
    return lines


def number(series: str, year: int, sequence: int) -> str:
    """``INV-2026-000001``."""
    return f"{series}-{year}-{sequence:06}"


def _places(value: Decimal, places: int) -> bool:
    return value == value.quantize(Decimal(1).scaleb(-places))
