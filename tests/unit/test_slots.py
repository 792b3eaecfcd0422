from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from confiido_booking import times
from confiido_booking.calendar import rules, slots
from confiido_booking.calendar.rules import Span
from tests.hours import Bookable, hours, period, slot

ALL_WEEK = [slot(day, "00:00", "24:00") for day in range(7)]
MARCH = datetime(2026, 3, 1, tzinfo=UTC)
CHANGES = {  # zone: the days around which its clock changes in 2026
    "Europe/Berlin": (date(2026, 3, 29), date(2026, 10, 25)),
    "America/New_York": (date(2026, 3, 8), date(2026, 11, 1)),
    "Australia/Lord_Howe": (date(2026, 4, 5), date(2026, 10, 4)),
    "Asia/Kolkata": (date(2026, 5, 1),),
}

clock_texts = st.builds("{:02d}:{:02d}".format, st.integers(0, 23), st.sampled_from([0, 10, 15, 30, 45, 59]))
week_slots = st.builds(
    lambda day, start, end, available: slot(day, start, end, available=available),
    st.integers(0, 6),
    clock_texts,
    clock_texts | st.just("24:00"),
    st.integers(0, 3).map(bool),
).filter(lambda drawn: drawn["startTime"] != drawn["endTime"])


@st.composite
def searches(draw: st.DrawFn) -> tuple[Bookable, date, int, list[Span], datetime]:
    """An expert, a day near a change of the clock, a duration, what is taken, and a moment about that day."""
    zone = draw(st.sampled_from(sorted(CHANGES)))
    day = draw(st.sampled_from(CHANGES[zone])) + timedelta(days=draw(st.integers(-2, 2)))
    midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
    exception = {
        "date": day + timedelta(days=draw(st.integers(-1, 1))),
        "hours": [{"startTime": "22:30", "endTime": "03:15"}] * draw(st.integers(0, 1)),
    }
    expert = Bookable(
        timezone=zone,
        availability=hours(
            period(*draw(st.lists(week_slots, min_size=1, max_size=20))),
            exceptions=(exception,) if draw(st.booleans()) else (),
        ),
        buffer_before=draw(st.sampled_from([0, 5, 30])),
        buffer_after=draw(st.sampled_from([0, 10, 45])),
        min_notice=draw(st.sampled_from([0, 90, 1440])),
        horizon=draw(st.sampled_from([1, 30])),
    )
    minutes = st.integers(-1440, 3 * 1440)
    busy = [
        Span(midnight + timedelta(minutes=start), midnight + timedelta(minutes=start + length))
        for start, length in draw(st.lists(st.tuples(minutes, st.integers(1, 300)), max_size=8))
    ]
    now = midnight + timedelta(minutes=draw(st.integers(-3 * 1440, 2 * 1440)))
    return expert, day, draw(st.sampled_from([5, 15, 30, 60, 240, 1440])), busy, now


def accepts(expert: Bookable, starts_at: datetime, duration: int, busy: list[Span], now: datetime) -> bool:
    """What booking asks: the rule, and the guard of the claim, entry by entry."""
    if rules.why_not(expert, starts_at, duration, now=now, as_client=True) is not None:
        return False
    start = starts_at - timedelta(minutes=expert.buffer_before)
    end = starts_at + timedelta(minutes=duration + expert.buffer_after)
    return not any(entry.start < end and entry.end > start for entry in busy)


@settings(max_examples=200, deadline=None)
@given(searches())
def test_every_slot_offered_is_accepted_and_every_start_refused_was_not_offered(
    search: tuple[Bookable, date, int, list[Span], datetime],
) -> None:
    expert, day, duration, busy, now = search
    tz = times.zone(expert.timezone)
    offered = [found.starts_at for found in slots.on_day(expert, day, duration, busy, now=now) if found.available]

    quarter = timedelta(minutes=15)
    first = times.edge(day, times.parse_clock("00:00"), tz)
    instants = [first + n * quarter for n in range(-8, 26 * 4) if (first + n * quarter).astimezone(tz).date() == day]
    once = {start.astimezone(tz).strftime("%H:%M"): start for start in reversed(instants)}
    assert offered == sorted(start for start in once.values() if accepts(expert, start, duration, busy, now))


