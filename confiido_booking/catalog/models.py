"""What is stored of services: what a marketplace sells (SPEC 9, seed 4.20)."""

from enum import StrEnum
from typing import ClassVar

from beanie import Document
from pydantic import Field
from pymongo import ASCENDING, IndexModel

from confiido_booking.bookings.models import CancellationPolicy
from confiido_booking.bookings.statuses import Medium
from confiido_booking.database.documents import STORED, Embedded, Instant
from confiido_booking.ids import Id
from confiido_booking.money import Money
from confiido_booking.times import utc_now


class ServiceType(StrEnum):
    """What a purchase gives: one session at a time of the client's (individual), a place in one event (workshop) or in
    each of N (course), or drafts to be scheduled later: of several services (package), of one (bundle)."""

    INDIVIDUAL = "individual"
    WORKSHOP = "workshop"
    COURSE = "course"
    PACKAGE = "package"
    BUNDLE = "bundle"


HAS_EVENTS = frozenset({ServiceType.WORKSHOP, ServiceType.COURSE})  # its service sessions are made before it is sold
HAS_CHILDREN = frozenset({ServiceType.PACKAGE, ServiceType.BUNDLE})


class OnExpiry(StrEnum):
    """What becomes of a draft that nobody scheduled within its validity."""

    FORFEIT = "forfeit"
    REFUND = "refund"
    EXTEND = "extend"


class PartialCancel(StrEnum):
    """What of an order may be cancelled by itself (MONEY, cancelling)."""

    EACH = "each"
    REST = "rest"
    NONE = "none"


class Child(Embedded):
    """``quantity`` sessions of another service, which a package or bundle gives."""

    service_id: Id
    quantity: int = Field(ge=1, le=100, strict=True)


class Service(Document):
    """One thing that is sold. ``duration`` in minutes: of the session, of the workshop, of each class of a course.

    ``version`` rises with every change; an earlier one stays in ``service_versions``, so that what was sold stays what
    it was. Whether it is active is no part of that.
    """

    model_config = STORED

    version: int = 1
    service_type: ServiceType
    name: str
    description: str | None = None
    price: Money
    currency: str
    duration: int | None = None
    max_participants: int | None = None  # of each of its events; absent: as many as fit
    medium: Medium = Medium.VIDEO
    expert_id: Id
    children: list[Child] = Field(default_factory=list)
    validity_days: int | None = None
    on_expiry: OnExpiry = OnExpiry.FORFEIT
    visibility: str = "public"  # public | private: a private one is for those who run it
    category: str | None = None
    partial_cancel: PartialCancel = PartialCancel.EACH
    cancellation_policy: CancellationPolicy | None = None  # wins over the expert's
    is_active: bool = True
    request_key: str | None = None
    created_at: Instant = Field(default_factory=utc_now)
    updated_at: Instant = Field(default_factory=utc_now)

    class Settings:
        name = "services"
        keep_nulls = False
        indexes: ClassVar = [
            IndexModel([("expertId", ASCENDING)], name="expert"),
            IndexModel([("isActive", ASCENDING), ("visibility", ASCENDING), ("name", ASCENDING)], name="offered"),
            IndexModel([("children.serviceId", ASCENDING)], name="child", sparse=True),
        ]
