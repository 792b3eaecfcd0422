"""What the worker does: expire holds, complete what ended, heal what a crash left, archive history.

Everything stays right without it, and several may run: each chore is a command like any other, with its guard in
its filter.
"""

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from bson import ObjectId

from confiido_booking.actors import Actor
from confiido_booking.attendance.service import Attendance
from confiido_booking.billing.service import Invoices
from confiido_booking.bookings import guards, transitions
from confiido_booking.bookings.archive import Archive
from confiido_booking.bookings.context import Context
from confiido_booking.bookings.guards import Command
from confiido_booking.bookings.healing import KEEP_FENCES, YOUNG
from confiido_booking.bookings.models import CURRENT
from confiido_booking.bookings.statuses import FINISHED, HELD
from confiido_booking.bookings.views import View
from confiido_booking.doctor import Doctor
from confiido_booking.errors import Conflict, NotFound
from confiido_booking.events.deliveries import Deliveries
from confiido_booking.events.log import EventLog
from confiido_booking.ledger.service import Ledger
from confiido_booking.messaging.sending import Outgoing
from confiido_booking.messaging.service import Messages
from confiido_booking.migration.live import OldBookings
from confiido_booking.orders.service import Orders
from confiido_booking.payments.service import Payments

BATCH = 500
_HEALED = ["session", "event"]
_RECENT = timedelta(hours=2)


@dataclass(frozen=True, slots=True)
class Telling:
    """What others are told of what happened: the log, webhooks, mail. In this order, as each reads the one before."""

    log: EventLog
    deliveries: Deliveries
    messages: Messages
    mail: Outgoing

    async def once(self) -> dict[str, int]:
        return {
            "recorded": await self.log.collect(),
            "delivered": await self.deliveries.run(),
            "queued": await self.messages.queue(),
            "mailed": await self.mail.run(),
        }


