"""What a cancellation costs and gives back: one rule for the preview and for the cancelling itself (MONEY).

The policy is the one that was snapshotted when the session was booked. A client's cancellation falls into a tier by the
hours that are left; everybody else's gives everything back.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from confiido_booking.actors import Actor, Role
from confiido_booking.bookings import rules, totals
from confiido_booking.bookings.models import CancellationPolicy, CancellationTier
from confiido_booking.bookings.statuses import SessionStatus
from confiido_booking.money import ZERO, exact, rounded

Raw = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """``refund_amount``: what would come back; ``fee``: what would be kept of what was paid. ``until``: up to when this
    answer holds. Of a session that is cancelled, what its cancellation has left."""

    allowed: bool
    refund_amount: Decimal
    fee: Decimal
    currency: str
    tier: CancellationTier | None = None
    until: datetime | None = None


def terms(session: Raw, actor: Actor, now: datetime) -> Terms:
    """What cancelling means for this actor at this moment."""
    of = totals.line(session)
    is_over = rules.status_now(session, now) == SessionStatus.CANCELLED
    tier = None if is_over else tier_met(rules.cancellation_policy(session), session.get("startsAt"), now, actor.role)
    due = of.due if is_over else refund_due(session, now, actor.role)
    gone = of.refunded + exact(session.get("refundPending"))
    refund = max(ZERO, min(due, of.paid) - gone)
    allowed = rules.why_not("cancel", session, actor, now) is None
    return Terms(
        allowed=allowed,
        refund_amount=refund,
        fee=max(ZERO, of.paid - gone - refund),
        currency=of.currency,
        tier=tier,
        until=_until(session, tier, actor.role) if allowed else None,
    )


def refund_due(session: Raw, now: datetime, by: Role) -> Decimal:
    """Of what was paid, what a cancellation makes due back: rounded half up."""
    of, policy, starts_at = totals.line(session), rules.cancellation_policy(session), session.get("startsAt")
    if by is not Role.CLIENT or not policy.tiers or starts_at is None:
        return of.paid
    tier = tier_met(policy, starts_at, now, by)
    return rounded(of.paid * Decimal(str(tier.refund_percent)) / 100, of.currency) if tier else ZERO


def tier_met(
    policy: CancellationPolicy, starts_at: datetime | None, now: datetime, by: Role
) -> CancellationTier | None:
    """The tier of the largest ``hoursBefore`` ≤ the hours left, the boundary counting for the client."""
    if by is not Role.CLIENT or starts_at is None:
        return None
    met = [tier for tier in policy.tiers if starts_at - now >= timedelta(hours=tier.hours_before)]
    return max(met, key=lambda tier: tier.hours_before, default=None)


def _until(session: Raw, tier: CancellationTier | None, by: Role) -> datetime | None:
    """A tier ends where the next begins; a client's right to cancel ends at the start, or before."""
    starts_at = session.get("startsAt")
    if starts_at is None or by is not Role.CLIENT:
        return None
    last: datetime = session.get("clientCancelUntil") or starts_at
    return min(last, starts_at - timedelta(hours=tier.hours_before)) if tier else last
