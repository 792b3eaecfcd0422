"""A session as an event of iCalendar, read back by another library."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import vobject
from bson import ObjectId

from confiido_booking.addresses import Person, is_address
from confiido_booking.calendar import ics
from tests.builders import MONDAY


def a_session(**fields: object) -> dict[str, Any]:
    return {
        "sessionId": ObjectId(),
        "title": "Statistics, part 1; introduction",
        "startsAt": MONDAY + timedelta(days=1),
        "endsAt": MONDAY + timedelta(days=1, minutes=30),
        "timezone": "Asia/Kolkata",
        "status": "confirmed",
        "version": 3,
        "meetingLink": "https://meet.example.org/a?b=1&c=2",
        **fields,
    }


def read_back(session: Mapping[str, Any], *, method: ics.Method = "PUBLISH", **options: Any) -> Any:
    return vobject.readOne(ics.file([ics.event(session, now=MONDAY, **options)], method=method).decode())


def test_an_event_has_the_sessions_title_time_and_link() -> None:
    event = read_back(a_session(location="Room 4, Main St")).vevent

    assert event.summary.value == "Statistics, part 1; introduction"
    assert event.dtstart.value == MONDAY + timedelta(days=1)
    assert event.dtend.value - event.dtstart.value == timedelta(minutes=30)
    assert event.location.value == "Room 4, Main St"
    assert event.url.value == "https://meet.example.org/a?b=1&c=2"
    assert event.status.value == "CONFIRMED"


def test_a_changed_session_is_the_same_event_with_a_higher_sequence() -> None:
    session = a_session()
    moved = session | {"version": 4, "startsAt": MONDAY + timedelta(days=2), "endsAt": MONDAY + timedelta(days=2.1)}

    before, after = read_back(session).vevent, read_back(moved).vevent

    assert before.uid.value == after.uid.value
    assert int(before.sequence.value) < int(after.sequence.value)


def test_a_cancelled_session_strikes_the_event_out() -> None:
    calendar = read_back(a_session(status="cancelled"), method="CANCEL")

    assert calendar.method.value == "CANCEL"
    assert calendar.vevent.status.value == "CANCELLED"


def test_a_lapsed_hold_is_cancelled_and_a_live_one_tentative() -> None:
    lapsed = a_session(status="pending", timeoutAt=MONDAY)
    live = a_session(status="pending", timeoutAt=MONDAY + timedelta(minutes=1))

    assert read_back(lapsed).vevent.status.value == "CANCELLED"
    assert read_back(live).vevent.status.value == "TENTATIVE"


@pytest.mark.parametrize(
    ("zone", "start"),
    [
        ("Asia/Kolkata", datetime(2026, 3, 2, 9, 0, tzinfo=UTC)),
        ("America/New_York", datetime(2026, 3, 7, 18, 0, tzinfo=UTC)),  # the night before its clock goes forward
        ("America/New_York", datetime(2026, 3, 8, 18, 0, tzinfo=UTC)),
        ("Europe/Dublin", datetime(2026, 10, 25, 0, 30, tzinfo=UTC)),  # the first of two
        ("Europe/Dublin", datetime(2026, 7, 1, 12, 0, tzinfo=UTC)),
        ("Australia/Lord_Howe", datetime(2026, 4, 6, 12, 0, tzinfo=UTC)),  # half an hour of daylight saving
        ("America/Sao_Paulo", datetime(2026, 6, 1, 12, 0, tzinfo=UTC)),
        ("UTC", datetime(2026, 6, 1, 12, 0, tzinfo=UTC)),
    ],
)
def test_a_time_is_shown_in_the_readers_zone_which_the_file_defines(zone: str, start: datetime) -> None:
    session = a_session(startsAt=start, endsAt=start + timedelta(minutes=45), timezone="Asia/Tokyo")

    calendar = read_back(session, zone=zone)

    assert calendar.vevent.dtstart.value == start
    assert [part.tzid.value for part in calendar.contents.get("vtimezone", [])] == ([zone] if zone != "UTC" else [])


def test_the_second_of_two_equal_wall_times_is_told_in_utc() -> None:
    start = datetime(2026, 10, 25, 1, 30, tzinfo=UTC)  # 01:30 again, after the clock went back from 02:00

    event = read_back(a_session(startsAt=start, endsAt=start + timedelta(minutes=45)), zone="Europe/Dublin").vevent

    assert event.dtstart.value == start
    assert "X-VOBJ-ORIGINAL-TZID" not in event.dtstart.params


def test_a_link_is_kept_from_who_has_no_confirmation_and_one_that_would_break_the_file_is_left_out() -> None:
    assert "url" not in read_back(a_session(), with_link=False).vevent.contents
    assert "url" not in read_back(a_session(meetingLink="https://a.b\r\nATTENDEE:x")).vevent.contents


def test_no_text_of_anybody_adds_a_property() -> None:
    nasty = 'A\r\nATTENDEE:mailto:x@example.org\n\x0bEND:VEVENT"; CN=b'
    person = Person("ada@example.org", nasty)
    session = a_session(title=nasty, location=nasty)

    calendar = read_back(session, organizer=Person("evil@example.org\r\nX:1", "x"), attendee=person)

    assert len(calendar.contents["vevent"]) == 1
    assert len(calendar.vevent.contents["attendee"]) == 1
    assert "organizer" not in calendar.vevent.contents
    assert calendar.vevent.attendee.value == "mailto:ada@example.org"


@pytest.mark.parametrize("address", [None, "", "ada", "a b@c.d", "a@b,c@d", "<a@b.c>", "a@b.c\n", "a@b@c", "@b", "a@"])
def test_what_is_no_plain_address_is_told(address: str | None) -> None:
    assert not is_address(address)


def test_a_request_without_a_time_has_nothing_for_a_calendar() -> None:
    assert not ics.has_time({"sessionId": ObjectId(), "status": "requested"})
    assert ics.has_time(a_session())
