"""The places of a public service session (PROTOCOL, SEAT): claims like those on minutes, in the event's own document.

Every update of ``seats`` sets ``currentParticipants`` to the size of the array it produces (L5). A place that nothing
stands on any more is healed like a claim on minutes (``bookings/healing.py``).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from bson import ObjectId

from confiido_booking.database.store import Document, Store

Stages = list[dict[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A place to take, for a session that is to come. ``held_until``: how long it is held unpaid."""

    event_id: ObjectId
    claim_id: ObjectId
    client_id: ObjectId
    session_id: ObjectId
    claimed_at: datetime
    order_id: ObjectId | None = None
    held_until: datetime | None = None

    def entry(self) -> Document:
        return {
            "claimId": self.claim_id,
            "clientId": self.client_id,
            "sessionId": self.session_id,
            "claimedAt": self.claimed_at,
            **({"orderId": self.order_id} if self.order_id else {}),
            **({"heldUntil": self.held_until} if self.held_until else {}),
        }


def _seats(expression: Any, now: datetime) -> Stages:
    return [
        {"$set": {"seats": expression, "updatedAt": {"$literal": now}}},
        {"$set": {"currentParticipants": {"$size": "$seats"}}},
    ]


_SEATS = {"$ifNull": ["$seats", []]}


async def take(store: Store, place: Place, *, before_start: bool) -> Document | None:
    """Take a place if the event is scheduled, has room, and the client has none there; the guard of L5.

    ``before_start``: also only while the event has not started. Returns the event as it then is, without its seats.
    """
    guard: dict[str, Any] = {
        "_id": place.event_id,
        "visibility": "public",
        "status": "scheduled",
        "seats.clientId": {"$ne": place.client_id},
        "$expr": {"$lt": [{"$size": _SEATS}, "$maxParticipants"]},
    }
    if before_start:
        guard["startsAt"] = {"$gt": place.claimed_at}
    taken = {"$concatArrays": [_SEATS, [{"$literal": place.entry()}]]}
    return await store.find_and_update(
        "take seat", "service_sessions", guard, _seats(taken, place.claimed_at), projection={"seats": 0}
    )


async def release(store: Store, event_id: ObjectId, claim_id: ObjectId, now: datetime) -> None:
    """Give a place back. Needs no guard: a claim id is never used twice."""
    others = {"$filter": {"input": _SEATS, "as": "seat", "cond": {"$ne": ["$$seat.claimId", {"$literal": claim_id}]}}}
    standing = {"_id": event_id, "seats.claimId": claim_id}
    await store.update("release seat", "service_sessions", standing, _seats(others, now))


async def restore(store: Store, event_id: ObjectId, entry: Mapping[str, Any], now: datetime) -> bool:
    """Give a session that lost its place one again, where there is room (the doctor's)."""
    guard = {
        "_id": event_id,
        "seats.claimId": {"$ne": entry["claimId"]},
        "status": {"$in": ["scheduled", "in_progress"]},
        "$expr": {"$lt": [{"$size": _SEATS}, "$maxParticipants"]},
    }
    stages = _seats({"$concatArrays": [_SEATS, [{"$literal": dict(entry)}]]}, now)
    return await store.update("restore seat", "service_sessions", guard, stages)


async def recount(store: Store, event_id: ObjectId, now: datetime) -> None:
    """Write L5's number anew, from the seats that are there (the doctor's)."""
    await store.update("recount seats", "service_sessions", {"_id": event_id}, _seats(_SEATS, now))


async def settle(store: Store, session: Mapping[str, Any]) -> None:
    """What a session's state says of its seat: how long it is held, or that it is held no more.

    A hold only ever becomes longer, and then is gone for good: a late writer changes nothing.
    """
    if "timeoutAt" not in session:
        return
    if session["status"] == "pending":
        shorter = {"claimId": session["claimId"], "heldUntil": {"$lt": session["timeoutAt"]}}
        change = {"$set": {"seats.$.heldUntil": session["timeoutAt"]}}
    else:
        shorter = {"claimId": session["claimId"], "heldUntil": {"$exists": True}}
        change = {"$unset": {"seats.$.heldUntil": ""}}
    event = {"_id": session["serviceSessionId"], "seats": {"$elemMatch": shorter}}
    await store.update("settle seat", "service_sessions", event, change)


async def flag(store: Store, session: Mapping[str, Any]) -> None:
    """Whether the session of this seat clashes with another of its client, since the event moved."""
    clashes = bool(session.get("conflict"))
    other = {"claimId": session["claimId"], "conflict": {"$ne": True} if clashes else True}
    event = {"_id": session["serviceSessionId"], "seats": {"$elemMatch": other}}
    change = {"$set": {"seats.$.conflict": True}} if clashes else {"$unset": {"seats.$.conflict": ""}}
    await store.update("flag seat", "service_sessions", event, change)


def is_live(seat: Mapping[str, Any], now: datetime) -> bool:
    """Whether a reply counts it: a held seat only while its hold lives."""
    until = seat.get("heldUntil")
    return until is None or bool(until > now)


def live(event: Mapping[str, Any], now: datetime) -> list[Document]:
    """The seats a reply counts."""
    return [seat for seat in event.get("seats", []) if is_live(seat, now)]
