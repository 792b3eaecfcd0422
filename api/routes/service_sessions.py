"""Workshops and the classes of courses over HTTP (ROUTES, seed 4.2, 4.13, 4.19)."""

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import Path, Query
from pydantic import BaseModel, Field

from api.door import Asking, Writing, router
from api.envelope import Answer, success
from api.routes.queries import moment
from api.routes.services import SNAKE, PlainPagination
from api.schemas import READS, WRITES, Succeeded, WireId
from confiido_booking.ids import Id
from confiido_booking.settings import Settings
from confiido_booking.workshops.reading import Attendee, EventFilter, EventView

api = router("Service sessions", "/api/v1/service-sessions")

EventId = Annotated[WireId, Path(alias="id")]


class EventsAsked(BaseModel):
    """One time (`starts_at`), several (`times`), or an RRULE from `starts_at` on: all of them are made, or none."""

    model_config = SNAKE

    service_id: Id
    starts_at: str | None = Field(None, max_length=40, examples=["2026-03-16T18:00:00+01:00"])
    times: list[str] | None = Field(None, max_length=1000, description="At most 200")
    rrule: str | None = Field(
        None, max_length=1000, description="Of the wall time in `timezone`", examples=["FREQ=WEEKLY;COUNT=8"]
    )
    timezone: str | None = Field(None, max_length=64, description="Default: the expert's", examples=["Europe/Berlin"])
    max_participants: int | None = Field(None, strict=True, description="Default: the service's", examples=[25])


class EventChanged(BaseModel):
    """What is given changes. All seats move with `starts_at`, and their clients may cancel with a full refund."""

    model_config = SNAKE

    starts_at: str | None = Field(None, max_length=40)
    title: str | None = Field(None, max_length=200)
    max_participants: int | None = Field(None, strict=True, description="Not less than are taken")
    reason: str | None = Field(None, max_length=500)


class EventCancelled(BaseModel):
    model_config = SNAKE

    reason: str | None = Field(None, max_length=500)


class AttendeeView(BaseModel):
    model_config = SNAKE

    session_id: Id
    client_id: Id
    name: str | None = None
    email: str | None = None
    status: str | None = None
    conflict: bool | None = Field(None, description="The client has another session at that time")


class ServiceSessionView(BaseModel):
    model_config = SNAKE

    id: Id
    service_session_id: Id
    service_id: Id | None = None
    service_version: int | None = None
    expert_id: Id | None = None
    session_type: str = Field(examples=["workshop"])
    visibility: str = Field(examples=["public"])
    title: str | None = None
    status: str = Field(examples=["scheduled"])
    start_time: datetime | None = None
    end_time: datetime | None = None
    timezone: str | None = None
    actual_start_time: datetime | None = None
    actual_end_time: datetime | None = None
    max_participants: int
    current_participants: int = Field(description="Held places count only while their hold lives")
    attendee_count: int
    attendees: list[AttendeeView] = Field(description="All for who runs it, the own entry for a client")
    sequence_number: int | None = Field(None, description="Of a class in its course")
    cancellation_reason: str | None = None


class OneServiceSession(BaseModel):
    service_session: ServiceSessionView


class ServiceSessionsMade(BaseModel):
    service_sessions: list[ServiceSessionView]


class ServiceSessionList(ServiceSessionsMade):
    pagination: PlainPagination


class EventQuery(BaseModel):
    """`from` and `to`: an instant with an offset, or a whole day."""

    model_config = SNAKE

    service_id: WireId | None = None
    expert_id: WireId | None = None
    when: Literal["upcoming", "past"] | None = Field(
        None, description="upcoming: scheduled, the next first; past: completed, the latest first"
    )
    from_: str | None = Field(None, alias="from", max_length=40, examples=["2026-03-01"])
    to: str | None = Field(None, max_length=40, examples=["2026-03-31"])
    page: int = Field(1, ge=1, le=10_000)
    limit: int = Field(20, ge=1, le=100)

    def filter(self, settings: Settings) -> EventFilter:
        return EventFilter(
            service_id=self.service_id,
            expert_id=self.expert_id,
            when=self.when,
            from_=moment(self.from_, "from", settings.timezone),
            to=moment(self.to, "to", settings.timezone, whole_day=True),
        )


