"""Orders: one purchase, one payment, one or more sessions (SPEC 9; docs/seats.md)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from bson import ObjectId

from confiido_booking.actors import Actor
from confiido_booking.bookings import rules as booking_rules
from confiido_booking.bookings.book import whose
from confiido_booking.bookings.context import Context
from confiido_booking.bookings.guards import Command, fresh_key
from confiido_booking.bookings.pushing import answered
from confiido_booking.bookings.views import Change, ClientRef, View, When
from confiido_booking.bookings.workflow import within_deadline
from confiido_booking.catalog.service import Catalog
from confiido_booking.errors import Conflict
from confiido_booking.ledger.service import Ledger
from confiido_booking.orders import buying, cancelling, expiring, paying, placing, reading, scheduling
from confiido_booking.orders.buying import Wish
from confiido_booking.orders.cancelling import Preview
from confiido_booking.orders.reading import OrderFilter, OrderPage, OrderView
from confiido_booking.orders.scheduling import Wanted


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancelled:
    """An order after a cancellation: which sessions it took, and what is due back for them."""

    order: OrderView
    session_ids: Sequence[ObjectId]
    refund_due: Decimal


@dataclass(frozen=True, slots=True)
class Orders:
    """``confiido.orders``. Commands refuse like those of ``confiido.bookings``; ``request_key`` names one (L9)."""

    context: Context
    catalog: Catalog
    ledger: Ledger

    @within_deadline
    async def create(
        self,
        service_id: ObjectId,
        *,
        actor: Actor,
        client: ClientRef | None = None,
        service_session_id: ObjectId | None = None,
        starts_at: datetime | str | None = None,
        timezone: str | None = None,
        request_key: str | None = None,
    ) -> OrderView:
        """Buy a service: all that it gives, or nothing. A client for themselves, staff for ``client``.

        Where payment is due the order is ``pending_payment`` and holds its places until it lapses; what costs nothing
        is paid at once. ``service_session_id``: of a workshop; ``starts_at``: of an individual service.

        Raises:
            As of :func:`confiido_booking.orders.buying.prepare` and :func:`confiido_booking.orders.placing.place`.
        """
        actor = await self.context.experts.identify(actor)
        who = whose(actor, client)
        key = request_key or fresh_key()
        wish = Wish(
            service_id=service_id,
            event_id=service_session_id,
            when=When(starts_at=starts_at, timezone=timezone) if starts_at is not None else None,
            client=client,
        )
        if request_key is not None:
            done = await self._done(who, key)
            if done is not None:
                return done
            await placing.undo_own(self.context, who.client_id, key, self.context.clock())
        try:
            try:
                return await self._create_once(wish, who, actor, key)
            except Conflict as refused:
                if refused.code != "try_again":
                    raise
                return await self._create_once(wish, who, actor, key)
        except Conflict:
            done = await self._done(who, key)
            if done is None:
                raise
            return done  # another try of this very command came first

    async def _create_once(self, wish: Wish, who: ClientRef, actor: Actor, key: str) -> OrderView:
        command = Command(action="purchase", actor=actor, now=self.context.clock(), key=key)
        purchase = await buying.prepare(self.context, self.catalog, wish, who, command, key)
        await placing.place(self.context, purchase, who, command)
        return await reading.get(self.context, purchase.order.id, Actor.system())

    async def _done(self, who: ClientRef, key: str) -> OrderView | None:
        """L9: the order that this key made before, if it did."""
        change = await answered(self.context, who.client_id, key, View.HEAD)
        if change is None or "orderId" not in change.raw_session:
            return None
        order_id = change.raw_session["orderId"]
        view = await reading.get(self.context, order_id, Actor.system())
        if view.order.seen is None:
            await placing.undo(self.context, view.order, self.context.clock())  # it stands, and is finished
            view = await reading.get(self.context, order_id, Actor.system())
        return view

    async def get(self, order_id: ObjectId, *, actor: Actor) -> OrderView:
        """One order with its sessions: its client's own, and staff's. Raises NotFound ``order_not_found``."""
        return await reading.get(self.context, order_id, await self.context.experts.identify(actor))

    async def list(
        self, *, actor: Actor, filters: OrderFilter | None = None, page: int = 1, limit: int = 20
    ) -> OrderPage:
        """A page of orders, the latest first. Raises NotAllowed for experts."""
        return await reading.page_of(self.context, actor, filters or OrderFilter(), page=page, limit=limit)

    @within_deadline
    async def pay(
        self,
        order_id: ObjectId,
        *,
        actor: Actor,
        amount: object | None = None,
        currency: str | None = None,
        method: str | None = None,
        reference: str | None = None,
        paid_at: datetime | None = None,
        request_key: str | None = None,
    ) -> OrderView:
        """Record money that was received for an order: all that is outstanding, or ``amount``. Admin, service.

        It goes to the sessions in proportion to what each owes. Wholly paid, the pending ones are confirmed.

        Raises:
            NotFound: ``order_not_found``. NotAllowed: client, expert. Conflict: ``already_paid``.
            Invalid: ``overpayment``, ``currency_mismatch``, ``invalid_amount``.
        """
        actor = await self.context.experts.identify(actor)
        await reading.get(self.context, order_id, actor)
        await paying.pay(
            self.context,
            self.ledger,
            order_id,
            actor=actor,
            amount=amount,
            currency=currency,
            method=method,
            reference=reference,
            paid_at=paid_at,
            key=request_key,
        )
        return await reading.get(self.context, order_id, actor)

    @within_deadline
    async def cancel(
        self,
        order_id: ObjectId,
        *,
        actor: Actor,
        session_ids: Sequence[ObjectId] | None = None,
        reason: str | None = None,
        request_key: str | None = None,
    ) -> Cancelled:
        """Cancel an order, or these sessions of it, in one update; its client and admins. What began stays.

        Raises:
            NotFound: ``order_not_found``, ``session_not_found``. NotAllowed: a service.
            Conflict: ``nothing_to_cancel``, ``too_late_to_cancel``, ``whole_order_only``, ``rest_only``.
        """
        actor = await self.context.experts.identify(actor)
        await reading.get(self.context, order_id, actor)
        command = self._command("cancel", actor, request_key, reason)
        cancelled = await cancelling.cancel(self.context, order_id, session_ids, command)
        view = await reading.get(self.context, order_id, actor)
        return Cancelled(order=view, session_ids=cancelled, refund_due=cancelling.refund_due(view, cancelled))

    async def cancellation(self, order_id: ObjectId, *, actor: Actor) -> Preview:
        """What a cancellation of all that has not begun would give back now. Raises NotFound ``order_not_found``."""
        actor = await self.context.experts.identify(actor)
        return cancelling.preview(await reading.get(self.context, order_id, actor), actor)

    @within_deadline
    async def schedule(
        self,
        session_id: ObjectId,
        *,
        actor: Actor,
        starts_at: datetime | str | None = None,
        service_session_id: ObjectId | None = None,
        expert: str | ObjectId | None = None,
        request_key: str | None = None,
        view: View = View.HEAD,
    ) -> Change:
        """Give a draft its time: ``starts_at`` with its expert, or a place in an event of its workshop. Its client and
        admins; another expert by admins. Confirmed where it is paid, else pending.

        Raises:
            As of :func:`confiido_booking.orders.scheduling.schedule`.
        """
        actor = await self.context.experts.identify(actor)
        wanted = Wanted(
            when=When(starts_at=starts_at) if starts_at is not None else None,
            event_id=service_session_id,
            expert=expert,
        )
        command = self._command("schedule", actor, request_key)
        return await scheduling.schedule(self.context, self.catalog, session_id, wanted, command, view)

    async def expire_drafts(self) -> int:
        """State the end of validities in advance, and bring it where it has come. For the worker. How many."""
        return await expiring.run(self.context)

    async def settle(self) -> int:
        """Undo or finish what processes that died have left half placed. For the worker and the doctor."""
        return await placing.settle(self.context)

    def _command(self, action: str, actor: Actor, key: str | None, reason: str | None = None) -> Command:
        return Command(
            action=action,
            actor=actor,
            now=self.context.clock(),
            key=key or fresh_key(),
            reason=booking_rules.text(reason, "reason") if reason else None,
        )
