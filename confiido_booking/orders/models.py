"""What is stored of orders: one purchase each, paid once, that gave one or more sessions (SPEC 9).

    placing ──> pending_payment ──> paid ──> partly_cancelled ──> cancelled | refunded
       │              └──────> expired, cancelled
       └──> undone: nothing is left of it

But for ``placing``, what an order is follows from its sessions (``rules.py``): every reply derives it, and the document
keeps what it was when a session of it last changed (``following.py``).
"""

from enum import StrEnum
from typing import Annotated, Any

from bson import ObjectId
from pydantic import Field
from pymongo import ASCENDING, DESCENDING, IndexModel

from confiido_booking.bookings.models import ActorStamp
from confiido_booking.catalog.models import OnExpiry, PartialCancel, ServiceType
from confiido_booking.database.documents import Embedded, Instant
from confiido_booking.ids import Id
from confiido_booking.money import ZERO, Money

COLLECTION = "orders"


class OrderStatus(StrEnum):
    PLACING = "placing"
    PENDING_PAYMENT = "pending_payment"
    PAID = "paid"
    PARTLY_CANCELLED = "partly_cancelled"
    CANCELLED = "cancelled"
    REFUNDED = "refunded"
    EXPIRED = "expired"


class Claimed(Embedded):
    """A claim that the order is to take: a seat in an event or, with ``expert_id``, minutes of that expert."""

    claim_id: Id
    session_id: Id
    service_session_id: Id
    expert_id: Id | None = None


class Order(Embedded):
    """``price``: what was sold, which no refund changes. ``seen``: the sum of its sessions' versions when the document
    was written; ``timeout_at``: until when what is unpaid is held; ``valid_until``: until when drafts can be scheduled.
    """

    id: Annotated[Id, Field(alias="_id")] = Field(default_factory=ObjectId)
    reference: str
    status: OrderStatus = OrderStatus.PLACING
    client_id: Id
    service_id: Id | None = None  # a migrated order knows of none
    service_version: int | None = None
    service_type: ServiceType | None = None
    title: str | None = None
    price: Money
    paid: Money = ZERO
    refunded: Money = ZERO
    currency: str
    session_ids: list[Id] = Field(default_factory=list)
    claims: list[Claimed] = Field(default_factory=list)
    timeout_at: Instant | None = None
    valid_until: Instant | None = None
    validity_days: int | None = None
    on_expiry: OnExpiry = OnExpiry.FORFEIT
    partial_cancel: PartialCancel = PartialCancel.EACH
    expiry_stated_for: Instant | None = None  # the ``valid_until`` that was told in advance
    request_key: str | None = None
    placed_by: ActorStamp | None = None
    seen: int | None = None
    created_at: Instant
    updated_at: Instant
    legacy: dict[str, Any] | None = None


INDEXES = [
    IndexModel([("clientId", ASCENDING), ("createdAt", DESCENDING)], name="client"),
    IndexModel([("status", ASCENDING), ("createdAt", DESCENDING)], name="status"),
    IndexModel([("createdAt", DESCENDING)], name="created"),
    IndexModel([("validUntil", ASCENDING)], sparse=True, name="validity"),
]
