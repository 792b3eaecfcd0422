"""One old record → one session, exactly as the core stores it, or a :class:`Refusal`. No database, no clock.

The rules are HISTORY 3 and 6; each that touched a session leaves its name in ``legacy.flags``.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from hashlib import blake2b
from typing import Any
from zoneinfo import ZoneInfo

from bson import Decimal128, ObjectId

from confiido_booking import times
from confiido_booking.bookings.rules import EXPIRED_REASON, TEXT_LIMITS
from confiido_booking.bookings.statuses import ACTIVE, UNPLACED, Medium, PaymentStatus, SessionStatus
from confiido_booking.errors import Invalid
from confiido_booking.migration.coercions import Coercions, Refusal, folded
from confiido_booking.migration.options import Options, derived_claim_id, derived_id
from confiido_booking.migration.people import Client, People
from confiido_booking.migration.profile import Profile, StatusRule
from confiido_booking.migration.sources import storable
from confiido_booking.money import ZERO

Facts = Mapping[str, Any]
S, P = SessionStatus, PaymentStatus
_EMAIL = re.compile(r"\S+@\S+\.\S+")
_HUNDRED = Decimal(100)
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


@dataclass(frozen=True, slots=True)
class Time:
    starts_at: datetime | None
    ends_at: datetime | None
    duration: int
    zone: str


@dataclass(slots=True)
class Normaliser:
    """The rules under one run's options and profile."""

    options: Options
    profile: Profile
    people: People
    coercions: Coercions
    source: str

    def session(
        self, facts: Facts, *, raw: Facts, session_id: ObjectId | None, fallback: str, used: frozenset[str], said: str
    ) -> Normalised:
        """The session of these facts. ``fallback`` names the record where it has no id of its own; ``said`` is the
        digest of what it said.

        Raises:
            Refusal: it cannot be understood.
        """
        coercions = self.coercions
        client, expert = self.people.client(facts), self.people.expert(facts)
        flags: list[str] = [*client.flags, *(flag for flag in expert.flags if flag not in client.flags)]
        kept = {name: storable(value) for name, value in raw.items() if name not in used and value is not None}
        if session_id is None:
            session_id = derived_id(self.profile.name, fallback)
            flags.append("session_id_derived")
        time = self._time(facts, flags, kept)
        price, currency, order_total = self._price(facts, flags, kept)
        rule = self._status(facts, flags)
        payment, paid, refunded = self._payment(facts, rule, price, currency, flags)
        ended = time.ends_at is not None and time.ends_at <= self.options.as_of
        created = self._created(facts, session_id, flags)
        state = self._state(facts, rule, payment, ended, time, flags)
        if state.status not in UNPLACED | {S.CANCELLED} and time.starts_at is None:
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
        _put(doc, "expertId", expert.id)
        _put(doc, "expertUserId", expert.number)
        _put(doc, "expertEmail", expert.email)
        _put(doc, "title", coercions.text(facts.get("title")))
        doc["sessionType"] = self._medium(facts, flags, kept)
        for name in ("location", "meetingLink"):
            _put(doc, name, coercions.text(facts.get(name)))
        doc["duration"] = time.duration
        if time.starts_at is not None and time.ends_at is not None:
            wall = times.wall(time.starts_at, time.ends_at, _zone(time.zone))
            doc |= {"startsAt": time.starts_at, "endsAt": time.ends_at, "timezone": time.zone}
            doc |= {"scheduledDate": wall.scheduled_date, "startTime": wall.start_time, "endTime": wall.end_time}
            doc["clientCancelUntil"] = time.starts_at
        else:
            doc["timezone"] = time.zone
        doc |= {"status": state.status, "paymentStatus": payment.value, "price": exact(price)}
        doc |= {"currency": currency, "paidAmount": exact(paid), "refundAmount": exact(refunded)}
        _put(doc, "paidAt", coercions.moment(facts.get("paidAt") or facts.get("paymentCompletedAt")))
        _put(doc, "paymentMethod", coercions.text(facts.get("paymentMethod")))
        for name in ("quoteAmount", "invoiceAmount"):
            amount = coercions.money(facts.get(name), currency, "amount")
            _put(doc, name, exact(amount[0]) if amount else None)
        doc["addOns"] = self._add_ons(facts, currency, kept)
        doc["invoiceIds"] = []
        if state.hold is not None:
            doc["timeoutAt"] = state.hold
        if state.timeout is not None:
            doc["timeoutStatus"] = state.timeout
        for name in ("notes", "expertNotes", "internalNotes"):
            _put(doc, name, coercions.text(facts.get(name)))
        doc["source"] = coercions.text(facts.get("source")) or "import"
        _put(doc, "referralSource", coercions.text(facts.get("referralSource")))
        doc["createdBy"] = {"role": "client", "id": client.id}
        doc |= state.cancellation
        self._reschedules(facts, doc, flags, kept)
        doc["policy"] = _POLICY
        for name in _MOMENTS:
            _put(doc, name, coercions.moment(facts.get(name)))
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

    def _time(self, facts: Facts, flags: list[str], kept: dict[str, Any]) -> Time:
        """HISTORY 6 to 10."""
        coercions = self.coercions
        zone = self._own_zone(facts)
        starts_at, ends_at = facts.get("startsAt"), facts.get("endsAt")
        duration = coercions.minutes(facts.get("duration"))
        if starts_at is not None:
            start = coercions.moment(starts_at, zone=_zone(zone))
            end = coercions.moment(ends_at, zone=_zone(zone))
            if duration is None and start is not None and end is not None:
                flags.append("duration_from_end")
                duration = self.coercions.minutes(end - start)
            return self._timed(start, duration, zone, flags)
        clock, end_clock = coercions.clock(facts.get("startTime")), coercions.clock(facts.get("endTime"))
        day = coercions.day(facts.get("scheduledDate"))
        if (clock and clock[1]) or (end_clock and end_clock[1]):
            flags.append("one_digit_hour")
        if clock and end_clock:
            span = (_minute(end_clock[0]) - _minute(clock[0])) % 1440
            if duration is None and span:
                duration = span
                flags.append("duration_from_end")
            elif duration is not None and span != duration % 1440:
                flags.append("end_disagrees")
                kept["endTime"] = storable(facts["endTime"])
        if day is None or clock is None:
            return self._timed(None, duration, zone, flags)
        if day[1] is not None:
            flags.append(day[1])
            kept["scheduledDate"] = storable(facts["scheduledDate"])
        try:
            start = times.at_wall(day[0], clock[0], _zone(zone))
        except Invalid:
            raise Refusal("time_skipped", f"{day[0]} {clock[0]:%H:%M} {zone}") from None
        return self._timed(start, duration, zone, flags)

    def _timed(self, start: datetime | None, duration: int | None, zone: str, flags: list[str]) -> Time:
        if duration is None:
            assumed = self.profile.parameters.get("duration")
            if assumed is None:
                raise Refusal("duration_missing")
            duration = int(assumed)
            flags.append("duration_assumed")
        if duration < 15:
            flags.append("duration_short")
        end = start + timedelta(minutes=duration) if start is not None else None
        if start is not None and end is not None:
            local = _zone(zone)
            if end.astimezone(local).date() != start.astimezone(local).date():
                flags.append("across_midnight")
        return Time(start, end, duration, zone)

    def _own_zone(self, facts: Facts) -> str:
        given = facts.get("timezone")
        return given if isinstance(given, str) and _is_zone(given) else self.options.timezone

    def _price(self, facts: Facts, flags: list[str], kept: dict[str, Any]) -> tuple[Decimal, str, Decimal | None]:
        """HISTORY 3 to 5. The amount, its currency, and what the whole order cost where the record says so."""
        currency = self.coercions.currency(facts.get("currency"))
        if currency is None:
            flags.append("currency_assumed")
            currency = self.options.currency
        elif currency != self.options.currency:
            flags.append("currency_other")
        total = self.coercions.money(facts.get("orderTotal"), currency)
        parsed = self.coercions.money(facts.get("price"), currency)
        if parsed is None:
            if self.options.missing_price == "quarantine" and total is None:
                raise Refusal("price_missing")
            if total is None:
                flags.append("price_missing_as_zero")
            return ZERO.quantize(Decimal("0.01")), currency, total[0] if total else None
        price, changed = parsed
        if changed:
            flags.append("price_rounded")
            kept["price"] = storable(facts["price"])
        if currency == "INR" and 0 < price < _HUNDRED:
            flags.append("price_suspicious")
        return price, currency, total[0] if total else None

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

    def _payment(
        self, facts: Facts, rule: StatusRule, price: Decimal, currency: str, flags: list[str]
    ) -> tuple[PaymentStatus, Decimal, Decimal]:
        """HISTORY 6: paid is finalAmount where stored, else the price; invoiced is not paid."""
        coercions = self.coercions
        payment = coercions.payment(facts.get("paymentStatus"))
        if payment is None:
            is_paid = coercions.flag(facts.get("paid")) or facts.get("paidAt") is not None
            payment = P.PAID if is_paid else P(rule.payment) if rule.payment else P.PENDING
        amounts = [coercions.money(facts.get(name), currency, "amount") for name in ("paidAmount", "finalAmount")]
        stored = next((amount[0] for amount in amounts if amount is not None), None)
        refund = coercions.money(facts.get("refundAmount"), currency, "amount")
        if price == 0 and not stored and payment in (P.PENDING, P.PAID):
            return P.NOT_REQUIRED, ZERO, refund[0] if refund else ZERO
        paid = stored if stored is not None else price
        if payment not in (P.PAID, P.REFUNDED, P.PARTIALLY_REFUNDED, P.PARTIALLY_PAID):
            return payment, ZERO, refund[0] if refund else ZERO
        if payment is P.REFUNDED and not (refund and refund[0]):
            flags.append("refund_assumed")
            return payment, paid, paid
        return payment, paid, refund[0] if refund else ZERO

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
        _put(cancellation, "cancellationReason", reason)
        _put(cancellation, "cancelledBy", by)
        _put(cancellation, "cancellationTime", cancelled_at)
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

    def _created(self, facts: Facts, session_id: ObjectId, flags: list[str]) -> datetime:
        """When it was booked: createdTime, createdAt, or the time in its own id (HISTORY 5)."""
        found = self.coercions.moment(facts.get("createdTime"))
        if found is None:
            found = self.coercions.moment(facts.get("createdAt"))
        if found is None:
            found = session_id.generation_time
            if not 2005 < found.year < 2100:
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

    def _add_ons(self, facts: Facts, currency: str, kept: dict[str, Any]) -> list[dict[str, Any]]:
        given = self.coercions.json(facts.get("addOns"))
        if not isinstance(given, list):
            if given is not None:
                kept["addOns"] = storable(given)
            return []
        found = []
        for entry in given:
            amount = (
                self.coercions.money(entry.get("price"), currency, "amount") if isinstance(entry, Mapping) else None
            )
            name = self.coercions.text(entry.get("name")) if isinstance(entry, Mapping) else None
            if amount is None or name is None:
                kept["addOns"] = storable(given)
                return []
            found.append({"name": name, "price": exact(amount[0]), "minutes": 0})
        return found

    def _reschedules(self, facts: Facts, doc: dict[str, Any], flags: list[str], kept: dict[str, Any]) -> None:
        doc["rescheduleHistory"] = []
        zone = doc["timezone"]
        try:
            history = facts.get("rescheduleHistory") or []
            if history:
                doc["rescheduleHistory"] = [self._moved(entry, zone, doc["duration"]) for entry in history]
            request = facts.get("rescheduleRequest")
            if isinstance(request, Mapping) and request.get("status"):
                doc["rescheduleRequest"] = self._requested(request, zone, doc["duration"])
        except (Refusal, Invalid, KeyError, TypeError, AttributeError, ValueError):
            flags.append("reschedule_unreadable")
            doc["rescheduleHistory"] = []
            for name in ("rescheduleHistory", "rescheduleRequest"):
                if name in facts:
                    kept[name] = storable(facts[name])

    def _moved(self, entry: Facts, zone: str, duration: int) -> dict[str, Any]:
        moved: dict[str, Any] = {}
        for side in ("previous", "new"):
            moved |= self._place(entry, side, zone, duration)
        moved["updatedBy"] = str(entry.get("updatedBy") or "system")
        moved["updatedAt"] = self._needed(entry.get("updatedAt"))
        _put(moved, "reason", self.coercions.text(entry.get("reason")))
        return moved

    def _requested(self, request: Facts, zone: str, duration: int) -> dict[str, Any]:
        found = {"status": str(request["status"]), "requestedBy": str(request.get("requestedBy") or "client")}
        asked: dict[str, Any] = {**found, **self._place(request, "requested", zone, duration)}
        asked["requestedAt"] = self._needed(request.get("requestedAt"))
        _put(asked, "reason", self.coercions.text(request.get("reason")))
        _put(asked, "respondedAt", self.coercions.moment(request.get("respondedAt")))
        _put(asked, "responseNote", self.coercions.text(request.get("responseNote")))
        return asked

    def _place(self, entry: Facts, side: str, zone: str, duration: int) -> dict[str, Any]:
        day, clock = self.coercions.day(entry.get(f"{side}Date")), self.coercions.clock(entry.get(f"{side}StartTime"))
        if day is None or clock is None:
            raise Refusal("date_missing")
        start = times.at_wall(day[0], clock[0], _zone(zone))
        end = start + timedelta(minutes=duration)
        return {
            f"{side}Date": f"{day[0]:%Y-%m-%d}",
            f"{side}StartTime": f"{clock[0]:%H:%M}",
            f"{side}EndTime": f"{end.astimezone(_zone(zone)):%H:%M}",
            f"{side}StartsAt": start,
        }

    def _needed(self, value: Any) -> datetime:
        moment = self.coercions.moment(value)
        if moment is None:
            raise Refusal("time_missing")
        return moment

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


