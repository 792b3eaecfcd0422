"""Invoices over HTTP: of sessions, standalone, paid, void, credited, as a list, as CSV and as PDF (seed 1.15, 1.16)."""

import asyncio
from datetime import date
from decimal import Decimal
from typing import Annotated, Any, Literal

from fastapi import Path, Query
from pydantic import BaseModel, BeforeValidator, EmailStr, Field, WithJsonSchema
from starlette.responses import Response

from api import render
from api.answers import etag
from api.door import Asking, Caller, Writing, WritingSession, router
from api.envelope import Answer, success
from api.routes.queries import moment, word
from api.routes.sessions import SalesSession, shown_session
from api.schemas import READS, SESSION_WRITES, SHOWN, WRITES, Asked, Pagination, Succeeded, WireId, refusals
from confiido_booking import times
from confiido_booking.billing import pdf
from confiido_booking.billing.models import Invoice, InvoiceStatus, Kind, Party, TaxMode
from confiido_booking.billing.reading import InvoiceFilter, Statement, pay_link
from confiido_booking.billing.rules import LineWish, TaxWish
from confiido_booking.database.documents import to_mongo
from confiido_booking.errors import FieldError, Invalid
from confiido_booking.ids import Id
from confiido_booking.money import Money
from confiido_booking.settings import Settings

api = router("Invoices", "/api/invoices")
of_session = router("Invoices", "/api/sessions")

InvoiceId = Annotated[WireId, Path(alias="id")]


def _exact(value: object) -> object:
    """A JSON number; a text that looks like one is none."""
    if isinstance(value, bool) or not isinstance(value, Decimal | int):
        raise ValueError("must be a number")
    return value


Number = Annotated[Decimal, BeforeValidator(_exact), WithJsonSchema({"type": "number"})]
_HIDDEN = ("taxes", "lost", "releasing", "settled", "paying", "allocations", "creditedParts", "datedAt", "bookingId")
_STAFF_ONLY = ("internalNotes", "history", "version")


class TaxAsked(Asked):
    name: str = Field(max_length=60, examples=["GST"])
    rate: Number = Field(description="A percent of at most 4 decimals", examples=[18])
    mode: TaxMode = Field(TaxMode.INCLUSIVE, description="Sessions: inclusive only")


class ClientAsked(Asked):
    name: str | None = Field(None, max_length=200, examples=["Ada Lovelace"])
    email: EmailStr | None = None
    address: str | None = Field(None, max_length=500)
    tax_id: str | None = Field(None, max_length=60)


class _Terms(Asked):
    taxes: list[TaxAsked] = Field(default_factory=list, max_length=10)
    due_date: str | None = Field(None, max_length=40, description="A day; default: some days after issue")
    notes: str | None = Field(None, max_length=1000)
    issue: bool = Field(True, description="false: a draft, without a number")
    client: ClientAsked | None = Field(None, description="What of the billing address is not known")


class SessionInvoiceAsked(_Terms):
    pass


class InvoiceAsked(_Terms):
    session_ids: list[Id] = Field(min_length=1, max_length=50)


class LineAsked(Asked):
    description: str = Field(max_length=500, examples=["Workbook"])
    quantity: Number = Field(Decimal(1), examples=[2])
    unit_price: Number = Field(examples=[250])


class StandaloneAsked(_Terms):
    client_id: Id | None = None
    currency: str | None = Field(None, max_length=10, examples=["INR"])
    lines: list[LineAsked] = Field(min_length=1, max_length=100)


class InvoiceChanged(Asked):
    """`status` issued, paid or void; or, without it, what of the invoice may still change."""

    status: Literal["issued", "paid", "void"] | None = None
    amount: Number | None = Field(None, description="With status paid; default: all that is outstanding")
    payment_method: str | None = Field(None, max_length=50, examples=["bank"])
    reference: str | None = Field(None, max_length=500)
    due_date: str | None = Field(None, max_length=40)
    internal_notes: str | None = Field(None, max_length=4000)


class Voided(Asked):
    reason: str = Field(min_length=1, max_length=500)


class CreditedLineAsked(Asked):
    line: int = Field(ge=1, le=100)
    amount: Number | None = Field(None, description="With tax; default: what is left of the line")


