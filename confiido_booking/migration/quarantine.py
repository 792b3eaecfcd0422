"""What could not be understood: kept in ``migration_quarantine`` with its reason and the original."""

from bson import ObjectId

from confiido_booking.database.store import Document, Store
from confiido_booking.migration.intake import Reading, old_id
from confiido_booking.migration.runs import Run
from confiido_booking.migration.scratch import decoded
from confiido_booking.migration.sources import storable
from confiido_booking.migration.writing import insert_missing

_BATCH = 200


async def write_quarantine(store: Store, reading: Reading, run: Run) -> int:
    """Keep what was refused; how many were not there yet."""
    made, batch = 0, list[Document]()
    query = "SELECT id, reason, detail, key, client, original FROM quarantine ORDER BY id"
    for identifier, reason, detail, key, client, original in reading.scratch.all(query):
        entry: Document = {
            "_id": ObjectId(identifier),
            "reason": reason,
            "original": storable(decoded(original)["record"]),
            "source": reading.source.name,
            "runId": run.id,
        }
        named = (("detail", detail), ("key", old_id(key)), ("clientId", ObjectId(client) if client else None))
        batch.append(entry | {name: value for name, value in named if value})
        if len(batch) == _BATCH:
            made += len(batch) - len(await insert_missing(store, "migration_quarantine", batch))
            batch = []
    return made + len(batch) - len(await insert_missing(store, "migration_quarantine", batch))
