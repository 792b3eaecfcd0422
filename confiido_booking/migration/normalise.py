"""One old record → one session, exactly as the core stores it, or a :class:`Refusal`. No database, no clock.

The rules are HISTORY 3 and 6; each that touched a session leaves its name in ``legacy.flags``.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from hashlib import blake2b
from typing import Any

from bson import ObjectId

from confiido_booking import times
from confiido_booking.bookings.rules import EXPIRED_REASON, TEXT_LIMITS
from confiido_booking.bookings.statuses import ACTIVE, UNPLACED, Medium, PaymentStatus, SessionStatus
from confiido_booking.migration.amounts import Amounts, exact
from confiido_booking.migration.coercions import Coercions, Refusal, folded
from confiido_booking.migration.options import Options, derived_claim_id, derived_id
from confiido_booking.migration.people import Client, People
from confiido_booking.migration.profile import Profile, StatusRule
from confiido_booking.migration.sources import storable
from confiido_booking.migration.timing import Time, Timing, put, zone_of

Facts = Mapping[str, Any]
S, P = SessionStatus, PaymentStatus
_EMAIL = re.compile(r"\S+@\S+\.\S+")
_MEDIA = {
    "video": Medium.VIDEO,
    "videocall": Medium.VIDEO,
    "online": Medium.VIDEO,
    "audio": Medium.AUDIO,
    "phone": Medium.AUDIO,
    "call": Medium.AUDIO,
    "chat": Medium.CHAT,
    "inperson": Medium.IN_PERSON,
    "offline": Medium.IN_PERSON,
    "onsite": Medium.IN_PERSON,
}
_POLICY = {
    "cancellation": {"tiers": [], "clientUntilHoursBefore": 0},
    "bufferBefore": 0,
    "bufferAfter": 0,
    "priceSource": "import",
}
_LIMITED = ("notes", "expertNotes", "internalNotes", "location", "meetingLink")
_TIMELESS = UNPLACED | {S.CANCELLED}
_MOMENTS = ("requestedAt", "quotedAt", "bookedAt", "confirmedAt", "completedAt", "invoicedAt")


@dataclass(frozen=True, slots=True)
class Normalised:
    """A session and what the assembly needs to know of it. ``doc`` lacks only ``legacy.runId``."""

    client: Client
    doc: dict[str, Any]
    price: Decimal
    occupies: bool
    booked: datetime
    order_total: Decimal | None


@dataclass(slots=True)
class Normaliser:
    """The rules under one run's options and profile."""

    options: Options
    profile: Profile
    people: People
    coercions: Coercions
    source: str
    timing: Timing = field(init=False)
    amounts: Amounts = field(init=False)

    def __post_init__(self) -> None:
        self.timing = Timing(self.options, self.profile, self.coercions)
        self.amounts = Amounts(self.options, self.coercions)

    def session(
        self,
        facts: Facts,
        *,
        raw: Facts,
        session_id: ObjectId | None,
        fallback: str,
        used: frozenset[str],
        said: str,
        is_derived: bool = False,
    ) -> Normalised:
        """The session of these facts. ``fallback`` names the record where it has no id of its own; ``said`` is the
        digest of what it said. ``is_derived``: the id was made, so the time in it means nothing.

        Raises:
            Refusal: it cannot be understood.
        """
        coercions = self.coercions
        client, expert = self.people.client(facts), self.people.expert(facts)
        flags: list[str] = [*client.flags, *(flag for flag in expert.flags if flag not in client.flags)]
        kept = {name: storable(value) for name, value in raw.items() if name not in used and value is not None}
        own_id = None if is_derived else session_id
        if session_id is None:
            session_id = derived_id(self.profile.name, fallback)
            flags.append("session_id_derived")
        time = self.timing.time(facts, flags, kept)
        price, currency, order_total = self.amounts.price(facts, flags, kept)
        rule = self._status(facts, flags)
        payment, paid, refunded = self.amounts.payment(facts, rule, price, currency, flags)
        ended = time.ends_at is not None and time.ends_at <= self.options.as_of
        created = self._created(facts, own_id, flags)
        state = self._state(facts, rule, payment, ended, time, flags)
        if state.status not in _TIMELESS and time.starts_at is None:
            raise Refusal("time_missing" if facts.get("scheduledDate") else "date_missing")
        if time.starts_at is not None and created > time.starts_at:
            flags.append("booked_after_start")
        updated = max([created, *(moment for moment in self._moments(facts) if moment is not None)])
        doc: dict[str, Any] = {"sessionId": session_id}
        old = coercions.object_id(facts.get("_id"))
        if old is not None and old != session_id:
            doc["_id"] = old
        doc["serviceSessionId"] = derived_id("service-session", session_id)
        doc["claimId"] = derived_claim_id(session_id)
        put(doc, "expertId", expert.id)
        put(doc, "expertUserId", expert.number)
        put(doc, "expertEmail", expert.email)
        put(doc, "title", coercions.text(facts.get("title")))
        doc["sessionType"] = self._medium(facts, flags, kept)
        for name in ("location", "meetingLink"):
            if name in facts:
                put(doc, name, coercions.text(facts[name]))
        doc["duration"] = time.duration
        if time.starts_at is not None and time.ends_at is not None:
            wall = times.wall(time.starts_at, time.ends_at, zone_of(time.zone))
            doc |= {"startsAt": time.starts_at, "endsAt": time.ends_at, "timezone": time.zone}
            doc |= {"scheduledDate": wall.scheduled_date, "startTime": wall.start_time, "endTime": wall.end_time}
            doc["clientCancelUntil"] = time.starts_at
        else:
            doc["timezone"] = time.zone
        doc |= {"status": state.status, "paymentStatus": payment.value, "price": exact(price)}
        doc |= {"currency": currency, "paidAmount": exact(paid), "refundAmount": exact(refunded)}
        put(doc, "paidAt", coercions.moment(facts.get("paidAt") or facts.get("paymentCompletedAt")))
        put(doc, "paymentMethod", coercions.text(facts.get("paymentMethod")))
        for name in ("quoteAmount", "invoiceAmount"):
            if name in facts:
                amount = coercions.money(facts[name], currency, "amount")
                put(doc, name, exact(amount[0]) if amount else None)
        doc["addOns"] = self.amounts.add_ons(facts, currency, kept)
        doc["invoiceIds"], doc["quotes"] = [], []
        if state.hold is not None:
            doc["timeoutAt"] = state.hold
        if state.timeout is not None:
            doc["timeoutStatus"] = state.timeout
        for name in ("notes", "expertNotes", "internalNotes"):
            if name in facts:
                put(doc, name, coercions.text(facts[name]))
        doc["source"] = coercions.text(facts.get("source")) or "import"
        put(doc, "referralSource", coercions.text(facts.get("referralSource")))
        doc["createdBy"] = {"role": "client", "id": client.id}
        doc |= state.cancellation
        self.timing.reschedules(facts, doc, flags, kept)
        doc["policy"] = _POLICY
        for name in _MOMENTS:
            if name in facts:
                put(doc, name, coercions.moment(facts[name]))
        if "bookedAt" not in doc and state.status not in UNPLACED:
            doc["bookedAt"] = created
        doc |= {"createdTime": created, "updatedTime": updated, "version": 1}
        doc["history"] = [{"at": updated, "actor": {"role": "system"}, "action": "import", "to": state.status}]
        doc["customFields"] = {}
        self._look_at(doc, client, flags)
        legacy: dict[str, Any] = {"source": self.source, "flags": flags, "digest": said}
        if kept:
            legacy["fields"] = kept
        doc["legacy"] = legacy
        held = state.status in ACTIVE or state.status in (S.COMPLETED, S.NO_SHOW)
        return Normalised(client, doc, price, held and time.starts_at is not None, created, order_total)

    def _status(self, facts: Facts, flags: list[str]) -> StatusRule:
        """HISTORY 15: a word that no table names goes to the quarantine, never to pending."""
        word = self.coercions.text(facts.get("status"))
        if word is None:
            assumed = self.profile.parameters.get("status")
            if assumed is None:
                raise Refusal("status_missing")
            flags.append("status_assumed")
            word = assumed
        rule = self.profile.statuses.get(folded(word))
        if rule is None:
            raise Refusal("status_unknown", word[:40])
        if word != rule.status:
            self.coercions.counts["status_spelling"] += 1
        return rule

    def _state(
        self, facts: Facts, rule: StatusRule, payment: PaymentStatus, ended: bool, time: Time, flags: list[str]
    ) -> "_State":
        """HISTORY 16 and 6: what contradicts itself, and what was left pending."""
        coercions = self.coercions
        status = rule.ended if ended and rule.ended else rule.status
        deadline = coercions.moment(facts.get("timeoutAt"))
        cancelled_at = coercions.moment(facts.get("cancellationTime"))
        by, reason = coercions.text(facts.get("cancelledBy")), coercions.text(facts.get("cancellationReason"))
        cancellation: dict[str, Any] = {}
        put(cancellation, "cancellationReason", reason)
        put(cancellation, "cancelledBy", by)
        put(cancellation, "cancellationTime", cancelled_at)
        if status == S.COMPLETED and payment is P.PAID and time.ends_at is not None and not ended:
            flags.append("payment_contradiction")
            status = S.CONFIRMED
        if status == S.CONFIRMED and by and cancelled_at:
            flags.append("confirmed_with_cancellation")
        if status == S.CANCELLED and payment in (P.PENDING, P.PAID):
            flags.append("cancelled_unpaid")
        unpaid = payment in (P.PENDING, P.FAILED)
        if status != S.PENDING:
            return _State(status, deadline, "completed" if deadline else None, cancellation)
        if not unpaid:
            return _State(status, None, "completed" if deadline else None, cancellation)
        lapsed = deadline is not None and deadline <= self.options.as_of
        if lapsed or folded(str(facts.get("timeoutStatus") or "")) == "expired":
            flags.append("hold_expired")
            ended_at = deadline or coercions.moment(facts.get("updatedAt") or facts.get("createdAt")) or time.ends_at
            return _State(S.CANCELLED, deadline, "expired", _by_system(EXPIRED_REASON, cancelled_at or ended_at))
        if deadline is None and ended and self.options.stale_pending == "cancel":
            flags.append("stale_at_migration")
            return _State(S.CANCELLED, None, None, _by_system("stale_at_migration", time.ends_at))
        return _State(status, deadline, "active" if deadline else None, cancellation)

    def _created(self, facts: Facts, own_id: ObjectId | None, flags: list[str]) -> datetime:
        """When it was booked: createdTime, createdAt, or the time in its own id (HISTORY 5)."""
        found = self.coercions.moment(facts.get("createdTime"))
        if found is None:
            found = self.coercions.moment(facts.get("createdAt"))
        if found is None:
            if own_id is not None and 2005 < own_id.generation_time.year < 2100:
                found = own_id.generation_time
            else:
                found = self.options.as_of.replace(year=2000, month=1, day=1, hour=0, minute=0, second=0, microsecond=0)
            flags.append("created_time_unreliable")
        return found

    def _moments(self, facts: Facts) -> list[datetime | None]:
        names = ("updatedAt", "cancellationTime", "paymentCompletedAt", "paidAt", *_MOMENTS)
        return [self.coercions.moment(facts.get(name)) for name in names if name in facts]

    def _medium(self, facts: Facts, flags: list[str], kept: dict[str, Any]) -> str:
        word = self.coercions.text(facts.get("sessionType"))
        assumed = self.profile.parameters.get("sessionType")
        if word is None:
            if assumed is None:
                raise Refusal("session_type_unknown")
            flags.append("session_type_assumed")
            word = assumed
        medium = _MEDIA.get(folded(word))
        if medium is None:
            if assumed is None:
                raise Refusal("session_type_unknown", word[:40])
            kept["sessionType"] = word
            flags.append("session_type_assumed")
            return assumed
        return medium.value

    def _look_at(self, doc: Mapping[str, Any], client: Client, flags: list[str]) -> None:
        """HISTORY 19: what today's limits would not take is kept, and named."""
        if any(len(doc[name]) > TEXT_LIMITS[name] for name in _LIMITED if name in doc) or (
            len(doc.get("cancellationReason", "")) > TEXT_LIMITS["reason"]
        ):
            flags.append("text_over_limit")
        emails = (client.email, doc.get("expertEmail"))
        if any(email is not None and not _EMAIL.fullmatch(email) for email in emails):
            flags.append("email_odd")


@dataclass(frozen=True, slots=True)
class _State:
    status: str
    hold: datetime | None
    timeout: str | None
    cancellation: dict[str, Any]


def _by_system(reason: str, at: datetime | None) -> dict[str, Any]:
    cancellation: dict[str, Any] = {"cancellationReason": reason, "cancelledBy": "system"}
    put(cancellation, "cancellationTime", at)
    return cancellation


def digest(record: bytes | str) -> str:
    """What a source record said, in short: a later run sees by it whether the old system changed it."""
    return blake2b(record if isinstance(record, bytes) else record.encode(), digest_size=8).hexdigest()