class CreditAsked(Asked):
    lines: list[CreditedLineAsked] | None = Field(None, max_length=100, description="Default: all of them")
    reason: str = Field(min_length=1, max_length=500)


class InvoiceView(Invoice):
    """`status` is derived from what was paid and the due date. Staff also see `internalNotes` and `history`."""

    model_config = SHOWN

    invoice_id: Id
    taxes: None = Field(None, exclude=True)  # type: ignore[assignment]
    lost: None = Field(None, exclude=True)  # type: ignore[assignment]
    releasing: None = Field(None, exclude=True)
    paying: None = Field(None, exclude=True)
    allocations: None = Field(None, exclude=True)  # type: ignore[assignment]
    credited_parts: None = Field(None, exclude=True)  # type: ignore[assignment]
    dated_at: None = Field(None, exclude=True)  # type: ignore[assignment]
    booking_id: None = Field(None, exclude=True)
    status: InvoiceStatus  # type: ignore[assignment]
    paid_amount: Money
    outstanding: Money
    credited_amount: Money | None = None
    overpaid: Money | None = Field(None, description="Money beyond what is due, since a credit note")
    needs_correction: bool | None = Field(None, description="An invoiced session was cancelled or refunded")
    pay_url: str | None = None
    due_date: str | None = None  # type: ignore[assignment]


class OneInvoice(BaseModel):
    invoice: InvoiceView


class SessionInvoiced(OneInvoice):
    session: SalesSession


class Credited(OneInvoice):
    model_config = SHOWN

    credit_note: InvoiceView


class InvoiceSums(BaseModel):
    issued: Money
    paid: Money
    outstanding: Money
    overdue: Money


class InvoiceList(BaseModel):
    invoices: list[InvoiceView]
    totals: dict[str, InvoiceSums] = Field(description="Of all that the filter finds, per currency")
    pagination: Pagination


class InvoiceQuery(BaseModel):
    """``from`` and ``to``: the date of issue, an instant with an offset or a whole day in the operator's zone."""

    model_config = SHOWN

    page: int = Field(1, ge=1, le=10_000)
    limit: int = Field(20, ge=1, le=100)
    cursor: str | None = Field(None, max_length=200, description="`nextCursor` of the page before")
    status: str | None = Field(None, max_length=50, examples=["overdue"])
    client_id: WireId | None = None
    session_id: WireId | None = None
    from_: str | None = Field(None, alias="from", max_length=40, examples=["2025-08-01"])
    to: str | None = Field(None, max_length=40, examples=["2025-08-31"])
    format: Literal["json", "csv"] = "json"

    def filter(self, settings: Settings) -> InvoiceFilter:
        named = word(self.status, "status", [status.value for status in InvoiceStatus])
        return InvoiceFilter(
            status=InvoiceStatus(named) if named else None,
            client_id=self.client_id,
            session_id=self.session_id,
            from_=moment(self.from_, "from", settings.timezone),
            to=moment(self.to, "to", settings.timezone, whole_day=True),
        )


@of_session.post(
    "/{id}/invoice",
    status_code=201,
    response_model=Succeeded[SessionInvoiced],
    responses=SESSION_WRITES,
    summary="Invoice a session",
)
async def invoice_session(
    writer: WritingSession, session_id: Annotated[WireId, Path(alias="id")], asked: SessionInvoiceAsked
) -> Answer:
    """A confirmed, completed or no-show session, once; its price has the taxes in it."""
    bookings = writer.confiido.bookings
    found = await bookings.find_session(session_id, actor=writer.actor)
    stated = await writer.confiido.invoices.of_sessions(
        actor=writer.actor,
        session_ids=[found.session_id],
        **_terms(asked),
        request_key=writer.request_key,
        if_version=writer.if_version,
    )
    change = await bookings.find_session(found.session_id, actor=writer.actor)
    data = {"invoice": _wire(writer, stated), "session": shown_session(writer, change)}
    headers = {"ETag": etag(change.raw_session["version"])}
    return success(data, "Invoice created successfully", status=201, headers=headers)


