"""Cancelling an order, or some of its sessions: each by its own start and its own share (MONEY, "Cancelling")."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from bson import Decimal128, ObjectId

from confiido_booking.actors import Actor, Role
from confiido_booking.bookings import cancelling
from confiido_booking.bookings import rules as booking_rules
from confiido_booking.bookings.cancelling import Terms
from confiido_booking.bookings.context import Context
from confiido_booking.bookings.guards import Command
from confiido_booking.bookings.transitions import cancellation
from confiido_booking.errors import BookingError
from confiido_booking.money import ZERO
from confiido_booking.orders import changing, rules
from confiido_booking.orders.changing import Effect
from confiido_booking.orders.models import Order
from confiido_booking.orders.reading import OrderView


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What a cancellation of all that has not begun would give back now; each session by itself in ``sessions``."""

    allowed: bool
    refund_amount: Decimal
    fee: Decimal
    currency: str
    until: datetime | None
    sessions: Mapping[ObjectId, Terms]
    refusal: BookingError | None = None


async def cancel(
    context: Context, order_id: ObjectId, session_ids: Sequence[ObjectId] | None, command: Command
) -> list[ObjectId]:
    """Cancel these sessions in one update, or all that can be; which they were. Repeated under one key it is done once.

    Raises:
        NotAllowed: expert, service. NotFound, Conflict: as of :func:`rules.to_cancel`; ``try_again``.
    """
    if command.actor.role not in booking_rules.TRANSITIONS["cancel"].roles or command.actor.role is Role.EXPERT:
        raise booking_rules.not_allowed("cancel")
    for _ in range(changing.TRIES):
        bought = await changing.read(context, order_id)
        done = [
            each
            for each in bought.sessions
            if each["status"] == "cancelled" and any(e.get("key") == command.key for e in each.get("history", ()))
        ]
        if done:
            await changing.finish(context, replace(bought, sessions=done), command.actor)
            return [each["sessionId"] for each in done]
        order, now = Order.model_validate(bought.order), command.now
        chosen = rules.to_cancel(order, bought.sessions, session_ids, command.actor, now)
        plan, effects = cancellation(command), []
        for session in chosen:
            due = cancelling.refund_due(session, now, command.actor.role)
            expressions = {name: value for name, value in plan.expressions.items() if name != "refundDue"}
            fields = {**plan.fields, "refundDue": Decimal128(due)}
            effects.append(Effect(dict(session), replace(plan, fields=fields, expressions=expressions)))
        if await changing.write(context, bought, effects, command):
            return [each["sessionId"] for each in chosen]
    raise changing.changing()


def preview(view: OrderView, actor: Actor) -> Preview:
    """The same rules as cancelling itself."""
    refusal: BookingError | None = None
    chosen: set[ObjectId] = set()
    try:
        if actor.role not in (Role.CLIENT, Role.ADMIN, Role.SYSTEM):
            raise booking_rules.not_allowed("cancel")
        chosen = {each["sessionId"] for each in rules.to_cancel(view.order, view.raw_sessions, None, actor, view.now)}
    except BookingError as refused:
        refusal = refused
    terms = {
        each["sessionId"]: replace(cancelling.terms(_alone(each), actor, view.now), allowed=each["sessionId"] in chosen)
        for each in view.raw_sessions
    }
    taken = [terms[each] for each in chosen]
    return Preview(
        allowed=refusal is None,
        refund_amount=sum((each.refund_amount for each in taken), ZERO),
        fee=sum((each.fee for each in taken), ZERO),
        currency=view.order.currency,
        until=min((each.until for each in taken if each.until is not None), default=None),
        sessions=terms,
        refusal=refusal,
    )


def _alone(session: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in session.items() if name != "partialCancel"}


def refund_due(view: OrderView, cancelled: Sequence[ObjectId]) -> Decimal:
    """What is due back for these sessions of an order."""
    return sum((each.refund_due or ZERO for each in view.sessions if each.session_id in cancelled), ZERO)
