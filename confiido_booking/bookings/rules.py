"""What may happen to a session, decided without a database: the transition table of SPEC 4, as pure functions.

Sessions come as the store keeps them (camelCase mappings), because the hot paths never build a model.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from bson import ObjectId

from confiido_booking.actors import Actor, Role
from confiido_booking.bookings import totals
from confiido_booking.bookings.models import CancellationPolicy
from confiido_booking.bookings.statuses import ACTIVE, HELD, UNPLACED, SessionStatus
from confiido_booking.errors import (
    BookingError,
    Conflict,
    FieldError,
    Invalid,
    NotAllowed,
    TransitionRefused,
    wrong_field,
)
from confiido_booking.money import ZERO, exact

EXPIRED_REASON = "The hold expired before it was paid"
MAX_HISTORY = 50
Raw = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Transition:
    """One row of SPEC 4: from which statuses, to which, by whom. ``to`` None: the status stays, or there are several.

    ``only``: from which of them where a role may not do it from all.
    """

    sources: frozenset[str]
    to: str | None
    roles: frozenset[Role]
    done: str  # "cannot be <done>"
    only: Mapping[Role, frozenset[str]] | None = None

    def sources_for(self, role: Role) -> frozenset[str]:
        return (self.only or {}).get(role, self.sources)


_ANYBODY = frozenset(Role)
S = SessionStatus

_ASKED_FOR = frozenset({S.REQUESTED, S.QUOTED})

TRANSITIONS: dict[str, Transition] = {
    "quote": Transition(_ASKED_FOR, S.QUOTED, frozenset({Role.EXPERT, Role.ADMIN}), "quoted"),
    "book": Transition(_ASKED_FOR, S.CONFIRMED, frozenset({Role.ADMIN}), "booked"),
    "accept": Transition(frozenset({S.QUOTED}), S.PENDING, frozenset({Role.CLIENT}), "accepted"),
    "decline": Transition(
        _ASKED_FOR,
        S.CANCELLED,
        frozenset({Role.CLIENT, Role.EXPERT, Role.ADMIN}),
        "declined",
        {Role.CLIENT: frozenset({S.QUOTED}), Role.EXPERT: frozenset({S.REQUESTED})},
    ),
    "confirm": Transition(
        frozenset({S.PENDING}),
        S.CONFIRMED,
        frozenset({Role.EXPERT, Role.ADMIN, Role.SERVICE, Role.PAYMENT}),
        "confirmed",
    ),
    "schedule": Transition(frozenset({S.DRAFT}), None, frozenset({Role.CLIENT, Role.ADMIN}), "scheduled"),
    "expire": Transition(HELD, S.CANCELLED, _ANYBODY, "expired"),
    "complete": Transition(
        frozenset({S.CONFIRMED}),
        S.COMPLETED,
        frozenset({Role.EXPERT, Role.ADMIN, Role.SERVICE, Role.SYSTEM}),
        "completed",
    ),
    "no-show": Transition(
        frozenset({S.CONFIRMED}), S.NO_SHOW, frozenset({Role.EXPERT, Role.ADMIN, Role.SYSTEM}), "marked as a no-show"
    ),
    "undo": Transition(
        frozenset({S.COMPLETED, S.NO_SHOW}),
        S.CONFIRMED,
        frozenset({Role.EXPERT, Role.ADMIN}),
        "set back to confirmed",
        {Role.EXPERT: frozenset({S.NO_SHOW})},
    ),
    "cancel": Transition(
        frozenset({S.REQUESTED, S.QUOTED, S.PENDING, S.CONFIRMED, S.DRAFT}),
        S.CANCELLED,
        frozenset({Role.CLIENT, Role.EXPERT, Role.ADMIN, Role.SYSTEM}),
        "cancelled",
    ),
    "reschedule": Transition(ACTIVE, None, frozenset({Role.EXPERT, Role.ADMIN}), "rescheduled"),
    "request-reschedule": Transition(frozenset({S.CONFIRMED}), None, frozenset({Role.CLIENT}), "rescheduled"),
    "respond-reschedule": Transition(ACTIVE, None, frozenset({Role.EXPERT, Role.ADMIN}), "rescheduled"),
    "pay": Transition(
        frozenset({S.PENDING, S.CONFIRMED, S.COMPLETED, S.NO_SHOW, S.DRAFT}),
        None,
        frozenset({Role.CLIENT, Role.ADMIN, Role.SERVICE, Role.PAYMENT}),
        "paid",
    ),
    "refund": Transition(frozenset(SessionStatus), None, frozenset({Role.ADMIN, Role.SERVICE}), "refunded"),
    "revive": Transition(frozenset({S.CANCELLED}), S.CONFIRMED, frozenset({Role.PAYMENT}), "revived"),
    "invoice": Transition(
        frozenset({S.CONFIRMED, S.COMPLETED, S.NO_SHOW}), None, frozenset({Role.ADMIN, Role.SERVICE}), "invoiced"
    ),
    "patch": Transition(frozenset(SessionStatus), None, _ANYBODY, "changed"),
}


def is_lapsed(session: Raw, now: datetime) -> bool:
    """SPEC 4: a pending session past its hold counts as gone at once; so does a draft of an order that was not paid."""
    deadline = session.get("timeoutAt")
    return session["status"] in HELD and deadline is not None and deadline <= now


def status_now(session: Raw, now: datetime) -> str:
    return S.CANCELLED if is_lapsed(session, now) else str(session["status"])


def is_own(session: Raw, actor: Actor, client_id: ObjectId) -> bool:
    """L10: whose session this is to see and to act on."""
    if actor.role is Role.CLIENT:
        return actor.id == client_id
    if actor.role is Role.EXPERT:
        return actor.expert_id is not None and session.get("expertId") == actor.expert_id
    return True


_MOVES = frozenset({"reschedule", "request-reschedule", "respond-reschedule"})


def why_not(action: str, session: Raw, actor: Actor, now: datetime) -> BookingError | None:
    """Why this actor may not do that to this session now; None = they may.

    The same conditions stand in the filters of ``guards.py``; this one explains, and lists what is allowed.
    """
    transition = TRANSITIONS[action]
    if actor.role not in transition.roles:
        return not_allowed(action)
    status = status_now(session, now)
    if status in transition.sources and status not in transition.sources_for(actor.role):
        return NotAllowed(_NOT_FROM_THERE[action])
    if action == "expire":
        if not is_lapsed(session, now):
            return TransitionRefused(action, status, "Session is not expired or not in pending status", "not_expired")
        return None
    if status not in transition.sources:
        code = "hold_expired" if is_lapsed(session, now) else None
        return TransitionRefused(transition.done, status, code="not_invoiceable" if action == "invoice" else code)
    if action == "invoice" and session.get("invoiceIds"):
        sentence = "This session stands on an invoice already"
        return TransitionRefused("invoiced", status, sentence, "already_invoiced")
    if session.get("seat") and action in _MOVES:
        sentence = "A place in an event moves with the event"
        return TransitionRefused("rescheduled", status, sentence, "moves_with_event")
    starts_at = session.get("startsAt")
    if action == "accept":
        return _why_not_accepted(session, now)
    if action == "schedule" and (session.get("validUntil") or now) < now:
        return TransitionRefused("scheduled", status, "The time to schedule this session has passed", "validity_ended")
    if action == "cancel" and actor.role is Role.CLIENT and "partialCancel" in session:
        sentence = "This session is part of an order and cannot be cancelled by itself"
        return TransitionRefused("cancelled", status, sentence, "part_of_order")
    if action == "cancel" and actor.role is Role.CLIENT and is_placed(session) and _cancel_until(session) <= now:
        return TransitionRefused(
            "cancelled", status, "It is too late for you to cancel this session", "too_late_to_cancel"
        )
    if action == "no-show" and starts_at is not None and starts_at > now:
        return TransitionRefused("marked as a no-show", status, "The session has not started yet", "not_started")
    if action in ("reschedule", "request-reschedule") and starts_at is not None and starts_at <= now:
        return TransitionRefused("rescheduled", status, "The session has already started", "already_started")
    if action in ("pay", "refund", "revive"):
        return _why_no_money(action, session, status, now)
    request = (session.get("rescheduleRequest") or {}).get("status")
    if action == "request-reschedule" and request == "pending":
        sentence = "There is already a pending reschedule request for this session"
        return TransitionRefused("rescheduled", status, sentence, "reschedule_pending")
    if action == "respond-reschedule" and request != "pending":
        sentence = "There is no pending reschedule request to process"
        return TransitionRefused("rescheduled", status, sentence, "no_reschedule_request")
    return None


def _why_no_money(action: str, session: Raw, status: str, now: datetime) -> BookingError | None:
    """MONEY: what is paid, refunded, or brought back by a payment that came late."""
    of = totals.line(session)
    if action == "pay" and status == S.DRAFT and "orderId" not in session:
        return TransitionRefused("paid", status)
    if action == "pay" and of.price - of.paid + of.refunded <= 0:
        return Conflict("There is nothing left to pay for this session", code="already_paid")
    if action == "refund" and of.paid - of.refunded - exact(session.get("refundPending")) <= 0:
        return Conflict("There is nothing to refund", code="nothing_to_refund")
    if action == "revive" and session.get("cancelledBy") != "system":
        return TransitionRefused("revived", status)
    if action == "revive" and session["startsAt"] <= now:
        return TransitionRefused("revived", status, "The session has already started", "already_started")
    return None


_NOT_FROM_THERE = {
    "undo": "Only an administrator can undo a completed session",
    "decline": "Whoever asks or offers cannot decline it: they cancel it",
}
NEEDED = ("expertId", "sessionType", "duration", "startsAt")  # of a session that gets a place


def current_quote(session: Raw) -> Raw | None:
    """What a session is offered for; of an imported one that has an amount alone, a quote made of it."""
    if session.get("quotes"):
        last: Raw = session["quotes"][-1]
        return last
    if session.get("quoteAmount") is None:
        return None
    add_ons = session.get("addOns") or []
    total, extra = exact(session["quoteAmount"]), sum((exact(each["price"]) for each in add_ons), ZERO)
    return {"quoteId": session["sessionId"], "amount": total - extra, "addOns": add_ons, "total": total}


def is_expired(quote: Raw, now: datetime) -> bool:
    deadline = quote.get("expiresAt")
    return deadline is not None and deadline <= now


def incomplete(session: Raw) -> Invalid | None:
    """MONEY: what has to be known before a session can be placed."""
    missing = [name for name in NEEDED if session.get(name) is None]
    if not missing:
        return None
    sentence = f"The session cannot be placed yet: it lacks {', '.join(missing)}"
    return Invalid(sentence, code="incomplete", errors=[FieldError(name, "is needed") for name in missing])


def _why_not_accepted(session: Raw, now: datetime) -> BookingError | None:
    quote = current_quote(session)
    if quote is not None and is_expired(quote, now):
        return TransitionRefused("accepted", session["status"], "The quote has expired", "quote_expired")
    refusal = incomplete(session)
    if refusal is None and session["startsAt"] < now:
        return Invalid("The start lies in the past", code="starts_in_past")
    return refusal


def is_placed(session: Raw) -> bool:
    """Whether its time is more than a wish."""
    return session.get("startsAt") is not None and session["status"] not in UNPLACED


_DOING = {
    "no-show": "mark this session as a no-show",
    "request-reschedule": "reschedule this session",
    "respond-reschedule": "process this reschedule request",
    "pay": "complete payment for this session",
    "expire": "cancel this session",
}


def not_allowed(action: str) -> NotAllowed:
    """FRONTEND's sentence for somebody whose role does not do this."""
    return NotAllowed(f"Not authorized to {_DOING.get(action, f'{action} this session')}")


