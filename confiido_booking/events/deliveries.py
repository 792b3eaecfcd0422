"""Telling the webhooks: one delivery for each event and webhook that wants it, tried for three days.

The deliveries of one client to one webhook are made one after the other, in the order of the log: a later one waits
until the earlier has been delivered or given up.
"""

import asyncio
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from bson import Decimal128, ObjectId

from confiido_booking.database.store import Document, Duplicate, Store
from confiido_booking.errors import iso
from confiido_booking.events.log import LOG, EventLog
from confiido_booking.events.webhooks import DELIVERIES, WEBHOOKS, forget_deliveries, import_posting, wants
from confiido_booking.money import number
from confiido_booking.settings import Settings
from confiido_booking.times import Clock

PAUSES = [  # after each failed attempt; together three days
    *(timedelta(seconds=5), timedelta(minutes=5), timedelta(minutes=30), timedelta(hours=2), timedelta(hours=5)),
    *(timedelta(hours=10), timedelta(hours=14), timedelta(hours=20), timedelta(hours=20)),
]
GIVE_UP = timedelta(days=3)
CLAIMED = timedelta(minutes=1)  # longer than an attempt can take: then another process may take it up
BATCH = 200
TRIES = 3  # failures in a row after which a webhook is left alone for this time
KEPT_ATTEMPTS = 20
KEEP = timedelta(days=30)  # how long the log of what is over is kept


@dataclass(frozen=True, slots=True)
class Deliveries:
    store: Store
    settings: Settings
    clock: Clock
    log: EventLog

    async def run(self) -> int:
        """Do all that is due now. How many were delivered."""
        await self._fan_out()
        delivered, down = 0, set[ObjectId]()
        while count := await self._send_due(down):
            delivered += count
        return delivered

    async def prune(self) -> int:
        """Forget what was over long ago."""
        old = {"state": {"$in": ["delivered", "dead"]}, "nextAttemptAt": {"$lte": self.clock() - KEEP}}
        result = await self.store.run("prune deliveries", lambda: self.store.collection(DELIVERIES).delete_many(old))
        return result.deleted_count

    async def _fan_out(self) -> None:
        """A pending delivery for each new event and webhook. What was made already stays as it is."""
        seen = await self.store.find_one("read cursor", LOG, {"_id": "webhooks"}) or {"seq": 0}
        seq: int = seen["seq"]
        webhooks: list[Document] | None = None
        while events := await self.log.after(seq, BATCH):
            if webhooks is None:
                webhooks = await self.store.find("read webhooks", WEBHOOKS, {}, {"secret": 0})
            now = self.clock()
            made = [
                _delivery(webhook, event, now)
                for event in events
                for webhook in webhooks
                if event["seq"] > webhook["since"] and wants(webhook, event["type"])
            ]
            if made:
                await self.store.insert_missing("make deliveries", DELIVERIES, made)
            seq = events[-1]["seq"]
            await advance(self.store, "webhooks", seq)

    async def _send_due(self, down: set[ObjectId]) -> int:
        query: Document = {"state": "pending", "nextAttemptAt": {"$lte": self.clock()}}
        if down:
            query["webhookId"] = {"$nin": list(down)}
        due = await self.store.find("find deliveries", DELIVERIES, query, sort=[("nextAttemptAt", 1)], limit=BATCH)
        by_webhook: dict[ObjectId, list[Document]] = {}
        for delivery in sorted(due, key=lambda delivery: int(delivery["seq"])):
            by_webhook.setdefault(delivery["webhookId"], []).append(delivery)
        return sum(await asyncio.gather(*(self._send_to(*each, down) for each in by_webhook.items())))

    async def _send_to(self, webhook_id: ObjectId, due: list[Document], down: set[ObjectId]) -> int:
        """One after the other, until the webhook seems to be ``down``. How many were delivered."""
        webhook = await self.store.find_one("read webhook", WEBHOOKS, {"_id": webhook_id})
        if webhook is None:
            await forget_deliveries(self.store, webhook_id)
            return 0
        delivered = failed = 0
        for delivery in due:
            if failed == TRIES:
                down.add(webhook_id)
                break
            sent = await self._send(webhook, delivery)
            if sent is not None:
                delivered, failed = (delivered + 1, 0) if sent else (delivered, failed + 1)
        return delivered

    async def _send(self, webhook: Document, delivery: Document) -> bool | None:
        """Whether it was delivered; None: another's, or it waits for an earlier one of the same client."""
        now = self.clock()
        if await self._must_wait(delivery, now):
            return None
        claimed = await self.store.find_and_update(
            "claim delivery",
            DELIVERIES,
            {
                "_id": delivery["_id"],
                "state": "pending",
                "attempts": delivery["attempts"],
                "nextAttemptAt": {"$lte": now},
            },
            {"$set": {"nextAttemptAt": now + CLAIMED}, "$inc": {"attempts": 1}},
        )
        event = await self.store.find_one("read event", "events", {"_id": delivery["eventId"]}) if claimed else None
        if claimed is None or event is None:
            return None
        outcome = await import_posting().post(
            webhook["url"],
            json.dumps(payload(event)),
            message_id=str(event["_id"]),
            secret=webhook["secret"],
            at=now,
            allow_private=self.settings.webhook_allow_private,
        )
        entry: Document = {"at": now, "durationMs": outcome.milliseconds}
        entry |= {"status": outcome.status} if outcome.status is not None else {"error": outcome.error}
        if outcome.delivered:
            after: Document = {"state": "delivered", "deliveredAt": now, "nextAttemptAt": now}
        else:
            after = _after_failure(claimed, now)
        await self.store.update(
            "note attempt",
            DELIVERIES,
            {"_id": claimed["_id"], "state": "pending", "attempts": claimed["attempts"]},
            {"$set": after, "$push": {"log": {"$each": [entry], "$slice": -KEPT_ATTEMPTS}}},
        )
        return bool(outcome.delivered)

    async def _must_wait(self, delivery: Document, now: datetime) -> bool:
        if "clientId" not in delivery:
            return False
        earlier = await self.store.find_one(
            "find earlier",
            DELIVERIES,
            {
                "webhookId": delivery["webhookId"],
                "clientId": delivery["clientId"],
                "state": "pending",
                "seq": {"$lt": delivery["seq"]},
            },
            {"nextAttemptAt": 1},
        )
        if earlier is None:
            return False
        later = max(earlier["nextAttemptAt"], now + PAUSES[0])
        await self.store.update(
            "wait for earlier",
            DELIVERIES,
            {"_id": delivery["_id"], "state": "pending"},
            {"$max": {"nextAttemptAt": later}},
        )
        return True


