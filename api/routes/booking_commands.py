"""A session's life over HTTP: confirm, cancel, complete, pay, expire, move (FRONTEND 2.4-2.6, 2.8-2.10, 3)."""

import asyncio
from typing import Annotated, Any, Literal, Protocol

from bson import ObjectId
from pydantic import BaseModel, Field

from api.answers import changed
from api.door import Asking, Caller, Writer, Writing, WritingSession, router
from api.envelope import Answer, success
from api.routes.bookings import BookingId, SessionId
from api.schemas import SESSION_WRITES, SHOWN, WRITES, Asked, ChangedSession, Succeeded, refusals
from confiido_booking.bookings import rules
from confiido_booking.bookings.views import Change
from confiido_booking.errors import FieldError, Invalid, NotFound
from confiido_booking.ids import Id

api = router("Session commands", "/api/bookings")
moves = router("Rescheduling", "/api/bookings")

Text500 = Annotated[str | None, Field(max_length=500)]
Changed = Succeeded[ChangedSession]


class SessionNamed(Asked):
    session_id: Id = Field(description="The session's sessionId, or its older _id")


class SessionCancelled(SessionNamed):
    reason: Text500 = Field(None, examples=["I am ill"])


class SessionUndone(SessionNamed):
    reason: str = Field(min_length=1, max_length=500, examples=["The client did come, late"])


class PaymentCompleted(SessionNamed):
    payment_method: str | None = Field(None, max_length=50, examples=["online"])
    loyalty_points_used: int = Field(0, ge=0, description="0: points cannot be used yet")


class _Command(Protocol):
    async def __call__(
        self,
        booking_id: ObjectId,
        session_id: ObjectId,
        /,
        *,
        actor: Any,
        request_key: str | None = None,
        if_version: int | None = None,
    ) -> Change: ...


async def _run(writer: Writer, command: _Command, booking_id: ObjectId, session_id: ObjectId, message: str) -> Answer:
    change = await command(
        booking_id,
        session_id,
        actor=writer.actor,
        request_key=writer.request_key,
        if_version=writer.if_version,
    )
    return changed(writer, change, message)


@api.put("/{bookingId}/confirm", response_model=Changed, responses=SESSION_WRITES, summary="pending → confirmed")
async def confirm_session(writer: WritingSession, booking_id: BookingId, named: SessionNamed) -> Answer:
    """By the expert, admin or service, paid or not, while its hold lives."""
    command = writer.confiido.bookings.confirm
    return await _run(writer, command, booking_id, named.session_id, "Session confirmed successfully")


@api.put("/{bookingId}/complete", response_model=Changed, responses=SESSION_WRITES, summary="confirmed → completed")
async def complete_session(writer: WritingSession, booking_id: BookingId, named: SessionNamed) -> Answer:
    command = writer.confiido.bookings.complete
    return await _run(writer, command, booking_id, named.session_id, "Session marked as completed")


@api.put("/{bookingId}/no-show", response_model=Changed, responses=SESSION_WRITES, summary="confirmed → no-show")
async def mark_no_show(writer: WritingSession, booking_id: BookingId, named: SessionNamed) -> Answer:
    """By the expert or admin, once the start has passed."""
    command = writer.confiido.bookings.no_show
    return await _run(writer, command, booking_id, named.session_id, "Session marked as no-show")


@api.put("/{bookingId}/cancel", response_model=Changed, responses=SESSION_WRITES, summary="Cancel, and free the time")
async def cancel_session(writer: WritingSession, booking_id: BookingId, named: SessionCancelled) -> Answer:
    """A client before the start, or earlier where the expert's policy says so. Moves no money."""
    change = await writer.confiido.bookings.cancel(
        booking_id,
        named.session_id,
        actor=writer.actor,
        reason=named.reason,
        request_key=writer.request_key,
        if_version=writer.if_version,
    )
    return changed(writer, change, "Session cancelled successfully")


