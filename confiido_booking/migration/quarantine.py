"""What could not be understood: kept in ``migration_quarantine`` with its reason and the original."""

from bson import ObjectId

from confiido_booking.database.store import Document, Store
from confiido_booking.migration.intake import Reading, old_id
from confiido_booking.migration.runs import Run
from confiido_booking.migration.scratch import decoded
from confiido_booking.migration.sources import storable
from confiido_booking.migration.writing import insert_missing

_BATCH = 200
LARGEST_ORIGINAL = 15_000_000


def quarantined(reading: Reading, last: ObjectId | None) -> str:
    """Which rows of the scratch's quarantine are of this run: with ``--limit`` those of its clients, up to the
    ``last``; records whose client is not known by an id wait for the run without."""
    return "1" if reading.options.limit is None or last is None else f"client <= x'{last}'"


async def write_quarantine(store: Store, reading: Reading, run: Run, last: ObjectId | None = None) -> int:
    """Keep what was refused; how many were not there yet. ``last``: the last client that was written."""
    made, batch = 0, list[Document]()
    which = quarantined(reading, last)
    query = f"SELECT id, reason, detail, key, client, original FROM quarantine WHERE {which} ORDER BY id"  # noqa: S608
    for identifier, reason, detail, key, client, original in reading.scratch.all(query):
        entry: Document = {
            "_id": ObjectId(identifier),
            "reason": reason,
            "original": _kept(original),
            "source": reading.source.name,
            "runId": run.id,
        }
        named = (("detail", detail), ("key", old_id(key)), ("clientId", ObjectId(client) if client else None))
        batch.append(entry | {name: value for name, value in named if value})
        if len(batch) == _BATCH:
            made += len(batch) - len(await insert_missing(store, "migration_quarantine", batch))
            batch = []
    return made + len(batch) - len(await insert_missing(store, "migration_quarantine", batch))


def _kept(original: bytes) -> object:
    """The record as it stood; one that no document can hold stays in the source alone."""
    if len(original) > LARGEST_ORIGINAL:
        return {"bytes": len(original)}
    return storable(decoded(original)["record"])
