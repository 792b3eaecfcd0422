"""Reading service sessions: upcoming ascending, past descending, one with who comes (seed 4.19, L10)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from bson import ObjectId

from confiido_booking.actors import Actor, Role
from confiido_booking.attendance.rules import status_of
from confiido_booking.bookings.context import Context
from confiido_booking.bookings.models import CURRENT
from confiido_booking.calendar import seats
from confiido_booking.database.store import Document
from confiido_booking.workshops import commanding, rules

_EVENTS = {"$in": ["public", "private"]}
_NOT_LISTED = dict.fromkeys(("outbox", "history", "requestKey", "claimId"), 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class EventFilter:
    """What a list of service sessions is asked for. ``from_``/``to``: the start lies in [from, to).

    ``when``: ``upcoming`` is scheduled and to come, the next first; ``past`` is completed, the latest first.
    """

    service_id: ObjectId | None = None
    expert_id: ObjectId | None = None
    when: Literal["upcoming", "past"] | None = None
    from_: datetime | None = None
    to: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Attendee:
    """Somebody with a place, as the one who runs the event sees them."""

    session_id: ObjectId
    client_id: ObjectId
    name: str | None = None
    email: str | None = None
    status: str | None = None
    conflict: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class EventView:
    """A service session as an actor may see it. ``attendees``: all for who runs it, the own one for a client;
    ``attendee_count`` is true for everybody: held places count only while their hold lives."""

    document: Document
    attendee_count: int
    attendees: Sequence[Attendee] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class EventPage:
    events: list[EventView] = field(default_factory=list)
    total: int = 0
    page: int = 1
    limit: int = 20

    @property
    def pages(self) -> int:
        return -(-self.total // self.limit)


async def list_events(context: Context, actor: Actor, wanted: EventFilter, *, page: int, limit: int) -> EventPage:
    """A page of the service sessions this actor may see: public ones, and the private ones that are theirs."""
    now = context.clock()
    query = _query(actor, wanted, now)
    direction = -1 if wanted.when == "past" else 1
    found = await context.store.find(
        "list events",
        "service_sessions",
        query,
        _NOT_LISTED,
        sort=[("startsAt", direction), ("_id", direction)],
        skip=(page - 1) * limit,
        limit=limit,
    )
    total = await context.store.count("count events", "service_sessions", query)
    return EventPage(events=[view(event, actor, now) for event in found], total=total, page=page, limit=limit)


def _query(actor: Actor, wanted: EventFilter, now: datetime) -> Document:
    query: Document = {"visibility": _EVENTS, "status": {"$ne": "draft"}}
    conditions = _visible(actor)
    if wanted.service_id is not None:
        query["serviceId"] = wanted.service_id
    if wanted.expert_id is not None:
        query["expertId"] = wanted.expert_id
    if wanted.when == "past":
        query["status"] = "completed"
    elif wanted.when == "upcoming":
        query["status"] = "scheduled"
        conditions += [
            {"startsAt": {"$gte": now}},
            {"$nor": [{"listing.status": "pending", "listing.timeoutAt": {"$lte": now}}]},
        ]
    span = {"$gte": wanted.from_, "$lt": wanted.to}
    if any(span.values()):
        query["startsAt"] = {operator: moment for operator, moment in span.items() if moment is not None}
    return query | ({"$and": conditions} if conditions else {})


def _visible(actor: Actor) -> list[Document]:
    """L10 as a filter."""
    if actor.is_staff:
        return []
    theirs = {"listing.clientId": actor.id} if actor.role is Role.CLIENT else {"expertId": actor.own_expert_id}
    return [{"$or": [{"visibility": "public"}, {"visibility": "private", **theirs}]}]


async def get(context: Context, event_id: ObjectId, actor: Actor) -> EventView:
    """One service session, with the names of those who come for who runs it.

    Raises:
        NotFound: ``service_session_not_found``, also where it is not theirs to see.
    """
    event = await commanding.read(context, event_id)
    if not rules.sees(event, actor):
        raise rules.not_found()
    return await with_names(context, event, actor)


async def with_names(context: Context, event: Document, actor: Actor) -> EventView:
    """An event that was read with its seats."""
    now = context.clock()
    if not rules.runs(event, actor):
        return view(event, actor, now)
    clients = [seat["clientId"] for seat in seats.live(event, now)]
    this = {"$elemMatch": {"serviceSessionId": event["_id"], "status": {"$ne": "cancelled"}}}
    columns = {"clientId": 1, "clientName": 1, "clientEmail": 1, "sessions": this}
    query = {"clientId": {"$in": clients}, **CURRENT}
    found = await context.store.find("read attendees", "bookings", query, columns) if clients else []
    return view(event, actor, now, {booking["clientId"]: booking for booking in found})


def view(
    event: Document, actor: Actor, now: datetime, bookings: Mapping[ObjectId, Document] | None = None
) -> EventView:
    """The event as this actor may see it, with what is known of the clients."""
    coming = seats.live(event, now)
    theirs = [seat for seat in coming if rules.runs(event, actor) or seat["clientId"] == actor.id]
    attendees = [_attendee(seat, (bookings or {}).get(seat["clientId"], {})) for seat in theirs]
    shown = {**event, "status": status_of(event)}
    return EventView(document=shown, attendee_count=len(coming), attendees=attendees)


def _attendee(seat: Document, booking: Mapping[str, Any]) -> Attendee:
    sessions = booking.get("sessions") or [{}]
    return Attendee(
        session_id=seat["sessionId"],
        client_id=seat["clientId"],
        name=booking.get("clientName"),
        email=booking.get("clientEmail"),
        status=sessions[0].get("status"),
        conflict=bool(seat.get("conflict")),
    )
