"""One client's old documents, converted where they lie: what a command or a get does that meets them (seed 2.15).

It is called only where a client's document was looked for and not found, or is an old one, so it costs nothing where
there are none. The steps are those of migrating in place, for one client: the originals go to
``bookings_flat_backup``, then the new document is written as ``apply`` writes it. A process that dies between the
two is finished by the next call, because the backup is read as well.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from bson import ObjectId

from confiido_booking.database.store import Document, Store
from confiido_booking.migration.inplace import OLD, delete
from confiido_booking.migration.intake import no_progress
from confiido_booking.migration.options import Options
from confiido_booking.migration.profile import load
from confiido_booking.migration.reading import read
from confiido_booking.migration.runs import Run, Runs, RunState
from confiido_booking.migration.scratch import Scratch
from confiido_booking.migration.sources import BACKUP, Raw, Unreadable
from confiido_booking.migration.writing import Writer, insert_missing
from confiido_booking.settings import Settings

RUN = "on-touch"


@dataclass(slots=True)
class _Documents:
    """A client's documents and the people in them, as a source."""

    tables_: dict[str, list[Document]]
    name: str = field(default="bookings")

    def tables(self) -> Sequence[str]:
        return list(self.tables_)

    def read(self, table: str) -> Iterator[Raw | Unreadable]:
        return iter(self.tables_[table])

    def count(self, table: str) -> int | None:
        return len(self.tables_[table])


async def old_documents(store: Store, client_id: ObjectId) -> list[Document]:
    """The client's documents of any old era that are not converted: in place, or moved aside by one who died."""
    own = {"clientId": {"$in": [client_id, str(client_id)]}}
    found = await store.find("read old", "bookings", own)
    lying = [document for document in found if "schemaVersion" not in document]
    if not lying and found:
        return []
    aside = await store.find("read old aside", BACKUP, own)
    ids = {str(document["_id"]) for document in lying}
    return [*lying, *(document for document in aside if str(document["_id"]) not in ids)]


async def convert_client(store: Store, settings: Settings, client_id: ObjectId, *, now: datetime) -> bool:
    """Convert what is old of this client; whether there was anything. Repeatable, also by two processes at once."""
    documents = await old_documents(store, client_id)
    if not documents:
        return False
    options = Options(timezone=settings.timezone, currency=settings.currency, as_of=now, client=client_id)
    run = Run(RUN, "bookings", options, RunState.DONE, now, in_place=True, counts={"wrote": 1})
    await Runs(store).save(run)
    await insert_missing(store, BACKUP, documents)
    await delete(store, "bookings", {"_id": {"$in": [document["_id"] for document in documents]}, **OLD})
    people = {
        "users": await store.find("read user", "users", {"_id": client_id}),
        "experts": await store.find("read experts", "experts", {"_id": {"$in": list(_experts(documents))}}),
    }
    source = _Documents({"bookings": documents, **{name: rows for name, rows in people.items() if rows}})
    with Scratch.open() as scratch:
        reading = read(scratch, source, load("confiido-flat"), options)
        await Writer(store, reading, run, no_progress).clients()
    return True


def _experts(documents: Sequence[Document]) -> set[Any]:
    parts = [part for document in documents for part in (document, *_sessions(document))]
    return {part["expertId"] for part in parts if isinstance(part.get("expertId"), ObjectId)}


def _sessions(document: Document) -> list[Document]:
    sessions = document.get("sessions")
    return [session for session in sessions if isinstance(session, dict)] if isinstance(sessions, list) else []
