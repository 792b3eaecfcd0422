"""Bookings: the commands and queries of the library, one method each.

Every command takes an :class:`Actor` and refuses with one of ``errors.py``, leaving everything as it was. They share
some arguments:

``request_key``
    Names the command: repeated with the same key within 24 h it has one effect and gives it again (L9).
``if_version``
    The session's version the caller has seen; stale, the command is refused with ``PreconditionFailed``.
``view``
    ``View.WHOLE`` brings the client's document back, ``View.HEAD`` leaves its other sessions out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from bson import ObjectId

from confiido_booking.actors import Actor
from confiido_booking.bookings import book as booking
from confiido_booking.bookings import finding, moving, reading, transitions
from confiido_booking.bookings.book import Wish
from confiido_booking.bookings.reading import SessionFilter, SessionPage
from confiido_booking.bookings.stats import Stats, stats
from confiido_booking.bookings.views import Change, ClientRef, View, When
from confiido_booking.bookings.workflow import Workflow, on_old_too, within_deadline
from confiido_booking.database.store import Document
from confiido_booking.ledger.service import Ledger


@dataclass(frozen=True, slots=True)
class Bookings(Workflow):
    """``confiido.bookings``."""

    ledger: Ledger

    @within_deadline
    async def book(
        self,
        *,
        actor: Actor,
        expert: str | ObjectId,
        session_type: str,
        duration: int,
        starts_at: datetime | str | None = None,
        scheduled_date: object = None,
        start_time: object = None,
        timezone: str | None = None,
        notes: str | None = None,
        client: ClientRef | None = None,
        force: bool = False,
        reason: str | None = None,
        source: str | None = None,
        referral_source: str | None = None,
        price: object = None,
        currency: str | None = None,
        request_key: str | None = None,
        view: View = View.WHOLE,
    ) -> Change:
        """Book a session: a client for themselves, an admin or a service for ``client`` (SPEC 6, seed 2.5).

        ``expert``: the expert's ``_id``, the user account's, or the 4-digit number. ``duration`` in minutes. The time
        is ``starts_at`` (with an offset) or ``scheduled_date`` + ``start_time`` in ``timezone`` (default: the
        expert's). Price, currency and end are the server's; only staff may give a ``price``.

        A client's session is pending, with a hold until ``timeout_at`` where payment is due; staff's is confirmed.

        Raises:
            NotFound: ``expert_not_found``.
            Invalid: ``self_booking``, ``session_type_not_offered``, ``starts_in_past``, ``invalid_time``.
            Conflict: ``expert_inactive``, ``below_minimum_notice``, ``beyond_horizon``, ``outside_availability``,
                ``slot_taken`` (:class:`SlotTaken`, with free starts), ``client_busy``, ``too_many_sessions``.
            NotAllowed: an expert books, or a client for somebody else.
        """
        when = When(starts_at=starts_at, scheduled_date=scheduled_date, start_time=start_time, timezone=timezone)
        wish = Wish(
            expert=expert,
            session_type=session_type,
            duration=duration,
            when=when,
            notes=notes,
            client=client,
            force=force,
            reason=reason,
            source=source,
            referral_source=referral_source,
            price=price,
            currency=currency,
        )
        return await booking.book(self.context, wish, actor=actor, key=request_key, view=view)

    @within_deadline
    @on_old_too
    async def confirm(
        self,
        booking_id: ObjectId,
        session_id: ObjectId,
        *,
        actor: Actor,
        request_key: str | None = None,
        if_version: int | None = None,
        view: View = View.WHOLE,
    ) -> Change:
        """pending → confirmed, while its hold lives; paid or not (SPEC 6, seed 2.9). Expert (own), admin, service."""
        command = await self.command("confirm", actor, request_key, if_version)
        return await transitions.confirm(self.context, booking_id, session_id, command, view)

    @within_deadline
    @on_old_too
    async def complete(
        self,
        booking_id: ObjectId,
        session_id: ObjectId,
        *,
        actor: Actor,
        request_key: str | None = None,
        if_version: int | None = None,
        view: View = View.WHOLE,
    ) -> Change:
        """confirmed → completed (seed 2.11). Expert (own), admin, service."""
        command = await self.command("complete", actor, request_key, if_version)
        return await transitions.complete(self.context, booking_id, session_id, command, view)

    @within_deadline
    @on_old_too
    async def no_show(
        self,
        booking_id: ObjectId,
        session_id: ObjectId,
        *,
        actor: Actor,
        request_key: str | None = None,
        if_version: int | None = None,
        view: View = View.WHOLE,
    ) -> Change:
        """confirmed → no-show, once the start has passed. Expert (own), admin."""
        command = await self.command("no-show", actor, request_key, if_version)
        return await transitions.no_show(self.context, booking_id, session_id, command, view)

    @within_deadline
    @on_old_too
    async def cancel(
        self,
        booking_id: ObjectId,
        session_id: ObjectId,
        *,
        actor: Actor,
        reason: str | None = None,
        request_key: str | None = None,
        if_version: int | None = None,
        view: View = View.WHOLE,
    ) -> Change:
        """Cancel, and free the minutes (seed 2.10). A client before the start, or earlier where the policy says so.

        Moves no money; ``refund_due`` says what is due back by the policy of the session's snapshot (MONEY).
        """
        command = await self.command("cancel", actor, request_key, if_version, reason)
        return await transitions.cancel(self.context, booking_id, session_id, command, view)

    @within_deadline
    @on_old_too
    async def expire(
        self,
        booking_id: ObjectId,
        session_id: ObjectId,
        *,
        actor: Actor,
        request_key: str | None = None,
        if_version: int | None = None,
        view: View = View.WHOLE,
    ) -> Change:
        """Cancel a session whose hold has lapsed, as the system would (FRONTEND 2.5)."""
        command = await self.command("expire", actor, request_key, if_version)
        return await transitions.expire(self.context, booking_id, session_id, command, view)

    @within_deadline
    @on_old_too
    async def undo(
        self,
        booking_id: ObjectId,
        session_id: ObjectId,
        *,
        actor: Actor,
        reason: str,
        request_key: str | None = None,
        if_version: int | None = None,
        view: View = View.WHOLE,
    ) -> Change:
        """no-show or completed → confirmed, with a reason. Admin; the expert for a no-show.

        Raises:
            SlotTaken: its minutes have been given to another since.
        """
        command = await self.command("undo", actor, request_key, if_version, reason)
        return await moving.undo(self.context, booking_id, session_id, command, view)

    @within_deadline
    @on_old_too
    async def reschedule(
        self,
        booking_id: ObjectId,
        session_id: ObjectId,
        *,
        actor: Actor,
        starts_at: datetime | str | None = None,
        scheduled_date: object = None,
        start_time: object = None,
        timezone: str | None = None,
        reason: str | None = None,
        request_key: str | None = None,
        if_version: int | None = None,
        view: View = View.WHOLE,
    ) -> Change:
        """Move a session that has not started; its id stays. Expert (own), admin.

        Raises:
            SlotTaken, ClientBusy: the new time is not free; the old one stands.
        """
        command = await self.command("reschedule", actor, request_key, if_version, reason)
        when = When(starts_at=starts_at, scheduled_date=scheduled_date, start_time=start_time, timezone=timezone)
        return await moving.reschedule(self.context, booking_id, session_id, command, view, when)

    @within_deadline
    @on_old_too
    async def request_reschedule(
        self,
        booking_id: ObjectId,
        session_id: ObjectId,
        *,
        actor: Actor,
        starts_at: datetime | str | None = None,
        scheduled_date: object = None,
        start_time: object = None,
        timezone: str | None = None,
        reason: str | None = None,
        request_key: str | None = None,
        if_version: int | None = None,
        view: View = View.WHOLE,
    ) -> Change:
        """The client asks to move a confirmed session (FRONTEND 2.8). Claims nothing until it is approved."""
        command = await self.command("request-reschedule", actor, request_key, if_version, reason)
        when = When(starts_at=starts_at, scheduled_date=scheduled_date, start_time=start_time, timezone=timezone)
        return await moving.request(self.context, booking_id, session_id, command, view, when)

    @within_deadline
    @on_old_too
    async def respond_reschedule(
        self,
        booking_id: ObjectId,
        session_id: ObjectId,
        *,
        actor: Actor,
        approve: bool,
        note: str | None = None,
        request_key: str | None = None,
        if_version: int | None = None,
        view: View = View.WHOLE,
    ) -> Change:
        """Approve (and move) or reject a pending request (FRONTEND 2.9). Expert (own), admin."""
        command = await self.command("respond-reschedule", actor, request_key, if_version)
        return await moving.respond(self.context, booking_id, session_id, command, view, approve=approve, note=note)

    @within_deadline
    @on_old_too
    async def patch(
        self,
        booking_id: ObjectId,
        session_id: ObjectId,
        *,
        actor: Actor,
        changes: Mapping[str, object],
        request_key: str | None = None,
        if_version: int | None = None,
        view: View = View.WHOLE,
    ) -> Change:
        """Change notes, meeting link, location, custom fields …: who may change which is in SPEC 8."""
        command = await self.command("patch", actor, request_key, if_version)
        return await transitions.patch(self.context, booking_id, session_id, command, view, changes)

    @within_deadline
    @on_old_too
    async def complete_payment(
        self,
        booking_id: ObjectId,
        session_id: ObjectId,
        *,
        actor: Actor,
        payment_method: str | None = None,
        request_key: str | None = None,
        if_version: int | None = None,
        view: View = View.WHOLE,
    ) -> Change:
        """Record that all that is owed was paid, and confirm (FRONTEND 2.4). Repeatable. Never completes the session.

        Raises:
            PaymentNotVerified: a client's word alone.
        """
        return await self.ledger.complete_payment(
            booking_id,
            session_id,
            actor=actor,
            method=payment_method,
            request_key=request_key,
            if_version=if_version,
            view=view,
        )

    async def get(self, booking_id: ObjectId, *, actor: Actor) -> Document:
        """A client's raw document with its current sessions; for an expert, only the own ones (L10).

        Raises:
            NotFound: ``booking_not_found``.
        """
        return await finding.get(self.context, booking_id, await self.context.experts.identify(actor))

    async def of_client(self, client_id: ObjectId, *, actor: Actor) -> Document:
        """As :meth:`get`, by the client's id."""
        return await finding.of_client(self.context, client_id, await self.context.experts.identify(actor))

    async def find_session(self, session_id: ObjectId, *, actor: Actor, booking_id: ObjectId | None = None) -> Change:
        """One session, current or archived. Raises NotFound ``session_not_found``."""
        actor = await self.context.experts.identify(actor)
        return await finding.find_session(self.context, session_id, actor, booking_id=booking_id, only_read=True)

    @within_deadline
    async def list(
        self,
        *,
        actor: Actor,
        filters: SessionFilter | None = None,
        page: int = 1,
        limit: int = 20,
        cursor: str | None = None,
    ) -> SessionPage:
        """A page of sessions, archived ones included: a client's own, an expert's own, everybody's for staff."""
        actor = await self.context.experts.identify(actor)
        wanted = filters or SessionFilter()
        context, old = self.context, self.context.old
        if old.known:
            await old.show(actor=actor, client_id=wanted.client_id, expert_id=wanted.expert_id)
        found = await reading.list_sessions(context, actor, wanted, page=page, limit=limit, cursor=cursor)
        if found.total or old.known or not await old.any():
            return found
        await old.show(actor=actor, client_id=wanted.client_id, expert_id=wanted.expert_id)
        return await reading.list_sessions(context, actor, wanted, page=page, limit=limit, cursor=cursor)

    async def stats(self, *, actor: Actor, filters: SessionFilter | None = None) -> Stats:
        """Counts and money of the sessions within reach; of everybody's many, as they were up to 30 s ago."""
        actor = await self.context.experts.identify(actor)
        if self.context.old.known:
            wanted = filters or SessionFilter()
            await self.context.old.show(actor=actor, client_id=wanted.client_id, expert_id=wanted.expert_id)
        return await stats(self.context, actor, filters)

    async def lapsed(self, sessions: Sequence[tuple[ObjectId, ObjectId]], *, actor: Actor) -> Sequence[Change]:
        """Of these (booking, session) pairs, those of the actor's whose hold has lapsed or that were cancelled by it.

        Lapsed ones are expired on the way (FRONTEND 2.6); foreign and unknown ones are passed over.
        """
        actor = await self.context.experts.identify(actor)
        return await finding.lapsed(self.context, sessions, actor)
