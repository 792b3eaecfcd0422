"""The laws of SPEC 3, read straight from the raw collections: nothing of the library's rules, sums or doctor is used.

``broken_laws`` names what is wrong. Some of it must hold at any moment, whatever has died or sleeps; the rest once
every command has ended and the doctor has been (``settled``).
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import combinations
from typing import Any

from bson import Decimal128

from confiido_booking import Confiido
from tests.builders import an_admin
from tests.laws.seats import seats_at_any_moment, seats_at_rest

Raw = Mapping[str, Any]

EVENT_STATUS = {
    "requested": "draft",
    "quoted": "draft",
    "draft": "draft",
    "pending": "scheduled",
    "confirmed": "scheduled",
    "completed": "completed",
    "no-show": "completed",
    "cancelled": "canceled",
}
STEPS = {
    ("requested", "quoted"),
    ("requested", "confirmed"),
    ("requested", "cancelled"),
    ("quoted", "pending"),
    ("quoted", "confirmed"),
    ("quoted", "cancelled"),
    ("draft", "pending"),
    ("draft", "confirmed"),
    ("draft", "cancelled"),
    ("pending", "confirmed"),
    ("pending", "cancelled"),
    ("confirmed", "completed"),
    ("confirmed", "no-show"),
    ("confirmed", "cancelled"),
    ("completed", "confirmed"),
    ("no-show", "confirmed"),
}
FIRST = {"requested", "quoted", "draft", "pending", "confirmed"}
UNPLACED = {"requested", "quoted", "draft"}


async def check_laws(confiido: Confiido, *, settled: bool = True) -> None:
    broken = await broken_laws(confiido, settled=settled)

    assert not broken, broken


async def broken_laws(confiido: Confiido, *, settled: bool = True) -> list[str]:
    """What is wrong in the whole database, one sentence each."""
    names = ("bookings", "calendars", "service_sessions", "booking_archive", "events")
    found = await asyncio.gather(*(confiido.store.collection(name).find().to_list() for name in names))
    raw = dict(zip(names, found, strict=True))
    now = confiido.clock()
    broken = [*_at_any_moment(raw, now), *seats_at_any_moment(raw, now)]
    if settled:
        broken += [*_at_rest(raw, now), *seats_at_rest(raw, now)]
        page = await confiido.bookings.list(actor=an_admin(), limit=1)
        sessions = sum(len(booking["sessions"]) for booking in raw["bookings"])
        archived = _archived(raw)
        if page.total != sessions + len(archived):
            broken.append(f"lists count {page.total} sessions, there are {sessions} and {len(archived)} archived")
        await confiido.bookings.stats(actor=an_admin())
    return broken


def _archived(raw: Mapping[str, list[Any]]) -> list[Any]:
    """Archived copies whose sessions have left their booking; before that the booking's own counts."""
    current = {session["sessionId"] for booking in raw["bookings"] for session in booking["sessions"]}
    return [copy for copy in raw["booking_archive"] if copy["_id"] not in current]


def _on_the_way(raw: Mapping[str, list[Any]]) -> dict[Any, Any]:
    """Clients whose merge is under way: whose their history is by now; nobody's before the heir has it."""
    arrived = {key: booking["clientId"] for booking in raw["bookings"] for key in booking.get("mergedFrom", [])}
    leaving = [booking for booking in raw["bookings"] if "leaving" in booking]
    return {booking["clientId"]: arrived.get(booking["leaving"]["key"]) for booking in leaving}


def _events(raw: Mapping[str, list[Any]]) -> Iterator[str]:
    """MONEY, Events: each change of a session is told once, by the write that did it; at most 100 events wait."""
    told: dict[Any, Counter[tuple[int, str]]] = defaultdict(Counter)
    waiting = [event for booking in raw["bookings"] for event in booking.get("outbox", [])]
    stored = {event["_id"] for event in raw["events"]}
    for event in [*raw["events"], *(event for event in waiting if event["id"] not in stored)]:
        if "version" in event["data"]:
            told[event["sessionId"]][event["data"]["version"], event["type"]] += 1
    for booking in raw["bookings"]:
        if len(booking.get("outbox", [])) > 100:
            yield f"{len(booking['outbox'])} events wait in {booking['_id']}"
        if "mergedFrom" in booking:
            continue
        for session in booking["sessions"]:
            versions = {version for version, _ in told[session["sessionId"]]}
            first = min(versions, default=1) if "legacy" in session else 1  # what was imported was never told
            if versions and versions != set(range(first, session["version"] + 1)):
                yield f"{_name(session)} is at version {session['version']}, told were {sorted(versions)}"
    for session_id, counts in told.items():
        for (version, type_), count in counts.items():
            if count > 1:
                yield f"{type_} of {session_id} at version {version} was told {count} times"


