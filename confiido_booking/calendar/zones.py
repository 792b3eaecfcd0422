"""A time zone as iCalendar defines it for its readers: VTIMEZONE (RFC 5545, 3.6.5)."""

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from icalendar import Timezone, TimezoneDaylight, TimezoneStandard, vUTCOffset

_DAY, _HOUR, _SECOND = timedelta(days=1), timedelta(hours=1), timedelta(seconds=1)


def definition(tz: ZoneInfo, first: datetime, last: datetime) -> Timezone:
    """What the clocks of the zone do from a year before ``first`` to a year after ``last``.

    Every change is written out with its instant, as its clock showed it before: no rule has to be guessed from it.
    """
    made = Timezone()
    made.add("tzid", tz.key)
    begin = datetime(first.year - 1, 1, 1, tzinfo=UTC)
    made.add_component(_observance(tz, begin, before=_offset(tz, begin)))
    for change in _changes(tz, begin.year, last.year + 1):
        made.add_component(_observance(tz, change, before=_offset(tz, change - _SECOND)))
    return made


def _observance(tz: ZoneInfo, onset: datetime, *, before: timedelta) -> TimezoneStandard | TimezoneDaylight:
    local = onset.astimezone(tz)
    after = _offset(tz, onset)
    forward = after > before or (after == before and local.dst() == _HOUR)  # Dublin's own "dst" is minus an hour
    made = TimezoneDaylight() if forward else TimezoneStandard()
    made.add("dtstart", (onset + before).replace(tzinfo=None))
    made.add("tzoffsetfrom", vUTCOffset(before))
    made.add("tzoffsetto", vUTCOffset(after))
    made.add("tzname", local.tzname())
    return made


@lru_cache(maxsize=256)
def _changes(tz: ZoneInfo, from_year: int, to_year: int) -> list[datetime]:
    """The instants at which the offset changes, in these years."""
    found = []
    day, end = datetime(from_year, 1, 1, tzinfo=UTC), datetime(to_year + 1, 1, 1, tzinfo=UTC)
    while day < end:
        if _offset(tz, day) != _offset(tz, day + _DAY):
            found.append(_change_between(tz, day, day + _DAY))
        day += _DAY
    return found


def _change_between(tz: ZoneInfo, before: datetime, after: datetime) -> datetime:
    old = _offset(tz, before)
    while after - before > _SECOND:
        middle = before + (after - before) // _SECOND // 2 * _SECOND
        before, after = (middle, after) if _offset(tz, middle) == old else (before, middle)
    return after


def _offset(tz: ZoneInfo, instant: datetime) -> timedelta:
    return instant.astimezone(tz).utcoffset() or timedelta(0)
