"""Commands that decide in one guarded update: confirm, complete, no-show, cancel, expire, patch.

The filter carries the whole precondition; only a refusal is followed by a read, which says why.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from bson import Decimal128, ObjectId

from confiido_booking.actors import Role
from confiido_booking.bookings import cancelling, guards, merging, rules
from confiido_booking.bookings.archive import Archive
from confiido_booking.bookings.context import BOOKING_NOT_FOUND, CLIENT_IS_BUSY, SESSION_NOT_FOUND, Context
from confiido_booking.bookings.finding import archived_session
from confiido_booking.bookings.guards import Command
from confiido_booking.bookings.healing import SYSTEM_CANCEL
from confiido_booking.bookings.models import CURRENT, Session
from confiido_booking.bookings.statuses import SessionStatus, TimeoutStatus
from confiido_booking.bookings.views import Change, View, projection
from confiido_booking.calendar import claims
from confiido_booking.database.store import Document
from confiido_booking.errors import ClientBusy, Conflict, NotFound, PreconditionFailed
from confiido_booking.events import outbox
from confiido_booking.orders import following

_SESSION_FIELDS = frozenset(info.alias or name for name, info in Session.model_fields.items())
CLOSED_REQUEST: dict[str, Any] = {
    # a pending reschedule request ends with what it was for
    "rescheduleRequest": {
        "$cond": [
            {"$eq": ["$$s.rescheduleRequest.status", "pending"]},
            {"$mergeObjects": ["$$s.rescheduleRequest", {"status": "cancelled"}]},
            "$$s.rescheduleRequest",
        ]
    }
}
_BY_ITSELF: Document = {"partialCancel": {"$exists": False}}  # not one that a client cancels only with its order
_NOTHING_PAID: Document = {"paidAmount": {"$lte": Decimal128("0")}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a command changes in its session, and what it further needs.

    ``grows``: by a text of the caller's, so it needs room in the
    document (SPEC 11); what does not is never refused for lack of it. ``placed``: what the session must
    further meet where its time is more than a wish. ``beside``: what must hold of the client's other sessions, else
    the client is busy. ``facts``: what the history keeps beside who, when and why.
    """

    to: str | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)
    expressions: Mapping[str, Any] = field(default_factory=dict)
    guard: Mapping[str, Any] = field(default_factory=dict)
    placed: Mapping[str, Any] = field(default_factory=dict)
    beside: Mapping[str, Any] = field(default_factory=dict)
    grows: bool = False
    facts: Mapping[str, Any] = field(default_factory=dict)

    def needs(self, command: Command) -> int:
        """Bytes it may add."""
        return guards.weight(self.fields, self.expressions, command.entry(self.to, self.facts))

    def change(self, session_id: ObjectId, command: Command) -> guards.Pipeline:
        return guards.change(
            session_id, command, to=self.to, fields=self.fields, expressions=self.expressions, facts=self.facts
        )


@dataclass(frozen=True, slots=True)
class Found:
    """What a refused command met."""

    document: Document
    session: Document


async def decide(
    context: Context, booking_id: ObjectId, session_id: ObjectId, command: Command, view: View, plan: Plan
) -> Change | None:
    """The guarded update, and after it the service session. None = the guard said no."""
    guard = guards.on_session(booking_id, session_id, command, plan.guard, placed=plan.placed)
    room = guards.room_for(plan.needs(command)) if plan.grows else {}
    document = await context.store.find_and_update(
        command.action,
        "bookings",
        ({"$and": [guard, plan.beside]} if plan.beside else guard) | room,
        plan.change(session_id, command),
        projection=projection(view, session_id),
    )
    if document is None:
        return None
    change = Change(document, session_id)
    if command.action != "patch" or "source" in plan.fields:
        await _follow_up(context, change)
    return change


async def _follow_up(context: Context, change: Change) -> None:
    """What a session's state asks of its service session and its minutes. Done twice it is done once."""
    session, client_id = change.raw_session, change.document["clientId"]
    if session["status"] == SessionStatus.CANCELLED:
        await context.healing.drop(session, client_id)
    elif "serviceSessionId" in session:
        await claims.project(context.store, session, client_id)
    await following.of_session(context.store, session, context.clock())


