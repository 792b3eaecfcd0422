"""Old finished sessions move to ``booking_archive``, so that a client's document stays small (SPEC 11, PROTOCOL).

One archive document per session, ``_id`` = its ``sessionId``: a copy made twice is one copy, and a page of history
is a page of an index (docs/decisions/0004). The booking keeps their count and sums.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from bson import ObjectId
from pymongo import ASCENDING, DESCENDING, IndexModel, UpdateOne

from confiido_booking.bookings import guards, totals
from confiido_booking.bookings.statuses import FINISHED
from confiido_booking.database.documents import to_mongo
from confiido_booking.database.store import Document, Duplicate, Store

KEY_LIFE = timedelta(hours=24)  # L9: as long as a repeat may come, its session stays where the repeat looks
BATCH = 100
UNSETTLED = timedelta(days=365)  # how long what is still owed, either way, waits before it is history
INDEXES = [
    IndexModel([("clientId", ASCENDING), ("session.startsAt", DESCENDING)], name="client"),
    IndexModel([("session._id", ASCENDING)], name="old_session_id", sparse=True),  # only migrated ones have it
]


@dataclass(frozen=True, slots=True)
class Archive:
    store: Store

    async def make_room(self, client_id: ObjectId, new_bytes: int, *, now: datetime, keep: ObjectId) -> bool:
        """Where a client's document has no room for so much more: archive all that is finished but ``keep``.

        Returns whether anything went.
        """
        booking = await self.store.find_one("read booking", "bookings", guards.of_client(client_id))
        if booking is None or guards.has_room(booking, new_bytes):
            return False
        return await self.client(client_id, now=now, older_than=timedelta(0), unsettled=timedelta(0), keep=keep) > 0

    async def client(
        self,
        client_id: ObjectId,
        *,
        now: datetime,
        older_than: timedelta,
        unsettled: timedelta = UNSETTLED,
        keep: ObjectId | None = None,
    ) -> int:
        """Archive a client's finished sessions whose end, or whose end of life, is that old. How many went.

        ``unsettled``: how old those must be of which money is still owed; money that moves brings it back.
        """
        booking = await self.store.find_one("read booking", "bookings", guards.of_client(client_id))
        ready = [
            session
            for session in (booking or {}).get("sessions", [])
            if session["sessionId"] != keep
            and _is_history(session, now, older_than if _is_settled(session) else unsettled)
        ]
        moved = 0
        for start in range(0, len(ready), BATCH):
            moved += await self._move(client_id, ready[start : start + BATCH], now)
        return moved

    async def restore(self, client_id: ObjectId, session_id: ObjectId, *, now: datetime) -> bool:
        """Bring an archived session back into its booking, because money moves on it; it is archived again later.

        The guard is that nothing at all was written to the booking since it was read, before the copy was: what was
        copied meanwhile, or archived once more, is not overwritten by an older state. False = it is not archived, or
        the booking has just changed.
        """
        booking = await self.store.find_one("read booking", "bookings", guards.of_client(client_id))
        kept = await self.store.find_one("read archive", "booking_archive", {"_id": session_id, "clientId": client_id})
        if booking is None or kept is None:
            return False
        present = [session["sessionId"] for session in booking["sessions"]]
        if session_id in present:
            return False
        session, archived = kept["session"], booking["archived"]
        currency = session["currency"]
        others = {"clientId": client_id, "session.currency": currency, "_id": {"$nin": [*present, session_id]}}
        sums = totals.of((), archived["sums"])
        for name, value in totals.contribution(totals.line(session)).items():
            sums[currency][name] -= value
        if not await self.store.count("count archived", "booking_archive", others):
            del sums[currency]
        right = {"sessions": archived["sessions"] - 1, "sums": to_mongo(sums)}
        change = {
            "archived": {"$literal": right},
            "sessions": {"$concatArrays": ["$sessions", [{"$literal": session}]]},
            **guards.stamped(now),
        }
        unchanged = {"_id": booking["_id"], "revision_id": booking.get("revision_id"), **guards.OPEN}
        room = guards.room_for(guards.weight(session))
        return await self.store.update("restore", "bookings", unchanged | room, [{"$set": change}, *totals.stages()])

    async def _move(self, client_id: ObjectId, sessions: Sequence[Document], now: datetime) -> int:
        await self._release(sessions)
        await self._copy(client_id, sessions)
        return await self._pull(client_id, sessions, now)

    async def _release(self, sessions: Sequence[Document]) -> None:
        """What is archived claims nothing."""
        by_expert: dict[ObjectId, list[ObjectId]] = {}
        for session in sessions:
            if "expertId" in session and "claimId" in session:
                by_expert.setdefault(session["expertId"], []).append(session["claimId"])
        for expert_id, claim_ids in by_expert.items():
            pull = {"$pull": {"busy": {"claimId": {"$in": claim_ids}}}}
            await self.store.update("release", "calendars", {"_id": expert_id}, pull)

    async def _copy(self, client_id: ObjectId, sessions: Sequence[Document]) -> None:
        """ARCHIVE 2: a copy, unless one of this version or a newer one is there."""

        def writes(*, upsert: bool) -> list[UpdateOne]:
            return [
                UpdateOne(
                    {"_id": session["sessionId"], "version": {"$lt": session["version"]}},
                    {"$set": {"clientId": client_id, "version": session["version"], "session": session}},
                    upsert=upsert,
                )
                for session in sessions
            ]

        try:
            await self.store.update_each("archive copy", "booking_archive", writes(upsert=True))
        except Duplicate:  # a newer copy, or an older one that came while the upsert looked
            await self.store.update_each("archive copy", "booking_archive", writes(upsert=False))

    async def _pull(self, client_id: ObjectId, sessions: Sequence[Document], now: datetime) -> int:
        """ARCHIVE 3: take out what still has the copied version; its money stays in the archived sums."""
        copied = [f"{session['sessionId']}:{session['version']}" for session in sessions]
        name = {"$concat": [{"$toString": "$$s.sessionId"}, ":", {"$toString": "$$s.version"}]}
        is_copied = {"$in": [name, {"$literal": copied}]}

        def those(condition: Any) -> Document:
            return {"$filter": {"input": "$sessions", "as": "s", "cond": condition}}

        before = await self.store.find_and_update(
            "archive pull",
            "bookings",
            {
                **guards.of_client(client_id),
                "sessions.sessionId": {"$in": [session["sessionId"] for session in sessions]},
            },
            [
                {"$set": {"pulled": those(is_copied), "kept": those({"$eq": [is_copied, False]})}},
                {
                    "$set": {
                        "archived": {
                            "sessions": {"$add": ["$archived.sessions", {"$size": "$pulled"}]},
                            "sums": totals.sums_expression("$pulled", "$archived.sums"),
                        },
                        "sessions": "$kept",
                        **guards.stamped(now),
                    }
                },
                {"$unset": ["pulled", "kept"]},
                *totals.stages(),
            ],
            projection={"sessions.sessionId": 1, "sessions.version": 1},
            before=True,
        )
        present = {f"{s['sessionId']}:{s['version']}" for s in (before or {}).get("sessions", [])}
        return len(present.intersection(copied))


def _is_settled(session: Document) -> bool:
    sums = totals.contribution(totals.line(session))
    return not sums["outstanding"] and not sums["refundable"]


def _is_history(session: Document, now: datetime, older_than: timedelta) -> bool:
    if session["status"] not in FINISHED or "version" not in session:
        return False
    ended = [session.get("cancellationTime")] if session["status"] == "cancelled" else [session.get("endsAt")]
    last = max((moment for moment in [*ended, session.get("updatedTime")] if moment is not None), default=None)
    created = session.get("createdTime")
    return (
        last is not None
        and last <= now - older_than
        and (created is None or created <= now - KEY_LIFE)
        and (session.get("endsAt") is None or session["endsAt"] <= now or session["status"] == "cancelled")
    )
