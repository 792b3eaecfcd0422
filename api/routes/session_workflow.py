"""The sales workflow over HTTP: request, quote, book, accept, decline (seed 1.9-1.11, 1.13)."""

from typing import Annotated

from bson import ObjectId
from pydantic import Field

from api.door import Writer, Writing, WritingSession, router
from api.envelope import Answer
from api.routes.booking_commands import Text500
from api.routes.sessions import OneSalesSession, Reasoned, SalesId, named, one
from api.schemas import SESSION_WRITES, WRITES, Asked, Succeeded
from confiido_booking.actors import Role
from confiido_booking.bookings import rules
from confiido_booking.bookings.models import AddOn
from confiido_booking.bookings.quoting import own_time
from confiido_booking.bookings.statuses import Medium
from confiido_booking.bookings.views import ClientRef, View
from confiido_booking.errors import FieldError, Invalid, NotAllowed
from confiido_booking.ids import Id
from confiido_booking.money import Money

api = router("Sessions", "/api/sessions")

One = Succeeded[OneSalesSession]
Minutes = Annotated[int, Field(ge=5, le=1440, strict=True, description="Minutes", examples=[30])]
ExpertKey = Annotated[
    str,
    Field(
        min_length=1,
        max_length=64,
        description="The expert's _id, the user's _id, or the 4-digit number",
        examples=["1534"],
    ),
]


class Timed(Asked):
    """The time, where it is known: ``startsAt``, or ``scheduledDate`` and ``startTime`` in ``timezone``."""

    scheduled_date: str | None = Field(None, max_length=40, examples=["2025-08-29"])
    start_time: str | None = Field(None, max_length=10, examples=["12:30"])
    starts_at: str | None = Field(None, max_length=40, examples=["2025-08-29T12:30:00+05:30"])
    timezone: str | None = Field(None, max_length=64, description="Default: the expert's", examples=["Asia/Kolkata"])


class ForClient(Asked):
    """For whom, where it is not oneself: admin and service."""

    client_id: Id | None = None
    client_email: str | None = Field(None, max_length=254, description="Found by it or made; case does not matter")
    client_name: str | None = Field(None, max_length=200)
    client_phone: str | None = Field(None, max_length=40)

    async def client(self, writer: Writer) -> ClientRef | None:
        """The client that staff names; nobody's for a client, who acts for themselves."""
        if not writer.actor.is_staff:
            if writer.actor.role is Role.CLIENT and self.client_id not in (None, writer.actor.id):
                raise NotAllowed("You can do this only for yourself")
            return None
        return await writer.confiido.customers.client_of(
            client_id=self.client_id, email=self.client_email, name=self.client_name, phone=self.client_phone
        )


class SessionRequested(Timed, ForClient):
    """Anything may still be open."""

    expert_id: ExpertKey | None = None
    session_type: Medium | None = None
    duration: Minutes | None = None
    service_id: Id | None = None
    location: str | None = Field(None, max_length=500)
    notes: str | None = Field(None, max_length=1000, examples=["Someone who knows radio telescopes?"])
    source: str | None = Field(None, max_length=50, examples=["phone"])
    referral_source: str | None = Field(None, max_length=50)


class AddOnOffered(Asked):
    name: str = Field(min_length=1, max_length=100, examples=["Recording"])
    price: Money
    minutes: int = Field(0, ge=0, le=1440, strict=True, description="Where it makes the session longer")

    def add_on(self) -> AddOn:
        return AddOn(name=self.name, price=self.price, minutes=self.minutes)


class SessionQuoted(Timed, ForClient):
    """With ``sessionId``: an offer for that session, and what was still open of it. Without: for a new one."""

    session_id: Id | None = None
    expert_id: ExpertKey | None = None
    session_type: Medium | None = None
    duration: Minutes | None = None
    amount: Money = Field(description="Without the add-ons")
    currency: str | None = Field(None, max_length=3, examples=["INR"])
    add_ons: list[AddOnOffered] = Field(default_factory=list, max_length=20)
    expires_at: str | None = Field(None, max_length=40, examples=["2025-08-28T12:00:00+05:30"])
    text: str | None = Field(None, max_length=2000)
    location: str | None = Field(None, max_length=500)
    notes: str | None = Field(None, max_length=1000)
    source: str | None = Field(None, max_length=50)
    referral_source: str | None = Field(None, max_length=50)


