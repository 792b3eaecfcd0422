"""What providers tell by webhook: verified, stored under the provider's own id of the event, then told to the ledger.

Storing comes before any work, so nothing that was answered with 200 is lost. Telling is repeatable and in any order:
what comes before its payment waits for it in the ledger. So whoever finds an event that is not done tells it again.
"""

from dataclasses import dataclass
from datetime import timedelta

from pydantic import Field
from pymongo import ASCENDING, IndexModel

from confiido_booking.bookings.context import Context
from confiido_booking.database.documents import Embedded, Instant, to_mongo
from confiido_booking.database.store import Document, Duplicate
from confiido_booking.errors import Conflict
from confiido_booking.ledger.models import EntryState
from confiido_booking.ledger.service import Ledger
from confiido_booking.payments.provider import Captured, Disputed, Fact, Failed, ProviderName, Refunded, Told

COLLECTION = "provider_events"
YOUNG = timedelta(seconds=30)  # whoever stored it may still be at work
KEPT = timedelta(days=90)  # no provider sends an event again so late
_LONGEST_WAIT = timedelta(days=1)

INDEXES = [
    IndexModel([("dueAt", ASCENDING)], sparse=True, name="due"),
    IndexModel([("doneAt", ASCENDING)], name="done"),
]


class ProviderEvent(Embedded):
    """``due_at``: when the worker looks at it next; absent once it is done."""

    id: str
    provider: ProviderName
    type: str
    facts: list[Fact]
    received_at: Instant
    due_at: Instant | None = None
    done_at: Instant | None = None
    tries: int = Field(default=0)


@dataclass(frozen=True, slots=True)
class ProviderEvents:
    context: Context
    ledger: Ledger

    async def receive(self, provider: ProviderName, told: Told) -> None:
        """Store it and work it in; what was worked in before is left alone."""
        now = self.context.clock()
        event = ProviderEvent(
            id=f"{provider}:{told.event_id}",
            provider=provider,
            type=told.type,
            facts=list(told.facts),
            received_at=now,
            due_at=now + YOUNG,
        )
        try:
            await self.context.store.insert("store event", COLLECTION, to_mongo(event))
        except Duplicate:
            raw = await self.context.store.find_one("read event", COLLECTION, {"_id": event.id})
            if raw is None or "doneAt" in raw:
                return
        await self._work_in(event)

    async def finish(self) -> int:
        """The worker's part: what a process that died has left. How many are done now."""
        done = 0
        while (raw := await self._next_due()) is not None:
            done += await self._work_in(ProviderEvent.model_validate(raw))
        return done

    async def forget(self) -> int:
        """Remove what was done so long ago that nobody sends it again. How many there were."""
        old = {"doneAt": {"$lte": self.context.clock() - KEPT}}
        result = await self.context.store.run(
            "forget events", lambda: self.context.store.collection(COLLECTION).delete_many(old)
        )
        return result.deleted_count

    async def _next_due(self) -> Document | None:
        """The event that is longest due, put off before anything is done with it: one that cannot be worked in does not
        stand in the way of the others."""
        now = self.context.clock()
        while found := await self.context.store.find(
            "find event", COLLECTION, {"dueAt": {"$lte": now}}, sort=[("dueAt", 1)], limit=1
        ):
            [raw] = found
            until = now + min(YOUNG * 2 ** min(raw["tries"], 12), _LONGEST_WAIT)
            same = {"_id": raw["_id"], "tries": raw["tries"], "dueAt": {"$lte": now}}
            put_off = {"$set": {"dueAt": until, "tries": raw["tries"] + 1}}
            if await self.context.store.update("put off event", COLLECTION, same, put_off):
                return raw  # else another worker has it
        return None

    async def _work_in(self, event: ProviderEvent) -> bool:
        """Whether it is done."""
        try:
            for fact in event.facts:
                await self._tell(event.provider, fact)
        except Conflict:  # its sessions kept changing; it stays due
            return False
        done = {"$set": {"doneAt": self.context.clock()}, "$unset": {"dueAt": ""}}
        await self.context.store.update("event done", COLLECTION, {"_id": event.id, "doneAt": {"$exists": False}}, done)
        return True

    async def _tell(self, provider: ProviderName, fact: Fact) -> None:
        match fact:
            case Captured():
                await self.ledger.captured(
                    provider=provider,
                    provider_payment_id=fact.payment_id,
                    provider_order_id=fact.order_id,
                    amount=fact.amount,
                    currency=fact.currency,
                    method=fact.method,
                    at=fact.at,
                )
            case Failed():
                await self.ledger.failed(
                    provider=provider, provider_payment_id=fact.payment_id, provider_order_id=fact.order_id
                )
            case Refunded(state=EntryState.SETTLED):
                await self.ledger.refund_settled(
                    provider=provider,
                    provider_refund_id=fact.refund_id,
                    provider_payment_id=fact.payment_id,
                    amount=fact.amount,
                    currency=fact.currency,
                    refund_id=fact.key,
                    at=fact.at,
                )
            case Refunded(state=EntryState.FAILED):
                await self.ledger.refund_failed(
                    provider=provider, provider_refund_id=fact.refund_id, refund_id=fact.key
                )
            case Disputed():
                await self.ledger.disputed(
                    provider=provider,
                    provider_dispute_id=fact.dispute_id,
                    provider_payment_id=fact.payment_id,
                    amount=fact.amount,
                    currency=fact.currency,
                    outcome=fact.state,
                    at=fact.at,
                )
