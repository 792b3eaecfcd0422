"""``confiido migrate export``: nested data back as flat rows, one a line, in mongoexport's canonical extended JSON.

A row has the flat names of HISTORY 2 at the top, so that any tool reads it; what a flat row cannot say lies under
``_confiido``, and migrating the rows again gives the same documents.
"""

from collections.abc import AsyncIterator
from typing import IO

from bson import ObjectId, json_util
from pymongo import ASCENDING

from confiido_booking.database.store import Document, Store
from confiido_booking.migration.eras import EXPORTED

_BATCH = 100
_CLIENT = ("clientUserId", "clientEmail", "clientName")
_HEAD = ("bookingReference", "currency", "createdAt", "updatedAt")
_OPTIONS = json_util.CANONICAL_JSON_OPTIONS


async def rows(store: Store) -> AsyncIterator[Document]:
    """Every session as a flat row: by client, the live ones in their order, then the archived ones."""
    last: ObjectId | None = None
    while True:
        after: Document = {"clientId": {"$gt": last}} if last else {}
        batch = await store.find("export", "bookings", after, sort=[("clientId", ASCENDING)], limit=_BATCH)
        for booking in batch:
            place = 0
            for session in booking["sessions"]:
                yield _row(booking, session, place, archived=False)
                place += 1
            if booking["archived"]["sessions"]:
                async for session in _archived(store, booking):
                    yield _row(booking, session, place, archived=True)
                    place += 1
        if len(batch) < _BATCH:
            return
        last = batch[-1]["clientId"]


async def _archived(store: Store, booking: Document) -> AsyncIterator[Document]:
    last: ObjectId | None = None
    while True:
        query: Document = {"clientId": booking["clientId"]} | ({"_id": {"$gt": last}} if last else {})
        batch = await store.find("export archive", "booking_archive", query, sort=[("_id", ASCENDING)], limit=_BATCH)
        for entry in batch:
            yield entry["session"]
        if len(batch) < _BATCH:
            return
        last = batch[-1]["_id"]


def _row(booking: Document, session: Document, place: int, *, archived: bool) -> Document:
    head = {name: booking[name] for name in _HEAD if name in booking}
    head |= {"bookingId": booking["_id"], "position": place, "archived": archived}
    kept = {name: session[name] for name in ("_id", "clientId", *_CLIENT) if name in session}
    if kept:
        head["keep"] = kept
    client = {name: booking[name] for name in ("clientId", *_CLIENT) if name in booking}
    return {**session, **client, "_id": session["sessionId"], EXPORTED: head}


async def export(store: Store, stream: IO[str]) -> int:
    """Write every row; how many."""
    written = 0
    async for row in rows(store):
        stream.write(json_util.dumps(row, json_options=_OPTIONS, ensure_ascii=False) + "\n")
        written += 1
    return written
