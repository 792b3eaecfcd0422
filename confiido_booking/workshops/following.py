"""What becomes of the clients' sessions when their event moves or is cancelled: per seat one update of one booking.

Each is addressed by client and claim, each done twice is done once, and each leaves a seat whose session is not there
yet with a fence, so that a taker who sleeps between place and session cannot come to stand on what is gone
(PROTOCOL, CANCEL WORKSHOP).
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from bson import Decimal128, ObjectId

from confiido_booking.actors import Actor, Role
from confiido_booking.bookings import guards, merging
from confiido_booking.bookings.context import Context, wall_fields
from confiido_booking.bookings.guards import Command
from confiido_booking.bookings.moving import MAX_MOVES
from confiido_booking.bookings.rules import is_lapsed
from confiido_booking.bookings.statuses import ACTIVE, TimeoutStatus
from confiido_booking.bookings.transitions import CLOSED_REQUEST
from confiido_booking.calendar import claims, seats
from confiido_booking.database.store import Document
from confiido_booking.events import outbox

_AT_ONCE = 8
_TRIES = 5
Raw = Mapping[str, Any]
_WHOLE_REFUND = {"tiers": [], "clientUntilHoursBefore": 0}


async def each(places: Sequence[Document], do: Callable[[Document], Awaitable[object]]) -> None:
    """Do it for every seat, a few at a time."""
    turn = asyncio.Semaphore(_AT_ONCE)

    async def one(seat: Document) -> None:
        async with turn:
            await do(seat)

    await asyncio.gather(*(one(seat) for seat in places))


async def cancel(context: Context, event: Raw, seat: Document, command: Command) -> None:
    """The seat of a cancelled event goes, with its session: all that was paid is due back."""
    by = {Role.EXPERT: "expert", Role.ADMIN: "admin"}.get(command.actor.role, "system")
    fields: dict[str, Any] = {
        "cancelledBy": by,
        "cancellationTime": command.now,
        "cancellationReason": command.reason or "The event was cancelled",
        "timeoutStatus": TimeoutStatus.COMPLETED.value,
    }
    paid = {"$ifNull": ["$$s.paidAmount", {"$literal": Decimal128("0")}]}
    expressions = CLOSED_REQUEST | {"refundDue": paid}
    for _ in range(_TRIES):
        change = guards.change(seat["sessionId"], command, to="cancelled", fields=fields, expressions=expressions)
        session = await _change(context, seat, "cancel", {}, change, command.now)
        if session is not None:
            await claims.project(context.store, session, seat["clientId"])
        if session is not None or await _is_settled(context, seat, command.now):
            await seats.release(context.store, event["_id"], seat["claimId"], command.now)
            return


async def move(context: Context, event: Raw, seat: Document, command: Command) -> None:
    """The seat's session gets the event's time, unless it has a newer one.

    Never refused for the client: where they have another session then, this one is flagged ``conflict``. Until the new
    start they may cancel with a full refund.
    """
    for _ in range(_TRIES):
        older = {"eventRev": {"$not": {"$gte": event["rev"]}}}
        session = await _change(context, seat, "reschedule", older, _moved(event, seat, command), command.now)
        if session is not None:
            await claims.project(context.store, session, seat["clientId"])
            await seats.flag(context.store, session)
            return
        if await _is_settled(context, seat, command.now, rev=event["rev"]):
            return


async def _change(
    context: Context, seat: Document, step: str, extra: Raw, change: guards.Pipeline, now: datetime
) -> Document | None:
    """One update of the client's booking, if an active session whose hold lives stands on the seat."""
    standing = {"claimId": seat["claimId"], "sessionId": seat["sessionId"], **extra}
    alive = {"timeoutAt": {"$not": {"$lte": now}}}
    ways = [
        {"sessions": {"$elemMatch": {**standing, "status": "confirmed"}}},
        {"sessions": {"$elemMatch": {**standing, "status": "pending", **alive}}},
    ]
    document = await context.store.find_and_update(
        step,
        "bookings",
        {**guards.of_client(seat["clientId"]), "$or": ways, **outbox.room_for_events(guards.MOST_EVENTS)},
        change,
        projection={"sessions": {"$elemMatch": {"sessionId": seat["sessionId"]}}},
    )
    return document["sessions"][0] if document is not None else None


