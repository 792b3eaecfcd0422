"""An expert's hours, as tests write them: ``Bookable`` is the least of an expert that the rules look at."""

from dataclasses import dataclass

from confiido_booking.calendar.availability import Availability


@dataclass
class Bookable:
    timezone: str = "UTC"
    availability: Availability | None = None
    buffer_before: int = 0
    buffer_after: int = 0
    min_notice: int = 0
    horizon: int = 365


def slot(day: int, start: str, end: str, *, available: bool = True) -> dict[str, object]:
    return {"dayOfWeek": day, "startTime": start, "endTime": end, "isAvailable": available}


def period(
    *slots: dict[str, object], start: str | None = None, end: str | None = None, active: bool = True
) -> dict[str, object]:
    return {"dateRange": {"startDate": start, "endDate": end}, "timeSlots": slots, "isActive": active}


def hours(*periods: dict[str, object], exceptions: tuple[dict[str, object], ...] = ()) -> Availability:
    return Availability.model_validate({"periods": periods, "exceptions": exceptions})


def expert(
    *slots: dict[str, object], timezone: str = "UTC", exceptions: tuple[dict[str, object], ...] = ()
) -> Bookable:
    return Bookable(timezone=timezone, availability=hours(period(*slots), exceptions=exceptions))
