"""What the doctor looks at in orders: whether an order and its sessions say the same, and none is half placed."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from bson import ObjectId

from confiido_booking import money
from confiido_booking.bookings.context import Context
from confiido_booking.bookings.healing import YOUNG
from confiido_booking.database.store import Document
from confiido_booking.orders import following, placing
from confiido_booking.orders.models import COLLECTION, Order, OrderStatus

KINDS = ("order_placing", "order", "order_missing", "order_sessions")

Cure = Callable[[], Awaitable[object]]
Add = Callable[[str, object, str, Cure | None], None]


@dataclass(frozen=True, slots=True)
class OrderExaminer:
    """``add`` takes (kind, subject, sentence, cure)."""

    context: Context
    add: Add
    now: datetime

    async def of_booking(self, booking: Document) -> None:
        """The orders by which a client's sessions were bought."""
        named = {each["orderId"]: each["sessionId"] for each in booking["sessions"] if "orderId" in each}
        if not named:
            return
        orders = await self.context.store.find("walk", COLLECTION, {"_id": {"$in": list(named)}})
        for order in orders:
            self._check(order, await following.gathered(self.context.store, order, booking))
        for order_id in named.keys() - {order["_id"] for order in orders}:
            self.add("order_missing", named[order_id], "A session names an order that is not there", None)

    async def orders(self, since: datetime | None) -> None:
        """Orders that are half placed; and, with all that was ever sold, those that sessions are missing of."""
        left = {"status": OrderStatus.PLACING.value, "createdAt": {"$lte": self.now - YOUNG}}
        async for order in self.context.store.walk(COLLECTION, left):
            self.add("order_placing", order["_id"], "An order was left half placed", self._undo(order))
        if since is not None:
            return
        async for order in self.context.store.walk(COLLECTION, {"status": {"$ne": OrderStatus.PLACING.value}}):
            sessions = await following.sessions_of(self.context.store, order)
            if len(sessions) < len(order.get("sessionIds", [])):
                self.add("order_sessions", order["_id"], "Sessions of an order are not there", None)
            else:
                self._check(order, sessions)

    def _check(self, order: Document, sessions: Sequence[Document]) -> None:
        """What an old system sold keeps what was said of it, until one of its sessions changes."""
        is_young = any(each["updatedTime"] > self.now - YOUNG for each in sessions if "updatedTime" in each)
        if not sessions or is_young or order["status"] == OrderStatus.PLACING or "seen" not in order:
            return
        if not _agree(order, following.said_by(list(sessions))):
            self.add("order", order["_id"], "The order does not say what its sessions say", self._follow(order["_id"]))

    def _undo(self, order: Document) -> Cure:
        return lambda: placing.undo(self.context, Order.model_validate(order), self.now)

    def _follow(self, order_id: ObjectId) -> Cure:
        return lambda: following.follow(self.context.store, order_id, self.now)


def _agree(order: Mapping[str, object], said: Mapping[str, object]) -> bool:
    sums = all(money.exact(order.get(name)) == money.exact(said[name]) for name in ("paid", "refunded"))
    return sums and all(order.get(name) == said[name] for name in ("status", "timeoutAt", "seen"))
