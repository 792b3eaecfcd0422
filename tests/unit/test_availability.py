from datetime import UTC, date, datetime, timedelta

import pytest
from pydantic import ValidationError

from confiido_booking.calendar import rules
from confiido_booking.calendar.availability import (
    MAX_EXCEPTIONS,
    MAX_PERIODS,
    MAX_SLOTS,
    Availability,
    AvailabilityException,
    Period,
)
from confiido_booking.database.documents import to_mongo
from tests.hours import Bookable, expert, hours, period, slot

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)  # a Monday
SUNDAY, MONDAY, TUESDAY, SATURDAY = 0, 1, 2, 6


def code(bookable: Bookable, starts_at: datetime, duration: int = 60, *, as_client: bool = True) -> str | None:
    refusal = rules.why_not(bookable, starts_at, duration, now=NOW, as_client=as_client)
    return refusal.code if refusal else None


def at(day: int, hour: int, minute: int = 0) -> datetime:
    return datetime(2026, 3, day, hour, minute, tzinfo=UTC)


def test_hours_go_over_the_wire_as_they_came() -> None:
    sent = {
        "_id": "68b61bd7a4c0bf9eaab38ee7",
        "dateRange": {"startDate": "2026-03-01", "endDate": "2026-03-31"},
        "timeSlots": [
            {
                "_id": "68b61bd7a4c0bf9eaab38ee8",
                "dayOfWeek": 0,
                "startTime": "09:00",
                "endTime": "24:00",
                "isAvailable": True,
            }
        ],
        "notes": "Mornings are best",
        "isActive": True,
        "createdAt": "2026-03-01T00:00:00Z",
    }

    got = Period.model_validate(sent).model_dump(mode="json", by_alias=True)

    assert got == sent


def test_hours_come_back_from_the_store_as_they_went() -> None:
    kept = hours(period(slot(MONDAY, "9:00", "17:00"), start="2026-03-01"), exceptions=({"date": "2026-03-09"},))

    assert Availability.model_validate(to_mongo(kept)) == kept


def test_a_day_sent_as_an_instant_is_the_day_that_was_written() -> None:
    sent = Period.model_validate(period(start="2026-03-01T00:00:00.000Z", end="2026-03-31T23:59:59.999+05:30"))

    assert (sent.date_range.start_date, sent.date_range.end_date) == (
        datetime(2026, 3, 1, tzinfo=UTC),
        datetime(2026, 3, 31, tzinfo=UTC),
    )


@pytest.mark.parametrize(
    "wrong",
    [
        period(slot(7, "09:00", "10:00")),
        period(slot(-1, "09:00", "10:00")),
        period(slot(MONDAY, "09:00", "09:00")),
        period(slot(MONDAY, "24:00", "10:00")),
        period(slot(MONDAY, "9", "10:00")),
        period(slot(MONDAY, "09:00", "25:00")),
        period({"dayOfWeek": {"$ne": 1}, "startTime": "09:00", "endTime": "10:00"}),
        period(start="2026-03-02", end="2026-03-01"),
        period(start="yesterday"),
        period(*[slot(MONDAY, "09:00", "10:00")] * (MAX_SLOTS + 1)),
        {"notes": "x" * 501},
        {"notes": "\ud800"},
        {"timeSlots": "all"},
    ],
)
def test_a_period_that_says_nothing_sensible_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Period.model_validate(wrong)


def test_active_periods_may_not_overlap() -> None:
    with pytest.raises(ValidationError, match="overlap"):
        hours(period(start="2026-03-01", end="2026-03-31"), period(start="2026-03-31"))


@pytest.mark.parametrize(
    "beside",
    [
        period(start="2026-02-01", end="2026-02-28"),
        period(start="2026-04-01"),
        period(end="2026-02-28"),
        period(start="2026-03-15", end="2026-03-16", active=False),
    ],
)
def test_periods_that_share_no_date_or_are_not_active_stand_side_by_side(beside: dict[str, object]) -> None:
    march = period(start="2026-03-01", end="2026-03-31")

    assert len(hours(march, beside).periods) == 2