@settings(max_examples=100, deadline=None)
@given(searches())
def test_every_slot_listed_lies_in_the_hours_and_starts_on_a_quarter_hour_of_its_day(
    search: tuple[Bookable, date, int, list[Span], datetime],
) -> None:
    expert, day, duration, busy, now = search
    long_ago = Bookable(timezone=expert.timezone, availability=expert.availability, horizon=3650)

    for found in slots.on_day(expert, day, duration, busy, now=now):
        local = found.starts_at.astimezone(times.zone(expert.timezone))
        assert local.date() == day
        assert local.minute % 15 == 0
        assert found.ends_at - found.starts_at == timedelta(minutes=duration)
        assert rules.why_not(long_ago, found.starts_at, duration, now=MARCH - timedelta(days=9), as_client=True) is None


@settings(max_examples=40, deadline=None)
@given(searches(), st.integers(-600, 3000))
def test_next_starts_are_the_first_that_are_accepted(
    search: tuple[Bookable, date, int, list[Span], datetime], minutes: int
) -> None:
    expert, _, duration, busy, now = search
    after = now + timedelta(minutes=minutes)

    found = slots.next_starts(expert, after, duration, busy, now=now, count=3)

    days = [after.astimezone(times.zone(expert.timezone)).date() + timedelta(days=n) for n in range(33)]
    offered = [s for day in days for s in slots.on_day(expert, day, duration, busy, now=now)]
    assert found == [s.starts_at for s in offered if s.available and s.starts_at >= after][:3]


@pytest.mark.parametrize(
    ("zone", "day", "steps"),
    [
        ("Europe/Berlin", date(2026, 3, 28), 96),
        ("Europe/Berlin", date(2026, 3, 29), 92),
        ("Europe/Berlin", date(2026, 10, 25), 96),
        ("Australia/Lord_Howe", date(2026, 10, 4), 94),
        ("Australia/Lord_Howe", date(2026, 4, 5), 96),
    ],
)
def test_a_day_has_each_quarter_hour_its_clock_shows_once(zone: str, day: date, steps: int) -> None:
    expert = Bookable(timezone=zone, availability=hours(period(*ALL_WEEK)))

    found = slots.on_day(expert, day, 15, [], now=MARCH)

    assert len(found) == steps
    assert all(one.starts_at < two.starts_at for one, two in pairwise(found))


def test_a_taken_slot_is_listed_but_not_available() -> None:
    expert = Bookable(availability=hours(period(slot(1, "09:00", "10:00"))))
    nine = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
    busy = [Span(nine + timedelta(minutes=15), nine + timedelta(minutes=30))]

    found = slots.on_day(expert, date(2026, 3, 2), 15, busy, now=MARCH)

    assert [one.available for one in found] == [True, False, True, True]


def test_a_session_that_ends_after_midnight_is_offered_on_the_day_it_starts() -> None:
    expert = Bookable(availability=hours(period(slot(1, "22:00", "01:00"))))

    found = slots.on_day(expert, date(2026, 3, 2), 120, [], now=MARCH)

    assert [f"{one.starts_at:%H:%M}-{one.ends_at:%H:%M}" for one in found] == [
        "22:00-00:00",
        "22:15-00:15",
        "22:30-00:30",
        "22:45-00:45",
        "23:00-01:00",
    ]


def test_a_session_may_run_from_one_days_hours_into_the_next_days() -> None:
    expert = Bookable(availability=hours(period(slot(1, "23:00", "24:00"), slot(2, "00:00", "00:30"))))

    found = slots.on_day(expert, date(2026, 3, 2), 60, [], now=MARCH)

    assert [f"{one.starts_at:%H:%M}" for one in found] == ["23:00", "23:15", "23:30"]


def test_an_expert_who_set_no_hours_offers_no_slots_but_has_next_starts() -> None:
    never_said = Bookable()

    assert slots.on_day(never_said, date(2026, 3, 2), 30, [], now=MARCH) == []
    assert slots.on_day(Bookable(availability=hours()), date(2026, 3, 2), 30, [], now=MARCH) == []
    assert slots.next_starts(
        never_said, MARCH, 30, [Span(MARCH, MARCH + timedelta(minutes=20))], now=MARCH, count=2
    ) == [
        MARCH + timedelta(minutes=30),
        MARCH + timedelta(minutes=45),
    ]


def test_no_next_starts_are_looked_for_past_sixty_days_or_the_horizon() -> None:
    full = [Span(MARCH, MARCH + timedelta(days=61))]

    assert slots.next_starts(Bookable(), MARCH, 30, full, now=MARCH, count=3) == []
    assert slots.next_starts(Bookable(horizon=3), MARCH + timedelta(days=4), 30, [], now=MARCH, count=3) == []
