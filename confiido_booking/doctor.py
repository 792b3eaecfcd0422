"""Examination and repair: every law that a document can show, checked over the whole store (PROTOCOL, DOCTOR).

What a half-done command left behind is finished or undone; what only a person can settle is named. A finding
younger than :data:`~confiido_booking.bookings.healing.YOUNG` is none: its command may still be under way.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from itertools import pairwise
from typing import Any

from bson import ObjectId

from confiido_booking import money
from confiido_booking.bookings import totals
from confiido_booking.bookings.context import Context
from confiido_booking.bookings.guards import stamped
from confiido_booking.bookings.healing import YOUNG
from confiido_booking.bookings.models import CURRENT
from confiido_booking.bookings.rules import is_lapsed
from confiido_booking.bookings.statuses import ACTIVE
from confiido_booking.bookings.unconverted import SHOWN
from confiido_booking.calendar import claims
from confiido_booking.customers import checks
from confiido_booking.database.documents import to_mongo
from confiido_booking.database.store import Document
from confiido_booking.ledger import examining
from confiido_booking.ledger.service import Ledger
from confiido_booking.orders.examining import KINDS as ORDER_KINDS
from confiido_booking.orders.examining import OrderExaminer
from confiido_booking.workshops.examining import KINDS as EVENT_KINDS
from confiido_booking.workshops.examining import EventExaminer

BATCH = 200
_REPAIRED_IN = (
    "merge",
    "calendar_missing",
    *EVENT_KINDS,
    "orphaned_claim",
    "drift",
    "orphaned_service_session",
    "archive",
    "totals",
    "claim_missing",
    "client_overlap",
    "expert_overlap",
    "unapplied_payment",
    "ledger",
    *ORDER_KINDS,
)
Cure = Callable[[], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it should be. ``kind`` is stable; without a ``cure`` a person has to settle it."""

    kind: str
    subject: str
    sentence: str
    cure: Cure | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """``findings``: what is wrong still. ``due``: lapsed holds that nothing has swept, which is no fault."""

    findings: Sequence[Finding]
    repaired: int = 0
    due: int = 0
    bookings: int = 0
    sessions: int = 0

    @property
    def is_sound(self) -> bool:
        return not self.findings


@dataclass(slots=True)
class _Round:
    """One walk through the store."""

    now: datetime
    findings: list[Finding] = field(default_factory=list)
    holds: list[Cure] = field(default_factory=list)
    openings: list[Cure] = field(default_factory=list)  # money from before the ledger, which is no fault
    calendars: dict[ObjectId, Document] = field(default_factory=dict)
    bookings: int = 0
    sessions: int = 0

    def report(self) -> Report:
        return Report(findings=self.in_order(), due=len(self.holds), bookings=self.bookings, sessions=self.sessions)

    def in_order(self) -> list[Finding]:
        """The findings in PROTOCOL's order of repair."""
        return sorted(self.findings, key=lambda finding: _REPAIRED_IN.index(finding.kind))

    def add(self, kind: str, subject: object, sentence: str, cure: Cure | None = None) -> None:
        self.findings.append(Finding(kind, str(subject), sentence, cure))


