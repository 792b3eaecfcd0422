"""What every command needs."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from confiido_booking import times
from confiido_booking.bookings.healing import Healing
from confiido_booking.bookings.remembered import Remembered
from confiido_booking.bookings.unconverted import NoneUnconverted, Unconverted
from confiido_booking.bookings.views import When
from confiido_booking.database.store import Store
from confiido_booking.errors import Invalid
from confiido_booking.experts.models import Expert
from confiido_booking.experts.service import Experts
from confiido_booking.settings import Settings
from confiido_booking.times import Clock


class FreeTime(Protocol):
    """What bookings ask of the calendar beyond claims: where else there is room."""

    async def next_starts(self, expert: Expert, after: datetime, duration: int, count: int = 3) -> list[datetime]: ...


@dataclass(frozen=True, slots=True)
class Context:
    store: Store
    settings: Settings
    clock: Clock
    experts: Experts
    free_time: FreeTime
    remembered: Remembered = field(default_factory=Remembered)
    old: Unconverted = field(default_factory=NoneUnconverted)

    @property
    def healing(self) -> Healing:
        return Healing(self.store)

    def start_of(self, when: When, default_zone: str) -> tuple[datetime, str]:
        """The UTC start and the zone it is meant in.

        Raises:
            Invalid: ``invalid_time`` for no time, half a time, or one that the zone's clock skips.
        """
        zone = times.zone(when.timezone or default_zone)
        if when.starts_at is not None:
            return times.parse_instant(when.starts_at).replace(second=0, microsecond=0), zone.key
        if when.scheduled_date is None or when.start_time is None:
            raise Invalid("A session needs startsAt, or scheduledDate and startTime", code="invalid_time")
        day = times.parse_date(when.scheduled_date)
        return times.milliseconds(times.at_wall(day, times.parse_clock(when.start_time), zone)), zone.key


def wall_fields(starts_at: datetime, duration: int, zone: str) -> dict[str, object]:
    """A session's time as stored: instants, and the wall clock derived from them (SPEC 5)."""
    ends_at = times.ends_at(starts_at, duration)
    wall = times.wall(starts_at, ends_at, times.zone(zone))
    return {
        "startsAt": starts_at,
        "endsAt": ends_at,
        "timezone": zone,
        "scheduledDate": wall.scheduled_date,
        "startTime": wall.start_time,
        "endTime": wall.end_time,
    }


SESSION_NOT_FOUND = "Session not found"
BOOKING_NOT_FOUND = "Booking not found"
CLIENT_IS_BUSY = "The client has another session at this time"
