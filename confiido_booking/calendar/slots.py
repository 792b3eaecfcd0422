"""Slot search: which starts of a day an expert offers, and which of them booking accepts now. Pure."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

from confiido_booking import times
from confiido_booking.calendar import rules
from confiido_booking.calendar.rules import Bookable, Span
from confiido_booking.errors import Invalid

GRID_MINUTES = 15
SEARCH_DAYS = 60
_GRID = [time(minute // 60, minute % 60) for minute in range(0, 1440, GRID_MINUTES)]


@dataclass(frozen=True, slots=True)
class Slot:
    """A stretch inside the expert's hours, UTC; ``available``: whether booking accepts it now."""

    starts_at: datetime
    ends_at: datetime
    available: bool


def on_day(expert: Bookable, day: date, duration: int, busy: Iterable[Span], *, now: datetime) -> list[Slot]:
    """The slots of ``duration`` minutes that start on the quarter hours of a local day, ascending.

    None for an expert who has set no hours (SPEC 6). ``busy``: the expert's taken minutes, buffers included.
    """
    if not rules.has_hours(expert, day):
        return []
    return [
        Slot(starts_at, times.ends_at(starts_at, duration), available)
        for starts_at, available in _starts(expert, day, duration, rules.joined(busy), now)
    ]


def next_starts(
    expert: Bookable, after: datetime, duration: int, busy: Iterable[Span], *, now: datetime, count: int
) -> list[datetime]:
    """The first ``count`` quarter hours from ``after`` on that can be booked, within 60 days and the horizon."""
    taken = rules.joined(busy)
    first = max(after, now + timedelta(minutes=expert.min_notice))
    last = min(first + timedelta(days=SEARCH_DAYS), now + timedelta(days=expert.horizon))
    tz = times.zone(expert.timezone)
    today = first.astimezone(tz).date()
    found = (
        starts_at
        for offset in range((last.astimezone(tz).date() - today).days + 1)
        for starts_at, available in _starts(expert, today + timedelta(days=offset), duration, taken, now)
        if available and starts_at >= first
    )
    return list(islice(found, count))


def _starts(
    expert: Bookable, day: date, duration: int, busy: Sequence[Span], now: datetime
) -> Iterator[tuple[datetime, bool]]:
    """The day's starts that lie inside the expert's hours, and whether each can be booked now."""
    windows = rules.open_windows(expert, day, day + timedelta(days=1))
    for starts_at in _quarter_hours(day, times.zone(expert.timezone)):
        ends_at = times.ends_at(starts_at, duration)
        if any(window.start <= starts_at and ends_at <= window.end for window in windows):
            refusal = rules.why_not_yet(expert, starts_at, now=now, as_client=True)
            yield starts_at, refusal is None and rules.is_free(rules.claimed(expert, starts_at, duration), busy)


def _quarter_hours(day: date, tz: ZoneInfo) -> Iterator[datetime]:
    """The quarter hours of the day's wall clock: none that is skipped, and the first of one that occurs twice."""
    for clock in _GRID:
        with suppress(Invalid):
            yield times.at_wall(day, clock, tz)
