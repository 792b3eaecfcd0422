"""What several sessions share: the event they have seats in, and the order that paid for them.

Events are written and take their experts' minutes before any client is, so that reruns agree on who has them: of an
event and a private session at one time the event stands. Each client's seats and orders come with the client.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from bson import Decimal128, ObjectId

from confiido_booking.database.store import Document, Store
from confiido_booking.migration.intake import Reading
from confiido_booking.migration.options import derived_claim_id, derived_id, derived_reference
from confiido_booking.migration.scratch import decoded

_SHARED = ("workshop", "course_session")
_STATUS = {
    "cancelled": "canceled",
    "inprogress": "in_progress",
    **{status: status for status in ("scheduled", "in_progress", "completed", "canceled", "draft")},
}
_LIVE = ("scheduled", "in_progress")


def is_shared(event: Mapping[str, Any]) -> bool:
    """A workshop or a class of a course, or anything public; a private one is its session's alone."""
    return event.get("eventType") in _SHARED or event.get("eventVisibility") == "public"


def event_of(session: Document, event: Mapping[str, Any], run_id: str) -> Document:
    """The event a session has its seat in, as ``service_sessions`` keeps it, but for its seats."""
    event_id: ObjectId = derived_id("event", event["eventId"])
    said = str(event.get("eventStatus") or "scheduled").casefold().replace("-", "_")
    return {
        "_id": event_id,
        **{name: session[name] for name in ("expertId", "title", "startsAt", "endsAt", "timezone") if name in session},
        "sessionType": event.get("eventType") or "workshop",
        "visibility": "public",
        "maxParticipants": int(event.get("eventMax") or 1),
        "status": _STATUS.get(said, "scheduled"),
        **({"sequenceNumber": event["sequence"]} if "sequence" in event else {}),
        "claimId": derived_claim_id(event_id),
        "history": [],
        "legacy": {"runId": run_id},
    }


def seat_of(session: Document, client_id: ObjectId) -> Document | None:
    """The place a session takes, if it takes one."""
    if session["status"] not in ("pending", "confirmed", "completed", "no-show"):
        return None
    return {"claimId": session["claimId"], "clientId": client_id, "sessionId": session["sessionId"]}


def order_of(order_id: ObjectId, client_id: ObjectId, sessions: Sequence[Document], run_id: str) -> Document:
    """One purchase: its sums are those of its sessions, each with its exact share (SPEC 9)."""
    sums = {
        name: sum((session[field].to_decimal() for session in sessions), Decimal(0))
        for name, field in (("price", "price"), ("paid", "paidAmount"), ("refunded", "refundAmount"))
    }
    return {
        "_id": order_id,
        "reference": derived_reference(order_id).replace("CB-", "CO-"),
        "status": _order_status(sessions, sums),
        "clientId": client_id,
        **{name: Decimal128(amount) for name, amount in sums.items()},
        "currency": sessions[0]["currency"],
        "sessionIds": [session["sessionId"] for session in sessions],
        "createdAt": min(session["createdTime"] for session in sessions),
        "updatedAt": max(session["updatedTime"] for session in sessions),
        "legacy": {"runId": run_id},
    }


def _order_status(sessions: Sequence[Document], sums: Mapping[str, Decimal]) -> str:
    cancelled = [session["status"] == "cancelled" for session in sessions]
    if all(cancelled):
        return "refunded" if 0 < sums["paid"] <= sums["refunded"] else "cancelled"
    if any(session["status"] == "pending" and session["paymentStatus"] == "pending" for session in sessions):
        return "pending_payment"
    return "partly_cancelled" if any(cancelled) else "paid"


async def write_events(store: Store, reading: Reading, run_id: str) -> list[ObjectId]:
    """Every event that a session of the source has a seat in, on its expert's minutes where it is to come.

    Returns those whose minutes somebody has: they are kept, marked, for a person to settle.
    """
    conflicts = []
    for _, event in _events(reading, run_id):
        fields = {name: value for name, value in event.items() if name != "_id"}
        fresh = {**fields, "rev": 1, "seats": [], "currentParticipants": 0}
        await store.update("event", "service_sessions", {"_id": event["_id"]}, {"$setOnInsert": fresh}, upsert=True)
        if not await _holds(store, event, reading.options.as_of):
            marked = {"_id": event["_id"], "conflict": {"$ne": True}}
            await store.update("mark event", "service_sessions", marked, {"$set": {"conflict": True}})
            conflicts.append(event["_id"])
    return conflicts


