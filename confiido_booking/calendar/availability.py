"""When an expert works: weekly hours by period, and single dates that differ (SPEC 6, 8; FRONTEND 2.13).

All wall times are of the expert's zone. Hours that end at or before their start run past midnight and belong to
the day they start on; ``24:00`` is that day's end. The rules that read this are in ``rules.py``.
"""

from datetime import UTC, date, datetime
from itertools import combinations
from typing import Annotated, Any, Self

from bson import ObjectId
from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, model_validator

from confiido_booking import times
from confiido_booking.database.documents import Embedded, Instant
from confiido_booking.errors import Invalid
from confiido_booking.ids import Id

DAY_MINUTES = 1440
MAX_PERIODS, MAX_SLOTS, MAX_EXCEPTIONS, MAX_HOURS = 50, 100, 500, 6  # together under 1 MiB (SPEC 11)


def _local_day(value: Any) -> datetime:
    try:
        day = times.parse_date(value, field="date")
    except Invalid as error:
        raise ValueError(str(error)) from None
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def _clock(value: Any) -> str:
    try:
        return f"{times.parse_clock(value, field='time'):%H:%M}"
    except Invalid as error:
        raise ValueError(str(error)) from None


def _end_clock(value: Any) -> str:
    return "24:00" if value == "24:00" else _clock(value)


LocalDay = Annotated[
    datetime,
    BeforeValidator(_local_day),
    PlainSerializer(lambda day: f"{day:%Y-%m-%d}", return_type=str, when_used="json"),
]
"""A date without a zone: stored as its UTC midnight like ``scheduledDate``, ``YYYY-MM-DD`` on the wire."""

ClockText = Annotated[str, BeforeValidator(_clock)]
EndClockText = Annotated[str, BeforeValidator(_end_clock)]


def _minute(clock: str) -> int:
    return int(clock[:2]) * 60 + int(clock[3:])


class Hours(Embedded):
    """From ``startTime`` until ``endTime``, both ``HH:MM``."""

    start_time: ClockText
    end_time: EndClockText

    @model_validator(mode="after")
    def _some_time(self) -> Self:
        if self.start_time == self.end_time:
            raise ValueError("endTime must differ from startTime (a whole day is 00:00 to 24:00)")
        return self

    @property
    def minutes(self) -> tuple[int, int]:
        """Start and end in minutes from the midnight the day begins with; the end is over 1,440 past midnight."""
        start, end = _minute(self.start_time), _minute(self.end_time)
        return start, end if end > start else end + DAY_MINUTES


class TimeSlot(Hours):
    """Hours of one weekday, 0 Sunday … 6 Saturday. Not available: they are taken out of the others."""

    id: Id = Field(default_factory=ObjectId)
    day_of_week: int = Field(ge=0, le=6, strict=True)
    is_available: bool = True


class DateRange(Embedded):
    """From the first to the last day, both included; an absent one leaves that side open."""

    start_date: LocalDay | None = None
    end_date: LocalDay | None = None

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.start_date and self.end_date and self.end_date < self.start_date:
            raise ValueError("endDate must not be before startDate")
        return self

    def covers(self, day: date) -> bool:
        return not (
            (self.start_date is not None and day < self.start_date.date())
            or (self.end_date is not None and day > self.end_date.date())
        )

    def overlaps(self, other: "DateRange") -> bool:
        return not (_ends_before(self, other) or _ends_before(other, self))


def _ends_before(first: DateRange, second: DateRange) -> bool:
    return first.end_date is not None and second.start_date is not None and first.end_date < second.start_date


class Period(Embedded):
    """Weekly hours that hold for some dates. At most one active period covers a date."""

    id: Id = Field(default_factory=ObjectId)
    date_range: DateRange = Field(default_factory=DateRange)
    time_slots: list[TimeSlot] = Field(default_factory=list, max_length=MAX_SLOTS)
    notes: str | None = Field(None, max_length=500)
    is_active: bool = True
    created_at: Instant = Field(default_factory=times.utc_now)

    def collides(self, other: "Period") -> bool:
        return self.is_active and other.is_active and self.date_range.overlaps(other.date_range)


class AvailabilityException(Embedded):
    """One date with hours of its own instead of the weekly ones; without hours it is closed."""

    id: Id = Field(default_factory=ObjectId)
    on: LocalDay = Field(alias="date")
    hours: list[Hours] = Field(default_factory=list, max_length=MAX_HOURS)
    reason: str | None = Field(None, max_length=100)


def _apart(periods: list[Period]) -> list[Period]:
    if len({period.id for period in periods}) < len(periods):
        raise ValueError("two periods must not have the same _id")
    if any(first.collides(second) for first, second in combinations(periods, 2)):
        raise ValueError("active periods must not overlap")
    return periods


def _once(exceptions: list[AvailabilityException]) -> list[AvailabilityException]:
    if len({exception.on for exception in exceptions}) < len(exceptions):
        raise ValueError("a date can have one exception only")
    return exceptions


class Availability(Embedded):
    """All hours of an expert. Without any period they are open at all times but for the exceptions."""

    periods: Annotated[list[Period], AfterValidator(_apart)] = Field(default_factory=list, max_length=MAX_PERIODS)
    exceptions: Annotated[list[AvailabilityException], AfterValidator(_once)] = Field(
        default_factory=list, max_length=MAX_EXCEPTIONS
    )

    def period_on(self, day: date) -> Period | None:
        """The active period that covers a date."""
        return next((period for period in self.periods if period.is_active and period.date_range.covers(day)), None)

    def exception_on(self, day: date) -> AvailabilityException | None:
        return next((exception for exception in self.exceptions if exception.on.date() == day), None)
