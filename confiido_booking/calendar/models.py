"""What is stored of time: service sessions (events with places) and calendars (an expert's busy minutes)."""

from enum import StrEnum
from typing import Any, ClassVar

from beanie import Document
from pydantic import Field
from pymongo import ASCENDING, DESCENDING, IndexModel

from confiido_booking.database.documents import STORED, Embedded, Instant
from confiido_booking.ids import Id
from confiido_booking.money import ZERO, Money

PUBLIC = {"visibility": "public"}  # what many can share: workshops, classes of a course


class ServiceSessionStatus(StrEnum):
    DRAFT = "draft"
    SCHEDULED = "scheduled"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    CANCELED = "canceled"


class Seat(Embedded):
    """A taken place: the claim a session stands on."""

    claim_id: Id
    client_id: Id
    session_id: Id
    order_id: Id | None = None
    claimed_at: Instant | None = None
    held_until: Instant | None = None  # an unpaid one's; it counts until somebody has made sure that it lapsed
    conflict: bool | None = None  # a move of the event made it clash with another session of the client


class Listing(Embedded):
    """What lists look for, copied from the private session by every command on it (docs/decisions/0003)."""

    session_id: Id
    client_id: Id
    status: str
    payment_status: str
    session_type: str | None = None
    price: Money = ZERO
    paid_amount: Money = ZERO
    refund_amount: Money = ZERO
    currency: str = "INR"
    timeout_at: Instant | None = None
    source: str | None = None
    order_id: Id | None = None
    service_type: str | None = None
    created_time: Instant | None = None


class ServiceSession(Document):
    """The event at a time. Authoritative for time; ``rev`` is the version of the session that wrote it, or, of a public
    one, counts its own changes."""

    model_config = STORED

    expert_id: Id | None = None
    service_id: Id | None = None
    service_version: int | None = None
    session_type: str = "individual"  # individual | workshop | course_session
    visibility: str = "private"  # private | public | seat: an entry of a session in a public one (decision 0027)
    title: str | None = None
    starts_at: Instant | None = None
    ends_at: Instant | None = None
    timezone: str | None = None
    actual_starts_at: Instant | None = None
    actual_ends_at: Instant | None = None
    buffer_before: int | None = None  # minutes, as booked
    buffer_after: int | None = None
    max_participants: int = 1
    current_participants: int = 0
    seats: list[Seat] = Field(default_factory=list)
    rev: int = 1
    claim_id: Id | None = None  # a public one's, in its expert's calendar
    sequence_number: int | None = None
    status: ServiceSessionStatus = ServiceSessionStatus.DRAFT
    room: dict[str, Any] | None = None  # what its video room told (attendance/recording.py)
    tracked: bool | None = None  # somebody watches who comes, and nothing has followed from it yet
    listing: Listing | None = None

    class Settings:
        name = "service_sessions"
        keep_nulls = False
        indexes: ClassVar = [
            IndexModel([("expertId", ASCENDING), ("startsAt", DESCENDING)], name="expert"),
            IndexModel([("listing.clientId", ASCENDING), ("startsAt", DESCENDING)], name="client"),
            IndexModel([("listing.status", ASCENDING), ("startsAt", DESCENDING)], name="status"),
            IndexModel([("startsAt", DESCENDING)], name="starts"),
            IndexModel([("serviceId", ASCENDING)], name="service", sparse=True),
            IndexModel([("startsAt", ASCENDING)], name="public", partialFilterExpression=PUBLIC),
            IndexModel([("endsAt", ASCENDING)], name="tracked", partialFilterExpression={"tracked": True}),
            IndexModel([("listing.sessionId", ASCENDING)], name="session"),
            IndexModel([("listing.status", ASCENDING), ("listing.timeoutAt", ASCENDING)], name="pending"),
            IndexModel([("listing.refundable", ASCENDING)], name="refundable", sparse=True),
        ]


class Busy(Embedded):
    """Minutes of an expert that are taken, buffers included; a claim of PROTOCOL.md, or a blocked period."""

    claim_id: Id
    owner: str  # session | event | block
    from_: Instant = Field(alias="from")
    until: Instant
    client_id: Id | None = None
    session_id: Id | None = None
    service_session_id: Id | None = None
    request_key: str | None = None
    claimed_at: Instant
    reason: str | None = None


class Calendar(Document):
    """One per expert, ``_id`` = the expert's. Made with the expert, so that a claim never has to create it."""

    model_config = STORED

    busy: list[Busy] = Field(default_factory=list)

    class Settings:
        name = "calendars"
        keep_nulls = False
