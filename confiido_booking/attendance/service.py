"""Who came to an event, what follows from it for the sessions, and the right to join (seed 004; ROUTES)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from bson import ObjectId

from confiido_booking.actors import Actor, Role
from confiido_booking.attendance import recording, rules
from confiido_booking.attendance.livekit import LiveKit
from confiido_booking.attendance.rules import Presence, Room, Visit
from confiido_booking.bookings import guards, transitions
from confiido_booking.bookings.context import Context
from confiido_booking.bookings.guards import Command
from confiido_booking.bookings.transitions import Plan
from confiido_booking.bookings.views import View
from confiido_booking.bookings.workflow import within_deadline
from confiido_booking.calendar import seats
from confiido_booking.catalog import rules as catalog_rules
from confiido_booking.catalog.service import Catalog
from confiido_booking.database.store import Document
from confiido_booking.errors import Conflict, NotAllowed, NotFound, iso
from confiido_booking.workshops import commanding
from confiido_booking.workshops import rules as event_rules

_BOOKED = frozenset({"confirmed", "completed", "no-show"})
_NOT_UNDONE = {"history.action": {"$ne": "undo"}}
BATCH = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class AttendeeRecord:
    """One who booked, and when they were there. ``status`` is the session's."""

    session_id: ObjectId
    client_id: ObjectId
    status: str | None
    presence: Presence
    attended: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class AttendanceView:
    """``no_shows``: who booked and did not come; nobody before the event is over."""

    attendees: Sequence[AttendeeRecord]
    no_shows: Sequence[AttendeeRecord]


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinToken:
    token: str
    url: str
    room: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Attendance:
    """``confiido.attendance``."""

    context: Context
    catalog: Catalog

    @within_deadline
    async def receive(self, body: bytes, authorization: str) -> None:
        """Take in what LiveKit told: raw bytes, and its ``Authorization`` header. Told twice it is noted once.

        Raises:
            Unavailable: ``provider_not_configured``. InvalidSignature. MalformedEvent.
        """
        told = LiveKit.of(self.context.settings).told(body, authorization)
        if told is None:
            return
        event = await recording.event_of(self.context.store, told.event_id)
        if event is None or "startsAt" not in event or "endsAt" not in event:
            return  # a room of somebody else's, or of a draft
        if isinstance(told.fact, Room):
            await recording.opening(self.context.store, event, told.fact, self.context.clock())
        else:
            await recording.visit(self.context.store, event, told.fact)

    async def get(self, event_id: ObjectId, *, actor: Actor) -> AttendanceView:
        """Who came, and who did not. Staff, and the expert whose event it is."""
        event = await self._run_by(event_id, actor)
        now = self.context.clock()
        attendees = (await self._records([event], now))[event["_id"]]
        is_over = rules.status_of(event) == "completed" or ("endsAt" in event and event["endsAt"] <= now)
        absent = [each for each in attendees if is_over and not each.attended]
        return AttendanceView(attendees=attendees, no_shows=absent)

    @within_deadline
    async def check_in(self, event_id: ObjectId, session_id: ObjectId, *, actor: Actor) -> AttendeeRecord:
        """Note that somebody came in person. Twice is once.

        Raises:
            NotFound: ``service_session_not_found``, ``session_not_found``: nobody's place there.
            Conflict: ``too_early``: more than an hour before the start; ``transition_refused``: not confirmed.
        """
        event = await self._run_by(event_id, actor)
        now = self.context.clock()
        seat = next((seat for seat in seats.live(event, now) if seat["sessionId"] == session_id), None)
        if seat is None:
            raise NotFound("Nobody has this place in the event", code="session_not_found")
        if now < event["startsAt"] - rules.CHECK_IN_BEFORE:
            raise Conflict("The event is still to come", code="too_early")
        [status] = (await self._statuses([seat["sessionId"]], event)).values() or [None]
        if status not in ("confirmed", "completed"):
            sentence = f"Somebody whose session is {status} cannot be checked in"
            raise Conflict(sentence, code="transition_refused", details={"status": status})
        await recording.check_in(self.context.store, event, seat, await self._known(actor), now)
        records = (await self._records([event], now))[event["_id"]]
        return next(each for each in records if each.session_id == session_id)

    async def completion(
        self, service_id: ObjectId, *, actor: Actor, client_id: ObjectId | None = None
    ) -> float | None:
        """In percent, how many of the places in finished sessions of a service were attended: all clients', or one's.

        None: none has finished. A client asks for the own rate only.
        """
        asks = await self._known(actor)
        service = await self.catalog.get(service_id, actor=asks)
        if asks.role is Role.CLIENT:
            if client_id not in (None, asks.id):
                raise NotAllowed("Clients see their own completion rate only")
            client_id = asks.id
        elif not catalog_rules.runs(service, asks):
            raise NotAllowed("Only the expert whose service it is, or an administrator, can see this")
        query: Document = {"serviceId": service.id, "visibility": {"$in": ["public", "private"]}, "status": "completed"}
        if client_id is not None:
            query["seats.clientId"] = client_id
        came, booked = 0, 0
        events: list[Document] = []
        async for event in self.context.store.walk("service_sessions", query, {"outbox": 0, "history": 0}):
            events.append(event)
        for start in range(0, len(events), BATCH):
            batch = await self._records(events[start : start + BATCH], self.context.clock())
            for record in (record for records in batch.values() for record in records):
                if client_id in (None, record.client_id):
                    booked += 1
                    came += record.attended
        return rules.rate(came, booked)

    async def token(self, event_id: ObjectId, *, actor: Actor) -> JoinToken:
        """The right to join the room: a client's with a confirmed place, the expert's whose event it is.

        Raises:
            NotFound: not theirs to see. NotAllowed: theirs to see, not to join.
            Unavailable: ``provider_not_configured``.
            Conflict: ``transition_refused``: cancelled, or not confirmed; ``outside_window`` with
                ``details.opensAt``, ``details.closesAt``.
        """
        asks = await self._known(actor)
        event = await commanding.read(self.context, event_id)
        if not event_rules.sees(event, asks):
            raise event_rules.not_found()
        now, runs = self.context.clock(), asks.role is Role.EXPERT and event_rules.runs(event, asks)
        own = [seat for seat in seats.live(event, now) if asks.role is Role.CLIENT and seat["clientId"] == asks.id]
        if asks.id is None or not (runs or own):
            raise NotAllowed("Only who takes part in this event can join it")
        livekit = LiveKit.of(self.context.settings)
        if event["status"] == "canceled":
            raise event_rules.refused("join", event["status"])
        if own:
            status = (await self._statuses([own[0]["sessionId"]], event)).get(own[0]["sessionId"])
            if status not in _BOOKED:
                raise Conflict("Your place is not confirmed", code="transition_refused", details={"status": status})
        opens, closes = rules.window(event)
        if not opens <= now < closes:
            details = {"opensAt": iso(opens), "closesAt": iso(closes)}
            raise Conflict("The room is not open now", code="outside_window", details=details)
        lasts = closes - now
        made = livekit.token(event_id=event_id, user_id=asks.id, name=asks.name, lasts=lasts, runs=runs)
        return JoinToken(token=made, url=livekit.url, room=str(event_id), expires_at=closes)

    async def settle(self) -> int:
        """The worker's part: where somebody watched who came, who did is completed and who did not is a no-show, so
        long after the end as the setting says. What a person undid stays. How many sessions it decided."""
        now = self.context.clock()
        due = now - timedelta(minutes=self.context.settings.no_show_after_minutes)
        query = {"tracked": True, "endsAt": {"$lte": due}}
        decided, passed = 0, list[ObjectId]()
        while True:
            left = {**query, "_id": {"$nin": passed}} if passed else query
            events = await self.context.store.find("find tracked", "service_sessions", left, {"outbox": 0}, limit=BATCH)
            for event in events:
                passed.append(event["_id"])
                decided += await self._settle(event, now)
            if len(events) < BATCH:
                return decided

    async def _settle(self, event: Document, now: datetime) -> int:
        if event["visibility"] == "public" and event["status"] in ("scheduled", "in_progress"):
            try:
                command = Command(action="complete", actor=Actor.system(), now=now)
                await commanding.complete(self.context, event["_id"], command)
            except Conflict:
                return 0  # somebody changes it at this moment; the next round
        decided = 0
        for record in (await self._records([event], now))[event["_id"]]:
            if record.status == "confirmed":
                decided += await self._decide(record, now)
        done = {"_id": event["_id"], "endsAt": event["endsAt"]}
        await self.context.store.update("event settled", "service_sessions", done, {"$unset": {"tracked": ""}})
        return decided

    async def _decide(self, record: AttendeeRecord, now: datetime) -> bool:
        columns = {"sessions": {"$elemMatch": {"sessionId": record.session_id}}}
        query = guards.of_client(record.client_id)
        booking = await self.context.store.find_one("find booking", "bookings", query, columns)
        if booking is None or not booking.get("sessions") or rules.was_undone(booking["sessions"][0]):
            return False
        action, to = ("complete", "completed") if record.attended else ("no-show", "no-show")
        fields: dict[str, Any] = {"completedAt": now} if record.attended else {}
        plan = Plan(to=to, fields=fields, expressions=transitions.CLOSED_REQUEST, guard=_NOT_UNDONE)
        command = Command(action=action, actor=Actor.system(), now=now)
        try:
            await transitions.transition(self.context, booking["_id"], record.session_id, command, View.HEAD, plan)
        except (Conflict, NotFound):
            return False  # somebody was first
        return True

    async def _records(self, events: Sequence[Document], now: datetime) -> Mapping[ObjectId, list[AttendeeRecord]]:
        """Of each event, everybody whose session is booked, with all their visits."""
        ids = [event["_id"] for event in events]
        notes = await self.context.store.find("read visits", recording.COLLECTION, {"serviceSessionId": {"$in": ids}})
        by_event: dict[ObjectId, list[Document]] = {}
        for note in notes:
            by_event.setdefault(note["serviceSessionId"], []).append(note)
        wanted = [seat["sessionId"] for event in events for seat in event.get("seats", [])]
        statuses = await self._statuses(wanted, *events)
        return {
            event["_id"]: [
                _record(event, seat, status, by_event.get(event["_id"], []), now)
                for seat in seats.live(event, now)
                if (status := statuses.get(seat["sessionId"])) in _BOOKED
            ]
            for event in events
        }

    async def _statuses(self, session_ids: Sequence[ObjectId], *events: Document) -> dict[ObjectId, str]:
        """Of sessions, as their entries have it; a private event is its own entry."""
        known = {
            event["listing"]["sessionId"]: str(event["listing"]["status"]) for event in events if "listing" in event
        }
        wanted = [session_id for session_id in session_ids if session_id not in known]
        if wanted:
            columns = {"listing.sessionId": 1, "listing.status": 1}
            query = {"_id": {"$in": wanted}, "visibility": "seat"}
            found = await self.context.store.find("read statuses", "service_sessions", query, columns)
            known |= {entry["listing"]["sessionId"]: entry["listing"]["status"] for entry in found}
        return {session_id: known[session_id] for session_id in session_ids if session_id in known}

    async def _run_by(self, event_id: ObjectId, actor: Actor) -> Document:
        asks = await self._known(actor)
        event = await commanding.read(self.context, event_id)
        if not event_rules.sees(event, asks) or "startsAt" not in event:
            raise event_rules.not_found()
        if not event_rules.runs(event, asks):
            raise NotAllowed("Only the expert whose event it is, or an administrator, can do this")
        return event

    async def _known(self, actor: Actor) -> Actor:
        return await self.context.experts.identify(actor)


def _record(
    event: Document, seat: Document, status: str | None, notes: Sequence[Document], now: datetime
) -> AttendeeRecord:
    closed = {room.sid: room.finished_at for room in rules.rooms_of(event)}
    visits = [
        Visit(
            joined_at=note.get("joinedAt"),
            left_at=note.get("leftAt") or closed.get(note.get("roomSid", "")),
            checked_in=bool(note.get("checkedIn")),
        )
        for note in notes
        if seat["sessionId"] == note.get("sessionId") or seat["clientId"] == note["clientId"]
    ]
    seen = rules.presence(visits, event["startsAt"], now)
    return AttendeeRecord(
        session_id=seat["sessionId"],
        client_id=seat["clientId"],
        status=status,
        presence=seen,
        attended=rules.attended(status, seen),
    )