async def _is_settled(context: Context, seat: Document, now: datetime, *, rev: int | None = None) -> bool:
    """After a refusal: whether nothing is left to do for this seat. What was in the way is put out of it.

    ``rev``: of a move; a session that has this time, or a newer one, is settled.
    """
    client_id, claim_id = seat["clientId"], seat["claimId"]
    booking = await context.store.find_one("read claim's booking", "bookings", guards.of_client(client_id))
    if booking is not None and "mergedInto" in booking:
        seat["clientId"] = await merging.finish(context.store, booking)
        return False
    if booking is not None and outbox.is_full(booking, guards.MOST_EVENTS):
        await outbox.deliver(context.store, "bookings", booking)
        return False
    sessions: list[Document] = (booking or {}).get("sessions", [])
    standing = next((session for session in sessions if session.get("claimId") == claim_id), None)
    if standing is None:
        return await context.healing.fence(client_id, claim_id, now)
    if booking is not None and is_lapsed(standing, now):
        await context.healing.expire(booking["_id"], standing["sessionId"], now)
        return True
    if standing["status"] in ACTIVE:
        return rev is not None and standing.get("eventRev", 0) >= rev
    if rev is None and standing["status"] != "cancelled":  # completed or no-show: it can no longer be set back
        forbidden = {"$addToSet": {"abandonedClaims": claim_id}, "$set": guards.stamp(now)}
        await context.store.update("forbid", "bookings", guards.of_client(client_id), forbidden)
    return True


def _moved(event: Raw, seat: Document, command: Command) -> guards.Pipeline:
    starts_at, ends_at, zone = event["startsAt"], event["endsAt"], event["timezone"]
    duration = int((ends_at - starts_at).total_seconds() // 60)
    wall = wall_fields(starts_at, duration, zone)
    before = {
        "previousStartsAt": "$$s.startsAt",
        "previousStartTime": "$$s.startTime",
        "previousEndTime": "$$s.endTime",
    }
    day = {"$dateToString": {"date": "$$s.scheduledDate", "format": "%Y-%m-%d"}}
    after = {
        "newStartsAt": starts_at,
        "newDate": f"{wall['scheduledDate']:%Y-%m-%d}",
        "newStartTime": wall["startTime"],
        "newEndTime": wall["endTime"],
        "updatedBy": command.actor.role.value,
        "updatedAt": command.now,
        **({"reason": command.reason} if command.reason else {}),
    }
    told = {"$mergeObjects": [before, {"previousDate": day}, {"$literal": after}]}
    moves = {"$concatArrays": [{"$ifNull": ["$$s.rescheduleHistory", []]}, [told]]}
    return guards.change(
        seat["sessionId"],
        command,
        fields={**wall, "duration": duration, "clientCancelUntil": starts_at, "eventRev": event["rev"]},
        expressions={
            **CLOSED_REQUEST,
            "rescheduleHistory": {"$slice": [moves, -MAX_MOVES]},
            "policy": {"$mergeObjects": ["$$s.policy", {"$literal": {"cancellation": _WHOLE_REFUND}}]},
            "conflict": _clashes(seat["sessionId"], starts_at, ends_at),
        },
    )


def _clashes(session_id: ObjectId, starts_at: datetime, ends_at: datetime) -> dict[str, Any]:
    """Whether the client has another active session then, lapsed holds included as in every guard of L4."""
    overlap = {
        "$and": [
            {"$ne": ["$$other.sessionId", {"$literal": session_id}]},
            {"$in": ["$$other.status", sorted(ACTIVE)]},
            {"$lt": ["$$other.startsAt", {"$literal": ends_at}]},
            {"$gt": ["$$other.endsAt", {"$literal": starts_at}]},
            {"$ne": [{"$ifNull": ["$$other.conflict", False]}, True]},
        ]
    }
    others = {"$filter": {"input": "$sessions", "as": "other", "cond": overlap}}
    return {"$gt": [{"$size": others}, 0]}


def stamped_actor(stamp: Raw) -> Actor:
    """The actor that a history entry names, for a command that somebody else finishes."""
    return Actor(role=Role(stamp["role"]), id=stamp.get("id"))
