"""Migrating in place: the old documents lie in the very collection that will hold the new ones.

They are first moved aside, whole, to ``bookings_flat_backup``, which is then the source: it does not change while a
run is killed and taken up, and ``bookings`` holds nothing but new documents.
"""

from confiido_booking.bookings.models import OLD
from confiido_booking.database.store import Document, Store
from confiido_booking.migration.sources import BACKUP
from confiido_booking.migration.writing import insert_missing

_BATCH = 500


async def move_aside(store: Store) -> int:
    """Move the old documents; repeatable after a kill, because a copy precedes each deletion. How many went."""
    moved = 0
    while batch := await store.find("read old", "bookings", OLD, limit=_BATCH):
        await insert_missing(store, BACKUP, batch)
        ids = [document["_id"] for document in batch]
        await delete(store, "bookings", {"_id": {"$in": ids}, **OLD})
        moved += len(batch)
    return moved


async def put_back(store: Store) -> int:
    """The inverse: every original where it was."""
    returned = 0
    while batch := await store.find("read backup", BACKUP, {}, limit=_BATCH):
        await insert_missing(store, "bookings", batch)
        await delete(store, BACKUP, {"_id": {"$in": [document["_id"] for document in batch]}})
        returned += len(batch)
    return returned


async def delete(store: Store, collection: str, query: Document) -> None:
    await store.run("delete", lambda: store.collection(collection).delete_many(query))
