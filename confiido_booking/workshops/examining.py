"""What the doctor and the worker look for in public service sessions: L5, and commands half done (PROTOCOL, DOCTOR)."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from bson import ObjectId

from confiido_booking.actors import Actor
from confiido_booking.bookings.context import Context
from confiido_booking.bookings.guards import Command
from confiido_booking.bookings.healing import YOUNG
from confiido_booking.bookings.models import CURRENT
from confiido_booking.bookings.rules import is_lapsed
from confiido_booking.bookings.statuses import ACTIVE
from confiido_booking.calendar import seats
from confiido_booking.database.store import Document
from confiido_booking.workshops import commanding, following

KINDS = (
    "canceled_event",
    "orphaned_seat",
    "seat_missing",
    "event_time",
    "participants",
    "overbooked",
    "orphaned_event_claim",
)
BATCH = 50
_FIELDS = ("sessionId", "claimId", "status", "timeoutAt", "startsAt", "eventRev")
_COLUMNS = {"clientId": 1, **{f"sessions.{name}": 1 for name in _FIELDS}}

Cure = Callable[[], Awaitable[object]]
Add = Callable[[str, object, str, Cure | None], None]


@dataclass(frozen=True, slots=True)
class EventExaminer:
    """``add`` takes (kind, subject, sentence, cure)."""

    context: Context
    add: Add
    now: datetime

    async def events(self, since: datetime | None) -> None:
        """Every public service session, or those changed since then."""
        async for batch in self._batches(since):
            for event, sessions, archived in await self._with_sessions(batch):
                self._check_count(event)
                if event["status"] == "canceled":
                    self._check_canceled(event)
                else:
                    for seat in event.get("seats", []):
                        self._check_seat(event, seat, sessions.get(seat["claimId"]), archived)

    async def seats_of(self, booking: Document) -> None:
        """Of a client's document: every active session that should have a seat has one."""
        placed = [
            session
            for session in booking["sessions"]
            if session.get("seat")
            and session["status"] in ACTIVE
            and session["endsAt"] > self.now
            and not is_lapsed(session, self.now)
            and not self._is_young(session.get("updatedTime"))
        ]
        if not placed:
            return
        query = {"_id": {"$in": [session["serviceSessionId"] for session in placed]}}
        found = await self.context.store.find("walk", "service_sessions", query, {"seats": 1, "status": 1})
        events = {event["_id"]: event for event in found}
        for session in placed:
            event = events.get(session["serviceSessionId"])
            if event is None or all(seat["claimId"] != session["claimId"] for seat in event.get("seats", [])):
                self._seat_missing(booking["clientId"], session, event)

    async def claims(self, calendar: Document) -> None:
        """Minutes that an event claims: the event is there and stands on them."""
        entries = [busy for busy in calendar["busy"] if busy["owner"] == "event"]
        if not entries:
            return
        query = {"_id": {"$in": [entry["serviceSessionId"] for entry in entries]}}
        found = await self.context.store.find("walk", "service_sessions", query, {"claimId": 1, "status": 1})
        standing = {event["_id"]: event for event in found}
        for entry in entries:
            event = standing.get(entry["serviceSessionId"])
            stands = event is not None and event["status"] != "canceled"
            if stands and event is not None and event.get("claimId", entry["claimId"]) == entry["claimId"]:
                continue
            if not self._is_young(entry["claimedAt"]):
                cure = self._heal_claim(entry, calendar["_id"])
                self.add("orphaned_event_claim", entry["claimId"], "Minutes are claimed that no event stands on", cure)

    def _heal_claim(self, entry: Document, expert_id: ObjectId) -> Cure:
        return lambda: self.context.healing.heal(entry, expert_id, self.now)

    async def _batches(self, since: datetime | None) -> AsyncIterator[list[Document]]:
        query: Document = {"visibility": "public"}
        if since is not None:
            query["updatedAt"] = {"$gte": since}
        batch: list[Document] = []
        async for event in self.context.store.walk("service_sessions", query):
            batch.append(event)
            if len(batch) == BATCH:
                yield batch
                batch = []
        yield batch

    async def _with_sessions(
        self, batch: Sequence[Document]
    ) -> list[tuple[Document, Mapping[ObjectId, Document], set[ObjectId]]]:
        """Each event with the sessions by claim, and which of the seats' sessions are archived."""
        places = [seat for event in batch for seat in event.get("seats", [])]
        if not places:
            return [(event, dict[ObjectId, Document](), set[ObjectId]()) for event in batch]
        clients = {"clientId": {"$in": list({seat["clientId"] for seat in places})}, **CURRENT}
        bookings = await self.context.store.find("walk", "bookings", clients, _COLUMNS)
        sessions: dict[ObjectId, Document] = {
            session["claimId"]: session
            for booking in bookings
            for session in booking["sessions"]
            if "claimId" in session
        }
        missing = [seat["sessionId"] for seat in places if seat["claimId"] not in sessions]
        kept: list[Document] = []
        if missing:
            gone: dict[str, Any] = {"_id": {"$in": missing}, "session.status": {"$ne": "cancelled"}}
            kept = await self.context.store.find("walk", "booking_archive", gone, {"_id": 1})
        return [(event, sessions, {copy["_id"] for copy in kept}) for event in batch]

    def _check_count(self, event: Document) -> None:
        """L5."""
        taken = len(event.get("seats", []))
        if event.get("currentParticipants", 0) != taken:
            sentence = "The number of participants is not that of the seats"
            self.add("participants", event["_id"], sentence, self._recount(event))
        if taken > (places := event.get("maxParticipants", taken)):
            self.add("overbooked", event["_id"], f"{taken} seats, of {places} places", None)

    def _recount(self, event: Document) -> Cure:
        return lambda: seats.recount(self.context.store, event["_id"], self.now)

    def _check_canceled(self, event: Document) -> None:
        if not event.get("seats") or self._is_young(event.get("updatedAt")):
            return
        if any(entry["action"] == "cancel" for entry in event.get("history", [])):
            command = commanding.canceller(event, self.now)
            sentence = "The event is cancelled, and there are seats in it still"
            self.add("canceled_event", event["_id"], sentence, self._finish(event, command))

    def _finish(self, event: Document, command: Command) -> Cure:
        return lambda: commanding.finish_cancelling(self.context, event, command)

    def _check_seat(self, event: Document, seat: Document, session: Document | None, archived: set[ObjectId]) -> None:
        if session is None and seat["sessionId"] in archived:
            return
        if session is None or session["status"] == "cancelled":
            if not self._is_young(seat.get("claimedAt")):
                sentence = "A place is taken that no session stands on"
                self.add("orphaned_seat", seat["claimId"], sentence, self._heal_seat(event, seat))
        elif (
            session["status"] in ACTIVE
            and session.get("startsAt") != event.get("startsAt")
            and session.get("eventRev", 0) < event["rev"]
            and not is_lapsed(session, self.now)
            and not self._is_young(event.get("updatedAt"))
        ):
            sentence = "A session is not at the time of its event"
            self.add("event_time", seat["sessionId"], sentence, self._follow(event, seat))

    def _heal_seat(self, event: Document, seat: Document) -> Cure:
        return lambda: self.context.healing.heal_seat(event["_id"], seat, self.now)

    def _follow(self, event: Document, seat: Document) -> Cure:
        command = Command(action="reschedule", actor=Actor.system(), now=self.now)
        return lambda: following.move(self.context, event, seat, command)

    def _seat_missing(self, client_id: ObjectId, session: Document, event: Document | None) -> None:
        seat: Document = {name: session[name] for name in ("claimId", "sessionId", "orderId") if name in session}
        seat |= {"clientId": client_id, "claimedAt": self.now}
        cure: Cure | None = None
        if event is not None and event["status"] == "canceled":
            command = Command(action="cancel", actor=Actor.system(), now=self.now)
            cure = self._cancel(event, seat, command)
        elif event is not None:
            cure = self._restore(event, seat)
        self.add("seat_missing", session["sessionId"], "A session has no seat in its event", cure)

    def _cancel(self, event: Document, seat: Document, command: Command) -> Cure:
        return lambda: following.cancel(self.context, event, seat, command)

    def _restore(self, event: Document, seat: Document) -> Cure:
        return lambda: seats.restore(self.context.store, event["_id"], seat, self.now)

    def _is_young(self, moment: datetime | None) -> bool:
        return moment is not None and moment > self.now - YOUNG
