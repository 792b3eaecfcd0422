"""Reviews: what may be said, of what, and what it comes to."""

from collections.abc import Mapping, Sequence
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from bson import ObjectId

from confiido_booking.actors import Actor, Role
from confiido_booking.bookings.rules import text
from confiido_booking.errors import BookingError, Conflict, FieldError, Invalid, NotAllowed

MAX_COMMENT = 500


def may_review(actor: Actor) -> None:
    if actor.role is not Role.CLIENT or actor.id is None:
        raise NotAllowed("Only clients can review their sessions")


def may_hide(actor: Actor) -> None:
    if actor.role is not Role.ADMIN:
        raise NotAllowed("Only an administrator can hide a review")


def checked_rating(rating: object) -> int:
    if isinstance(rating, bool) or not isinstance(rating, int) or not 1 <= rating <= 5:
        message = "must be a whole number from 1 to 5"
        raise Invalid(f"rating {message}", errors=[FieldError("rating", message)])
    return rating


def checked_comment(comment: str | None) -> str | None:
    return text(comment.strip(), "comment", limit=MAX_COMMENT) or None if comment is not None else None


def why_not(session: Mapping[str, Any]) -> BookingError | None:
    """Whether a session cannot be reviewed, whoever asks."""
    if session["status"] == "completed":
        return None
    details = {"status": session["status"]}
    return Conflict("Only a completed session can be reviewed", code="not_completed", details=details)


def the_one(sessions: Sequence[Mapping[str, Any]], reviewed: frozenset[ObjectId]) -> ObjectId:
    """The session that is meant where a booking alone is named: its one completed session without a review.

    Raises:
        Invalid: ``session_required``, naming the sessions where there are several.
    """
    completed = [s["sessionId"] for s in sessions if why_not(s) is None]
    open_ = [session_id for session_id in completed if session_id not in reviewed] or completed
    if len(open_) == 1:
        return ObjectId(open_[0])
    raise Invalid(
        "sessionId is needed: this booking has " + ("several completed sessions" if open_ else "no completed session"),
        code="session_required",
        details={"sessionIds": [str(session_id) for session_id in open_]},
        errors=[FieldError("sessionId", "is needed")],
    )


def average(total: Decimal, count: int) -> Decimal:
    """To two decimals, halves up."""
    return (total / count).quantize(Decimal("0.01"), ROUND_HALF_UP) if count else Decimal(0)


def first_name(name: str | None) -> str | None:
    words = (name or "").split()
    return words[0] if words else None