def allowed_actions(session: Raw, actor: Actor, now: datetime) -> list[str]:
    """What this actor could do to this session now (SPEC 8, ``allowedActions``)."""
    return sorted(action for action in TRANSITIONS if why_not(action, session, actor, now) is None)


def _cancel_until(session: Raw) -> datetime:
    until: datetime = session.get("clientCancelUntil") or session["startsAt"]
    return until


def client_cancel_until(policy: CancellationPolicy, starts_at: datetime) -> datetime:
    """Until when a client may cancel: the start, or earlier where the policy says so."""
    return starts_at - timedelta(hours=policy.client_until_hours_before)


def cancellation_policy(session: Raw) -> CancellationPolicy:
    """The policy that was snapshotted when it was booked; none in an old session: everything comes back."""
    return CancellationPolicy.model_validate((session.get("policy") or {}).get("cancellation") or {})


PATCHABLE: dict[str, frozenset[Role]] = {
    "notes": frozenset({Role.CLIENT, Role.EXPERT, Role.ADMIN, Role.SERVICE}),
    "expertNotes": frozenset({Role.EXPERT, Role.ADMIN, Role.SERVICE}),
    "meetingLink": frozenset({Role.EXPERT, Role.ADMIN, Role.SERVICE}),
    "location": frozenset({Role.EXPERT, Role.ADMIN, Role.SERVICE}),
    "internalNotes": frozenset({Role.ADMIN, Role.SERVICE}),
    "customFields": frozenset({Role.ADMIN, Role.SERVICE}),
    "source": frozenset({Role.ADMIN, Role.SERVICE}),
}
TEXT_LIMITS = {
    "notes": 1000,
    "expertNotes": 4000,
    "internalNotes": 4000,
    "meetingLink": 2000,
    "location": 500,
    "source": 50,
    "reason": 500,
    "mentorNote": 500,
    "referralSource": 50,
    "text": 2000,
    "paymentMethod": 50,
}
_WEB_ADDRESS = re.compile(r"https?://[^\s<>\"]+$", re.IGNORECASE)
_MAX_CUSTOM_FIELDS, _MAX_CUSTOM_VALUE = 30, 500


