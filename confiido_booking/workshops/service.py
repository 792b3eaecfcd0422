"""Public service sessions and their places: workshops, and the classes of courses."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from bson import ObjectId

from confiido_booking import times
from confiido_booking.actors import Actor
from confiido_booking.bookings import rules as booking_rules
from confiido_booking.bookings import snapshots
from confiido_booking.bookings.book import whose
from confiido_booking.bookings.context import Context
from confiido_booking.bookings.guards import Command, fresh_key
from confiido_booking.bookings.statuses import SessionStatus
from confiido_booking.bookings.views import Change, ClientRef, View
from confiido_booking.bookings.workflow import within_deadline
from confiido_booking.catalog import rules as catalog_rules
from confiido_booking.catalog.models import Service, ServiceType
from confiido_booking.catalog.service import Catalog
from confiido_booking.errors import Conflict, FieldError, Invalid, NotAllowed
from confiido_booking.workshops import commanding, making, reading, recurrence, rules, seating
from confiido_booking.workshops.commanding import Edit
from confiido_booking.workshops.making import Wanted
from confiido_booking.workshops.reading import EventFilter, EventPage, EventView
from confiido_booking.workshops.seating import Sale


@dataclass(frozen=True, slots=True)
class Workshops:
    """``confiido.workshops``. Staff command every event, an expert the own ones.

    Commands refuse like those of ``confiido.bookings``; ``request_key`` names one, so that a repeat does it once (L9).
    """

    context: Context
    catalog: Catalog

    @within_deadline
    async def create(
        self,
        service_id: ObjectId,
        *,
        actor: Actor,
        starts_at: datetime | str | None = None,
        times: Sequence[datetime | str] | None = None,
        rrule: str | None = None,
        timezone: str | None = None,
        max_participants: int | None = None,
        request_key: str | None = None,
    ) -> list[EventView]:
        """Workshops or classes of a course, at one time, a list of times, or by a rule from ``starts_at`` on: all of
        them or none. A course's are numbered in order. Returns them ascending.

        Raises:
            NotFound: ``service_not_found``; NotAllowed: of somebody else's service.
            Invalid: ``no_service_sessions``: the service is no workshop or course; ``starts_in_past``,
                ``times_required``, ``times_overlap``, ``too_many_times``, ``invalid_rrule``, ``invalid_time``.
            Conflict: ``slot_taken`` with ``details.conflicts``; ``service_inactive``, ``expert_inactive``.
        """
        command = await self._command("create", actor, request_key)
        service = await self._sold_by(service_id, command.actor)
        expert = await self.context.experts.get(service.expert_id)
        if not expert.is_active:
            raise Conflict("This expert is not active", code="expert_inactive")
        zone = _zone(timezone or expert.timezone)
        wanted = Wanted(
            service=service,
            expert=expert,
            starts=_starts(starts_at, times, rrule, zone),
            zone=zone,
            places=rules.capacity(max_participants, service),
        )
        made = await making.make(self.context, wanted, command)
        return [reading.view(event, command.actor, command.now) for event in made]

    async def list(
        self, *, actor: Actor, filters: EventFilter | None = None, page: int = 1, limit: int = 20
    ) -> EventPage:
        """A page of service sessions: the public ones, and the private ones within reach."""
        actor = await self.context.experts.identify(actor)
        return await reading.list_events(self.context, actor, filters or EventFilter(), page=page, limit=limit)

    async def get(self, event_id: ObjectId, *, actor: Actor) -> EventView:
        """One service session. Raises NotFound ``service_session_not_found``."""
        return await reading.get(self.context, event_id, await self.context.experts.identify(actor))

    @within_deadline
    async def edit(
        self,
        event_id: ObjectId,
        *,
        actor: Actor,
        starts_at: datetime | str | None = None,
        title: str | None = None,
        max_participants: int | None = None,
        reason: str | None = None,
        request_key: str | None = None,
    ) -> EventView:
        """Change title, places or time. All seats move with the event; a client whom the new time clashes with keeps
        the place, flagged ``conflict``, and every moved one may cancel with a full refund until the new start.

        Raises:
            SlotTaken: the expert is not free then. Conflict: ``capacity_taken``: fewer places than are taken.
        """
        command = await self._command("edit", actor, request_key, reason)
        at = None
        if starts_at is not None:
            at = times.parse_instant(starts_at, field="starts_at").replace(second=0, microsecond=0)
        wanted = Edit(starts_at=at, title=title, max_participants=max_participants)
        changed = await commanding.edit(self.context, event_id, wanted, command)
        return await reading.with_names(self.context, changed, command.actor)

    @within_deadline
    async def cancel(
        self, event_id: ObjectId, *, actor: Actor, reason: str | None = None, request_key: str | None = None
    ) -> EventView:
        """Cancel the event and every session in it; what was paid is due back in full."""
        command = await self._command("cancel", actor, request_key, reason)
        changed = await commanding.cancel(self.context, event_id, command)
        return await reading.with_names(self.context, changed, command.actor)

    @within_deadline
    async def start(self, event_id: ObjectId, *, actor: Actor, request_key: str | None = None) -> EventView:
        """scheduled → in_progress."""
        command = await self._command("start", actor, request_key)
        changed = await commanding.start(self.context, event_id, command)
        return await reading.with_names(self.context, changed, command.actor)

    @within_deadline
    async def complete(self, event_id: ObjectId, *, actor: Actor, request_key: str | None = None) -> EventView:
        """in_progress → completed. Who came is another question: its sessions stay confirmed."""
        command = await self._command("complete", actor, request_key)
        changed = await commanding.complete(self.context, event_id, command)
        return await reading.with_names(self.context, changed, command.actor)

    @within_deadline
    async def take_seat(
        self,
        event_id: ObjectId,
        *,
        actor: Actor,
        client: ClientRef | None = None,
        request_key: str | None = None,
        view: View = View.WHOLE,
    ) -> Change:
        """A place in a workshop: a client's own, pending with a hold where payment is due; or, by staff for
        ``client``, confirmed.

        Raises:
            NotFound: ``service_session_not_found``, ``service_not_found``.
            Conflict: ``event_full``, ``already_enrolled``, ``already_started``, ``transition_refused``,
                ``client_busy``, ``not_for_sale``.
            Invalid: ``sold_as_course``: a class of a course is not sold by itself; ``self_booking``.
        """
        command = await self._command("book", actor, request_key)
        who = whose(command.actor, client)
        event = await commanding.read(self.context, event_id)
        if "serviceId" not in event:
            raise Conflict("This event is not for sale", code="not_for_sale")
        service = await self.catalog.get(event["serviceId"], actor=command.actor)
        if service.service_type is not ServiceType.WORKSHOP:
            raise Invalid("A class of a course is sold with its course", code="sold_as_course")
        expert = await self.context.experts.get(service.expert_id)
        if who.client_id in (expert.user_id, expert.id):
            raise Invalid("You cannot book a place with yourself", code="self_booking")
        sale = Sale(
            service=service,
            expert=expert,
            price=service.price,
            status=SessionStatus.CONFIRMED if command.actor.is_staff else SessionStatus.PENDING,
            held_until=snapshots.held_until(service.price, expert, self.context.settings, command.now),
        )
        return await seating.take_seat(self.context, event_id, sale, who, command, view)

    async def _sold_by(self, service_id: ObjectId, actor: Actor) -> Service:
        service = await self.catalog.get(service_id, actor=actor)
        if not catalog_rules.runs(service, actor):
            raise NotAllowed("Only the expert whose service it is, or an administrator, can do this")
        if not catalog_rules.has_events(service):
            errors = [FieldError("service_id", "is no workshop and no course")]
            raise Invalid("Only workshops and courses have service sessions", code="no_service_sessions", errors=errors)
        if not service.is_active:
            raise Conflict("This service is off sale", code="service_inactive")
        return service

    async def _command(self, action: str, actor: Actor, key: str | None, reason: str | None = None) -> Command:
        return Command(
            action=action,
            actor=await self.context.experts.identify(actor),
            now=self.context.clock(),
            key=key or fresh_key(),
            reason=booking_rules.text(reason, "reason") if reason else None,
        )


def _zone(name: str) -> str:
    return times.zone(name).key


def _starts(
    starts_at: datetime | str | None, listed: Sequence[datetime | str] | None, rule: str | None, zone: str
) -> Sequence[datetime]:
    """The starts a command names, one way or another."""
    if listed is not None:
        if starts_at is not None or rule is not None:
            errors = [FieldError("times", "cannot stand beside starts_at or rrule")]
            raise Invalid("Give times, or starts_at", code="times_required", errors=errors)
        return recurrence.listed(listed)
    if starts_at is None:
        return []
    first = times.parse_instant(starts_at, field="starts_at").replace(second=0, microsecond=0)
    return [first] if rule is None else recurrence.recurring(rule, first, times.zone(zone))
