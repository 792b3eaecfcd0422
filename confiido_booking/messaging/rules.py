"""Which events become messages, to whom, when, and whether a message still holds when it is sent. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from confiido_booking.bookings import rules

Raw = Mapping[str, Any]


class Kind(StrEnum):
    """The messages there are; each has its templates, ``custom`` is what an administrator writes."""

    QUOTE_SENT = "quote_sent"
    BOOKING_CONFIRMED = "booking_confirmed"
    SESSION_CANCELLED = "session_cancelled"
    SESSION_RESCHEDULED = "session_rescheduled"
    PAYMENT_RECEIVED = "payment_received"
    INVOICE_ISSUED = "invoice_issued"
    REMINDER = "reminder"
    CUSTOM = "custom"


class To(StrEnum):
    CLIENT = "client"
    EXPERT = "expert"


@dataclass(frozen=True, slots=True)
class Wanted:
    """A message that an event asks for. ``hours`` and ``due_at``: of a reminder."""

    kind: Kind
    to: To
    due_at: datetime
    hours: int | None = None


BOTH = (To.CLIENT, To.EXPERT)
REMINDERS = (24, 1)  # hours before the start
_ABOUT: dict[str, Kind] = {
    "session.quoted": Kind.QUOTE_SENT,
    "session.confirmed": Kind.BOOKING_CONFIRMED,
    "session.cancelled": Kind.SESSION_CANCELLED,
    "session.declined": Kind.SESSION_CANCELLED,
    "session.rescheduled": Kind.SESSION_RESCHEDULED,
    "session.reschedule_answered": Kind.SESSION_RESCHEDULED,
    "payment.received": Kind.PAYMENT_RECEIVED,
    "invoice.issued": Kind.INVOICE_ISSUED,
}
_FOR_BOTH = frozenset({Kind.BOOKING_CONFIRMED, Kind.SESSION_CANCELLED, Kind.SESSION_RESCHEDULED})
_SETS_A_TIME = frozenset({"session.confirmed", "session.rescheduled", "session.reschedule_answered"})
_ENDS_A_TIME = frozenset({"session.cancelled", "session.expired", "session.declined"})
ABOUT_A_SESSION = tuple(kind for kind in Kind if kind not in (Kind.INVOICE_ISSUED, Kind.CUSTOM))


def wanted(event: Raw, now: datetime) -> list[Wanted]:
    """The messages an event asks for; reminders only where their time has not passed."""
    asked = list[Wanted]()
    kind = _ABOUT.get(event["type"])
    if kind is not None:
        concerned = BOTH if kind in _FOR_BOTH and _concerns_expert(event) else (To.CLIENT,)
        asked += [Wanted(kind, to, now) for to in concerned]
    starts_at = event["data"].get("startsAt")
    if event["type"] in _SETS_A_TIME and event["data"].get("status") == "confirmed" and starts_at is not None:
        for hours in REMINDERS:
            due_at = starts_at - timedelta(hours=hours)
            asked += [Wanted(Kind.REMINDER, to, due_at, hours) for to in BOTH if due_at > now]
    return asked


def _concerns_expert(event: Raw) -> bool:
    """An expert hears of the end only of what was placed: not of a request that was withdrawn."""
    return event["type"] not in _ENDS_A_TIME or event["data"].get("from") in ("pending", "confirmed")


def why_not(message: Raw, session: Raw, now: datetime) -> str | None:
    """Why a message about a session no longer holds; None = it does. ``eventAt`` names the event it tells of."""
    kind, status = Kind(message["kind"]), rules.status_now(session, now)
    holds = {
        Kind.QUOTE_SENT: status == "quoted" and _is_current_quote(message, session, now),
        Kind.BOOKING_CONFIRMED: status == "confirmed" and not _has_passed(session, now),
        Kind.SESSION_CANCELLED: status == "cancelled",
        Kind.SESSION_RESCHEDULED: status in ("pending", "confirmed") and _is_last_move(message, session),
        Kind.REMINDER: status == "confirmed" and _is_ahead(message, session, now),
    }
    return None if holds.get(kind, True) else f"The session is {status}, or has changed since"


def _is_current_quote(message: Raw, session: Raw, now: datetime) -> bool:
    quote = rules.current_quote(session)
    if quote is None or rules.is_expired(quote, now):
        return False
    return "eventAt" not in message or quote.get("quotedAt", message["eventAt"]) == message["eventAt"]


def _has_passed(session: Raw, now: datetime) -> bool:
    ends_at = session.get("endsAt")
    return ends_at is not None and ends_at <= now


def _is_last_move(message: Raw, session: Raw) -> bool:
    moves = session.get("rescheduleHistory") or []
    if not moves:
        return False
    return "eventAt" not in message or moves[-1]["updatedAt"] == message["eventAt"]


def _is_ahead(message: Raw, session: Raw, now: datetime) -> bool:
    """A reminder that comes so late that the next one is due is not sent any more."""
    starts_at = session.get("startsAt")
    if starts_at is None or message.get("startsAt", starts_at) != starts_at:
        return False
    following = max((hours for hours in REMINDERS if hours < message.get("hours", 0)), default=0)
    return bool(starts_at - now > timedelta(hours=following))