async def advance(store: Store, reader: str, seq: int) -> None:
    """A reader of the log has got so far; never back."""
    try:
        await store.update(
            "advance cursor", LOG, {"_id": reader, "seq": {"$lt": seq}}, {"$set": {"seq": seq}}, upsert=True
        )
    except Duplicate:  # another process got as far
        return


def payload(event: Mapping[str, Any]) -> dict[str, object]:
    """What is sent: Standard Webhooks' ``type``, ``timestamp`` and ``data``, and the rest of the event."""
    known = {name: event[name] for name in ("seq", "actor", "clientId", "sessionId") if name in event}
    plain = {"id": event["_id"], "type": event["type"], "timestamp": event["at"], **known, "data": event["data"]}
    wire = _plain(plain)
    assert isinstance(wire, dict)
    return wire


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, datetime):
        return iso(value)
    if isinstance(value, Decimal128):
        return number(value.to_decimal())
    return str(value) if isinstance(value, ObjectId) else value


def _delivery(webhook: Document, event: Document, now: datetime) -> Document:
    name = hashlib.sha256(f"{webhook['_id']}:{event['_id']}".encode()).digest()[:12]
    return {
        "_id": ObjectId(name),  # the same for everybody who makes it
        "webhookId": webhook["_id"],
        "eventId": event["_id"],
        "seq": event["seq"],
        "type": event["type"],
        **({"clientId": event["clientId"]} if "clientId" in event else {}),
        "state": "pending",
        "attempts": 0,
        "since": now,
        "nextAttemptAt": now,
        "log": [],
    }


def _after_failure(delivery: Document, now: datetime) -> Document:
    pause = PAUSES[min(delivery["attempts"], len(PAUSES)) - 1]
    last = delivery["since"] + GIVE_UP
    if now >= last:
        return {"state": "dead", "nextAttemptAt": now}
    return {"nextAttemptAt": min(now + pause, last)}
