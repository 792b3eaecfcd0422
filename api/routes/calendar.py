"""A calendar over HTTP: the events of a span with who comes (ROUTES; seed 4.12)."""

from datetime import datetime, time
from typing import Annotated, Any

from fastapi import Query
from pydantic import BaseModel, Field

from api.door import Asking, router
from api.envelope import Answer, success
from api.routes.queries import moment
from api.routes.services import SNAKE
from api.schemas import READS, Succeeded, WireId
from confiido_booking import times
from confiido_booking.bookings.dialects import seat_word
from confiido_booking.calendar.showing import CalendarAttendee, CalendarEvent
from confiido_booking.ids import Id
from confiido_booking.settings import Settings

api = router("Calendar", "/api/v1/calendar")


class CalendarQuery(BaseModel):
    """`from` and `to`: an instant with an offset, or a whole day; at most 366 days apart."""

    model_config = SNAKE

    from_: str | None = Field(None, alias="from", max_length=40, description="Default: today", examples=["2026-03-01"])
    to: str | None = Field(None, max_length=40, description="Default: 31 days on", examples=["2026-03-31"])
    expert_id: WireId | None = None
    client_id: WireId | None = None

    def start(self, settings: Settings, now: datetime) -> datetime:
        asked = moment(self.from_, "from", settings.timezone)
        if asked is not None:
            return asked
        zone = times.zone(settings.timezone)
        return datetime.combine(now.astimezone(zone).date(), time(), tzinfo=zone)


class CalendarAttendeeView(BaseModel):
    model_config = SNAKE

    session_id: Id
    client_id: Id
    name: str | None = None
    email: str | None = None
    status: str | None = Field(None, examples=["confirmed"], description="pending_payment or confirmed")


class CalendarEventView(BaseModel):
    model_config = SNAKE

    service_session_id: Id
    title: str | None = None
    session_type: str = Field(description="individual, workshop or course_session", examples=["workshop"])
    start_time: datetime
    end_time: datetime
    timezone: str | None = None
    status: str = Field(description="scheduled, in_progress or completed", examples=["scheduled"])
    attendees: list[CalendarAttendeeView] = Field(description="All for who runs it, the own entry for a client")
    attendee_count: int


class CalendarEvents(BaseModel):
    events: list[CalendarEventView]


@api.get("", response_model=Succeeded[CalendarEvents], responses=READS, summary="The events of a span of time")
async def read_calendar(caller: Asking, query: Annotated[CalendarQuery, Query()]) -> Answer:
    """An expert sees the own events, a client those they come to, administration all. A workshop is one event with
    many attendees, a course one event for each class. What was cancelled is not shown."""
    confiido = caller.confiido
    events = await confiido.calendar.events(
        caller.actor,
        from_=query.start(confiido.settings, confiido.clock()),
        to=moment(query.to, "to", confiido.settings.timezone, whole_day=True),
        expert_id=query.expert_id,
        client_id=query.client_id,
    )
    return success({"events": [_wire(event) for event in events]})


def _wire(event: CalendarEvent) -> dict[str, Any]:
    known = {"title": event.title, "timezone": event.timezone}
    return {
        "service_session_id": event.service_session_id,
        **{name: value for name, value in known.items() if value is not None},
        "session_type": event.session_type,
        "start_time": event.starts_at,
        "end_time": event.ends_at,
        "status": event.status,
        "attendees": [_attendee(attendee) for attendee in event.attendees],
        "attendee_count": event.attendee_count,
    }


def _attendee(attendee: CalendarAttendee) -> dict[str, Any]:
    known = {
        "session_id": attendee.session_id,
        "client_id": attendee.client_id,
        "name": attendee.name,
        "email": attendee.email,
        "status": seat_word(attendee.status) if attendee.status else None,
    }
    return {name: value for name, value in known.items() if value is not None}
