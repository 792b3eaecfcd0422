"""Booking, and reading what was booked (FRONTEND 2.1-2.3, 2.7)."""

from typing import Annotated, Any

from fastapi import Body, Path, Query
from pydantic import BaseModel, Field

from api import render
from api.answers import (
    booking_page,
    changed,
    expert_stats,
    one_session,
    pagination,
    payment_stats,
)
from api.door import Asking, Caller, Writer, Writing, WritingSession, router
from api.envelope import Answer, success
from api.routes.queries import ListQuery
from api.schemas import (
    READS,
    SESSION_WRITES,
    SHOWN,
    WRITES,
    ActionableSession,
    Asked,
    BookingView,
    ChangedSession,
    Pagination,
    Succeeded,
    WireId,
    refusals,
)
from confiido_booking.actors import Actor, Role
from confiido_booking.bookings.statuses import Medium
from confiido_booking.bookings.views import ClientRef
from confiido_booking.errors import FieldError, Invalid, NotAllowed
from confiido_booking.ids import Id
from confiido_booking.money import Money

api = router("Bookings", "/api/bookings")

BookingId = Annotated[WireId, Path(alias="bookingId")]
SessionId = Annotated[WireId, Path(alias="sessionId", description="Its sessionId, or its older _id")]
Listing = Annotated[ListQuery, Query()]


class BookSession(Asked):
    """A session to book. The time is ``startsAt``, or ``scheduledDate`` and ``startTime`` in ``timezone``."""

    expert_id: str = Field(
        min_length=1,
        max_length=64,
        description="The expert's _id, the expert's user _id, or the 4-digit number",
        examples=["1534"],
    )
    session_type: Medium
    duration: int = Field(ge=5, le=1440, description="Minutes", examples=[30])
    scheduled_date: str | None = Field(None, max_length=40, examples=["2025-08-29"])
    start_time: str | None = Field(None, max_length=10, examples=["12:30"])
    starts_at: str | None = Field(None, max_length=40, examples=["2025-08-29T12:30:00+05:30"])
    timezone: str | None = Field(None, max_length=64, description="Default: the expert's", examples=["Asia/Kolkata"])
    notes: str | None = Field(None, max_length=1000, examples=["Service: Resume Review"])
    source: str | None = Field(None, max_length=50)
    referral_source: str | None = Field(None, max_length=50)
    client_id: Id | None = Field(None, description="For whom; admin and service only")
    client_user_id: str | None = Field(None, pattern=r"^[0-9]{4}$")
    client_email: str | None = Field(None, max_length=254, description="Without clientId: whose client it is")
    client_name: str | None = Field(None, max_length=200)
    client_phone: str | None = Field(None, max_length=40)
    price: Money | None = Field(None, description="Admin and service only", examples=[20])
    currency: str | None = Field(None, max_length=3, examples=["INR"])
    force: bool = Field(False, description="Admin and service: past availability, notice and horizon; needs a reason")
    reason: str | None = Field(None, max_length=500)

    async def client(self, writer: Writer) -> ClientRef | None:
        """Whom staff books for: by clientId, or found or made by clientEmail."""
        if not writer.actor.is_staff:
            return None
        return await writer.confiido.customers.client_of(
            client_id=self.client_id,
            email=self.client_email,
            name=self.client_name,
            phone=self.client_phone,
            user_id=self.client_user_id,
        )


class PaymentStats(BaseModel):
    """Counts sessions; ``totalSpent`` is money received less refunds."""

    model_config = SHOWN

    total: int
    paid: int
    pending: int
    failed: int
    refunded: int
    total_spent: Money
    received: dict[str, Money] = Field(description="The same per currency")


class ExpertStats(BaseModel):
    model_config = SHOWN

    total_earnings: Money
    received: dict[str, Money] = Field(description="The same per currency")
    total_sessions: int
    total_bookings: int
    completed_sessions: int
    paid_sessions: int
    pending_sessions: int
    confirmed_sessions: int
    cancelled_sessions: int
    no_show_sessions: int


class BookingList(BaseModel):
    """``clientId`` and ``sessions[].expertId`` are objects here; ``sessions`` are those of the page."""

    bookings: list[dict[str, Any]]
    stats: PaymentStats
    pagination: Pagination


class ExpertBookingList(BaseModel):
    bookings: list[dict[str, Any]]
    stats: ExpertStats
    pagination: Pagination


class PriceOf(BaseModel):
    price: Money
    currency: str = Field(examples=["INR"])


class OneBooking(BaseModel):
    booking: BookingView


class OneSession(BaseModel):
    model_config = SHOWN

    booking_id: Id
    session: ActionableSession


@api.post("", status_code=201, response_model=Succeeded[ChangedSession], responses=WRITES, summary="Book a session")
async def book_session(writer: Writing, wish: BookSession) -> Answer:
    """A client books for themselves: the session is pending, held until `timeoutAt` where payment is due.

    An admin or a service books for `clientId`, or for `clientEmail`, whose client is found or made: the session is
    confirmed. The server sets price, currency and end.
    A taken slot answers 409 `slot_taken` with up to three free starts in `details.nextStarts`.
    """
    change = await writer.confiido.bookings.book(
        actor=writer.actor,
        expert=wish.expert_id,
        session_type=wish.session_type,
        duration=wish.duration,
        starts_at=wish.starts_at,
        scheduled_date=wish.scheduled_date,
        start_time=wish.start_time,
        timezone=wish.timezone,
        notes=wish.notes,
        client=await wish.client(writer),
        force=wish.force,
        reason=wish.reason,
        source=wish.source,
        referral_source=wish.referral_source,
        price=wish.price,
        currency=wish.currency,
        request_key=writer.request_key,
    )
    return changed(writer, change, "Session booked successfully", status=201)


