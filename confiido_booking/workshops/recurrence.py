"""The times of workshops and classes: given one by one, or by an iCalendar rule (RFC 5545).

A rule is a rule of wall times: what begins at 18:00 begins at 18:00 on both sides of a change of the clock (SPEC 5).
"""

import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

from dateutil.rrule import rrule, rrulestr  # type: ignore[import-untyped]

from confiido_booking import times
from confiido_booking.errors import FieldError, Invalid

MAX_TIMES = 200
FURTHEST = timedelta(days=5 * 366)  # from a rule's first time to its last
_MAX_RULE = 500
# What each frequency may have: so much that no rule can be one that never comes true, which dateutil would follow to
# the year 9999.
_ANY = frozenset({"FREQ", "INTERVAL", "WKST"})
_PARTS = {
    "DAILY": _ANY,
    "WEEKLY": _ANY | {"BYDAY"},
    "MONTHLY": _ANY | {"BYDAY", "BYMONTHDAY", "BYSETPOS"},
    "YEARLY": _ANY,
}
_DAY = re.compile(r"(?:MO|TU|WE|TH|FR|SA|SU)")
_NTH_DAY = re.compile(r"[+-]?[1-5](?:MO|TU|WE|TH|FR|SA|SU)")
_POSITION = re.compile(r"[+-]?[1-5]", re.ASCII)
_DATE = re.compile(r"[+-]?(?:[1-9]|[12]\d|3[01])", re.ASCII)
_UNTIL = re.compile(r"(\d{8})(?:T(\d{6})(Z?))?", re.ASCII)


def listed(given: Sequence[object]) -> list[datetime]:
    """The starts of a list, ascending, in UTC.

    Raises:
        Invalid: ``invalid_time``, ``too_many_times``.
    """
    if len(given) > MAX_TIMES:
        raise _too_many("times")
    starts = [times.parse_instant(each, field=f"times.{place}") for place, each in enumerate(given)]
    return sorted(start.replace(second=0, microsecond=0) for start in starts)


def recurring(rule: str, first: datetime, zone: ZoneInfo) -> list[datetime]:
    """The starts of a rule, ascending, in UTC. ``first`` is where it begins, and the wall time of all of them.

    It needs a COUNT or an UNTIL, and gives at most :data:`MAX_TIMES` within five years. It is weekly on some days
    (BYDAY), monthly on a date (BYMONTHDAY) or on some days (BYDAY=1MO, or BYDAY and BYSETPOS), daily or yearly.

    Raises:
        Invalid: ``invalid_rrule``, ``too_many_times``; ``invalid_time`` where a change of the clock skips one of them.
    """
    parts = _parts(rule)
    local = first.astimezone(zone).replace(second=0, microsecond=0, tzinfo=None)
    count, until = parts.pop("COUNT", None), parts.pop("UNTIL", None)
    if (count is None) == (until is None):
        raise _wrong("needs either COUNT or UNTIL")
    if count is not None and not (count.isdecimal() and 1 <= len(count) <= 6 and int(count) > 0):
        raise _wrong("has a COUNT that is no positive number")
    latest = local + FURTHEST
    last = min(_until(until, zone), latest) if until is not None else latest
    found = _starts(parts, local, last)
    starts = list(islice(found, min(int(count), MAX_TIMES + 1) if count is not None else MAX_TIMES + 1))
    if len(starts) > MAX_TIMES or (count is not None and int(count) > MAX_TIMES):
        raise _too_many("rrule")
    if not starts:
        raise _wrong("gives no time at all")
    return [times.at_wall(start.date(), start.time(), zone, field="rrule") for start in starts]


def _parts(rule: str) -> dict[str, str]:
    if len(rule) > _MAX_RULE or not rule.isascii():
        raise _wrong("is too long, or none")
    pairs = [part.partition("=") for part in rule.strip().upper().removeprefix("RRULE:").rstrip(";").split(";")]
    parts = {name.strip(): value.strip() for name, _, value in pairs}
    if len(parts) < len(pairs) or not all(parts.values()):
        raise _wrong("must be of the form FREQ=WEEKLY;COUNT=8")
    allowed = _PARTS.get(parts.get("FREQ", ""))
    if allowed is None:
        raise _wrong("must be daily, weekly, monthly or yearly")
    if parts.keys() - allowed - {"COUNT", "UNTIL"}:
        raise _wrong(f"of this frequency may have {', '.join(sorted(allowed))}, COUNT and UNTIL")
    if "BYMONTHDAY" in parts and "BYDAY" in parts:
        raise _wrong("may have BYDAY or BYMONTHDAY, not both")
    if not _is_understood(parts):
        raise _wrong("names a day that there is not")
    interval = parts.get("INTERVAL", "1")
    if not (interval.isdecimal() and len(interval) <= 3 and int(interval) > 0):
        raise _wrong("has an INTERVAL that is no positive number")
    return parts


def _is_understood(parts: dict[str, str]) -> bool:
    days, position = parts.get("BYDAY", "MO").split(","), parts.get("BYSETPOS")
    if position is not None and not ("BYDAY" in parts and _POSITION.fullmatch(position)):
        return False
    if not all(_DATE.fullmatch(date) for date in parts.get("BYMONTHDAY", "1").split(",")):
        return False
    plain = all(_DAY.fullmatch(day) for day in days)
    if parts["FREQ"] == "WEEKLY" or position is not None:
        return plain
    return plain or all(_NTH_DAY.fullmatch(day) for day in days)


def _starts(parts: dict[str, str], local: datetime, last: datetime) -> rrule:
    try:
        rule = rrulestr(";".join(f"{name}={value}" for name, value in parts.items()), dtstart=local)
        assert isinstance(rule, rrule)
        bounded: rrule = rule.replace(until=last)
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, OverflowError):
        raise _wrong("is not one that RFC 5545 knows") from None
    return bounded


def _until(given: str, zone: ZoneInfo) -> datetime:
    """UNTIL as a wall time of the zone: a date is that whole day."""
    match = _UNTIL.fullmatch(given)
    try:
        if match is None:
            raise ValueError
        day = datetime.strptime(match[1], "%Y%m%d")
        if match[2] is None:
            return day + timedelta(days=1, seconds=-1)
        moment = datetime.strptime(match[1] + match[2], "%Y%m%d%H%M%S")
        if match[3]:
            moment = moment.replace(tzinfo=ZoneInfo("UTC")).astimezone(zone).replace(tzinfo=None)
        return moment
    except (ValueError, OverflowError):
        raise _wrong("has an UNTIL that is no date") from None


def _wrong(message: str) -> Invalid:
    return Invalid(f"rrule {message}", code="invalid_rrule", errors=[FieldError("rrule", message)])


def _too_many(field: str) -> Invalid:
    message = f"names more than {MAX_TIMES} times"
    return Invalid(f"{field} {message}", code="too_many_times", errors=[FieldError(field, message)])