def _at_any_moment(raw: Mapping[str, list[Any]], now: datetime) -> Iterator[str]:
    yield from _events(raw)
    for client, count in Counter(booking["clientId"] for booking in raw["bookings"]).items():
        if count > 1:
            yield f"L1 {count} bookings of the client {client}"
    archived = defaultdict(list)
    on_the_way = _on_the_way(raw)
    for copy in _archived(raw):
        archived[on_the_way.get(copy["clientId"], copy["clientId"])].append(copy["session"])
    for booking in raw["bookings"]:
        everything = [*booking["sessions"], *archived[booking["clientId"]]]
        yield from _sums(booking, everything)
        for session in everything:
            yield from _life(session)
        for key, count in Counter(s["requestKey"] for s in everything if "requestKey" in s).items():
            if count > 1:
                yield f"L9 {count} sessions of the key {key}"
        for one, other in combinations([s for s in booking["sessions"] if _is_active(s, now)], 2):
            clash = one["startsAt"] < other["endsAt"] and other["startsAt"] < one["endsAt"]
            if clash and not one.get("conflict") and not other.get("conflict"):
                yield f"L4 a client's sessions {_name(one)} and {_name(other)} overlap"
        for session in booking["sessions"]:
            if _is_active(session, now) and session["claimId"] in booking["abandonedClaims"]:
                yield f"{_name(session)} stands on an abandoned claim"
    sessions = [s for booking in raw["bookings"] for s in booking["sessions"] if not s.get("seat")]
    for one, other in combinations([s for s in sessions if _is_active(s, now) and s["endsAt"] > now], 2):
        if one["expertId"] == other["expertId"] and _meet(_minutes(one), _minutes(other)):
            yield f"L3 an expert's sessions {_name(one)} and {_name(other)} overlap"
    finished = {s["serviceSessionId"] for s in sessions if s["status"] in ("completed", "no-show")}
    finished |= {copy["session"]["serviceSessionId"] for copy in raw["booking_archive"]}
    live = [e for e in raw["service_sessions"] if e.get("status") in ("scheduled", "in_progress")]
    events = [e for e in live if e["visibility"] == "public" or e["_id"] not in finished]
    for one, other in combinations([event for event in events if event["endsAt"] > now], 2):
        if (
            one["expertId"] == other["expertId"]
            and one["startsAt"] < other["endsAt"] > other["startsAt"] < one["endsAt"]
        ):
            yield f"L3 the service sessions {one['_id']} and {other['_id']} overlap"
    for event in raw["service_sessions"]:
        if event["visibility"] == "seat":
            continue
        if not event["currentParticipants"] == len(event["seats"]) <= event["maxParticipants"]:
            yield f"L5 {event['_id']} counts {event['currentParticipants']} of {len(event['seats'])} seats"


def _sums(booking: Raw, everything: Iterable[Raw]) -> Iterator[str]:
    """L2, added up by hand from the sessions and the archive's own copies."""
    sums: dict[str, Counter[str]] = defaultdict(Counter)
    count = 0
    for session in everything:
        count += 1
        mine = sums[session["currency"]]
        price, paid, refunded = (_number(session[name]) for name in ("price", "paidAmount", "refundAmount"))
        paid_for = session["status"] == "draft" and session["paymentStatus"] in ("paid", "partially_refunded")
        if paid_for or session["status"] in ("pending", "confirmed", "completed", "no-show"):
            mine["booked"] += price
            mine["outstanding"] += price - paid + refunded
        if session["status"] == "cancelled":
            due = _number(session["refundDue"]) if "refundDue" in session else paid
            mine["refundable"] += max(Decimal(0), due - refunded)
        mine["paid"] += paid
        mine["refunded"] += refunded
    names = ("booked", "paid", "refunded", "outstanding", "refundable")
    stored = {code: {name: _number(of_code[name]) for name in names} for code, of_code in booking["totals"].items()}
    expected = {code: {name: Decimal(mine[name]) for name in names} for code, mine in sums.items()}
    if stored != expected:
        yield f"L2 totals are {stored}, not {expected}"
    if booking["totalSessions"] != count:
        yield f"L2 totalSessions is {booking['totalSessions']}, not {count}"
    spent = expected.get(booking.get("currency") or "", {}).get("booked", Decimal(0))
    if _number(booking["totalSpent"]) != spent:
        yield f"L2 totalSpent is {booking['totalSpent']}, not {spent}"