def events_to_come(reading: Reading) -> Iterator[tuple[int, Document]]:
    """Those that take their expert's minutes, in the order in which they do; each with its first session's row."""
    return ((seq, event) for seq, event in _events(reading, "") if _takes_minutes(event, reading.options.as_of))


def _events(reading: Reading, run_id: str) -> Iterator[tuple[int, Document]]:
    """Each once, in the order of the source, with the row it was first seen in."""
    seen: set[ObjectId] = set()
    some = any("eventId" in table.columns for table in reading.profile.tables)
    which = "lost = 0" if some else "era = 'exported'"
    for seq, facts, doc in reading.scratch.all(f"SELECT seq, facts, doc FROM sessions WHERE {which} ORDER BY seq"):  # noqa: S608
        event = _event(decoded(facts), doc, run_id)
        if event is not None and event["_id"] not in seen:
            seen.add(event["_id"])
            yield seq, event


def _event(known: Document, doc: bytes, run_id: str) -> Document | None:
    if "head" in known:
        kept: Document | None = known["head"].get("event")
        return kept
    if "event" not in known or not is_shared(known["event"]):
        return None
    return event_of(decoded(doc), known["event"], run_id)


def _takes_minutes(event: Document, as_of: datetime) -> bool:
    return "expertId" in event and event["status"] in _LIVE and bool(event.get("endsAt", as_of) > as_of)


async def _holds(store: Store, event: Document, as_of: datetime) -> bool:
    """PROTOCOL's WORKSHOP 1, for an event that is there: its claim, which its ``claimId`` names."""
    if not _takes_minutes(event, as_of):
        return True
    calendar, minutes = {"_id": event["expertId"]}, (event["startsAt"], event["endsAt"])
    entry = {
        "claimId": event["claimId"],
        "owner": "event",
        "from": minutes[0],
        "until": minutes[1],
        "serviceSessionId": event["_id"],
        "claimedAt": as_of,
    }
    await store.update("make calendar", "calendars", calendar, {"$setOnInsert": {"busy": []}}, upsert=True)
    overlap = {"from": {"$lt": minutes[1]}, "until": {"$gt": minutes[0]}}
    free = {**calendar, "busy": {"$not": {"$elemMatch": overlap}}}
    if await store.update("claim", "calendars", free, {"$push": {"busy": entry}}):
        return True
    own = {**calendar, "busy.claimId": event["claimId"]}
    return await store.find_one("read claim", "calendars", own, {"_id": 1}) is not None


async def take_seats(store: Store, seats: Iterable[tuple[ObjectId, Document | None]]) -> None:
    """Each its own place, once (L5)."""
    for event_id, seat in seats:
        if seat is None:
            continue
        guard = {"_id": event_id, "seats.sessionId": {"$ne": seat["sessionId"]}}
        taken = {"$concatArrays": ["$seats", [{"$literal": seat}]]}
        stages: list[Document] = [{"$set": {"seats": taken}}, {"$set": {"currentParticipants": {"$size": "$seats"}}}]
        await store.update("seat", "service_sessions", guard, stages)


async def change_seat(store: Store, before: Document, session: Document, client_id: ObjectId) -> None:
    """A session was replaced: its seat gets its new claim, goes to another event, or is given back (L5)."""
    seat = seat_of(session, client_id) if session.get("seat") else None
    wanted = session.get("serviceSessionId") if seat else None
    if before.get("seat") and before["serviceSessionId"] != wanted:
        await _seat_anew(store, before["serviceSessionId"], session["sessionId"], None)
    if wanted is not None:
        await _seat_anew(store, wanted, session["sessionId"], seat)


async def _seat_anew(store: Store, event_id: ObjectId, session_id: ObjectId, seat: Document | None) -> None:
    of_others = {"$ne": ["$$seat.sessionId", {"$literal": session_id}]}
    others = {"$filter": {"input": "$seats", "as": "seat", "cond": of_others}}
    seats = {"$concatArrays": [others, [{"$literal": seat}]]} if seat else others
    stages: list[Document] = [{"$set": {"seats": seats}}, {"$set": {"currentParticipants": {"$size": "$seats"}}}]
    await store.update("change seat", "service_sessions", {"_id": event_id}, stages)


async def release_events(store: Store, event_ids: Sequence[ObjectId]) -> None:
    """The minutes of events that are gone."""
    gone = {"owner": "event", "serviceSessionId": {"$in": list(event_ids)}}
    held: Document = {"busy": {"$elemMatch": gone}}
    await store.run(
        "release events", lambda: store.collection("calendars").update_many(held, {"$pull": {"busy": gone}})
    )
