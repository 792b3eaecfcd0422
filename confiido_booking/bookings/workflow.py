"""The sales workflow: request, quote, accept, decline, book (SPEC 4, seed 1; docs/workflow.md), one method each."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import wraps
from inspect import signature

from bson import ObjectId

from confiido_booking.actors import Actor
from confiido_booking.bookings import finding, quoting, requesting, rules
from confiido_booking.bookings.context import Context
from confiido_booking.bookings.guards import Command, fresh_key
from confiido_booking.bookings.models import AddOn
from confiido_booking.bookings.quoting import Terms
from confiido_booking.bookings.requesting import Asked, Particulars
from confiido_booking.bookings.views import Change, ClientRef, View, When
from confiido_booking.errors import NotFound, Unavailable

DEADLINE_SECONDS = 120  # of a command; far shorter than a fence is kept (PROTOCOL, CLOCKS)


def within_deadline[**P, T](command: Callable[P, Awaitable[T]]) -> Callable[P, Coroutine[None, None, T]]:
    """A command that hangs is given up; what it left behind is healed like any half-done one."""

    @wraps(command)
    async def limited(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            async with asyncio.timeout(DEADLINE_SECONDS):
                return await command(*args, **kwargs)
        except TimeoutError:
            raise Unavailable("The command took too long") from None

    return limited


def on_old_too[**P](command: Callable[P, Awaitable[Change]]) -> Callable[P, Coroutine[None, None, Change]]:
    """A command on ``booking_id`` and ``session_id``, which no current session may have, but one of an old document:
    then that client is converted, and it is done on what became of it (seed 2.15)."""
    its = signature(command)

    @wraps(command)
    async def repeated(*args: P.args, **kwargs: P.kwargs) -> Change:
        try:
            return await command(*args, **kwargs)
        except NotFound as refusal:
            if refusal.code not in ("booking_not_found", "session_not_found"):
                raise
            given = its.bind(*args, **kwargs)
            booking_id, session_id, actor = (given.arguments[name] for name in ("booking_id", "session_id", "actor"))
            context: Context = given.arguments["self"].context
            actor = await context.experts.identify(actor)
            settled = await finding.settled(context, booking_id, session_id, actor)
            if settled is None:
                raise
        given.arguments["booking_id"], given.arguments["session_id"] = settled
        return await command(*given.args, **given.kwargs)

    return repeated


@dataclass(frozen=True, slots=True)
class Workflow:
    """What leads to a session with a place. The arguments that all commands share are explained in ``service.py``.

    The time, where there is one, is ``starts_at`` (with an offset) or ``scheduled_date`` + ``start_time`` in
    ``timezone``; until a session is accepted or booked it is a wish and holds nothing (SPEC L3).
    """

    context: Context

    @within_deadline
    async def request(
        self,
        *,
        actor: Actor,
        expert: str | ObjectId | None = None,
        session_type: str | None = None,
        duration: int | None = None,
        starts_at: datetime | str | None = None,
        scheduled_date: object = None,
        start_time: object = None,
        timezone: str | None = None,
        service_id: ObjectId | None = None,
        location: str | None = None,
        notes: str | None = None,
        client: ClientRef | None = None,
        source: str | None = None,
        referral_source: str | None = None,
        request_key: str | None = None,
        view: View = View.WHOLE,
    ) -> Change:
        """Ask for a session (seed 1.9): a client for themselves, staff for ``client``. Anything may still be open.

        Raises:
            NotFound: ``expert_not_found``. Invalid: ``self_booking``, ``starts_in_past`` (not for staff),
            ``invalid_time``. Conflict: ``expert_inactive``, ``too_many_sessions``. NotAllowed: an expert asks.
        """
        asked = Asked(
            particulars=Particulars(
                expert=expert,
                session_type=session_type,
                duration=duration,
                when=_when(starts_at, scheduled_date, start_time, timezone),
            ),
            client=client,
            service_id=service_id,
            location=location,
            notes=notes,
            source=source,
            referral_source=referral_source,
        )
        actor = await self.context.experts.identify(actor)
        return await requesting.request(self.context, asked, actor=actor, key=request_key, view=view)

    @within_deadline
    @on_old_too
    async def quote(
        self,
        booking_id: ObjectId,
        session_id: ObjectId,
        *,
        actor: Actor,
        amount: object,
        currency: str | None = None,
        add_ons: Sequence[AddOn] = (),
        expires_at: datetime | str | None = None,
        text: str | None = None,
        expert: str | ObjectId | None = None,
        session_type: str | None = None,
        duration: int | None = None,
        starts_at: datetime | str | None = None,
        scheduled_date: object = None,
        start_time: object = None,
        timezone: str | None = None,
        request_key: str | None = None,
        if_version: int | None = None,
        view: View = View.WHOLE,
    ) -> Change:
        """Say what a requested or quoted session costs, and what was still open of it. Admin, expert (own).

        The quote's total is ``amount`` and the prices of ``add_ons``. It replaces the quote there was; the history
        keeps both. It holds no time.

        Raises:
            Invalid: ``invalid_amount``, ``invalid_currency``, an ``expires_at`` that has passed.
        """
        command = await self.command("quote", actor, request_key, if_version)
        terms = Terms(amount=amount, currency=currency, add_ons=add_ons, expires_at=expires_at, text=text)
        particulars = Particulars(
            expert=expert,
            session_type=session_type,
            duration=duration,
            when=_when(starts_at, scheduled_date, start_time, timezone),
        )
        return await quoting.quote(self.context, booking_id, session_id, command, view, terms, particulars)

    @within_deadline
    async def quote_new(
        self,
        *,
        actor: Actor,
        client: ClientRef,
        amount: object,
        session_type: str,
        duration: int,
        expert: str | ObjectId | None = None,
        currency: str | None = None,
        add_ons: Sequence[AddOn] = (),
        expires_at: datetime | str | None = None,
        text: str | None = None,
        starts_at: datetime | str | None = None,
        scheduled_date: object = None,
        start_time: object = None,
        timezone: str | None = None,
        location: str | None = None,
        notes: str | None = None,
        source: str | None = None,
        referral_source: str | None = None,
        request_key: str | None = None,
        view: View = View.WHOLE,
    ) -> Change:
        """Offer ``client`` a session that nobody asked for here (seed 1.10). Admin; an expert the own time.

        Raises:
            NotFound: ``expert_not_found``; ``client_not_found``: an expert names the id of a stranger.
        """
        actor = await self.context.experts.identify(actor)
        asked = Asked(
            particulars=Particulars(
                expert=expert,
                session_type=session_type,
                duration=duration,
                when=_when(starts_at, scheduled_date, start_time, timezone),
            ),
            client=client,
            location=location,
            notes=notes,
            source=source,
            referral_source=referral_source,
        )
        terms = Terms(amount=amount, currency=currency, add_ons=add_ons, expires_at=expires_at, text=text)
        return await quoting.quote_new(self.context, asked, terms, actor=actor, key=request_key, view=view)

    @within_deadline
    @on_old_too
    async def accept(
        self,
        booking_id: ObjectId,
        session_id: ObjectId,
        *,
        actor: Actor,
        quote_id: ObjectId | None = None,
        request_key: str | None = None,
        if_version: int | None = None,
        view: View = View.WHOLE,
    ) -> Change:
        """The client takes the quote: quoted → pending, with a hold where payment is due. ``quote_id``: which one.

        Raises:
            Conflict: ``quote_replaced``, ``quote_expired``, ``slot_taken``, ``client_busy``.
            Invalid: ``incomplete``: it is not said with whom, of what kind, how long or when.
        """
        command = await self.command("accept", actor, request_key, if_version)
        return await quoting.accept(self.context, booking_id, session_id, command, view, quote_id=quote_id)

    @within_deadline
    @on_old_too
    async def decline(
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
        """No to a request (expert, admin) or to a quote (client, admin): cancelled."""
        command = await self.command("decline", actor, request_key, if_version, reason)
        return await quoting.decline(self.context, booking_id, session_id, command, view)

    @within_deadline
    @on_old_too
    async def book_requested(
        self,
        booking_id: ObjectId,
        session_id: ObjectId,
        *,
        actor: Actor,
        expert: str | ObjectId | None = None,
        session_type: str | None = None,
        duration: int | None = None,
        starts_at: datetime | str | None = None,
        scheduled_date: object = None,
        start_time: object = None,
        timezone: str | None = None,
        price: object = None,
        request_key: str | None = None,
        if_version: int | None = None,
        view: View = View.WHOLE,
    ) -> Change:
        """requested or quoted → confirmed (seed 1.13), with what was still open of it. Admin.

        The price is ``price``, else the quote's, expired or not, else what the expert takes for such a session.
        ``duration`` is without the add-ons' minutes.

        Raises:
            Invalid: ``incomplete``; ``session_type_not_offered`` where no price is known.
            Conflict: ``slot_taken``, ``client_busy``, ``expert_inactive``.
        """
        command = await self.command("book", actor, request_key, if_version)
        particulars = Particulars(
            expert=expert,
            session_type=session_type,
            duration=duration,
            when=_when(starts_at, scheduled_date, start_time, timezone),
        )
        return await quoting.book_requested(
            self.context, booking_id, session_id, command, view, particulars, price=price
        )

    async def command(
        self, action: str, actor: Actor, key: str | None, if_version: int | None, reason: str | None = None
    ) -> Command:
        """What a command is known by, with an expert's profile found out."""
        actor = await self.context.experts.identify(actor)
        checked = rules.text(reason, "reason") if reason else None
        return Command(
            action=action,
            actor=actor,
            now=self.context.clock(),
            key=key or fresh_key(),
            reason=checked,
            if_version=if_version,
        )


def _when(
    starts_at: datetime | str | None, scheduled_date: object, start_time: object, timezone: str | None
) -> When | None:
    """The time that was given, if one was."""
    if starts_at is None and scheduled_date is None and start_time is None:
        return None
    return When(starts_at=starts_at, scheduled_date=scheduled_date, start_time=start_time, timezone=timezone)
