"""Claims on an expert's minutes and the service session beside a private session (PROTOCOL.md).

A claim lies in the expert's calendar before the session exists and after it has gone; whoever meets one that
nothing stands on heals it (``bookings/healing.py``). ``claimId`` is random and never used again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

from bson import ObjectId
from pymongo import UpdateOne

from confiido_booking.bookings import totals
from confiido_booking.bookings.statuses import SERVICE_SESSION_STATUS
from confiido_booking.calendar import seats
from confiido_booking.database.store import Document, Duplicate, Store
from confiido_booking.times import MAX_DURATION

CLOCK_SLACK = timedelta(minutes=10)  # a claimer whose clock is so far ahead still drops nothing that lives
_LONGEST = timedelta(minutes=MAX_DURATION)
_WIDEST_BUFFER = timedelta(days=1)
CANCELED_REV = 2**31 - 1  # the rev of a fence: nothing that sleeps can write over it


class Minutes(Protocol):
    """Minutes of an expert that a service session wants, buffers included."""

    @property
    def expert_id(self) -> ObjectId: ...

    @property
    def from_(self) -> datetime: ...

    @property
    def until(self) -> datetime: ...

    @property
    def service_session_id(self) -> ObjectId: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """``from_``…``until``: the minutes taken, the expert's buffers included, UTC."""

    expert_id: ObjectId
    from_: datetime
    until: datetime
    client_id: ObjectId
    session_id: ObjectId
    service_session_id: ObjectId
    claimed_at: datetime
    request_key: str | None = None
    id: ObjectId

    def entry(self) -> Document:
        entry = {
            "claimId": self.id,
            "owner": "session",
            "from": self.from_,
            "until": self.until,
            "clientId": self.client_id,
            "sessionId": self.session_id,
            "serviceSessionId": self.service_session_id,
            "claimedAt": self.claimed_at,
        }
        return entry | ({"requestKey": self.request_key} if self.request_key else {})


async def claim(store: Store, wanted: Claim, *, ignoring: ObjectId | None = None) -> bool:
    """Take the minutes if they are free; the guard of L3. Drops what has ended in the same write.

    ``ignoring`` is the claim of the session that is being moved. A repeat after a lost answer refuses itself: the
    caller finds its own claim among :func:`in_the_way`.
    """
    return await store.update("claim", "calendars", *_claiming(wanted, ignoring))


async def claim_each(store: Store, wanted: Sequence[Claim]) -> set[ObjectId]:
    """Take the minutes of many, each under the guard of :func:`claim`, in two commands; the ids of those that hold.

    A claim that was there already holds: so a repeat agrees with the first.
    """
    await store.update_each("claim", "calendars", [UpdateOne(*_claiming(claim)) for claim in wanted])
    experts = list({claim.expert_id for claim in wanted})
    found = await store.find("read claims", "calendars", {"_id": {"$in": experts}}, {"busy.claimId": 1})
    return {busy["claimId"] for calendar in found for busy in calendar["busy"]} & {claim.id for claim in wanted}


def _claiming(wanted: Claim, ignoring: ObjectId | None = None) -> tuple[Document, list[Document]]:
    """The guard and the write of a claim."""
    overlap: dict[str, Any] = {"from": {"$lt": wanted.until}, "until": {"$gt": wanted.from_}}
    if ignoring is not None:
        overlap["claimId"] = {"$ne": ignoring}
    entries = [still_needed(wanted.claimed_at), [{"$literal": wanted.entry()}]]
    return (
        {"_id": wanted.expert_id, "busy": {"$not": {"$elemMatch": overlap}}},
        [{"$set": {"busy": {"$concatArrays": entries}}}],
    )


def still_needed(now: datetime) -> dict[str, Any]:
    """As an expression: the entries of a calendar without those that ended long ago."""
    long_ago = {"$literal": now - CLOCK_SLACK}
    is_needed = {"$or": [{"$gt": ["$$b.until", long_ago]}, {"$gt": ["$$b.claimedAt", long_ago]}]}
    return {"$filter": {"input": "$busy", "as": "b", "cond": is_needed}}


async def in_the_way(store: Store, wanted: Minutes, *, ignoring: ObjectId | None = None) -> list[Document]:
    """The entries of the calendar that overlap these minutes."""
    calendar = await store.find_one("read calendar", "calendars", {"_id": wanted.expert_id}, {"busy": 1})
    return [
        busy
        for busy in (calendar or {}).get("busy", [])
        if busy["from"] < wanted.until and busy["until"] > wanted.from_ and busy["claimId"] != ignoring
    ]


async def held_in_the_past(store: Store, wanted: Minutes) -> bool:
    """L3 where the calendar has forgotten: whether another service session of the expert had these past minutes.

    Asked after the claim: what came at the same time is still in the calendar, what is older is found here.
    """
    reach = _LONGEST + 2 * _WIDEST_BUFFER
    held = await store.find(
        "read past",
        "service_sessions",
        {
            "expertId": wanted.expert_id,
            "startsAt": {"$lt": wanted.until + _WIDEST_BUFFER, "$gt": wanted.from_ - reach},
            "status": {"$in": ["scheduled", "in_progress", "completed"]},
            "_id": {"$ne": wanted.service_session_id},
        },
        {"startsAt": 1, "endsAt": 1, "bufferBefore": 1, "bufferAfter": 1},
    )
    return any(
        event["startsAt"] - timedelta(minutes=event.get("bufferBefore", 0)) < wanted.until
        and event["endsAt"] + timedelta(minutes=event.get("bufferAfter", 0)) > wanted.from_
        for event in held
    )


