"""Each rule by its name, with the least that brings it about; ``test_irregularities`` has them by their rows."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from bson import ObjectId

from confiido_booking.migration import load_profile
from confiido_booking.migration.profile import Profile
from confiido_booking.migration.rules import FLAGS, REASONS
from tests.migration.harness import EXPERT, Outcome, becomes, flat, inner, nested

FUTURE = datetime(2026, 3, 9, tzinfo=UTC)
GRACE = ObjectId()


def with_parameter(name: str, value: str) -> Profile:
    return replace(load_profile("confiido-flat"), parameters={name: value})


FLAGGED: dict[str, Callable[[], Outcome]] = {
    "duration_from_end": lambda: becomes(flat(duration=None)),
    "cancelled_unpaid": lambda: becomes(flat(status="cancelled", paymentStatus="pending")),
    "expert_resolved": lambda: becomes(flat(expertId=GRACE), experts=[{"_id": EXPERT, "userId": GRACE}]),
    "expert_unclaimed": lambda: becomes(flat(status="confirmed", scheduledDate=FUTURE, expertId=None)),
    "created_time_unreliable": lambda: becomes(flat(createdAt=None)),
    "refund_assumed": lambda: becomes(flat(status="cancelled", paymentStatus="refunded")),
    "reschedule_unreadable": lambda: becomes(nested(inner(rescheduleHistory=[{"previousDate": "soon"}]))),
    "status_assumed": lambda: becomes(flat(status=None), profile=with_parameter("status", "completed")),
}
REFUSED: dict[str, Callable[[], Outcome]] = {
    "amount_invalid": lambda: becomes(flat(finalAmount="lots")),
    "extended_json_broken": lambda: becomes(flat(price={"$numberDecimal": "x"})),
    "flag_unknown": lambda: becomes(flat(paymentStatus=None, paid="perhaps")),
    "json_broken": lambda: becomes(flat(addOns="{broken")),
    "not_understood": lambda: becomes(
        flat(duration=None, endTime=None), profile=with_parameter("duration", "an hour or so")
    ),
    "session_type_unknown": lambda: becomes(flat(sessionType="telepathy")),
    "session_not_a_document": lambda: becomes(nested("a session")),  # type: ignore[arg-type]
    "too_large": lambda: becomes(flat(notes="x" * 400_000)),
}


@pytest.mark.parametrize("flag", FLAGGED)
def test_a_record_gets_the_flag(flag: str) -> None:
    found = FLAGGED[flag]()

    assert flag in found.flags_of()
    assert flag not in becomes(flat()).flags_of()


@pytest.mark.parametrize("reason", REFUSED)
def test_a_record_goes_to_the_quarantine_for_the_reason(reason: str) -> None:
    found = REFUSED[reason]()

    assert found.reason == reason
    assert found.read == 1


def test_every_flag_and_every_reason_is_named_in_a_test() -> None:
    folder = Path(__file__).parent
    text = "".join(file.read_text() for file in folder.glob("test_*.py"))

    assert {name for name in {**FLAGS, **REASONS} if f'"{name}"' not in text} == set()


def test_a_session_without_a_known_expert_is_no_double_booking() -> None:
    session = becomes(flat(status="confirmed", scheduledDate=FUTURE, expertId=None)).session

    assert "conflict" not in session
    assert "conflict" not in session["legacy"]["flags"]
