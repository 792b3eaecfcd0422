"""The one place that builds the guarded update of a booking (DESIGN 3).

Each has a filter that carries the whole precondition, and a pipeline that changes one session, writes its history,
raises its version and recomputes the totals from the array it produces. What a caller wrote enters a pipeline only
as a ``$literal``: a note that says ``$price`` stays a note.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import uuid4

import bson
from bson import Binary, Decimal128, ObjectId
from bson.binary import UuidRepresentation

from confiido_booking.actors import Actor, Role
from confiido_booking.bookings import totals
from confiido_booking.bookings.models import CURRENT
from confiido_booking.bookings.rules import MAX_HISTORY, TRANSITIONS
from confiido_booking.bookings.statuses import ACTIVE, UNPLACED, SessionStatus
from confiido_booking.events import outbox, types
from confiido_booking.ids import new_reference

Expression = Any
Pipeline = list[dict[str, Any]]
Filter = dict[str, Any]

# Of a client's document: what no guard asks about fits between it and SPEC 11's 1 MiB.
MAX_BYTES = 1_000_000 - outbox.MOST * outbox.EVENT_BYTES
MOST_EVENTS = 2  # of a command on one session: itself, and the confirmation it brings
CLOSING_BYTES = 1_000  # kept free for each session, so that none is too large to be confirmed, ended or cancelled
_BYTES_PER_POSTING = 400  # more than one of a session's ledger weighs
_BYTES_PER_SESSION = 1_000  # more than a session weighs without what is of any length
ALL_THAT_WAS_PAID = {"$ifNull": ["$$s.paidAmount", {"$literal": Decimal128("0")}]}  # an expression
# Weighed one by one, because the embedded engine cannot take the $bsonSize of a document with a Decimal128 in it.
_OF_ANY_LENGTH = (
    "notes",
    "expertNotes",
    "internalNotes",
    "history",
    "rescheduleRequest",
    "rescheduleHistory",
    "customFields",
    "title",
    "location",
    "meetingLink",
    "cancellationReason",
    "policy",
    "requestKey",
    "expertEmail",
    "source",
    "referralSource",
    "paymentMethod",
)


def fresh_key() -> str:
    """The key of a command whose caller gave none: it still tells a lost answer from another's command."""
    return str(ObjectId())


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One command on a session: who does what, when and why. ``key`` marks its effect, so that a repeat finds it."""

    action: str
    actor: Actor
    now: datetime
    key: str = field(default_factory=fresh_key)
    reason: str | None = None
    if_version: int | None = None

    def entry(self, to: str | None, facts: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """What the history keeps of it; ``facts`` beside who, when and why."""
        entry: dict[str, Any] = {"at": self.now, "actor": self.actor.stamp(), "action": self.action, "key": self.key}
        entry |= facts or {}
        if to is not None:
            entry["to"] = to
        if self.reason:
            entry["reason"] = self.reason
        return entry


def owned(booking_id: ObjectId, actor: Actor) -> tuple[Filter, Filter]:
    """L10 as filters: of the document, and of the session in it."""
    document: Filter = {"_id": booking_id, **CURRENT}
    if actor.role is Role.CLIENT:
        document["clientId"] = actor.id
    return document, {"expertId": actor.own_expert_id} if actor.role is Role.EXPERT else {}


OPEN: Filter = {"mergedInto": {"$exists": False}}  # in a document that was merged into another nothing begins


def of_client(client_id: ObjectId) -> Filter:
    """The client's one document (L1), and none that an old system left."""
    return {"clientId": client_id, **CURRENT}


def on_session(
    booking_id: ObjectId,
    session_id: ObjectId,
    command: Command,
    extra: Mapping[str, Any] | None = None,
    *,
    placed: Mapping[str, Any] | None = None,
) -> Filter:
    """The filter of a command on one session: whose, in which status, which version, and not done before.

    A pending session counts only while its hold lives; a confirmed one may carry the deadline of the hold it once was.
    ``extra`` are further conditions on the session; ``placed`` those that it must meet where its time is more than a
    wish.
    """
    document, session = owned(booking_id, command.actor)
    document |= outbox.room_for_events(MOST_EVENTS)
    session |= {"sessionId": session_id, "history.key": {"$ne": command.key}, **(extra or {})}
    if command.if_version is not None:
        session["version"] = command.if_version
    if command.action == "patch":
        return document | {"sessions": {"$elemMatch": session}}
    sources = TRANSITIONS[command.action].sources_for(command.actor.role)
    if placed and (wished := sorted(sources & UNPLACED)):
        ways = [{**session, "status": {"$in": wished}}]
        sources, session = sources - UNPLACED, {**session, **placed}
    else:
        ways, session = [], {**session, **(placed or {})}
    if SessionStatus.PENDING in sources:
        hold = {} if command.action == "expire" else {"timeoutAt": {"$not": {"$lte": command.now}}}
        ways.append({**session, "status": SessionStatus.PENDING.value, **hold})
    if others := sorted(sources - {SessionStatus.PENDING}):
        ways.append({**session, "status": {"$in": others}})
    elements: list[Filter] = [{"sessions": {"$elemMatch": way}} for way in ways]
    return document | (elements[0] if len(elements) == 1 else {"$or": elements})


