"""MERGE: all that one client has moves into another's document (MONEY, "Who the client is"; docs/customers.md).

1. TAKE     one update of the old document: its sessions move from ``sessions`` to ``leaving``, and ``mergedInto`` is
            set. From then on no command finds a session there, and none can be pushed.
2. APPEND   one update of the heir's, guard: this has not come yet (``mergedFrom``: the keys of what came). Each session
            comes with a raised version; one that overlaps an active session of the heir is flagged ``conflict`` (L4).
3. RENAME   whatever names the old client names the heir: service sessions and seats, minutes, archive, invoices,
            payments, reviews.
4. FORGET   ``leaving`` goes. ``mergedInto`` stays for ever, for whoever still knows the old client.

Whoever meets ``leaving`` goes on from 2: every step done twice is done once. A claim of the old client stands on the
session it stood on: HEAL follows ``mergedInto``, and FENCE is refused by it.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from bson import ObjectId

from confiido_booking.actors import Actor, Role
from confiido_booking.bookings import guards, totals
from confiido_booking.bookings.rules import MAX_HISTORY
from confiido_booking.bookings.statuses import ACTIVE
from confiido_booking.calendar import claims
from confiido_booking.database.store import Document, Duplicate, Store
from confiido_booking.events import outbox

FIELDS = ("mergedInto", "mergedFrom", "leaving")  # the store's own; no reply has them
RENAMED = ("booking_archive", "invoices", "payments", "reviews", "communications", "orders")
_NOTHING = {"sessions": 0, "sums": {}}
_TRIES = 20


async def merge(store: Store, old: ObjectId, into: ObjectId, actor: Actor, now: datetime) -> ObjectId:
    """All of ``old`` goes to ``into``, or to whom that was merged into. Repeatable. Returns the heir."""
    document = await _take(store, old, into, actor, now)
    return await finish(store, document)


async def finish(store: Store, document: Mapping[str, Any]) -> ObjectId:
    """From 2 on, for a document that has ``mergedInto``. Returns the heir's clientId."""
    into: ObjectId = document["mergedInto"]
    if "leaving" not in document:
        return await _last(store, into)
    old, left = document["clientId"], document["leaving"]
    heir = await _append(store, document, into)
    await rename(store, old, heir, left["sessions"])
    await store.update("forget", "bookings", {"_id": document["_id"]}, {"$unset": {"leaving": ""}})
    return heir


async def heir_of(store: Store, client_id: ObjectId) -> ObjectId | None:
    """Whose the bookings of this client are now, where they were merged into another's."""
    document = await store.find_one("read booking", "bookings", guards.of_client(client_id), dict.fromkeys(READ, 1))
    return await finish(store, document) if document is not None and "mergedInto" in document else None


async def followed(store: Store, document: Document | None) -> Document | None:
    """The document itself, or the heir's."""
    if document is None or "mergedInto" not in document:
        return document
    heir = await finish(store, document)
    return await store.find_one("read booking", "bookings", guards.of_client(heir))


_KNOWN = ("clientUserId", "clientEmail", "clientName")
READ = ("clientId", "mergedInto", "leaving", *_KNOWN)


# Where a writer that knew nothing of a merge put a session into the old document, that one goes the same way.
_TAKEABLE: Document = {"leaving": {"$exists": False}, "$or": [guards.OPEN, {"sessions.0": {"$exists": True}}]}


async def _take(store: Store, old: ObjectId, into: ObjectId, actor: Actor, now: datetime) -> Document:
    """The old document as it then is. Where there is none, an empty one stands for it."""
    left = {"at": now, "actor": actor.stamp(), "key": guards.fresh_key()}
    moving = {"$mergeObjects": [{"$literal": left}, {"sessions": "$sessions", "archived": "$archived"}]}
    pipeline = [
        {"$set": {"leaving": moving, "mergedInto": {"$literal": into}, **guards.stamped(now)}},
        {"$set": {"sessions": {"$literal": []}, "archived": {"$literal": _NOTHING}}},
        *totals.stages(),
    ]
    tombstone = {"_id": ObjectId(), **guards.empty_booking(old, now), "mergedInto": into}
    for _ in range(_TRIES):
        if await store.update("take", "bookings", {**guards.of_client(old), **_TAKEABLE}, pipeline):
            break
        if await store.find_one("read booking", "bookings", guards.of_client(old), {"_id": 1}):
            break  # taken before
        try:
            await store.insert("insert booking", "bookings", tombstone)
        except Duplicate:
            continue
        break
    document = await store.find_one("read booking", "bookings", guards.of_client(old), dict.fromkeys(READ, 1))
    assert document is not None
    return document


async def _append(store: Store, document: Mapping[str, Any], into: ObjectId) -> ObjectId:
    """Into the heir's document, once. Returns whose it is, if the heir was merged onward."""
    key, change = document["leaving"]["key"], _appending(document)
    for _ in range(_TRIES):
        guard = {**guards.of_client(into), **guards.OPEN, "mergedFrom": {"$ne": key}, **outbox.room_for_events()}
        if await store.update("append", "bookings", guard, change):
            return into
        columns = dict.fromkeys((*READ, "mergedFrom", *outbox.FIELDS), 1)
        there = await store.find_one("read booking", "bookings", guards.of_client(into), columns)
        if there is None:
            fresh = {"_id": ObjectId(), **guards.empty_booking(into, document["leaving"]["at"])}
            try:
                await store.insert("insert booking", "bookings", fresh)
            except Duplicate:
                continue
        elif key in there.get("mergedFrom", []):
            return await finish(store, there) if "mergedInto" in there else into
        elif "mergedInto" in there:
            into = await finish(store, there)
        else:
            await outbox.deliver(store, "bookings", there)
    raise RuntimeError(f"The document of client {into} lets nothing in")


