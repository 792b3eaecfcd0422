"""Making workshops and the classes of a course: all of a command's times, or none (PROTOCOL, WORKSHOP)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256

from bson import ObjectId

from confiido_booking.bookings.context import Context
from confiido_booking.bookings.guards import Command
from confiido_booking.calendar import claims, events
from confiido_booking.calendar.events import EventClaim
from confiido_booking.catalog.models import Service, ServiceType
from confiido_booking.database.store import Document
from confiido_booking.errors import Conflict, iso
from confiido_booking.events import outbox
from confiido_booking.experts.models import Expert
from confiido_booking.ids import new_claim_id
from confiido_booking.workshops import rules

_TRIES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The events of one command. ``starts``: ascending, UTC."""

    service: Service
    expert: Expert
    starts: Sequence[datetime]
    zone: str
    places: int


async def make(context: Context, wanted: Wanted, command: Command) -> list[Document]:
    """Claim the minutes of all the events and make them. Returns them as they are, ascending.

    Raises:
        Conflict: ``slot_taken``: ``details.conflicts`` names the starts whose minutes are taken. Nothing was made.
    """
    store, expert_id = context.store, wanted.expert.id or ObjectId()
    rules.check_times(wanted.starts, wanted.service, wanted.expert, command.actor, command.now)
    for _ in range(_TRIES):
        done = await _made_before(context, expert_id, command.key)
        if done:
            return done
        claiming = await _claims(context, wanted, command)
        await _check_past(context, claiming, command.now)
        if await events.claim(store, claiming):
            await events.make(store, [one.entry() for one in claiming])
            return await _settled(context, claiming)
        obstacles = [busy for busy in await _busy(context, expert_id) if any(_meet(one, busy) for one in claiming)]
        if any(busy.get("requestKey") == command.key and busy["owner"] == "event" for busy in obstacles):
            await events.make(store, obstacles)  # of an earlier try of this command, whose answer was lost
            continue
        freed = [await context.healing.heal(busy, expert_id, command.now) for busy in obstacles]
        if obstacles and not any(freed):
            raise _taken([one for one in claiming if any(_meet(one, busy) for busy in obstacles)])
    raise Conflict("The calendar is changing; please try again", code="try_again")


async def _made_before(context: Context, expert_id: ObjectId, key: str) -> list[Document]:
    """L9: the events this key made. Those of a command that died are made now."""
    mine = [busy for busy in await _busy(context, expert_id) if busy.get("requestKey") == key and "event" in busy]
    await events.make(context.store, mine)
    query = {"expertId": expert_id, "visibility": "public", "requestKey": key}
    return await context.store.find("read own events", "service_sessions", query, sort=[("startsAt", 1)])


async def _claims(context: Context, wanted: Wanted, command: Command) -> list[EventClaim]:
    number = await _next_number(context, wanted) if wanted.service.service_type is ServiceType.COURSE else None
    claiming = []
    for place, starts_at in enumerate(wanted.starts):
        event = rules.event_document(
            wanted.service,
            wanted.expert,
            command,
            event_id=_id_for(command.key, place),
            claim_id=new_claim_id(command.now),
            starts_at=starts_at,
            zone=wanted.zone,
            places=wanted.places,
            number=None if number is None else number + place,
        )
        told = outbox.event(
            "service_session.scheduled",
            at=command.now,
            actor=command.actor,
            data={"serviceSessionId": event["_id"], "serviceId": wanted.service.id, "startsAt": starts_at},
        )
        event |= {"outbox": [told], "outboxSince": command.now}
        from_, until = rules.minutes_of(event)
        claiming.append(
            EventClaim(
                id=event["claimId"],
                expert_id=event["expertId"],
                service_session_id=event["_id"],
                from_=from_,
                until=until,
                claimed_at=command.now,
                request_key=command.key,
                event=event,
            )
        )
    return claiming


async def _next_number(context: Context, wanted: Wanted) -> int:
    """The first number of a course that nobody has; that it is still so, the claim's guard decides."""
    store, service_id = context.store, wanted.service.id
    query = {"serviceId": service_id, "visibility": "public"}
    found = await store.find("read numbers", "service_sessions", query, {"sequenceNumber": 1})
    claimed = [busy["event"] for busy in await _busy(context, wanted.expert.id or ObjectId()) if "event" in busy]
    course = [*found, *(event for event in claimed if event["serviceId"] == service_id)]
    return max((event.get("sequenceNumber", 0) for event in course), default=0) + 1


async def _check_past(context: Context, claiming: Sequence[EventClaim], now: datetime) -> None:
    """L3 where the calendar has forgotten, before the claim: what is as young as this command is still in it."""
    taken = [one for one in claiming if one.from_ <= now and await claims.held_in_the_past(context.store, one)]
    if taken:
        raise _taken(taken)


async def _settled(context: Context, claiming: Sequence[EventClaim]) -> list[Document]:
    """The events as they are; a claim whose event stands on another was of a repeated command."""
    ids = [one.service_session_id for one in claiming]
    made = await context.store.find(
        "read own events", "service_sessions", {"_id": {"$in": ids}}, sort=[("startsAt", 1)]
    )
    standing = {event.get("claimId") for event in made}
    for one in claiming:
        if one.id not in standing:
            await context.healing.heal(one.entry(), one.expert_id, one.claimed_at)
    return made


def _id_for(key: str, place: int) -> ObjectId:
    """The events of a key are the same however often it is tried."""
    return ObjectId(sha256(f"event {place} {key}".encode()).digest()[:12])


async def _busy(context: Context, expert_id: ObjectId) -> list[Document]:
    calendar = await context.store.find_one("read calendar", "calendars", {"_id": expert_id}, {"busy": 1})
    busy: list[Document] = (calendar or {}).get("busy", [])
    return busy


def _meet(one: EventClaim, busy: Document) -> bool:
    return bool(busy["from"] < one.until and busy["until"] > one.from_)


def _taken(claiming: Sequence[EventClaim]) -> Conflict:
    details = {"conflicts": [iso(one.event["startsAt"]) for one in claiming if one.event is not None]}
    return Conflict("The expert is not free at that time", code="slot_taken", details=details)