async def release(store: Store, expert_id: ObjectId, claim_id: ObjectId) -> None:
    await store.update("release", "calendars", {"_id": expert_id}, {"$pull": {"busy": {"claimId": claim_id}}})


async def release_each(store: Store, held: Mapping[ObjectId, Sequence[ObjectId]]) -> None:
    """The same for many: the claims of each expert."""
    writes = [
        UpdateOne({"_id": expert_id}, {"$pull": {"busy": {"claimId": {"$in": list(claim_ids)}}}})
        for expert_id, claim_ids in held.items()
    ]
    if writes:
        await store.update_each("release", "calendars", writes)


def entry_id(session: Mapping[str, Any]) -> ObjectId:
    """Where lists find a session: in its private service session, or, where it shares a public one, in an entry of its
    own (docs/decisions/0027)."""
    found: ObjectId = session["sessionId"] if session.get("seat") else session["serviceSessionId"]
    return found


def _is_refundable(session: Mapping[str, Any]) -> bool:
    if session["status"] != "cancelled":  # the sums of a session are not free, and an import asks of every one
        return False
    return bool(totals.contribution(totals.line(session))["refundable"])


def service_session(session: Mapping[str, Any], client_id: ObjectId) -> Document:
    """The private service session as its session says it should be: its time, its one seat, and what lists look for.

    Of a session that has a seat in a public one: its entry, which is no event and has no status and no seats.
    """
    listing = {
        "clientId": client_id,
        **{name: session[name] for name in _LISTED if name in session},
        **({"invoiced": True} if session.get("invoiceIds") else {}),
        **({"refundable": True} if _is_refundable(session) else {}),
    }
    if session.get("seat"):
        copied = {name: session[name] for name in _COPIED if name in session}
        return {"visibility": "seat", "eventId": session["serviceSessionId"], **copied, "listing": listing}
    state = SERVICE_SESSION_STATUS[session["status"]]
    taken = []
    if state in ("scheduled", "completed"):
        taken = [{"claimId": session["claimId"], "clientId": client_id, "sessionId": session["sessionId"]}]
    return {
        "sessionType": "individual",
        "visibility": "private",
        **{name: session[name] for name in _COPIED if name in session},
        **{name: minutes for name in _BUFFERS if (minutes := (session.get("policy") or {}).get(name))},
        "maxParticipants": 1,
        "currentParticipants": len(taken),
        "seats": taken,
        "status": state,
        "listing": listing,
    }


_BUFFERS = ("bufferBefore", "bufferAfter")
_OF_A_DRAFT = ("sessionType", "maxParticipants", "currentParticipants", "seats", "status")  # that got a seat since
_COPIED = ("expertId", "serviceId", "title", "startsAt", "endsAt", "timezone")
_LISTED = (
    "sessionId",
    "status",
    "paymentStatus",
    "sessionType",
    "price",
    "paidAmount",
    "refundAmount",
    "refundDue",
    "currency",
    "timeoutAt",
    "source",
    "createdTime",
    "conflict",
    "orderId",
    "serviceType",
)


def is_projected(session: Mapping[str, Any]) -> bool:
    """Whether it has a service session to be written: an imported one may be scheduled without a claim."""
    without_a_seat = SERVICE_SESSION_STATUS[session["status"]] in ("draft", "canceled")
    return "serviceSessionId" in session and ("claimId" in session or without_a_seat)


async def insert_service_session(store: Store, session: Mapping[str, Any], client_id: ObjectId) -> None:
    """BOOK 2a: rev 1; that it is there already is fine."""
    document = {"_id": entry_id(session), "rev": 1, **service_session(session, client_id)}
    try:
        await store.insert("insert service session", "service_sessions", document)
    except Duplicate:
        return


async def project(store: Store, session: Mapping[str, Any], client_id: ObjectId) -> None:
    """PROTOCOL's S(x, n): write the service session of ``session`` unless somebody newer has."""
    written = {**service_session(session, client_id), "rev": session["version"]}
    gone: Document = {"$unset": dict.fromkeys(_OF_A_DRAFT, "")} if session.get("seat") else {}
    await _write(store, entry_id(session), session["version"], {"$set": written, **gone})
    if session.get("seat"):
        await seats.settle(store, session)


async def rewrite(store: Store, session: Mapping[str, Any], client_id: ObjectId) -> None:
    """S of the present state; where the same version wrote something else, over it."""
    await project(store, session, client_id)
    same = {"_id": entry_id(session), "rev": session["version"]}
    await store.update(
        "rewrite service session", "service_sessions", same, {"$set": service_session(session, client_id)}
    )


async def bury(store: Store, service_session_id: ObjectId, expert_id: ObjectId) -> None:
    """S(canceled, high rev) where no session came to be: whoever still sleeps cannot write over it, and no list
    finds it."""
    buried = {
        "expertId": expert_id,
        "sessionType": "individual",
        "visibility": "private",
        "maxParticipants": 1,
        "currentParticipants": 0,
        "seats": [],
        "status": "canceled",
        "rev": CANCELED_REV,
    }
    await _write(store, service_session_id, CANCELED_REV, {"$set": buried, "$unset": {"listing": ""}})


async def _write(store: Store, service_session_id: ObjectId, rev: int, update: Mapping[str, Any]) -> None:
    older = {"_id": service_session_id, "rev": {"$lt": rev}}
    try:
        await store.update("project", "service_sessions", older, update, upsert=True)
    except Duplicate:  # it is there: as new as this, or an older one that came while this looked
        await store.update("project", "service_sessions", older, update)
