"""Commands that give a session other minutes: reschedule, its request and answer, and undo (PROTOCOL.md).

The new minutes are claimed first, then the session moves onto the new claim, then the old claim goes.
"""

from datetime import datetime
from typing import Any

from bson import ObjectId

from confiido_booking.actors import Role
from confiido_booking.bookings import guards, rules
from confiido_booking.bookings.book import claim_of
from confiido_booking.bookings.context import Context, wall_fields
from confiido_booking.bookings.guards import Command
from confiido_booking.bookings.placing import place
from confiido_booking.bookings.statuses import SessionStatus
from confiido_booking.bookings.transitions import (
    CLOSED_REQUEST,
    Found,
    Plan,
    check_role,
    explain,
    transition,
)
from confiido_booking.bookings.views import Change, View, When
from confiido_booking.calendar import claims
from confiido_booking.calendar import rules as calendar_rules
from confiido_booking.database.store import Document
from confiido_booking.errors import Conflict, Invalid, TransitionRefused
from confiido_booking.ids import new_claim_id

MAX_MOVES = 20  # of rescheduleHistory that a session keeps


async def reschedule(
    context: Context, booking_id: ObjectId, session_id: ObjectId, command: Command, view: View, when: When
) -> Change:
    """Move the session to another time, in place: the ``sessionId`` stays."""

    async def planned(found: Found) -> Plan:
        _check_placed(found.session)
        starts_at, zone = context.start_of(when, found.session["timezone"])
        return await _move(context, found.session, command, starts_at, zone, CLOSED_REQUEST)

    return await place(context, booking_id, session_id, command, view, planned)


async def request(
    context: Context, booking_id: ObjectId, session_id: ObjectId, command: Command, view: View, when: When
) -> Change:
    """The client asks for another time. It claims nothing: who answers yes claims it then (SPEC L3)."""
    found = await _own(context, booking_id, session_id, command)
    if isinstance(found, Change):
        return found
    session = found.session
    starts_at, zone = context.start_of(when, session["timezone"])
    await _bookable(context, session, starts_at, command)
    wanted = claim_of(
        {**session, **wall_fields(starts_at, session["duration"], zone)},
        session["expertId"],
        found.document["clientId"],
        command.now,
        claim_id=new_claim_id(command.now),
    )
    for busy in await claims.in_the_way(context.store, wanted, ignoring=session["claimId"]):
        if not await context.healing.heal(busy, session["expertId"], command.now):
            sentence = "The selected time slot is no longer available. Please choose another time."
            raise Conflict(sentence, code="slot_taken")
    shown = _shown(wall_fields(starts_at, session["duration"], session["timezone"]))  # as the session's own times are
    wish: dict[str, Any] = {
        "status": "pending",
        "requestedBy": "client",
        "requestedDate": shown[0],
        "requestedStartTime": shown[1],
        "requestedEndTime": shown[2],
        "requestedStartsAt": starts_at,
        "requestedAt": command.now,
    }
    if command.reason:
        wish["reason"] = command.reason
    guard = {"startsAt": {"$gt": command.now}, "rescheduleRequest.status": {"$ne": "pending"}}
    plan = Plan(fields={"rescheduleRequest": wish}, guard=guard, grows=True)
    return await transition(context, booking_id, session["sessionId"], command, view, plan)


async def respond(
    context: Context,
    booking_id: ObjectId,
    session_id: ObjectId,
    command: Command,
    view: View,
    *,
    approve: bool,
    note: str | None,
) -> Change:
    """The expert or an admin answers: yes moves the session to the time asked for, no leaves it."""
    answer: dict[str, Any] = {"status": "approved" if approve else "rejected", "respondedAt": command.now}
    if note:
        answer["responseNote"] = rules.text(note, "mentorNote")
    answered = {"rescheduleRequest": {"$mergeObjects": ["$$s.rescheduleRequest", {"$literal": answer}]}}
    guard = {"rescheduleRequest.status": "pending"}
    if not approve:
        plan = Plan(expressions=answered, guard=guard, grows=note is not None)
        return await transition(context, booking_id, session_id, command, view, plan)

    async def planned(found: Found) -> Plan:
        session = found.session
        _check_placed(session)
        starts_at = session["rescheduleRequest"]["requestedStartsAt"]
        return await _move(context, session, command, starts_at, session["timezone"], answered, guard)

    return await place(context, booking_id, session_id, command, view, planned)


