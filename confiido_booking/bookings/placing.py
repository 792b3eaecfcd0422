"""PLACE: an existing session gets minutes (PROTOCOL's RESCHEDULE, which it is for every command that needs a time).

The new minutes are claimed first, then the session moves onto the new claim in one guarded update, then its service
session follows, then the claim it stood on before goes. Stopped after any of these, HEAL or the doctor ends it.
"""

from collections.abc import Awaitable, Callable
from dataclasses import replace

from bson import ObjectId

from confiido_booking.bookings import guards, rules
from confiido_booking.bookings.book import claim_of, take
from confiido_booking.bookings.context import CLIENT_IS_BUSY, Context
from confiido_booking.bookings.guards import Command
from confiido_booking.bookings.transitions import Found, Plan, check_role, decide, explain, make_room
from confiido_booking.bookings.views import Change, View, projection
from confiido_booking.calendar import claims
from confiido_booking.database.store import Document
from confiido_booking.errors import ClientBusy, Conflict, NotFound, PreconditionFailed, SlotTaken
from confiido_booking.events import outbox
from confiido_booking.ids import new_claim_id

Planning = Callable[[Found], Awaitable[Plan]]
Write = Callable[[Context, Found, Command, View, Plan], Awaitable[Change | None]]
TRIES = 3


async def place(
    context: Context, booking_id: ObjectId, session_id: ObjectId, command: Command, view: View, planning: Planning
) -> Change:
    """Give a session the time that ``planning`` decides on, and the status, price and whatever else is in its plan.

    ``planning`` gets the document and the session as they are, and is asked again where the session changed meanwhile;
    it refuses by raising. Its plan's ``fields`` together with the session as it is must name an expert, ``startsAt``,
    ``endsAt`` and ``duration``; the expert, time and buffers they name are claimed.

    Raises:
        SlotTaken: the expert's minutes are taken; the session is as it was, and stands on the claim it stood on.
        ClientBusy: another active session of the client is at that time.
        TransitionRefused, NotAllowed, NotFound, PreconditionFailed: as for every command on a session.
    """
    return await as_read(context, booking_id, session_id, command, view, planning, _placed)


async def replanned(
    context: Context, booking_id: ObjectId, session_id: ObjectId, command: Command, view: View, planning: Planning
) -> Change:
    """As :func:`place`, for a change that depends on what is read and asks for no minutes."""
    return await as_read(context, booking_id, session_id, command, view, planning, _changed)


async def as_read(
    context: Context,
    booking_id: ObjectId,
    session_id: ObjectId,
    command: Command,
    view: View,
    planning: Planning,
    write: Write,
) -> Change:
    await check_role(context, booking_id, session_id, command)
    for _ in range(TRIES):
        found = await explain(context, booking_id, session_id, command)
        if isinstance(found, Change):
            return found
        refusal = rules.why_not(command.action, found.session, command.actor, command.now)
        if refusal is not None:
            raise refusal
        change = await write(context, found, command, view, await planning(found))
        if change is not None:
            return change
    raise Conflict("The session is changing; please try again", code="try_again")


async def _changed(context: Context, found: Found, command: Command, view: View, plan: Plan) -> Change | None:
    """None = the session is not as it was read, or there was no room and now is."""
    exactly = replace(plan, guard={**plan.guard, "version": found.session["version"]})
    change = await decide(context, found.document["_id"], found.session["sessionId"], command, view, exactly)
    if change is None and plan.grows and not guards.has_room(found.document, plan.needs(command)):
        await make_room(context, found, command, plan)
    return change


