"""Calendars: an expert's hours, blocked periods and free slots.

Hours live in the expert's document and change one entry at a time, each change guarded by the filter of its own
update: two edits at once keep both, and two overlapping periods never both get in. Blocked periods live in the
expert's calendar beside the claims of sessions; they stop new ones and leave those that are there.
"""

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any, Protocol

from bson import ObjectId

from confiido_booking import times
from confiido_booking.actors import Actor
from confiido_booking.bookings.healing import YOUNG
from confiido_booking.bookings.models import CURRENT
from confiido_booking.bookings.rules import is_lapsed, text
from confiido_booking.calendar import claims, showing, slots
from confiido_booking.calendar.availability import (
    MAX_EXCEPTIONS,
    MAX_PERIODS,
    Availability,
    AvailabilityException,
    Period,
)
from confiido_booking.calendar.models import Busy
from confiido_booking.calendar.rules import Span
from confiido_booking.calendar.showing import CalendarEvent
from confiido_booking.calendar.slots import Slot
from confiido_booking.database.documents import to_mongo
from confiido_booking.database.store import Document, Store
from confiido_booking.errors import BookingError, Conflict, Invalid, NotAllowed, NotFound, wrong_field
from confiido_booking.experts.models import Expert
from confiido_booking.ids import object_id, older_than
from confiido_booking.times import MAX_DURATION, MIN_DURATION, Clock

MAX_BUSY = 1000
MAX_BLOCK = timedelta(days=366)
_PERIODS, _EXCEPTIONS = "availability.periods", "availability.exceptions"
_STANDING = {f"sessions.{name}": 1 for name in ("_id", "claimId", "status", "timeoutAt", "policy")}


class ExpertSource(Protocol):
    """What calendars ask of :class:`confiido_booking.experts.service.Experts`."""

    async def own(self, actor: Actor) -> Expert: ...

    async def get(self, key: str | ObjectId) -> Expert: ...

    async def identify(self, actor: Actor) -> Actor: ...