@dataclass(frozen=True, slots=True)
class Chores:
    """``confiido.chores``."""

    context: Context
    archive: Archive
    invoices: Invoices
    ledger: Ledger
    telling: Telling
    old: OldBookings
    payments: Payments
    orders: Orders
    attendance: Attendance

    async def once(self) -> dict[str, int]:
        """Do all that is due. How many of each."""
        return {
            "expired": await self.expire_holds(),
            "attended": await self.attendance.settle(),
            "placed": await self.orders.settle(),
            "ended": await self.orders.expire_drafts(),
            "completed": await self.complete_ended(),
            "healed": await self.heal_recent(),
            "told": await self.payments.finish(),
            "settled": await self.invoices.settle() + await self.ledger.settle(),
            "refunded": await self.ledger.pay_back_due(),
            "shown": await self.old.show_all(),
            "archived": await self.archive_history(),
            "pruned": await self.prune_fences() + await self.payments.forget(),
            **await self.telling.once(),
        }

    async def forever(self) -> None:
        """Until cancelled. Telling others waits for them, so it goes on beside all the rest."""
        beside = [asyncio.create_task(self._tend()), asyncio.create_task(self._tell())]
        try:
            await asyncio.gather(*beside)
        finally:
            for task in beside:
                task.cancel()

    async def _tell(self) -> None:
        while True:
            await self.telling.once()
            await asyncio.sleep(self.context.settings.worker_interval_seconds)

    async def _tend(self) -> None:
        """Healing reads what was written of late, so it runs once a minute; archiving and pruning read much, so they
        run once an hour."""
        seconds = self.context.settings.worker_interval_seconds
        for turn in itertools.count():
            await self.expire_holds()
            await self.complete_ended()
            if turn % max(1, round(60 / seconds)) == 0:
                await self.orders.settle()
                await self.orders.expire_drafts()
                await self.attendance.settle()
                await self.heal_recent()
                await self.invoices.settle()
                await self.old.show_all()
                await self.ledger.settle()
                await self.ledger.pay_back_due()
                await self.payments.finish()
            if turn % max(1, round(3600 / seconds)) == 0:
                await self.archive_history()
                await self.prune_fences()
                await self.payments.forget()
                await self.telling.deliveries.prune()
            await asyncio.sleep(seconds)

    async def expire_holds(self) -> int:
        now = self.context.clock()

        async def expire(booking_id: ObjectId, session_id: ObjectId) -> bool:
            return await self.context.healing.expire(booking_id, session_id, now) is not None

        query = {"listing.status": {"$in": sorted(HELD)}, "listing.timeoutAt": {"$lte": now}}
        return await self._each("find holds", query, expire)

    async def complete_ended(self) -> int:
        """Confirmed sessions that ended ``complete_after_hours`` ago; off where that is unset."""
        hours = self.context.settings.complete_after_hours
        if hours is None:
            return 0
        now = self.context.clock()

        async def complete(booking_id: ObjectId, session_id: ObjectId) -> bool:
            command = Command(action="complete", actor=Actor.system(), now=now)
            try:
                await transitions.complete(self.context, booking_id, session_id, command, View.HEAD)
            except (Conflict, NotFound):
                return False  # somebody cancelled or completed it meanwhile
            return True

        cutoff = now - timedelta(hours=hours)
        query = {"listing.status": "confirmed", "startsAt": {"$lte": cutoff}, "endsAt": {"$lte": cutoff}}
        return await self._each("find ended", query, complete)

    async def _each(
        self, step: str, query: Mapping[str, Any], do: Callable[[ObjectId, ObjectId], Awaitable[bool]]
    ) -> int:
        """Do it to the session of every entry that matches, batch after batch. How many it could be done to.

        What it cannot be done to, because the entry lags behind its booking, is passed over.
        """
        done, passed = 0, list[ObjectId]()
        query = {**query, "rev": {"$gt": 0}}  # 0: shown of an old document, which only a command converts
        while True:
            left = {**query, "_id": {"$nin": passed}} if passed else query
            due = await self.context.store.find(step, "service_sessions", left, {"listing": 1}, limit=BATCH)
            for entry in due:
                booking_id = await self._booking_id(entry["listing"]["clientId"])
                if booking_id is not None and await do(booking_id, entry["listing"]["sessionId"]):
                    done += 1
                else:
                    passed.append(entry["_id"])
            if len(due) < BATCH:
                return done

    async def heal_recent(self) -> int:
        """Half-done commands of the last hours: claims nothing stands on, service sessions that lag behind."""
        now = self.context.clock()
        window = {"$gte": now - _RECENT, "$lte": now - YOUNG}
        recent = {"busy": {"$elemMatch": {"owner": {"$in": _HEALED}, "claimedAt": window}}}
        healed = 0
        async for calendar in self.context.store.walk("calendars", recent):
            for busy in calendar["busy"]:
                if busy["owner"] in _HEALED and now - _RECENT <= busy["claimedAt"] <= now - YOUNG:
                    healed += await self.context.healing.heal(busy, calendar["_id"], now)
        report = await Doctor(self.context, self.ledger).repair(since=now - _RECENT)
        return healed + report.repaired

    async def archive_history(self) -> int:
        now, age = self.context.clock(), timedelta(days=self.context.settings.archive_after_days)
        finished = {"status": {"$in": sorted(FINISHED)}, "updatedTime": {"$lte": now - age}}
        old = {"sessions": {"$elemMatch": finished}, **CURRENT}
        archived = 0
        async for booking in self.context.store.walk("bookings", old, {"clientId": 1}):
            archived += await self.archive.client(booking["clientId"], now=now, older_than=age)
        return archived

    async def prune_fences(self) -> int:
        """Claims abandoned more than a day ago: nobody sleeps so long."""
        now = self.context.clock()
        oldest = ObjectId.from_datetime(now - KEEP_FENCES)
        result = await self.context.store.run(
            "prune fences",
            lambda: self.context.store.collection("bookings").update_many(
                {"abandonedClaims": {"$lt": oldest}}, {"$pull": {"abandonedClaims": {"$lt": oldest}}}
            ),
        )
        return result.modified_count

    async def _booking_id(self, client_id: ObjectId) -> ObjectId | None:
        found = await self.context.store.find_one("find booking", "bookings", guards.of_client(client_id), {"_id": 1})
        return found["_id"] if found else None