def _life(session: Raw) -> Iterator[str]:
    """L6: the history is one unbroken walk along SPEC 4, and ends in the status."""
    status = session["history"][0]["to"]
    if status not in FIRST and session["history"][0]["action"] != "import":
        yield f"L6 {_name(session)} began {status}"
    for entry in session["history"][1:]:
        if entry["from"] != status:
            yield f"L6 {_name(session)} was {status}, its history goes on from {entry['from']}"
        after = entry.get("to", entry["from"])
        revived = entry["action"] == "revive" and (entry["from"], after) == ("cancelled", "confirmed")
        if after != entry["from"] and not revived and (entry["from"], after) not in STEPS:
            yield f"L6 {_name(session)} went from {entry['from']} to {after}"
        if (
            (status, after) == ("pending", "confirmed")
            and "timeoutAt" in session
            and entry["at"] >= session["timeoutAt"]
        ):
            yield f"L6 {_name(session)} was confirmed after its hold had lapsed"
        status = after
    if status != session["status"]:
        yield f"L6 {_name(session)} is {session['status']}, its history ends {status}"
    if session["version"] != len(session["history"]) and len(session["history"]) < 50:
        yield f"L6 {_name(session)} has version {session['version']} after {len(session['history'])} commands"


def _at_rest(raw: Mapping[str, list[Any]], now: datetime) -> Iterator[str]:
    """L3 and L8: session, claim and service session agree, and nothing is left of what was given up."""
    events = {event["_id"]: event for event in raw["service_sessions"] if event["visibility"] == "private"}
    claims = {
        claim["claimId"]: (calendar["_id"], claim)
        for calendar in raw["calendars"]
        for claim in calendar["busy"]
        if claim["owner"] == "session"
    }
    standing, known = set(), {copy["session"]["serviceSessionId"] for copy in _archived(raw)}
    for booking in raw["bookings"]:
        for session in booking["sessions"]:
            if session.get("seat"):
                continue
            known.add(session["serviceSessionId"])
            if session["status"] in UNPLACED and "claimId" in session:
                yield f"L3 {_name(session)} has a claim"
            elif session["status"] != "cancelled" and session["status"] not in UNPLACED:
                standing.add(session["claimId"])
            if session["status"] == "pending" and not _is_active(session, now):
                yield f"L8 {_name(session)} is a lapsed hold that was left"
            if _is_active(session, now) and session["endsAt"] > now:
                expert, claim = claims.get(session["claimId"], (None, None))
                if claim is None or expert != session["expertId"]:
                    yield f"L3 {_name(session)} has no claim"
                elif (claim["from"], claim["until"]) != _minutes(session):
                    yield f"L3 {_name(session)} has a claim on other minutes"
            event = events.get(session["serviceSessionId"])
            if event is None:
                yield f"L3 {_name(session)} has no service session"
            elif event["status"] != EVENT_STATUS[session["status"]]:
                yield f"L3 {_name(session)} has a service session that is {event['status']}"
            elif any(event.get(name) != session.get(name) for name in ("startsAt", "endsAt", "expertId")):
                yield f"L3 {_name(session)} has a service session at another time"
            elif event["listing"]["status"] != session["status"] or event["rev"] > session["version"]:
                yield f"{_name(session)} is listed as {event['listing']['status']} in version {event['rev']}"
            elif event["status"] == "scheduled" and event["seats"][0]["claimId"] != session["claimId"]:
                yield f"L3 {_name(session)} has another claim in its service session"
    for copy in (copy for copy in _archived(raw) if not copy["session"].get("seat")):
        event, session = events.get(copy["session"]["serviceSessionId"]), copy["session"]
        if event is None or event["status"] != EVENT_STATUS[session["status"]]:
            yield f"L3 {_name(session)} is archived, its service session says otherwise"
    for claim_id, (_, claim) in claims.items():
        if claim_id not in standing and claim["until"] > now:
            yield f"L8 nothing stands on the claim {claim_id} of {claim['from']:%d %H:%M}"
    for event in events.values():
        if event["_id"] not in known and event["status"] != "canceled":
            yield f"L8 the service session {event['_id']} is {event['status']} without a session"
    for calendar in raw["calendars"]:
        for one, other in combinations(calendar["busy"], 2):
            if _meet((one["from"], one["until"]), (other["from"], other["until"])):
                yield f"L3 the claims {one['claimId']} and {other['claimId']} overlap"


def _is_active(session: Raw, now: datetime) -> bool:
    if session["status"] == "pending":
        return "timeoutAt" not in session or session["timeoutAt"] > now
    return bool(session["status"] == "confirmed")


def _minutes(session: Raw) -> tuple[datetime, datetime]:
    policy = session["policy"]
    before, after = (timedelta(minutes=policy[name]) for name in ("bufferBefore", "bufferAfter"))
    return session["startsAt"] - before, session["endsAt"] + after


def _meet(one: tuple[datetime, datetime], other: tuple[datetime, datetime]) -> bool:
    return one[0] < other[1] and other[0] < one[1]


def _number(value: Decimal128) -> Decimal:
    return value.to_decimal()


def _name(session: Raw) -> str:
    time = f"{session['startsAt']:%d %H:%M}" if "startsAt" in session else "no time"
    return f"session {str(session['sessionId'])[-4:]} ({session['status']}, {time})"
