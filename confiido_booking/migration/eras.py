"""Documents of seed 002's collection in all eras (HISTORY 1), taken apart into sessions.

A document is flat (A, B), nested (C to F) or both (H). What ``export`` wrote is told by its ``_confiido`` part and
taken as it stands.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bson import ObjectId

from confiido_booking.migration.coercions import Coercions
from confiido_booking.migration.options import derived_id

EXPORTED = "_confiido"
_FLAT = ("scheduledDate", "startTime", "sessionType", "expertId")
_OF_THE_WHOLE = frozenset(["sessions", "totalSessions", "totalSpent", "updatedAt", "__v"])
_CLIENT = ("clientId", "clientUserId", "clientEmail", "clientName")
# What of a flat document or a nested session is read; anything else is kept under ``legacy.fields``.
KNOWN = frozenset(
    [
        "_id",
        "sessionId",
        "clientId",
        "clientUserId",
        "clientEmail",
        "clientName",
        "expertId",
        "expertUserId",
        "expertEmail",
        "sessionType",
        "duration",
        "scheduledDate",
        "startTime",
        "endTime",
        "status",
        "price",
        "currency",
        "paymentStatus",
        "paymentMethod",
        "paymentCompletedAt",
        "finalAmount",
        "meetingLink",
        "notes",
        "cancellationReason",
        "cancelledBy",
        "cancellationTime",
        "refundAmount",
        "timeoutAt",
        "timeoutStatus",
        "createdTime",
        "createdAt",
        "updatedAt",
        "rescheduleRequest",
        "rescheduleHistory",
        "location",
        "timezone",
        "title",
        "source",
        "__v",
        "sessions",
        "totalSessions",
        "totalSpent",
    ]
)


@dataclass(frozen=True, slots=True)
class Part:
    """One session of a document. ``priority``: of two records of one session, the nested one is the newer state."""

    era: str
    facts: Mapping[str, Any]
    raw: Mapping[str, Any]
    session_id: ObjectId | None
    fallback: str
    old_id: Any
    priority: int


def is_nested(document: Mapping[str, Any]) -> bool:
    return isinstance(document.get("sessions"), list)


def is_flat(document: Mapping[str, Any]) -> bool:
    """Whether the document itself is a session, perhaps beside nested ones."""
    return not is_nested(document) or sum(name in document for name in _FLAT) >= 3


def parts(document: Mapping[str, Any], coercions: Coercions) -> Iterator[Part | str]:
    """The sessions of a document; a text is an entry of ``sessions`` that is none."""
    own_id = coercions.object_id(document.get("_id"))
    nested, flat = is_nested(document), is_flat(document)
    if flat:
        raw: Mapping[str, Any] = document
        era = "H" if nested else "B" if document.get("clientUserId") or document.get("expertUserId") else "A"
        if nested:  # the document's updatedAt is of its newest session
            raw = {name: value for name, value in document.items() if name not in _OF_THE_WHOLE}
        yield Part(era, raw, raw, own_id, f"flat {document.get('_id')}", own_id or document.get("_id"), 0)
    if nested:
        yield from _sessions(document, coercions)


def _sessions(document: Mapping[str, Any], coercions: Coercions) -> Iterator[Part | str]:
    sessions = document["sessions"]
    client = {name: document[name] for name in _CLIENT if document.get(name) is not None}
    stamps = [str(entry["createdTime"]) for entry in sessions if isinstance(entry, dict) and entry.get("createdTime")]
    shared = Counter(stamps) if len(stamps) > 1 else {}
    seen: Counter[str] = Counter()
    for entry in sessions:
        if not isinstance(entry, Mapping):
            yield repr(entry)[:200]
            continue
        own_id = coercions.object_id(entry.get("sessionId")) or coercions.object_id(entry.get("_id"))
        facts = {**client, **entry}
        created = entry.get("createdTime")
        if own_id is not None and (created is None or shared.get(str(created), 0) > 1) and _has_birth(own_id):
            facts["createdTime"] = own_id.generation_time  # HISTORY 5: a later rewrite gave them all its own time
        elif created is None and own_id is None and document.get("createdAt") is not None:
            facts["createdTime"] = document["createdAt"]
        fallback = ""
        if own_id is None:
            identity = _identity(entry)
            seen[identity] += 1
            fallback = f"nested {document.get('_id')} {identity} {seen[identity]}"
        yield Part(_era(entry), facts, entry, own_id, fallback, own_id, 1)


def _has_birth(identifier: ObjectId) -> bool:
    return 2020 <= identifier.generation_time.year < 2100


def _identity(entry: Mapping[str, Any]) -> str:
    """What a session without an id is known by: never its place in the array, which a GET reorders (HISTORY 18)."""
    names = ("_id", "expertId", "expertEmail", "scheduledDate", "startTime", "duration", "sessionType", "price")
    return "|".join(str(entry.get(name)) for name in names)


def _era(entry: Mapping[str, Any]) -> str:
    if entry.get("rescheduleRequest") or entry.get("rescheduleHistory") is not None:
        return "F"
    if entry.get("createdTime") is not None:
        return "E"
    if entry.get("timeoutAt") is not None or entry.get("timeoutStatus") or entry.get("finalAmount") is not None:
        return "D"
    return "C"


def booking_id(document: Mapping[str, Any], coercions: Coercions) -> ObjectId:
    """A nested document's own id; a hybrid's is its flat session's, so its booking gets another."""
    own = coercions.object_id(document.get("_id"))
    if own is not None and not is_flat(document):
        return own
    return derived_id("booking", document.get("_id"))
