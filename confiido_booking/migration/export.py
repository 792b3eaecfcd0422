"""``confiido migrate export``: nested data back as flat rows, one a line, in mongoexport's canonical extended JSON.

A row has the flat names of HISTORY 2 at the top, so that any tool reads it; what a flat row cannot say lies under
``_confiido``, with the order it was bought by and the event it has a seat in. Users and experts are written as they
are. Migrating the rows again gives the same documents.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import IO

from bson import ObjectId, json_util
from pymongo import ASCENDING

from confiido_booking.bookings.models import CURRENT
from confiido_booking.database.store import Document, Store
from confiido_booking.migration.eras import EXPORTED

_BATCH = 100
_CLIENT = ("clientUserId", "clientEmail", "clientName")
_HEAD = ("bookingReference", "currency", "createdAt", "updatedAt", "legacy")
_OF_SEATS = ("seats", "currentParticipants", "rev", "conflict")
PEOPLE = ("users", "experts")
_OPTIONS = json_util.CANONICAL_JSON_OPTIONS


async def rows(store: Store) -> AsyncIterator[Document]:
    """Every session as a flat row: by client, the live ones in their order, then the archived ones."""
    last: ObjectId | None = None
    while True:
        after: Document = {"clientId": {"$gt": last}} if last else {}
        batch = await store.find(
            "export", "bookings", {**after, **CURRENT}, sort=[("clientId", ASCENDING)], limit=_BATCH
        )
        for booking in batch:
            sessions = [(session, False) for session in booking["sessions"]]
            if booking["archived"]["sessions"]:
                sessions += [(session, True) async for session in _archived(store, booking)]
            orders = await _by_id(store, "orders", [session.get("orderId") for session, _ in sessions])
            seats = [session["serviceSessionId"] for session, _ in sessions if session.get("seat")]
            events = await _by_id(store, "service_sessions", seats)
            for place, (session, archived) in enumerate(sessions):
                shared = {"order": orders.get(session.get("orderId"))}
                if event := events.get(session.get("serviceSessionId")):
                    shared["event"] = {name: value for name, value in event.items() if name not in _OF_SEATS}
                yield _row(booking, session, place, shared, archived=archived)
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


async def _by_id(store: Store, collection: str, ids: Sequence[ObjectId | None]) -> dict[ObjectId | None, Document]:
    wanted = list({identifier for identifier in ids if identifier is not None})
    found = await store.find(f"export {collection}", collection, {"_id": {"$in": wanted}}) if wanted else []
    return {document["_id"]: document for document in found}


def _row(
    booking: Document, session: Document, place: int, shared: Mapping[str, Document | None], *, archived: bool
) -> Document:
    head = {name: booking[name] for name in _HEAD if name in booking}
    head |= {name: document for name, document in shared.items() if document is not None}
    head |= {"bookingId": booking["_id"], "position": place, "archived": archived}
    kept = {name: session[name] for name in ("_id", "clientId", *_CLIENT) if name in session}
    if kept:
        head["keep"] = kept
    client = {name: booking[name] for name in ("clientId", *_CLIENT) if name in booking}
    return {**session, **client, "_id": session["sessionId"], EXPORTED: head}


async def people(store: Store, collection: str) -> AsyncIterator[Document]:
    """Every user, or every expert, as it stands."""
    async for document in store.walk(collection, {}):
        yield {**document, EXPORTED: {"whole": True}}


async def export(store: Store, stream: IO[str]) -> int:
    """Write every session as a row; how many."""
    return await _write(rows(store), stream)


async def export_all(store: Store, folder: Path) -> dict[str, int]:
    """Write ``bookings``, ``users`` and ``experts`` into this folder, a file each: a source as it is."""
    written = {}
    for name in ("bookings", *PEOPLE):
        with (folder / f"{name}.ndjson").open("w", encoding="utf-8") as stream:
            written[name] = await _write(rows(store) if name == "bookings" else people(store, name), stream)
    return written


async def _write(documents: AsyncIterator[Document], stream: IO[str]) -> int:
    written = 0
    async for document in documents:
        stream.write(json_util.dumps(document, json_options=_OPTIONS, ensure_ascii=False) + "\n")
        written += 1
    return written
