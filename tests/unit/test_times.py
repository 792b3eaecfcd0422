from datetime import UTC, date, datetime, time, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from confiido_booking import times
from confiido_booking.errors import Invalid

BERLIN, NEW_YORK, LORD_HOWE = "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"
ZONES = st.sampled_from([BERLIN, NEW_YORK, LORD_HOWE, "Asia/Kolkata", "Pacific/Apia", "America/Sao_Paulo"])


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[misc,arg-type]


@pytest.mark.parametrize("name", ["Europe/Berlin", "Asia/Calcutta", "UTC", "Etc/GMT+5"])
def test_a_zone_is_found_by_its_name(name: str) -> None:
    assert times.zone(name).key == name


@pytest.mark.parametrize(
    "name",
    ["", "europe/berlin", "Mars/Olympus", "right/UTC", "localtime", "../../etc/passwd", "/UTC", "A\0", None, 5, {}],
)
def test_what_is_no_zone_is_refused(name: object) -> None:
    with pytest.raises(Invalid) as refused:
        times.zone(name)

    assert refused.value.code == "invalid_time"


@pytest.mark.parametrize(
    "value",
    ["2030-03-01", "2030-03-01T23:59:59+05:30", "2030-03-01T00:00:00.000Z", date(2030, 3, 1), utc(2030, 3, 1, 23)],
)
def test_a_date_is_the_day_as_it_was_written(value: object) -> None:
    assert times.parse_date(value) == date(2030, 3, 1)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "2030-3-1",
        "2030-02-30",
        "20300301",
        "2030-03-01x",
        "01.03.2030",
        "\u0662030-03-01",
        "2030-03-01T99:00",
        None,
        1,
        "0001-01-01",
        "9999-12-31",
        date(1, 1, 1),
        date.max,
        datetime.max,
        True,
        ["2030-03-01"],
        "2" * 100,
    ],
)
def test_what_is_no_date_is_refused(value: object) -> None:
    with pytest.raises(Invalid) as refused:
        times.parse_date(value)

    assert refused.value.code == "invalid_time"
    assert refused.value.errors[0].path == "scheduledDate"


@pytest.mark.parametrize(("value", "expected"), [("9:05", time(9, 5)), ("09:05", time(9, 5)), ("23:59", time(23, 59))])
def test_a_wall_time_may_lack_its_leading_zero(value: str, expected: time) -> None:
    assert times.parse_clock(value) == expected


@pytest.mark.parametrize(
    "value", ["", "24:00", "9", "9:5", "09:60", "-1:00", "09:00:00", " 09:00", "\u06609:00", 900, None, {}]
)
def test_what_is_no_wall_time_is_refused(value: object) -> None:
    with pytest.raises(Invalid):
        times.parse_clock(value)


def test_an_instant_is_utc_in_whole_milliseconds() -> None:
    assert times.parse_instant("2030-03-01T10:00:00.123456+05:30") == utc(2030, 3, 1, 4, 30, 0, 123000)


@pytest.mark.parametrize(
    "value",
    [
        "2030-03-01T10:00:00",
        "2030-03-01",
        "now",
        "0001-01-01T00:00:00+05:00",
        "9999-12-31T23:00:00-05:00",
        0,
        None,
        datetime(2030, 3, 1),
        datetime.min.replace(tzinfo=timezone(timedelta(hours=5))),
    ],
)
def test_an_instant_without_an_offset_or_out_of_range_is_refused(value: object) -> None:
    with pytest.raises(Invalid) as refused:
        times.parse_instant(value)

    assert refused.value.code == "invalid_time"


@pytest.mark.parametrize(
    ("zone", "day", "skipped"),
    [
        (BERLIN, date(2026, 3, 29), time(2, 30)),
        (NEW_YORK, date(2026, 3, 8), time(2, 0)),
        (LORD_HOWE, date(2026, 10, 4), time(2, 15)),
    ],
)
def test_a_wall_time_the_clock_skips_is_refused(zone: str, day: date, skipped: time) -> None:
    with pytest.raises(Invalid, match="skips"):
        times.at_wall(day, skipped, times.zone(zone))


@pytest.mark.parametrize(
    ("zone", "day", "clock", "first"),
    [
        (BERLIN, date(2026, 10, 25), time(2, 30), utc(2026, 10, 25, 0, 30)),
        (NEW_YORK, date(2026, 11, 1), time(1, 30), utc(2026, 11, 1, 5, 30)),
        (LORD_HOWE, date(2026, 4, 5), time(1, 45), utc(2026, 4, 4, 14, 45)),
    ],
)
def test_a_wall_time_that_occurs_twice_means_the_first(zone: str, day: date, clock: time, first: datetime) -> None:
    assert times.at_wall(day, clock, times.zone(zone)) == first
    assert times.edge(day, clock, times.zone(zone)) == first


@pytest.mark.parametrize(
    ("zone", "day", "clock", "moved"),
    [
        (BERLIN, date(2026, 3, 29), time(2, 0), utc(2026, 3, 29, 1)),
        (BERLIN, date(2026, 3, 29), time(2, 59), utc(2026, 3, 29, 1)),
        (NEW_YORK, date(2026, 3, 8), time(2, 30), utc(2026, 3, 8, 7)),
        (LORD_HOWE, date(2026, 10, 4), time(2, 15), utc(2026, 10, 3, 15, 30)),
        ("Pacific/Apia", date(2011, 12, 30), time(12), utc(2011, 12, 30, 10)),
    ],
)
def test_an_edge_the_clock_skips_is_the_first_instant_after_the_gap(
    zone: str, day: date, clock: time, moved: datetime
) -> None:
    assert times.edge(day, clock, times.zone(zone)) == moved


@given(day=st.dates(date(2000, 1, 1), date(2037, 12, 31)), clock=st.times(), zone=ZONES)
def test_an_edge_is_the_wall_time_wherever_that_exists(day: date, clock: time, zone: str) -> None:
    clock, tz = clock.replace(second=0, microsecond=0), times.zone(zone)
    edge = times.edge(day, clock, tz)

    try:
        assert edge == times.at_wall(day, clock, tz)
    except Invalid:
        assert edge.astimezone(tz).replace(tzinfo=None) > datetime.combine(day, clock)
        assert (edge - timedelta(seconds=1)).astimezone(tz).replace(tzinfo=None) < datetime.combine(day, clock)


@given(start=st.datetimes(datetime(1990, 1, 1), datetime(2037, 1, 1)), zone=ZONES)
def test_the_wall_clock_shown_leads_back_to_the_instant_or_to_its_first_occurrence(start: datetime, zone: str) -> None:
    tz = times.zone(zone)
    starts_at = start.replace(second=0, microsecond=0, tzinfo=UTC)
    shown = times.wall(starts_at, times.ends_at(starts_at, 60), tz)

    back = times.at_wall(shown.scheduled_date.date(), times.parse_clock(shown.start_time), tz)

    assert back == starts_at or starts_at - timedelta(hours=1) <= back < starts_at


def test_a_session_across_midnight_keeps_the_date_it_starts_on() -> None:
    shown = times.wall(utc(2026, 3, 1, 18, 0), utc(2026, 3, 1, 19, 0), times.zone("Asia/Kolkata"))

    assert shown == times.Wall(utc(2026, 3, 1), "23:30", "00:30")
