"""Documents as they are first written: of sessions, standalone, and the credit note of an invoice."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime

from bson import ObjectId

from confiido_booking import money, times
from confiido_booking.actors import Actor
from confiido_booking.billing import rules
from confiido_booking.billing.models import SERIES, Credit, CreditedLine, Invoice, Kind, Party, Stored
from confiido_booking.billing.rules import LineWish, TaxWish
from confiido_booking.bookings import finding, guards, totals
from confiido_booking.bookings import rules as booking_rules
from confiido_booking.bookings.context import Context
from confiido_booking.bookings.rules import text
from confiido_booking.database.store import Document
from confiido_booking.errors import Invalid, NotFound, wrong_field
from confiido_booking.settings import Settings

MAX_SESSIONS = 50


@dataclass(frozen=True, slots=True)
class Terms:
    """What every invoice is drawn up with."""

    invoice_id: ObjectId
    now: datetime
    taxes: Sequence[TaxWish]
    due_date: date | None
    notes: str | None
    client: Party | None


def seller(settings: Settings) -> Party:
    """Who bills, as it is printed on what is issued now."""
    address = settings.seller_address.replace("\\n", "\n") or None
    return Party(name=settings.seller_name, address=address, tax_id=settings.seller_tax_id or None)


async def of_sessions(context: Context, terms: Terms, *, session_ids: Sequence[ObjectId], actor: Actor) -> Invoice:
    """An invoice of these sessions, a line each.

    Raises:
        NotFound, Invalid; Conflict for a session that cannot be invoiced in the state it is in.
    """
    if not 1 <= len(session_ids) <= MAX_SESSIONS:
        raise wrong_field("sessionIds", f"must be 1 to {MAX_SESSIONS}", "invalid_lines")
    taxes = rules.checked_taxes(terms.taxes, of_sessions=True)
    booking, sessions = await _sessions(context, session_ids, actor)
    if len({session["sessionId"] for session in sessions}) < len(sessions):
        raise wrong_field("sessionIds", "must name each session once", "invalid_lines")
    for session in sessions:
        refusal = booking_rules.why_not("invoice", session, actor, terms.now)
        if refusal is not None and refusal.code != "already_invoiced":  # by whom, is for the guard to find out
            raise refusal
    currencies = sorted({session["currency"] for session in sessions})
    if len(currencies) > 1:
        sentence = "The sessions have different currencies"
        raise Invalid(sentence, code="mixed_currency", details={"currencies": currencies})
    lines = [
        rules.line(
            number,
            _description(session),
            totals.line(session).price,
            taxes,
            currencies[0],
            session_id=session["sessionId"],
        )
        for number, session in enumerate(sessions, 1)
    ]
    known = Party(name=booking.get("clientName"), email=booking.get("clientEmail"))
    return rules.with_sums(
        Invoice(
            id=terms.invoice_id,
            series=SERIES[Kind.INVOICE],
            status=Stored.PLACING,
            client_id=booking["clientId"],
            booking_id=booking["_id"],
            client=_merged(known, terms.client),
            currency=currencies[0],
            taxes=taxes,
            lines=lines,
            **_common(terms),
        )
    )


async def _sessions(context: Context, session_ids: Sequence[ObjectId], actor: Actor) -> tuple[Document, list[Document]]:
    """The booking and its sessions, in the order asked for; current ones, archived ones where the guard says so."""
    first = await finding.find_session(context, session_ids[0], actor)
    if len(session_ids) == 1:
        return first.document, [first.raw_session]
    booking = await finding.get(context, first.booking_id, actor)
    found = []
    for session_id in session_ids:
        own = (s for s in booking["sessions"] if session_id in (s["sessionId"], s.get("_id")))
        session = next(own, None)
        if session is None:
            elsewhere = await finding.find_session(context, session_id, actor)
            if elsewhere.document["clientId"] != booking["clientId"]:
                raise Invalid("The sessions are of different clients", code="mixed_clients")
            session = elsewhere.raw_session
        found.append(session)
    return booking, found


async def standalone(
    context: Context, terms: Terms, *, currency: str, lines: Sequence[LineWish], client_id: ObjectId | None
) -> Invoice:
    """An invoice without sessions."""
    code = money.currency(currency)
    taxes = rules.checked_taxes(terms.taxes, of_sessions=False)
    client = _merged(await _known(context, client_id), terms.client)
    if not client.name and not client.email:
        raise wrong_field("client", "needs a name or an e-mail, or a clientId", "client_required")
    return rules.with_sums(
        Invoice(
            id=terms.invoice_id,
            series=SERIES[Kind.INVOICE],
            status=Stored.PLACING,
            client_id=client_id,
            client=client,
            currency=code,
            taxes=taxes,
            lines=rules.standalone_lines(lines, taxes, code),
            **_common(terms),
        )
    )


async def _known(context: Context, client_id: ObjectId | None) -> Party:
    if client_id is None:
        return Party()
    booking = await context.store.find_one(
        "find client", "bookings", guards.of_client(client_id), {"clientName": 1, "clientEmail": 1}
    )
    if booking is not None:
        return Party(name=booking.get("clientName"), email=booking.get("clientEmail"))
    user = await context.store.find_one("find user", "users", {"_id": client_id}, {"name": 1, "email": 1})
    if user is None:
        raise NotFound("Client not found", code="client_not_found")
    return Party(name=user.get("name"), email=user.get("email"))


def credit_note(
    invoice: Invoice, parts: Sequence[CreditedLine], note_id: ObjectId, now: datetime, reason: str
) -> Invoice:
    """The credit note that takes back these parts of an invoice."""
    return rules.with_sums(
        Invoice(
            id=note_id,
            kind=Kind.CREDIT_NOTE,
            series=SERIES[Kind.CREDIT_NOTE],
            status=Stored.PLACING,
            refers=invoice.id,
            refers_number=invoice.number,
            client_id=invoice.client_id,
            client=invoice.client,
            currency=invoice.currency,
            taxes=invoice.taxes,
            lines=rules.credit_lines(invoice, parts),
            credited_parts=list(parts),
            reason=reason,
            created_at=now,
            dated_at=now,
        )
    )


def credit_entry(note: Invoice, now: datetime) -> Credit:
    """The note's entry on the invoice that it corrects."""
    return Credit(credit_note_id=note.id, at=now, lines=note.credited_parts)


def _common(terms: Terms) -> dict[str, object]:
    due = terms.due_date
    return {
        "notes": text(terms.notes, "notes") if terms.notes else None,
        "due_date": datetime(due.year, due.month, due.day, tzinfo=UTC) if due else None,
        "created_at": terms.now,
        "dated_at": terms.now,
    }


def _description(session: Document) -> str:
    """What a line says of its session: what it was, how long, and when, by its own clock."""
    what = session.get("title") or f"{str(session['sessionType']).capitalize()} session"
    when = ""
    if session.get("startsAt") is not None:
        local = session["startsAt"].astimezone(times.zone(session["timezone"]))
        when = f", {local.day} {local:%b %Y, %H:%M}"
    return f"{what}, {session['duration']} min{when}"


def _merged(known: Party, given: Party | None) -> Party:
    """Who is billed: what is known, and over it what was given."""
    if given is None:
        return known
    limits = {"name": 200, "email": 320, "address": 500, "tax_id": 60}
    wanted = {name: value for name in limits if (value := getattr(given, name)) is not None}
    checked = {name: text(value, f"client.{name}", limit=limits[name]).strip() for name, value in wanted.items()}
    return known.model_copy(update=checked)
