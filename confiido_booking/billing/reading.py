"""Reading invoices: one with its sessions' money, lists with their sums, and the list as CSV.

A list finds its sessions' money in ``service_sessions``, as lists of sessions do (docs/decisions/0003); one invoice
reads the bookings and the archive, which are the truth.
"""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

from bson import ObjectId

from confiido_booking import times
from confiido_booking.actors import Actor, Role
from confiido_booking.billing import rules
from confiido_booking.billing.models import SEEN, Invoice, InvoiceStatus, Kind, Stored
from confiido_booking.billing.rules import Balance, SessionMoney
from confiido_booking.bookings import totals
from confiido_booking.bookings.context import Context
from confiido_booking.bookings.models import CURRENT
from confiido_booking.database.store import Document
from confiido_booking.errors import Invalid, NotAllowed, NotFound, wrong_field
from confiido_booking.money import ZERO
from confiido_booking.settings import Settings

MAX_LIMIT = 100
_BATCH = 1000
_MONEY = ("sessionId", "status", "paymentStatus", "currency", "price", "paidAmount", "refundAmount", "refundDue")
_LIGHT = dict.fromkeys(
    (
        *("kind", "series", "status", "currency", "total", "dueDate", "datedAt", "credits", "allocations"),
        *("lines.line", "lines.sessionId", "lines.description", "lines.unitPrice", "lines.net", "lines.total"),
    ),
    1,
)
_SUMS = ("issued", "paid", "outstanding", "overdue")


@dataclass(frozen=True, slots=True)
class Statement:
    """An invoice, and what it comes to now."""

    invoice: Invoice
    balance: Balance


