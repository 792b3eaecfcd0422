"""What is stored of experts: who they are, what they offer, when they can be booked (SPEC 2, 8)."""

from typing import Annotated, ClassVar, Literal

from beanie import Document
from bson import ObjectId
from pydantic import Field
from pymongo import ASCENDING, IndexModel

from confiido_booking.bookings.models import CancellationPolicy
from confiido_booking.bookings.statuses import Medium
from confiido_booking.calendar.availability import Availability
from confiido_booking.database.documents import STORED, Embedded, Instant
from confiido_booking.ids import Id
from confiido_booking.money import Money
from confiido_booking.times import MAX_DURATION, MIN_DURATION, utc_now


class SessionType(Embedded):
    """What is sold: a medium, ``duration`` minutes, a price."""

    session_type: Medium
    duration: int = Field(ge=MIN_DURATION, le=MAX_DURATION)
    price: Money
    currency: str = "INR"
    title: str | None = Field(None, max_length=200)


class Expert(Document):
    """Somebody who can be booked. ``userId``: the user account's ``_id``; ``expertUserId``: its 4-digit number.

    Buffers and notice in minutes, horizon in days. No availability = bookable at any time (SPEC 6).
    """

    model_config = STORED

    user_id: Id = Field(default_factory=ObjectId)
    expert_user_id: str | None = None
    email: str | None = None
    name: str = ""
    title: str | None = None
    company: str | None = None
    description: str | None = None
    expertise: list[str] = Field(default_factory=list)
    timezone: str = "Asia/Kolkata"
    session_types: list[SessionType] = Field(default_factory=list)
    availability: Availability | None = None
    buffer_before: Annotated[int, Field(ge=0, le=1440)] = 0
    buffer_after: Annotated[int, Field(ge=0, le=1440)] = 0
    min_notice: Annotated[int, Field(ge=0, le=525600)] = 0
    horizon: Annotated[int, Field(ge=0, le=3650)] = 365
    payment: Literal["upfront", "later"] = "upfront"
    cancellation_policy: CancellationPolicy = Field(default_factory=CancellationPolicy)
    meeting_link: str | None = None
    is_active: bool = True
    created_at: Instant = Field(default_factory=utc_now)
    updated_at: Instant = Field(default_factory=utc_now)

    class Settings:
        name = "experts"
        keep_nulls = False
        indexes: ClassVar = [
            IndexModel([("userId", ASCENDING)], name="user"),
            IndexModel([("expertUserId", ASCENDING)], name="number"),
        ]
