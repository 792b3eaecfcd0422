"""The ledger as lists: all entries for an admin, a client's own payments in the words of the frontend."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum

from bson import ObjectId

from confiido_booking.actors import Actor, Role
from confiido_booking.bookings.context import Context
from confiido_booking.database.store import Document
from confiido_booking.errors import Invalid, NotAllowed, wrong_field
from confiido_booking.ledger.models import COLLECTION, Entry, EntryKind, EntryState, Place
from confiido_booking.money import ZERO, exact

MAX_LIMIT = 100
_LATEST_FIRST = [("createdAt", -1), ("_id", -1)]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class TransactionStatus(StrEnum):
    PENDING = "pending"
    COMPLETED = "completed"
    FAILED = "failed"
    REFUNDED = "refunded"


STATUSES = {
    EntryState.CREATED: TransactionStatus.PENDING,
    EntryState.FAILED: TransactionStatus.FAILED,
    EntryState.CAPTURED: TransactionStatus.COMPLETED,
    EntryState.REFUNDED: TransactionStatus.REFUNDED,
}
_UNPLACED_PARTS = {
    "$filter": {"input": "$allocations", "as": "part", "cond": {"$eq": ["$$part.to", Place.UNPLACED.value]}}
}
_STILL_UNPLACED = {  # what is on nothing, less what of it has gone back
    "$gt": [
        {"$sum": {"$map": {"input": _UNPLACED_PARTS, "as": "part", "in": "$$part.amount"}}},
        {"$sum": {"$map": {"input": {"$ifNull": ["$returned", []]}, "as": "back", "in": "$$back.amount"}}},
    ]
}
_IN = (EntryState.CAPTURED, EntryState.REFUNDED)


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentFilter:
    """``unplaced``: only payments with money on no session and no invoice. ``from_``/``to``: made in [from, to)."""

    state: EntryState | None = None
    unplaced: bool = False
    from_: datetime | None = None
    to: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentPage:
    """Entries, the latest first. ``titles``: of the sessions they are for."""

    entries: list[Entry]
    titles: dict[ObjectId, str] = field(default_factory=dict)
    total: int
    page: int
    limit: int
    next_cursor: str | None = None

    @property
    def pages(self) -> int:
        return -(-self.total // self.limit)


@dataclass(frozen=True, slots=True, kw_only=True)
class TransactionStats:
    """Of all the client's payments. ``received``: per currency what came in, less what went back."""

    by_status: dict[TransactionStatus, int]
    received: dict[str, Decimal]

    @property
    def total(self) -> int:
        return sum(self.by_status.values())


async def entries(
    context: Context, actor: Actor, wanted: PaymentFilter, *, page: int, limit: int, cursor: str | None
) -> PaymentPage:
    """All entries of the ledger, for an admin. Raises NotAllowed for anybody else."""
    if actor.role is not Role.ADMIN:
        raise NotAllowed("Only an administrator sees all payments")
    query: Document = {}
    if wanted.state is not None:
        query["state"] = wanted.state.value
    if wanted.unplaced:
        query |= {
            "kind": EntryKind.PAYMENT.value,
            "allocations.to": Place.UNPLACED.value,
            "$expr": _STILL_UNPLACED,
        }
    span = {"$gte": wanted.from_, "$lt": wanted.to}
    if bounds := {operator: at for operator, at in span.items() if at is not None}:
        query["createdAt"] = bounds
    return await _page(context, query, page=page, limit=limit, cursor=cursor)


async def transactions(
    context: Context, actor: Actor, status: TransactionStatus | None, *, page: int, limit: int
) -> tuple[PaymentPage, TransactionStats]:
    """A client's own payments, with what they come to. Raises NotAllowed for anybody else."""
    if actor.role is not Role.CLIENT:
        raise NotAllowed("Only clients have transactions")
    own: Document = {"clientId": actor.id}
    query = own | {"kind": EntryKind.PAYMENT.value}
    if status is not None:
        query["state"] = next(state.value for state, shown in STATUSES.items() if shown is status)
    found = await _page(context, query, page=page, limit=limit, cursor=None)
    titles = await _titles(context, found.entries)
    return PaymentPage(entries=found.entries, titles=titles, total=found.total, page=page, limit=limit), await _stats(
        context, own
    )


async def _page(context: Context, query: Document, *, page: int, limit: int, cursor: str | None) -> PaymentPage:
    if not 1 <= limit <= MAX_LIMIT or page < 1:
        raise _invalid("limit", f"must be 1 to {MAX_LIMIT}, and page at least 1")
    total = await context.store.count("count payments", COLLECTION, query)
    after = _after(cursor) if cursor else {}
    raws = await context.store.find(
        "list payments",
        COLLECTION,
        {"$and": [query, after]} if after else query,
        sort=_LATEST_FIRST,
        skip=0 if after else (page - 1) * limit,
        limit=limit + 1,
    )
    shown = [Entry.model_validate(raw) for raw in raws[:limit]]
    more = _cursor(shown[-1]) if len(raws) > limit else None
    return PaymentPage(entries=shown, total=total, page=page, limit=limit, next_cursor=more)


async def _titles(context: Context, shown: Sequence[Entry]) -> dict[ObjectId, str]:
    ids = list({entry.target.id for entry in shown if entry.target and entry.target.to is Place.SESSION})
    if not ids:
        return {}
    columns = {"title": 1, "listing.sessionId": 1}
    named = {"listing.sessionId": {"$in": ids}}
    found = await context.store.find("read titles", "service_sessions", named, columns)
    return {entry["listing"]["sessionId"]: entry["title"] for entry in found if entry.get("title")}


async def _stats(context: Context, own: Document) -> TransactionStats:
    columns = {"kind": 1, "state": 1, "currency": 1, "amount": 1}
    return summed(await context.store.find("sum payments", COLLECTION, own, columns))


def summed(raws: Iterable[Document]) -> TransactionStats:
    by_status = dict.fromkeys(TransactionStatus, 0)
    received: dict[str, Decimal] = {}
    for raw in raws:
        kind, state, amount = EntryKind(raw["kind"]), EntryState(raw["state"]), exact(raw["amount"])
        received.setdefault(raw["currency"], ZERO)
        if kind is EntryKind.PAYMENT:
            by_status[STATUSES[state]] += 1
            received[raw["currency"]] += amount if state in _IN else ZERO
        elif state in (EntryState.SETTLED, EntryState.CAPTURED):  # refunds; chargebacks, once lost
            received[raw["currency"]] -= amount
    return TransactionStats(by_status=by_status, received=received)


def _cursor(entry: Entry) -> str:
    """Where a page ended. Opaque to callers."""
    return f"{(entry.created_at - _EPOCH) // timedelta(milliseconds=1):x}-{entry.id}"


def _after(cursor: str) -> Document:
    moment, _, identifier = cursor.partition("-")
    try:
        if len(moment) > 12 or not ObjectId.is_valid(identifier):
            raise ValueError
        at = _EPOCH + timedelta(milliseconds=int(moment, 16))
    except (ValueError, OverflowError):
        raise _invalid("cursor", "is not one that a page gave") from None
    return {"$or": [{"createdAt": {"$lt": at}}, {"createdAt": at, "_id": {"$lt": ObjectId(identifier)}}]}


def _invalid(name: str, message: str) -> Invalid:
    return wrong_field(name, message, location="query")