@dataclass(frozen=True, slots=True)
class Calendars:
    """Hours and slots. Commands act on the actor's own profile; staff name an ``expert`` by any of its keys.

    Every command raises NotAllowed for an actor whose profile it is not, NotFound ``expert_not_found``.
    """

    store: Store
    clock: Clock
    experts: ExpertSource

    async def events(
        self,
        actor: Actor,
        *,
        from_: datetime,
        to: datetime | None = None,
        expert_id: ObjectId | None = None,
        client_id: ObjectId | None = None,
    ) -> list[CalendarEvent]:
        """The events that lie in [from_, to) at least in part, ascending; ``to`` default: 31 days on.

        An expert sees the own, a client the own with the true count of the others, staff all.

        Raises:
            Invalid: ``invalid_span``: empty, or over 366 days.
        """
        asks = await self.experts.identify(actor)
        until = to or from_ + showing.USUAL_SPAN
        span = showing.Span(from_=from_, to=until, expert_id=expert_id, client_id=client_id)
        return await showing.show(self.store, span, asks, self.clock())

    async def availability(self, actor: Actor, *, expert: str | ObjectId | None = None) -> Availability:
        """The hours as they are; empty where none were ever set."""
        return (await self._expert(actor, expert)).availability or Availability()

    async def add_period(self, actor: Actor, period: Period, *, expert: str | ObjectId | None = None) -> Availability:
        """Add weekly hours for some dates; their id and creation time are set here. Returns all hours.

        Raises:
            Conflict: ``period_overlaps`` an active period, or ``too_many_periods`` (50).
        """
        whose = await self._expert(actor, expert)
        added = period.model_copy(update={"id": ObjectId(), "created_at": self.clock()})
        guard = _apart_from_others(added) | {
            f"{_PERIODS}._id": {"$ne": added.id},
            f"{_PERIODS}.{MAX_PERIODS - 1}": {"$exists": False},
        }
        changed = await self._change(whose, guard, {"$push": {_PERIODS: to_mongo(added)}})
        if changed is not None:
            return changed
        present = await self._present(whose)
        if any(other.id == added.id for other in present.periods):  # pushed, but the answer was lost
            return present
        raise _why_not_added(present, added)

    async def replace_period(
        self, actor: Actor, period_id: str | ObjectId, period: Period, *, expert: str | ObjectId | None = None
    ) -> Availability:
        """Put other hours in a period's place; its id and creation time stay. Returns all hours.

        Raises:
            NotFound: ``period_not_found``.
            Conflict: ``period_overlaps`` another active period.
        """
        key = object_id(period_id)
        whose = await self._expert(actor, expert)
        old = next((known for known in (whose.availability or Availability()).periods if known.id == key), None)
        if old is None:
            raise _no_period()
        new = period.model_copy(update={"id": key, "created_at": old.created_at})
        guard = {f"{_PERIODS}._id": key} | _apart_from_others(new)
        swap = {"$cond": [{"$eq": ["$$period._id", key]}, {"$literal": to_mongo(new)}, "$$period"]}
        swapped = {"$map": {"input": f"${_PERIODS}", "as": "period", "in": swap}}
        changed = await self._change(whose, guard, [{"$set": {_PERIODS: swapped}}])
        if changed is not None:
            return changed
        raise _overlaps() if _has(await self._present(whose), key) else _no_period()

    async def remove_period(
        self, actor: Actor, period_id: str | ObjectId, *, expert: str | ObjectId | None = None
    ) -> Availability:
        """Returns the hours that are left. Without any period the expert can be booked at any time (SPEC 6).

        Raises:
            NotFound: ``period_not_found``.
        """
        key = object_id(period_id)
        whose = await self._expert(actor, expert)
        changed = await self._change(whose, {f"{_PERIODS}._id": key}, {"$pull": {_PERIODS: {"_id": key}}})
        if changed is None:
            raise _no_period()
        return changed

    async def add_exception(
        self, actor: Actor, exception: AvailabilityException, *, expert: str | ObjectId | None = None
    ) -> Availability:
        """Close a date, or give it hours of its own; its id is set here. Returns all hours.

        Raises:
            Conflict: ``exception_exists`` on that date, or ``too_many_exceptions`` (500).
        """
        whose = await self._expert(actor, expert)
        added = exception.model_copy(update={"id": ObjectId()})
        guard = {f"{_EXCEPTIONS}.date": {"$ne": added.on}, f"{_EXCEPTIONS}.{MAX_EXCEPTIONS - 1}": {"$exists": False}}
        changed = await self._change(whose, guard, {"$push": {_EXCEPTIONS: to_mongo(added)}})
        if changed is not None:
            return changed
        present = await self._present(whose)
        there = present.exception_on(added.on.date())
        if there is None:
            raise Conflict(f"At most {MAX_EXCEPTIONS} exceptions can be kept", code="too_many_exceptions")
        if there.id == added.id:  # pushed, but the answer was lost
            return present
        raise Conflict("This date has an exception already", code="exception_exists")

    async def remove_exception(
        self, actor: Actor, exception_id: str | ObjectId, *, expert: str | ObjectId | None = None
    ) -> Availability:
        """The date has its weekly hours again. Returns all hours. Raises NotFound ``exception_not_found``."""
        key = object_id(exception_id)
        whose = await self._expert(actor, expert)
        changed = await self._change(whose, {f"{_EXCEPTIONS}._id": key}, {"$pull": {_EXCEPTIONS: {"_id": key}}})
        if changed is None:
            raise NotFound("Exception not found", code="exception_not_found")
        return changed

    async def block(
        self,
        actor: Actor,
        starts_at: datetime,
        ends_at: datetime,
        reason: str | None = None,
        *,
        expert: str | ObjectId | None = None,
    ) -> Busy:
        """Let nobody book these minutes. Sessions that are there already stay. ``claim_id`` is the block's id.

        Raises:
            Invalid: ``invalid_time``: empty, over 366 days, or over already.
            Conflict: ``calendar_full`` (1,000 entries).
        """
        now = self.clock()
        start = times.parse_instant(starts_at)
        end = times.parse_instant(ends_at, field="endsAt")
        if not start < end <= start + MAX_BLOCK or end <= now:
            raise _invalid_time("endsAt", "must lie in the future, after startsAt and within 366 days of it")
        note = text(reason, "reason") if reason is not None else None
        whose = await self._expert(actor, expert)
        entry = Busy.model_validate(
            {
                "claim_id": ObjectId(),
                "owner": "block",
                "from": start,
                "until": end,
                "claimed_at": now,
                "reason": note,
            }
        )
        long_ago = {"$lte": now - claims.CLOCK_SLACK}
        past = {"busy": {"until": long_ago, "claimedAt": long_ago}}
        await self.store.update("drop past", "calendars", {"_id": whose.id}, {"$pull": past})
        room = {"_id": whose.id, "busy.claimId": {"$ne": entry.claim_id}, f"busy.{MAX_BUSY - 1}": {"$exists": False}}
        pushed = await self.store.update("block", "calendars", room, {"$push": {"busy": to_mongo(entry)}})
        if not pushed and all(busy["claimId"] != entry.claim_id for busy in await self._busy(whose)):
            raise Conflict(f"At most {MAX_BUSY} entries fit in a calendar", code="calendar_full")
        return entry

    async def unblock(self, actor: Actor, block_id: str | ObjectId, *, expert: str | ObjectId | None = None) -> None:
        """Free blocked minutes. Raises NotFound ``block_not_found``; a session's minutes are freed by cancelling it."""
        key = object_id(block_id)
        whose = await self._expert(actor, expert)
        mine = {"claimId": key, "owner": "block"}
        there = {"_id": whose.id, "busy": {"$elemMatch": mine}}
        if not await self.store.update("unblock", "calendars", there, {"$pull": {"busy": mine}}):
            raise NotFound("Blocked period not found", code="block_not_found")

    async def blocks(self, actor: Actor, *, expert: str | ObjectId | None = None) -> list[Busy]:
        """The blocked periods that are not over, ascending."""
        whose = await self._expert(actor, expert)
        now = self.clock()
        found = [Busy.model_validate(busy) for busy in await self._busy(whose) if busy["owner"] == "block"]
        return sorted((block for block in found if block.until > now), key=lambda block: block.from_)

    async def slots(self, expert_key: str | ObjectId, day: date) -> list[Slot]:
        """The steps of 15 minutes inside the expert's hours of a local day; see :meth:`consecutive_slots`."""
        return await self.consecutive_slots(expert_key, day, slots.GRID_MINUTES)

    async def consecutive_slots(
        self,
        expert_key: str | ObjectId,
        day: date,
        duration: int,
        *,
        exclude_session: str | ObjectId | None = None,
        actor: Actor | None = None,
    ) -> list[Slot]:
        """Where a session of ``duration`` minutes fits into the hours of a day of the expert's zone, on quarter hours.

        ``available`` says whether booking accepts it now: a lapsed hold is free, and so are the minutes of
        ``exclude_session``, the session that is to be moved, if it is the ``actor``'s to see. Empty for an expert who
        set no hours or is not active.

        Raises:
            NotFound: ``expert_not_found``; Invalid: a day or duration out of range, a session id that is none.
        """
        day = times.parse_date(day, field="date", location="params")
        if not MIN_DURATION <= duration <= MAX_DURATION:
            raise _invalid_time("duration", f"must be {MIN_DURATION} to {MAX_DURATION} minutes", "params")
        moved = object_id(exclude_session, field="excludeSessionId", location="query") if exclude_session else None
        expert = await self.experts.get(expert_key)
        if not expert.is_active or expert.availability is None:
            return []
        now = self.clock()
        sees_all = actor is None or actor.is_staff or actor.id == expert.user_id
        whose = None if sees_all or actor is None else actor.id
        taken, policy = await self._taken(expert, _reach(expert, day, duration, moved), moved, now, whose)
        if policy is not None:  # a move keeps the buffers the session was booked with
            buffers = {"buffer_before": policy.get("bufferBefore", 0), "buffer_after": policy.get("bufferAfter", 0)}
            expert = expert.model_copy(update=buffers)
        return slots.on_day(expert, day, duration, taken, now=now)

    async def next_starts(self, expert: Expert, after: datetime, duration: int, count: int = 3) -> list[datetime]:
        """Up to ``count`` free starts from ``after`` on, ascending UTC, within 60 days.

        One read: it counts a hold as taken even when it has lapsed, as a hint may.
        """
        taken = [Span(busy["from"], busy["until"]) for busy in await self._busy(expert)]
        return slots.next_starts(expert, after, duration, taken, now=self.clock(), count=count)

    async def _expert(self, actor: Actor, key: str | ObjectId | None) -> Expert:
        if key is None:
            return await self.experts.own(actor)
        if actor.is_staff:
            return await self.experts.get(key)
        own = await self.experts.own(actor)
        if str(key) not in (str(own.id), str(own.user_id), own.expert_user_id):
            raise NotAllowed("Only mentors can change their own availability")
        return own

    async def _change(self, expert: Expert, guard: Document, update: Document | list[Document]) -> Availability | None:
        """One guarded update of an expert's hours; the hours after it, or None where the guard said no."""
        now = {"$set": {"updatedAt": self.clock()}}
        stamped = [*update, now] if isinstance(update, list) else update | now
        document = await self.store.find_and_update(
            "change availability", "experts", {"_id": expert.id, **guard}, stamped, projection={"availability": 1}
        )
        return None if document is None else Availability.model_validate(document.get("availability") or {})

    async def _present(self, expert: Expert) -> Availability:
        document = await self.store.find_one("read availability", "experts", {"_id": expert.id}, {"availability": 1})
        return Availability.model_validate((document or {}).get("availability") or {})

    async def _busy(self, expert: Expert) -> list[Document]:
        calendar = await self.store.find_one("read calendar", "calendars", {"_id": expert.id}, {"busy": 1})
        busy: list[Document] = (calendar or {}).get("busy", [])
        return busy

    async def _taken(
        self, expert: Expert, near: Span, moved: ObjectId | None, now: datetime, whose: ObjectId | None = None
    ) -> tuple[list[Span], Document | None]:
        """The expert's taken minutes near a day, and the policy of the session that is to be moved.

        A claim that nothing stands on any more is left out, because booking heals it (PROTOCOL.md).
        """
        entries = [
            entry
            for entry in await self._busy(expert)
            if (entry["from"] < near.end and entry["until"] > near.start)
            or (moved is not None and entry.get("sessionId") == moved)
        ]
        clients = list({entry["clientId"] for entry in entries if entry["owner"] == "session"})
        held = {"clientId": {"$in": clients}, **CURRENT}
        bookings = await self.store.find("read holds", "bookings", held, _STANDING) if clients else []
        sessions = {session.get("claimId"): session for booking in bookings for session in booking.get("sessions", [])}
        taken: list[Span] = []
        policy: Document | None = None
        for entry in entries:
            session = sessions.get(entry["claimId"], {})
            is_theirs = whose is None or entry.get("clientId") == whose
            if moved is not None and is_theirs and moved in (entry.get("sessionId"), session.get("_id")):
                policy = session.get("policy", policy)
            elif entry["owner"] != "session" or _stands(entry["claimId"], session, now):
                taken.append(Span(entry["from"], entry["until"]))
        return taken, policy


