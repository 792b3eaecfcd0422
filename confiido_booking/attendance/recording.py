"""Writing down what a room told: each fact once, whatever came before it and however often it comes.

A visit is one document under the participant's own id; it only ever begins earlier and ends later. An opening of the
room is kept in its event, and the update that adds it sets the status that follows from all of them.
"""

from datetime import datetime
from typing import Any

from bson import ObjectId
from pymongo import ASCENDING, IndexModel

from confiido_booking.actors import Actor
from confiido_booking.attendance import rules
from confiido_booking.attendance.livekit import Stay
from confiido_booking.attendance.rules import Course, Room
from confiido_booking.bookings.guards import Command
from confiido_booking.database.store import Document, Duplicate, Store
from confiido_booking.errors import Conflict
from confiido_booking.events import outbox
from confiido_booking.workshops.rules import MAX_HISTORY

COLLECTION = "attendance"
INDEXES = [IndexModel([("serviceSessionId", ASCENDING)], name="event")]
_TRIES = 5
_ACTION = {"scheduled": "return", "in_progress": "start", "completed": "complete"}
_TOLD = {"start": "service_session.started", "complete": "service_session.completed"}


async def event_of(store: Store, event_id: ObjectId) -> Document | None:
    query = {"_id": event_id, "visibility": {"$in": ["public", "private"]}}
    return await store.find_one("read event", "service_sessions", query, {"outbox": 0})


async def visit(store: Store, event: Document, stay: Stay) -> None:
    """Note a stay, of anybody; who has no place in the event is no attendee of it."""
    await track(store, event)
    seat = next((seat for seat in event.get("seats", []) if seat["clientId"] == stay.user_id), None)
    known: dict[str, Any] = {
        "serviceSessionId": event["_id"],
        "clientId": stay.user_id,
        "roomSid": stay.room_sid,
        **({"sessionId": seat["sessionId"]} if seat else {}),
    }
    update: dict[str, Any] = {"$set": known}
    if stay.joined_at is not None:
        update["$min"] = {"joinedAt": stay.joined_at}
    if stay.left_at is not None:
        update["$max"] = {"leftAt": stay.left_at}
    await _upsert(store, "note visit", f"{event['_id']}:{stay.sid}", update)


async def check_in(store: Store, event: Document, seat: Document, actor: Actor, now: datetime) -> None:
    await track(store, event)
    known = {
        "serviceSessionId": event["_id"],
        "clientId": seat["clientId"],
        "sessionId": seat["sessionId"],
        "checkedIn": True,
        "by": actor.stamp(),
    }
    update = {"$setOnInsert": known | {"joinedAt": now}}
    await _upsert(store, "note check-in", f"{event['_id']}:{seat['sessionId']}", update)


async def _upsert(store: Store, step: str, id_: str, update: Document) -> None:
    try:
        await store.update(step, COLLECTION, {"_id": id_}, update, upsert=True)
    except Duplicate:  # made at the same moment by another
        await store.update(step, COLLECTION, {"_id": id_}, update)


async def track(store: Store, event: Document) -> None:
    """Somebody watches who comes to this event: the rule for no-shows applies to it."""
    if not event.get("tracked"):
        await store.update("track event", "service_sessions", {"_id": event["_id"]}, {"$set": {"tracked": True}})


async def opening(store: Store, event: Document, fact: Room, now: datetime) -> None:
    """Note that the room opened or closed, and what follows for the event. A cancelled one stays cancelled."""
    for _ in range(_TRIES):
        before = rules.rooms_of(event)
        rooms = rules.learned(before, fact)
        if rooms == before or await _note(store, event, rooms, now):
            return
        again = await store.find_one("read event", "service_sessions", {"_id": event["_id"]})
        if again is None:
            return
        if outbox.is_full(again):
            await outbox.deliver(store, "service_sessions", again)
        event = again
    raise Conflict("The event is changing; please try again", code="try_again")


async def _note(store: Store, event: Document, rooms: list[Room], now: datetime) -> bool:
    said = rules.course(rooms, event["startsAt"], event["endsAt"])
    room = event.get("room") or {}
    noted = {
        "rev": room.get("rev", 0) + 1,
        "openings": [each.stored() for each in rooms],
        "status": said.status,
        "startsAt": event["startsAt"],
    }
    guard: dict[str, Any] = {
        "_id": event["_id"],
        "status": event["status"],
        "startsAt": event["startsAt"],
        "room.rev": room["rev"] if room else {"$exists": False},
    }
    change: dict[str, Any] = {"$set": {"room": noted, "tracked": True}}
    if event["status"] != "canceled":
        _set_times(change, event, said)
        if event["visibility"] == "public":
            _set_status(change, guard, event, said, now)
    return await store.update(f"note room {said.status}", "service_sessions", guard, change)


def _set_times(change: dict[str, Any], event: Document, said: Course) -> None:
    gone = {}
    for name, at in (("actualStartsAt", said.began), ("actualEndsAt", said.ended)):
        if at is not None:
            change["$set"][name] = at
        elif name in event and not _by_hand(event, said):
            gone[name] = ""
    if gone:
        change["$unset"] = gone


def _by_hand(event: Document, said: Course) -> bool:
    """Whether the event goes on by a person's word: its room was opened and closed before it only."""
    return said.status == "scheduled" and (event.get("room") or {}).get("status") != "in_progress"


def _set_status(change: dict[str, Any], guard: dict[str, Any], event: Document, said: Course, now: datetime) -> None:
    if said.status == event["status"] or _by_hand(event, said):
        return
    command = Command(action=_ACTION[said.status], actor=Actor.system(), now=now)
    entry = {**command.entry(said.status), "from": event["status"]}
    change["$set"] |= {"status": said.status, "updatedAt": now}
    change["$inc"] = {"rev": 1}
    change["$push"] = {"history": {"$each": [entry], "$slice": -MAX_HISTORY}}
    if command.action not in _TOLD:
        return
    data: dict[str, object] = {name: event[name] for name in ("serviceId", "startsAt") if name in event}
    told = outbox.event(
        _TOLD[command.action], at=now, actor=command.actor, data={"serviceSessionId": event["_id"], **data}
    )
    pushed = outbox.pushed(told)
    change["$push"] |= pushed["$push"]
    change["$min"] = pushed["$min"]
    guard |= outbox.room_for_events()
