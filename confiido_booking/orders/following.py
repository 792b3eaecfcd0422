"""The order's document says what its sessions say. Done twice it is done once.

Whatever changes a session of an order comes here afterwards; whoever dies before is made up for by the doctor. The
write stands on ``seen`` as it was read, so that of two who follow at once the slower reads anew.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from bson import ObjectId

from confiido_booking.actors import Actor
from confiido_booking.bookings import merging
from confiido_booking.bookings.models import CURRENT
from confiido_booking.database.documents import to_mongo
from confiido_booking.database.store import Document, Store
from confiido_booking.events import outbox
from confiido_booking.orders import rules
from confiido_booking.orders.models import COLLECTION, OrderStatus

_TRIES = 5
_MOST_EVENTS = 2
_TOLD = {
    OrderStatus.PAID: "order.paid",
    OrderStatus.PARTLY_CANCELLED: "order.cancelled",
    OrderStatus.CANCELLED: "order.cancelled",
    OrderStatus.REFUNDED: "order.refunded",
    OrderStatus.EXPIRED: "order.expired",
}


async def of_session(store: Store, session: Mapping[str, Any], now: datetime) -> None:
    """After a change of this session."""
    if "orderId" in session:
        await follow(store, session["orderId"], now)


async def follow(store: Store, order_id: ObjectId, now: datetime, actor: Actor | None = None) -> None:
    """Write what the sessions say of their order, and tell of it; while it has none, nothing."""
    for _ in range(_TRIES):
        order = await store.find_one("read order", COLLECTION, {"_id": order_id})
        sessions = await sessions_of(store, order) if order is not None else []
        if order is None or not sessions:
            return
        if outbox.is_full(order, _MOST_EVENTS):
            await outbox.deliver(store, COLLECTION, order)
            continue
        fields, seen = said_by(sessions), {"seen": order.get("seen"), "status": order["status"]}
        if all(order.get(name) == value for name, value in fields.items()):
            return
        change: list[Document] = [{"$set": {**_values(fields), "updatedAt": {"$literal": now}}}]
        if events := _events(order, fields, actor or Actor.system(), now):
            change.append({"$set": outbox.appended(*events)})
        if await store.update("follow order", COLLECTION, {"_id": order_id, **seen}, change):
            return


async def sessions_of(store: Store, order: Mapping[str, Any]) -> list[Document]:
    """The sessions of an order, raw, current and archived, in the order of their ids in it."""
    booking = await store.find_one("read booking", "bookings", {"clientId": order["clientId"], **CURRENT})
    booking = await merging.followed(store, booking)
    return await gathered(store, order, booking)


async def gathered(store: Store, order: Mapping[str, Any], booking: Mapping[str, Any] | None) -> list[Document]:
    """As :func:`sessions_of`, with the client's document at hand."""
    sessions = {each["sessionId"]: each for each in (booking or {}).get("sessions", [])}
    wanted = order.get("sessionIds", [])
    missing = [each for each in wanted if each not in sessions]
    if missing:
        for kept in await store.find("read archive", "booking_archive", {"_id": {"$in": missing}}):
            sessions[kept["_id"]] = kept["session"]
    return [sessions[each] for each in wanted if each in sessions]


def said_by(sessions: list[Document]) -> Document:
    """The fields of an order that follow from its sessions, as stored; None: absent."""
    standing = rules.standing(sessions)
    return {
        "status": standing.status.value,
        "paid": to_mongo(standing.paid),
        "refunded": to_mongo(standing.refunded),
        "timeoutAt": standing.held_until,
        "seen": sum(each.get("version", 0) for each in sessions),
        "claims": None,
    }


def _values(fields: Document) -> Document:
    return {name: "$$REMOVE" if value is None else {"$literal": value} for name, value in fields.items()}


def _events(order: Document, fields: Document, actor: Actor, now: datetime) -> list[Document]:
    before, after = OrderStatus(order["status"]), OrderStatus(fields["status"])
    types = ["order.placed"] if before is OrderStatus.PLACING else []
    if after is not before and after in _TOLD:
        types.append(_TOLD[after])
    return [event(type_, order, now, actor, status=after.value, paid=fields["paid"]) for type_ in types]


def event(type_: str, order: Mapping[str, Any], now: datetime, actor: Actor, **data: object) -> Document:
    """An event of an order."""
    told = {"orderId": order["_id"], "reference": order["reference"], **data}
    return outbox.event(type_, at=now, actor=actor, client_id=order["clientId"], data=told)
