"""Commands on one public service session: edit, move, cancel, start, complete.

Each decides in one guarded update of the event; what its clients' sessions have to do with it follows, and where a
process dies in between, the doctor goes on (``workshops/examining.py``).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from bson import ObjectId

from confiido_booking.bookings.context import Context
from confiido_booking.bookings.guards import Command
from confiido_booking.bookings.rules import text
from confiido_booking.calendar import claims, events
from confiido_booking.calendar.events import EventClaim
from confiido_booking.catalog.rules import MAX_PARTICIPANTS
from confiido_booking.database.store import Document
from confiido_booking.errors import Conflict, FieldError, Invalid, SlotTaken
from confiido_booking.events import outbox
from confiido_booking.ids import new_claim_id
from confiido_booking.workshops import following, rules

_TRIES = 5
_TOLD = {
    "move": "service_session.moved",
    "cancel": "service_session.cancelled",
    "start": "service_session.started",
    "complete": "service_session.completed",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """What of an event is to change; None: it stays. ``starts_at`` UTC."""

    starts_at: datetime | None = None
    title: str | None = None
    max_participants: int | None = None


async def edit(context: Context, event_id: ObjectId, wanted: Edit, command: Command) -> Document:
    """Change title, places and time in one update; all seats move with it, and nobody is refused for it.

    Raises:
        Conflict: ``capacity_taken``: fewer places than are taken; ``slot_taken``; ``transition_refused``.
        Invalid: ``starts_in_past``, or nothing to change.
    """
    _check(wanted)
    for _ in range(_TRIES):
        event = await read(context, event_id)
        if _did(event, command):
            return await _followed(context, event, command)
        refusal = rules.why_not("edit", event, command.actor, command.now)
        if refusal is not None:
            raise refusal
        changes = _changes(event, wanted, command.now)
        if wanted.starts_at is not None and wanted.starts_at != event["startsAt"]:
            changed = await _move(context, event, wanted.starts_at, changes, command)
        else:
            changed = await _decide(context, event, "edit", changes, command)
        if changed is not None:
            return changed
        await _make_room(context, event, wanted, command.now)
    raise Conflict("The event is changing; please try again", code="try_again")


def _check(wanted: Edit) -> None:
    if wanted == Edit():
        raise Invalid("There is nothing to change")
    if wanted.title is not None and not text(wanted.title, "title", limit=200).strip():
        raise Invalid("title is required", errors=[FieldError("title", "is required")])
    places = wanted.max_participants
    if places is not None and (isinstance(places, bool) or not 1 <= places <= MAX_PARTICIPANTS):
        message = f"must be from 1 to {MAX_PARTICIPANTS}"
        raise Invalid(f"max_participants {message}", errors=[FieldError("max_participants", message)])


def _changes(event: Document, wanted: Edit, now: datetime) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    if wanted.title is not None:
        changes["title"] = wanted.title.strip()
    if wanted.max_participants is not None:
        changes["maxParticipants"] = wanted.max_participants
    return changes


async def _move(
    context: Context, event: Document, starts_at: datetime, changes: Mapping[str, Any], command: Command
) -> Document | None:
    """Claim the new minutes, move the event onto them, let its seats follow, release the old ones.

    None = the event is not as it was read.
    """
    command = replace(command, action="move")
    refusal = rules.why_not("move", event, command.actor, command.now)
    if refusal is not None:
        raise refusal
    if starts_at < command.now and not command.actor.is_staff:
        errors = [FieldError("starts_at", "lies in the past")]
        raise Invalid("The start lies in the past", code="starts_in_past", errors=errors)
    moved = {**event, "startsAt": starts_at, "endsAt": starts_at + (event["endsAt"] - event["startsAt"])}
    claim = await _claim(context, moved, command)
    onto = {**changes, "startsAt": moved["startsAt"], "endsAt": moved["endsAt"], "claimId": claim.id}
    guard = {"rev": event["rev"], "claimId": event.get("claimId", {"$exists": False})}
    try:
        changed = await _decide(context, event, "move", onto, command, guard)
    except Conflict:
        await claims.release(context.store, event["expertId"], claim.id)
        raise
    if changed is None:
        again = await read(context, event["_id"])
        if again.get("claimId") != claim.id:  # else it was our own, whose answer was lost
            await claims.release(context.store, event["expertId"], claim.id)
            return None
        changed = again
    await _follow_move(context, changed, command)
    if "claimId" in event:
        await claims.release(context.store, event["expertId"], event["claimId"])
    return await read(context, event["_id"])


async def _claim(context: Context, moved: Document, command: Command) -> EventClaim:
    """The minutes of the event's new time, its own present ones aside. Raises SlotTaken."""
    for attempt in (1, 2):
        from_, until = rules.minutes_of(moved)
        claim = EventClaim(
            id=new_claim_id(command.now),
            expert_id=moved["expertId"],
            service_session_id=moved["_id"],
            from_=from_,
            until=until,
            claimed_at=command.now,
            request_key=command.key,
        )
        if from_ <= command.now and await claims.held_in_the_past(context.store, claim):
            break
        if await events.claim(context.store, [claim], ignoring=moved.get("claimId")):
            return claim
        obstacles = await claims.in_the_way(context.store, claim, ignoring=moved.get("claimId"))
        freed = [await context.healing.heal(busy, moved["expertId"], command.now) for busy in obstacles]
        if attempt == 2 or (obstacles and not any(freed)):
            break
    expert = await context.experts.get(moved["expertId"])
    duration = int((moved["endsAt"] - moved["startsAt"]).total_seconds() // 60)
    raise SlotTaken(await context.free_time.next_starts(expert, moved["startsAt"], duration))


async def _follow_move(context: Context, event: Document, command: Command) -> None:
    told = replace(command, action="reschedule")
    await following.each(event["seats"], lambda seat: following.move(context, event, seat, told))


async def cancel(context: Context, event_id: ObjectId, command: Command) -> Document:
    """Cancel the event: every session in it is cancelled, and what was paid is due back (PROTOCOL, CANCEL WORKSHOP)."""
    canceled: dict[str, Any] = {"status": "canceled", "canceledAt": command.now}
    if command.reason:
        canceled["cancellationReason"] = command.reason
    changed = await _command(context, event_id, "cancel", canceled, command)
    return await finish_cancelling(context, changed, command)


async def finish_cancelling(context: Context, event: Document, command: Command) -> Document:
    """The seats of a canceled event, then its minutes. Whoever meets one half done goes on here."""
    await following.each(event["seats"], lambda seat: following.cancel(context, event, seat, command))
    if "claimId" in event and "expertId" in event:
        await claims.release(context.store, event["expertId"], event["claimId"])
    return await read(context, event["_id"])


def canceller(event: Document, now: datetime) -> Command:
    """The command that cancelled this event, to be finished by somebody else."""
    entry = next(entry for entry in reversed(event["history"]) if entry["action"] == "cancel")
    actor = following.stamped_actor(entry["actor"])
    return Command(action="cancel", actor=actor, now=now, key=entry["key"], reason=entry.get("reason"))


async def start(context: Context, event_id: ObjectId, command: Command) -> Document:
    """scheduled → in_progress, from now."""
    began = {"status": "in_progress", "actualStartsAt": command.now}
    return await _command(context, event_id, "start", began, command)


async def complete(context: Context, event_id: ObjectId, command: Command) -> Document:
    """in_progress → completed, until now; also an event that nobody said had started, once it should have."""
    return await _command(context, event_id, "complete", {"status": "completed", "actualEndsAt": command.now}, command)


async def _command(
    context: Context, event_id: ObjectId, action: str, changes: Mapping[str, Any], command: Command
) -> Document:
    for _ in range(_TRIES):
        event = await read(context, event_id)
        if _did(event, command):
            return await _followed(context, event, command)
        refusal = rules.why_not(action, event, command.actor, command.now)
        if refusal is not None:
            raise refusal
        changed = await _decide(context, event, action, changes, command)
        if changed is not None:
            return changed
    raise Conflict("The event is changing; please try again", code="try_again")


async def _decide(
    context: Context,
    event: Document,
    action: str,
    changes: Mapping[str, Any],
    command: Command,
    extra: Mapping[str, Any] | None = None,
) -> Document | None:
    """The guarded update; the event with its seats as it left it, or None where the guard said no."""
    guard: dict[str, Any] = {
        "_id": event["_id"],
        "visibility": "public",
        "status": {"$in": sorted(rules.SOURCES[action])},
        "history.key": {"$ne": command.key},
        **outbox.room_for_events(),
        **(extra or {}),
    }
    if action == "complete":
        guard["$or"] = [{"status": "in_progress"}, {"startsAt": {"$lte": command.now}}]
    if "maxParticipants" in changes:
        guard["$expr"] = {"$lte": [{"$size": "$seats"}, changes["maxParticipants"]]}
    entry = {"$mergeObjects": [{"$literal": command.entry(changes.get("status"))}, {"from": "$status"}]}
    history = {"$concatArrays": [{"$ifNull": ["$history", []]}, [entry]]}
    stages: list[dict[str, Any]] = [
        {
            "$set": {
                **{name: {"$literal": value} for name, value in changes.items()},
                "updatedAt": {"$literal": command.now},
                "rev": {"$add": [{"$ifNull": ["$rev", 0]}, 1]},
                "history": {"$slice": [history, -rules.MAX_HISTORY]},
            }
        }
    ]
    if action in _TOLD:
        stages.append({"$set": outbox.appended(_told(event, action, changes, command))})
    return await context.store.find_and_update(f"{action} event", "service_sessions", guard, stages)


def _told(event: Document, action: str, changes: Mapping[str, Any], command: Command) -> Document:
    data = {
        "serviceSessionId": event["_id"],
        "serviceId": event.get("serviceId"),
        "startsAt": changes.get("startsAt", event["startsAt"]),
    }
    known = {name: value for name, value in data.items() if value is not None}
    return outbox.event(_TOLD[action], at=command.now, actor=command.actor, data=known)


def _did(event: Document, command: Command) -> bool:
    return any(entry.get("key") == command.key for entry in event.get("history", []))


async def _followed(context: Context, event: Document, command: Command) -> Document:
    """L8, L9: this command was done before; whoever did it may have died right after."""
    if event["status"] == "canceled":
        return await finish_cancelling(context, event, canceller(event, command.now))
    await _follow_move(context, event, command)
    return await read(context, event["_id"])


async def _make_room(context: Context, event: Document, wanted: Edit, now: datetime) -> None:
    """After a refusal: what may have been in the way. Raises Conflict ``capacity_taken`` where that is people."""
    if outbox.is_full(event):
        await outbox.deliver(context.store, "service_sessions", event)
    if wanted.max_participants is None or len(event["seats"]) <= wanted.max_participants:
        return
    freed = [await context.healing.heal_seat(event["_id"], seat, now) for seat in event["seats"]]
    if not any(freed):
        taken = len(event["seats"])
        raise Conflict(
            f"{taken} places are taken already", code="capacity_taken", details={"currentParticipants": taken}
        )


async def read(context: Context, event_id: ObjectId) -> Document:
    """The event with its seats. Raises NotFound ``service_session_not_found``."""
    event = await context.store.find_one(
        "read event", "service_sessions", {"_id": event_id, "visibility": {"$ne": "seat"}}
    )
    if event is None:
        raise rules.not_found()
    return event