@api.post(
    "",
    status_code=201,
    response_model=Succeeded[ServiceSessionsMade],
    responses=WRITES,
    summary="Make workshops, or the classes of a course",
)
async def create_service_sessions(writer: Writing, asked: EventsAsked) -> Answer:
    made = await writer.confiido.workshops.create(
        asked.service_id,
        actor=writer.actor,
        starts_at=asked.starts_at,
        times=asked.times,
        rrule=asked.rrule,
        timezone=asked.timezone,
        max_participants=asked.max_participants,
        request_key=writer.request_key,
    )
    data = {"service_sessions": [wire(view) for view in made]}
    return success(data, "Service sessions created successfully", status=201)


@api.get("", response_model=Succeeded[ServiceSessionList], responses=READS, summary="Service sessions within reach")
async def list_service_sessions(caller: Asking, query: Annotated[EventQuery, Query()]) -> Answer:
    """The public ones, and of private ones the own."""
    found = await caller.confiido.workshops.list(
        actor=caller.actor, filters=query.filter(caller.confiido.settings), page=query.page, limit=query.limit
    )
    counts = {"page": found.page, "limit": found.limit, "total": found.total, "pages": found.pages}
    return success({"service_sessions": [wire(view) for view in found.events], "pagination": counts})


@api.get("/{id}", response_model=Succeeded[OneServiceSession], responses=READS, summary="One service session")
async def read_service_session(caller: Asking, event_id: EventId) -> Answer:
    return _one(await caller.confiido.workshops.get(event_id, actor=caller.actor))


@api.patch("/{id}", response_model=Succeeded[OneServiceSession], responses=WRITES, summary="Edit or move an event")
async def change_service_session(writer: Writing, event_id: EventId, asked: EventChanged) -> Answer:
    changed = await writer.confiido.workshops.edit(
        event_id,
        actor=writer.actor,
        starts_at=asked.starts_at,
        title=asked.title,
        max_participants=asked.max_participants,
        reason=asked.reason,
        request_key=writer.request_key,
    )
    return _one(changed, "Service session updated successfully")


@api.post("/{id}/cancel", response_model=Succeeded[OneServiceSession], responses=WRITES, summary="Cancel an event")
async def cancel_service_session(writer: Writing, event_id: EventId, asked: EventCancelled | None = None) -> Answer:
    """Every session in it is cancelled; what was paid is due back."""
    reason = asked.reason if asked is not None else None
    changed = await writer.confiido.workshops.cancel(
        event_id, actor=writer.actor, reason=reason, request_key=writer.request_key
    )
    return _one(changed, "Service session cancelled successfully")


@api.post("/{id}/start", response_model=Succeeded[OneServiceSession], responses=WRITES, summary="It has begun")
async def start_service_session(writer: Writing, event_id: EventId) -> Answer:
    changed = await writer.confiido.workshops.start(event_id, actor=writer.actor, request_key=writer.request_key)
    return _one(changed, "Service session started")


@api.post("/{id}/complete", response_model=Succeeded[OneServiceSession], responses=WRITES, summary="It has ended")
async def complete_service_session(writer: Writing, event_id: EventId) -> Answer:
    changed = await writer.confiido.workshops.complete(event_id, actor=writer.actor, request_key=writer.request_key)
    return _one(changed, "Service session completed")


_NAMES = {
    "serviceId": "service_id",
    "serviceVersion": "service_version",
    "expertId": "expert_id",
    "sessionType": "session_type",
    "visibility": "visibility",
    "title": "title",
    "status": "status",
    "startsAt": "start_time",
    "endsAt": "end_time",
    "timezone": "timezone",
    "actualStartsAt": "actual_start_time",
    "actualEndsAt": "actual_end_time",
    "maxParticipants": "max_participants",
    "sequenceNumber": "sequence_number",
    "cancellationReason": "cancellation_reason",
}


def wire(view: EventView) -> dict[str, Any]:
    """A service session as the wire has it: snake_case, with seed 004's names."""
    event = view.document
    known = {shown: event[name] for name, shown in _NAMES.items() if event.get(name) is not None}
    return {
        "id": event["_id"],
        "service_session_id": event["_id"],
        **known,
        "current_participants": view.attendee_count,
        "attendee_count": view.attendee_count,
        "attendees": [_attendee(attendee) for attendee in view.attendees],
    }


def _attendee(attendee: Attendee) -> dict[str, Any]:
    known = {
        "session_id": attendee.session_id,
        "client_id": attendee.client_id,
        "name": attendee.name,
        "email": attendee.email,
        "status": attendee.status,
        "conflict": attendee.conflict or None,
    }
    return {name: value for name, value in known.items() if value is not None}


def _one(view: EventView, message: str | None = None) -> Answer:
    return success({"service_session": wire(view)}, message)