async def undo(context: Context, booking_id: ObjectId, session_id: ObjectId, command: Command, view: View) -> Change:
    """Completed or no-show back to confirmed; takes its minutes again where they have not passed."""
    if not command.reason:
        raise Invalid("An undo needs a reason", code="reason_required")
    found = await _own(context, booking_id, session_id, command)
    if isinstance(found, Change):
        return found
    session = found.session
    if session["endsAt"] <= command.now or "claimId" not in session or session.get("seat"):
        in_the_way = guards.overlapping(session["startsAt"], session["endsAt"], other_than=session["sessionId"])
        beside: dict[str, Any] = {"sessions": {"$not": in_the_way}}
        if session.get("seat"):
            await _check_event(context, session)
            beside["abandonedClaims"] = {"$ne": session["claimId"]}  # its event was cancelled since that look
        plan = Plan(to=SessionStatus.CONFIRMED, guard={"version": session["version"]}, beside=beside, grows=True)
        return await transition(context, booking_id, session["sessionId"], command, view, plan)

    async def planned(found: Found) -> Plan:
        return Plan(to=SessionStatus.CONFIRMED, grows=True)

    return await place(context, booking_id, session["sessionId"], command, view, planned)


async def _check_event(context: Context, session: Document) -> None:
    """A seat is kept while its event is: an undone session stands on it again."""
    event = {"_id": session["serviceSessionId"], "seats.claimId": session["claimId"]}
    if not await context.store.find_one("read event", "service_sessions", event, {"_id": 1}):
        raise Conflict("The event was cancelled", code="event_canceled")


async def _own(context: Context, booking_id: ObjectId, session_id: ObjectId, command: Command) -> Found | Change:
    """RESCHEDULE 1: the session as read, if this actor may do this to it."""
    await check_role(context, booking_id, session_id, command)
    found = await explain(context, booking_id, session_id, command)
    if isinstance(found, Found):
        refusal = rules.why_not(command.action, found.session, command.actor, command.now)
        if refusal is not None:
            raise refusal
        _check_placed(found.session)
    return found


def _check_placed(session: Document) -> None:
    if "expertId" not in session or "startsAt" not in session:
        raise Conflict("The session has no expert or no time yet", code="no_expert")


async def _bookable(context: Context, session: Document, starts_at: datetime, command: Command) -> None:
    """The new time follows the expert's rules, as a booking of it would (SPEC 6); an admin is free of them."""
    if command.actor.is_staff:
        return
    expert = await context.experts.get(session["expertId"])
    refusal = calendar_rules.why_not(expert, starts_at, session["duration"], now=command.now, as_client=True)
    if refusal is not None and (command.actor.role is Role.CLIENT or refusal.code == "starts_in_past"):
        raise refusal


async def _move(
    context: Context,
    session: Document,
    command: Command,
    starts_at: datetime,
    zone: str,
    expressions: dict[str, Any],
    guard: dict[str, Any] | None = None,
) -> Plan:
    """The session at another time, and one more line of where it has been."""
    now = command.now
    if session["startsAt"] <= now:
        raise TransitionRefused("rescheduled", session["status"], "The session has already started", "already_started")
    await _bookable(context, session, starts_at, command)
    new_wall = wall_fields(starts_at, session["duration"], zone)
    before, after = _shown(session), _shown(new_wall)
    move: dict[str, Any] = {
        "previousStartsAt": session["startsAt"],
        "previousDate": before[0],
        "previousStartTime": before[1],
        "previousEndTime": before[2],
        "newStartsAt": starts_at,
        "newDate": after[0],
        "newStartTime": after[1],
        "newEndTime": after[2],
        "updatedBy": command.actor.role.value,
        "updatedAt": now,
    }
    if command.reason:
        move["reason"] = command.reason
    policy = rules.cancellation_policy(session)
    moves = {"$concatArrays": [{"$ifNull": ["$$s.rescheduleHistory", []]}, [{"$literal": move}]]}
    return Plan(
        fields={**new_wall, "clientCancelUntil": rules.client_cancel_until(policy, starts_at)},
        expressions={**expressions, "rescheduleHistory": {"$slice": [moves, -MAX_MOVES]}},
        guard={"startsAt": {"$gt": now}, **(guard or {})},
        grows=True,
    )


def _shown(times: Document) -> tuple[str, str, str]:
    return f"{times['scheduledDate']:%Y-%m-%d}", times["startTime"], times["endTime"]