@api.post(
    "", status_code=201, response_model=Succeeded[OneInvoice], responses=WRITES, summary="Invoice a client's sessions"
)
async def invoice_sessions(writer: Writing, asked: InvoiceAsked) -> Answer:
    """Sessions of one client in one currency, each on at most one live invoice."""
    stated = await writer.confiido.invoices.of_sessions(
        actor=writer.actor, session_ids=asked.session_ids, **_terms(asked), request_key=writer.request_key
    )
    return _one(writer, stated, "Invoice created successfully", status=201)


@api.post(
    "/standalone",
    status_code=201,
    response_model=Succeeded[OneInvoice],
    responses=WRITES,
    summary="Invoice what is no session",
)
async def invoice_standalone(writer: Writing, asked: StandaloneAsked) -> Answer:
    stated = await writer.confiido.invoices.standalone(
        actor=writer.actor,
        currency=asked.currency or writer.confiido.settings.currency,
        lines=[LineWish(line.description, line.quantity, line.unit_price) for line in asked.lines],
        client_id=asked.client_id,
        **_terms(asked),
        request_key=writer.request_key,
    )
    return _one(writer, stated, "Invoice created successfully", status=201)


@api.get(
    "",
    response_model=Succeeded[InvoiceList],
    responses=READS | refusals(403) | {200: {"content": {"text/csv": {"schema": {"type": "string"}}}}},
    summary="The invoices within reach, with their sums",
)
async def list_invoices(caller: Asking, query: Annotated[InvoiceQuery, Query()]) -> Response:
    """Everybody's for admin and service, a client's own. `format=csv` gives all that the filter finds."""
    invoices, wanted = caller.confiido.invoices, query.filter(caller.confiido.settings)
    if query.format == "csv":
        headers = {"Content-Disposition": 'attachment; filename="invoices.csv"'}
        text = await invoices.csv(actor=caller.actor, filters=wanted)
        return Response(text, media_type="text/csv; charset=utf-8", headers=headers)
    found = await invoices.list(
        actor=caller.actor, filters=wanted, page=query.page, limit=query.limit, cursor=query.cursor
    )
    counts = {"page": found.page, "limit": found.limit, "total": found.total, "pages": found.pages}
    data = {
        "invoices": [_wire(caller, stated) for stated in found.statements],
        "totals": found.totals,
        "pagination": counts | ({"nextCursor": found.next_cursor} if found.next_cursor else {}),
    }
    return success(data)


@api.get("/{id}", response_model=Succeeded[OneInvoice], responses=READS, summary="One invoice or credit note")
async def read_invoice(caller: Asking, invoice_id: InvoiceId) -> Answer:
    return _one(caller, await caller.confiido.invoices.get(invoice_id, actor=caller.actor))


@api.get(
    "/{id}/pdf",
    response_class=Response,
    responses=READS | {200: {"content": {"application/pdf": {"schema": {"type": "string", "format": "binary"}}}}},
    summary="The same as a page to print",
)
async def read_invoice_pdf(caller: Asking, invoice_id: InvoiceId) -> Response:
    stated = await caller.confiido.invoices.get(invoice_id, actor=caller.actor)
    document = await asyncio.to_thread(pdf.render, stated, caller.confiido.settings)
    name = f"{stated.invoice.number or 'draft'}.pdf"
    headers = {"Content-Disposition": f'inline; filename="{name}"', "Cache-Control": "private, no-store"}
    return Response(document, media_type="application/pdf", headers=headers)


@api.put("/{id}", response_model=Succeeded[OneInvoice], responses=WRITES, summary="Issue, mark paid, void, or amend")
async def change_invoice(writer: Writing, invoice_id: InvoiceId, asked: InvoiceChanged) -> Answer:
    """`paid` records one payment for each line's outstanding, its sessions' included; `amount` a part of it."""
    _refuse_mixture(asked)
    invoices, key = writer.confiido.invoices, writer.request_key
    match asked.status:
        case "issued":
            stated = await invoices.issue(invoice_id, actor=writer.actor, request_key=key)
        case "void":
            stated = await invoices.void(invoice_id, actor=writer.actor, request_key=key)
        case "paid":
            stated = await invoices.mark_paid(
                invoice_id,
                actor=writer.actor,
                amount=asked.amount,
                method=asked.payment_method,
                reference=asked.reference,
                request_key=key,
            )
        case None:
            stated = await invoices.amend(
                invoice_id,
                actor=writer.actor,
                due_date=_day(asked.due_date),
                internal_notes=asked.internal_notes,
                request_key=key,
            )
    return _one(writer, stated, "Invoice updated successfully")


