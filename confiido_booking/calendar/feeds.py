"""Calendars to subscribe to: a secret address for each client and expert, and what it shows (RFC 5545).

Of the secret only its hash is stored, and an address is looked up by the hash, so how long that takes tells nothing
of it. What was cancelled stays in the feed, struck out, as long as its time is shown.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from secrets import token_urlsafe
from typing import Any

from bson import ObjectId
from pymongo import ASCENDING, IndexModel

from confiido_booking.actors import Actor, Role
from confiido_booking.bookings.context import Context
from confiido_booking.bookings.rules import status_now
from confiido_booking.database.store import Document
from confiido_booking.errors import NotAllowed, NotFound
from confiido_booking.workshops import commanding, rules

COLLECTION = "feeds"
INDEXES = [IndexModel([("hash", ASCENDING)], unique=True, name="hash")]
PAST, FUTURE = timedelta(days=30), timedelta(days=366)
_COLUMNS = {"outbox": 0, "history": 0}
_EVENT_STATUS = {"canceled": "cancelled", "completed": "completed"}
Raw = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Feed:
    """``etag``: of what it shows, not of when it was made."""

    file: bytes
    etag: str


@dataclass(frozen=True, slots=True)
class Feeds:
    """``confiido.feeds``."""

    context: Context

    async def open(self, *, actor: Actor) -> str:
        """A new secret for a client's or an expert's feed; the one before is worth nothing from now on."""
        asks = await self._owner(actor)
        secret = token_urlsafe(32)
        known = {"hash": _hash(secret), "role": asks.role.value, "userId": asks.id, "createdAt": self.context.clock()}
        await self.context.store.update(
            "open feed", COLLECTION, {"_id": _key(asks)}, {"$set": known}, upsert=True, repeatable=False
        )
        return secret

    async def close(self, *, actor: Actor) -> None:
        """Revoke the address. Raises NotFound ``feed_not_found``."""
        asks = await self._owner(actor)
        if not await self.context.store.delete("close feed", COLLECTION, {"_id": _key(asks)}):
            raise NotFound("There is no calendar feed", code="feed_not_found")

    async def read(self, secret: str) -> Feed:
        """What the owner of this secret sees. Raises NotFound ``feed_not_found``."""
        found = await self.context.store.find_one("find feed", COLLECTION, {"hash": _hash(secret)})
        if found is None:
            raise NotFound("There is no calendar feed", code="feed_not_found")
        owner = Actor(role=Role(found["role"]), id=found["userId"])
        return await self._of(await self.context.experts.identify(owner))

    async def one(self, event_id: ObjectId, *, actor: Actor) -> bytes:
        """One service session as a file; who has a place in it gets the event of their own session.

        Raises:
            NotFound: ``service_session_not_found``, or a draft without a time.
        """
        from confiido_booking.calendar import ics  # as below: who writes no calendar does not load what writes it

        asks = await self.context.experts.identify(actor)
        event = await commanding.read(self.context, event_id)
        if not rules.sees(event, asks) or not ics.has_time(event):
            raise rules.not_found()
        seat = next((seat for seat in event.get("seats", []) if seat["clientId"] == asks.id), None)
        shown = event
        if seat is not None and event["visibility"] == "public":
            entry = {"_id": seat["sessionId"], "visibility": "seat"}
            shown = await self.context.store.find_one("read entry", "service_sessions", entry, _COLUMNS) or event
        return ics.file([ics.event(_session(shown), now=self.context.clock(), with_link=False)])

    async def _of(self, owner: Actor) -> Feed:
        from confiido_booking.calendar import ics

        now = self.context.clock()
        whose: Document = {"listing.clientId": owner.id, "visibility": {"$in": ["private", "seat"]}}
        if owner.role is Role.EXPERT:
            whose = {"expertId": owner.own_expert_id, "visibility": {"$in": ["private", "public"]}}
        query = whose | {"startsAt": {"$gte": now - PAST, "$lt": now + FUTURE}}
        found = await self.context.store.find(
            "read feed", "service_sessions", query, _COLUMNS, sort=[("startsAt", 1), ("_id", 1)]
        )
        shown = [_session(entry) for entry in found if ics.has_time(entry) and _is_shown(entry)]
        names = ("sessionId", "version", "startsAt", "endsAt", "timezone", "title")
        told = [[str(each.get(name)) for name in names] + [status_now(each, now)] for each in shown]
        events = [ics.event(each, now=now, with_link=False) for each in shown]
        return Feed(file=ics.file(events, name="Sessions"), etag=f'"{sha256(repr(told).encode()).hexdigest()[:32]}"')

    async def _owner(self, actor: Actor) -> Actor:
        asks = await self.context.experts.identify(actor)
        if asks.role not in (Role.CLIENT, Role.EXPERT) or asks.id is None:
            raise NotAllowed("Only clients and experts have a calendar feed")
        return asks


def _key(owner: Actor) -> str:
    return f"{owner.role.value}:{owner.id}"


def _hash(secret: str) -> str:
    return sha256(secret.encode()).hexdigest()


def _is_shown(entry: Raw) -> bool:
    if entry["visibility"] == "public":
        return bool(entry["status"] != "draft")
    return (entry.get("listing") or {}).get("status") in ("pending", "confirmed", "completed", "no-show", "cancelled")


def _session(entry: Raw) -> dict[str, Any]:
    """An entry as :func:`ics.event` takes it; one UID for life: the session's, or of a shared event its own."""
    listing = entry.get("listing") or {}
    known = {name: entry[name] for name in ("startsAt", "endsAt", "title") if entry.get(name) is not None}
    status = listing.get("status") or _EVENT_STATUS.get(entry["status"], "confirmed")
    return {
        **known,
        "timezone": entry.get("timezone") or "UTC",
        "sessionId": listing.get("sessionId", entry["_id"]),
        "version": entry.get("rev", 0),
        "status": status,
        **({"timeoutAt": listing["timeoutAt"]} if "timeoutAt" in listing else {}),
    }


def has_changed(etag: str, if_none_match: str | None) -> bool:
    """Whether a reader who has ``if_none_match`` needs it anew."""
    known = [tag.strip().removeprefix("W/") for tag in (if_none_match or "").split(",")]
    return etag not in known and "*" not in known
