"""Types of events, and what becomes a message of them."""

import re
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

import confiido_booking
from confiido_booking.bookings.rules import TRANSITIONS
from confiido_booking.events import types
from confiido_booking.events.webhooks import wants
from confiido_booking.messaging import rules
from confiido_booking.messaging.rules import Kind, To
from tests.builders import MONDAY

LIBRARY = Path(confiido_booking.__file__).parent


def test_every_action_of_the_table_of_transitions_has_a_type() -> None:
    assert set(TRANSITIONS) <= set(types.SESSION_TYPES)


def test_every_action_that_a_command_names_has_a_type() -> None:
    named = {
        action
        for file in LIBRARY.rglob("*.py")
        for action in re.findall(r'(?:Command\(\s*|self\.command\([^)]*)action="([a-z-]+)"', file.read_text())
    }

    assert len(named) > 5
    assert named <= set(types.SESSION_TYPES)


def test_every_type_is_in_the_table_of_the_documents() -> None:
    documented = set(re.findall(r"`([a-z_]+\.[a-z_]+)`", (LIBRARY.parent / "docs" / "events.md").read_text()))

    assert documented >= types.TYPES


@pytest.mark.parametrize(
    ("events", "wanted"),
    [(["*"], True), (["session.*"], True), (["session.booked"], True), (["payment.*"], False), (["session.b"], False)],
)
def test_a_webhook_wants_types_families_or_everything(events: list[str], wanted: bool) -> None:
    assert wants({"events": events}, "session.booked") is wanted


@pytest.mark.parametrize(
    ("type_", "from_", "told"),
    [
        ("session.cancelled", "confirmed", {To.CLIENT, To.EXPERT}),
        ("session.cancelled", "pending", {To.CLIENT, To.EXPERT}),
        ("session.cancelled", "requested", {To.CLIENT}),
        ("session.declined", "quoted", {To.CLIENT}),
        ("session.quoted", "requested", {To.CLIENT}),
        ("session.expired", "pending", set()),
        ("session.updated", "confirmed", set()),
        ("session.booked", None, set()),
    ],
)
def test_the_expert_hears_of_what_concerns_them(type_: str, from_: str | None, told: set[To]) -> None:
    event = {"type": type_, "at": MONDAY, "data": {"from": from_}}

    assert {wanted.to for wanted in rules.wanted(event, MONDAY)} == told


@pytest.mark.parametrize(("hours", "reminded"), [(48, {24, 1}), (24, {1}), (2, {1}), (1, set()), (-1, set())])
def test_a_confirmation_is_reminded_of_only_ahead(hours: float, reminded: set[int]) -> None:
    starts_at = MONDAY + timedelta(hours=hours)
    event = {"type": "session.confirmed", "at": MONDAY, "data": {"status": "confirmed", "startsAt": starts_at}}

    wanted = [each for each in rules.wanted(event, MONDAY) if each.kind is Kind.REMINDER]

    assert {each.hours for each in wanted} == reminded
    assert all(each.due_at == starts_at - timedelta(hours=each.hours or 0) for each in wanted)


def test_the_library_loads_without_what_only_messages_need() -> None:
    """Mail, templates, calendar files and webhooks come with the extra ``messaging``."""
    blocked = ["aiosmtplib", "jinja2", "icalendar", "httpx", "standardwebhooks"]
    program = f"import sys\nfor name in {blocked}: sys.modules[name] = None\nimport confiido_booking"

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
