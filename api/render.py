"""From the store's own documents to the wire: who may see what, and in which form (SPEC 2, 8, L10; FRONTEND 1).

Documents stay the mappings MongoDB gave: building models for fifty sessions to write them out again would cost more
than the command itself. Ids, instants and money are turned into JSON by the writer in ``envelope.py``.
"""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from bson import ObjectId
from pydantic import BaseModel

from confiido_booking.actors import Actor, Role
from confiido_booking.bookings import merging, rules, totals
from confiido_booking.database.documents import to_mongo
from confiido_booking.events import outbox

Raw = Mapping[str, Any]
Wire = dict[str, Any]

_NEVER = frozenset({"claimId", "eventRev", "requestKey", "ledger", "quoteBytes", "_position"})
_STAFF_ONLY = _NEVER | {"internalNotes", "legacy"}
_HIDDEN_FROM = {
    Role.CLIENT: _STAFF_ONLY | {"expertNotes"},
    Role.EXPERT: _STAFF_ONLY,
}
_MEETING = frozenset({"confirmed", "completed", "no-show"})  # a client gets the meeting link with the confirmation
_PROTOCOL = frozenset({"abandonedClaims", "revision_id", "late", "_lapsed", *outbox.FIELDS, *merging.FIELDS})
_DATES = frozenset({"startDate", "endDate", "date"})
_CLIENTS_SUMS = frozenset({"totalSessions", "totalSpent", "totals", "archived"})


def session(raw: Raw, *, actor: Actor, now: datetime) -> Wire:
    """One session as this actor may see it. A lapsed hold is shown as what it is: cancelled by the system."""
    hidden = _HIDDEN_FROM.get(actor.role, _NEVER)
    wire = {name: value for name, value in raw.items() if value is not None and name not in hidden}
    wire.setdefault("_id", raw["sessionId"])
    if isinstance(wire.get("scheduledDate"), datetime):  # of an old import it may be anything
        wire["scheduledDate"] = wire["scheduledDate"].date().isoformat()
    if "history" in wire:
        wire["history"] = [{name: value for name, value in entry.items() if name != "key"} for entry in wire["history"]]
    if actor.role is Role.CLIENT and rules.status_now(raw, now) not in _MEETING:
        wire.pop("meetingLink", None)
    if rules.is_lapsed(raw, now):
        wire |= {
            "status": "cancelled",
            "cancelledBy": "system",
            "cancellationTime": raw["timeoutAt"],
            "cancellationReason": rules.EXPIRED_REASON,
            "timeoutStatus": "expired",
        }
    return wire


def session_with_actions(raw: Raw, *, actor: Actor, now: datetime) -> Wire:
    """``data.session``: also what this actor could do to it now."""
    return {**session(raw, actor=actor, now=now), "allowedActions": rules.allowed_actions(raw, actor, now)}


def booking(raw: Raw, *, actor: Actor, now: datetime, minimal: bool = False) -> Wire:
    """``data.booking``: the client's document. An expert gets the own sessions in it, and none of the sums."""
    expert = actor.role is Role.EXPERT
    hidden = _PROTOCOL | _CLIENTS_SUMS if expert else _PROTOCOL
    wire = {name: value for name, value in raw.items() if value is not None and name not in hidden}
    if not expert:
        wire |= _sums_without_lapsed(raw, now)
    if minimal:
        wire.pop("sessions", None)
    else:
        wire["sessions"] = [
            session(item, actor=actor, now=now)
            for item in raw["sessions"]
            if not expert or item.get("expertId") == actor.own_expert_id
        ]
    return wire


def _sums_without_lapsed(raw: Raw, now: datetime) -> Wire:
    """SPEC L2: a reply counts a pending session only while its hold lives."""
    lapsed = [totals.line(item) for item in raw.get("_lapsed", raw["sessions"]) if rules.is_lapsed(item, now)]
    if not lapsed:
        return {}
    sums = totals.of((), raw.get("totals"))
    for line in lapsed:
        counted, gone = totals.contribution(line), totals.contribution(line._replace(status="cancelled"))
        for name in totals.SUMS:
            sums[line.currency][name] += gone[name] - counted[name]
    own: Mapping[str, Decimal] = sums.get(raw.get("currency", ""), {})
    return {"totals": sums, "totalSpent": own.get("booked", Decimal(0))}


def client(raw: Raw) -> Wire:
    """A populated ``clientId`` of the lists, from what the booking knows of its client."""
    return _without_none(
        {
            "_id": raw["clientId"],
            **_names(raw.get("clientName")),
            "email": raw.get("clientEmail"),
            "user_id": raw.get("clientUserId"),
        }
    )


def expert(profile: Raw) -> Wire:
    """A populated ``sessions[].expertId`` of the lists: what frontends read of an expert."""
    user = {
        "_id": profile.get("userId"),
        **_names(profile.get("name")),
        "email": profile.get("email"),
        "user_id": profile.get("expertUserId"),
    }
    return _without_none(
        {
            "_id": profile["_id"],
            "title": profile.get("title") or profile.get("name"),
            "company": profile.get("company"),
            "user_id": profile.get("expertUserId"),
            "userId": _without_none(user),
        }
    )


def with_experts(wire: Wire, profiles: Mapping[ObjectId, Raw]) -> Wire:
    """The booking with every session's ``expertId`` populated; an unknown expert is shown as the session knows them."""
    for item in wire["sessions"]:
        if "expertId" in item:
            known = {"email": item.get("expertEmail"), "expertUserId": item.get("expertUserId")}
            item["expertId"] = expert(profiles.get(item["expertId"]) or {"_id": item["expertId"], **known})
    return wire


def model(value: BaseModel) -> Wire:
    """A model of the library as the wire has it; dates without a zone are ``YYYY-MM-DD``."""
    wire: Wire = _dates(to_mongo(value))
    return wire


def _dates(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            name: item.date().isoformat() if name in _DATES and isinstance(item, datetime) else _dates(item)
            for name, item in value.items()
        }
    if isinstance(value, list):
        return [_dates(item) for item in value]
    return value


def _names(name: str | None) -> Wire:
    first, _, last = (name or "").strip().partition(" ")
    return {"firstName": first, "lastName": last.strip()}


def _without_none(fields: Wire) -> Wire:
    return {name: value for name, value in fields.items() if value is not None}
