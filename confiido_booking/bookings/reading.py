"""Lists of sessions.

They are found in ``service_sessions``, where every session has one small entry (docs/decisions/0003), and shown
from the bookings and the archive, which stay the truth. A lapsed hold is cancelled in every answer.
"""

import asyncio
import base64
import json
import re
from collections import Counter
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from bson import ObjectId
from bson.errors import InvalidId

from confiido_booking.actors import Actor, Role
from confiido_booking.bookings import rules
from confiido_booking.bookings.context import Context
from confiido_booking.bookings.models import CURRENT
from confiido_booking.bookings.statuses import HELD
from confiido_booking.bookings.views import HEAD
from confiido_booking.database.store import Document
from confiido_booking.errors import Invalid, wrong_field

MAX_LIMIT = 100
MAX_PAGE = 10_000
_SORTS = {"startsAt": "startsAt", "createdTime": "listing.createdTime"}
_EPOCH, _FAR = datetime(1900, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)
_MOST_CLIENTS = 5_000
_BANDS = [timedelta(days=days) for days in (30, 0, -1, -4, -16, -64, -256)]


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionFilter:
    """What a list is asked for. ``from_``/``to``: the start lies in [from, to). ``sort``: ``startsAt`` or
    ``createdTime``, descending with a leading ``-``. ``conditions``: further ones, as a dialect's words need."""

    status: str | None = None
    payment_status: str | None = None
    expert_id: ObjectId | None = None
    client_id: ObjectId | None = None
    session_type: str | None = None
    service_id: ObjectId | None = None
    from_: datetime | None = None
    to: datetime | None = None
    q: str | None = None
    source: str | None = None
    sort: str = "-startsAt"
    conditions: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionPage:
    """A page of sessions. ``bookings`` are raw documents in order of appearance, each with its sessions of the page."""

    bookings: list[Document] = field(default_factory=list)
    total: int = 0
    page: int = 1
    limit: int = 20
    next_cursor: str | None = None

    @property
    def pages(self) -> int:
        return -(-self.total // self.limit)

    @property
    def sessions(self) -> list[tuple[Document, Document]]:
        """(booking, session) in the order of the page."""
        pairs = [(booking, session) for booking in self.bookings for session in booking["sessions"]]
        return sorted(pairs, key=lambda pair: int(pair[1]["_position"]))


def in_status(word: str, now: datetime) -> dict[str, Any]:
    """Listing entries whose status is ``word`` now, lapsed holds being cancelled."""
    status = "listing.status"
    if word in HELD:
        return {status: word, "listing.timeoutAt": {"$not": {"$lte": now}}}
    if word == "cancelled":
        return {"$or": [{status: "cancelled"}, {status: {"$in": sorted(HELD)}, "listing.timeoutAt": {"$lte": now}}]}
    return {status: word}


async def list_sessions(
    context: Context, actor: Actor, wanted: SessionFilter, *, page: int, limit: int, cursor: str | None
) -> SessionPage:
    """A page of the sessions this actor may see.

    Raises:
        Invalid: a page, limit, sort or cursor out of range; NotAllowed never: a foreign filter finds nothing.
    """
    check_page(page, limit)
    now = context.clock()
    query = await query_of(context, actor, wanted, now)
    if query is None:
        return SessionPage(page=page, limit=limit)
    name = _SORTS.get(wanted.sort.removeprefix("-"))
    if name is None:
        raise _invalid("sort", "must be startsAt or createdTime, with or without a leading -")
    direction = -1 if wanted.sort.startswith("-") else 1
    after = _after(cursor, name, direction) if cursor else None
    skip = 0 if cursor else (page - 1) * limit
    scoped = any(key in query for key in ("expertId", "listing.clientId"))
    (shown, more, bookings), total = await asyncio.gather(
        _page(context, query, name, direction, after, skip, limit, now, banded=not scoped and name == "startsAt"),
        _total(context, query, now, exact=scoped),
    )
    return SessionPage(
        bookings=bookings,
        total=total,
        page=page,
        limit=limit,
        next_cursor=_cursor(shown[-1], name) if more else None,
    )


async def _total(context: Context, query: Document, now: datetime, *, exact: bool) -> int:
    """How many match. Across all clients and experts, of many, how many did up to 30 s ago."""

    def count() -> Awaitable[int]:
        return context.store.count("count sessions", "service_sessions", query)

    if exact:
        return await count()
    return await context.remembered.figure(repr(query).replace(repr(now), "now"), now, count, size=lambda total: total)


async def _page(
    context: Context,
    query: Document,
    name: str,
    direction: int,
    after: Document | None,
    skip: int,
    limit: int,
    now: datetime,
    *,
    banded: bool,
) -> tuple[list[Document], bool, list[Document]]:
    """The page's entries, whether more follow, and the bookings with its sessions."""
    entries = await _entries(context, query, name, direction, after, skip, limit + 1, now, banded=banded)
    shown = entries[:limit]
    return shown, len(entries) > limit, await _bodies(context, shown)


def check_page(page: int, limit: int) -> None:
    if not 1 <= page <= MAX_PAGE:
        raise _invalid("page", f"must be from 1 to {MAX_PAGE}")
    if not 1 <= limit <= MAX_LIMIT:
        raise _invalid("limit", f"must be from 1 to {MAX_LIMIT}")


async def query_of(context: Context, actor: Actor, wanted: SessionFilter, now: datetime) -> Document | None:
    """The filter on listing entries; None = nothing can match."""
    query: Document = {}
    conditions: list[Mapping[str, Any]] = list(wanted.conditions)
    if wanted.expert_id is not None:
        query["expertId"] = wanted.expert_id
    if wanted.client_id is not None:
        query["listing.clientId"] = wanted.client_id
    reach = own_scope(actor)
    for name, value in reach.items():
        if query.setdefault(name, value) != value:
            return None
    if wanted.status is not None:
        conditions.append(in_status(wanted.status, now))
    for name, value in (
        ("listing.paymentStatus", wanted.payment_status),
        ("listing.sessionType", wanted.session_type),
        ("serviceId", wanted.service_id),
        ("listing.source", wanted.source),
    ):
        if value is not None:
            query[name] = value
    span = {"$gte": wanted.from_, "$lt": wanted.to}
    if any(span.values()):
        query["startsAt"] = {operator: moment for operator, moment in span.items() if moment is not None}
    if wanted.q is not None:
        conditions.append({"listing.clientId": {"$in": await _clients_called(context, wanted.q, reach)}})
    if conditions:
        query["$and"] = conditions
    if "listing.clientId" not in query:
        # not a workshop, nor one whose session never came to be; by a field without an index, for the planner would
        # walk an index of all sessions
        query.setdefault("listing.currency", {"$exists": True})
    return query


def own_scope(actor: Actor) -> Document:
    """L10: what of the listing an actor reaches."""
    if actor.role is Role.CLIENT:
        return {"listing.clientId": actor.id}
    if actor.role is Role.EXPERT:
        return {"expertId": actor.own_expert_id}
    return {}


async def _clients_called(context: Context, text: str, reach: Document) -> list[ObjectId]:
    """Clients within reach whose name or e-mail contains the text, at most 5,000."""
    rules.text(text, "q", limit=100)
    like = {"$regex": re.escape(text.strip()), "$options": "i"}
    query: Document = {"$or": [{"clientEmail": like}, {"clientName": like}]}
    if reach:
        of_theirs: list[Document] = [
            {"$match": reach},
            {"$group": {"_id": "$listing.clientId"}},
            {"$limit": _MOST_CLIENTS},
        ]
        theirs = await context.store.aggregate("find own clients", "service_sessions", of_theirs)
        query["clientId"] = {"$in": [client["_id"] for client in theirs]}
    found = await context.store.find("find clients", "bookings", query, {"clientId": 1}, limit=_MOST_CLIENTS)
    return [document["clientId"] for document in found]


async def _entries(
    context: Context,
    query: Document,
    name: str,
    direction: int,
    after: Document | None,
    skip: int,
    wanted: int,
    now: datetime,
    *,
    banded: bool,
) -> list[Document]:
    """The listing entries of a page, in order.

    FerretDB sorts what matches, index or not: 60,000 entries take 113 ms. So a list that nobody's id narrows is
    read in bands of time, nearest first in the order asked for, until the page is full: from the end of the range asked
    for, else from the days ahead.
    """
    columns = {"listing.sessionId": 1, "listing.clientId": 1, "startsAt": 1, "listing.createdTime": 1}
    order = [(name, direction), ("_id", direction)]
    base = {"$and": [query, after]} if after else query
    if not banded or direction == 1:
        return await context.store.find(
            "list sessions", "service_sessions", base, columns, sort=order, skip=skip, limit=wanted
        )
    found: list[Document] = []
    asked = query.get("startsAt", {})
    since, upper = asked.get("$gte"), asked.get("$lt")
    bands = [upper + band for band in _BANDS[2:]] if upper else [now + band for band in _BANDS]
    for band in [*bands, None]:
        lower = since if band is None or (since and band < since) else band
        span: Document = {"startsAt": {"$gte": lower}} if lower else {"startsAt": {"$not": {"$gte": upper}}}
        if lower and upper:
            span = {"startsAt": {"$gte": lower, "$lt": upper}}
        rows = await context.store.find(
            "list sessions",
            "service_sessions",
            {"$and": [base, span]},
            columns,
            sort=order,
            limit=skip + wanted - len(found),
        )
        found += rows
        if len(found) >= skip + wanted or (lower is not None and lower == since):
            break
        upper = lower
    return found[skip : skip + wanted]


async def _with_sessions(context: Context, clients: Counter[ObjectId], ids: list[ObjectId]) -> list[Document]:
    """The clients' documents with those of their sessions, and in ``_lapsed`` what the totals still count of lapsed
    holds, wherever they are. ``clients``: how many sessions of each.

    Where it is one, a projection picks it: FerretDB takes 8 ms for 50 clients of 50 sessions each, and 29 ms to filter
    every session by 50 ids.
    """
    store, head = context.store, dict.fromkeys(HEAD, 1)
    one = [client for client, sessions in clients.items() if sessions == 1]
    several = [client for client, sessions in clients.items() if sessions > 1]
    picked = {"$elemMatch": {"sessionId": {"$in": ids}}}
    wanted = {"$filter": {"input": "$sessions", "as": "s", "cond": {"$in": ["$$s.sessionId", {"$literal": ids}]}}}
    reads = []
    if one:
        query = {"clientId": {"$in": one}, **CURRENT}
        reads.append(store.find("read sessions", "bookings", query, {**head, "sessions": picked}))
    if several:
        pipeline: list[Document] = [
            {"$match": {"clientId": {"$in": several}, **CURRENT}},
            {"$project": {**head, "sessions": wanted}},
        ]
        reads.append(store.aggregate("read sessions", "bookings", pipeline))
    holds = {
        "listing.clientId": {"$in": list(clients)},
        "listing.status": "pending",
        "listing.timeoutAt": {"$lte": context.clock()},
    }
    reads.append(store.find("read lapsed holds", "service_sessions", holds, {"listing": 1}))
    *answers, lapsed_holds = await asyncio.gather(*reads)
    found = [document for documents in answers for document in documents]
    for document in found:
        document.setdefault("sessions", [])  # the only one of the page is archived
        document["_lapsed"] = [
            entry["listing"] for entry in lapsed_holds if entry["listing"]["clientId"] == document["clientId"]
        ]
    return found


async def _bodies(context: Context, entries: Sequence[Document]) -> list[Document]:
    """The sessions of these entries inside their bookings: the booking first, then the archive (PROTOCOL)."""
    order = {entry["listing"]["sessionId"]: place for place, entry in enumerate(entries)}
    if not order:
        return []
    ids = list(order)
    found = await _with_sessions(context, Counter(entry["listing"]["clientId"] for entry in entries), ids)
    by_client: dict[ObjectId, Document] = {document["clientId"]: document for document in found}
    missing = set(ids) - {session["sessionId"] for document in found for session in document["sessions"]}
    if missing:
        for kept in await context.store.find("read archive", "booking_archive", {"_id": {"$in": list(missing)}}):
            missing.discard(kept["_id"])
            if kept["clientId"] in by_client:
                by_client[kept["clientId"]]["sessions"].append(kept["session"])
    if missing:
        whose = {entry["listing"]["clientId"] for entry in entries if entry["listing"]["sessionId"] in missing}
        for client_id, shown in (await context.old.of_clients(list(whose))).items():
            sessions = [session for name in missing if (session := shown.session(name)) is not None]
            if client_id not in by_client:
                by_client[client_id] = shown.document | {"sessions": []}
                found.append(by_client[client_id])
            by_client[client_id]["sessions"] += sessions
    for document in found:
        for session in document["sessions"]:
            session["_position"] = order[session["sessionId"]]
        document["sessions"].sort(key=lambda session: session["_position"])
    with_sessions = [document for document in found if document["sessions"]]
    return sorted(with_sessions, key=lambda document: int(document["sessions"][0]["_position"]))


def _cursor(entry: Document, name: str) -> str:
    """Where a page ended: its last entry's place in the order. Opaque to callers."""
    value = entry["listing"].get("createdTime") if name != "startsAt" else entry.get("startsAt")
    place = [value.isoformat() if value else None, str(entry["_id"])]
    return base64.urlsafe_b64encode(json.dumps(place).encode()).decode().rstrip("=")


def _after(cursor: str, name: str, direction: int) -> Document:
    try:
        if len(cursor) > 200:
            raise ValueError
        raw = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        value = datetime.fromisoformat(raw[0]) if raw[0] is not None else None
        last = ObjectId(raw[1])
        if value is not None and not _EPOCH < value < _FAR:
            raise ValueError
    except (OverflowError, ValueError, TypeError, IndexError, KeyError, InvalidId, RecursionError):
        raise _invalid("cursor", "is not one that a page gave") from None
    beyond = "$lt" if direction == -1 else "$gt"
    same = {name: value, "_id": {beyond: last}}
    if value is None:
        return same if direction == -1 else {"$or": [same, {name: {"$ne": None}}]}
    further: Document = {name: {beyond: value}}
    if direction == -1:
        further = {name: {"$not": {"$gte": value}}}
    return {"$or": [same, further]}


def _invalid(field_name: str, message: str) -> Invalid:
    return wrong_field(field_name, message, location="query")
