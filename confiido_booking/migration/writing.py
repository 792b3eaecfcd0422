"""The second half of ``apply``: one guarded write for each client's document, after everything it stands on.

Of a client whose document is not there yet, in this order: the minutes, the archive, the service sessions, the old
ids, and last the document. So a document that is there says that all the rest is, and a run killed anywhere is
finished by the next. A document that is there already is only added to, by the guards of ``bookings/guards.py``.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import NAMESPACE_OID, uuid5

import bson
from bson import Binary, ObjectId
from bson.binary import UuidRepresentation
from pymongo import ReplaceOne
from pymongo.errors import BulkWriteError

from confiido_booking.bookings import guards, totals
from confiido_booking.bookings.archive import Archive
from confiido_booking.bookings.models import CURRENT, OLD
from confiido_booking.bookings.statuses import ACTIVE
from confiido_booking.calendar import claims
from confiido_booking.calendar.claims import Claim
from confiido_booking.database.store import Document, Duplicate, Store
from confiido_booking.errors import Conflict
from confiido_booking.migration.assembly import (
    Client,
    assemble,
    is_double_booking,
    is_to_come,
    mark_conflict,
    service_sessions,
)
from confiido_booking.migration.intake import Progress, Reading
from confiido_booking.migration.options import derived_claim_id, derived_id
from confiido_booking.migration.pace import Pace
from confiido_booking.migration.runs import Run, Runs
from confiido_booking.migration.shared import change_seat, take_seats, write_events

SESSIONS_A_BATCH = 600
CLIENTS_A_BATCH = 300
_IN_FLIGHT = 3
_PUSHED_AT_ONCE = 100
LISTED = 1000
_AS_WRITTEN: dict[str, Document] = {"service_sessions": {"rev": {"$lte": 1}}, "booking_archive": {"version": 1}}
_DUPLICATE = (11000, 11001)
_SAVE_EVERY = 2.0
_KNOWN = {
    "clientId": 1,
    "archived.sessions": 1,
    **{
        f"sessions.{name}": 1
        for name in (
            "sessionId",
            "version",
            "claimId",
            "legacy.digest",
            "history.action",
            "status",
            "startsAt",
            "endsAt",
        )
    },
}


@dataclass(slots=True)
class Written:
    """What a run did. ``conflicts``, ``changed_in_both``: the first session ids a person has to look at; ``counts``
    says how many there are, under ``double_bookings_to_come`` and ``changed_in_both``."""

    counts: Counter[str] = field(default_factory=Counter)
    conflicts: list[ObjectId] = field(default_factory=list)
    changed_in_both: list[ObjectId] = field(default_factory=list)


@dataclass(slots=True)
class Writer:
    store: Store
    reading: Reading
    run: Run
    progress: Progress
    pace: Pace = field(default_factory=Pace)
    lying: Mapping[ObjectId, Document] = field(default_factory=dict)  # old documents where the new ones go
    written: Written = field(default_factory=Written)
    last: ObjectId | None = None  # the last client that was begun
    _saved: float = 0
    _done: int = 0
    _total: int | None = None

    async def clients(self, limit: int | None = None) -> Written:
        """Write every client of the scratch, a few batches at once; before them the events they have seats in."""
        for event_id in await write_events(self.store, self.reading, self.run.id):
            self._double_booking(event_id, to_come=True)
        if limit is None:
            self._total = self.reading.scratch.count("SELECT count(*) FROM sessions WHERE lost = 0")
        under_way: set[asyncio.Task[None]] = set()
        batch: list[Client] = []
        sessions = 0
        for number, client_id in enumerate(self.reading.scratch.client_ids()):
            if limit is not None and number >= limit:
                break
            self.last = client_id
            batch.append(assemble(self.reading.scratch, client_id, run_id=self.run.id, as_of=self.run.options.as_of))
            sessions += len(batch[-1].live) + len(batch[-1].history)
            if len(batch) >= CLIENTS_A_BATCH or sessions >= SESSIONS_A_BATCH:
                under_way.add(asyncio.create_task(self._batch(batch)))
                batch, sessions = [], 0
                await self.pace.keep(self._done)
                while len(under_way) >= _IN_FLIGHT:
                    under_way = await self._wait(under_way)
        if batch:
            under_way.add(asyncio.create_task(self._batch(batch)))
        while under_way:
            under_way = await self._wait(under_way)
        return self.written

    async def _wait(self, under_way: set[asyncio.Task[None]]) -> set[asyncio.Task[None]]:
        done, waiting = await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
        if time.monotonic() - self._saved > _SAVE_EVERY:
            self._saved = time.monotonic()
            self.run.counts = {**self.run.counts, **self.written.counts}
            await Runs(self.store).save(self.run)
        return waiting

    async def _batch(self, clients: Sequence[Client]) -> None:
        self._done += sum(len(client.sessions) for client in clients)
        there = {
            document["clientId"]
            for document in await self.store.find(
                "read clients",
                "bookings",
                {"clientId": {"$in": [client.id for client in clients]}, **CURRENT},
                {"clientId": 1},
            )
        }
        fresh = [client for client in clients if client.id not in there]
        late = await self._insert(fresh) if fresh else set()
        for client in clients:
            if client.id in there or client.id in late:
                await self._merge(client)
        self.written.counts["clients"] += len(clients)
        self.progress("written", self._done, self._total)

    async def _insert(self, clients: Sequence[Client]) -> set[ObjectId]:
        """Clients that have no document yet. Returns those that got one meanwhile."""
        await self._claim([(client, claim) for client in clients for claim in client.claims])
        sessions = [(client, session) for client in clients for session in client.history]
        await asyncio.gather(
            self._add("booking_archive", [_archived(client.id, session) for client, session in sessions]),
            self._add("service_sessions", [event for client in clients for event in service_sessions(client)]),
            self._add("legacy_ids", [entry for client in clients for entry in client.legacy_ids]),
            self._add("orders", [order for client in clients for order in client.orders], replacing=False),
            take_seats(self.store, [seat for client in clients for seat in client.seats]),
        )
        refused = await insert_missing(self.store, "bookings", [client.booking for client in clients])
        for client in clients:
            if client.booking["_id"] in refused & self.lying.keys() and await self._replace(client.booking):
                refused.remove(client.booking["_id"])
        for client in clients:
            if client.booking["_id"] not in refused:
                self._count(client.id, client.sessions, "inserted")
        return {client.id for client in clients if client.booking["_id"] in refused}

    async def _replace(self, booking: Document) -> bool:
        """Put it in the place of the old document of that ``_id``, where that is as it was read."""
        guard = {"_id": booking["_id"], **OLD, **unchanged(self.lying[booking["_id"]])}
        try:
            result = await self.store.run(
                "replace old", lambda: self.store.collection("bookings").replace_one(guard, booking)
            )
        except Duplicate:  # the client has a current document by now
            return False
        return bool(result.matched_count)

    def _count(self, client_id: ObjectId, sessions: Sequence[Document], what: str) -> None:
        self.written.counts["wrote"] += max(1, len(sessions))
        self.written.counts[what] += len(sessions)
        for session in sessions:
            if is_double_booking(session):
                self._double_booking(session["sessionId"], to_come=is_to_come(session, self.run.options.as_of))
            flags = (session.get("legacy") or {}).get("flags", ())
            self.written.counts.update(flag for flag in ("client_overlap", "expert_unclaimed") if flag in flags)

    def _double_booking(self, identifier: ObjectId, *, to_come: bool) -> None:
        """As ``plan`` counts them: all, and those to come, which are listed for a person to settle."""
        self.written.counts["double_bookings"] += 1
        if to_come:
            self._list("double_bookings_to_come", self.written.conflicts, identifier)

    def _list(self, name: str, listed: list[ObjectId], identifier: ObjectId) -> None:
        """So that what a person has to settle takes no more memory in a large run."""
        self.written.counts[name] += 1
        if len(listed) < LISTED:
            listed.append(identifier)

    async def _claim(self, wanted: Sequence[tuple[Client, Claim]]) -> None:
        """Take the minutes; a session whose minutes somebody has is marked, and stays (HISTORY 11)."""
        missing = list({claim.expert_id for _, claim in wanted})
        if not missing:
            return
        await self._add("calendars", [{"_id": expert, "busy": []} for expert in missing], replacing=False)
        taken = await claims.claim_each(self.store, [claim for _, claim in wanted])
        for client, claim in wanted:
            if claim.id not in taken:
                mark_conflict(next(s for s in client.live if s["sessionId"] == claim.session_id))

    async def _add(self, collection: str, documents: Sequence[Document], *, replacing: bool = True) -> None:
        """Insert; what a killed run left under the same id is written over, unless the live app has changed it."""
        if not documents:
            return
        there = await insert_missing(self.store, collection, documents)
        if there and replacing:
            writes = [
                ReplaceOne({"_id": d["_id"], **_AS_WRITTEN.get(collection, {})}, d)
                for d in documents
                if d["_id"] in there
            ]
            await self.store.run("replace", lambda: self.store.collection(collection).bulk_write(writes, ordered=False))

    async def _merge(self, client: Client) -> None:
        """A client who has a document: add what is not in it, take over what the old system changed since."""
        for _ in range(4):
            found = await self.store.find_one("read client", "bookings", guards.of_client(client.id), _KNOWN)
            if found is None:
                if client.id not in await self._insert([client]):
                    return
                continue
            if found["_id"] != client.booking["_id"]:
                client.stands_in(found["_id"])
            known = {session["sessionId"]: session for session in found["sessions"]}
            if found["archived"]["sessions"]:
                known |= await self._archived(client)
            missing = [session for session in client.sessions if session["sessionId"] not in known]
            changed = [
                session
                for session in client.sessions
                if session["sessionId"] in known and _digest(known[session["sessionId"]]) != _digest(session)
            ]
            for session in changed:
                await self._take_over(client, known[session["sessionId"]], session)
            if not missing or await self._push(client, found["sessions"], missing):
                return
        raise Conflict(f"The document of client {client.id} keeps changing; run it again", code="try_again")

    async def _archived(self, client: Client) -> dict[ObjectId, Document]:
        ids = [session["sessionId"] for session in client.sessions]
        columns = {"session.sessionId": 1, "session.legacy.digest": 1}
        found = await self.store.find("read archive", "booking_archive", {"_id": {"$in": ids}}, columns)
        return {document["_id"]: {**document["session"], "archived": True} for document in found}

    async def _push(self, client: Client, present: Sequence[Document], missing: Sequence[Document]) -> bool:
        """Add sessions to a document that others may be writing; False: it changed, look again."""
        self._mark_overlaps(present, missing)
        wanted = {session["sessionId"] for session in missing}
        await self._claim([(client, claim) for claim in client.claims if claim.session_id in wanted])
        lone = replace(client, live=list(missing), history=[])
        await asyncio.gather(
            self._add("service_sessions", service_sessions(lone)),
            self._add("legacy_ids", client.legacy_ids),
            self._add("orders", client.orders, replacing=False),
            take_seats(
                self.store, [(event, seat) for event, seat in client.seats if seat and seat["sessionId"] in wanted]
            ),
        )
        for start in range(0, len(missing), _PUSHED_AT_ONCE):
            part = missing[start : start + _PUSHED_AT_ONCE]
            if not await self._push_part(client, part):
                await self._renew_fenced(client, part)
                return False
            self._count(client.id, part, "added")
        return True

    async def _push_part(self, client: Client, part: Sequence[Document]) -> bool:
        weight = sum(len(bson.encode(session)) for session in part)
        guard = {
            **guards.of_client(client.id),
            "sessions.sessionId": {"$nin": [session["sessionId"] for session in part]},
            "abandonedClaims": {"$nin": [session["claimId"] for session in part]},
            **guards.room_for(weight),
        }
        updated = client.booking["updatedAt"]
        known = {
            name: {"$ifNull": [f"${name}", {"$literal": client.booking[name]}]}
            for name in ("clientUserId", "clientEmail", "clientName")
            if name in client.booking
        }
        stages: list[Document] = [
            {
                "$set": {
                    "sessions": {"$concatArrays": ["$sessions", {"$literal": list(part)}]},
                    "currency": {"$ifNull": ["$currency", {"$literal": part[0]["currency"]}]},
                    "createdAt": {"$min": ["$createdAt", {"$literal": client.booking["createdAt"]}]},
                    "updatedAt": {"$max": ["$updatedAt", {"$literal": updated}]},
                    "revision_id": {"$literal": _revision(self.run.id, part[0]["sessionId"])},
                    **known,
                }
            },
            *totals.stages(),
        ]
        if await self.store.update("import", "bookings", guard, stages):
            return True
        now, keep = self.run.options.as_of, part[0]["sessionId"]
        if await Archive(self.store).make_room(client.id, weight, now=now, keep=keep):
            return await self.store.update("import", "bookings", guard, stages)
        return False

    async def _renew_fenced(self, client: Client, part: Sequence[Document]) -> None:
        """Somebody healed a claim of ours away while we slept: its session takes its minutes under another id."""
        found = await self.store.find_one(
            "read fences", "bookings", guards.of_client(client.id), {"abandonedClaims": 1}
        )
        fenced = set((found or {}).get("abandonedClaims", []))
        for session in part:
            attempt = 1
            while session["claimId"] in fenced:
                session["claimId"] = derived_claim_id(session["sessionId"], attempt)
                attempt += 1
        own = {session["sessionId"]: session["claimId"] for session in part}
        client.claims = [replace(claim, id=own.get(claim.session_id, claim.id)) for claim in client.claims]

    def _mark_overlaps(self, present: Sequence[Document], missing: Sequence[Document]) -> None:
        """L4 against what was booked in the new system."""
        ours = {session["sessionId"] for session in missing}
        standing = [s for s in present if s["status"] in ACTIVE and "startsAt" in s and s["sessionId"] not in ours]
        for session in missing:
            if session["status"] in ACTIVE and any(
                other["startsAt"] < session["endsAt"] and other["endsAt"] > session["startsAt"] for other in standing
            ):
                session["conflict"] = True
                if "client_overlap" not in session["legacy"]["flags"]:
                    session["legacy"]["flags"].append("client_overlap")

    async def _take_over(self, client: Client, present: Document, session: Document) -> None:
        """Catch-up: the old system changed a session after it was imported. What was touched here as well stays."""
        actions = [entry.get("action") for entry in present.get("history", [])]
        if present.get("archived") or actions != ["import"]:
            self._list("changed_in_both", self.written.changed_in_both, session["sessionId"])
            return
        before = await self.store.find_one(
            "read session",
            "bookings",
            guards.of_client(client.id),
            {"sessions": {"$elemMatch": {"sessionId": session["sessionId"]}}},
        )
        if not before or not before.get("sessions"):
            return
        old = before["sessions"][0]
        session["version"] = old["version"] + 1
        session["claimId"] = derived_claim_id(session["sessionId"], session["version"])
        claim = next((claim for claim in client.claims if claim.session_id == session["sessionId"]), None)
        if claim is not None:
            claim = replace(claim, id=session["claimId"])
            await self._add("calendars", [{"_id": claim.expert_id, "busy": []}], replacing=False)
            if not await claims.claim(self.store, claim, ignoring=old["claimId"]):
                mark_conflict(session)
        kept = {
            "_id": derived_id("replaced", self.run.id, session["sessionId"], old["version"]),
            "runId": self.run.id,
            "clientId": client.id,
            "session": old,
        }
        await self._add("migration_replaced", [kept], replacing=False)
        this = {"$eq": ["$$s.sessionId", {"$literal": session["sessionId"]}]}
        replaced = {"$map": {"input": "$sessions", "as": "s", "in": {"$cond": [this, {"$literal": session}, "$$s"]}}}
        stages: list[Document] = [
            {
                "$set": {
                    "sessions": replaced,
                    "updatedAt": {"$max": ["$updatedAt", {"$literal": client.booking["updatedAt"]}]},
                    "revision_id": {"$literal": _revision(self.run.id, session["sessionId"])},
                }
            },
            *totals.stages(),
        ]
        guard = {
            **guards.of_client(client.id),
            "sessions": {"$elemMatch": {"sessionId": session["sessionId"], "version": old["version"]}},
            "abandonedClaims": {"$ne": session["claimId"]},
        }
        if await self.store.update("take over", "bookings", guard, stages):
            await change_seat(self.store, old, session, client.id)
            await claims.project(self.store, session, client.id)
            if "expertId" in old:
                await claims.release(self.store, old["expertId"], old["claimId"])
            self._count(client.id, [session], "taken_over")
        else:
            if claim is not None:
                await claims.release(self.store, claim.expert_id, claim.id)
            self._list("changed_in_both", self.written.changed_in_both, session["sessionId"])


async def insert_missing(store: Store, collection: str, documents: Sequence[Document]) -> set[Any]:
    """Insert many at once; the ids that were there already, or that a unique key refused."""
    if not documents:
        return set()

    async def insert() -> set[Any]:
        try:
            await store.collection(collection).insert_many(documents, ordered=False)
        except BulkWriteError as error:
            failures = error.details.get("writeErrors", [])
            if any(failure.get("code") not in _DUPLICATE for failure in failures):
                raise
            return {documents[failure["index"]]["_id"] for failure in failures}
        return set()

    return await store.run(f"insert {collection}", insert)


def unchanged(document: Document) -> Document:
    """The guard that nobody has written to an old document since it was read."""
    return {name: document.get(name) for name in ("updatedAt", "__v")}


def _archived(client_id: ObjectId, session: Document) -> Document:
    return {"_id": session["sessionId"], "clientId": client_id, "version": session["version"], "session": session}


def _digest(session: Document) -> Any:
    return (session.get("legacy") or {}).get("digest")


def _revision(run_id: str, session_id: ObjectId) -> Binary:
    """A stale whole-document ``save()`` fails on it; the same run writes the same."""
    return Binary.from_uuid(uuid5(NAMESPACE_OID, f"{run_id} {session_id}"), UuidRepresentation.STANDARD)
