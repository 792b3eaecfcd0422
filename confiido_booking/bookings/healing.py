"""What undoes a half-done command: expire, drop, fence and heal, step by step as PROTOCOL.md orders them.

It runs where a command is refused, in the worker and in the doctor; never on the way of a booking that succeeds.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from bson import ObjectId

from confiido_booking.actors import Actor
from confiido_booking.bookings import guards, merging
from confiido_booking.bookings.guards import Command
from confiido_booking.bookings.rules import EXPIRED_REASON, is_lapsed
from confiido_booking.bookings.statuses import ACTIVE
from confiido_booking.bookings.unconverted import SHOWN
from confiido_booking.calendar import claims, events, seats
from confiido_booking.database.store import Document, Duplicate, Store
from confiido_booking.events import outbox
from confiido_booking.orders import following

YOUNG = timedelta(seconds=30)  # a claim younger than this may still get its session; no law rests on it
KEEP_FENCES = timedelta(days=1)  # longer than any command can sleep

SYSTEM_CANCEL = {
    "cancelledBy": "system",
    "cancellationReason": EXPIRED_REASON,
    "timeoutStatus": "expired",
}


@dataclass(frozen=True, slots=True)
class Healing:
    store: Store

    async def expire(
        self, booking_id: ObjectId, session_id: ObjectId, now: datetime, *, actor: Actor | None = None
    ) -> Document | None:
        """PROTOCOL's EXPIRE: a pending session past its hold becomes cancelled and frees its minutes.

        Returns the session as it then is, or None where there was nothing to expire.
        """
        command = Command(action="expire", actor=actor or Actor.system(), now=now)
        document = await self._expire(booking_id, session_id, command)
        if document is None and await self._relieve(booking_id):
            document = await self._expire(booking_id, session_id, command)
        if document is None:
            return None
        session: Document = document["sessions"][0]
        await self.drop(session, document["clientId"])
        await following.of_session(self.store, session, now)
        return session

    async def _expire(self, booking_id: ObjectId, session_id: ObjectId, command: Command) -> Document | None:
        lapsed = {**SYSTEM_CANCEL, "cancellationTime": command.now}
        return await self.store.find_and_update(
            "expire",
            "bookings",
            guards.on_session(booking_id, session_id, command, {"timeoutAt": {"$lte": command.now}}),
            guards.change(
                session_id,
                command,
                to="cancelled",
                fields=lapsed,
                expressions={"refundDue": guards.ALL_THAT_WAS_PAID},
            ),
            projection={"clientId": 1, "sessions": {"$elemMatch": {"sessionId": session_id}}},
        )

    async def _relieve(self, booking_id: ObjectId) -> bool:
        """Empty a full outbox, which refuses every command; whether it was full."""
        fields = dict.fromkeys(outbox.FIELDS, 1)
        booking = await self.store.find_one("read outbox", "bookings", {"_id": booking_id}, fields)
        if booking is None or not outbox.is_full(booking, guards.MOST_EVENTS):
            return False
        return await outbox.deliver(self.store, "bookings", booking) > 0

    async def drop(self, session: Document, client_id: ObjectId) -> None:
        """PROTOCOL's DROP: first the service session says canceled, then the minutes are free.

        ``session`` is the one returned by the update that decided, never an earlier read.
        """
        if "serviceSessionId" in session:
            await claims.project(self.store, session, client_id)
        if session.get("seat"):
            await seats.release(self.store, session["serviceSessionId"], session["claimId"], session["updatedTime"])
        elif "claimId" in session and "expertId" in session:
            await claims.release(self.store, session["expertId"], session["claimId"])

    async def fence(self, client_id: ObjectId, claim_id: ObjectId, now: datetime) -> bool:
        """PROTOCOL's FENCE: after it no push can stand on the claim. False = a session stands on it."""
        return await self._fence(client_id, claim_id, {"claimId": claim_id, "status": {"$ne": "cancelled"}}, now)

    async def fence_order(self, client_id: ObjectId, order_id: ObjectId, now: datetime) -> bool:
        """FENCE of all that an order is to give. False = its sessions came to be."""
        return await self._fence(client_id, order_id, {"orderId": order_id}, now)

    async def _fence(self, client_id: ObjectId, fenced: ObjectId, session: Document, now: datetime) -> bool:
        standing = {"$elemMatch": session}
        guard = {**guards.of_client(client_id), **guards.OPEN, "sessions": {"$not": standing}}
        fence = {"$addToSet": {"abandonedClaims": fenced}, "$set": guards.stamp(now)}
        fresh = guards.empty_booking(client_id, now)
        for name in ("clientId", "abandonedClaims", "updatedAt"):
            del fresh[name]
        try:
            return await self.store.update("fence", "bookings", guard, {**fence, "$setOnInsert": fresh}, upsert=True)
        except Duplicate:
            return await self.store.update("fence", "bookings", guard, fence)

    async def heal(self, busy: Document, expert_id: ObjectId, now: datetime) -> bool:
        """PROTOCOL's HEAL of one calendar entry; whether its minutes were freed."""
        if busy["owner"] == "event":
            return await events.heal(self.store, busy, expert_id, is_old=busy["claimedAt"] <= now - YOUNG)
        if busy["owner"] != "session":
            return False
        client_id, claim_id = busy["clientId"], busy["claimId"]
        columns = dict.fromkeys(("sessions", *merging.READ), 1)
        booking = await self.store.find_one("read claim's booking", "bookings", guards.of_client(client_id), columns)
        if booking is not None and "mergedInto" in booking:
            heir = await merging.finish(self.store, booking)
            return await self.heal({**busy, "clientId": heir}, expert_id, now)
        sessions: list[Document] = (booking or {}).get("sessions", [])
        standing = next((session for session in sessions if session.get("claimId") == claim_id), None)
        if standing is not None and booking is not None:
            if standing["status"] == "cancelled":
                await self.drop({**standing, "expertId": expert_id}, client_id)
                return True
            if is_lapsed(standing, now):
                return await self.expire(booking["_id"], standing["sessionId"], now) is not None
            return False
        if busy["claimedAt"] > now - YOUNG:
            return False
        return await self.abandon(busy, expert_id, now)

    async def heal_seat(self, event_id: ObjectId, seat: Document, now: datetime) -> bool:
        """PROTOCOL's HEAL of one place; whether nothing stands on it any more, and nothing ever will."""
        client_id, claim_id = seat["clientId"], seat["claimId"]
        columns = dict.fromkeys(("sessions", *merging.READ), 1)
        booking = await self.store.find_one("read claim's booking", "bookings", guards.of_client(client_id), columns)
        if booking is not None and "mergedInto" in booking:
            heir = await merging.finish(self.store, booking)
            await merging.rename(self.store, client_id, heir)
            return await self.heal_seat(event_id, {**seat, "clientId": heir}, now)
        sessions: list[Document] = (booking or {}).get("sessions", [])
        standing = next((session for session in sessions if session.get("claimId") == claim_id), None)
        if standing is not None and booking is not None:
            if is_lapsed(standing, now):
                return await self.expire(booking["_id"], standing["sessionId"], now) is not None
            if standing["status"] == "cancelled":
                await self.drop(standing, client_id)
                return True
            return False
        if "claimedAt" in seat and seat["claimedAt"] > now - YOUNG:
            return False
        kept = await self.store.find_one("read archive", "booking_archive", {"_id": seat["sessionId"]})
        if kept is not None and kept["session"]["status"] != "cancelled":
            return False
        if kept is None and not await self.fence(client_id, claim_id, now):
            return False
        await seats.release(self.store, event_id, claim_id, now)
        return True

    async def abandon(self, claim: Document, expert_id: ObjectId, now: datetime) -> bool:
        """HEAL from step 2 on: fence the claim, settle its service session, free the minutes. False = it stands.

        The booking is read after the fence: before it, a session could still have come and moved on.
        """
        client_id, claim_id = claim["clientId"], claim["claimId"]
        shown = {"_id": client_id, "claims.claimId": claim_id}
        if await self.store.find_one("read shown", SHOWN, shown, {"_id": 1}):
            return False  # a session stands on it that is not converted yet
        if not await self.fence(client_id, claim_id, now):
            return False
        booking = await self.store.find_one(
            "read claim's booking", "bookings", guards.of_client(client_id), {"sessions": 1}
        )
        sessions: list[Document] = (booking or {}).get("sessions", [])
        known = next((session for session in sessions if session["sessionId"] == claim["sessionId"]), None)
        if known is not None:
            await claims.project(self.store, known, client_id)
        elif not await self.store.find_one("read archive", "booking_archive", {"_id": claim["sessionId"]}, {"_id": 1}):
            await claims.bury(self.store, claim["serviceSessionId"], expert_id)
        await claims.release(self.store, expert_id, claim_id)
        return True

    async def expire_own(self, client_id: ObjectId, starts_at: datetime, ends_at: datetime, now: datetime) -> bool:
        """BOOK 2b: the client's own lapsed hold lies in the way; expire it."""
        booking = await self.store.find_one("read own holds", "bookings", guards.of_client(client_id), {"sessions": 1})
        freed = False
        for session in (booking or {}).get("sessions", []):
            overlaps = session["status"] in ACTIVE and session["startsAt"] < ends_at and session["endsAt"] > starts_at
            if booking is not None and overlaps and is_lapsed(session, now):
                freed = await self.expire(booking["_id"], session["sessionId"], now) is not None or freed
        return freed