def _appending(document: Mapping[str, Any]) -> guards.Pipeline:
    old, left = document["clientId"], document["leaving"]
    now = left["at"]
    known = {name: {"$ifNull": [f"${name}", {"$literal": document[name]}]} for name in _KNOWN if name in document}
    entry = {name: left[name] for name in ("at", "actor", "key")} | {"action": "merge"}
    came = [
        {
            **session,
            "version": session.get("version", 0) + 1,
            "updatedTime": now,
            "history": [*session.get("history", []), {**entry, "from": session["status"]}][-MAX_HISTORY:],
        }
        for session in left["sessions"]
    ]
    overlapping = {
        "$filter": {
            "input": "$sessions",
            "as": "o",
            "cond": {
                "$and": [
                    {"$in": ["$$o.status", sorted(ACTIVE)]},
                    {"$lt": ["$$o.startsAt", "$$m.endsAt"]},
                    {"$gt": ["$$o.endsAt", "$$m.startsAt"]},
                ]
            },
        }
    }
    flagged = {"$cond": [{"$gt": [{"$size": overlapping}, 0]}, {"conflict": True}, {}]}
    active = [session for session in came if session["status"] in ACTIVE]
    others = [session for session in came if session["status"] not in ACTIVE]
    event = outbox.event(
        "client.merged",
        at=now,
        actor=Actor(role=Role(left["actor"]["role"]), id=left["actor"].get("id")),
        data={"from": old, "sessions": len(came) + left["archived"]["sessions"]},
    )
    told = {"$map": {"input": {"$literal": [event]}, "as": "e", "in": {"$mergeObjects": ["$$e", _OF_CLIENT]}}}
    moved = {"$map": {"input": {"$literal": active}, "as": "m", "in": {"$mergeObjects": ["$$m", flagged]}}}
    first = next((session["currency"] for session in came), None) or next(iter(left["archived"]["sums"]), None)
    archived = {"sessions": {"$add": ["$archived.sessions", left["archived"]["sessions"]]}, "sums": _summed(left)}
    return [
        {
            "$set": {
                "sessions": {"$concatArrays": ["$sessions", moved, {"$literal": others}]},
                "archived": archived,
                "mergedFrom": {"$concatArrays": [{"$ifNull": ["$mergedFrom", []]}, [{"$literal": left["key"]}]]},
                **({"currency": {"$ifNull": ["$currency", {"$literal": first}]}} if first else {}),
                **known,
                **guards.stamped(now),
                **outbox.appended_as(told, now),
            }
        },
        *totals.stages(),
    ]


_OF_CLIENT = {"clientId": "$clientId"}


def _summed(left: Mapping[str, Any]) -> Any:
    """The heir's archived sums with those that came added, per currency."""
    sums = {"$objectToArray": "$archived.sums"}
    came = [{"k": code, "v": part} for code, part in left["archived"]["sums"].items()]
    if not came:
        return "$archived.sums"
    both = {"$concatArrays": [sums, {"$literal": came}]}
    codes = {"$setUnion": [{"$map": {"input": both, "as": "b", "in": "$$b.k"}}]}
    mine = {"$filter": {"input": both, "as": "b", "cond": {"$eq": ["$$b.k", "$$code"]}}}
    added = {name: {"$sum": f"$$mine.v.{name}"} for name in totals.SUMS}
    entry = {"k": "$$code", "v": {"$let": {"vars": {"mine": mine}, "in": added}}}
    return {"$arrayToObject": {"$map": {"input": codes, "as": "code", "in": entry}}}


async def rename(store: Store, old: ObjectId, heir: ObjectId, left: Sequence[Document] = ()) -> None:
    """RENAME. Service sessions are written from the heir's document by their raised version, so that no older command
    that sleeps can write the old client back; what has no session there any more is renamed as it lies."""
    ids = {session["sessionId"] for session in left}
    document = await store.find_one("read booking", "bookings", guards.of_client(heir), {"sessions": 1})
    for session in (document or {}).get("sessions", []):
        if session["sessionId"] in ids and claims.is_projected(session):
            await claims.project(store, session, heir)
    of_old = {"listing.clientId": old}
    await store.update_many("rename listing", "service_sessions", of_old, {"$set": {"listing.clientId": heir}})
    await store.update_many("rename seats", "service_sessions", {"seats.clientId": old}, _renamed("seats", old, heir))
    experts = sorted({session["expertId"] for session in left if "expertId" in session})
    held = {"_id": {"$in": experts}, "busy.clientId": old}
    await store.update_many("rename minutes", "calendars", held, _renamed("busy", old, heir))
    for name in RENAMED:
        await store.update_many(f"rename {name}", name, {"clientId": old}, {"$set": {"clientId": heir}})


def _renamed(array: str, old: ObjectId, heir: ObjectId) -> list[Document]:
    is_olds = {"$eq": ["$$e.clientId", {"$literal": old}]}
    renamed = {"$mergeObjects": ["$$e", {"clientId": {"$literal": heir}}]}
    entries = {"$map": {"input": f"${array}", "as": "e", "in": {"$cond": [is_olds, renamed, "$$e"]}}}
    return [{"$set": {array: entries}}]


async def _last(store: Store, client_id: ObjectId) -> ObjectId:
    """The end of a chain of merges."""
    for _ in range(_TRIES):
        there = await store.find_one("read booking", "bookings", guards.of_client(client_id), dict.fromkeys(READ, 1))
        if there is None or "mergedInto" not in there:
            return client_id
        client_id = await finish(store, there) if "leaving" in there else there["mergedInto"]
    raise RuntimeError(f"The merges of client {client_id} lead nowhere")
