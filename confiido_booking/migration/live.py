"""Documents of an old system in a live database: what lists and gets show of them before they are converted.

A list finds its sessions in ``service_sessions``. So of each client with old documents an entry is written there for
each of their sessions, with ``rev`` 0, which says that no session stands behind it yet and that converting may write
over it. Sessions to come also claim the expert's minutes, under the ids that converting gives them, so that nobody
books over them. The old documents are not touched. ``migration_shown`` keeps what was written for which state of the
documents, so that only what has changed is written again.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import Any

from bson import ObjectId
from pymongo import ReplaceOne

from confiido_booking.actors import Actor, Role
from confiido_booking.bookings.models import OLD
from confiido_booking.bookings.unconverted import SHOWN, Led, Shown
from confiido_booking.calendar import claims
from confiido_booking.calendar.claims import Claim
from confiido_booking.database.store import Document, Store
from confiido_booking.migration.assembly import Client, assemble, service_sessions
from confiido_booking.migration.scratch import Scratch
from confiido_booking.migration.touch import RUN, convert_client, of_clients, options_of, read_old
from confiido_booking.migration.writing import insert_missing
from confiido_booking.settings import Settings
from confiido_booking.times import Clock

_BATCH = 100
_FRESH = timedelta(seconds=30)
_AT_ONCE = 500  # clients that one list makes visible; the worker does the others
# Found by the index on bookingReference, which no old document has.
_ANY_OLD = {**OLD, "bookingReference": {"$exists": False}}


@dataclass(slots=True)
class OldBookings:
    """``Unconverted`` over this store."""

    store: Store
    settings: Settings
    clock: Clock
    known: bool | None = None
    _asked_at: datetime | None = None
    _shown_all_at: datetime | None = None

    async def any(self) -> bool:
        self._asked_at, self._shown_all_at = self.clock(), None
        found = await self.store.find_one("look for old", "bookings", _ANY_OLD, {"_id": 1})
        self.known = found is not None
        return self.known

    async def of_clients(self, client_ids: Sequence[ObjectId]) -> dict[ObjectId, Shown]:
        assembled = await self._assembled(client_ids)
        return {client.id: Shown(client.booking, client.history) for client in assembled}

    async def _assembled(self, client_ids: Sequence[ObjectId]) -> list[Client]:
        documents = await self.store.find("read old", "bookings", of_clients(client_ids)) if client_ids else []
        if not documents:
            return []
        options = options_of(self.settings, self.clock())
        with Scratch.open() as scratch:
            await read_old(scratch, self.store, options, documents)
            wanted = set(client_ids)
            return [
                assemble(scratch, client_id, run_id=RUN, as_of=options.as_of)
                for client_id in list(scratch.client_ids())
                if client_id in wanted
            ]

    async def named(self, *ids: ObjectId) -> Led | None:
        texts = [*ids, *map(str, ids)]
        for led in await self.store.find("read old ids", "legacy_ids", {"_id": {"$in": texts}}):
            shown = (await self.of_clients([led["clientId"]])).get(led["clientId"])
            return Led(led["clientId"], led["bookingId"], led.get("sessionId"), shown)
        inside = [{"sessions.sessionId": {"$in": texts}}, {"sessions._id": {"$in": texts}}]
        for query in ({"_id": {"$in": texts}, **OLD}, {**_ANY_OLD, "$or": inside}):
            document = await self.store.find_one("read old", "bookings", query, {"clientId": 1})
            client_id = _client_id(document)
            if client_id is not None:
                shown = (await self.of_clients([client_id])).get(client_id)
                return Led(client_id, shown.document["_id"], None, shown) if shown else None
        return None

    async def convert(self, client_id: ObjectId) -> bool:
        return await convert_client(self.store, self.settings, client_id, now=self.clock())

    async def show(self, *, actor: Actor, client_id: ObjectId | None, expert_id: ObjectId | None) -> None:
        if not self._is_fresh(self._asked_at) and not await self.any():
            return
        if actor.role is Role.CLIENT:
            client_id = actor.id
        elif actor.role is Role.EXPERT:
            expert_id = actor.own_expert_id
        query: Document = dict(_ANY_OLD)
        if client_id is not None:
            query = of_clients([client_id])
        elif expert_id is not None:
            theirs = {"$in": await self._names_of(expert_id)}
            query["$or"] = [{"expertId": theirs}, {"sessions.expertId": theirs}]
        elif self._is_fresh(self._shown_all_at):
            return
        else:
            self._shown_all_at = self.clock()
        heads = await self.store.find("read old clients", "bookings", query, {"clientId": 1})
        await self._refresh({found for head in heads if (found := _client_id(head))}, at_most=_AT_ONCE)

    def _is_fresh(self, moment: datetime | None) -> bool:
        return moment is not None and self.clock() - moment < _FRESH

    async def _names_of(self, expert_id: ObjectId) -> list[ObjectId | str]:
        """Old documents name an expert by the profile's id or by the account's, sometimes as text."""
        expert = await self.store.find_one("read expert", "experts", {"_id": expert_id}, {"userId": 1})
        ids = [expert_id, *([expert["userId"]] if expert and "userId" in expert else [])]
        return [*ids, *map(str, ids)]

    async def show_all(self) -> int:
        """Let lists find every session of old documents, and no more those of documents that are gone.

        Returns of how many clients something had changed.
        """
        if not await self.any() and await self.store.find_one("read shown", SHOWN, {}, {"_id": 1}) is None:
            return 0
        clients = {
            found
            async for head in self.store.walk("bookings", _ANY_OLD, {"clientId": 1})
            if (found := _client_id(head))
        }
        shown = await self._refresh(clients)
        async for record in self.store.walk(SHOWN, {}):
            if record["_id"] not in clients:
                await self._withdraw(record, set(), set())
                await self.store.delete("forget shown", SHOWN, {"_id": record["_id"]})
                shown += 1
        return shown

    async def _refresh(self, clients: Iterable[ObjectId], *, at_most: int | None = None) -> int:
        """Write the entries of those whose documents are not as they were when they were written."""
        states: dict[ObjectId, str] = {}
        every = sorted(clients)
        for start in range(0, len(every), _BATCH):
            states |= await self._changed(every[start : start + _BATCH])
            if at_most is not None and len(states) >= at_most:
                break
        changed = list(states)[:at_most]
        for start in range(0, len(changed), _BATCH):
            part = changed[start : start + _BATCH]
            known = {
                record["_id"]: record for record in await self.store.find("read shown", SHOWN, {"_id": {"$in": part}})
            }
            for client in await self._assembled(part):
                await self._write(client, states[client.id], known.get(client.id, {}))
        return len(changed)

    async def _changed(self, client_ids: Sequence[ObjectId]) -> dict[ObjectId, str]:
        """Of these clients, those whose entries are not up to date, with the state their documents are in."""
        columns = {"clientId": 1, "updatedAt": 1, "__v": 1, "status": 1}
        parts: dict[ObjectId, list[str]] = {}
        for head in await self.store.find("read old heads", "bookings", of_clients(client_ids), columns):
            client_id = _client_id(head)
            if client_id is not None:
                said = f"{head['_id']} {head.get('updatedAt')} {head.get('__v')} {head.get('status')}"
                parts.setdefault(client_id, []).append(said)
        states = {client_id: _digest(sorted(said)) for client_id, said in parts.items()}
        known = await self.store.find("read shown", SHOWN, {"_id": {"$in": list(states)}}, {"state": 1})
        same = {record["_id"] for record in known if states[record["_id"]] == record["state"]}
        return {client_id: state for client_id, state in states.items() if client_id not in same}

    async def _write(self, client: Client, state: str, before: Document) -> None:
        entries = [{**entry, "rev": 0} for entry in service_sessions(client)]
        there = await insert_missing(self.store, "service_sessions", entries)
        if there:
            writes = [ReplaceOne({"_id": entry["_id"], "rev": 0}, entry) for entry in entries if entry["_id"] in there]
            await self.store.run(
                "show again", lambda: self.store.collection("service_sessions").bulk_write(writes, ordered=False)
            )
        held = [{"expertId": claim.expert_id, "claimId": claim.id} for claim in client.claims]
        record: Document = {
            "_id": client.id,
            "state": state,
            "entries": [entry["_id"] for entry in entries],
            "claims": held,
        }
        # first the record, by which whoever meets one of the claims learns that it stands
        await self.store.update("keep shown", SHOWN, {"_id": client.id}, {"$set": record}, upsert=True)
        for claim in client.claims:
            await self._claim(claim)
        own = {"_id": client.booking["_id"], "kind": "booking", "bookingId": client.booking["_id"]}
        await insert_missing(self.store, "legacy_ids", [{**own, "clientId": client.id, "runId": RUN}])
        await self._withdraw(before, set(record["entries"]), {claim.id for claim in client.claims})

    async def _claim(self, claim: Claim) -> None:
        """Where somebody has the minutes already they have them: converting marks the conflict."""
        await insert_missing(self.store, "calendars", [{"_id": claim.expert_id, "busy": []}])
        if not any(busy["claimId"] == claim.id for busy in await claims.in_the_way(self.store, claim)):
            await claims.claim(self.store, claim)

    async def _withdraw(self, record: Document, entries: set[ObjectId], held: set[ObjectId]) -> None:
        """Take back what was shown and is no more: but not what converting has made its own."""
        gone = [entry for entry in record.get("entries", []) if entry not in entries]
        if gone:
            stale = {"_id": {"$in": gone}, "rev": 0}
            await self.store.run("withdraw", lambda: self.store.collection("service_sessions").delete_many(stale))
        for claim in record.get("claims", []):
            if claim["claimId"] not in held and not await self._is_converted(record["_id"], claim["claimId"]):
                await claims.release(self.store, claim["expertId"], claim["claimId"])

    async def _is_converted(self, client_id: ObjectId, claim_id: ObjectId) -> bool:
        stands: Document = {"clientId": client_id, "sessions.claimId": claim_id}
        return await self.store.find_one("read claim's booking", "bookings", stands, {"_id": 1}) is not None


def _client_id(document: Document | None) -> ObjectId | None:
    value: Any = (document or {}).get("clientId")
    return ObjectId(value) if ObjectId.is_valid(value) else None


def _digest(said: Sequence[str]) -> str:
    return blake2b("\n".join(said).encode(), digest_size=12).hexdigest()
