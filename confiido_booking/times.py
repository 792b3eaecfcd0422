"""Time: UTC instants in the store, wall clocks at the edges (SPEC 5).

An instant is an aware UTC ``datetime`` of whole milliseconds, as MongoDB keeps it. A wall time is a
local date and ``HH:MM`` in an IANA zone. A wall time that a DST change skips does not exist and is
refused, or, as the edge of working hours, moved to the first instant that does (:func:`edge`); one that
occurs twice means the first.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cache, lru_cache
from importlib import resources
from zoneinfo import ZoneInfo

from confiido_booking.errors import Invalid, wrong_field

Clock = Callable[[], datetime]
MIN_DURATION, MAX_DURATION = 5, 1440
_HHMM = re.compile(r"([01]?[0-9]|2[0-3]):([0-5][0-9])", re.ASCII)
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}(?:[T ]|$)", re.ASCII)
_SECOND = timedelta(seconds=1)
_EARLIEST, _LATEST = datetime(1970, 1, 2, tzinfo=UTC), datetime(9000, 1, 1, tzinfo=UTC)


def utc_now() -> datetime:
    return milliseconds(datetime.now(UTC))


def milliseconds(moment: datetime) -> datetime:
    """The same instant as the store keeps it: UTC, whole milliseconds."""
    if moment.tzinfo is UTC and not moment.microsecond % 1000:
        return moment
    moment = moment.astimezone(UTC)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


@cache
def _zone_names() -> frozenset[str]:
    """The IANA names, from the tzdata package: the system's folder also has zones with leap seconds and its own."""
    return frozenset(resources.files("tzdata").joinpath("zones").read_text().split()) - {"Factory"}


def zone(name: object, *, field: str = "timezone") -> ZoneInfo:
    """The IANA zone of that name. Raises Invalid ``invalid_time``."""
    if isinstance(name, str) and name in _zone_names():
        return ZoneInfo(name)
    raise _invalid(field, "must be an IANA time zone")


def parse_date(value: object, *, field: str = "scheduledDate", location: str = "body") -> date:
    """The calendar day of ``YYYY-MM-DD`` or of an ISO 8601 instant (its own, written day)."""
    day: date | None = None
    if isinstance(value, datetime):
        day = value.date()
    elif isinstance(value, date):
        day = value
    elif isinstance(value, str) and len(value) <= 40 and _DATE.match(value):
        try:
            day = datetime.fromisoformat(value).date()
        except ValueError:
            day = None
    if day is None or not _EARLIEST.date() <= day < _LATEST.date():
        raise _invalid(field, "must be a date as YYYY-MM-DD", location)
    return day


def parse_clock(value: object, *, field: str = "startTime", location: str = "body") -> time:
    """The wall time of ``H:MM`` or ``HH:MM``."""
    if isinstance(value, time):
        return value.replace(second=0, microsecond=0, tzinfo=None)
    if isinstance(value, str) and (match := _HHMM.fullmatch(value)):
        return time(int(match[1]), int(match[2]))
    raise _invalid(field, "must be a time as HH:MM", location)


def parse_instant(value: object, *, field: str = "startsAt", location: str = "body") -> datetime:
    """The instant of an ISO 8601 text with an offset. A text without one is refused, never guessed."""
    moment: datetime | None = None
    if isinstance(value, datetime):
        moment = value
    elif isinstance(value, str) and len(value) <= 40 and _DATE.match(value):
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            moment = None
    if moment is None or moment.tzinfo is None:
        raise _invalid(field, "must be an ISO 8601 instant with an offset", location)
    try:
        moment = milliseconds(moment)
    except OverflowError:
        raise _invalid(field, "is out of range", location) from None
    if not _EARLIEST <= moment < _LATEST:
        raise _invalid(field, "is out of range", location)
    return moment


def at_wall(day: date, clock: time, tz: ZoneInfo, *, field: str = "startTime") -> datetime:
    """The UTC instant of a wall time; the first where it occurs twice.

    Raises:
        Invalid: ``invalid_time`` where a DST change skips it.
    """
    local = datetime.combine(day, clock, tzinfo=tz)  # fold=0: the first of two
    instant = local.astimezone(UTC)
    if instant.astimezone(tz).replace(tzinfo=None) != local.replace(tzinfo=None):
        raise _invalid(field, f"does not exist on {day} in {tz.key}: the clock skips it")
    return instant


@lru_cache(maxsize=4096)
def edge(day: date, clock: time, tz: ZoneInfo) -> datetime:
    """The UTC instant of a wall time; where the clock skips it, the first instant after the gap."""
    after = datetime.combine(day, clock, tzinfo=tz).astimezone(UTC)
    before = datetime.combine(day, clock, tzinfo=tz).replace(fold=1).astimezone(UTC)
    if before >= after:  # PEP 495: only in a gap does fold=1 come first
        return after
    old = before.astimezone(tz).utcoffset()
    while after - before > _SECOND:
        middle = before + (after - before) // _SECOND // 2 * _SECOND
        before, after = (middle, after) if middle.astimezone(tz).utcoffset() == old else (before, middle)
    return after


@dataclass(frozen=True, slots=True)
class Wall:
    """How a session's time is shown: SPEC 2's ``scheduledDate``, ``startTime``, ``endTime``."""

    scheduled_date: datetime  # UTC midnight of the local date, as seed 002 stores it
    start_time: str
    end_time: str


def wall(starts_at: datetime, ends_at: datetime, tz: ZoneInfo) -> Wall:
    start, end = starts_at.astimezone(tz), ends_at.astimezone(tz)
    midnight = datetime(start.year, start.month, start.day, tzinfo=UTC)
    return Wall(midnight, f"{start.hour:02}:{start.minute:02}", f"{end.hour:02}:{end.minute:02}")


def ends_at(starts_at: datetime, duration: int) -> datetime:
    return starts_at + timedelta(minutes=duration)


def _invalid(field: str, message: str, location: str = "body") -> Invalid:
    return wrong_field(field, message, "invalid_time", location=location)
