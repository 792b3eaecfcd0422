"""Whether an expert can be booked at a time: minimum notice, horizon, hours, free minutes (SPEC 6).

Booking and slot search both decide here, so that what is offered is what is accepted. Hours are wall times of the
expert's zone; everything that is compared is UTC.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from datetime import date, datetime, time, timedelta
from typing import NamedTuple, Protocol
from zoneinfo import ZoneInfo

from confiido_booking import times
from confiido_booking.calendar.availability import DAY_MINUTES, Availability, Hours
from confiido_booking.errors import BookingError, Conflict, Invalid, iso

_WHOLE_DAY = Hours(start_time="00:00", end_time="24:00")
_DAY = timedelta(days=1)


class Bookable(Protocol):
    """What of an expert decides when they can be booked. Buffers and notice in minutes, horizon in days."""

    timezone: str
    availability: Availability | None
    buffer_before: int
    buffer_after: int
    min_notice: int
    horizon: int


class Span(NamedTuple):
    """Minutes from ``start`` until just before ``end``, UTC."""

    start: datetime
    end: datetime


def why_not(
    expert: Bookable, starts_at: datetime, duration: int, *, now: datetime, as_client: bool
) -> BookingError | None:
    """Why a session of ``duration`` minutes cannot be booked at that start, or None. Not whether it is free.

    ``as_client``: a past start is refused, as for clients and experts (SPEC 5). To others the past is open, and
    neither notice nor horizon applies to it.

    Returns:
        Invalid ``starts_in_past``; Conflict ``below_minimum_notice``, ``beyond_horizon``, ``outside_availability``.
    """
    return why_not_yet(expert, starts_at, now=now, as_client=as_client) or _why_closed(expert, starts_at, duration)


def why_not_yet(expert: Bookable, starts_at: datetime, *, now: datetime, as_client: bool) -> BookingError | None:
    """The part of :func:`why_not` that looks at the clock only."""
    if starts_at < now:
        return Invalid("The start lies in the past", code="starts_in_past") if as_client else None
    earliest, latest = now + timedelta(minutes=expert.min_notice), now + timedelta(days=expert.horizon)
    if starts_at < earliest:
        return Conflict(
            f"This expert needs to be booked at least {expert.min_notice} minutes ahead",
            code="below_minimum_notice",
            details={"minNotice": expert.min_notice, "earliest": iso(earliest)},
        )
    if starts_at > latest:
        return Conflict(
            f"This expert can be booked at most {expert.horizon} days ahead",
            code="beyond_horizon",
            details={"horizon": expert.horizon, "latest": iso(latest)},
        )
    return None


def _why_closed(expert: Bookable, starts_at: datetime, duration: int) -> BookingError | None:
    if expert.availability is None:
        return None
    tz = times.zone(expert.timezone)
    ends_at = times.ends_at(starts_at, duration)
    windows = open_windows(expert, starts_at.astimezone(tz).date(), ends_at.astimezone(tz).date())
    if any(window.start <= starts_at and ends_at <= window.end for window in windows):
        return None
    return Conflict("This time is outside the expert's availability", code="outside_availability")


def has_hours(expert: Bookable, day: date) -> bool:
    """Whether the expert has said when they work on that date; one who has not can be booked at any time."""
    hours = expert.availability
    return hours is not None and (bool(hours.periods) or hours.exception_on(day) is not None)


def open_windows(expert: Bookable, first: date, last: date) -> list[Span]:
    """When the expert works, ascending, joined where they touch: exact for all minutes of these local days.

    A window's edge that the clock skips is the first instant after the gap; one that occurs twice means the first.
    """
    first -= _DAY  # its hours may run past midnight
    tz = times.zone(expert.timezone)
    if expert.availability is None:
        return [Span(times.edge(first, time(), tz), times.edge(last + _DAY, time(), tz))]
    opened: list[Span] = []
    closed: list[Span] = []
    for offset in range((last - first).days + 1):
        day = first + timedelta(days=offset)
        for hours, is_open in _hours_on(expert.availability, day):
            start, end = hours.minutes
            (opened if is_open else closed).append(Span(_instant(day, start, tz), _instant(day, end, tz)))
    return subtracted(joined(opened), joined(closed))


def _hours_on(availability: Availability, day: date) -> list[tuple[Hours, bool]]:
    """The hours that start on a day, and whether they are open or taken out."""
    exception = availability.exception_on(day)
    if exception is not None:
        return [(hours, True) for hours in exception.hours]
    if not availability.periods:
        return [(_WHOLE_DAY, True)]
    period = availability.period_on(day)
    weekday = day.isoweekday() % 7
    return [(slot, slot.is_available) for slot in period.time_slots if slot.day_of_week == weekday] if period else []


def _instant(day: date, minute: int, tz: ZoneInfo) -> datetime:
    days, minute = divmod(minute, DAY_MINUTES)
    return times.edge(day + timedelta(days=days), time(minute // 60, minute % 60), tz)


def claimed(expert: Bookable, starts_at: datetime, duration: int) -> Span:
    """The minutes a session takes of the expert: its own and the buffers around."""
    before, after = timedelta(minutes=expert.buffer_before), timedelta(minutes=expert.buffer_after)
    return Span(starts_at - before, times.ends_at(starts_at, duration) + after)


def is_free(wanted: Span, busy: Sequence[Span]) -> bool:
    """Whether nothing of ``busy`` overlaps. ``busy`` must be :func:`joined`."""
    earlier = bisect_left(busy, wanted.end, key=lambda span: span.start)
    return earlier == 0 or busy[earlier - 1].end <= wanted.start


def joined(spans: Iterable[Span]) -> list[Span]:
    """The same minutes as the fewest spans, ascending; empty ones are gone."""
    result: list[Span] = []
    for span in sorted(span for span in spans if span.start < span.end):
        if result and span.start <= result[-1].end:
            result[-1] = Span(result[-1].start, max(result[-1].end, span.end))
        else:
            result.append(span)
    return result


def subtracted(spans: Sequence[Span], holes: Sequence[Span]) -> list[Span]:
    """What of ``spans`` lies in none of ``holes``; both must be :func:`joined`, and so is the result."""
    result: list[Span] = []
    for start, end in spans:
        for hole in holes:
            if hole.start < end and hole.end > start:
                result.append(Span(start, hole.start))
                start = hole.end
        result.append(Span(start, end))
    return joined(result)
