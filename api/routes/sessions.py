"""Reading sessions in the words of the sales workflow (SPEC 4, "Dialects"; ROUTES): lists, one, overview, calendar."""

from typing import Annotated, Any

from bson import ObjectId
from fastapi import Path, Query
from pydantic import BaseModel, Field
from starlette.responses import Response

from api import render
from api.answers import etag, pagination, payment_stats
from api.door import Asking, Caller, router
from api.envelope import Answer, success
from api.routes.booking_commands import Text500
from api.routes.bookings import PaymentStats
from api.routes.queries import ListQuery, moment
from api.schemas import READS, SHOWN, Asked, Pagination, SessionView, Succeeded, WireId, refusals
from confiido_booking.actors import Role
from confiido_booking.addresses import Person
from confiido_booking.bookings import rules
from confiido_booking.bookings.dialects import SALES_WORDS, in_sales_word, is_paid, sales_spelled, sales_word
from confiido_booking.bookings.models import AddOn
from confiido_booking.bookings.reading import SessionFilter
from confiido_booking.bookings.views import Change
from confiido_booking.calendar import ics
from confiido_booking.database.store import Document
from confiido_booking.errors import Conflict, FieldError, Invalid
from confiido_booking.ids import Id
from confiido_booking.money import Money

api = router("Sessions", "/api/sessions")

SalesId = Annotated[WireId, Path(alias="id", description="Its sessionId, or its older _id")]
_MEETING = ("confirmed", "completed", "no-show")


class QuoteView(BaseModel):
    """The quote in force. ``total``: the amount and the add-ons' prices. It holds no time."""

    model_config = SHOWN

    quote_id: Id
    amount: Money
    add_ons: list[AddOn]
    total: Money
    expires_at: str | None = None
    text: str | None = None
    expired: bool


class SalesSession(SessionView):
    """``status`` is a word of the sales workflow, ``sessionStatus`` the one of the other routes."""

    status: str = Field(examples=["booked"])  # type: ignore[assignment]
    session_status: str = Field(examples=["confirmed"])
    booking_id: Id
    client_id: Id
    client_email: str | None = None
    client: dict[str, Any]
    paid: bool = Field(description="Nothing is left to pay, or nothing ever was")
    quote: QuoteView | None = None
    allowed_actions: list[str] = Field(examples=[["cancel", "patch"]], description="What the caller could do to it now")


class SessionList(BaseModel):
    model_config = SHOWN

    sessions: list[SalesSession]
    counts: dict[str, int] = Field(
        description="Sessions by their word, of all that the other filters find", examples=[{"request": 2, "booked": 5}]
    )
    stats: PaymentStats
    pagination: Pagination


class OneSalesSession(BaseModel):
    session: SalesSession


class Reasoned(Asked):
    reason: Text500 = Field(None, examples=["I am ill"])


class OverviewSums(BaseModel):
    booked: Money
    paid: Money
    refunded: Money
    outstanding: Money
    invoiced: Money
    overdue: Money


class OverviewShown(BaseModel):
    totals: dict[str, OverviewSums] = Field(description="Per currency")
    counts: dict[str, int]
    upcoming: list[SalesSession]


class OverviewQuery(BaseModel):
    """Sessions that start, and invoices issued, from one day to another."""

    model_config = SHOWN

    from_: str | None = Field(None, alias="from", max_length=40, examples=["2025-08-01"])
    to: str | None = Field(None, max_length=40, description="A day is included whole", examples=["2025-08-31"])
    currency: str | None = Field(None, max_length=3, description="Only of that one", examples=["INR"])


@api.get("", response_model=Succeeded[SessionList], responses=READS, summary="The sessions within reach, by their word")
async def list_sessions(caller: Asking, query: Annotated[ListQuery, Query()]) -> Answer:
    """`status` is one of request, quoted, draft, booked, paid, invoiced, completed, no-show, cancelled: every session
    has exactly one of them, so tabs made of them never overlap. `counts` are for all of the tabs."""
    confiido, now = caller.confiido, caller.confiido.clock()
    word = _sales_word(query.status)
    of_all = query.filter(confiido.settings, status=None)
    wanted = query.filter(confiido.settings, status=None, conditions=[in_sales_word(word, now)] if word else [])
    page = await confiido.bookings.list(
        actor=caller.actor, filters=wanted, page=query.page, limit=query.limit, cursor=query.cursor
    )
    everything = await confiido.bookings.stats(actor=caller.actor)
    unfiltered = of_all == SessionFilter(sort=of_all.sort)
    found = everything if unfiltered else await confiido.bookings.stats(actor=caller.actor, filters=of_all)
    data = {
        "sessions": [shown(caller, booking, session) for booking, session in page.sessions],
        "counts": found.by_word,
        "stats": payment_stats(everything, confiido.settings.currency),
        "pagination": pagination(page),
    }
    return success(data)


