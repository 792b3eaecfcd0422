"""SEAT: places in public service sessions, then the sessions that stand on them (PROTOCOL, MONEY "Orders and seats").

``take_places`` claims, in ascending order of the events so that two who want the same last places do not refuse each
other; ``push_seats`` puts all sessions into the client's document in one update. Refused, both give back what they
took.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from bson import ObjectId

from confiido_booking.actors import Actor, Role
from confiido_booking.bookings import guards, merging, snapshots
from confiido_booking.bookings.context import CLIENT_IS_BUSY, Context, wall_fields
from confiido_booking.bookings.guards import Command
from confiido_booking.bookings.healing import YOUNG
from confiido_booking.bookings.models import ActorStamp, Session
from confiido_booking.bookings.pushing import answered, push_all
from confiido_booking.bookings.rules import client_cancel_until, is_lapsed
from confiido_booking.bookings.statuses import ACTIVE, PaymentStatus, SessionStatus, TimeoutStatus
from confiido_booking.bookings.views import Change, ClientRef, View
from confiido_booking.calendar import claims, seats
from confiido_booking.calendar.seats import Place
from confiido_booking.catalog.models import Service
from confiido_booking.database.documents import to_mongo
from confiido_booking.database.store import Document
from confiido_booking.errors import ClientBusy, Conflict
from confiido_booking.experts.models import Expert
from confiido_booking.ids import new_claim_id
from confiido_booking.workshops import commanding, rules

_TRIES = 3
_COLUMNS = {"clientId": 1, **{f"sessions.{name}": 1 for name in ("claimId", "status", "timeoutAt")}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sale:
    """What a seat's session keeps of its sale: a snapshot of the service, the expert and the price."""

    service: Service
    expert: Expert
    price: Decimal
    status: SessionStatus
    held_until: datetime | None = None
    order_id: ObjectId | None = None


async def take_places(context: Context, places: Sequence[Place], *, actor: Actor) -> list[Document]:
    """A place in each of these events, or none. Returns the events as they then are, in the order of ``places``.

    Raises:
        NotFound: ``service_session_not_found``.
        Conflict: ``event_full``, ``already_enrolled``, ``already_started`` (for clients), ``transition_refused``.
    """
    taken: list[Place] = []
    events: dict[ObjectId, Document] = {}
    try:
        for place in sorted(places, key=lambda place: place.event_id):
            events[place.event_id] = await _take(context, place, actor)
            taken.append(place)
    except Exception:
        await leave_places(context, taken)
        raise
    return [events[place.event_id] for place in places]


async def leave_places(context: Context, places: Sequence[Place]) -> None:
    """Give places back on which no session came to stand."""
    for place in places:
        await seats.release(context.store, place.event_id, place.claim_id, place.claimed_at)


async def _take(context: Context, place: Place, actor: Actor) -> Document:
    for attempt in range(_TRIES):
        taken = await seats.take(context.store, place, before_start=not actor.is_staff)
        if taken is not None:
            return taken
        event = await commanding.read(context, place.event_id)
        if any(seat["claimId"] == place.claim_id for seat in event["seats"]):
            return event  # the answer to an earlier try was lost
        refusal = rules.why_not("take a place in", event, actor, place.claimed_at)
        if refusal is not None:
            raise refusal
        own = [seat for seat in event["seats"] if seat["clientId"] == place.client_id]
        is_full = len(event["seats"]) >= event["maxParticipants"]
        if own and not await _healed(context, event, own, place.claimed_at):
            raise Conflict("You have a place in this event already", code="already_enrolled")
        is_last = attempt == _TRIES - 1
        if not own and is_full and (is_last or not await _healed(context, event, event["seats"], place.claimed_at)):
            raise Conflict("No place is left in this event", code="event_full", details={"status": event["status"]})
    raise Conflict("The event is changing; please try again", code="try_again")


async def _healed(context: Context, event: Document, suspects: Sequence[Document], now: datetime) -> bool:
    """Free the places that nothing stands on any more, found by one read; whether there were any."""
    old = [
        seat
        for seat in suspects
        if seat.get("claimedAt") is None or seat["claimedAt"] <= now - YOUNG or not seats.is_live(seat, now)
    ]
    query = {"clientId": {"$in": [seat["clientId"] for seat in old]}}
    found = await context.store.find("read claims' bookings", "bookings", query, _COLUMNS) if old else []
    sessions = {session.get("claimId"): session for booking in found for session in booking.get("sessions", [])}
    freed = False
    for seat in old:
        session = sessions.get(seat["claimId"])
        if session is None or session["status"] == "cancelled" or is_lapsed(session, now):
            freed = await context.healing.heal_seat(event["_id"], seat, now) or freed
    return freed