def overlapping(starts_at: datetime, ends_at: datetime, *, other_than: ObjectId | None = None) -> Filter:
    """L4: an active session in the way, lapsed holds included (PROTOCOL, BOOK 2b), conflicts of an import not."""
    overlap: Filter = {
        "status": {"$in": sorted(ACTIVE)},
        "startsAt": {"$lt": ends_at},
        "endsAt": {"$gt": starts_at},
        "conflict": {"$ne": True},
    }
    if other_than is not None:
        overlap["sessionId"] = {"$ne": other_than}
    return {"$elemMatch": overlap}


def room_for(new_bytes: int) -> Filter:
    """SPEC 11: the document stays under 1 MiB. The same as :func:`has_room`, as a filter."""
    sessions = {"$multiply": [{"$size": "$sessions"}, _BYTES_PER_SESSION + CLOSING_BYTES]}
    texts = {"$bsonSize": {name: f"$sessions.{name}" for name in _OF_ANY_LENGTH}}
    quotes, legacies = {"$sum": "$sessions.quoteBytes"}, {"$sum": "$sessions.legacy.bytes"}
    counted = {"$map": {"input": "$sessions", "as": "s", "in": {"$size": {"$ifNull": ["$$s.ledger", []]}}}}
    postings = {"$multiply": [{"$sum": counted}, _BYTES_PER_POSTING]}
    return {"$expr": {"$lt": [{"$add": [sessions, texts, quotes, legacies, postings, new_bytes]}, MAX_BYTES]}}


def has_room(document: Mapping[str, Any], new_bytes: int) -> bool:
    """Whether so much more may be written into a client's document."""
    sessions = document["sessions"]
    texts = {name: [session[name] for session in sessions if name in session] for name in _OF_ANY_LENGTH}
    fixed = len(sessions) * (_BYTES_PER_SESSION + CLOSING_BYTES)
    fixed += sum(len(session.get("ledger") or []) for session in sessions) * _BYTES_PER_POSTING
    fixed += sum(int(session.get("quoteBytes", 0)) for session in sessions)
    fixed += sum(int(session["legacy"].get("bytes", 0)) for session in sessions if "legacy" in session)
    return fixed + len(bson.encode(texts)) + new_bytes < MAX_BYTES


def weight(*parts: Any) -> int:
    """How many bytes these parts take in the store, or a little less."""
    return len(bson.encode({"parts": list(parts)}))


def change(
    session_id: ObjectId,
    command: Command,
    *,
    to: str | None = None,
    fields: Mapping[str, Any] | None = None,
    expressions: Mapping[str, Expression] | None = None,
    facts: Mapping[str, Any] | None = None,
) -> Pipeline:
    """Change one session. ``fields`` are values, None where there is to be none any more (SPEC 2: never null);
    ``expressions`` pipeline expressions over ``$$s``, the session; ``facts`` go into its history."""
    given: dict[str, Any] = {"updatedTime": command.now, **(fields or {})}
    literal = {name: value for name, value in given.items() if value is not None}
    if to is not None:
        literal["status"] = to
    moved = {"from": "$$s.status"} | ({"to": expressions["status"]} if expressions and "status" in expressions else {})
    entry = {"$mergeObjects": [{"$literal": command.entry(to, facts)}, moved]}
    history = {"$concatArrays": [{"$ifNull": ["$$s.history", []]}, [entry]]}
    changed = {
        "$mergeObjects": [
            _without(sorted(given.keys() - literal.keys())),
            {"$literal": literal},
            {
                "version": {"$add": [{"$ifNull": ["$$s.version", 0]}, 1]},
                "history": {"$slice": [history, -MAX_HISTORY]},
                **(expressions or {}),
            },
        ]
    }
    this = {"$eq": ["$$s.sessionId", {"$literal": session_id}]}
    sessions = {"$map": {"input": "$sessions", "as": "s", "in": {"$cond": [this, changed, "$$s"]}}}
    own = [{"$set": {"currency": _CURRENCY_OF_THE_FIRST}}] if "currency" in literal else []
    return [
        {"$set": {"sessions": sessions, **stamped(command.now)}},
        {"$set": recorded(session_id, command)},
        *own,
        *totals.stages(),
    ]


