"""What rooms and visits say of an event, decided without a database (seed 004: how they work together).

A video room may open and close several times, and its events come in any order and more than once. So nothing here is a
step: each fact is kept under the room's or the participant's own id, and what it all means is computed from all of it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Literal

from bson import ObjectId

OPENS_BEFORE = timedelta(minutes=15)  # of the room, before the start
CLOSES_AFTER = timedelta(minutes=60)  # after the end
CHECK_IN_BEFORE = timedelta(hours=1)
MAX_ROOMS = 100
Raw = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """One opening of the room of an event. None: nobody has told yet."""

    sid: str
    started_at: datetime | None = None
    finished_at: datetime | None = None

    def stored(self) -> dict[str, Any]:
        known = {"sid": self.sid, "startedAt": self.started_at, "finishedAt": self.finished_at}
        return {name: value for name, value in known.items() if value is not None}

    @classmethod
    def of(cls, stored: Raw) -> "Room":
        return cls(sid=stored["sid"], started_at=stored.get("startedAt"), finished_at=stored.get("finishedAt"))


def rooms_of(event: Raw) -> list[Room]:
    return [Room.of(stored) for stored in (event.get("room") or {}).get("openings", [])]


def learned(rooms: Sequence[Room], fact: Room) -> list[Room]:
    """All that is known with one fact more: the earliest start and the latest end of each opening."""
    known = {room.sid: room for room in rooms}
    before = known.get(fact.sid, Room(sid=fact.sid))
    starts = [at for at in (before.started_at, fact.started_at) if at is not None]
    ends = [at for at in (before.finished_at, fact.finished_at) if at is not None]
    known[fact.sid] = replace(before, started_at=min(starts, default=None), finished_at=max(ends, default=None))
    return sorted(known.values(), key=lambda room: room.sid)[-MAX_ROOMS:]


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """What the rooms say of an event: its status, and when it really began and ended."""

    status: Literal["scheduled", "in_progress", "completed"]
    began: datetime | None = None
    ended: datetime | None = None


def course(rooms: Sequence[Room], starts_at: datetime, ends_at: datetime) -> Course:
    """An opening that closed before the start was none; one that began after the end, when the event had taken place,
    is another meeting. Between them an event that was completed goes on when its room opens again."""
    counted = [room for room in rooms if room.finished_at is None or room.finished_at >= starts_at]
    inside = [room for room in counted if room.started_at is None or room.started_at < ends_at]
    counted = inside or counted
    if not counted:
        return Course(status="scheduled")
    began = min((room.started_at for room in counted if room.started_at is not None), default=None)
    ends = [room.finished_at for room in counted if room.finished_at is not None]
    if len(ends) < len(counted):
        return Course(status="in_progress", began=began)
    return Course(status="completed", began=began, ended=max(ends))


def status_of(event: Raw) -> str:
    """The status that is shown. A private one's is kept by its session (SPEC L3), so what its room says is added."""
    stored, room = str(event["status"]), event.get("room") or {}
    if stored == "scheduled" and event.get("visibility") == "private" and room.get("startsAt") == event.get("startsAt"):
        return str(room.get("status", stored))
    return stored


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """One stay of a participant, or a check-in, which has no length."""

    joined_at: datetime | None = None
    left_at: datetime | None = None
    checked_in: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Presence:
    """All visits of one attendee. ``left_at`` None: not gone, or never there."""

    joined_at: datetime | None = None
    left_at: datetime | None = None
    seconds: int = 0
    came: bool = False


def presence(visits: Sequence[Visit], starts_at: datetime, now: datetime) -> Presence:
    """Several visits are added up. Who was gone before the start did not come."""
    stays = [visit for visit in visits if not visit.checked_in]
    joins = [visit.joined_at for visit in visits if visit.joined_at is not None]
    leaves = [visit.left_at for visit in stays if visit.left_at is not None]
    lengths = [
        (visit.left_at or now) - visit.joined_at
        for visit in stays
        if visit.joined_at is not None and (visit.left_at or now) > visit.joined_at
    ]
    return Presence(
        joined_at=min(joins, default=None),
        left_at=max(leaves) if leaves and len(leaves) == len(stays) else None,
        seconds=int(sum(lengths, timedelta()).total_seconds()),
        came=any(visit.checked_in or visit.left_at is None or visit.left_at >= starts_at for visit in visits),
    )


def attended(status: str | None, seen: Presence) -> bool:
    """What a person said of the session goes before what the room saw."""
    return status == "completed" or (status != "no-show" and seen.came)


def window(event: Raw) -> tuple[datetime, datetime]:
    """From when to when one may join."""
    return event["startsAt"] - OPENS_BEFORE, event["endsAt"] + CLOSES_AFTER


def rate(attended_count: int, finished_count: int) -> float | None:
    """In percent; none where nothing has finished."""
    return round(100 * attended_count / finished_count, 2) if finished_count else None


def was_undone(session: Raw) -> bool:
    """Whether a person set it back: the rule leaves it alone from then on."""
    return any(entry.get("action") == "undo" for entry in session.get("history", []))


def object_id(identity: str) -> ObjectId | None:
    return ObjectId(identity) if ObjectId.is_valid(identity) else None
