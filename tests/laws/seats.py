"""L3 to L5 of public service sessions and their seats, read straight from the raw collections like ``check.py``."""

from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

Raw = Mapping[str, Any]
LIVE = ("scheduled", "in_progress")
HOLDS_A_SEAT = ("pending", "confirmed", "completed", "no-show")


def seats_at_any_moment(raw: Mapping[str, list[Any]], now: datetime) -> Iterator[str]:
    """Nothing is sold twice, whatever the number of participants says."""
    events = {event["_id"]: event for event in raw["service_sessions"] if event["visibility"] == "public"}
    active = [session for session in _seated(raw) if _is_active(session, now)]
    for event_id, sold in Counter(session["serviceSessionId"] for session in active).items():
        if sold > events[event_id]["maxParticipants"]:
            yield f"L5 {sold} active sessions in {events[event_id]['maxParticipants']} places of {event_id}"
    for event in events.values():
        for client, places in Counter(seat["clientId"] for seat in event["seats"]).items():
            if places > 1:
                yield f"L5 the client {client} has {places} places in {event['_id']}"


def seats_at_rest(raw: Mapping[str, list[Any]], now: datetime) -> Iterator[str]:
    """Session, seat, entry and event agree; an event stands on its minutes."""
    events = {event["_id"]: event for event in raw["service_sessions"] if event["visibility"] == "public"}
    entries = {entry["_id"]: entry for entry in raw["service_sessions"] if entry["visibility"] == "seat"}
    seats = {seat["claimId"]: event for event in events.values() for seat in event["seats"]}
    standing = {copy["session"]["claimId"]: copy["session"] for copy in raw["booking_archive"]}
    for session in _seated(raw):
        name = f"the seat's session {str(session['sessionId'])[-4:]} ({session['status']})"
        standing[session["claimId"]] = session
        yield from _entry(name, session, entries.get(session["sessionId"]))
        if session["status"] == "pending" and not _is_active(session, now):
            yield f"L8 {name} is a lapsed hold that was left"
        event = seats.get(session["claimId"])
        if session["status"] == "cancelled" and event is not None:
            yield f"L5 {name} has a seat still"
        if session["status"] in ("pending", "confirmed") and session["endsAt"] > now:
            if event is None:
                yield f"L5 {name} has no seat"
            elif event["status"] == "canceled":
                yield f"L3 {name} is in an event that is canceled"
            elif (event["startsAt"], event["endsAt"]) != (session["startsAt"], session["endsAt"]):
                yield f"L3 {name} is not at the time of its event"
    for claim_id, event in seats.items():
        found = standing.get(claim_id)
        if event["status"] == "canceled":
            yield f"L8 the canceled event {event['_id']} has a seat"
        elif found is None or found["status"] not in HOLDS_A_SEAT:
            yield f"L8 nothing stands on the seat {claim_id} of {event['_id']}"
    known = {session["sessionId"] for session in _seated(raw)} | {copy["_id"] for copy in raw["booking_archive"]}
    for entry in entries.values():
        if entry["_id"] not in known:
            yield f"L8 the entry {entry['_id']} has no session"
    yield from _minutes(raw, events, now)


def _entry(name: str, session: Raw, entry: Raw | None) -> Iterator[str]:
    if entry is None:
        yield f"{name} is in no list"
    elif entry["listing"]["status"] != session["status"] or entry["rev"] > session["version"]:
        yield f"{name} is listed as {entry['listing']['status']} in version {entry['rev']}"
    elif entry["startsAt"] != session["startsAt"]:
        yield f"{name} is listed at another time"


def _minutes(raw: Mapping[str, list[Any]], events: Mapping[Any, Raw], now: datetime) -> Iterator[str]:
    claims = {
        claim["claimId"]: (calendar["_id"], claim)
        for calendar in raw["calendars"]
        for claim in calendar["busy"]
        if claim["owner"] == "event"
    }
    for event in events.values():
        if event["status"] not in LIVE or event["endsAt"] <= now:
            continue
        expert, claim = claims.get(event["claimId"], (None, None))
        before, after = (timedelta(minutes=event[name]) for name in ("bufferBefore", "bufferAfter"))
        if claim is None or expert != event["expertId"]:
            yield f"L3 the event {event['_id']} has no claim"
        elif (claim["from"], claim["until"]) != (event["startsAt"] - before, event["endsAt"] + after):
            yield f"L3 the event {event['_id']} has a claim on other minutes"
    for claim_id, (_, claim) in claims.items():
        found = events.get(claim["serviceSessionId"])
        if claim["until"] > now and (found is None or found["status"] == "canceled" or found["claimId"] != claim_id):
            yield f"L8 no event stands on the claim {claim_id} of {claim['from']:%d %H:%M}"


def _seated(raw: Mapping[str, list[Any]]) -> list[Raw]:
    return [session for booking in raw["bookings"] for session in booking["sessions"] if session.get("seat")]


def _is_active(session: Raw, now: datetime) -> bool:
    if session["status"] == "pending":
        return "timeoutAt" not in session or session["timeoutAt"] > now
    return bool(session["status"] == "confirmed")