async def explain(context: Context, booking_id: ObjectId, session_id: ObjectId, command: Command) -> Found | Change:
    """After a refusal: the document and the session as they are, or what the same key did before.

    A crowded outbox, which may be what refused it, is emptied by the way: the caller tries again.

    Raises:
        NotFound: no such booking or session, or not theirs to see (L10).
        Conflict: ``archived``: the session is history.
        PreconditionFailed: ``if_version`` is not the session's version.
    """
    document = await context.store.find_one("read booking", "bookings", {"_id": booking_id, **CURRENT})
    if document is not None and "mergedInto" in document:
        if command.actor.role is Role.CLIENT and document["clientId"] == command.actor.id:
            raise Conflict("The client was merged with another at this moment; please try again", code="try_again")
        document = await merging.followed(context.store, document)
    if document is None or (command.actor.role is Role.CLIENT and document["clientId"] != command.actor.id):
        raise NotFound(BOOKING_NOT_FOUND, code="booking_not_found")
    if outbox.is_crowded(document):
        await outbox.deliver(context.store, "bookings", document)
    session = next((s for s in document["sessions"] if session_id in (s["sessionId"], s.get("_id"))), None)
    archived = None if session is not None else await archived_session(context, document["clientId"], session_id)
    session = session or archived
    if session is None or not rules.is_own(session, command.actor, document["clientId"]):
        raise NotFound(SESSION_NOT_FOUND, code="session_not_found")
    if any(entry.get("key") == command.key for entry in session.get("history", [])):
        if archived is not None:
            return Change(
                document | {"sessions": [*document["sessions"], archived]}, archived["sessionId"], repeated=True
            )
        done = Change(document, session["sessionId"], repeated=True)
        await _follow_up(context, done)  # L8: whoever did it may have died right after
        return done
    if command.if_version is not None and session.get("version", 0) != command.if_version:
        raise PreconditionFailed(details={"version": session.get("version", 0)})
    if archived is not None:
        sentence = "The session is archived and can no longer change"
        raise Conflict(sentence, code="archived", details={"status": session["status"]})
    return Found(document, session)


async def check_role(context: Context, booking_id: ObjectId, session_id: ObjectId, command: Command) -> None:
    """Refuse whom SPEC 4 does not name, whatever the session's state.

    Raises:
        NotFound: not theirs to see, which comes first (SPEC 8).
        NotAllowed: theirs to see, not to do.
    """
    if command.actor.role in rules.TRANSITIONS[command.action].roles:
        return
    with suppress(Conflict, PreconditionFailed):
        await explain(context, booking_id, session_id, command)
    raise rules.not_allowed(command.action)


async def transition(
    context: Context, booking_id: ObjectId, session_id: ObjectId, command: Command, view: View, plan: Plan
) -> Change:
    """Decide; refused, say why."""
    await check_role(context, booking_id, session_id, command)
    for _ in range(3):
        change = await decide(context, booking_id, session_id, command, view, plan)
        if change is not None:
            return change
        found = await explain(context, booking_id, session_id, command)
        if isinstance(found, Change):
            return found
        if (found.document["_id"], found.session["sessionId"]) != (booking_id, session_id):
            # named by its old _id, or in the booking of a merged client: once more by what it is now
            booking_id, session_id = found.document["_id"], found.session["sessionId"]
            continue
        refusal = rules.why_not(command.action, found.session, command.actor, command.now)
        if refusal is not None:
            raise refusal
        if plan.grows and not guards.has_room(found.document, plan.needs(command)):
            await make_room(context, found, command, plan)
        elif plan.beside and found.session["version"] == plan.guard["version"]:
            raise ClientBusy(CLIENT_IS_BUSY)
    raise Conflict("The session is changing; please try again", code="try_again")


async def make_room(context: Context, found: Found, command: Command, plan: Plan) -> None:
    """Archive what is finished in a full document. Raises Conflict ``booking_full`` where that is nothing."""
    client_id, session_id = found.document["clientId"], found.session["sessionId"]
    if not await Archive(context.store).make_room(client_id, plan.needs(command), now=command.now, keep=session_id):
        raise Conflict("There is no more room in this booking", code="booking_full")


