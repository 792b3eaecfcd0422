"""The times of a course: by RRULE, on both sides of a change of the clock, and against what a caller may send."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from dateutil.rrule import rrule

from confiido_booking.errors import Invalid
from confiido_booking.workshops.recurrence import MAX_TIMES, listed, recurring

BERLIN = ZoneInfo("Europe/Berlin")
NEW_YORK = ZoneInfo("America/New_York")
SIX = datetime(2026, 3, 16, 18, 0, tzinfo=BERLIN)  # a Monday; the clock goes forward on the 29th


def walls(starts: list[datetime], zone: ZoneInfo) -> list[str]:
    return [f"{start.astimezone(zone):%m-%d %H:%M}" for start in starts]


def test_six_o_clock_stays_six_o_clock_when_the_clock_goes_forward() -> None:
    starts = recurring("FREQ=WEEKLY;COUNT=4", SIX, BERLIN)

    assert walls(starts, BERLIN) == ["03-16 18:00", "03-23 18:00", "03-30 18:00", "04-06 18:00"]
    assert [start.astimezone(UTC).hour for start in starts] == [17, 17, 16, 16]


def test_and_when_it_goes_back() -> None:
    starts = recurring("FREQ=WEEKLY;COUNT=3", datetime(2026, 10, 19, 18, tzinfo=BERLIN), BERLIN)

    assert walls(starts, BERLIN) == ["10-19 18:00", "10-26 18:00", "11-02 18:00"]
    assert [later - earlier for earlier, later in pairwise(starts)] == [
        timedelta(days=7, hours=1),
        timedelta(days=7),
    ]


def test_a_time_that_the_clock_skips_is_refused() -> None:
    first = datetime(2026, 3, 7, 2, 30, tzinfo=NEW_YORK)

    with pytest.raises(Invalid) as refused:
        recurring("FREQ=DAILY;COUNT=3", first, NEW_YORK)

    assert (refused.value.code, "2026-03-08" in str(refused.value)) == ("invalid_time", True)


def test_a_time_that_comes_twice_means_the_first() -> None:
    starts = recurring("FREQ=DAILY;COUNT=2", datetime(2026, 10, 31, 1, 30, tzinfo=NEW_YORK), NEW_YORK)

    assert [start.astimezone(UTC).hour for start in starts] == [5, 5]


@pytest.mark.parametrize(
    ("rule", "count"),
    [
        ("RRULE:FREQ=WEEKLY;COUNT=8", 8),
        ("freq=weekly;count=8;", 8),
        ("FREQ=WEEKLY;BYDAY=MO,WE;COUNT=5", 5),
        ("FREQ=MONTHLY;BYDAY=1MO;COUNT=3", 3),
        ("FREQ=MONTHLY;BYDAY=MO,TU;BYSETPOS=-1;COUNT=3", 3),
        ("FREQ=MONTHLY;BYMONTHDAY=-1;COUNT=3", 3),
        ("FREQ=WEEKLY;UNTIL=20260330", 3),
        ("FREQ=WEEKLY;UNTIL=20260330T160000Z", 3),
        ("FREQ=WEEKLY;UNTIL=20260330T155959Z", 2),
        ("FREQ=WEEKLY;UNTIL=20260330T180000", 3),
        ("FREQ=DAILY;COUNT=200", MAX_TIMES),
        ("FREQ=YEARLY;COUNT=50", 6),
    ],
)
def test_rules_that_are_understood(rule: str, count: int) -> None:
    starts = recurring(rule, SIX, BERLIN)

    assert len(starts) == count
    assert {start.astimezone(BERLIN).hour for start in starts} == {18}


@pytest.mark.parametrize(
    ("rule", "code"),
    [
        ("", "invalid_rrule"),
        ("FREQ=WEEKLY", "invalid_rrule"),
        ("FREQ=WEEKLY;COUNT=2;UNTIL=20300101", "invalid_rrule"),
        ("FREQ=SECONDLY;COUNT=5", "invalid_rrule"),
        ("FREQ=HOURLY;COUNT=5", "invalid_rrule"),
        ("FREQ=DAILY;BYHOUR=9,18;COUNT=5", "invalid_rrule"),
        ("FREQ=DAILY;INTERVAL=0;COUNT=5", "invalid_rrule"),
        ("FREQ=DAILY;INTERVAL=-1;COUNT=5", "invalid_rrule"),
        ("FREQ=DAILY;COUNT=0", "invalid_rrule"),
        ("FREQ=DAILY;COUNT=-5", "invalid_rrule"),
        ("FREQ=DAILY;COUNT=1e3", "invalid_rrule"),
        ("FREQ=DAILY;COUNT=201", "too_many_times"),
        ("FREQ=DAILY;COUNT=999999", "too_many_times"),
        ("FREQ=DAILY;UNTIL=20990101", "too_many_times"),
        ("FREQ=DAILY;UNTIL=20200101", "invalid_rrule"),
        ("FREQ=DAILY;UNTIL=20261399", "invalid_rrule"),
        ("FREQ=DAILY;UNTIL=tomorrow", "invalid_rrule"),
        ("FREQ=DAILY;BYDAY=XX;COUNT=2", "invalid_rrule"),
        ("FREQ=DAILY;BYMONTH=13;COUNT=2", "invalid_rrule"),
        ("FREQ=DAILY;BYSETPOS=0;COUNT=2", "invalid_rrule"),
        ("FREQ=DAILY;FREQ=DAILY;COUNT=2", "invalid_rrule"),
        ("FREQ=WEEKLY;COUNT=2\nEXDATE:20260323T180000", "invalid_rrule"),
        ("DTSTART:20200101T000000\nRRULE:FREQ=DAILY;COUNT=2", "invalid_rrule"),
        ("FREQ=WEEKLY;COUNT=" + "9" * 600, "invalid_rrule"),
        ("FREQ=WEEKLY;COUNT=٣", "invalid_rrule"),
        ("COUNT=3", "invalid_rrule"),
    ],
)
def test_rules_that_are_refused(rule: str, code: str) -> None:
    with pytest.raises(Invalid) as refused:
        recurring(rule, SIX, BERLIN)

    assert refused.value.code == code


@pytest.mark.parametrize(
    "rule",
    [
        "FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30;COUNT=5",
        "FREQ=DAILY;INTERVAL=7;BYDAY=TU;COUNT=5",
        "FREQ=WEEKLY;BYDAY=1MO;COUNT=5",
        "FREQ=MONTHLY;BYDAY=6MO;COUNT=5",
        "FREQ=MONTHLY;BYDAY=1MO;BYSETPOS=2;COUNT=5",
        "FREQ=MONTHLY;BYDAY=1MO;BYMONTHDAY=31;COUNT=5",
        "FREQ=MONTHLY;BYSETPOS=1;COUNT=5",
        "FREQ=MONTHLY;BYMONTHDAY=32;COUNT=5",
        "FREQ=YEARLY;BYWEEKNO=53;BYDAY=MO;COUNT=5",
    ],
)
def test_a_rule_that_could_never_come_true_is_refused_before_it_is_followed(
    rule: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    followed: list[object] = []
    monkeypatch.setattr(rrule, "_iter", lambda self: followed.append(self) or iter(()))

    with pytest.raises(Invalid):
        recurring(rule, SIX, BERLIN)

    assert followed == []


def test_a_list_of_times_is_put_in_order() -> None:
    starts = listed(["2026-03-23T18:00:30+01:00", "2026-03-16T18:00:00+01:00"])

    assert starts == [datetime(2026, 3, 16, 17, tzinfo=UTC), datetime(2026, 3, 23, 17, tzinfo=UTC)]


@pytest.mark.parametrize(
    ("given", "code"),
    [
        (["2026-03-16T18:00:00"], "invalid_time"),
        ([7], "invalid_time"),
        (["soon"], "invalid_time"),
        (["2026-03-16T18:00:00Z"] * 201, "too_many_times"),
    ],
)
def test_times_that_are_refused(given: list[object], code: str) -> None:
    with pytest.raises(Invalid) as refused:
        listed(given)

    assert refused.value.code == code
