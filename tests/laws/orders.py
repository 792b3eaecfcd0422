"""Of orders, read straight from the raw collections: each stands with all its sessions or is not there (SPEC 9)."""

from collections import defaultdict
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from bson import ObjectId

from confiido_booking import Confiido


async def broken_orders(confiido: Confiido, *, settled: bool = True) -> list[str]:
    """What is wrong, one sentence each. ``settled``: nothing is under way."""
    names = ("orders", "bookings", "booking_archive", "service_sessions")
    raw = {name: await confiido.store.collection(name).find().to_list() for name in names}
    return [*_at_any_moment(raw), *(_at_rest(raw) if settled else ())]


def _at_any_moment(raw: dict[str, list[Any]]) -> Iterator[str]:
    """All or nothing, and the shares are the price."""
    orders, sold = {order["_id"]: order for order in raw["orders"]}, _sold(raw)
    for order_id, sessions in sold.items():
        order = orders.get(order_id)
        if order is None:
            yield f"the order {order_id} of {len(sessions)} sessions is not there"
            continue
        if {session["sessionId"] for session in sessions} != set(order["sessionIds"]):
            yield f"the order {order_id} is there with {len(sessions)} of {len(order['sessionIds'])} sessions"
        untouched = not any(entry["action"] == "refund" for s in sessions for entry in s.get("history", ()))
        total = sum((session["price"].to_decimal() for session in sessions), Decimal(0))
        if untouched and total != order["price"].to_decimal():
            yield f"L7 the shares of the order {order_id} are {total} of {order['price']}"


def _at_rest(raw: dict[str, list[Any]]) -> Iterator[str]:
    sold = _sold(raw)
    for order in raw["orders"]:
        name, sessions = f"the order {order['reference']} ({order['status']})", sold.get(order["_id"], [])
        if not sessions:
            yield f"L8 {name} has no session"
            continue
        if order["status"] == "placing":
            yield f"L8 {name} was left"
        for field, of in (("paid", "paidAmount"), ("refunded", "refundAmount")):
            total = sum((session[of].to_decimal() for session in sessions), Decimal(0))
            if order[field].to_decimal() != total:
                yield f"L7 {name} says {field} {order[field]}, its sessions {total}"
        is_cancelled = {session["status"] == "cancelled" for session in sessions}
        if is_cancelled == {True} and order["status"] not in ("cancelled", "expired", "refunded"):
            yield f"{name} has no session that is not cancelled"
        if is_cancelled == {False} and order["status"] not in ("pending_payment", "paid", "refunded"):
            yield f"{name} has no cancelled session"
        if is_cancelled == {True, False} and order["status"] in ("paid", "cancelled", "expired"):
            yield f"{name} has sessions that are cancelled and others"
    for event in raw["service_sessions"]:
        for seat in event.get("seats", ()):
            if "orderId" in seat and seat["orderId"] not in sold:
                yield f"L8 a seat of the order {seat['orderId']} is left"


def _sold(raw: dict[str, list[Any]]) -> dict[ObjectId, list[Any]]:
    found = {copy["_id"]: copy["session"] for copy in raw["booking_archive"]}
    found |= {session["sessionId"]: session for booking in raw["bookings"] for session in booking["sessions"]}
    sold: dict[ObjectId, list[Any]] = defaultdict(list)
    for session in found.values():
        if "orderId" in session:
            sold[session["orderId"]].append(session)
    return sold
