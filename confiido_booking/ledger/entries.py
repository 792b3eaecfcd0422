"""The entries of the ledger in the store: inserted once, their state moved on, never removed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from bson import ObjectId

from confiido_booking.actors import Actor, Role
from confiido_booking.database.documents import to_mongo
from confiido_booking.database.store import Document, Duplicate, Store
from confiido_booking.events import outbox
from confiido_booking.ledger.models import COLLECTION, Allocation, Entry, EntryEvent, EntryState, Place
from confiido_booking.money import ZERO
from confiido_booking.times import Clock

FINISH_AFTER = timedelta(seconds=30)  # whoever meets an entry that old and not applied finishes it
ASK_AGAIN = timedelta(hours=1)  # what waits for a provider, or for its payment
TRY_AGAIN = timedelta(minutes=1)
_MAX_HISTORY = 50


def actor_of(entry: Entry) -> Actor:
    return Actor(role=Role(entry.actor["role"]), id=entry.actor.get("id"))


def event(type_: str, entry: Entry, actor: Actor, at: datetime) -> Document:
    """An event of an entry, by itself: where no session or invoice tells of it."""
    target = entry.target
    named = {f"{target.to}Id": target.id} if target is not None and target.to is not Place.SESSION else {}
    return outbox.event(
        type_,
        at=at,
        actor=actor,
        client_id=entry.client_id,
        session_id=target.id if target is not None and target.to is Place.SESSION else None,
        data={
            "entryId": entry.id,
            "provider": entry.provider,
            "amount": to_mongo(entry.amount),
            "currency": entry.currency,
            **named,
        },
    )


@dataclass(frozen=True, slots=True)
class Entries:
    store: Store
    clock: Clock

    async def insert(self, entry: Entry, *, told: Document | None = None) -> Entry:
        """The entry as it is stored: this one, or the one that was there under its id or its provider's.

        ``told``: the event of it, stored with it.
        """
        waiting = {"outbox": [told], "outboxSince": told["at"]} if told else {}
        try:
            await self.store.insert("insert entry", COLLECTION, {**to_mongo(entry), **waiting})
        except Duplicate:
            named: list[Document] = [{"_id": entry.id}, *([{"key": entry.key}] if entry.key else [])]
            found = await self.store.find_one("read entry", COLLECTION, {"$or": named})
            assert found is not None
            return Entry.model_validate(found)
        return entry

    async def get(self, entry_id: ObjectId) -> Entry | None:
        return await self.one({"_id": entry_id})

    async def one(self, query: Mapping[str, Any]) -> Entry | None:
        found = await self.store.find_one("read entry", COLLECTION, query)
        return Entry.model_validate(found) if found else None

    async def find(
        self,
        query: Mapping[str, Any],
        *,
        sort: Sequence[tuple[str, int]] = (("createdAt", 1), ("_id", 1)),
        limit: int = 0,
    ) -> list[Entry]:
        found = await self.store.find("find entries", COLLECTION, query, sort=sort, limit=limit)
        return [Entry.model_validate(each) for each in found]

    async def change(
        self,
        entry: Entry,
        event: str,
        *,
        fields: Mapping[str, Any] | None = None,
        guard: Mapping[str, Any] | None = None,
        state: EntryState | None = None,
        due_at: datetime | None = None,
        reason: str | None = None,
        told: Document | None = None,
    ) -> Entry | None:
        """Move an entry on, from the state it was read in. None = somebody else has.

        ``due_at``: from when on it is to be finished; without one it is done with. ``told``: the event of it.
        """
        noted = EntryEvent(at=self.clock(), event=event, to=state, reason=reason)
        changed = {**to_mongo(dict(fields or {})), **({"state": state.value} if state else {})}
        update: Document = {"$push": {"history": {"$each": [to_mongo(noted)], "$slice": -_MAX_HISTORY}}}
        is_open = {}
        if due_at is not None:
            changed["dueAt"], is_open = due_at, {"appliedAt": None}  # what is done stays done
        else:
            update["$unset"] = {"dueAt": ""}
        if told is not None:
            waiting = outbox.pushed(told)
            update["$push"] |= waiting["$push"]
            update["$min"] = waiting["$min"]
        if changed:
            update["$set"] = changed
        query = {"_id": entry.id, "state": entry.state.value, **is_open, **(guard or {})}
        document = await self.store.find_and_update(f"{event} entry", COLLECTION, query, update)
        return Entry.model_validate(document) if document else None

    async def postpone(self, entry: Entry) -> None:
        """What could not be finished now is tried again in a minute."""
        again = {"$set": {"dueAt": self.clock() + TRY_AGAIN}}
        await self.store.update("postpone entry", COLLECTION, {"_id": entry.id, "dueAt": entry.due_at}, again)

    async def applied(
        self, entry: Entry, allocations: Sequence[Allocation], *, state: EntryState, reason: str | None = None
    ) -> Entry:
        """Note that an entry has done what it does, and where its money went. Repeatable."""
        assert sum((each.amount for each in allocations), ZERO) == entry.amount
        fields: dict[str, Any] = {"allocations": list(allocations), "appliedAt": self.clock()}
        fields |= {"reason": reason} if reason else {}
        done = await self.change(entry, "applied", fields=fields, guard={"appliedAt": None}, state=state, reason=reason)
        return done or await self.get(entry.id) or entry
