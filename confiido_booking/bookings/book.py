"""BOOK: claim the expert's minutes, then push the session (PROTOCOL.md).

Four commands in three round trips once the client's document exists: read the expert, claim the calendar, and
side by side insert the service session and push the session.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from bson import ObjectId

from confiido_booking import money
from confiido_booking.actors import Actor, Role
from confiido_booking.bookings import guards
from confiido_booking.bookings.archive import Archive
from confiido_booking.bookings.context import CLIENT_IS_BUSY, Context, wall_fields
from confiido_booking.bookings.guards import Command, fresh_key
from confiido_booking.bookings.models import ActorStamp, Policy, Session
from confiido_booking.bookings.rules import client_cancel_until, text
from confiido_booking.bookings.statuses import Medium, PaymentStatus, SessionStatus, TimeoutStatus
from confiido_booking.bookings.views import HEAD, Change, ClientRef, View, When, projection
from confiido_booking.calendar import claims
from confiido_booking.calendar import rules as calendar_rules
from confiido_booking.calendar.claims import Claim
from confiido_booking.database.documents import to_mongo
from confiido_booking.database.store import Document, Duplicate
from confiido_booking.errors import BookingError, ClientBusy, Conflict, FieldError, Invalid, NotAllowed, SlotTaken
from confiido_booking.events import outbox
from confiido_booking.experts.models import Expert
from confiido_booking.experts.service import offer
from confiido_booking.ids import new_claim_id
from confiido_booking.settings import Settings
from confiido_booking.times import MAX_DURATION, MIN_DURATION


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What somebody wants to book; the server adds price, currency and end (SPEC 6)."""

    expert: str | ObjectId
    session_type: str
    duration: int
    when: When
    notes: str | None = None
    client: ClientRef | None = None
    force: bool = False
    reason: str | None = None
    source: str | None = None
    referral_source: str | None = None
    price: object = None
    currency: str | None = None


async def book(context: Context, wish: Wish, *, actor: Actor, key: str | None, view: View) -> Change:
    now = context.clock()
    client = whose(actor, wish.client)
    _check_input(wish)
    try:
        expert = await context.experts.get(wish.expert)
        starts_at, zone = _decide(context, wish, expert, actor, client, now)
    except BookingError:
        done = await answered(context, client.client_id, key, view) if key else None
        if done is None:
            raise
        return done  # L9: what was done is not judged again by a later clock
    command = Command(action="book", actor=actor, now=now, reason=wish.reason, key=key or fresh_key())
    session = _session(context.settings, wish, expert, command, starts_at, zone)
    return await place(context, session, expert, client, command, view)


def whose(actor: Actor, client: ClientRef | None) -> ClientRef:
    """The client a command is for: the acting one, or whom an admin or a service names."""
    if actor.role is Role.CLIENT and actor.id is not None:
        if client is not None and client.client_id != actor.id:
            raise NotAllowed("You can book only for yourself")
        return ClientRef(
            client_id=actor.id, client_user_id=actor.user_id, client_email=actor.email, client_name=actor.name
        )
    if not actor.is_staff:
        raise NotAllowed("Experts cannot book; a client, an administrator or a service can")
    if client is None:
        raise Invalid("clientId or clientEmail is needed to book for somebody", code="client_required")
    return client


def _check_input(wish: Wish) -> None:
    """SPEC 6's second check: what was written can be stored, whoever wrote it."""
    for name, value in (("notes", wish.notes), ("reason", wish.reason), ("source", wish.source)):
        if value is not None:
            text(value, name)
    if wish.referral_source is not None:
        text(wish.referral_source, "referralSource")
    if isinstance(wish.duration, bool) or not isinstance(wish.duration, int):
        raise _invalid("duration", "must be a whole number of minutes")
    if not MIN_DURATION <= wish.duration <= MAX_DURATION:
        raise _invalid("duration", f"must be from {MIN_DURATION} to {MAX_DURATION} minutes")
    if wish.session_type not in set(Medium):
        raise _invalid("sessionType", "must be video, audio, chat or in-person")


def _invalid(field: str, message: str) -> Invalid:
    return Invalid(f"{field} {message}", errors=[FieldError(field, message)])


def _decide(
    context: Context, wish: Wish, expert: Expert, actor: Actor, client: ClientRef, now: datetime
) -> tuple[datetime, str]:
    """SPEC 6's checks that need no place, in its order. Returns the UTC start and its zone."""
    starts_at, zone = context.start_of(wish.when, expert.timezone)
    if wish.force and not (actor.is_staff and wish.reason):
        raise (
            Invalid("force needs a reason", code="reason_required")
            if actor.is_staff
            else NotAllowed("Only an administrator can force a booking")
        )
    if not expert.is_active:
        raise Conflict("Expert is not available for bookings", code="expert_inactive")
    if client.client_id in (expert.user_id, expert.id):
        raise Invalid("You cannot book a session with yourself", code="self_booking")
    if not (actor.is_staff and wish.price is not None):
        offer(expert, wish.session_type, wish.duration)
    if not wish.force:
        refusal = calendar_rules.why_not(expert, starts_at, wish.duration, now=now, as_client=not actor.is_staff)
        if refusal is not None:
            raise refusal
    return starts_at, zone


