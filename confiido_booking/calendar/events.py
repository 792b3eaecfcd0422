"""Public service sessions in their expert's calendar (PROTOCOL, WORKSHOP).

One update of the calendar takes the minutes of all the events of a command, or of none. Each entry carries the event
it is for until that exists, so the claim is the decision: whoever meets an entry without its event makes it.
An event says on which claim it stands. A claim that its event does not stand on belongs to a move, half done: raising
the event's ``rev`` fences it, because a move is guarded by the ``rev`` it read before it claimed.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from bson import ObjectId

from confiido_booking.calendar import claims
from confiido_booking.database.store import Document, Duplicate, Store


@dataclass(frozen=True, slots=True, kw_only=True)
class EventClaim:
    """Minutes of an expert for an event, buffers included. ``event``: what is to be made of it; None for a move."""

    id: ObjectId
    expert_id: ObjectId
    service_session_id: ObjectId
    from_: datetime
    until: datetime
    claimed_at: datetime
    request_key: str | None = None
    event: Document | None = None

    def entry(self) -> Document:
        return {
            "claimId": self.id,
            "owner": "event",
            "from": self.from_,
            "until": self.until,
            "serviceSessionId": self.service_session_id,
            "claimedAt": self.claimed_at,
            **({"requestKey": self.request_key} if self.request_key else {}),
            **({"event": self.event} if self.event is not None else {}),
        }


async def claim(store: Store, wanted: Sequence[EventClaim], *, ignoring: ObjectId | None = None) -> bool:
    """Take the minutes of all of them if all are free, and their numbers if nobody has them; else of none.

    ``ignoring`` is the claim of the event that is being moved. A repeat after a lost answer refuses itself: the caller
    finds its own claims among what is in the way.
    """
    now, expert_id = wanted[0].claimed_at, wanted[0].expert_id
    in_the_way: list[dict[str, Any]] = []
    for one in wanted:
        overlap: dict[str, Any] = {"from": {"$lt": one.until}, "until": {"$gt": one.from_}}
        if ignoring is not None:
            overlap["claimId"] = {"$ne": ignoring}
        in_the_way.append({"busy": {"$elemMatch": overlap}})
    numbered = [one.event for one in wanted if one.event is not None and "sequenceNumber" in one.event]
    if numbered:
        taken = {
            "event.serviceId": numbered[0]["serviceId"],
            "event.sequenceNumber": {"$gte": numbered[0]["sequenceNumber"]},
        }
        in_the_way.append({"busy": {"$elemMatch": taken}})
    entries = {"$literal": [one.entry() for one in wanted]}
    stages = [{"$set": {"busy": {"$concatArrays": [claims.still_needed(now), entries]}}}]
    return await store.update("claim", "calendars", {"_id": expert_id, "$nor": in_the_way}, stages)


async def make(store: Store, entries: Sequence[Document]) -> None:
    """The events of these calendar entries, unless they are there. Done twice it is done once."""
    await asyncio.gather(*(_make(store, entry["event"]) for entry in entries if "event" in entry))


async def _make(store: Store, event: Document) -> None:
    try:
        await store.insert("insert event", "service_sessions", event)
    except Duplicate:
        return


async def heal(store: Store, busy: Document, expert_id: ObjectId, *, is_old: bool) -> bool:
    """HEAL of one event's claim; whether its minutes were freed. ``is_old``: nobody is still at work on it."""
    event_id = busy["serviceSessionId"]
    columns = {"status": 1, "claimId": 1}
    event = await store.find_one("read event", "service_sessions", {"_id": event_id}, columns)
    if event is None:
        if "event" in busy:
            await make(store, [busy])
            return False
        if not is_old:
            return False
        await claims.bury(store, event_id, expert_id)
        event = await store.find_one("read event", "service_sessions", {"_id": event_id}, columns)
    if event is None or (event["status"] != "canceled" and not await _is_fenced(store, event, busy, is_old=is_old)):
        return False
    await claims.release(store, expert_id, busy["claimId"])
    return True


async def _is_fenced(store: Store, event: Document, busy: Document, *, is_old: bool) -> bool:
    """Whether the event does not stand on this claim, and never will."""
    if event.get("claimId", busy["claimId"]) == busy["claimId"] or not is_old:
        return False
    elsewhere = {"_id": event["_id"], "claimId": {"$ne": busy["claimId"]}}
    return await store.update("fence move", "service_sessions", elsewhere, {"$inc": {"rev": 1}}, repeatable=False)