async def _placed(context: Context, found: Found, command: Command, view: View, plan: Plan) -> Change | None:
    """From the claim on. None = the session is not as it was read: to be decided anew."""
    store, before, client_id = context.store, found.session, found.document["clientId"]
    after = {"serviceSessionId": ObjectId(), **before, **plan.fields}
    expert_id, old_claim = after["expertId"], before.get("claimId")
    wanted = claim_of(after, expert_id, client_id, command.now, claim_id=new_claim_id(command.now))
    claim_id = await take(context, replace(wanted, request_key=command.key), ignoring=old_claim)
    if claim_id is None:
        return await _no_place(context, found, command, after)
    standing = {"serviceSessionId": after["serviceSessionId"], "claimId": claim_id}
    onto = replace(plan, fields={**plan.fields, **standing})
    document = await move_onto(context, found, command, view, after, onto)
    if document is None and await context.healing.expire_own(
        client_id, after["startsAt"], after["endsAt"], command.now
    ):
        document = await move_onto(context, found, command, view, after, onto)
    if document is None:
        return await refused(context, found, command, plan, expert_id, claim_id)
    change = Change(document, before["sessionId"])
    await claims.project(store, change.raw_session, client_id)
    if old_claim is not None:
        await claims.release(store, before["expertId"], old_claim)
    return change


async def move_onto(
    context: Context, found: Found, command: Command, view: View, after: Document, plan: Plan
) -> Document | None:
    """RESCHEDULE 3: the session stands on the new claim, if it is as it was read and the client is free then."""
    session_id = after["sessionId"]
    as_read = {**plan.guard, "version": found.session["version"]}
    guard = guards.on_session(found.document["_id"], session_id, command, as_read)
    in_the_way = guards.overlapping(after["startsAt"], after["endsAt"], other_than=session_id)
    return await context.store.find_and_update(
        command.action,
        "bookings",
        {
            "$and": [guard, {"sessions": {"$not": in_the_way}}],
            "abandonedClaims": {"$ne": plan.fields["claimId"]},
            **(guards.room_for(plan.needs(command)) if plan.grows else {}),
        },
        plan.change(session_id, command),
        projection=projection(view, session_id),
    )


async def _no_place(context: Context, found: Found, command: Command, after: Document) -> Change | None:
    """The claim was refused: by somebody else's, or by that of another command on this very session."""
    again = await explain(context, found.document["_id"], after["sessionId"], command)
    if isinstance(again, Change):
        return again
    if not _as_it_was(found, again, command):
        return None
    wanted = claim_of(after, after["expertId"], found.document["clientId"], command.now, claim_id=ObjectId())
    in_the_way = await claims.in_the_way(context.store, wanted, ignoring=found.session.get("claimId"))
    if any(busy.get("sessionId") == after["sessionId"] for busy in in_the_way):
        return None
    expert = await context.experts.get(after["expertId"])
    raise SlotTaken(await context.free_time.next_starts(expert, after["startsAt"], after["duration"]))


async def refused(
    context: Context, found: Found, command: Command, plan: Plan, expert_id: ObjectId, claim_id: ObjectId
) -> Change | None:
    """The update was refused: give the new claim back, unless it was our own whose answer was lost; and say why."""
    before = found.session
    try:
        again = await explain(context, found.document["_id"], before["sessionId"], command)
    except (NotFound, Conflict, PreconditionFailed):
        await claims.release(context.store, expert_id, claim_id)
        raise
    if isinstance(again, Change) and again.raw_session.get("claimId") == claim_id:
        if "claimId" in before:
            await claims.release(context.store, before["expertId"], before["claimId"])
        return again
    await claims.release(context.store, expert_id, claim_id)
    if isinstance(again, Change):
        return again
    if not _as_it_was(found, again, command) or claim_id in again.document["abandonedClaims"]:
        return None
    if outbox.is_crowded(again.document):
        return None
    if plan.grows and not guards.has_room(again.document, plan.needs(command)):
        await make_room(context, again, command, plan)
        return None
    raise ClientBusy(CLIENT_IS_BUSY)


def _as_it_was(found: Found, again: Found, command: Command) -> bool:
    """Whether the session has not changed since it was planned for. Raises what its new state does not allow."""
    refusal = rules.why_not(command.action, again.session, command.actor, command.now)
    if refusal is not None:
        raise refusal
    return bool(again.session["version"] == found.session["version"])