def _refuse_mixture(asked: InvoiceChanged) -> None:
    """One thing at a time: a request is done wholly or not at all."""
    given = asked.model_fields_set - {"status"}
    fields = {"paid": {"amount", "payment_method", "reference"}, None: {"due_date", "internal_notes"}}
    allowed: set[str] = fields.get(asked.status, set())
    if asked.status is None and not given:
        raise Invalid("There is nothing to change")
    if wrong := sorted(given - allowed):
        name = InvoiceChanged.model_fields[wrong[0]].alias or wrong[0]
        message = "does not go with this status" if asked.status else "needs the status paid"
        raise Invalid(f"{name} {message}", errors=[FieldError(name, message)])


@api.post("/{id}/void", response_model=Succeeded[OneInvoice], responses=WRITES, summary="Make an unpaid invoice void")
async def void_invoice(writer: Writing, invoice_id: InvoiceId, asked: Voided) -> Answer:
    """Its number stays; its sessions may be invoiced again."""
    stated = await writer.confiido.invoices.void(
        invoice_id, actor=writer.actor, reason=asked.reason, request_key=writer.request_key
    )
    return _one(writer, stated, "Invoice made void")


@api.post(
    "/{id}/credit-note",
    status_code=201,
    response_model=Succeeded[Credited],
    responses=WRITES,
    summary="Correct an issued invoice",
)
async def credit_invoice(writer: Writing, invoice_id: InvoiceId, asked: CreditAsked) -> Answer:
    """Moves no money. Wholly credited, its sessions may be invoiced again."""
    lines = [(line.line, line.amount) for line in asked.lines] if asked.lines is not None else None
    note, stated = await writer.confiido.invoices.credit(
        invoice_id, actor=writer.actor, reason=asked.reason, lines=lines, request_key=writer.request_key
    )
    data = {"creditNote": _wire(writer, note), "invoice": _wire(writer, stated)}
    return success(data, "Credit note created successfully", status=201)


def _terms(asked: _Terms) -> dict[str, Any]:
    client = asked.client
    party = (
        Party(name=client.name, email=client.email, address=client.address, tax_id=client.tax_id) if client else None
    )
    return {
        "taxes": [TaxWish(tax.name, tax.rate, tax.mode) for tax in asked.taxes],
        "due_date": _day(asked.due_date),
        "notes": asked.notes,
        "client": party,
        "issue": asked.issue,
    }


def _day(given: str | None) -> date | None:
    return times.parse_date(given, field="dueDate") if given is not None else None


def _one(caller: Caller, stated: Statement, message: str | None = None, *, status: int = 200) -> Answer:
    return success({"invoice": _wire(caller, stated)}, message, status=status)


def _wire(caller: Caller, stated: Statement) -> render.Wire:
    """An invoice as this caller may see it, its state and money as they are now."""
    invoice, balance, actor = stated.invoice, stated.balance, caller.actor
    hidden = _HIDDEN if actor.is_staff else (*_HIDDEN, *_STAFF_ONLY)
    stored = {name: value for name, value in to_mongo(invoice).items() if name not in hidden}
    wire: render.Wire = {
        **stored,
        "invoiceId": invoice.id,
        "status": balance.status.value,
        "paidAmount": balance.paid,
        "outstanding": balance.outstanding,
    }
    if invoice.due_date is not None:
        wire["dueDate"] = f"{invoice.due_date:%Y-%m-%d}"
    if "history" in wire:
        wire["history"] = [{k: v for k, v in entry.items() if k != "key"} for entry in wire["history"]]
    if invoice.kind is Kind.INVOICE:
        wire["creditedAmount"] = balance.credited
        extra = {"overpaid": balance.overpaid or None, "needsCorrection": balance.needs_correction or None}
        extra["payUrl"] = pay_link(stated, caller.confiido.settings)  # type: ignore[assignment]
        wire |= {name: value for name, value in extra.items() if value is not None}
    return wire
