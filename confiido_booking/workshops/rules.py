"""What may happen to a public service session, decided without a database (seed 4.13).

    scheduled ──start──> in_progress ──complete──> completed
        └──────cancel────────┴────────> canceled

Events come as the store keeps them (camelCase mappings).
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

from bson import ObjectId

from confiido_booking import times
from confiido_booking.actors import Actor, Role
from confiido_booking.bookings.guards import Command
from confiido_booking.catalog.models import Service, ServiceType
from confiido_booking.catalog.rules import MAX_PARTICIPANTS
from confiido_booking.errors import BookingError, Conflict, FieldError, Invalid, NotAllowed, NotFound
from confiido_booking.experts.models import Expert

SOURCES = {
    "start": frozenset({"scheduled"}),
    "complete": frozenset({"scheduled", "in_progress"}),
    "cancel": frozenset({"scheduled", "in_progress"}),
    "move": frozenset({"scheduled"}),
    "edit": frozenset({"scheduled", "in_progress"}),
    "take a place in": frozenset({"scheduled"}),
}
MAX_HISTORY = 50
Raw = Mapping[str, Any]


def runs(event: Raw, actor: Actor) -> bool:
    """Whether this actor may command the event: staff, or the expert whose it is."""
    return actor.is_staff or (actor.role is Role.EXPERT and event.get("expertId") == actor.own_expert_id)


def sees(event: Raw, actor: Actor) -> bool:
    """L10: a public event is everybody's to see, a private one its client's and its expert's."""
    if event.get("visibility") == "public" or runs(event, actor):
        return True
    return actor.role is Role.CLIENT and any(seat["clientId"] == actor.id for seat in event.get("seats", []))


def why_not(action: str, event: Raw | None, actor: Actor, now: datetime) -> BookingError | None:
    """Why this actor may not do that to this event now; None = they may. The same conditions stand in the filters."""
    if event is None or event.get("visibility") != "public":
        return not_found()
    if action != "take a place in" and not runs(event, actor):
        return NotAllowed("Only the expert whose event it is, or an administrator, can do this")
    status = event["status"]
    if status not in SOURCES[action] or (action == "complete" and status == "scheduled" and event["startsAt"] > now):
        return refused(action, status)
    if action == "take a place in" and not actor.is_staff and event["startsAt"] <= now:
        return Conflict("This event has started already", code="already_started", details={"status": status})
    return None


def refused(action: str, status: str) -> Conflict:
    sentence = f"You cannot {action} an event that is {status.replace('_', ' ')}"
    return Conflict(sentence, code="transition_refused", details={"status": status})


def not_found() -> NotFound:
    return NotFound("Service session not found", code="service_session_not_found")


def capacity(asked: int | None, service: Service) -> int:
    """How many places an event has: as asked, else as the service says, else as many as there can be."""
    places = asked if asked is not None else (service.max_participants or MAX_PARTICIPANTS)
    if isinstance(places, bool) or not 1 <= places <= MAX_PARTICIPANTS:
        message = f"must be from 1 to {MAX_PARTICIPANTS}"
        raise Invalid(f"max_participants {message}", errors=[FieldError("max_participants", message)])
    return places


def check_times(starts: Sequence[datetime], service: Service, expert: Expert, actor: Actor, now: datetime) -> None:
    """The starts of one command, ascending: some, apart from each other with the expert's buffers, not past.

    Raises:
        Invalid: ``times_required``, ``times_overlap``, ``starts_in_past``.
    """
    if not starts:
        raise Invalid("starts_at or times is required", code="times_required", errors=[_at("is required")])
    between = timedelta(minutes=(service.duration or 0) + expert.buffer_before + expert.buffer_after)
    for one, other in pairwise(starts):
        if other - one < between:
            raise Invalid("Two of the times overlap", code="times_overlap", errors=[_at("overlap")])
    if starts[0] < now and not actor.is_staff:
        raise Invalid("The start lies in the past", code="starts_in_past", errors=[_at("lies in the past")])


def _at(message: str) -> FieldError:
    return FieldError("starts_at", message)


def event_type(service: Service) -> str:
    return "course_session" if service.service_type is ServiceType.COURSE else "workshop"


def event_document(
    service: Service,
    expert: Expert,
    command: Command,
    *,
    event_id: ObjectId,
    claim_id: ObjectId,
    starts_at: datetime,
    zone: str,
    places: int,
    number: int | None,
) -> dict[str, Any]:
    """A new public service session as the store keeps it. Title and version of the service are as of now."""
    document = {
        "_id": event_id,
        "expertId": expert.id,
        "serviceId": service.id,
        "serviceVersion": service.version,
        "sessionType": event_type(service),
        "visibility": "public",
        "title": service.name,
        "startsAt": starts_at,
        "endsAt": times.ends_at(starts_at, service.duration or 0),
        "timezone": zone,
        "bufferBefore": expert.buffer_before,
        "bufferAfter": expert.buffer_after,
        "maxParticipants": places,
        "currentParticipants": 0,
        "seats": [],
        "status": "scheduled",
        "rev": 1,
        "claimId": claim_id,
        "sequenceNumber": number,
        "requestKey": command.key,
        "history": [command.entry("scheduled")],
        "createdAt": command.now,
        "updatedAt": command.now,
    }
    return {name: value for name, value in document.items() if value is not None}


def minutes_of(event: Raw) -> tuple[datetime, datetime]:
    """What an event takes of its expert: its time and the buffers around."""
    before, after = (timedelta(minutes=event.get(name, 0)) for name in ("bufferBefore", "bufferAfter"))
    return event["startsAt"] - before, event["endsAt"] + after