async def confirm(context: Context, booking_id: ObjectId, session_id: ObjectId, command: Command, view: View) -> Change:
    fields = {"confirmedAt": command.now, "timeoutStatus": TimeoutStatus.COMPLETED.value}
    plan = Plan(to=SessionStatus.CONFIRMED, fields=fields)
    return await transition(context, booking_id, session_id, command, view, plan)


async def complete(
    context: Context, booking_id: ObjectId, session_id: ObjectId, command: Command, view: View
) -> Change:
    plan = Plan(to=SessionStatus.COMPLETED, fields={"completedAt": command.now}, expressions=CLOSED_REQUEST)
    return await transition(context, booking_id, session_id, command, view, plan)


async def no_show(context: Context, booking_id: ObjectId, session_id: ObjectId, command: Command, view: View) -> Change:
    plan = Plan(to=SessionStatus.NO_SHOW, guard={"startsAt": {"$lte": command.now}}, expressions=CLOSED_REQUEST)
    return await transition(context, booking_id, session_id, command, view, plan)


async def expire(context: Context, booking_id: ObjectId, session_id: ObjectId, command: Command, view: View) -> Change:
    """What the worker does by itself, asked for by somebody whose session it is."""
    fields = {**SYSTEM_CANCEL, "cancellationTime": command.now}
    plan = Plan(
        to=SessionStatus.CANCELLED,
        fields=fields,
        expressions={"refundDue": guards.ALL_THAT_WAS_PAID},
        guard={"timeoutAt": {"$lte": command.now}},
    )
    return await transition(context, booking_id, session_id, command, view, plan)


def cancellation(command: Command) -> Plan:
    """What a person's cancelling changes. All that was paid is due back; a client's policy may make it less."""
    by = {Role.CLIENT: "client", Role.EXPERT: "expert", Role.ADMIN: "admin"}
    fields: dict[str, Any] = {
        "cancelledBy": by.get(command.actor.role, "system"),
        "cancellationTime": command.now,
        "timeoutStatus": TimeoutStatus.COMPLETED.value,
    }
    if command.reason:
        fields["cancellationReason"] = rules.text(command.reason, "reason")
    return Plan(
        to=SessionStatus.CANCELLED,
        fields=fields,
        expressions=CLOSED_REQUEST | {"refundDue": guards.ALL_THAT_WAS_PAID},
        grows=command.reason is not None,
    )


async def cancel(context: Context, booking_id: ObjectId, session_id: ObjectId, command: Command, view: View) -> Change:
    """One update, but for a client's cancellation of a paid session: its refund is rounded in Python, so it is read
    first and the update stands on the version that was read."""
    now, role = command.now, command.actor.role
    plan = cancellation(command)
    if role is not Role.CLIENT:
        return await transition(context, booking_id, session_id, command, view, plan)
    before_the_start = {"clientCancelUntil": {"$not": {"$lte": now}}, "startsAt": {"$not": {"$lte": now}}}
    plan = replace(plan, placed=before_the_start, guard=_BY_ITSELF)
    change = await decide(
        context, booking_id, session_id, command, view, replace(plan, guard=_BY_ITSELF | _NOTHING_PAID)
    )
    if change is not None:
        return change
    found = await explain(context, booking_id, session_id, command)
    if isinstance(found, Change):
        return found
    session = found.session
    if session["paidAmount"].to_decimal() > 0:
        due = cancelling.refund_due(session, now, role)
        plan = replace(plan, fields={**plan.fields, "refundDue": Decimal128(due)}, expressions=CLOSED_REQUEST)
        plan = replace(plan, guard=_BY_ITSELF | {"version": session["version"]})
    return await transition(context, booking_id, session["sessionId"], command, view, plan)


async def patch(
    context: Context,
    booking_id: ObjectId,
    session_id: ObjectId,
    command: Command,
    view: View,
    changes: Mapping[str, object],
) -> Change:
    fields = rules.checked_patch(changes, command.actor, _SESSION_FIELDS)
    plan = Plan(fields=fields, grows=True)
    return await transition(context, booking_id, session_id, command, view, plan)
