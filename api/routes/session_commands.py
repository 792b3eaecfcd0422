"""What happens to a session that has its place, by its own id: cancel, complete, reschedule (ROUTES, first section)."""

from decimal import Decimal

from pydantic import BaseModel

from api.door import WritingSession, router
from api.envelope import Answer
from api.routes.booking_commands import NewTime
from api.routes.sessions import OneSalesSession, Reasoned, SalesId, SalesSession, named, one
from api.schemas import SESSION_WRITES, Asked, Succeeded
from confiido_booking.bookings.views import View
from confiido_booking.money import Money, exact

api = router("Sessions", "/api/sessions")

One = Succeeded[OneSalesSession]


class Nothing(Asked):
    """Nothing needs to be said."""


class Refund(BaseModel):
    """What is due back by the policy of the booking, and what is kept. Moves no money."""

    due: Money
    fee: Money
    currency: str


class SalesSessionCancelled(BaseModel):
    session: SalesSession
    refund: Refund


@api.put(
    "/{id}/cancel",
    response_model=Succeeded[SalesSessionCancelled],
    responses=SESSION_WRITES,
    summary="Cancel, and free the time",
)
async def cancel_sales_session(writer: WritingSession, session_id: SalesId, given: Reasoned | None = None) -> Answer:
    """A client before the start, or earlier where the expert's policy says so. Moves no money: `refund` says what is
    due back."""
    booking_id, session_id = await named(writer, session_id)
    change = await writer.confiido.bookings.cancel(
        booking_id,
        session_id,
        actor=writer.actor,
        reason=given.reason if given else None,
        request_key=writer.request_key,
        if_version=writer.if_version,
        view=View.HEAD,
    )
    session = change.raw_session
    paid, due = exact(session.get("paidAmount")), exact(session.get("refundDue"))
    refund = {"due": due, "fee": max(paid - due, Decimal(0)), "currency": session["currency"]}
    return one(writer, change, "Session cancelled successfully", refund=refund)


@api.put("/{id}/complete", response_model=One, responses=SESSION_WRITES, summary="confirmed → completed")
async def complete_sales_session(writer: WritingSession, session_id: SalesId, given: Nothing | None = None) -> Answer:
    booking_id, session_id = await named(writer, session_id)
    change = await writer.confiido.bookings.complete(
        booking_id,
        session_id,
        actor=writer.actor,
        request_key=writer.request_key,
        if_version=writer.if_version,
        view=View.HEAD,
    )
    return one(writer, change, "Session marked as completed")


@api.put(
    "/{id}/reschedule", response_model=One, responses=SESSION_WRITES, summary="Move a session that has not started"
)
async def reschedule_sales_session(writer: WritingSession, session_id: SalesId, time: NewTime) -> Answer:
    """By the expert or admin; the session keeps its id."""
    booking_id, session_id = await named(writer, session_id)
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
        view=View.HEAD,
    )
    return one(writer, change, "Session rescheduled successfully")
