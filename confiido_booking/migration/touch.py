"""One client's old documents, converted where they lie: what a command does that meets them (seed 2.15).

The originals are copied to ``bookings_flat_backup``, the new document is written as ``apply`` writes it (in the place
of an old nested one whose ``_id`` it keeps), and last the originals go. A process that dies between two of these
leaves the originals where they are, and the next that meets them ends it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from bson import ObjectId
from pymongo import DeleteOne, ReplaceOne

from confiido_booking.bookings.models import OLD
from confiido_booking.bookings.unconverted import SHOWN
from confiido_booking.database.store import Document, Store
from confiido_booking.errors import Conflict
from confiido_booking.migration.intake import Reading, no_progress
from confiido_booking.migration.options import Options
from confiido_booking.migration.profile import load
from confiido_booking.migration.quarantine import write_quarantine
from confiido_booking.migration.reading import read
from confiido_booking.migration.runs import Run, Runs, RunState
from confiido_booking.migration.scratch import Scratch
from confiido_booking.migration.sources import BACKUP, Raw, Unreadable
from confiido_booking.migration.writing import Writer, unchanged
from confiido_booking.settings import Settings

RUN = "on-touch"
_TRIES = 3


@dataclass(slots=True)
class _Documents:
    """Documents and the people in them, as a source."""

    tables_: dict[str, list[Document]]
    name: str = field(default="bookings")

    def tables(self) -> Sequence[str]:
        return list(self.tables_)

    def read(self, table: str) -> Iterator[Raw | Unreadable]:
        return iter(self.tables_[table])

    def count(self, table: str) -> int | None:
        return len(self.tables_[table])


def of_clients(client_ids: Sequence[ObjectId]) -> Document:
    """The filter of these clients' old documents, whose ids may be text."""
    return {"clientId": {"$in": [*client_ids, *map(str, client_ids)]}, **OLD}


def options_of(settings: Settings, now: datetime) -> Options:
    return Options(timezone=settings.timezone, currency=settings.currency, as_of=now)


async def read_old(scratch: Scratch, store: Store, options: Options, documents: list[Document]) -> Reading:
    """Old documents as the migration reads them, with the users and experts they name."""
    parts = [part for document in documents for part in (document, *_sessions(document))]
    people = {
        "users": await store.find("read users", "users", {"_id": {"$in": _named(parts, "clientId")}}),
        "experts": await store.find("read experts", "experts", _experts(parts)),
    }
    source = _Documents({"bookings": documents, **{name: rows for name, rows in people.items() if rows}})
    return read(scratch, source, load("confiido-flat"), options)


async def convert_client(store: Store, settings: Settings, client_id: ObjectId, *, now: datetime) -> bool:
    """Convert what is old of this client; whether there was anything. Repeatable, also by two processes at once.

    Raises:
        Conflict: ``try_again``: an old system keeps writing to these very documents.
    """
    for _ in range(_TRIES):
        documents = await store.find("read old", "bookings", of_clients([client_id]))
        if not documents:
            return False
        await _convert(store, options_of(settings, now), client_id, documents)
        if await _remove(store, client_id, documents):
            return True
    raise Conflict("The booking is changing; please try again", code="try_again")


async def _convert(store: Store, options: Options, client_id: ObjectId, documents: list[Document]) -> None:
    run = Run(RUN, "bookings", options, RunState.DONE, options.as_of, in_place=True, counts={"wrote": 1})
    await Runs(store).save(run)
    copies = [ReplaceOne({"_id": document["_id"]}, document, upsert=True) for document in documents]
    await store.run("back up", lambda: store.collection(BACKUP).bulk_write(copies, ordered=False))
    with Scratch.open() as scratch:
        reading = await read_old(scratch, store, options, documents)
        lying = {document["_id"]: document for document in documents}
        await Writer(store, reading, run, no_progress, lying=lying).clients()
        await write_quarantine(store, reading, run)


async def _remove(store: Store, client_id: ObjectId, documents: Sequence[Document]) -> bool:
    """Take the originals away that are as they were read; whether all of them went."""
    gone = [DeleteOne({"_id": document["_id"], **OLD, **unchanged(document)}) for document in documents]
    await store.run("remove old", lambda: store.collection("bookings").bulk_write(gone, ordered=False))
    if await store.find_one("read old", "bookings", of_clients([client_id]), {"_id": 1}):
        return False
    await store.delete("forget shown", SHOWN, {"_id": client_id})
    return True


def _experts(parts: Sequence[Document]) -> Document:
    """Whoever a record may mean by id, by account, by e-mail or by number (HISTORY 5)."""
    ids = _named(parts, "expertId")
    emails, numbers = _texts(parts, "expertEmail"), _texts(parts, "expertUserId")
    ways: list[Document] = [
        {"_id": {"$in": ids}},
        {"userId": {"$in": [*ids, *map(str, ids)]}},
        {"email": {"$in": emails}},
        {"expertUserId": {"$in": numbers}},
    ]
    return {"$or": ways}


def _named(parts: Sequence[Document], name: str) -> list[ObjectId]:
    """The ids under a name, also those written as text."""
    found = {part.get(name) for part in parts if isinstance(part.get(name), (ObjectId, str))}
    return [ObjectId(value) for value in found if ObjectId.is_valid(value)]


def _texts(parts: Sequence[Document], name: str) -> list[str]:
    return list({value for part in parts if isinstance(value := part.get(name), str)})


def _sessions(document: Document) -> list[Document]:
    sessions: Any = document.get("sessions")
    return [session for session in sessions if isinstance(session, dict)] if isinstance(sessions, list) else []