def _session(
    settings: Settings, wish: Wish, expert: Expert, command: Command, starts_at: datetime, zone: str
) -> Document:
    """The session as it will be pushed: prices, policy and title are snapshots of now."""
    now, actor = command.now, command.actor
    title: str | None = None
    if wish.price is not None and actor.is_staff:
        currency = money.currency(wish.currency or settings.currency)
        price, price_source = money.amount(wish.price, currency, field="price"), actor.role.value
    else:
        offered = offer(expert, wish.session_type, wish.duration)
        price, currency, title, price_source = offered.price, offered.currency, offered.title, "expert"
    free = price == 0
    status = SessionStatus.CONFIRMED if actor.is_staff else SessionStatus.PENDING
    held = status is SessionStatus.PENDING and not free and expert.payment == "upfront" and settings.hold is not None
    policy = Policy(
        cancellation=expert.cancellation_policy,
        buffer_before=expert.buffer_before,
        buffer_after=expert.buffer_after,
        price_source=price_source,
    )
    session = Session(
        service_session_id=ObjectId(),
        claim_id=new_claim_id(now),
        request_key=command.key,
        expert_id=expert.id,
        expert_user_id=expert.expert_user_id,
        expert_email=expert.email,
        title=title or f"{wish.session_type.capitalize()} session with {expert.name or 'your expert'}",
        session_type=wish.session_type,
        meeting_link=expert.meeting_link,
        duration=wish.duration,
        status=status,
        payment_status=PaymentStatus.NOT_REQUIRED if free else PaymentStatus.PENDING,
        price=price,
        currency=currency,
        timeout_at=now + settings.hold if held and settings.hold is not None else None,
        timeout_status=TimeoutStatus.ACTIVE if held else None,
        notes=wish.notes,
        source=wish.source or "website",
        referral_source=wish.referral_source,
        created_by=ActorStamp(role=actor.role, id=actor.id),
        policy=policy,
        booked_at=now,
        confirmed_at=now if status is SessionStatus.CONFIRMED else None,
        created_time=now,
        updated_time=now,
    )
    entry = {**command.entry(status)}
    return {
        **to_mongo(session),
        **wall_fields(starts_at, wish.duration, zone),
        "clientCancelUntil": client_cancel_until(expert.cancellation_policy, starts_at),
        "history": [entry],
    }


def claim_of(
    session: Document, expert_id: ObjectId, client_id: ObjectId, now: datetime, *, claim_id: ObjectId
) -> Claim:
    """The claim a session needs: its minutes and the buffers it was booked with."""
    policy = session.get("policy") or {}
    return Claim(
        id=claim_id,
        expert_id=expert_id,
        from_=session["startsAt"] - timedelta(minutes=policy.get("bufferBefore", 0)),
        until=session["endsAt"] + timedelta(minutes=policy.get("bufferAfter", 0)),
        client_id=client_id,
        session_id=session["sessionId"],
        service_session_id=session["serviceSessionId"],
        claimed_at=now,
        request_key=session.get("requestKey"),
    )


async def place(
    context: Context, session: Document, expert: Expert, client: ClientRef, command: Command, view: View
) -> Change:
    """PROTOCOL's BOOK from step 1 on, for a session that is ready but for its claim."""
    assert expert.id is not None
    claim = claim_of(session, expert.id, client.client_id, command.now, claim_id=session["claimId"])
    claim_id = await take(context, claim)
    if claim_id is None:
        done = await answered(context, client.client_id, command.key, view)
        if done is not None:
            return done
        raise SlotTaken(await context.free_time.next_starts(expert, session["startsAt"], session["duration"]))
    session["claimId"] = claim_id
    inserted, pushed = await asyncio.gather(
        claims.insert_service_session(context.store, session, client.client_id),
        _push(context, session, client, command, view),
        return_exceptions=True,
    )
    for outcome in (inserted, pushed):
        if isinstance(outcome, BaseException):
            raise outcome
    assert not isinstance(pushed, BaseException)
    if pushed is not None:
        return Change(pushed, session["sessionId"])
    return await _refused(context, session, client, command, view)


async def take(context: Context, claim: Claim, *, ignoring: ObjectId | None = None) -> ObjectId | None:
    """BOOK 1: claim; refused, heal what is in the way and claim once more. The claim's id, or None.

    Refused, the caller looks for its own key before it says no: what is in the way may be its own first try.
    """
    for attempt in (1, 2):
        if await claims.claim(context.store, claim, ignoring=ignoring):
            if claim.from_ > claim.claimed_at or not await claims.held_in_the_past(context.store, claim):
                return claim.id
            await claims.release(context.store, claim.expert_id, claim.id)
            return None
        obstacles = await claims.in_the_way(context.store, claim, ignoring=ignoring)
        if any(busy["claimId"] == claim.id for busy in obstacles):
            return claim.id  # the answer to an earlier try was lost
        if attempt == 2 or not await _healed(context, obstacles, claim):
            return None
        claim = _renewed(claim)
    return None