class SessionBooked(Timed, ForClient):
    expert_id: ExpertKey
    session_type: Medium
    duration: Minutes
    price: Money | None = Field(None, description="Default: what the expert takes for it")
    currency: str | None = Field(None, max_length=3, examples=["INR"])
    notes: str | None = Field(None, max_length=1000)
    source: str | None = Field(None, max_length=50, examples=["walk-in"])
    force: bool = Field(False, description="Past availability, notice and horizon; needs a reason")
    reason: Text500 = None


class RequestBooked(Timed):
    """What was still open, or shall be otherwise than it was asked for or offered."""

    expert_id: ExpertKey | None = None
    session_type: Medium | None = None
    duration: Minutes | None = None
    price: Money | None = Field(None, description="Default: the quote's total, else what the expert takes for it")


class QuoteAccepted(Asked):
    quote_id: Id | None = Field(None, description="Which quote is meant; another one by now: 409 quote_replaced")


@api.post("/request", status_code=201, response_model=One, responses=WRITES, summary="Ask for a session")
async def request_session(writer: Writing, asked: SessionRequested) -> Answer:
    """A client for themselves; admin and service for somebody who wrote, phoned or walked in. Holds no time."""
    _check_role(writer, Role.CLIENT, Role.ADMIN, Role.SERVICE, action="request")
    if asked.service_id is not None:
        await writer.confiido.catalog.get(asked.service_id, actor=writer.actor)
    change = await writer.confiido.bookings.request(
        actor=writer.actor,
        expert=asked.expert_id,
        session_type=asked.session_type,
        duration=asked.duration,
        starts_at=asked.starts_at,
        scheduled_date=asked.scheduled_date,
        start_time=asked.start_time,
        timezone=asked.timezone,
        service_id=asked.service_id,
        location=asked.location,
        notes=asked.notes,
        client=await asked.client(writer),
        source=asked.source,
        referral_source=asked.referral_source,
        request_key=writer.request_key,
        view=View.HEAD,
    )
    return one(writer, change, "Session requested successfully", status=201)


@api.post(
    "/quote",
    status_code=201,
    response_model=One,
    responses=SESSION_WRITES | {200: {"model": One, "description": "An existing session was offered"}},
    summary="Say what a session costs",
)
async def quote_session(writer: WritingSession, asked: SessionQuoted) -> Answer:
    """By admin or the expert. With `sessionId` for a requested or quoted session (200), else for a new one (201).

    A new quote replaces the one there was; both stay in the history. It holds no time.
    """
    _check_role(writer, Role.ADMIN, Role.EXPERT, action="quote")
    if asked.session_id is not None:
        return await _quoted(writer, asked, asked.session_id)
    _check_new(asked, writer)
    expert = own_time(asked.expert_id, writer.actor)
    assert asked.session_type is not None
    assert asked.duration is not None
    change = await writer.confiido.bookings.quote_new(
        actor=writer.actor,
        client=await _client_of_offer(writer, asked),
        amount=asked.amount,
        session_type=asked.session_type,
        duration=asked.duration,
        expert=expert,
        currency=asked.currency,
        add_ons=[each.add_on() for each in asked.add_ons],
        expires_at=asked.expires_at,
        text=asked.text,
        starts_at=asked.starts_at,
        scheduled_date=asked.scheduled_date,
        start_time=asked.start_time,
        timezone=asked.timezone,
        location=asked.location,
        notes=asked.notes,
        source=asked.source,
        referral_source=asked.referral_source,
        request_key=writer.request_key,
        view=View.HEAD,
    )
    return one(writer, change, "Quote created successfully", status=201)


async def _quoted(writer: Writer, asked: SessionQuoted, session_id: ObjectId) -> Answer:
    booking_id, session_id = await named(writer, session_id)
    change = await writer.confiido.bookings.quote(
        booking_id,
        session_id,
        actor=writer.actor,
        amount=asked.amount,
        currency=asked.currency,
        add_ons=[each.add_on() for each in asked.add_ons],
        expires_at=asked.expires_at,
        text=asked.text,
        expert=asked.expert_id,
        session_type=asked.session_type,
        duration=asked.duration,
        starts_at=asked.starts_at,
        scheduled_date=asked.scheduled_date,
        start_time=asked.start_time,
        timezone=asked.timezone,
        request_key=writer.request_key,
        if_version=writer.if_version,
        view=View.HEAD,
    )
    return one(writer, change, "Quote sent successfully")


