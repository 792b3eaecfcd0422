"""Sessions in the words of seed 004 (SPEC 4, "Dialects"): a booking is a seat, its time that of its service session."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

from bson import ObjectId
from fastapi import Path, Query
from pydantic import BaseModel, Field

from api.answers import etag
from api.door import Asking, Writing, router
from api.envelope import Answer, success
from api.routes.services import SNAKE, PlainPagination
from api.schemas import READS, WRITES, Succeeded, WireId
from confiido_booking.bookings import rules
from confiido_booking.bookings.dialects import seat_word
from confiido_booking.bookings.reading import SessionFilter, in_status
from confiido_booking.catalog.models import ServiceType
from confiido_booking.catalog.rules import cents
from confiido_booking.database.store import Document
from confiido_booking.ids import Id
from confiido_booking.money import exact

api = router("Orders", "/api/v1/bookings")

SeatBookingId = Annotated[WireId, Path(alias="id", description="The session's id")]


class SeatBooking(BaseModel):
    """Money in the currency's minor unit. ``price_charged_cents`` is 0 for a class of a course, which was paid as a
    whole: its exact share of the price is ``share_cents``."""

    model_config = SNAKE

    id: Id
    order_id: Id | None = None
    service_session_id: Id | None = None
    service_id: Id | None = None
    service_version: int | None = None
    service_type: ServiceType | None = None
    client_id: Id
    expert_id: Id | None = None
    title: str | None = None
    medium: str | None = None
    status: Literal["draft", "pending_payment", "confirmed", "canceled"]
    session_status: str = Field(examples=["confirmed"])
    payment_status: str = Field(examples=["paid"])
    start_time: str | None = Field(None, description="Absent of a draft", examples=["2026-03-03T18:00:00.000Z"])
    end_time: str | None = None
    timezone: str | None = None
    duration_minutes: int | None = None
    price_charged_cents: int
    share_cents: int
    paid_cents: int
    refunded_cents: int
    refund_due_cents: int | None = None
    currency: str
    hold_until: str | None = Field(None, description="Until when it is held unpaid")
    valid_until: str | None = Field(None, description="Until when a draft can be scheduled")
    conflict: bool | None = None
    cancellation_reason: str | None = None


class OneSeatBooking(BaseModel):
    booking: SeatBooking


class SeatBookingList(BaseModel):
    bookings: list[SeatBooking]
    pagination: PlainPagination


class SeatBookingQuery(BaseModel):
    model_config = SNAKE

    service_type: ServiceType | None = Field(None, description="What was bought, e.g. all classes of courses")
    order_id: WireId | None = None
    service_id: WireId | None = None
    client_id: WireId | None = None
    when: Literal["upcoming", "past"] | None = Field(
        None, description="upcoming: the next first; past: the latest first; neither has what was cancelled"
    )
    page: int = Field(1, ge=1, le=10_000)
    limit: int = Field(20, ge=1, le=100)

    def filter(self, now: datetime) -> SessionFilter:
        named = {"listing.serviceType": self.service_type, "listing.orderId": self.order_id}
        conditions: list[Mapping[str, Any]] = [{name: value} for name, value in named.items() if value is not None]
        if self.when is not None:
            conditions.append({"$nor": [in_status("cancelled", now)]})
        return SessionFilter(
            service_id=self.service_id,
            client_id=self.client_id,
            from_=now if self.when == "upcoming" else None,
            to=now if self.when == "past" else None,
            sort="startsAt" if self.when == "upcoming" else "-startsAt",
            conditions=conditions,
        )


class Scheduled(BaseModel):
    """`starts_at` of a session with an expert, `service_session_id` of a place in a workshop."""

    model_config = SNAKE

    starts_at: str | None = Field(None, max_length=40, examples=["2026-03-16T18:00:00+01:00"])
    service_session_id: Id | None = None
    expert_id: str | None = Field(None, max_length=24, description="Another expert, by an administrator")


@api.get("", response_model=Succeeded[SeatBookingList], responses=READS, summary="Bookings within reach")
async def list_seat_bookings(caller: Asking, query: Annotated[SeatBookingQuery, Query()]) -> Answer:
    """A client's own, an expert's own sessions, all for staff."""
    now = caller.confiido.clock()
    found = await caller.confiido.bookings.list(
        actor=caller.actor, filters=query.filter(now), page=query.page, limit=query.limit
    )
    counts = {"page": found.page, "limit": found.limit, "total": found.total, "pages": found.pages}
    bookings = [wire(session, booking["clientId"], now) for booking, session in found.sessions]
    return success({"bookings": bookings, "pagination": counts})


@api.put("/{id}/schedule", response_model=Succeeded[OneSeatBooking], responses=WRITES, summary="Give a draft its time")
async def schedule_booking(writer: Writing, session_id: SeatBookingId, asked: Scheduled) -> Answer:
    """Within its validity; confirmed where it is paid. An event of its workshop, or a free time of its expert."""
    change = await writer.confiido.orders.schedule(
        session_id,
        actor=writer.actor,
        starts_at=asked.starts_at,
        service_session_id=asked.service_session_id,
        expert=asked.expert_id,
        request_key=writer.request_key,
    )
    session = change.raw_session
    data = {"booking": wire(session, change.document["clientId"], writer.confiido.clock())}
    return success(data, "Booking scheduled successfully", headers={"ETag": etag(session["version"])})


_NAMES = {
    "orderId": "order_id",
    "serviceSessionId": "service_session_id",
    "serviceId": "service_id",
    "serviceVersion": "service_version",
    "serviceType": "service_type",
    "expertId": "expert_id",
    "title": "title",
    "sessionType": "medium",
    "paymentStatus": "payment_status",
    "startsAt": "start_time",
    "endsAt": "end_time",
    "timezone": "timezone",
    "duration": "duration_minutes",
    "validUntil": "valid_until",
    "conflict": "conflict",
    "cancellationReason": "cancellation_reason",
}


def wire(session: Document, client_id: ObjectId, now: datetime) -> dict[str, Any]:
    """A session as seed 004 has it: snake_case, money in minor units, a lapsed hold cancelled."""
    status, code = rules.status_now(session, now), session["currency"]
    share = cents(exact(session.get("price")), code)
    held = status in ("pending", "draft") and session.get("timeoutAt")
    known = {shown: session[name] for name, shown in _NAMES.items() if session.get(name) is not None}
    due = session.get("refundDue")
    return {
        "id": session["sessionId"],
        "client_id": client_id,
        **known,
        "status": seat_word(status),
        "session_status": status,
        "price_charged_cents": 0 if session.get("serviceType") == ServiceType.COURSE else share,
        "share_cents": share,
        "paid_cents": cents(exact(session.get("paidAmount")), code),
        "refunded_cents": cents(exact(session.get("refundAmount")), code),
        "currency": code,
        **({"hold_until": session["timeoutAt"]} if held else {}),
        **({"refund_due_cents": cents(exact(due), code)} if due is not None else {}),
    }