def pay_link(statement: Statement, settings: Settings) -> str | None:
    """Where the client pays what is outstanding; none where the public address is not set or nothing is owed."""
    if not settings.public_url or not statement.balance.outstanding or statement.invoice.number is None:
        return None
    return f"{settings.public_url.rstrip('/')}/pay/invoices/{statement.invoice.id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class InvoiceFilter:
    """``from_``/``to``: the date of issue lies in [from, to); of a draft, the day it was made."""

    status: InvoiceStatus | None = None
    client_id: ObjectId | None = None
    session_id: ObjectId | None = None
    from_: datetime | None = None
    to: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class InvoicePage:
    """A page, the latest first. ``totals`` are over all that the filter finds, per currency: issued (less what was
    credited) = paid + outstanding; overdue is a part of outstanding."""

    statements: list[Statement] = field(default_factory=list)
    totals: dict[str, dict[str, Decimal]] = field(default_factory=dict)
    total: int = 0
    page: int = 1
    limit: int = 20
    next_cursor: str | None = None

    @property
    def pages(self) -> int:
        return -(-self.total // self.limit)


def today(context: Context) -> date:
    """The day in the operator's zone."""
    return context.clock().astimezone(times.zone(context.settings.timezone)).date()


async def find(context: Context, invoice_id: ObjectId, actor: Actor) -> Statement:
    """One invoice or credit note. A client sees the own ones that were issued, an expert none.

    Raises:
        NotFound: ``invoice_not_found``, also where it is not theirs to see.
    """
    raw = await context.store.find_one("read invoice", "invoices", {"_id": invoice_id, "status": {"$in": SEEN}})
    if raw is None or not _is_seen(raw, actor):
        raise not_found()
    return await stated(context, Invoice.model_validate(raw))


def not_found() -> NotFound:
    return NotFound("Invoice not found", code="invoice_not_found")


def _is_seen(raw: Document, actor: Actor) -> bool:
    if actor.role is Role.CLIENT:
        return raw.get("clientId") == actor.id and "number" in raw
    return actor.is_staff


async def stated(context: Context, invoice: Invoice) -> Statement:
    """With the balance, by the sessions as they are."""
    return Statement(invoice, rules.balance(invoice, await _true_money(context, invoice), today(context)))


async def _true_money(context: Context, invoice: Invoice) -> dict[ObjectId, SessionMoney]:
    wanted = set(invoice.session_ids)
    if not wanted:
        return {}
    columns = {f"sessions.{name}": 1 for name in _MONEY}
    booking = await context.store.find_one(
        "read booking", "bookings", {"clientId": invoice.client_id, **CURRENT}, columns
    )
    found = [session for session in (booking or {}).get("sessions", []) if session["sessionId"] in wanted]
    missing = wanted - {session["sessionId"] for session in found}
    if missing:
        kept = await context.store.find("read archive", "booking_archive", {"_id": {"$in": list(missing)}})
        found += [copy["session"] for copy in kept]
    return {session["sessionId"]: _money(session) for session in found}


def _money(session: Mapping[str, object]) -> SessionMoney:
    line = totals.line(session)
    return SessionMoney(line.status, line.payment_status, line.price, line.paid, line.refunded, line.refund_due)


async def page(
    context: Context, actor: Actor, wanted: InvoiceFilter, *, page: int, limit: int, cursor: str | None
) -> InvoicePage:
    """A page of the invoices within reach, with the sums of all of them."""
    if not 1 <= limit <= MAX_LIMIT or page < 1:
        raise _invalid("limit", f"must be 1 to {MAX_LIMIT}, and page at least 1")
    after = _place(cursor) if cursor else None
    found = await _found(context, actor, wanted)
    rest = [each for each in found if after is None or _order(each.invoice) < after]
    start = 0 if after is not None else (page - 1) * limit
    shown = rest[start : start + limit]
    whole = await _whole(context, [each.invoice.id for each in shown])
    statements = [Statement(whole[each.invoice.id], each.balance) for each in shown if each.invoice.id in whole]
    more = len(rest) > start + limit
    return InvoicePage(
        statements=statements,
        totals=sums(found),
        total=len(found),
        page=page,
        limit=limit,
        next_cursor=_cursor(shown[-1].invoice) if more and shown else None,
    )


async def everything(context: Context, actor: Actor, wanted: InvoiceFilter) -> list[Statement]:
    """All that the filter finds, the latest first."""
    found = await _found(context, actor, wanted)
    whole = await _whole(context, [each.invoice.id for each in found])
    return [Statement(whole[each.invoice.id], each.balance) for each in found if each.invoice.id in whole]


async def totals_of(context: Context, actor: Actor, wanted: InvoiceFilter) -> dict[str, dict[str, Decimal]]:
    """The sums of all that the filter finds, as a page of them has."""
    return sums(await _found(context, actor, wanted))


async def overdue_among(context: Context, sessions: Sequence[ObjectId]) -> set[ObjectId]:
    """Those of these sessions that stand on an issued invoice whose due date has passed."""
    day = today(context)
    passed = {"status": Stored.ISSUED.value, "dueDate": {"$lt": datetime(day.year, day.month, day.day, tzinfo=UTC)}}
    late: set[ObjectId] = set()
    for begin in range(0, len(sessions), _BATCH):
        query = {**passed, "lines.sessionId": {"$in": list(sessions[begin : begin + _BATCH])}}
        for invoice in await context.store.find("read overdue", "invoices", query, {"lines.sessionId": 1}):
            late.update(line["sessionId"] for line in invoice["lines"] if "sessionId" in line)
    return late.intersection(sessions)


async def _found(context: Context, actor: Actor, wanted: InvoiceFilter) -> list[Statement]:
    """What the filter finds, each with no more of it than its balance needs: states are derived, not stored."""
    query = _query(actor, wanted)
    order = [("datedAt", -1), ("_id", -1)]
    raws = await context.store.find("list invoices", "invoices", query, _LIGHT, sort=order)
    invoices = [Invoice.model_validate(raw) for raw in raws]
    money: dict[ObjectId, SessionMoney] = {}
    ids = list(dict.fromkeys(session for invoice in invoices for session in invoice.session_ids))
    columns = {f"listing.{name}": 1 for name in _MONEY}
    for begin in range(0, len(ids), _BATCH):
        named = {"listing.sessionId": {"$in": ids[begin : begin + _BATCH]}}
        for entry in await context.store.find("list sessions", "service_sessions", named, columns):
            money[entry["listing"]["sessionId"]] = _money(entry["listing"])
    day = today(context)
    stated = [Statement(invoice, rules.balance(invoice, money, day)) for invoice in invoices]
    return [each for each in stated if wanted.status is None or each.balance.status is wanted.status]


def _query(actor: Actor, wanted: InvoiceFilter) -> Document:
    if actor.role is Role.EXPERT:
        raise NotAllowed("Only clients and administrators see invoices")
    query: Document = {"status": {"$in": SEEN}}
    if wanted.status is not None:
        stored = wanted.status.value if wanted.status.value in SEEN else Stored.ISSUED.value
        query["status"] = stored
    if wanted.client_id is not None:
        query["clientId"] = wanted.client_id
    if wanted.session_id is not None:
        query["lines.sessionId"] = wanted.session_id
    if wanted.from_ is not None or wanted.to is not None:
        span = {"$gte": wanted.from_, "$lt": wanted.to}
        query["datedAt"] = {operator: moment for operator, moment in span.items() if moment is not None}
    if actor.role is Role.CLIENT:
        own: Document = {"clientId": actor.id, "number": {"$exists": True}}
        return {"$and": [query, own]}
    return query


async def _whole(context: Context, ids: Sequence[ObjectId]) -> dict[ObjectId, Invoice]:
    whole: dict[ObjectId, Invoice] = {}
    for begin in range(0, len(ids), _BATCH):
        named = {"_id": {"$in": list(ids[begin : begin + _BATCH])}}
        for raw in await context.store.find("read invoices", "invoices", named):
            whole[raw["_id"]] = Invoice.model_validate(raw)
    return whole


def sums(statements: Iterable[Statement]) -> dict[str, dict[str, Decimal]]:
    """Per currency what was issued and has not been credited, and how much of it is paid, outstanding, overdue."""
    found: dict[str, dict[str, Decimal]] = {}
    for each in statements:
        invoice, balance = each.invoice, each.balance
        if invoice.kind is not Kind.INVOICE or invoice.status is not Stored.ISSUED:
            continue
        of = found.setdefault(invoice.currency, dict.fromkeys(_SUMS, ZERO))
        of["issued"] += invoice.total - balance.credited
        of["paid"] += balance.paid
        of["outstanding"] += balance.outstanding
        if balance.status is InvoiceStatus.OVERDUE:
            of["overdue"] += balance.outstanding
    return found


_COLUMNS = (
    *("number", "kind", "status", "issuedAt", "dueDate", "client", "email", "currency"),
    *("subtotal", "tax", "total", "paidAmount", "outstanding", "refers", "invoiceId"),
)
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def to_csv(statements: Iterable[Statement], zone: str) -> str:
    """The list as CSV (RFC 4180, UTF-8 with a BOM for spreadsheets). No cell can be taken for a formula."""
    text = io.StringIO()
    text.write("\N{BYTE ORDER MARK}")
    writer = csv.writer(text)
    writer.writerow(_COLUMNS)
    tz = times.zone(zone)
    for each in statements:
        invoice, balance = each.invoice, each.balance
        cells = (
            invoice.number or "",
            invoice.kind.value,
            balance.status.value,
            f"{invoice.issued_at.astimezone(tz):%Y-%m-%d}" if invoice.issued_at else "",
            f"{invoice.due_date:%Y-%m-%d}" if invoice.due_date else "",
            invoice.client.name or "",
            invoice.client.email or "",
            invoice.currency,
            *(f"{each:f}" for each in (invoice.subtotal, invoice.tax, invoice.total)),
            *(f"{each:f}" for each in (balance.paid, balance.outstanding)),
            invoice.refers_number or "",
            str(invoice.id),
        )
        writer.writerow([f"'{cell}" if cell.startswith(_FORMULA) else cell for cell in cells])
    return text.getvalue()


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _order(invoice: Invoice) -> tuple[datetime, ObjectId]:
    return invoice.dated_at, invoice.id


def _cursor(invoice: Invoice) -> str:
    """Where a page ended: its last invoice's place. Opaque to callers."""
    return f"{(invoice.dated_at - _EPOCH) // timedelta(milliseconds=1):x}-{invoice.id}"


def _place(cursor: str) -> tuple[datetime, ObjectId]:
    moment, _, identifier = cursor.partition("-")
    try:
        if len(moment) > 12 or not ObjectId.is_valid(identifier):
            raise ValueError
        return _EPOCH + timedelta(milliseconds=int(moment, 16)), ObjectId(identifier)
    except (ValueError, OverflowError):
        raise _invalid("cursor", "is not one that a page gave") from None


def _invalid(field_name: str, message: str) -> Invalid:
    return wrong_field(field_name, message, location="query")