@api.put(
    "/{bookingId}/undo", response_model=Changed, responses=SESSION_WRITES, summary="completed or no-show → confirmed"
)
async def undo_session(writer: WritingSession, booking_id: BookingId, named: SessionUndone) -> Answer:
    """By an admin; by the expert for a no-show."""
    change = await writer.confiido.bookings.undo(
        booking_id,
        named.session_id,
        actor=writer.actor,
        reason=named.reason,
        request_key=writer.request_key,
        if_version=writer.if_version,
    )
    return changed(writer, change, "Session set back to confirmed")


@api.put(
    "/{bookingId}/complete-payment",
    response_model=Changed,
    responses=SESSION_WRITES | refusals(402),
    summary="Record that the price was paid, and confirm",
)
async def complete_payment(writer: WritingSession, booking_id: BookingId, paid: PaymentCompleted) -> Answer:
    """A client's word alone answers 402 until a verified payment exists; admin and service are believed. Repeatable."""
    if paid.loyalty_points_used:
        wrong = FieldError("loyaltyPointsUsed", "must be 0: points cannot be used")
        raise Invalid("Loyalty points cannot be used", code="loyalty_unavailable", errors=[wrong])
    change = await writer.confiido.bookings.complete_payment(
        booking_id,
        paid.session_id,
        actor=writer.actor,
        payment_method=paid.payment_method,
        request_key=writer.request_key,
        if_version=writer.if_version,
    )
    return changed(writer, change, "Payment completed successfully")


@api.put(
    "/{bookingId}/cancel-expired-session",
    response_model=Changed,
    responses=SESSION_WRITES,
    summary="Cancel a session whose hold has lapsed",
)
async def cancel_expired_session(writer: WritingSession, booking_id: BookingId, named: SessionNamed) -> Answer:
    command = writer.confiido.bookings.expire
    return await _run(writer, command, booking_id, named.session_id, "Expired session cancelled successfully")


class Timeout(Asked):
    booking_id: Id
    session_id: Id


class Timeouts(Asked):
    timeouts: list[Timeout] = Field(max_length=100)


class ExpiredSession(BaseModel):
    model_config = SHOWN

    booking_id: Id
    session_id: Id
    status: str = Field(examples=["cancelled"])
    reason: str


class ExpiredSessions(BaseModel):
    model_config = SHOWN

    expired_sessions: list[ExpiredSession]


@api.post(
    "/timeout/sync",
    response_model=Succeeded[ExpiredSessions],
    responses=WRITES,
    summary="Which of these holds have lapsed; they are cancelled",
)
async def sync_timeouts(writer: Writing, given: Timeouts) -> Answer:
    """Sessions that are not the caller's are passed over."""
    pairs = [(timeout.booking_id, timeout.session_id) for timeout in given.timeouts]
    changes = await writer.confiido.bookings.lapsed(pairs, actor=writer.actor)
    expired = [
        {
            "bookingId": change.document["_id"],
            "sessionId": change.session_id,
            "status": "cancelled",
            "reason": change.raw_session.get("cancellationReason", rules.EXPIRED_REASON),
        }
        for change in changes
    ]
    message = f"Synced {len(pairs)} timeouts, {len(expired)} sessions expired"
    return success({"expiredSessions": expired}, message)


class SessionsNamed(Asked):
    session_ids: list[Id] = Field(max_length=50)


class SessionTimeout(BaseModel):
    model_config = SHOWN

    session_id: Id
    booking_id: Id
    status: str
    timeout_at: str | None = None
    timeout_status: str | None = None


class SessionTimeouts(BaseModel):
    model_config = SHOWN

    session_statuses: list[SessionTimeout]


@api.post(
    "/timeout/status",
    response_model=Succeeded[SessionTimeouts],
    responses=WRITES,
    summary="How it stands with these holds",
)
async def timeout_status(caller: Asking, given: SessionsNamed) -> Answer:
    """Sessions that are not the caller's are passed over."""
    found = await asyncio.gather(*(_found(caller, session_id) for session_id in dict.fromkeys(given.session_ids)))
    return success({"sessionStatuses": [_timeout(caller, change) for change in found if change is not None]})