@api.get("", response_model=Succeeded[BookingList], responses=READS, summary="The sessions within reach")
async def list_bookings(caller: Asking, query: Listing) -> Answer:
    """A client's own, an expert's own, for admin and service everybody's."""
    return await _list(caller, query, caller.actor)


@api.get(
    "/user", response_model=Succeeded[BookingList], responses=READS, summary="The caller's own sessions as a client"
)
async def list_own_bookings(caller: Asking, query: Listing) -> Answer:
    assert caller.actor.id is not None
    return await _list(caller, query, Actor.client(caller.actor.id), client_id=caller.actor.id)


@api.get(
    "/mentor/{user_id}",
    response_model=Succeeded[ExpertBookingList],
    responses=READS | refusals(403),
    summary="An expert's sessions",
)
async def list_expert_bookings(caller: Asking, user_id: str, query: Listing) -> Answer:
    """`user_id` is the expert's own 4-digit number; admin and service may name any."""
    if len(user_id) != 4 or not (user_id.isascii() and user_id.isdigit()):
        sentence = "Invalid mentor ID. Must be a 4-digit number."
        raise Invalid(sentence, errors=[FieldError("user_id", "must be a 4-digit number", "path")])
    confiido = caller.confiido
    viewed = await _expert_actor(caller, user_id)
    wanted = query.filter(confiido.settings)
    page = await confiido.bookings.list(
        actor=viewed, filters=wanted, page=query.page, limit=query.limit, cursor=query.cursor
    )
    data = {
        "bookings": await booking_page(caller, page, viewer=caller.actor, with_experts=False),
        "stats": expert_stats(await confiido.bookings.stats(actor=viewed), confiido.settings.currency),
        "pagination": pagination(page),
    }
    return success(data)


async def _expert_actor(caller: Caller, user_id: str) -> Actor:
    """The expert of that number, as whom the list is read. Others learn nothing of who has which number."""
    actor, experts = caller.actor, caller.confiido.experts
    if actor.is_staff:
        expert = await experts.get(user_id)
        assert expert.id is not None
        return Actor.expert(expert.user_id).as_expert(expert.id)
    if actor.role is Role.EXPERT:
        number = (await experts.own(actor)).expert_user_id if actor.expert_id else actor.user_id
        if number == user_id:
            return actor
    raise NotAllowed("Not authorized to view this mentor's bookings")


async def _list(caller: Caller, query: ListQuery, reach: Actor, **fixed: object) -> Answer:
    confiido = caller.confiido
    wanted = query.filter(confiido.settings, **fixed)
    page = await confiido.bookings.list(
        actor=reach, filters=wanted, page=query.page, limit=query.limit, cursor=query.cursor
    )
    data = {
        "bookings": await booking_page(caller, page, viewer=reach, with_experts=True),
        "stats": payment_stats(await confiido.bookings.stats(actor=reach), confiido.settings.currency),
        "pagination": pagination(page),
    }
    return success(data)


@api.get("/pricing", response_model=Succeeded[PriceOf], responses=READS, summary="What a session would cost")
async def price_of_session(
    caller: Asking,
    expert_id: Annotated[str, Query(alias="expertId", min_length=1, max_length=64, examples=["1534"])],
    session_type: Annotated[Medium, Query(alias="sessionType")],
    duration: Annotated[int, Query(ge=5, le=1440, examples=[30])],
) -> Answer:
    price = await caller.confiido.experts.price(expert_id, session_type=session_type, duration=duration)
    return success({"price": price.price, "currency": price.currency})


@api.get("/{bookingId}", response_model=Succeeded[OneBooking], responses=READS, summary="One client's booking")
async def read_booking(caller: Asking, booking_id: BookingId) -> Answer:
    """With its current sessions; archived ones come by listing. An expert sees the own sessions and no sums."""
    document = await caller.confiido.bookings.get(booking_id, actor=caller.actor)
    return success({"booking": render.booking(document, actor=caller.actor, now=caller.confiido.clock())})


@api.get(
    "/{bookingId}/sessions/{sessionId}",
    response_model=Succeeded[OneSession],
    responses=READS,
    summary="One session, with its ETag",
)
async def read_session(caller: Asking, booking_id: BookingId, session_id: SessionId) -> Answer:
    change = await caller.confiido.bookings.find_session(session_id, actor=caller.actor, booking_id=booking_id)
    return one_session(caller, change)


@api.patch(
    "/{bookingId}/sessions/{sessionId}",
    response_model=Succeeded[ChangedSession],
    responses=SESSION_WRITES,
    summary="Change what a session says beside its time, state and money",
)
async def patch_session(
    writer: WritingSession,
    booking_id: BookingId,
    session_id: SessionId,
    changes: Annotated[
        dict[str, Any],
        Body(
            description="Client: notes. Expert: also expertNotes, meetingLink, location. "
            "Admin and service: also internalNotes, customFields, source.",
            examples=[{"notes": "Please look at my portfolio first"}],
        ),
    ],
) -> Answer:
    """Another field of a session answers 403, an unknown one 422."""
    change = await writer.confiido.bookings.patch(
        booking_id,
        session_id,
        actor=writer.actor,
        changes=changes,
        request_key=writer.request_key,
        if_version=writer.if_version,
    )
    return changed(writer, change, "Session updated successfully")