async def _client_of_offer(writer: Writer, asked: SessionQuoted) -> ClientRef:
    """An expert names somebody by e-mail, or by the id of a client of theirs, of whom they cannot change anything."""
    if writer.actor.role is Role.EXPERT and asked.client_id is not None:
        return ClientRef(client_id=asked.client_id)
    return await writer.confiido.customers.client_of(
        client_id=asked.client_id, email=asked.client_email, name=asked.client_name, phone=asked.client_phone
    )


def _check_new(asked: SessionQuoted, writer: Writer) -> None:
    needed: dict[str, object] = {"sessionType": asked.session_type, "duration": asked.duration}
    if writer.actor.role is not Role.EXPERT:
        needed["expertId"] = asked.expert_id
    if missing := [
        FieldError(name, "is needed without a sessionId") for name, value in needed.items() if value is None
    ]:
        raise Invalid(f"A new offer needs {', '.join(error.path for error in missing)}", errors=missing)


@api.post("/booking", status_code=201, response_model=One, responses=WRITES, summary="Book a session for somebody")
async def book_directly(writer: Writing, asked: SessionBooked) -> Answer:
    """By admin or service: confirmed at once."""
    _check_role(writer, Role.ADMIN, Role.SERVICE, action="book")
    change = await writer.confiido.bookings.book(
        actor=writer.actor,
        expert=asked.expert_id,
        session_type=asked.session_type,
        duration=asked.duration,
        starts_at=asked.starts_at,
        scheduled_date=asked.scheduled_date,
        start_time=asked.start_time,
        timezone=asked.timezone,
        notes=asked.notes,
        client=await asked.client(writer),
        force=asked.force,
        reason=asked.reason,
        source=asked.source,
        price=asked.price,
        currency=asked.currency,
        request_key=writer.request_key,
        view=View.HEAD,
    )
    return one(writer, change, "Session booked successfully", status=201)


@api.put("/{id}/book", response_model=One, responses=SESSION_WRITES, summary="requested or quoted → confirmed")
async def book_requested_session(
    writer: WritingSession, session_id: SalesId, asked: RequestBooked | None = None
) -> Answer:
    """By admin, also where the quote has expired. 422 `incomplete` where expert, kind, length or time is not known."""
    asked = asked or RequestBooked()
    booking_id, session_id = await named(writer, session_id)
    change = await writer.confiido.bookings.book_requested(
        booking_id,
        session_id,
        actor=writer.actor,
        expert=asked.expert_id,
        session_type=asked.session_type,
        duration=asked.duration,
        starts_at=asked.starts_at,
        scheduled_date=asked.scheduled_date,
        start_time=asked.start_time,
        timezone=asked.timezone,
        price=asked.price,
        request_key=writer.request_key,
        if_version=writer.if_version,
        view=View.HEAD,
    )
    return one(writer, change, "Session booked successfully")


@api.put("/{id}/accept", response_model=One, responses=SESSION_WRITES, summary="quoted → pending")
async def accept_quote(writer: WritingSession, session_id: SalesId, accepted: QuoteAccepted | None = None) -> Answer:
    """By the client. The time is taken now, with a hold until `timeoutAt` where payment is due."""
    booking_id, session_id = await named(writer, session_id)
    change = await writer.confiido.bookings.accept(
        booking_id,
        session_id,
        actor=writer.actor,
        quote_id=accepted.quote_id if accepted else None,
        request_key=writer.request_key,
        if_version=writer.if_version,
        view=View.HEAD,
    )
    return one(writer, change, "Quote accepted successfully")


@api.put("/{id}/decline", response_model=One, responses=SESSION_WRITES, summary="No to a request or a quote")
async def decline_session(writer: WritingSession, session_id: SalesId, given: Reasoned | None = None) -> Answer:
    """A request by the expert or admin, a quote by the client or admin."""
    booking_id, session_id = await named(writer, session_id)
    change = await writer.confiido.bookings.decline(
        booking_id,
        session_id,
        actor=writer.actor,
        reason=given.reason if given else None,
        request_key=writer.request_key,
        if_version=writer.if_version,
        view=View.HEAD,
    )
    return one(writer, change, "Session declined")


def _check_role(writer: Writer, *roles: Role, action: str) -> None:
    """Before anything is made for somebody, a client of that e-mail for instance."""
    if writer.actor.role not in roles:
        raise rules.not_allowed(action)
