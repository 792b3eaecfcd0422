"""Counts and money over all sessions within somebody's reach."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

from bson import ObjectId

from confiido_booking.actors import Actor
from confiido_booking.bookings.context import Context
from confiido_booking.bookings.reading import own_scope
from confiido_booking.database.store import Document
from confiido_booking.money import ZERO, exact

_FAR = datetime(9999, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """Counts of all sessions in reach, filters aside, and money received less refunds per currency."""

    by_payment: Mapping[str, int]
    by_status: Mapping[str, int]
    received: Mapping[str, Decimal]
    bookings: int

    @property
    def total(self) -> int:
        return sum(self.by_status.values())


async def stats(context: Context, actor: Actor) -> Stats:
    """Counts and money over all sessions this actor reaches; of many of everybody's, as they were up to 30 s ago."""
    scope, now = own_scope(actor), context.clock()
    if scope:
        return await _counted(context, scope, now)
    return await context.remembered.figure(
        ("stats", *scope.items()), now, lambda: _counted(context, scope, now), size=lambda counted: counted.total
    )


async def _counted(context: Context, scope: Document, now: datetime) -> Stats:
    lapsed = {
        "$and": [
            {"$eq": ["$listing.status", "pending"]},
            {"$lte": [{"$ifNull": ["$listing.timeoutAt", {"$literal": _FAR}]}, {"$literal": now}]},
        ]
    }
    key = {
        "status": {"$cond": [lapsed, "cancelled", "$listing.status"]},
        "payment": "$listing.paymentStatus",
        "currency": "$listing.currency",
    }
    match = {**scope, "listing.currency": {"$exists": True}}
    rows = await context.store.aggregate(
        "session stats",
        "service_sessions",
        [
            {"$match": match},
            {
                "$group": {
                    "_id": key,
                    "sessions": {"$sum": 1},
                    "paid": {"$sum": "$listing.paidAmount"},
                    "refunded": {"$sum": "$listing.refundAmount"},
                    "clients": {"$addToSet": "$listing.clientId"},
                }
            },
        ],
    )
    by_payment: dict[str, int] = {}
    by_status: dict[str, int] = {}
    received: dict[str, Decimal] = {}
    clients: set[ObjectId] = set()
    for row in rows:
        group, count = row["_id"], row["sessions"]
        by_payment[group["payment"]] = by_payment.get(group["payment"], 0) + count
        by_status[group["status"]] = by_status.get(group["status"], 0) + count
        net = exact(row["paid"]) - exact(row["refunded"])
        received[group["currency"]] = received.get(group["currency"], ZERO) + net
        clients.update(row["clients"])
    return Stats(by_payment=by_payment, by_status=by_status, received=received, bookings=len(clients))