@api.get(
    "/overview",
    response_model=Succeeded[OverviewShown],
    responses=READS | refusals(403),
    summary="Money, sessions by their word, and what comes next",
)
async def read_overview(caller: Asking, query: Annotated[OverviewQuery, Query()]) -> Answer:
    """Of everybody's for staff; of the own for an expert, whose invoiced and overdue are those of the own sessions."""
    zone = caller.confiido.settings.timezone
    found = await caller.confiido.reports.overview(
        actor=caller.actor,
        from_=moment(query.from_, "from", zone),
        to=moment(query.to, "to", zone, whole_day=True),
        currency=query.currency or None,
    )
    upcoming = [shown(caller, booking, session) for booking, session in found.upcoming.sessions]
    return success({"totals": found.totals, "counts": found.counts, "upcoming": upcoming})


@api.get(
    "/{id}.ics",
    response_class=Response,
    responses=READS | refusals(409) | {200: {"content": {"text/calendar": {}}, "description": "An iCalendar file"}},
    summary="One session for a calendar",
)
async def session_for_calendars(caller: Asking, session_id: SalesId) -> Response:
    """The same event for ever: fetched again, it moves or cancels what a calendar has. Without a time: 409."""
    change = await caller.confiido.bookings.find_session(session_id, actor=caller.actor)
    session, booking, now = change.raw_session, change.document, caller.confiido.clock()
    if not ics.has_time(session):
        raise Conflict("The session has no time yet", code="no_time")
    event = ics.event(
        session,
        now=now,
        with_link=caller.actor.role is not Role.CLIENT or rules.status_now(session, now) in _MEETING,
        organizer=Person(session.get("expertEmail")),
        attendee=Person(booking.get("clientEmail"), booking.get("clientName")),
    )
    disposition = {"Content-Disposition": f'attachment; filename="session-{session["sessionId"]}.ics"'}
    return Response(ics.file([event]), media_type=ics.MEDIA_TYPE, headers=disposition)


@api.get("/{id}", response_model=Succeeded[OneSalesSession], responses=READS, summary="One session, with its ETag")
async def find_session(caller: Asking, session_id: SalesId) -> Answer:
    change = await caller.confiido.bookings.find_session(session_id, actor=caller.actor)
    return one(caller, change)


async def named(caller: Caller, session_id: ObjectId) -> tuple[ObjectId, ObjectId]:
    """(booking, session) of a session that this caller may see. Raises NotFound ``session_not_found`` (L10)."""
    found = await caller.confiido.bookings.find_session(session_id, actor=caller.actor)
    return found.booking_id, found.session_id


def one(caller: Caller, change: Change, message: str | None = None, *, status: int = 200, **further: object) -> Answer:
    """An answer about one session: ``data {session}`` and its ``ETag``."""
    headers = {"ETag": etag(change.raw_session["version"])}
    return success({"session": shown_session(caller, change), **further}, message, status=status, headers=headers)


def shown_session(caller: Caller, change: Change) -> render.Wire:
    """``data.session``: in the words of the sales workflow, with what the caller could do to it."""
    return shown(caller, change.document, change.raw_session)


def shown(caller: Caller, booking: Document, session: Document) -> render.Wire:
    now = caller.confiido.clock()
    wire = {
        **render.session_with_actions(session, actor=caller.actor, now=now),
        "status": sales_word(session, now),
        "sessionStatus": rules.status_now(session, now),
        "bookingId": booking["_id"],
        "clientId": booking["clientId"],
        "client": render.client(booking),
        "paid": is_paid(session),
    }
    if booking.get("clientEmail"):
        wire["clientEmail"] = booking["clientEmail"]
    quote = rules.current_quote(session)
    return wire if quote is None else {**wire, "quote": {**quote, "expired": rules.is_expired(quote, now)}}


def _sales_word(given: str | None) -> str | None:
    if not given:
        return None
    word = sales_spelled(given)
    if word not in SALES_WORDS:
        wrong = FieldError("status", f"must be one of {', '.join(SALES_WORDS)}", "query")
        raise Invalid(f"status {wrong.message}", errors=[wrong])
    return word
