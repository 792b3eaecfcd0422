"""Who is told of events: the outgoing webhooks that administrators register (ROUTES, docs/events.md)."""

import base64
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from bson import ObjectId
from pymongo import ASCENDING, DESCENDING, IndexModel

from confiido_booking.actors import Actor, Role
from confiido_booking.database.store import Document, Store
from confiido_booking.errors import BookingError, Conflict, NotAllowed, NotFound, Unavailable, wrong_field
from confiido_booking.events import types
from confiido_booking.events.log import LOG
from confiido_booking.settings import Settings
from confiido_booking.times import Clock

WEBHOOKS, DELIVERIES = "webhooks", "webhook_deliveries"
DELIVERY_INDEXES = [
    IndexModel([("state", ASCENDING), ("nextAttemptAt", ASCENDING)], name="due"),
    IndexModel([("webhookId", ASCENDING), ("seq", DESCENDING)], name="webhook"),
    IndexModel([("webhookId", ASCENDING), ("clientId", ASCENDING), ("state", ASCENDING)], name="client"),
]
MOST_WEBHOOKS, MOST_LISTED = 50, 100
ALL = "*"


@dataclass(frozen=True, slots=True)
class Webhooks:
    """``confiido.webhooks``: for administrators only."""

    store: Store
    settings: Settings
    clock: Clock

    async def create(self, *, actor: Actor, url: str, events: Sequence[str]) -> Document:
        """Register an address for these types of events, from now on. The one answer that has the ``secret``.

        ``events``: types of ``types.TYPES``, a family as ``session.*``, or ``*``.

        Raises:
            Invalid: ``invalid_url``, ``webhook_target_refused`` (not public), ``unknown_event_type``.
            Conflict: ``too_many_webhooks``.
        """
        _check(actor)
        await self._check_url(url)
        wanted = list(dict.fromkeys(events))
        if not wanted or len(wanted) > len(types.TYPES):
            raise wrong_field("events", "must name at least one type of event, or *")
        if any(not _is_known(name) for name in wanted):
            raise wrong_field("events", "names a type of event that does not exist", code="unknown_event_type")
        if await self.store.count("count webhooks", WEBHOOKS, {}) >= MOST_WEBHOOKS:
            raise Conflict(f"There are {MOST_WEBHOOKS} webhooks already", code="too_many_webhooks")
        head = await self.store.find_one("read log head", LOG, {"_id": "events"}, {"seq": 1})
        webhook: Document = {
            "_id": ObjectId(),
            "url": url,
            "events": wanted,
            "secret": "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode(),
            "since": (head or {}).get("seq", 0),
            "createdAt": self.clock(),
            "createdBy": actor.stamp(),
        }
        await self.store.insert("insert webhook", WEBHOOKS, webhook)
        return webhook

    async def all(self, *, actor: Actor) -> list[Document]:
        """Every webhook, the oldest first, without its secret."""
        _check(actor)
        return await self.store.find("read webhooks", WEBHOOKS, {}, {"secret": 0}, sort=[("_id", ASCENDING)])

    async def delete(self, webhook_id: ObjectId, *, actor: Actor) -> None:
        """End it: what was not delivered is not any more, and its log goes with it. Raises NotFound."""
        _check(actor)
        if not await self.store.delete("delete webhook", WEBHOOKS, {"_id": webhook_id}):
            raise _no_webhook()
        await forget_deliveries(self.store, webhook_id)

    async def deliveries(
        self,
        webhook_id: ObjectId,
        *,
        actor: Actor,
        state: str | None = None,
        before: int | None = None,
        limit: int = 50,
    ) -> list[Document]:
        """Its deliveries, the latest first, with the log of their attempts. ``before``: only events numbered lower."""
        _check(actor)
        if await self.store.find_one("read webhook", WEBHOOKS, {"_id": webhook_id}, {"_id": 1}) is None:
            raise _no_webhook()
        query: Document = {"webhookId": webhook_id}
        if state is not None:
            query["state"] = state
        if before is not None:
            query["seq"] = {"$lt": before}
        return await self.store.find("read deliveries", DELIVERIES, query, sort=[("seq", DESCENDING)], limit=limit)

    async def replay(self, delivery_id: ObjectId, *, actor: Actor) -> Document:
        """Deliver it once more, with three days of attempts before it, whatever came of it. Raises NotFound."""
        _check(actor)
        now = self.clock()
        again = {"state": "pending", "attempts": 0, "nextAttemptAt": now, "since": now}
        delivery = await self.store.find_and_update(
            "replay", DELIVERIES, {"_id": delivery_id, "state": {"$in": ["delivered", "dead"]}}, {"$set": again}
        ) or await self.store.find_one("read delivery", DELIVERIES, {"_id": delivery_id})
        webhook_id = (delivery or {}).get("webhookId")
        if delivery is None or not await self.store.find_one("read webhook", WEBHOOKS, {"_id": webhook_id}, {"_id": 1}):
            raise NotFound("Delivery not found", code="delivery_not_found")
        return delivery

    async def _check_url(self, url: str) -> None:
        allow_private = self.settings.webhook_allow_private
        schemes = ("https", "http") if allow_private else ("https",)
        try:
            parts = urlsplit(url)
            usable = bool(parts.hostname) and parts.port != 0 and parts.username is None and len(url) <= 2000
        except ValueError:
            raise wrong_field("url", "must be an address", code="invalid_url") from None
        if not usable or not url.isascii() or not url.isprintable() or " " in url:
            raise wrong_field("url", "must be an address without credentials", code="invalid_url")
        if parts.scheme not in ("https", "http"):
            raise wrong_field("url", "must begin with https://", code="invalid_url")
        posting = import_posting()
        try:
            await posting.check_target(url, allow_private=allow_private)
        except posting.Refused:
            raise wrong_field("url", "must lead to a public address", code="webhook_target_refused") from None
        if parts.scheme not in schemes:
            raise wrong_field("url", "must begin with https://", code="invalid_url")


async def forget_deliveries(store: Store, webhook_id: ObjectId) -> None:
    """What a webhook that is gone was still to get, and its log."""
    await store.run("forget deliveries", lambda: store.collection(DELIVERIES).delete_many({"webhookId": webhook_id}))


def wants(webhook: Mapping[str, Any], type_: str) -> bool:
    family = type_.partition(".")[0] + ".*"
    return bool({ALL, family, type_} & set(webhook["events"]))


def _is_known(name: str) -> bool:
    return name == ALL or name in types.TYPES or any(name == f"{known.partition('.')[0]}.*" for known in types.TYPES)


def import_posting() -> Any:
    """The module that needs the libraries of the extra ``messaging``. Raises Unavailable without them."""
    try:
        from confiido_booking.events import posting
    except ModuleNotFoundError as error:
        sentence = f"Webhooks need confiido-booking[messaging] ({error.name} is missing)"
        raise Unavailable(sentence, code="provider_not_configured") from None
    return posting


def _check(actor: Actor) -> None:
    if actor.role is not Role.ADMIN:
        raise NotAllowed("Only an administrator can keep webhooks")


def _no_webhook() -> BookingError:
    return NotFound("Webhook not found", code="webhook_not_found")
