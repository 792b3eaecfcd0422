"""Who came to an event, over HTTP (ROUTES; seed 4.3, 4.14, 4.15)."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field
from starlette.requests import Request

from api import body
from api.door import Asking, Writing, library, router
from api.envelope import Answer, success
from api.routes.provider_webhooks import DESCRIBED
from api.routes.service_sessions import EventId
from api.routes.services import SNAKE, ServiceId
from api.schemas import READS, WRITES, Succeeded, WireId, refusals
from confiido_booking.attendance.service import AttendeeRecord
from confiido_booking.ids import Id

api = router("Attendance", "/api/v1/service-sessions/{id}")
of_service = router("Attendance", "/api/v1/services/{id}")
told = APIRouter(prefix="/api/webhooks", tags=["Webhooks"])


class CheckedIn(BaseModel):
    model_config = SNAKE

    session_id: Id


class AttendanceEntry(BaseModel):
    model_config = SNAKE

    session_id: Id
    client_id: Id
    joined_at: datetime | None = None
    left_at: datetime | None = Field(None, description="Absent while they are there")
    duration_seconds: int = Field(description="All visits added up")
    attended: bool


class OneAttendee(BaseModel):
    attendee: AttendanceEntry


class AttendanceAnswer(BaseModel):
    model_config = SNAKE

    attendees: list[AttendanceEntry]
    no_shows: list[Id] = Field(description="Clients who booked and did not come, once it is over")


class JoinAnswer(BaseModel):
    model_config = SNAKE

    token: str
    url: str
    room: str
    expires_at: datetime


class Completion(BaseModel):
    model_config = SNAKE

    completion_rate: float | None = Field(None, description="In percent; absent: none has finished", examples=[87.5])


class CompletionQuery(BaseModel):
    model_config = SNAKE

    client_id: WireId | None = None


@api.post(
    "/token",
    response_model=Succeeded[JoinAnswer],
    responses=WRITES | refusals(503),
    summary="The right to join the room",
)
async def join(writer: Writing, event_id: EventId) -> Answer:
    """A client's with a confirmed place, the expert's own; from 15 minutes before the start to an hour after the
    end."""
    made = await writer.confiido.attendance.token(event_id, actor=writer.actor)
    return success({"token": made.token, "url": made.url, "room": made.room, "expires_at": made.expires_at})


@api.get("/attendance", response_model=Succeeded[AttendanceAnswer], responses=READS | refusals(403), summary="Who came")
async def read_attendance(caller: Asking, event_id: EventId) -> Answer:
    """Those who booked, with the time they were there; no-shows are those who booked less those who came."""
    seen = await caller.confiido.attendance.get(event_id, actor=caller.actor)
    no_shows = [each.client_id for each in seen.no_shows]
    return success({"attendees": [_wire(each) for each in seen.attendees], "no_shows": no_shows})


@api.post("/check-in", response_model=Succeeded[OneAttendee], responses=WRITES, summary="Somebody came in person")
async def check_in(writer: Writing, event_id: EventId, asked: CheckedIn) -> Answer:
    noted = await writer.confiido.attendance.check_in(event_id, asked.session_id, actor=writer.actor)
    return success({"attendee": _wire(noted)}, "Checked in")


@of_service.get(
    "/completion",
    response_model=Succeeded[Completion],
    responses=READS | refusals(403),
    summary="How many came to what has finished",
)
async def read_completion(caller: Asking, service_id: ServiceId, query: Annotated[CompletionQuery, Query()]) -> Answer:
    """A client's own rate; anybody's, or all clients', for who runs the service."""
    rate = await caller.confiido.attendance.completion(service_id, actor=caller.actor, client_id=query.client_id)
    return success({} if rate is None else {"completion_rate": rate})


@told.post("/livekit", **DESCRIBED, summary="An event of LiveKit's, by the token in its Authorization header")
async def from_livekit(request: Request) -> Answer:
    """Answered with 200 once it is stored; also for replays, and for rooms that are nobody's here."""
    confiido = library(request)
    raw = await body.received(request, confiido.settings.max_body_bytes)
    await confiido.attendance.receive(raw, request.headers.get("authorization", ""))
    return Answer({"received": True})


def _wire(record: AttendeeRecord) -> dict[str, Any]:
    seen = record.presence
    times = {"joined_at": seen.joined_at, "left_at": seen.left_at}
    return {
        "session_id": record.session_id,
        "client_id": record.client_id,
        **{name: at for name, at in times.items() if at is not None},
        "duration_seconds": seen.seconds,
        "attended": record.attended,
    }
