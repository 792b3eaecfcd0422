"""What a calendar shows of a span of time: the events in it with who comes (seed 4.12, 4.18; L10).

A month is two commands, however many events it has: the entries of that time, where an individual session, an event
and each seat have one; then the names of those who come. Where the calendar is one client's, the events they have a
seat in are read between the two, and the own name is not.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from bson import ObjectId

from confiido_booking.actors import Actor, Role
from confiido_booking.attendance.rules import status_of
from confiido_booking.bookings.models import CURRENT
from confiido_booking.calendar import seats
from confiido_booking.database.store import Document, Store
from confiido_booking.errors import FieldError, Invalid
from confiido_booking.times import MAX_DURATION

MAX_SPAN = timedelta(days=366)
USUAL_SPAN = timedelta(days=31)
_SHOWN = ["scheduled", "in_progress", "completed"]
_HOLDS_A_SEAT = ["pending", "confirmed", "completed", "no-show"]
_COLUMNS = dict.fromkeys(
    (
        "eventId",
        "expertId",
        "serviceId",
        "title",
        "sessionType",
        "visibility",
        "startsAt",
        "endsAt",
        "timezone",
        "status",
        "room.status",
        "room.startsAt",
        "sequenceNumber",
        "seats.clientId",
        "seats.sessionId",
        "seats.heldUntil",
        "listing.sessionId",
        "listing.clientId",
        "listing.status",
        "listing.timeoutAt",
    ),
    1,
)
Raw = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class CalendarAttendee:
    """Somebody with a place. ``status`` is their session's (SPEC 4)."""

    session_id: ObjectId
    client_id: ObjectId
    name: str | None = None
    email: str | None = None
    status: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CalendarEvent:
    """One event. ``attendees``: all for who runs it, the own one for a client; ``attendee_count`` is true for both."""

    service_session_id: ObjectId
    title: str | None
    session_type: str
    starts_at: datetime
    ends_at: datetime
    timezone: str | None
    status: str
    attendees: Sequence[CalendarAttendee]
    attendee_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Events that lie in it at least in part. ``expert_id``, ``client_id``: only theirs."""

    from_: datetime
    to: datetime
    expert_id: ObjectId | None = None
    client_id: ObjectId | None = None


async def show(store: Store, span: Span, actor: Actor, now: datetime) -> list[CalendarEvent]:
    """The events of a span, ascending. An expert sees the own, a client the own, staff all; who asks for somebody
    else's sees none. What was cancelled, what lapsed and what has no time is not shown.

    Raises:
        Invalid: ``invalid_span``: empty, or over 366 days.
    """
    check(span)
    whose = _whose(span, actor)
    if whose is None:
        return []
    found = await store.find("read calendar", "service_sessions", query(span, whose), _COLUMNS)
    events = [entry for entry in found if entry["visibility"] != "seat"]
    statuses = {entry["listing"]["sessionId"]: entry["listing"]["status"] for entry in found if "listing" in entry}
    if "listing.clientId" in whose:
        wanted = [entry["eventId"] for entry in found if entry["visibility"] == "seat" and not _is_lapsed(entry, now)]
        shared = {"_id": {"$in": wanted}, "status": {"$in": _SHOWN}}
        events += await store.find("read events", "service_sessions", shared, _COLUMNS) if wanted else []
    events = sorted((e for e in events if not _is_lapsed(e, now)), key=lambda e: (e["startsAt"], e["_id"]))
    names = await _names(store, events, actor, now)
    return [_shown(event, actor, now, statuses, names) for event in events]


def check(span: Span) -> None:
    if not timedelta() < span.to - span.from_ <= MAX_SPAN:
        message = "must lie after from, by at most 366 days"
        raise Invalid(f"to {message}", code="invalid_span", errors=[FieldError("to", message, "query")])


def _whose(span: Span, actor: Actor) -> Document | None:
    """L10 as a filter; None where it asks for somebody else's."""
    own: Document = {}
    if actor.role is Role.CLIENT:
        own = {"listing.clientId": actor.id}
    elif not actor.is_staff:
        own = {"expertId": actor.own_expert_id}
    asked = {"expertId": span.expert_id, "listing.clientId": span.client_id}
    wanted = {name: value for name, value in asked.items() if value is not None}
    if any(own.get(name, value) != value for name, value in wanted.items()):
        return None
    return own | wanted


def query(span: Span, whose: Raw) -> Document:
    """The entries of that time; a seat's tells its session's status."""
    return {
        **whose,
        "startsAt": {"$gt": span.from_ - timedelta(minutes=MAX_DURATION), "$lt": span.to},
        "endsAt": {"$gt": span.from_},
        "$or": [
            {"visibility": "seat", "listing.status": {"$in": _HOLDS_A_SEAT}},
            {"visibility": {"$in": ["public", "private"]}, "status": {"$in": _SHOWN}},
        ],
    }


def _is_lapsed(entry: Raw, now: datetime) -> bool:
    """Of a private one and of a seat: its hold is over, whether or not anything has swept it."""
    listing = entry.get("listing") or {}
    until = listing.get("timeoutAt")
    return listing.get("status") == "pending" and until is not None and until <= now


def _visible_seats(event: Raw, actor: Actor, now: datetime) -> list[Document]:
    return [s for s in seats.live(event, now) if actor.role is not Role.CLIENT or s["clientId"] == actor.id]


async def _names(store: Store, events: Sequence[Document], actor: Actor, now: datetime) -> Mapping[ObjectId, Raw]:
    """Who they are. A client knows the own name."""
    if actor.role is Role.CLIENT:
        return {actor.id: {"clientName": actor.name, "clientEmail": actor.email}} if actor.id else {}
    clients = {seat["clientId"] for event in events for seat in _visible_seats(event, actor, now)}
    if not clients:
        return {}
    columns = {"clientId": 1, "clientName": 1, "clientEmail": 1, "_id": 0}
    known = {"clientId": {"$in": sorted(clients)}, **CURRENT}
    return {found["clientId"]: found for found in await store.find("read attendees", "bookings", known, columns)}


def _shown(
    event: Raw, actor: Actor, now: datetime, statuses: Mapping[ObjectId, str], names: Mapping[ObjectId, Raw]
) -> CalendarEvent:
    return CalendarEvent(
        service_session_id=event["_id"],
        title=event.get("title"),
        session_type=event["sessionType"],
        starts_at=event["startsAt"],
        ends_at=event["endsAt"],
        timezone=event.get("timezone"),
        status=status_of(event),
        attendee_count=len(seats.live(event, now)),
        attendees=[
            CalendarAttendee(
                session_id=seat["sessionId"],
                client_id=seat["clientId"],
                name=names.get(seat["clientId"], {}).get("clientName"),
                email=names.get(seat["clientId"], {}).get("clientEmail"),
                status=statuses.get(seat["sessionId"]),
            )
            for seat in _visible_seats(event, actor, now)
        ],
    )
