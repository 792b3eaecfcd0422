"""The outbox of a document: what happened to it, stored by the very write that did it (MONEY, Events).

``outbox[]`` is appended to at its end by every command and taken from at its beginning, once the events are in the
``events`` collection. ``eventsDelivered`` counts what was taken, so that the place of every event in the history of its
document is known to everybody who reads both; ``outboxSince`` says that something waits, and is what the worker looks
for.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from bson import ObjectId

from confiido_booking.actors import Actor
from confiido_booking.database.store import Document, Store

Expression = Any

MOST = 100  # events that wait in one document
EVENT_BYTES = 450  # more than one weighs: ids, statuses, instants and amounts; never a text that somebody wrote
FIELDS = ("outbox", "outboxSince", "eventsDelivered")  # the store's own; no reply has them


def event(
    type_: str,
    *,
    at: datetime,
    actor: Actor,
    client_id: ObjectId | None = None,
    session_id: ObjectId | None = None,
    data: Mapping[str, object] | None = None,
) -> Document:
    """An event as the store keeps it. ``type_`` is one of ``types.TYPES``.

    ``data`` is small (:data:`EVENT_BYTES`): ids, statuses, instants and amounts, in the store's own types.
    """
    return {
        "id": ObjectId(),
        "type": type_,
        "at": at,
        "actor": actor.stamp(),
        **({"clientId": client_id} if client_id else {}),
        **({"sessionId": session_id} if session_id else {}),
        "data": dict(data or {}),
    }


def appended(*events: Document) -> dict[str, Expression]:
    """What a ``$set`` stage of a pipeline adds, so that these events are stored with its change."""
    return appended_as({"$literal": list(events)}, events[0]["at"])


def appended_as(events: Expression, at: datetime) -> dict[str, Expression]:
    """:func:`appended` of events that the pipeline itself makes: ``events`` gives an array of them."""
    return {
        "outbox": {"$concatArrays": [{"$ifNull": ["$outbox", []]}, events]},
        "outboxSince": {"$ifNull": ["$outboxSince", {"$literal": at}]},
    }


def pushed(*events: Document) -> dict[str, Any]:
    """:func:`appended` for an update of operators; merge it with the update's own ``$push`` and ``$min``."""
    return {"$push": {"outbox": {"$each": list(events)}}, "$min": {"outboxSince": events[0]["at"]}}


def room_for_events(count: int = 1) -> dict[str, Any]:
    """The condition in a command's filter that so many more events fit into the outbox.

    Refused by it, the command calls :func:`deliver` and tries again.
    """
    return {f"outbox.{max(0, MOST - count)}": {"$exists": False}}


def is_full(document: Mapping[str, Any], count: int = 1) -> bool:
    """The same as :func:`room_for_events`, of a document that was read."""
    return len(document.get("outbox", ())) > max(0, MOST - count)


def is_crowded(document: Mapping[str, Any]) -> bool:
    """Whether a refused command, which has read the document anyway, should empty its outbox."""
    return is_full(document, MOST // 2)


async def deliver(store: Store, collection: str, document: Mapping[str, Any]) -> int:
    """Store the events of a document, read with its :data:`FIELDS`, in ``events``, then take them out. How many.

    Anybody may do it, at any moment and twice: an event is stored under its own id, with its place in the history of
    its document, and only what is stored is taken out.
    """
    waiting, delivered = document.get("outbox", []), document.get("eventsDelivered", 0)
    if not waiting:
        return 0
    events = [
        {
            "_id": entry["id"],
            **{name: value for name, value in entry.items() if name != "id"},
            "data": {name: value for name, value in entry["data"].items() if value is not None},
            "source": document["_id"],
            "place": delivered + place,
            "unnumberedSince": entry["at"],
        }
        for place, entry in enumerate(waiting, 1)
    ]
    await store.insert_missing("store events", "events", events)
    ids = [entry["id"] for entry in waiting]
    left = {"$filter": {"input": "$outbox", "as": "e", "cond": {"$eq": [{"$in": ["$$e.id", ids]}, False]}}}
    is_empty = {"$eq": [{"$size": "$outbox"}, 0]}
    await store.update(
        "empty outbox",
        collection,
        {"_id": document["_id"], "eventsDelivered": delivered or {"$in": [None, 0]}, "outbox.id": ids[0]},
        [
            {"$set": {"outbox": left, "eventsDelivered": {"$literal": delivered + len(ids)}}},
            {"$set": {"outboxSince": {"$cond": [is_empty, "$$REMOVE", {"$arrayElemAt": ["$outbox.at", 0]}]}}},
        ],
    )
    return len(events)
