"""What a session keeps of its expert, of the price list and of the rules as they were when it was booked (STYLE 12)."""

from datetime import datetime
from decimal import Decimal

from confiido_booking.bookings.models import CancellationPolicy, Policy
from confiido_booking.database.store import Document
from confiido_booking.experts.models import Expert
from confiido_booking.settings import Settings

OF_EXPERT = ("expertId", "expertUserId", "expertEmail", "meetingLink")


def of_expert(expert: Expert) -> Document:
    """With whom it is, as the session stores it."""
    known = (expert.id, expert.expert_user_id, expert.email, expert.meeting_link)
    return {name: value for name, value in zip(OF_EXPERT, known, strict=True) if value is not None}


def policy(expert: Expert, price_source: str, of_service: CancellationPolicy | None = None) -> Policy:
    """``price_source``: who set the price: ``expert`` (the offer), ``quote``, ``admin`` or ``service``. The service's
    policy of cancellation, where it has one, wins over the expert's (MONEY)."""
    return Policy(
        cancellation=of_service or expert.cancellation_policy,
        buffer_before=expert.buffer_before,
        buffer_after=expert.buffer_after,
        price_source=price_source,
    )


def title(session_type: str, expert: Expert) -> str:
    """For a session whose offer has no title of its own."""
    return f"{session_type.capitalize()} session with {expert.name or 'your expert'}"


def held_until(price: Decimal, expert: Expert, settings: Settings, now: datetime) -> datetime | None:
    """Until when a pending session waits for its payment; None where nothing is due up front (SPEC 6)."""
    if price == 0 or expert.payment != "upfront" or settings.hold is None:
        return None
    return now + settings.hold
