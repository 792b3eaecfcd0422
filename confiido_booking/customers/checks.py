"""What the doctor asks of merged clients: that nothing of theirs was left behind."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import datetime
from functools import partial
from typing import NamedTuple

from bson import ObjectId

from confiido_booking.actors import Actor
from confiido_booking.bookings import guards, merging
from confiido_booking.database.store import Document, Store

_BATCH = 200


class Unfinished(NamedTuple):
    subject: ObjectId
    sentence: str
    cure: Callable[[], Awaitable[object]]


def half_merged(store: Store, booking: Document) -> Unfinished | None:
    """A merge that stopped under way."""
    if "leaving" not in booking:
        return None
    return Unfinished(booking["clientId"], "A merge of this client stopped", partial(merging.finish, store, booking))


async def unfinished(store: Store, now: datetime) -> AsyncIterator[Unfinished]:
    """What came to a merged client's name afterwards, and clients who lead elsewhere but have bookings of their own."""
    async for merged in _batches(store, "bookings", {"mergedInto": {"$exists": True}, "leaving": {"$exists": False}}):
        into = {booking["clientId"]: booking["mergedInto"] for booking in merged}
        late = {booking["clientId"] for booking in merged if booking.get("sessions")}
        for client_id in late:
            sentence = "A merged client has sessions of their own"
            yield Unfinished(client_id, sentence, _merge(store, client_id, into[client_id], now))
        for client_id in await _named(store, list(into)) - late:
            sentence = "Something names a client who was merged with another"
            yield Unfinished(client_id, sentence, partial(_rename, store, client_id, into[client_id]))
    async for users in _batches(store, "users", {"subjects.0": {"$exists": True}}):
        leads = {subject: user["_id"] for user in users for subject in user["subjects"]}
        query = {"clientId": {"$in": list(leads)}, **guards.OPEN}
        for booking in await store.find("find unmerged", "bookings", query, {"clientId": 1}):
            client_id = booking["clientId"]
            sentence = "A client who leads to another has a booking of their own"
            yield Unfinished(client_id, sentence, _merge(store, client_id, leads[client_id], now))


def _merge(store: Store, client_id: ObjectId, into: ObjectId, now: datetime) -> Callable[[], Awaitable[object]]:
    return partial(merging.merge, store, client_id, into, Actor.system(), now)


async def _rename(store: Store, client_id: ObjectId, into: ObjectId) -> None:
    heir = await merging.heir_of(store, into) or into
    await merging.rename(store, client_id, heir)


async def _named(store: Store, clients: Sequence[ObjectId]) -> set[ObjectId]:
    names = [(name, "clientId") for name in merging.RENAMED] + [("service_sessions", "listing.clientId")]
    found: set[ObjectId] = set()
    for collection, field in names:
        for document in await store.find("find left behind", collection, {field: {"$in": list(clients)}}, {field: 1}):
            found.add(document["listing"]["clientId"] if "." in field else document["clientId"])
    return found


async def _batches(store: Store, collection: str, query: Document) -> AsyncIterator[list[Document]]:
    columns = {"clientId": 1, "mergedInto": 1, "subjects": 1, "sessions.sessionId": 1}
    batch: list[Document] = []
    async for document in store.walk(collection, query, columns):
        batch.append(document)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
