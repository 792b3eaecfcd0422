"""What is asked for before there is a place: a request, and what is known of its session (SPEC 4, seed 1.2).

Any of expert, kind, length and time may be missing. A time that is given is a wish: it claims nothing (L3).
"""

from dataclasses import dataclass
from datetime import datetime

from bson import ObjectId

from confiido_booking.actors import Actor
from confiido_booking.bookings import rules, snapshots
from confiido_booking.bookings.book import check_kind, check_pair, whose
from confiido_booking.bookings.context import Context, wall_fields
from confiido_booking.bookings.guards import Command, fresh_key
from confiido_booking.bookings.models import ActorStamp, Session
from confiido_booking.bookings.pushing import answered, push
from confiido_booking.bookings.statuses import SessionStatus
from confiido_booking.bookings.views import Change, ClientRef, View, When
from confiido_booking.calendar import claims
from confiido_booking.database.documents import to_mongo
from confiido_booking.database.store import Document
from confiido_booking.errors import BookingError, Conflict, Invalid
from confiido_booking.experts.models import Expert


@dataclass(frozen=True, slots=True, kw_only=True)
class Particulars:
    """With whom, of what kind, how long, when: as far as it is known."""

    expert: str | ObjectId | None = None
    session_type: str | None = None
    duration: int | None = None
    when: When | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What somebody asks for."""

    particulars: Particulars
    client: ClientRef | None = None
    service_id: ObjectId | None = None
    location: str | None = None
    notes: str | None = None
    source: str | None = None
    referral_source: str | None = None


async def request(context: Context, asked: Asked, *, actor: Actor, key: str | None, view: View) -> Change:
    """A new session that somebody asks for: a client for themselves, staff for whoever told them (phone, walk-in …)."""
    now = context.clock()
    client = whose(actor, asked.client)
    check_texts(asked)
    try:
        fields = await learned(context, asked.particulars, {}, actor, client.client_id, now)
    except BookingError:
        done = await repeated(context, client, key, view) if key else None
        if done is None:
            raise
        return done  # L9: what was done is not judged again by a later clock
    command = Command(action="request", actor=actor, now=now, key=key or fresh_key())
    session = unplaced(context, SessionStatus.REQUESTED, command, fields | about(asked) | {"requestedAt": now})
    return await add(context, session, client, command, view)


def unplaced(
    context: Context,
    status: SessionStatus,
    command: Command,
    fields: Document,
    facts: Document | None = None,
) -> Document:
    """A session without a place, ready to be pushed. ``facts``: what its history keeps of how it began."""
    now, actor = command.now, command.actor
    session = Session(
        service_session_id=ObjectId(),
        request_key=command.key,
        status=status,
        timezone=context.settings.timezone,
        currency=context.settings.currency,
        created_by=ActorStamp(role=actor.role, id=actor.id),
        created_time=now,
        updated_time=now,
    )
    return {**to_mongo(session), **fields, "history": [command.entry(status, facts)]}


async def add(context: Context, session: Document, client: ClientRef, command: Command, view: View) -> Change:
    """Into the client's document, and then its draft service session; died between the two, a repeat or the doctor
    writes that one."""
    document = await push(context, session, client, command, view)
    if document is not None:
        await claims.insert_service_session(context.store, session, document["clientId"])
        return Change(document, session["sessionId"])
    done = await repeated(context, client, command.key, view)
    if done is None:
        raise Conflict("You have too many sessions to add another", code="too_many_sessions")
    return done


async def repeated(context: Context, client: ClientRef, key: str, view: View) -> Change | None:
    done = await answered(context, client.client_id, key, view)
    if done is not None:
        await claims.project(context.store, done.raw_session, done.document["clientId"])
    return done


async def learned(
    context: Context, given: Particulars, session: Document, actor: Actor, client_id: ObjectId, now: datetime
) -> Document:
    """The fields that follow from what is given, over those that ``session`` has.

    Raises:
        NotFound: ``expert_not_found``; Conflict: ``expert_inactive``.
        Invalid: ``self_booking``, ``starts_in_past`` (not for staff), ``invalid_time``, a wrong kind.
    """
    check_kind(given.session_type, given.duration)
    fields: Document = {}
    if given.session_type is not None:
        fields["sessionType"] = given.session_type
    if given.duration is not None:
        fields["duration"] = given.duration
    expert: Expert | None = None
    if given.expert is not None:
        expert = await context.experts.get(given.expert)
        check_pair(expert, client_id, actor)
        of_another = session.get("expertId", expert.id) != expert.id
        fields |= (dict.fromkeys(snapshots.OF_EXPERT) if of_another else {}) | snapshots.of_expert(expert)
        fields["currency"] = session.get("currency") or _currency(expert, context.settings.currency)
    known = session | fields
    if expert is not None and "sessionType" in known:
        fields["title"] = snapshots.title(known["sessionType"], expert)
    if given.when is not None:
        zone = session.get("timezone") or (expert.timezone if expert else context.settings.timezone)
        starts_at, zone = context.start_of(given.when, zone)
        if starts_at < now and not actor.is_staff:
            raise Invalid("The start lies in the past", code="starts_in_past")
        return fields | wished(starts_at, known.get("duration"), zone)
    if given.duration is not None and "startsAt" in session:
        return fields | wished(session["startsAt"], given.duration, session["timezone"])
    return fields


def wished(starts_at: datetime, duration: int | None, zone: str) -> Document:
    """A time as stored; while the length is unknown, without its end."""
    fields: Document = wall_fields(starts_at, duration or 1, zone)
    if duration is None:
        del fields["endsAt"], fields["endTime"]
    return fields


def _currency(expert: Expert, default: str) -> str:
    """In what this expert is paid, where it is one currency."""
    offered = {each.currency for each in expert.session_types}
    return offered.pop() if len(offered) == 1 else default


def check_texts(asked: Asked) -> None:
    for name, value in (
        ("notes", asked.notes),
        ("location", asked.location),
        ("source", asked.source),
        ("referralSource", asked.referral_source),
    ):
        if value is not None:
            rules.text(value, name)


def about(asked: Asked) -> Document:
    about = {
        "serviceId": asked.service_id,
        "location": asked.location,
        "notes": asked.notes,
        "source": asked.source,
        "referralSource": asked.referral_source,
    }
    return {name: value for name, value in about.items() if value is not None}