@dataclass(frozen=True, slots=True)
class Doctor:
    """``confiido.doctor``."""

    context: Context
    ledger: Ledger

    async def examine(self, *, since: datetime | None = None) -> Report:
        """Look, and change nothing. ``since``: only bookings written after it, and no calendars.

        What is found is looked at twice: beside live traffic a walk sees commands half done.
        """
        seen = await self._walk(since)
        if seen.findings:
            again = await self._walk(since)
            seen.findings = [finding for finding in seen.findings if finding in again.findings]
        return seen.report()

    async def repair(self, *, since: datetime | None = None) -> Report:
        """Finish or undo what can be, in PROTOCOL's order, until a walk finds nothing more to do.

        Every cure has its guard in its filter, so one for what is no fault does nothing.
        """
        repaired = 0
        for _ in range(3):
            seen = await self._walk(since)
            cures = [*seen.holds, *seen.openings, *(finding.cure for finding in seen.in_order() if finding.cure)]
            if not cures:
                break
            for cure in cures:
                await cure()
            repaired += len(cures)
        if since is None:
            async for kept in self.context.store.walk("booking_archive", {}):
                repaired += await examining.open_archived(self.ledger, kept)
        return replace(await self.examine(since=since), repaired=repaired)

    async def _walk(self, since: datetime | None) -> _Round:
        store, seen = self.context.store, _Round(self.context.clock())
        if since is None:
            seen.calendars = {calendar["_id"]: calendar async for calendar in store.walk("calendars", {})}
        events = EventExaminer(self.context, seen.add, seen.now)
        orders = OrderExaminer(self.context, seen.add, seen.now)
        await orders.orders(since)
        async for booking in store.walk("bookings", {"updatedAt": {"$gte": since}, **CURRENT} if since else CURRENT):
            seen.bookings += 1
            seen.sessions += len(booking["sessions"])
            self._check_merge(seen, checks.half_merged(store, booking))
            self._check_holds(seen, booking)
            self._check_totals(seen, booking)
            self._check_overlaps(seen, booking)
            await self._check_claims(seen, booking)
            await self._check_service_sessions(seen, booking)
            await events.seats_of(booking)
            await orders.of_booking(booking)
            self._complain(seen, examining.of_sessions(booking["sessions"]))
            if since is None:
                await self._check_archive(seen, booking)
                seen.openings += examining.unopened(self.ledger, booking)
        await events.events(since)
        if since is None:
            async for left in checks.unfinished(store, seen.now):
                self._check_merge(seen, left)
            for calendar in seen.calendars.values():
                await self._check_calendar(seen, calendar)
                await events.claims(calendar)
            await self._check_orphans(seen)
            await self._check_experts(seen)
            async for complaint in examining.of_entries(self.ledger):
                self._complain(seen, [complaint])
        return seen

    def _complain(self, seen: _Round, complaints: Sequence[examining.Complaint]) -> None:
        """L7."""
        for each in complaints:
            seen.add(each.kind, each.subject, each.sentence, each.cure)

    def _check_merge(self, seen: _Round, left: checks.Unfinished | None) -> None:
        if left is not None:
            seen.add("merge", left.subject, left.sentence, left.cure)

    def _check_holds(self, seen: _Round, booking: Document) -> None:
        for session in booking["sessions"]:
            if is_lapsed(session, seen.now):
                seen.holds.append(_bound(self.context.healing.expire, booking["_id"], session["sessionId"], seen.now))

    def _check_totals(self, seen: _Round, booking: Document) -> None:
        """L2, as the store has it."""
        expected = totals.of(map(totals.line, booking["sessions"]), booking["archived"]["sums"])
        count = len(booking["sessions"]) + booking["archived"]["sessions"]
        spent = expected.get(booking.get("currency", ""), {}).get("booked", Decimal(0))
        stored = {
            code: {name: money.exact(value) for name, value in sums.items()} for code, sums in booking["totals"].items()
        }
        if (stored, booking["totalSessions"], money.exact(booking["totalSpent"])) != (expected, count, spent):
            seen.add(
                "totals",
                booking["_id"],
                "The totals are not those of the sessions",
                _bound(
                    self.context.store.update,
                    "recompute totals",
                    "bookings",
                    {"_id": booking["_id"]},
                    [{"$set": stamped(seen.now)}, *totals.stages()],
                ),
            )

    def _check_overlaps(self, seen: _Round, booking: Document) -> None:
        """L4."""
        active = [
            s
            for s in booking["sessions"]
            if s["status"] in ACTIVE and not is_lapsed(s, seen.now) and not s.get("conflict")
        ]
        for one, other in pairwise(sorted(active, key=lambda session: session["startsAt"])):
            if other["startsAt"] < one["endsAt"]:
                seen.add("client_overlap", other["sessionId"], f"Overlaps the client's session {one['sessionId']}")

    async def _check_archive(self, seen: _Round, booking: Document) -> None:
        """L2: what the booking says of its archived sessions is what lies in the archive."""
        stored = booking["archived"]
        query = {"clientId": booking["clientId"]}
        current = {session["sessionId"] for session in booking["sessions"]}
        lines = [
            totals.line(kept["session"])
            async for kept in self.context.store.walk("booking_archive", query)
            if kept["_id"] not in current  # copied, not yet taken out
        ]
        sums = totals.of(lines)
        held = {
            code: {name: money.exact(value) for name, value in part.items()} for code, part in stored["sums"].items()
        }
        if (stored["sessions"], held) == (len(lines), sums):
            return
        right = {"sessions": len(lines), "sums": to_mongo(sums)}
        guard = {"_id": booking["_id"], "archived": stored}
        change = [{"$set": {"archived": {"$literal": right}, **stamped(seen.now)}}, *totals.stages()]
        cure = _bound(self.context.store.update, "recount archive", "bookings", guard, change)
        seen.add("archive", booking["_id"], "The archived sums are not those of the archived sessions", cure)

    async def _check_claims(self, seen: _Round, booking: Document) -> None:
        """L3: an active session stands on its claim."""
        claimed = [
            session
            for session in booking["sessions"]
            if session["status"] in ACTIVE
            and "claimId" in session
            and "expertId" in session
            and not session.get("seat")
            and not is_lapsed(session, seen.now)
            and session["endsAt"] > seen.now
            and not session.get("conflict")
            and not _is_young(session, seen.now)
        ]
        unread = {session["expertId"] for session in claimed} - seen.calendars.keys()
        seen.calendars |= await self._by_id("calendars", list(unread))
        for session in claimed:
            busy = seen.calendars.get(session["expertId"], {}).get("busy", [])
            if not any(entry["claimId"] == session["claimId"] for entry in busy):
                sentence = "An active session has no minutes in its expert's calendar"
                seen.add("claim_missing", session["sessionId"], sentence)

    async def _check_service_sessions(self, seen: _Round, booking: Document) -> None:
        """L3, L5: the service session says what its session says."""
        private = [session for session in booking["sessions"] if claims.is_projected(session)]
        found = await self._by_id("service_sessions", [claims.entry_id(session) for session in private])
        for session in private:
            expected = claims.service_session(session, booking["clientId"])
            stored = found.get(claims.entry_id(session))
            if stored is not None and all(stored.get(name) == value for name, value in expected.items()):
                continue
            if stored is not None and session["version"] < stored["rev"] < claims.CANCELED_REV:
                continue  # somebody wrote it after this walk read the session
            if not _is_young(session, seen.now):
                sentence = "The service session does not say what its session says"
                seen.add(
                    "drift",
                    session["sessionId"],
                    sentence,
                    _bound(claims.rewrite, self.context.store, session, booking["clientId"]),
                )

    async def _check_calendar(self, seen: _Round, calendar: Document) -> None:
        """L3: no two claims overlap, and on each a session stands."""
        claimed = [entry for entry in calendar["busy"] if entry["owner"] != "block"]
        for one, other in pairwise(sorted(claimed, key=lambda entry: entry["from"])):
            if other["from"] < one["until"] and other["serviceSessionId"] != one["serviceSessionId"]:
                sentence = f"The claims {one['claimId']} and {other['claimId']} overlap"
                seen.add("expert_overlap", calendar["_id"], sentence)
        busy = [entry for entry in claimed if entry["owner"] == "session"]
        bookings = await self._by_client([entry["clientId"] for entry in busy])
        orphans = []
        for entry in busy:
            sessions = bookings.get(entry["clientId"], {}).get("sessions", [])
            standing = next((s for s in sessions if s.get("claimId") == entry["claimId"]), None)
            if standing is None or standing["status"] == "cancelled":
                orphans.append(entry)
        shown = await self._by_id(SHOWN, [entry["clientId"] for entry in orphans])
        for entry in orphans:
            not_converted = shown.get(entry["clientId"], {}).get("claims", [])
            if any(claim["claimId"] == entry["claimId"] for claim in not_converted):
                continue
            if entry["claimedAt"] <= seen.now - YOUNG:
                cure = _bound(self.context.healing.heal, entry, calendar["_id"], seen.now)
                seen.add("orphaned_claim", entry["claimId"], "Minutes are claimed that no session stands on", cure)

    async def _check_orphans(self, seen: _Round) -> None:
        """A service session of a booking that never came to be."""
        batch: list[Document] = []
        query = {"status": {"$in": ["scheduled", "draft"]}, "visibility": "private", "rev": {"$gt": 0}}
        async for event in self.context.store.walk("service_sessions", query):
            batch.append(event)
            if len(batch) == BATCH:
                await self._check_orphan_batch(seen, batch)
                batch = []
        await self._check_orphan_batch(seen, batch)

    async def _check_orphan_batch(self, seen: _Round, events: Sequence[Document]) -> None:
        bookings = await self._by_client([event["listing"]["clientId"] for event in events])
        archived = await self._by_id("booking_archive", [event["listing"]["sessionId"] for event in events])
        for event in events:
            listing = event["listing"]
            sessions = bookings.get(listing["clientId"], {}).get("sessions", [])
            known = any(session["sessionId"] == listing["sessionId"] for session in sessions)
            created = listing.get("createdTime")
            if known or listing["sessionId"] in archived or (created is not None and created > seen.now - YOUNG):
                continue
            cure = _bound(self._bury, event, seen.now)
            seen.add("orphaned_service_session", event["_id"], "A service session has no session", cure)

    async def _bury(self, event: Document, now: datetime) -> None:
        """FENCE, S(canceled), release."""
        claim = {
            **event["listing"],
            "claimId": event["seats"][0]["claimId"] if event["seats"] else ObjectId(),
            "serviceSessionId": event["_id"],
        }
        await self.context.healing.abandon(claim, event["expertId"], now)

    async def _check_experts(self, seen: _Round) -> None:
        async for expert in self.context.store.walk("experts", {}, {"_id": 1}):
            await self._check_overlapping_events(seen, expert["_id"])
            if expert["_id"] not in seen.calendars:
                cure = _bound(
                    self.context.store.update,
                    "make calendar",
                    "calendars",
                    {"_id": expert["_id"]},
                    {"$setOnInsert": {"busy": []}},
                    upsert=True,
                )
                seen.add("calendar_missing", expert["_id"], "The expert has no calendar", cure)

    async def _check_overlapping_events(self, seen: _Round, expert_id: ObjectId) -> None:
        """L3, also where the calendar has forgotten; conflicts that an import kept are known."""
        query = {
            "expertId": expert_id,
            "status": {"$in": ["scheduled", "in_progress"]},
            "listing.conflict": {"$ne": True},
            "conflict": {"$ne": True},
            "rev": {"$gt": 0},
        }
        events = await self.context.store.find("walk", "service_sessions", query, {"startsAt": 1, "endsAt": 1})
        for one, other in pairwise(sorted(events, key=lambda event: event["startsAt"])):
            if other["startsAt"] < one["endsAt"]:
                sentence = f"The service sessions {one['_id']} and {other['_id']} overlap"
                seen.add("expert_overlap", expert_id, sentence)

    async def _by_client(self, ids: Sequence[ObjectId]) -> dict[ObjectId, Document]:
        query = {"clientId": {"$in": list(set(ids))}, **CURRENT}
        columns = {"clientId": 1, "sessions.sessionId": 1, "sessions.claimId": 1, "sessions.status": 1}
        found = await self.context.store.find("walk", "bookings", query, columns) if ids else []
        return {booking["clientId"]: booking for booking in found}

    async def _by_id(self, collection: str, ids: Sequence[ObjectId]) -> dict[ObjectId, Document]:
        found = await self.context.store.find("walk", collection, {"_id": {"$in": list(ids)}}) if ids else []
        return {document["_id"]: document for document in found}


def _bound(function: Callable[..., Awaitable[object]], *args: Any, **kwargs: Any) -> Cure:
    return lambda: function(*args, **kwargs)


def _is_young(session: Mapping[str, Any], now: datetime) -> bool:
    touched = session.get("updatedTime")
    return touched is not None and touched > now - YOUNG
