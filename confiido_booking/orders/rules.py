"""What an order is and what may happen to it, decided without a database. Sessions come as the store keeps them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from bson import ObjectId

from confiido_booking.actors import Actor, Role
from confiido_booking.bookings import rules as booking_rules
from confiido_booking.bookings import totals
from confiido_booking.bookings.rules import is_lapsed
from confiido_booking.bookings.statuses import HELD, SessionStatus, TimeoutStatus
from confiido_booking.catalog.models import PartialCancel
from confiido_booking.errors import BookingError, Conflict, NotFound
from confiido_booking.money import ZERO
from confiido_booking.orders.models import Order, OrderStatus

Raw = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Standing:
    """What an order is by its sessions. ``held_until``: the first of the deadlines of what is not paid."""

    status: OrderStatus
    paid: Decimal
    refunded: Decimal
    held_until: datetime | None


def standing(sessions: Sequence[Raw], now: datetime | None = None) -> Standing:
    """The state of an order. With ``now`` a lapsed hold counts as gone, as in every reply; without, as it is stored."""
    lines = [totals.line(session) for session in sessions]
    paid, refunded = sum((each.paid for each in lines), ZERO), sum((each.refunded for each in lines), ZERO)
    live = [session for session in sessions if not _is_gone(session, now)]
    owed = sum((max(ZERO, each.price - each.paid + each.refunded) for each in map(totals.line, live)), ZERO)
    is_refunded = 0 < paid <= refunded
    if not live:
        is_expired = all(_has_expired(session, now) for session in sessions)
        status = OrderStatus.EXPIRED if is_expired else OrderStatus.CANCELLED
        status = OrderStatus.REFUNDED if is_refunded else status
    elif owed:
        status = OrderStatus.PENDING_PAYMENT
    elif is_refunded:
        status = OrderStatus.REFUNDED
    else:
        status = OrderStatus.PARTLY_CANCELLED if len(live) < len(sessions) else OrderStatus.PAID
    deadlines = [session["timeoutAt"] for session in live if session["status"] in HELD and session.get("timeoutAt")]
    return Standing(status, paid, refunded, min(deadlines, default=None))


def _is_gone(session: Raw, now: datetime | None) -> bool:
    return session["status"] == SessionStatus.CANCELLED or (now is not None and is_lapsed(session, now))


def _has_expired(session: Raw, now: datetime | None) -> bool:
    if session["status"] != SessionStatus.CANCELLED:
        return now is not None and is_lapsed(session, now)
    return session.get("cancelledBy") == "system" and session.get("timeoutStatus") == TimeoutStatus.EXPIRED


def has_begun(session: Raw, now: datetime) -> bool:
    """Whether it is too late for it to be a part of a cancellation: what began stays (MONEY)."""
    starts_at = session.get("startsAt")
    ended = session["status"] in (SessionStatus.COMPLETED, SessionStatus.NO_SHOW)
    return ended or (starts_at is not None and starts_at <= now)


def why_not_cancelled(session: Raw, actor: Actor, now: datetime) -> BookingError | None:
    """Why a session cannot go with its order; that it cannot go by itself is no reason."""
    alone = {name: value for name, value in session.items() if name != "partialCancel"}
    return booking_rules.why_not("cancel", alone, actor, now)


def to_cancel(
    order: Order, sessions: Sequence[Raw], wanted: Sequence[ObjectId] | None, actor: Actor, now: datetime
) -> list[Raw]:
    """Which sessions a cancellation takes: those named, else all that have not begun and can be cancelled.

    Raises:
        NotFound: ``session_not_found``. Conflict: ``nothing_to_cancel``, ``whole_order_only``, ``rest_only``, or why
            one that was named cannot be.
    """
    left = [each for each in sessions if not _is_gone(each, now) and not has_begun(each, now)]
    if wanted is None:
        chosen = [each for each in left if why_not_cancelled(each, actor, now) is None]
        if not chosen:
            refusals = [why for each in left if (why := why_not_cancelled(each, actor, now)) is not None]
            status = standing(sessions, now).status.value
            sentence = "There is nothing left in this order that can be cancelled"
            raise refusals[0] if refusals else Conflict(sentence, code="nothing_to_cancel", details={"status": status})
    else:
        by_id = {each["sessionId"]: each for each in sessions}
        if not set(wanted) <= by_id.keys() or not wanted:
            raise NotFound("Session not found", code="session_not_found")
        chosen = [by_id[each] for each in dict.fromkeys(wanted)]
        for each in chosen:
            refusal = why_not_cancelled(each, actor, now)
            if refusal is not None:
                raise refusal
    if actor.role is Role.CLIENT:
        _check_part(order, sessions, left, chosen, now)
    return chosen


def _check_part(
    order: Order, sessions: Sequence[Raw], left: Sequence[Raw], chosen: Sequence[Raw], now: datetime
) -> None:
    """MONEY: a service's ``partialCancel``, which binds the client."""
    is_all = {each["sessionId"] for each in chosen} >= {each["sessionId"] for each in left}
    begun = any(has_begun(each, now) and not _is_gone(each, now) for each in sessions)
    if order.partial_cancel is PartialCancel.NONE and (begun or not is_all):
        raise Conflict("This order can only be cancelled as a whole, before it begins", code="whole_order_only")
    if order.partial_cancel is PartialCancel.REST and not is_all:
        raise Conflict("Of this order only all that is left can be cancelled", code="rest_only")


def not_found() -> NotFound:
    return NotFound("Order not found", code="order_not_found")
