"""Counts and money over all sessions within somebody's reach."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

from bson import ObjectId

from confiido_booking.actors import Actor
from confiido_booking.bookings import totals
from confiido_booking.bookings.context import Context
from confiido_booking.bookings.dialects import SALES_WORDS, SETTLED, word_of
from confiido_booking.bookings.reading import SessionFilter, query_of
from confiido_booking.bookings.statuses import HELD
from confiido_booking.database.store import Document
from confiido_booking.money import ZERO, exact

ADDITIVE = ("booked", "paid", "refunded", "outstanding")  # of many sessions at once; what is refundable is not
_FAR = datetime(9999, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """Counts of sessions, and their money per currency.

    ``by_word``: by the words of the sales workflow. ``received``: paid less refunded. ``sums``: those of L2 that add up
    over sessions.
    """

    by_payment: Mapping[str, int]
    by_status: Mapping[str, int]
    by_word: Mapping[str, int]
    received: Mapping[str, Decimal]
    sums: Mapping[str, Mapping[str, Decimal]]
    bookings: int

    @property
    def total(self) -> int:
        return sum(self.by_status.values())


async def stats(context: Context, actor: Actor, wanted: SessionFilter | None = None) -> Stats:
    """Of the sessions this actor reaches and the filter finds; of many of everybody's, as they were up to 30 s ago."""
    now = context.clock()
    query = await query_of(context, actor, wanted or SessionFilter(), now)
    if query is None:
        return _told([])

    async def counted() -> Stats:
        return _told(await _groups(context, query, now))

    if any(name in query for name in ("expertId", "listing.clientId")):
        return await counted()
    key = ("stats", repr(query).replace(repr(now), "now"))
    return await context.remembered.figure(key, now, counted, size=lambda counted: counted.total)


async def _groups(context: Context, query: Document, now: datetime) -> list[Document]:
    lapsed = {
        "$and": [
            {"$in": ["$listing.status", sorted(HELD)]},
            {"$lte": [{"$ifNull": ["$listing.timeoutAt", {"$literal": _FAR}]}, {"$literal": now}]},
        ]
    }
    key = {
        "status": {"$cond": [lapsed, "cancelled", "$listing.status"]},
        "payment": "$listing.paymentStatus",
        "invoiced": {"$ifNull": ["$listing.invoiced", {"$literal": False}]},
        "currency": "$listing.currency",
    }
    return await context.store.aggregate(
        "session stats",
        "service_sessions",
        [
            {"$match": query},
            {
                "$group": {
                    "_id": key,
                    "sessions": {"$sum": 1},
                    "price": {"$sum": "$listing.price"},
                    "paid": {"$sum": "$listing.paidAmount"},
                    "refunded": {"$sum": "$listing.refundAmount"},
                    "clients": {"$addToSet": "$listing.clientId"},
                }
            },
        ],
    )


def _told(groups: Sequence[Document]) -> Stats:
    by_payment, by_status, by_word = Counter[str](), Counter[str](), Counter[str](dict.fromkeys(SALES_WORDS, 0))
    sums: dict[str, dict[str, Decimal]] = {}
    clients: set[ObjectId] = set()
    for row in groups:
        group, count = row["_id"], row["sessions"]
        by_payment[group["payment"]] += count
        by_status[group["status"]] += count
        by_word[word_of(group["status"], is_paid=group["payment"] in SETTLED, is_invoiced=group["invoiced"])] += count
        price, paid, refunded = (exact(row[name]) for name in ("price", "paid", "refunded"))
        line = totals.Line(group["status"], group["payment"], group["currency"], price, paid, refunded, None)
        mine = sums.setdefault(group["currency"], dict.fromkeys(ADDITIVE, ZERO))
        for name, value in totals.contribution(line).items():
            if name in ADDITIVE:
                mine[name] += value
        clients.update(row["clients"])
    return Stats(
        by_payment=by_payment,
        by_status=by_status,
        by_word=by_word,
        received={code: of["paid"] - of["refunded"] for code, of in sums.items()},
        sums=sums,
        bookings=len(clients),
    )