async def _found(caller: Caller, session_id: ObjectId) -> Change | None:
    try:
        return await caller.confiido.bookings.find_session(session_id, actor=caller.actor)
    except NotFound:
        return None


def _timeout(caller: Caller, change: Change) -> dict[str, object]:
    session, now = change.raw_session, caller.confiido.clock()
    status = {
        "sessionId": session["sessionId"],
        "bookingId": change.document["_id"],
        "status": rules.status_now(session, now),
        "timeoutAt": session.get("timeoutAt"),
        "timeoutStatus": "expired" if rules.is_lapsed(session, now) else session.get("timeoutStatus"),
    }
    return {name: value for name, value in status.items() if value is not None}


class NewTime(Asked):
    """The time a session shall move to: ``startsAt``, or ``scheduledDate`` and ``startTime`` in ``timezone``."""

    scheduled_date: str | None = Field(None, max_length=40, examples=["2025-08-30"])
    start_time: str | None = Field(None, max_length=10, examples=["14:00"])
    starts_at: str | None = Field(None, max_length=40, examples=["2025-08-30T14:00:00+05:30"])
    timezone: str | None = Field(None, max_length=64, description="Default: the session's")
    reason: Text500 = Field(None, examples=["A train strike"])


class RescheduleAnswer(Asked):
    action: Literal["approve", "reject"]
    mentor_note: Text500 = Field(None, examples=["Fine with me"])


@moves.put(
    "/{bookingId}/sessions/{sessionId}/reschedule",
    response_model=Changed,
    responses=SESSION_WRITES,
    summary="Move a session that has not started",
)
async def reschedule_session(
    writer: WritingSession, booking_id: BookingId, session_id: SessionId, time: NewTime
) -> Answer:
    """By the expert or admin; the session keeps its id. A pending request of the client's is thereby cancelled."""
    change = await writer.confiido.bookings.reschedule(
        booking_id,
        session_id,
        actor=writer.actor,
        starts_at=time.starts_at,
        scheduled_date=time.scheduled_date,
        start_time=time.start_time,
        timezone=time.timezone,
        reason=time.reason,
        request_key=writer.request_key,
        if_version=writer.if_version,
    )
    return changed(writer, change, "Session rescheduled successfully")


@moves.post(
    "/{bookingId}/sessions/{sessionId}/reschedule-request",
    response_model=Changed,
    responses=SESSION_WRITES,
    summary="Ask the expert to move a session",
)
async def request_reschedule(
    writer: WritingSession, booking_id: BookingId, session_id: SessionId, time: NewTime
) -> Answer:
    """By the client, for a confirmed session. The new time is not held until the expert approves."""
    change = await writer.confiido.bookings.request_reschedule(
        booking_id,
        session_id,
        actor=writer.actor,
        starts_at=time.starts_at,
        scheduled_date=time.scheduled_date,
        start_time=time.start_time,
        timezone=time.timezone,
        reason=time.reason,
        request_key=writer.request_key,
        if_version=writer.if_version,
    )
    return changed(writer, change, "Reschedule request sent to mentor")


@moves.post(
    "/{bookingId}/sessions/{sessionId}/reschedule-request/respond",
    response_model=Changed,
    responses=SESSION_WRITES,
    summary="Approve or reject the client's request",
)
async def respond_to_reschedule(
    writer: WritingSession, booking_id: BookingId, session_id: SessionId, answer: RescheduleAnswer
) -> Answer:
    approve = answer.action == "approve"
    change = await writer.confiido.bookings.respond_reschedule(
        booking_id,
        session_id,
        actor=writer.actor,
        approve=approve,
        note=answer.mentor_note,
        request_key=writer.request_key,
        if_version=writer.if_version,
    )
    return changed(writer, change, "Session rescheduled successfully" if approve else "Reschedule request rejected")