def test_a_date_has_one_exception() -> None:
    with pytest.raises(ValidationError, match="one exception"):
        hours(exceptions=({"date": "2026-03-09"}, {"date": "2026-03-09T12:00:00Z"}))


def test_hours_are_bounded_in_number() -> None:
    days: list[dict[str, object]] = [
        {"date": f"{date(2026, 1, 1) + timedelta(days=n)}"} for n in range(MAX_EXCEPTIONS + 1)
    ]

    with pytest.raises(ValidationError, match="at most 50"):
        hours(*[period(active=False)] * (MAX_PERIODS + 1))
    with pytest.raises(ValidationError, match="at most 500"):
        hours(exceptions=tuple(days))
    with pytest.raises(ValidationError, match="at most 6"):
        AvailabilityException.model_validate(
            {"date": "2026-03-09", "hours": [{"startTime": "09:00", "endTime": "10:00"}] * 7}
        )


def test_an_expert_without_hours_can_be_booked_at_any_time() -> None:
    assert code(Bookable(), at(7, 3)) is None


def test_a_session_must_lie_wholly_inside_the_hours() -> None:
    monday_morning = expert(slot(MONDAY, "09:00", "12:00"))

    assert code(monday_morning, at(9, 9)) is None
    assert code(monday_morning, at(9, 11)) is None
    assert code(monday_morning, at(9, 8, 59)) == "outside_availability"
    assert code(monday_morning, at(9, 11, 1)) == "outside_availability"
    assert code(monday_morning, at(10, 9)) == "outside_availability"


def test_hours_are_of_the_experts_zone() -> None:
    kolkata = expert(slot(MONDAY, "00:00", "02:00"), timezone="Asia/Kolkata")

    assert code(kolkata, at(8, 18, 30)) is None  # Sunday evening in UTC
    assert code(kolkata, at(9, 0)) == "outside_availability"


def test_hours_that_touch_are_one_window_also_across_midnight() -> None:
    late = expert(slot(MONDAY, "20:00", "22:00"), slot(MONDAY, "22:00", "24:00"), slot(TUESDAY, "00:00", "01:00"))

    assert code(late, at(9, 20), 300) is None
    assert code(late, at(9, 20), 301) == "outside_availability"


def test_hours_across_midnight_belong_to_the_day_they_start() -> None:
    night = expert(slot(MONDAY, "22:00", "02:00"), exceptions=({"date": "2026-03-17"},))  # a Tuesday is closed

    assert code(night, at(9, 23, 30)) is None
    assert code(night, at(10, 1)) is None
    assert code(night, at(10, 1, 1)) == "outside_availability"
    assert code(night, at(9, 1)) == "outside_availability"
    assert code(night, at(17, 1)) is None


def test_hours_marked_not_available_are_taken_out_also_past_midnight() -> None:
    pause = expert(
        slot(MONDAY, "09:00", "17:00"),
        slot(MONDAY, "12:00", "13:00", available=False),
        slot(SATURDAY, "20:00", "04:00"),
        slot(SUNDAY, "01:00", "02:00", available=False),
    )

    assert code(pause, at(9, 11)) is None
    assert code(pause, at(9, 13)) is None
    assert code(pause, at(9, 12, 30), 30) == "outside_availability"
    assert code(pause, at(9, 11, 30)) == "outside_availability"
    assert code(pause, at(8, 0)) is None
    assert code(pause, at(8, 1)) == "outside_availability"
    assert code(pause, at(8, 2)) is None


def test_an_exception_closes_a_date_or_gives_it_other_hours() -> None:
    monday = expert(
        slot(MONDAY, "09:00", "12:00"),
        exceptions=(
            {"date": "2026-03-09"},
            {"date": "2026-03-14", "hours": [{"startTime": "14:00", "endTime": "16:00"}]},
            {"date": "2026-03-16", "hours": [{"startTime": "18:00", "endTime": "20:00"}]},
        ),
    )

    assert code(monday, at(9, 9)) == "outside_availability"
    assert code(monday, at(14, 14)) is None
    assert code(monday, at(16, 9)) == "outside_availability"
    assert code(monday, at(16, 18)) is None
    assert code(monday, at(23, 9)) is None