def exact(amount: Decimal) -> Decimal128:
    """As the store keeps it."""
    return _exact(str(amount))  # not by the number itself: 25 and 25.00 are equal, and stored differently


@lru_cache(maxsize=4096)
def _exact(digits: str) -> Decimal128:
    """Few prices, many sessions."""
    return Decimal128(digits)


def _by_system(reason: str, at: datetime | None) -> dict[str, Any]:
    cancellation: dict[str, Any] = {"cancellationReason": reason, "cancelledBy": "system"}
    _put(cancellation, "cancellationTime", at)
    return cancellation


def digest(record: bytes | str) -> str:
    """What a source record said, in short: a later run sees by it whether the old system changed it."""
    return blake2b(record if isinstance(record, bytes) else record.encode(), digest_size=8).hexdigest()


def _put(document: dict[str, Any], name: str, value: Any) -> None:
    if value is not None:
        document[name] = value


def _minute(clock: Any) -> int:
    minutes: int = clock.hour * 60 + clock.minute
    return minutes


@lru_cache(maxsize=512)
def _zone(name: str) -> ZoneInfo:
    return times.zone(name)


@lru_cache(maxsize=512)
def _is_zone(name: str) -> bool:
    try:
        times.zone(name)
    except Invalid:
        return False
    return True