def text(value: object, field: str, *, limit: int | None = None) -> str:
    """A text the store can keep: no NUL, no lone surrogate, not longer than the field allows."""
    allowed = limit or TEXT_LIMITS[field]
    if not isinstance(value, str):
        raise wrong_field(field, "must be a text")
    if len(value) > allowed:
        raise wrong_field(field, f"must have at most {allowed} characters")
    if "\0" in value or any("\ud800" <= letter <= "\udfff" for letter in value):
        raise wrong_field(field, "has characters that cannot be stored")
    return value


def checked_patch(changes: Mapping[str, object], actor: Actor, known_fields: frozenset[str]) -> dict[str, Any]:
    """The fields a PATCH sets, checked (SPEC 8): another field of the session 403, an unknown one 422."""
    if not changes:
        raise Invalid("There is nothing to change")
    patch: dict[str, Any] = {}
    for field, value in changes.items():
        if field not in known_fields:
            raise Invalid("There is a field here that no session has", code="unknown_field")
        if actor.role not in PATCHABLE.get(field, frozenset()):
            raise NotAllowed(f"{field} cannot be changed by you")
        patch[field] = _custom_fields(value) if field == "customFields" else text(value, field)
    if patch.get("meetingLink") and not _WEB_ADDRESS.match(patch["meetingLink"]):
        raise wrong_field("meetingLink", "must be an address that begins with https:// or http://")
    return patch


def _custom_fields(value: object) -> dict[str, Any]:
    if not isinstance(value, Mapping) or len(value) > _MAX_CUSTOM_FIELDS:
        raise wrong_field("customFields", f"must be an object of at most {_MAX_CUSTOM_FIELDS} fields")
    fields: dict[str, Any] = {}
    for name, item in value.items():
        if not isinstance(name, str) or not 0 < len(name) <= 60 or name.startswith("$") or "." in name:
            raise wrong_field("customFields", "has a name that cannot be stored")
        text(name, "customFields", limit=60)
        if isinstance(item, str):
            fields[name] = text(item, f"customFields.{name}", limit=_MAX_CUSTOM_VALUE)
        elif isinstance(item, bool | int) and -(2**63) <= item < 2**63:
            fields[name] = item
        elif isinstance(item, float | Decimal) and -1e15 < item < 1e15:
            fields[name] = float(item)
        else:
            raise wrong_field(f"customFields.{name}", "must be a text, a number or a boolean")
    return fields
