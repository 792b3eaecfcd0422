"""A draft of a package or bundle gets its time: minutes of its expert, or a place in an event of its service (SPEC 4).

Both are PLACE (``bookings/placing.py``): claimed first, then the session moves onto the claim in one guarded update.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from bson import ObjectId

from confiido_booking.actors import Actor
from confiido_booking.bookings import finding, placing, rules, snapshots
from confiido_booking.bookings.book import check_pair
from confiido_booking.bookings.context import Context, wall_fields
from confiido_booking.bookings.guards import Command
from confiido_booking.bookings.placing import Planning
from confiido_booking.bookings.statuses import SessionStatus
from confiido_booking.bookings.transitions import Found, Plan
from confiido_booking.bookings.views import Change, View, When
from confiido_booking.calendar import claims
from confiido_booking.calendar import rules as calendar_rules
from confiido_booking.calendar.seats import Place
from confiido_booking.catalog.models import ServiceType
from confiido_booking.catalog.service import Catalog
from confiido_booking.database.store import Document
from confiido_booking.errors import Conflict, FieldError, Invalid, NotAllowed
from confiido_booking.experts.models import Expert
from confiido_booking.ids import new_claim_id
from confiido_booking.ledger.rules import owed
from confiido_booking.orders import following
from confiido_booking.workshops import commanding, seating
from confiido_booking.workshops.rules import not_found as event_not_found

Raw = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """When: ``when`` for a session with an expert, ``event_id`` for a place in a workshop."""

    when: When | None = None
    event_id: ObjectId | None = None
    expert: str | ObjectId | None = None


async def schedule(
    context: Context, catalog: Catalog, session_id: ObjectId, wanted: Wanted, command: Command, view: View
) -> Change:
    """Within its validity a draft becomes confirmed, or pending while its order is not paid.

    Raises:
        NotFound: ``session_not_found``, ``service_session_not_found``. TransitionRefused: it is no draft,
            ``hold_expired``, ``validity_ended``. Conflict: ``outside_validity``, and as of every booking and seat.
        Invalid: ``time_required``, ``service_session_required``, ``starts_in_past``, ``invalid_time``.
    """
    found = await finding.find_session(context, session_id, command.actor)
    session = found.raw_session
    shared = wanted.event_id is not None
    if "serviceId" in session and "serviceVersion" in session:
        service = await catalog.version(session["serviceId"], session["serviceVersion"])
        shared = service.service_type is ServiceType.WORKSHOP
    _check_asked(wanted, shared=shared)
    of = context, found.booking_id, found.session_id, command, view
    if shared:
        change = await placing.as_read(*of, _in_event(context, wanted, command), seated)
    else:
        change = await placing.place(*of, _at_time(context, wanted, command))
    await following.of_session(context.store, change.raw_session, command.now)
    return change


def _check_asked(wanted: Wanted, *, shared: bool) -> None:
    needed, other = ("service_session_id", "starts_at") if shared else ("starts_at", "service_session_id")
    given = {"service_session_id": wanted.event_id, "starts_at": wanted.when}
    if given[needed] is None or given[other] is not None:
        code = "service_session_required" if shared else "time_required"
        sentence = f"This session needs {needed}, and no {other}"
        raise Invalid(sentence, code=code, errors=[FieldError(needed, "is required")])


def _at_time(context: Context, wanted: Wanted, command: Command) -> Planning:
    async def planning(found: Found) -> Plan:
        session, actor = found.session, command.actor
        expert = await _whom(context, wanted, session, actor)
        check_pair(expert, found.document["clientId"], actor)
        assert wanted.when is not None
        duration = session.get("duration")
        if duration is None:
            raise rules.incomplete({**session, "startsAt": command.now}) or Invalid(code="incomplete")
        starts_at, zone = context.start_of(wanted.when, expert.timezone)
        _check_validity(session, starts_at)
        as_client = not actor.is_staff
        refusal = calendar_rules.why_not(expert, starts_at, duration, now=command.now, as_client=as_client)
        if refusal is not None:
            raise refusal
        policy = rules.cancellation_policy(session)
        buffers = {"bufferBefore": expert.buffer_before, "bufferAfter": expert.buffer_after}
        fields = {
            **dict.fromkeys(snapshots.OF_EXPERT),
            **snapshots.of_expert(expert),
            **wall_fields(starts_at, duration, zone),
            "clientCancelUntil": rules.client_cancel_until(policy, starts_at),
            "policy": {**(session.get("policy") or {}), **buffers},
        }
        return _plan(session, command, fields)

    return planning


async def _whom(context: Context, wanted: Wanted, session: Raw, actor: Actor) -> Expert:
    expert = await context.experts.get(wanted.expert or session.get("expertId") or ObjectId())
    if expert.id != session.get("expertId") and not actor.is_staff:
        raise NotAllowed("Only an administrator can give this session to another expert")
    return expert


def _in_event(context: Context, wanted: Wanted, command: Command) -> Planning:
    async def planning(found: Found) -> Plan:
        assert wanted.event_id is not None
        event = await commanding.read(context, wanted.event_id)
        if event.get("serviceId") != found.session.get("serviceId"):
            raise event_not_found()
        _check_validity(found.session, event["startsAt"])
        return _plan(found.session, command, {"seat": True, "serviceSessionId": wanted.event_id})

    return planning


def _plan(session: Raw, command: Command, fields: Document) -> Plan:
    """A draft that nothing is owed for is confirmed; another waits for its payment, held as its order is."""
    if owed(session) <= 0 and not session.get("timeoutAt"):
        return Plan(to=SessionStatus.CONFIRMED, fields={**fields, "confirmedAt": command.now})
    return Plan(to=SessionStatus.PENDING, fields=fields)


def _check_validity(session: Raw, starts_at: datetime) -> None:
    until = session.get("validUntil")
    if until is not None and starts_at > until:
        sentence = "The session must take place while its package is valid"
        raise Conflict(sentence, code="outside_validity", details={"validUntil": until.isoformat()})


async def seated(context: Context, found: Found, command: Command, view: View, plan: Plan) -> Change | None:
    """From the place on. None = the session is not as it was read: to be decided anew."""
    before, client_id = found.session, found.document["clientId"]
    place = Place(
        event_id=plan.fields["serviceSessionId"],
        claim_id=new_claim_id(command.now),
        client_id=client_id,
        session_id=before["sessionId"],
        claimed_at=command.now,
        order_id=before.get("orderId"),
        held_until=before.get("timeoutAt") if plan.to == SessionStatus.PENDING else None,
    )
    (event,) = await seating.take_places(context, [place], actor=command.actor)
    onto = replace(plan, fields={**plan.fields, **_of_event(event, before), "claimId": place.claim_id})
    after = {**before, **onto.fields}
    document = await placing.move_onto(context, found, command, view, after, onto)
    if document is None and await context.healing.expire_own(
        client_id, after["startsAt"], after["endsAt"], command.now
    ):
        document = await placing.move_onto(context, found, command, view, after, onto)
    if document is None:
        again: Change | None = None
        try:
            again = await placing.refused(context, found, command, plan, after["expertId"], place.claim_id)
        finally:
            if again is None or again.raw_session.get("claimId") != place.claim_id:
                await seating.leave_places(context, [place])
        return again
    change = Change(document, before["sessionId"])
    await claims.project(context.store, change.raw_session, client_id)
    return change


def _of_event(event: Raw, session: Raw) -> Document:
    """Its time, and that the client cancels by the policy that was sold."""
    duration = int((event["endsAt"] - event["startsAt"]).total_seconds() // 60)
    policy = rules.cancellation_policy(session)
    return {
        "expertId": event["expertId"],
        "duration": duration,
        "eventRev": event["rev"],
        **wall_fields(event["startsAt"], duration, event["timezone"]),
        "clientCancelUntil": rules.client_cancel_until(policy, event["startsAt"]),
    }