def seat_session(event: Document, place: Place, sale: Sale, command: Command, *, key: str | None = None) -> Document:
    """The session that is to stand on a taken place, as it will be pushed. ``event``: as ``take_places`` gave it.

    ``key``: the command's, on the one session of it by which a repeat finds them all (L9).
    """
    service, expert, now = sale.service, sale.expert, command.now
    policy = snapshots.policy(expert, "service", service.cancellation_policy)
    duration = int((event["endsAt"] - event["startsAt"]).total_seconds() // 60)
    is_held = sale.held_until is not None and sale.status is SessionStatus.PENDING
    session = Session(
        session_id=place.session_id,
        service_session_id=place.event_id,
        claim_id=place.claim_id,
        seat=True,
        event_rev=event["rev"],
        request_key=key,
        service_id=service.id,
        service_version=service.version,
        service_type=service.service_type.value,
        order_id=sale.order_id,
        title=event.get("title") or service.name,
        session_type=service.medium,
        duration=duration,
        status=sale.status,
        payment_status=PaymentStatus.PENDING if sale.price else PaymentStatus.NOT_REQUIRED,
        price=sale.price,
        currency=service.currency,
        timeout_at=sale.held_until if is_held else None,
        timeout_status=TimeoutStatus.ACTIVE if is_held else None,
        created_by=ActorStamp(role=command.actor.role, id=command.actor.id),
        policy=policy,
        booked_at=now,
        confirmed_at=now if sale.status is SessionStatus.CONFIRMED else None,
        created_time=now,
        updated_time=now,
    )
    return {
        **to_mongo(session),
        **snapshots.of_expert(expert),
        **wall_fields(event["startsAt"], duration, event["timezone"]),
        "clientCancelUntil": client_cancel_until(policy.cancellation, event["startsAt"]),
        "history": [command.entry(sale.status)],
    }


async def push_seats(
    context: Context,
    sessions: Sequence[Document],
    places: Sequence[Place],
    client: ClientRef,
    command: Command,
    view: View,
) -> Document:
    """All sessions into the client's document in one update, then their entries in the lists.

    Returns the document, with all its sessions where there are several. Refused, the places are given back.

    Raises:
        ClientBusy: another active session of the client is at one of the times.
        Conflict: ``try_again``: an event moved or was cancelled meanwhile; ``too_many_sessions``.
    """
    document = await push_all(context, sessions, client, command, view)
    if document is None:
        document = await _own_push(context, sessions, client)
    if document is None:
        await leave_places(context, places)
        raise await _refusal(context, sessions, client, command)
    heir = document["clientId"]
    for session in sessions:
        await claims.project(context.store, session, heir)
    if heir != client.client_id:  # merged with another meanwhile
        await merging.rename(context.store, client.client_id, heir)
    return document


async def _own_push(context: Context, sessions: Sequence[Document], client: ClientRef) -> Document | None:
    """The document, where our own push is in it and only its answer was lost."""
    mine = {**guards.of_client(client.client_id), "sessions.sessionId": sessions[0]["sessionId"]}
    return await context.store.find_one("read own push", "bookings", mine)


async def _refusal(context: Context, sessions: Sequence[Document], client: ClientRef, command: Command) -> Conflict:
    booking = await context.store.find_one("read booking", "bookings", guards.of_client(client.client_id)) or {}
    if any(session["claimId"] in booking.get("abandonedClaims", []) for session in sessions):
        return Conflict("The event has changed; please try again", code="try_again")
    for other in booking.get("sessions", []):
        for session in sessions:
            if (
                other["status"] in ACTIVE
                and other["startsAt"] < session["endsAt"]
                and other["endsAt"] > session["startsAt"]
                and not other.get("conflict")
            ):
                return ClientBusy(None if command.actor.role is Role.CLIENT else CLIENT_IS_BUSY)
    return Conflict("You have too many sessions to book another", code="too_many_sessions")


async def take_seat(
    context: Context, event_id: ObjectId, sale: Sale, client: ClientRef, command: Command, view: View
) -> Change:
    """One place and its session, all or nothing. Repeated under the same key it gives the same session (L9)."""
    done = await answered(context, client.client_id, command.key, view)
    if done is not None:
        return done
    try:
        try:
            return await _take_once(context, event_id, sale, client, command, view)
        except Conflict as refused:
            if refused.code != "try_again":
                raise
            return await _take_once(context, event_id, sale, client, command, view)
    except Conflict:
        done = await answered(context, client.client_id, command.key, view)
        if done is None:
            raise
        return done  # what stood in the way was this command's own first try


async def _take_once(
    context: Context, event_id: ObjectId, sale: Sale, client: ClientRef, command: Command, view: View
) -> Change:
    place = place_in(event_id, client.client_id, command, sale)
    (event,) = await take_places(context, [place], actor=command.actor)
    session = seat_session(event, place, sale, command, key=command.key)
    document = await push_seats(context, [session], [place], client, command, view)
    return Change(document, session["sessionId"])


def place_in(event_id: ObjectId, client_id: ObjectId, command: Command, sale: Sale) -> Place:
    """A place with fresh ids; a claim id is never used twice."""
    return Place(
        event_id=event_id,
        claim_id=new_claim_id(command.now),
        client_id=client_id,
        session_id=ObjectId(),
        claimed_at=command.now,
        order_id=sale.order_id,
        held_until=sale.held_until if sale.status is SessionStatus.PENDING else None,
    )
