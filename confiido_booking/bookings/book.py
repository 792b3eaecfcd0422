"""BOOK: claim the expert's minutes, then push the session (PROTOCOL.md).

Four commands in three round trips once the client's document exists: read the expert, claim the calendar, and
side by side insert the service session and push the session.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from bson import ObjectId

from confiido_booking import money
from confiido_booking.actors import Actor, Role
from confiido_booking.bookings import guards, merging, snapshots
from confiido_booking.bookings.context import CLIENT_IS_BUSY, Context, wall_fields
from confiido_booking.bookings.guards import Command, fresh_key
from confiido_booking.bookings.models import ActorStamp, Session
from confiido_booking.bookings.pushing import answered, push
from confiido_booking.bookings.rules import client_cancel_until, text
from confiido_booking.bookings.statuses import Medium, PaymentStatus, SessionStatus, TimeoutStatus
from confiido_booking.bookings.views import Change, ClientRef, View, When
from confiido_booking.calendar import claims
from confiido_booking.calendar import rules as calendar_rules
from confiido_booking.calendar.claims import Claim
from confiido_booking.database.documents import to_mongo
from confiido_booking.database.store import Document
from confiido_booking.errors import BookingError, ClientBusy, Conflict, Invalid, NotAllowed, SlotTaken, wrong_field
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
    check_kind(wish.session_type, wish.duration)


def check_kind(session_type: str | None, duration: int | None) -> None:
    """What kind of session, where it is given. Raises Invalid."""
    if duration is not None:
        if isinstance(duration, bool) or not isinstance(duration, int):
            raise wrong_field("duration", "must be a whole number of minutes")
        if not MIN_DURATION <= duration <= MAX_DURATION:
            raise wrong_field("duration", f"must be from {MIN_DURATION} to {MAX_DURATION} minutes")
    if session_type is not None and session_type not in set(Medium):
        raise wrong_field("sessionType", "must be video, audio, chat or in-person")


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
    check_pair(expert, client.client_id, actor)
    if not (actor.is_staff and wish.price is not None):
        offer(expert, wish.session_type, wish.duration)
    if not wish.force:
        refusal = calendar_rules.why_not(expert, starts_at, wish.duration, now=now, as_client=not actor.is_staff)
        if refusal is not None:
            raise refusal
    return starts_at, zone


def check_pair(expert: Expert, client_id: ObjectId, actor: Actor | None = None) -> None:
    """Whether these two can have a session at all (SPEC 6). Raises ``expert_inactive``, ``self_booking``."""
    if not expert.is_active:
        raise Conflict("Expert is not available for bookings", code="expert_inactive")
    if {client_id, actor and actor.subject} & {expert.user_id, expert.id}:
        raise Invalid("You cannot book a session with yourself", code="self_booking")


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
    hold = snapshots.held_until(price, expert, settings, now) if status is SessionStatus.PENDING else None
    session = Session(
        service_session_id=ObjectId(),
        claim_id=new_claim_id(now),
        request_key=command.key,
        title=title or snapshots.title(wish.session_type, expert),
        session_type=wish.session_type,
        duration=wish.duration,
        status=status,
        payment_status=PaymentStatus.NOT_REQUIRED if free else PaymentStatus.PENDING,
        price=price,
        currency=currency,
        timeout_at=hold,
        timeout_status=TimeoutStatus.ACTIVE if hold else None,
        notes=wish.notes,
        source=wish.source or "website",
        referral_source=wish.referral_source,
        created_by=ActorStamp(role=actor.role, id=actor.id),
        policy=snapshots.policy(expert, price_source),
        booked_at=now,
        confirmed_at=now if status is SessionStatus.CONFIRMED else None,
        created_time=now,
        updated_time=now,
    )
    return {
        **to_mongo(session),
        **snapshots.of_expert(expert),
        **wall_fields(starts_at, wish.duration, zone),
        "clientCancelUntil": client_cancel_until(expert.cancellation_policy, starts_at),
        "history": [command.entry(status)],
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
        push(context, session, client, command, view),
        return_exceptions=True,
    )
    for outcome in (inserted, pushed):
        if isinstance(outcome, BaseException):
            raise outcome
    assert not isinstance(pushed, BaseException)
    if pushed is not None:
        if pushed["clientId"] != client.client_id:
            await claims.rewrite(context.store, session, pushed["clientId"])
        return Change(pushed, session["sessionId"])
    heir = await merging.heir_of(context.store, client.client_id)
    return await _refused(context, session, ClientRef(client_id=heir) if heir else client, command, view)


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
    if not obstacles:  # an expert whom an old system made has no calendar yet
        made: Document = {"$setOnInsert": {"busy": []}}
        await context.store.update("make calendar", "calendars", {"_id": claim.expert_id}, made, upsert=True)
    return freed or not obstacles


def _renewed(claim: Claim) -> Claim:
    """The same minutes under a new id: a claim id is never used twice."""
    return replace(claim, id=new_claim_id(claim.claimed_at))


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
