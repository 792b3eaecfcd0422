"""The log: every event once, numbered without a gap, in the order of its document (MONEY, Events).

::

    gather   every outbox is delivered to ``events``; what is there without a number waits for one
    plan     one guarded update of the log's own document: ``plan`` = ids, ``seq`` raised by their count
    apply    each planned event gets its number, if it has none
    clear    ``plan`` = []

One process at a time holds the lease, and every write of the log's document carries the token it got with it; the
numbers of events are written from the plan alone, so that whoever sleeps over the end of the lease can write only what
the plan said already. A plan whose author died is applied by the next.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from bson import ObjectId
from pymongo import ASCENDING, IndexModel, UpdateOne

from confiido_booking.actors import Actor, Role
from confiido_booking.database.store import Document, Duplicate, Store
from confiido_booking.errors import FieldError, Invalid, NotAllowed
from confiido_booking.events import outbox
from confiido_booking.times import Clock

OUTBOXES = ("bookings", "service_sessions", "orders", "invoices", "payments", "reviews")  # collections that have one
OUTBOX_INDEX = IndexModel([("outboxSince", ASCENDING)], name="outbox", sparse=True)
INDEXES = [
    IndexModel([("seq", ASCENDING)], name="seq", unique=True, sparse=True),
    IndexModel([("unnumberedSince", ASCENDING)], name="unnumbered", sparse=True),
    IndexModel([("source", ASCENDING), ("place", ASCENDING)], name="source"),
]
LOG = "event_log"
LEASE = timedelta(seconds=30)
STUCK = timedelta(minutes=10)  # an event whose predecessor was lost by hand waits no longer for it
BATCH = 500
MAX_LIMIT, MAX_SEQ = 500, 2**53
_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class EventPage:
    """Events as the store keeps them, ascending by ``seq``. ``next_cursor``: where to go on, also when it is empty."""

    events: list[Document]
    next_cursor: int


@dataclass(frozen=True, slots=True)
class EventLog:
    """``confiido.events``."""

    store: Store
    clock: Clock
    holder: ObjectId = field(default_factory=ObjectId)  # this process

    async def page(self, *, actor: Actor, after: int = 0, limit: int = 100) -> EventPage:
        """The events numbered after ``after``, up to the last before which none is missing.

        Raises:
            NotAllowed: not an administrator.
            Invalid: ``after`` or ``limit`` out of range.
        """
        if actor.role is not Role.ADMIN:
            raise NotAllowed("Only an administrator can read the events")
        for name, value, least, most in (("after", after, 0, MAX_SEQ), ("limit", limit, 1, MAX_LIMIT)):
            if not least <= value <= most:
                wrong = FieldError(name, f"must be from {least} to {most}", "query")
                raise Invalid(f"{name} {wrong.message}", errors=[wrong])
        events = await self.after(after, limit)
        return EventPage(events, events[-1]["seq"] if events else after)

    async def after(self, seq: int, limit: int) -> list[Document]:
        """What readers see: no event before one with a lower number is there."""
        found = await self.store.find(
            "read log", "events", {"seq": {"$gt": seq}}, sort=[("seq", ASCENDING)], limit=limit
        )
        return [event for place, event in enumerate(found, 1) if event["seq"] == seq + place]

    async def collect(self) -> int:
        """Deliver every outbox and number what waits. How many events were numbered; 0 where another process is at it.

        Does no harm wherever it stops, and may be done by several at once.
        """
        await self._gather()
        if not await self._is_anything_left():
            return 0
        held = await self._lease()
        numbered = 0
        while held is not None and (held := await self._settle(held)) is not None:
            ids = await self._next()
            if not ids:
                break
            held = await self._plan(held, ids)
            numbered += len(ids) if held is not None else 0
        return numbered

    async def _is_anything_left(self) -> bool:
        """Looked for before the lease is taken, which is a write."""
        unnumbered = await self.store.find_one("find unnumbered", "events", _UNNUMBERED, {"_id": 1})
        return unnumbered is not None or (
            await self.store.find_one("find plan", LOG, {"plan.0": {"$exists": True}}, {"_id": 1}) is not None
        )

    async def _gather(self) -> None:
        fields = dict.fromkeys(outbox.FIELDS, 1)
        for collection in OUTBOXES:
            while True:
                waiting = await self.store.find(
                    "find outboxes",
                    collection,
                    {"outboxSince": {"$gt": _LONG_AGO}},
                    fields,
                    sort=[("outboxSince", ASCENDING)],
                    limit=BATCH,
                )
                for document in waiting:
                    await outbox.deliver(self.store, collection, document)
                if len(waiting) < BATCH:
                    break

    async def _lease(self) -> Document | None:
        """The log's document, held by this process under a new token; None where another holds it."""
        for _ in range(2):
            now = self.clock()
            held = await self.store.find_and_update(
                "take lease",
                LOG,
                {"_id": "events", "$or": [{"holder": self.holder}, {"until": {"$lte": now}}]},
                {"$set": {"holder": self.holder, "until": now + LEASE}, "$inc": {"token": 1}},
            )
            if held is not None:
                return held
            fresh: Document = {"_id": "events", "seq": 0, "plan": [], "token": 0, "until": _LONG_AGO}
            try:
                await self.store.insert("begin log", LOG, fresh)
            except Duplicate:
                return None
        return None

    async def _settle(self, held: Document) -> Document | None:
        """Apply the plan that is there. None: the lease was lost."""
        plan: Sequence[ObjectId] = held["plan"]
        if not plan:
            return held
        first = held["seq"] - len(plan) + 1
        writes = [
            UpdateOne(
                {"_id": id_, "seq": {"$exists": False}}, {"$set": {"seq": seq}, "$unset": {"unnumberedSince": ""}}
            )
            for seq, id_ in enumerate(plan, first)
        ]
        await self.store.update_each("number events", "events", writes)
        return await self._write("clear plan", held, {"plan": []})

    async def _plan(self, held: Document, ids: Sequence[ObjectId]) -> Document | None:
        return await self._write("plan numbers", held, {"plan": list(ids), "seq": held["seq"] + len(ids)})

    async def _write(self, step: str, held: Document, fields: Mapping[str, object]) -> Document | None:
        """Change the log's document, if this process holds it still."""
        as_read = {"_id": "events", "token": held["token"], "seq": held["seq"]}
        return await self.store.find_and_update(step, LOG, as_read, {"$set": {**fields, "until": self.clock() + LEASE}})

    async def _next(self) -> list[ObjectId]:
        """Some of what waits for a number, each after what came before it in its document."""
        oldest = await self.store.find(
            "find unnumbered", "events", _UNNUMBERED, {"source": 1}, sort=[("unnumberedSince", ASCENDING)], limit=BATCH
        )
        if not oldest:
            return []
        sources = list({event["source"] for event in oldest})
        fields = {"source": 1, "place": 1, "at": 1}
        waiting = await self.store.find(
            "read unnumbered", "events", {"source": {"$in": sources}, **_UNNUMBERED}, fields
        )
        return [event["_id"] for event in in_order(await self._ready(waiting))]

    async def _ready(self, waiting: Sequence[Document]) -> list[Document]:
        """Those whose predecessors have a number or are among them; somebody may be storing the others just now."""
        by_source: dict[ObjectId, list[Document]] = {}
        for event in sorted(waiting, key=lambda event: int(event["place"])):
            by_source.setdefault(event["source"], []).append(event)
        before = [
            {"source": source, "place": events[0]["place"] - 1}
            for source, events in by_source.items()
            if events[0]["place"] > 1
        ]
        numbered = await self.store.find("read predecessors", "events", {"$or": before}) if before else []
        reached = {event["source"]: event["place"] for event in numbered if "seq" in event}
        now, ready = self.clock(), list[Document]()
        for source, events in by_source.items():
            place = reached.get(source, 0)
            for event in events:
                if event["place"] != place + 1 and event["at"] > now - STUCK:
                    break
                place = event["place"]
                ready.append(event)
        return ready


_UNNUMBERED: dict[str, Any] = {"unnumberedSince": {"$gt": _LONG_AGO}}


def in_order(events: Sequence[Document]) -> list[Document]:
    """By time, but never against the order in their document, whatever the clocks of its writers said."""
    latest: dict[ObjectId, datetime] = {}
    keyed = []
    for event in sorted(events, key=lambda event: int(event["place"])):
        latest[event["source"]] = max(latest.get(event["source"], event["at"]), event["at"])
        keyed.append((latest[event["source"]], event["source"], event["place"], event))
    return [event for *_, event in sorted(keyed, key=lambda key: key[:3])]