async def _healed(context: Context, obstacles: Sequence[Document], claim: Claim) -> bool:
    freed = False
    for busy in obstacles:
        freed = await context.healing.heal(busy, claim.expert_id, claim.claimed_at) or freed
    return freed or not obstacles


def _renewed(claim: Claim) -> Claim:
    """The same minutes under a new id: a claim id is never used twice."""
    return replace(claim, id=new_claim_id(claim.claimed_at))


async def _push(
    context: Context, session: Document, client: ClientRef, command: Command, view: View
) -> Document | None:
    """BOOK 2b. None = refused, for whatever reason. A full document first sheds what is finished."""
    document = await _push_once(context, session, client, command, view)
    if document is not None:
        return document
    if not await _ensure_booking(context, client.client_id, command.now):
        await context.healing.expire_own(client.client_id, session["startsAt"], session["endsAt"], command.now)
    # Once more in any case: where there was no document, a rival may have made it since.
    document = await _push_once(context, session, client, command, view)
    if document is not None:
        return document
    if await Archive(context.store).make_room(
        client.client_id, guards.weight(session), now=command.now, keep=session["sessionId"]
    ):
        return await _push_once(context, session, client, command, view)
    return None


async def _push_once(
    context: Context, session: Document, client: ClientRef, command: Command, view: View
) -> Document | None:
    known = {
        name: value
        for name, value in (
            ("clientUserId", client.client_user_id),
            ("clientEmail", client.client_email),
            ("clientName", client.client_name),
        )
        if value
    }
    guard: dict[str, Any] = {
        **guards.of_client(client.client_id),
        "abandonedClaims": {"$ne": session["claimId"]},
        "sessions.requestKey": {"$ne": command.key},
        "sessions": {"$not": guards.overlapping(session["startsAt"], session["endsAt"])},
        **outbox.room_for_events(guards.MOST_EVENTS),
        **guards.room_for(guards.weight(session)),
    }
    return await context.store.find_and_update(
        "push",
        "bookings",
        guard,
        guards.push(session, known, command),
        projection=projection(view, session["sessionId"]),
    )


async def _ensure_booking(context: Context, client_id: ObjectId, now: datetime) -> bool:
    """Make the client's empty document; whether there was none (L1: a duplicate means there is one).

    One whose outbox is full is relieved of it.
    """
    there = await context.store.find_one(
        "read booking", "bookings", guards.of_client(client_id), dict.fromkeys(outbox.FIELDS, 1)
    )
    if there is not None:
        if outbox.is_full(there, guards.MOST_EVENTS):
            await outbox.deliver(context.store, "bookings", there)
        return False
    document = {"_id": ObjectId(), **guards.empty_booking(client_id, now)}
    try:
        await context.store.insert("insert booking", "bookings", document)
    except Duplicate:
        return True
    return True


async def _refused(context: Context, session: Document, client: ClientRef, command: Command, view: View) -> Change:
    """The push was refused: undo the claim, and say why; or find that this command had been done already."""
    done = await answered(context, client.client_id, command.key, view)
    if done is not None and done.raw_session["sessionId"] == session["sessionId"]:
        return Change(done.document, done.session_id)  # our own push, whose answer was lost
    await context.store.delete("delete service session", "service_sessions", {"_id": session["serviceSessionId"]})
    await claims.release(context.store, session["expertId"], session["claimId"])
    if done is not None:
        return done
    done = await answered(context, client.client_id, command.key, view)
    if done is not None:
        return done
    booking = await context.store.find_one("read booking", "bookings", guards.of_client(client.client_id))
    if booking is not None and session["claimId"] in booking["abandonedClaims"]:
        raise Conflict("The booking took too long; please try again", code="try_again")
    in_the_way = any(
        other["status"] in (SessionStatus.PENDING, SessionStatus.CONFIRMED)
        and other["startsAt"] < session["endsAt"]
        and other["endsAt"] > session["startsAt"]
        and not other.get("conflict")
        for other in (booking or {}).get("sessions", [])
    )
    if in_the_way:
        raise ClientBusy(None if command.actor.role is Role.CLIENT else CLIENT_IS_BUSY)
    raise Conflict("You have too many sessions to book another", code="too_many_sessions")


async def answered(context: Context, client_id: ObjectId, key: str, view: View) -> Change | None:
    """L9: the session this key made before, if it did."""
    document = await context.store.find_one(
        "read own key", "bookings", {**guards.of_client(client_id), "sessions.requestKey": key}
    )
    if document is None:
        return None
    session = next(session for session in document["sessions"] if session.get("requestKey") == key)
    if view is View.HEAD:
        document = {name: document[name] for name in ("_id", *HEAD) if name in document} | {"sessions": [session]}
    return Change(document, session["sessionId"], repeated=True)
