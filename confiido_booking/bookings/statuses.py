"""The words for a session's state, and their groups (SPEC 4)."""

from enum import StrEnum


class SessionStatus(StrEnum):
    REQUESTED = "requested"
    QUOTED = "quoted"
    DRAFT = "draft"
    PENDING = "pending"
    CONFIRMED = "confirmed"
    COMPLETED = "completed"
    NO_SHOW = "no-show"
    CANCELLED = "cancelled"


class PaymentStatus(StrEnum):
    PENDING = "pending"
    PARTIALLY_PAID = "partially_paid"
    PAID = "paid"
    PARTIALLY_REFUNDED = "partially_refunded"
    REFUNDED = "refunded"
    FAILED = "failed"
    NOT_REQUIRED = "not_required"


class TimeoutStatus(StrEnum):
    ACTIVE = "active"
    EXPIRED = "expired"
    COMPLETED = "completed"


class Medium(StrEnum):
    """A session's ``sessionType``: by what means the two meet."""

    VIDEO = "video"
    AUDIO = "audio"
    CHAT = "chat"
    IN_PERSON = "in-person"


ACTIVE = frozenset({SessionStatus.PENDING, SessionStatus.CONFIRMED})
HELD = frozenset({SessionStatus.PENDING, SessionStatus.DRAFT})  # what a hold that lapses ends; a draft while unpaid
FINISHED = frozenset({SessionStatus.COMPLETED, SessionStatus.NO_SHOW, SessionStatus.CANCELLED})
COUNTED = frozenset({SessionStatus.PENDING, SessionStatus.CONFIRMED, SessionStatus.COMPLETED, SessionStatus.NO_SHOW})
UNPLACED = frozenset({SessionStatus.REQUESTED, SessionStatus.QUOTED, SessionStatus.DRAFT})

SERVICE_SESSION_STATUS: dict[str, str] = {  # SPEC L3: what its private service session says
    SessionStatus.PENDING: "scheduled",
    SessionStatus.CONFIRMED: "scheduled",
    SessionStatus.COMPLETED: "completed",
    SessionStatus.NO_SHOW: "completed",
    SessionStatus.CANCELLED: "canceled",
    SessionStatus.REQUESTED: "draft",
    SessionStatus.QUOTED: "draft",
    SessionStatus.DRAFT: "draft",
}

_SPELLINGS = {
    "canceled": "cancelled",
    "request": "requested",
    "noshow": "no-show",
    "booked": "confirmed",
    "pending-payment": "pending",
}


def spelled(word: str) -> str:
    """``Booked``, ``canceled``, ``no_show`` … as SPEC 4's own word; spelling and case do not matter on input."""
    folded = word.strip().casefold().replace("_", "-").replace(" ", "-")
    return _SPELLINGS.get(folded, folded)