def _reach(expert: Expert, day: date, duration: int, moved: ObjectId | None) -> Span:
    """The minutes that matter to sessions starting on a local day; what is moved may have other, longer buffers."""
    before, after = (MAX_DURATION, MAX_DURATION) if moved else (expert.buffer_before, expert.buffer_after)
    tz = times.zone(expert.timezone)
    start, end = times.edge(day, time(), tz), times.edge(day + timedelta(days=1), time(), tz)
    return Span(start - timedelta(minutes=before), times.ends_at(end, duration + after))


def _stands(claim_id: ObjectId, session: Document, now: datetime) -> bool:
    """Whether a session stands on a claim, or may yet come to."""
    if session:
        return session["status"] != "cancelled" and not is_lapsed(session, now)
    return not older_than(claim_id, YOUNG, now)


def _apart_from_others(period: Period) -> dict[str, Any]:
    """The guard that no other active period covers a date of this one."""
    if not period.is_active:
        return {}
    overlapping: dict[str, Any] = {"_id": {"$ne": period.id}, "isActive": True}
    if period.date_range.end_date is not None:
        overlapping["dateRange.startDate"] = {"$not": {"$gt": period.date_range.end_date}}  # absent: from ever
    if period.date_range.start_date is not None:
        overlapping["dateRange.endDate"] = {"$not": {"$lt": period.date_range.start_date}}  # absent: for ever
    return {_PERIODS: {"$not": {"$elemMatch": overlapping}}}


def _why_not_added(present: Availability, added: Period) -> BookingError:
    if len(present.periods) >= MAX_PERIODS:
        return Conflict(f"At most {MAX_PERIODS} periods can be kept", code="too_many_periods")
    return _overlaps()


def _has(present: Availability, period_id: ObjectId) -> bool:
    return any(period.id == period_id for period in present.periods)


def _overlaps() -> Conflict:
    return Conflict("This period overlaps another active one", code="period_overlaps")


def _no_period() -> NotFound:
    return NotFound("Availability period not found", code="period_not_found")


def _invalid_time(field: str, message: str, location: str = "body") -> Invalid:
    return wrong_field(field, message, "invalid_time", location=location)
