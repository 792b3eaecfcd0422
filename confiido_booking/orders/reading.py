"""Orders as they are shown: each with its sessions, and what follows from them at this moment."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import cached_property

from bson import ObjectId

from confiido_booking.actors import Actor, Role
from confiido_booking.bookings import reading as sessions_reading
from confiido_booking.bookings.context import Context
from confiido_booking.bookings.models import CURRENT, Session
from confiido_booking.database.store import Document
from confiido_booking.errors import NotAllowed
from confiido_booking.orders import following, rules
from confiido_booking.orders.models import COLLECTION, Order, OrderStatus


@dataclass(frozen=True)
class OrderView:
    """An order and all its sessions, as they are at ``now``. ``raw_sessions``: as the store keeps them."""

    order: Order
    raw_sessions: Sequence[Document]
    now: datetime

    @property
    def id(self) -> ObjectId:
        return self.order.id

    @cached_property
    def sessions(self) -> list[Session]:
        """Every session that the purchase made, in their order in it."""
        return [Session.model_validate(each) for each in self.raw_sessions]

    @cached_property
    def standing(self) -> rules.Standing:
        return rules.standing(self.raw_sessions, self.now)

    @property
    def status(self) -> OrderStatus:
        return self.standing.status if self.raw_sessions else self.order.status

    @property
    def price(self) -> Decimal:
        return self.order.price


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderFilter:
    """What a list of orders is asked for."""

    status: OrderStatus | None = None
    client_id: ObjectId | None = None
    service_id: ObjectId | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderPage:
    orders: list[OrderView]
    total: int
    page: int
    limit: int

    @property
    def pages(self) -> int:
        return -(-self.total // self.limit)


async def get(context: Context, order_id: ObjectId, actor: Actor) -> OrderView:
    """One order: its client's, and staff's. Raises NotFound ``order_not_found``."""
    document = await context.store.find_one("read order", COLLECTION, {"_id": order_id})
    if document is None or not (actor.is_staff or is_own(document, actor)):
        raise rules.not_found()
    sessions = await following.sessions_of(context.store, document)
    if document["status"] == OrderStatus.PLACING and not sessions:
        raise rules.not_found()
    return OrderView(Order.model_validate(document), sessions, context.clock())


def is_own(document: Mapping[str, object], actor: Actor) -> bool:
    return actor.role in (Role.SYSTEM, Role.PAYMENT) or (actor.role is Role.CLIENT and document["clientId"] == actor.id)


async def page_of(context: Context, actor: Actor, wanted: OrderFilter, *, page: int, limit: int) -> OrderPage:
    """Orders, the latest first: a client's own, all for staff.

    Raises:
        NotAllowed: an expert, who sees sessions and no purchases.
    """
    sessions_reading.check_page(page, limit)
    if actor.role is Role.EXPERT:
        raise NotAllowed("An expert sees sessions, not orders")
    query: Document = {"status": {"$ne": OrderStatus.PLACING.value}}
    client_id = actor.id if actor.role is Role.CLIENT else wanted.client_id
    if actor.role is Role.CLIENT and wanted.client_id not in (None, actor.id):
        return OrderPage(orders=[], total=0, page=page, limit=limit)
    if client_id is not None:
        query["clientId"] = client_id
    if wanted.service_id is not None:
        query["serviceId"] = wanted.service_id
    if wanted.status is not None:
        query["$and"] = [_in_status(wanted.status, context.clock())]
    order = [("createdAt", -1), ("_id", -1)]
    found = await context.store.find("list orders", COLLECTION, query, sort=order, skip=(page - 1) * limit, limit=limit)
    total = await context.store.count("count orders", COLLECTION, query)
    return OrderPage(orders=await _views(context, found), total=total, page=page, limit=limit)


def _in_status(status: OrderStatus, now: datetime) -> Document:
    """Orders that are in this status now: one whose hold has lapsed is expired."""
    lapsed = {"status": OrderStatus.PENDING_PAYMENT.value, "timeoutAt": {"$lte": now}}
    if status is OrderStatus.EXPIRED:
        return {"$or": [{"status": status.value}, lapsed]}
    if status is OrderStatus.PENDING_PAYMENT:
        return {"status": status.value, "timeoutAt": {"$not": {"$lte": now}}}
    return {"status": status.value}


async def _views(context: Context, found: Sequence[Document]) -> list[OrderView]:
    """In two queries for the whole page, and one for what of it is archived."""
    store, now = context.store, context.clock()
    clients = {"clientId": {"$in": list({each["clientId"] for each in found})}, **CURRENT}
    columns = {"clientId": 1, "sessions": 1, "mergedInto": 1}
    bookings = await store.find("read bookings", "bookings", clients, columns) if found else []
    sessions = {each["sessionId"]: each for booking in bookings for each in booking["sessions"]}
    missing = [id_ for each in found for id_ in each.get("sessionIds", []) if id_ not in sessions]
    kept = await store.find("read archive", "booking_archive", {"_id": {"$in": missing}}) if missing else []
    sessions |= {copy["_id"]: copy["session"] for copy in kept}
    return [
        OrderView(
            Order.model_validate(each),
            [sessions[id_] for id_ in each.get("sessionIds", []) if id_ in sessions],
            now,
        )
        for each in found
    ]