def _without(names: list[str]) -> Expression:
    """``$$s`` without these fields."""
    if not names:
        return "$$s"
    stays = {"$eq": [{"$in": ["$$f.k", names]}, False]}
    return {"$arrayToObject": {"$filter": {"input": {"$objectToArray": "$$s"}, "as": "f", "cond": stays}}}


# SPEC L2: a booking's currency is that of its first session, while that one is here to be asked.
_FIRST_CURRENCY = {"$ifNull": [{"$arrayElemAt": ["$sessions.currency", 0]}, "$currency"]}
_CURRENCY_OF_THE_FIRST = {"$cond": [{"$eq": ["$archived.sessions", 0]}, _FIRST_CURRENCY, "$currency"]}


def recorded(session_id: ObjectId, command: Command) -> dict[str, Expression]:
    """The command's event, for a ``$set`` stage after the one that changed the session and wrote its history.

    That the session is confirmed by another command than ``confirm`` is an event of its own.
    """
    this = {"$filter": {"input": "$sessions", "as": "o", "cond": {"$eq": ["$$o.sessionId", {"$literal": session_id}]}}}
    before = {"$arrayElemAt": ["$$s.history.from", -1]}
    data = {"bookingId": "$_id", "from": before, **{name: f"$$s.{name}" for name in TOLD}}

    def told(type_: str) -> Expression:
        known = outbox.event(type_, at=command.now, actor=command.actor, session_id=session_id)
        return {"$mergeObjects": [{"$literal": known}, {"clientId": "$clientId", "data": data}]}

    events: Expression = [told(types.of_action(command.action))]
    if command.action in types.MAY_CONFIRM:
        is_confirmed = {"$and": [{"$eq": ["$$s.status", "confirmed"]}, {"$ne": [before, "confirmed"]}]}
        events = {"$concatArrays": [events, {"$cond": [is_confirmed, [told(types.CONFIRMED)], []]}]}
    with_session = {"$let": {"vars": {"s": {"$arrayElemAt": [this, 0]}}, "in": events}}
    return outbox.appended_as(with_session, command.now)


TOLD = ("status", "paymentStatus", "version", "expertId", "startsAt", "endsAt")  # what an event says of its session


def push(new: Sequence[Mapping[str, Any]], client: Mapping[str, Any], command: Command) -> Pipeline:
    """Add sessions and what is newly known of the client. The first session gives the booking its currency."""
    sessions = {"$concatArrays": ["$sessions", [{"$literal": session} for session in new]]}
    known = {name: {"$literal": value} for name, value in client.items()}
    currency = {"$ifNull": ["$currency", {"$literal": new[0]["currency"]}]}
    return [
        {"$set": {"sessions": sessions, "currency": currency, **known, **stamped(command.now)}},
        *({"$set": recorded(session["sessionId"], command)} for session in new),
        *totals.stages(),
    ]


def stamp(now: datetime) -> dict[str, Any]:
    """What every write of a booking sets: a stale whole-document ``save()`` fails on the new revision."""
    return {"updatedAt": now, "revision_id": Binary.from_uuid(uuid4(), UuidRepresentation.STANDARD)}


def stamped(now: datetime) -> dict[str, Any]:
    """:func:`stamp` for a pipeline."""
    return {name: {"$literal": value} for name, value in stamp(now).items()}


def empty_booking(client_id: ObjectId, now: datetime) -> dict[str, Any]:
    """A client's document before its first session."""
    return {
        "clientId": client_id,
        "bookingReference": new_reference(),
        "sessions": [],
        "archived": {"sessions": 0, "sums": {}},
        "totalSessions": 0,
        "totalSpent": Decimal128("0"),
        "totals": {},
        "abandonedClaims": [],
        "createdAt": now,
        "updatedAt": now,
        "schemaVersion": 1,
    }
