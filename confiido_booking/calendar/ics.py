"""Sessions as iCalendar (RFC 5545): one file for a mail or a route, many events for a feed.

A session is one event for ever: its UID is made of its ``sessionId``, and its SEQUENCE, the session's version, rises
with every change, so that a calendar moves or strikes out what it has instead of adding to it. Times are in a zone,
with that zone's VTIMEZONE, as daylight saving would else move them in calendars that do not know it.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Literal
from zoneinfo import ZoneInfo

from icalendar import Calendar, Event, Timezone, vCalAddress, vText

from confiido_booking import times
from confiido_booking.addresses import Person, is_address
from confiido_booking.bookings import rules
from confiido_booking.calendar import zones

Method = Literal["PUBLISH", "REQUEST", "CANCEL"]
MEDIA_TYPE = "text/calendar; charset=utf-8"
_PRODUCT = "-//Confiido//Confiido Booking//EN"
_STATUS = {"confirmed": "CONFIRMED", "completed": "CONFIRMED", "no-show": "CONFIRMED", "cancelled": "CANCELLED"}


def has_time(session: Mapping[str, Any]) -> bool:
    """Whether there is anything for a calendar: a request or a draft may have no time yet."""
    return session.get("startsAt") is not None and session.get("endsAt") is not None


def uid(session: Mapping[str, Any]) -> str:
    return f"{session['sessionId']}@confiido-booking"


def event(
    session: Mapping[str, Any],
    *,
    now: datetime,
    zone: str | None = None,
    with_link: bool = True,
    organizer: Person | None = None,
    attendee: Person | None = None,
) -> Event:
    """The event of a session as the store keeps it; it must have a time (:func:`has_time`).

    ``zone``: whose clock shows it; default the session's own. ``with_link``: a client gets the meeting link only with
    the confirmation. A lapsed hold is cancelled.
    """
    tz = times.zone(zone or session["timezone"])
    made = Event()
    made.add("uid", uid(session))
    made.add("sequence", int(session.get("version", 0)))
    made.add("dtstamp", now)
    if isinstance(session.get("updatedTime"), datetime):
        made.add("last-modified", session["updatedTime"])
    made.add("dtstart", _shown(session["startsAt"], tz))
    made.add("dtend", _shown(session["endsAt"], tz))
    made.add("summary", session.get("title") or "Session")
    made.add("status", _STATUS.get(rules.status_now(session, now), "TENTATIVE"))
    if session.get("location"):
        made.add("location", session["location"])
    link = session.get("meetingLink")
    if with_link and link and link.isprintable() and " " not in link:
        made.add("url", link)
        made.add("description", f"Join: {link}")
    _add_person(made, "organizer", organizer)
    _add_person(made, "attendee", attendee)
    return made


def file(events: Iterable[Event], *, method: Method = "PUBLISH", name: str | None = None) -> bytes:
    """A calendar of these events with the zones they are in. ``name``: what a feed is called."""
    calendar = Calendar()
    calendar.add("version", "2.0")
    calendar.add("prodid", _PRODUCT)
    calendar.add("calscale", "GREGORIAN")
    calendar.add("method", method)
    if name:
        calendar.add("name", name)
        calendar.add("x-wr-calname", name)
    shown = list(events)
    for definition in _definitions(shown):
        calendar.add_component(definition)
    for each in shown:
        calendar.add_component(each)
    return bytes(calendar.to_ical())


def _shown(instant: datetime, tz: ZoneInfo) -> datetime:
    """By the zone's clock; the second of two equal wall times cannot be told by it, so it is told in UTC."""
    local = instant.astimezone(tz)
    return instant if local.fold else local


def _definitions(events: Iterable[Event]) -> list[Timezone]:
    """The zones these events are in, each over their time."""
    instants: dict[ZoneInfo, list[datetime]] = {}
    for each in events:
        start, end = each.decoded("dtstart"), each.decoded("dtend")
        if isinstance(start.tzinfo, ZoneInfo) and start.tzinfo.key != "UTC":
            instants.setdefault(start.tzinfo, []).extend((start, end))
    return [zones.definition(tz, min(met), max(met)) for tz, met in instants.items()]


def _add_person(made: Event, role: str, person: Person | None) -> None:
    if person is None or not is_address(person.email):
        return
    address = vCalAddress(f"mailto:{person.email}")
    if person.name:
        address.params["CN"] = vText(" ".join(person.name.replace('"', "'").split()))
    if role == "attendee":
        address.params["ROLE"] = vText("REQ-PARTICIPANT")
        address.params["PARTSTAT"] = vText("ACCEPTED")
    made.add(role, address, encode=False)
