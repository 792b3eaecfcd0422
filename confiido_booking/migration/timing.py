"""When a session takes place, and when it was to: HISTORY 6 to 10 and the reschedule entries of era F."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from confiido_booking import times
from confiido_booking.errors import Invalid
from confiido_booking.migration.coercions import Coercions, Refusal
from confiido_booking.migration.options import Options
from confiido_booking.migration.profile import Profile
from confiido_booking.migration.sources import storable

Facts = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Time:
    starts_at: datetime | None
    ends_at: datetime | None
    duration: int
    zone: str


@dataclass(frozen=True, slots=True)
class Timing:
    """The rules of time under one run's options and profile. ``flags`` and ``kept`` take what a rule touched."""

    options: Options
    profile: Profile
    coercions: Coercions

    def time(self, facts: Facts, flags: list[str], kept: dict[str, Any]) -> Time:
        """HISTORY 6 to 10."""
        coercions = self.coercions
        zone = self._zone_name(facts)
        starts_at, ends_at = facts.get("startsAt"), facts.get("endsAt")
        duration = coercions.minutes(facts.get("duration"))
        if starts_at is not None:
            start = coercions.moment(starts_at, zone=zone_of(zone))
            end = coercions.moment(ends_at, zone=zone_of(zone))
            if duration is None and start is not None and end is not None:
                flags.append("duration_from_end")
                duration = self.coercions.minutes(end - start)
            return self._timed(start, duration, zone, flags)
        clock, end_clock = coercions.clock(facts.get("startTime")), coercions.clock(facts.get("endTime"))
        day = coercions.day(facts.get("scheduledDate"))
        if (clock and clock[1]) or (end_clock and end_clock[1]):
            flags.append("one_digit_hour")
        if clock and end_clock:
            span = (_minute(end_clock[0]) - _minute(clock[0])) % 1440
            if duration is None and span:
                duration = span
                flags.append("duration_from_end")
            elif duration is not None and span != duration % 1440:
                flags.append("end_disagrees")
                kept["endTime"] = storable(facts["endTime"])
        if day is None or clock is None:
            return self._timed(None, duration, zone, flags)
        if day[1] is not None:
            flags.append(day[1])
            kept["scheduledDate"] = storable(facts["scheduledDate"])
        try:
            start = times.at_wall(day[0], clock[0], zone_of(zone))
        except Invalid:
            raise Refusal("time_skipped", f"{day[0]} {clock[0]:%H:%M} {zone}") from None
        return self._timed(start, duration, zone, flags)

    def _timed(self, start: datetime | None, duration: int | None, zone: str, flags: list[str]) -> Time:
        if duration is None:
            assumed = self.profile.parameters.get("duration")
            if assumed is None:
                raise Refusal("duration_missing")
            duration = int(assumed)
            flags.append("duration_assumed")
        if duration < 15:
            flags.append("duration_short")
        end = start + timedelta(minutes=duration) if start is not None else None
        if start is not None and end is not None:
            local = zone_of(zone)
            if end.astimezone(local).date() != start.astimezone(local).date():
                flags.append("across_midnight")
        return Time(start, end, duration, zone)

    def _zone_name(self, facts: Facts) -> str:
        given = facts.get("timezone")
        return given if isinstance(given, str) and _is_zone(given) else self.options.timezone

    def reschedules(self, facts: Facts, doc: dict[str, Any], flags: list[str], kept: dict[str, Any]) -> None:
        doc["rescheduleHistory"] = []
        zone = doc["timezone"]
        try:
            history = facts.get("rescheduleHistory") or []
            if history:
                doc["rescheduleHistory"] = [self._moved(entry, zone, doc["duration"]) for entry in history]
            request = facts.get("rescheduleRequest")
            if isinstance(request, Mapping) and request.get("status"):
                doc["rescheduleRequest"] = self._requested(request, zone, doc["duration"])
        except (Refusal, Invalid, KeyError, TypeError, AttributeError, ValueError):
            flags.append("reschedule_unreadable")
            doc["rescheduleHistory"] = []
            for name in ("rescheduleHistory", "rescheduleRequest"):
                if name in facts:
                    kept[name] = storable(facts[name])

    def _moved(self, entry: Facts, zone: str, duration: int) -> dict[str, Any]:
        moved: dict[str, Any] = {}
        for side in ("previous", "new"):
            moved |= self._place(entry, side, zone, duration)
        moved["updatedBy"] = str(entry.get("updatedBy") or "system")
        moved["updatedAt"] = self._needed(entry.get("updatedAt"))
        put(moved, "reason", self.coercions.text(entry.get("reason")))
        return moved

    def _requested(self, request: Facts, zone: str, duration: int) -> dict[str, Any]:
        found = {"status": str(request["status"]), "requestedBy": str(request.get("requestedBy") or "client")}
        asked: dict[str, Any] = {**found, **self._place(request, "requested", zone, duration)}
        asked["requestedAt"] = self._needed(request.get("requestedAt"))
        put(asked, "reason", self.coercions.text(request.get("reason")))
        put(asked, "respondedAt", self.coercions.moment(request.get("respondedAt")))
        put(asked, "responseNote", self.coercions.text(request.get("responseNote")))
        return asked

    def _place(self, entry: Facts, side: str, zone: str, duration: int) -> dict[str, Any]:
        day, clock = self.coercions.day(entry.get(f"{side}Date")), self.coercions.clock(entry.get(f"{side}StartTime"))
        if day is None or clock is None:
            raise Refusal("date_missing")
        start = times.at_wall(day[0], clock[0], zone_of(zone))
        end = start + timedelta(minutes=duration)
        return {
            f"{side}Date": f"{day[0]:%Y-%m-%d}",
            f"{side}StartTime": f"{clock[0]:%H:%M}",
            f"{side}EndTime": f"{end.astimezone(zone_of(zone)):%H:%M}",
            f"{side}StartsAt": start,
        }

    def _needed(self, value: Any) -> datetime:
        moment = self.coercions.moment(value)
        if moment is None:
            raise Refusal("time_missing")
        return moment


def put(document: dict[str, Any], name: str, value: Any) -> None:
    if value is not None:
        document[name] = value


def _minute(clock: Any) -> int:
    minutes: int = clock.hour * 60 + clock.minute
    return minutes


@lru_cache(maxsize=512)
def zone_of(name: str) -> ZoneInfo:
    return times.zone(name)


@lru_cache(maxsize=512)
def _is_zone(name: str) -> bool:
    try:
        times.zone(name)
    except Invalid:
        return False
    return True