def test_exceptions_hold_also_where_there_are_no_weekly_hours() -> None:
    anytime = Bookable(availability=hours(exceptions=({"date": "2026-03-09"},)))

    assert code(anytime, at(9, 12)) == "outside_availability"
    assert code(anytime, at(8, 23)) is None
    assert code(anytime, at(8, 23, 1)) == "outside_availability"
    assert code(anytime, at(10, 0)) is None


def test_a_period_that_is_not_active_opens_nothing() -> None:
    paused = Bookable(availability=hours(period(slot(MONDAY, "09:00", "12:00"), active=False)))

    assert code(paused, at(9, 9)) == "outside_availability"


def test_hours_hold_on_the_first_and_the_last_day_of_their_period() -> None:
    weekly = [slot(day, "09:00", "12:00") for day in range(7)]
    days = Bookable(availability=hours(period(*weekly, start="2026-03-09", end="2026-03-10")))

    assert [code(days, at(day, 9)) for day in (8, 9, 10, 11)] == [
        "outside_availability",
        None,
        None,
        "outside_availability",
    ]


def test_hours_in_an_hour_the_clock_skips_begin_after_the_gap() -> None:
    berlin = expert(slot(SUNDAY, "02:30", "04:00"), timezone="Europe/Berlin")  # 29 March 2026: 02:00 becomes 03:00

    assert code(berlin, at(29, 1)) is None  # 03:00 to 04:00
    assert code(berlin, at(29, 0, 59)) == "outside_availability"
    assert code(berlin, at(29, 1, 1)) == "outside_availability"


def test_hours_over_an_hour_that_occurs_twice_are_an_hour_longer() -> None:
    berlin = expert(slot(SUNDAY, "01:00", "04:00"), timezone="Europe/Berlin")
    autumn = datetime(2026, 10, 24, 23, 0, tzinfo=UTC)  # 01:00 in Berlin

    assert code(berlin, autumn, 240) is None
    assert code(berlin, autumn, 241) == "outside_availability"


def test_what_the_clock_says_is_told_before_what_the_hours_say() -> None:
    choosy = Bookable(availability=hours(period(active=False)), min_notice=120, horizon=30)

    assert code(choosy, NOW - timedelta(minutes=1)) == "starts_in_past"
    assert code(choosy, NOW + timedelta(minutes=119)) == "below_minimum_notice"
    assert code(choosy, NOW + timedelta(days=30, minutes=1)) == "beyond_horizon"
    assert code(choosy, NOW + timedelta(minutes=120)) == "outside_availability"


def test_notice_and_horizon_are_met_to_the_minute() -> None:
    exact = Bookable(min_notice=120, horizon=30)

    assert code(exact, NOW + timedelta(minutes=120)) is None
    assert code(exact, NOW + timedelta(days=30)) is None
    assert code(Bookable(), NOW) is None


def test_the_past_is_open_to_staff_and_needs_no_notice() -> None:
    assert code(Bookable(min_notice=120), NOW - timedelta(days=1), as_client=False) is None
    assert code(Bookable(min_notice=120), NOW + timedelta(hours=1), as_client=False) == "below_minimum_notice"


def test_free_minutes_are_those_no_entry_overlaps_buffers_included() -> None:
    careful = Bookable(buffer_before=10, buffer_after=20)
    busy = rules.joined([rules.Span(at(9, 12), at(9, 13)), rules.Span(at(9, 8), at(9, 9))])

    def is_free(hour: int, minute: int) -> bool:
        return rules.is_free(rules.claimed(careful, at(9, hour, minute), 60), busy)

    assert [is_free(10, 40), is_free(10, 41)] == [True, False]
    assert [is_free(13, 10), is_free(13, 9)] == [True, False]
    assert [is_free(9, 10), is_free(9, 9)] == [True, False]
    assert [is_free(6, 40), is_free(6, 41)] == [True, False]
