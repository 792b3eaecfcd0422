"""The validity of drafts: its end is stated in advance, and then comes by the service's rule (MONEY; issue of seats).

forfeit: what nobody scheduled is cancelled, nothing is due back. refund: all that was paid for it is. extend: it is
valid for the same length once more. ``validUntil`` goes from the order when its drafts are done with.
"""

from datetime import timedelta

from bson import Decimal128

from confiido_booking.actors import Actor
from confiido_booking.bookings.context import Context
from confiido_booking.bookings.guards import Command
from confiido_booking.bookings.statuses import SessionStatus, TimeoutStatus
from confiido_booking.bookings.totals import line
from confiido_booking.bookings.transitions import Plan
from confiido_booking.catalog.models import OnExpiry
from confiido_booking.database.store import Document
from confiido_booking.events import outbox
from confiido_booking.money import ZERO
from confiido_booking.orders import changing, following
from confiido_booking.orders.changing import Bought, Effect
from confiido_booking.orders.models import COLLECTION, Order

STATED_BEFORE = timedelta(days=7)
ENDED = "The time to schedule this session has passed"
_BATCH = 200


async def run(context: Context) -> int:
    """For the worker. How many orders it told of or brought to their end."""
    now = context.clock()
    due: Document = {"validUntil": {"$lte": now + STATED_BEFORE}}
    orders = await context.store.find("find ending orders", COLLECTION, due, sort=[("validUntil", 1)], limit=_BATCH)
    done = 0
    for document in orders:
        order = Order.model_validate(document)
        assert order.valid_until is not None
        if order.valid_until <= now:
            await _end(context, order)
            done += 1
        elif order.expiry_stated_for != order.valid_until:
            done += await _state(context, order)
    return done


async def _state(context: Context, order: Order) -> bool:
    """An event, once for each end; of an order that has nothing left to schedule, none."""
    bought = await changing.read(context, order.id)
    left = [each for each in bought.sessions if each["status"] == SessionStatus.DRAFT]
    if not left:
        return await _settle(context, bought, order)
    told = {"validUntil": order.valid_until, "drafts": len(left), "onExpiry": order.on_expiry.value}
    return await _mark(context, bought, order, "order.expiring", {"expiryStatedFor": order.valid_until}, told)


async def _end(context: Context, order: Order) -> None:
    command = Command(action="cancel", actor=Actor.system(), now=context.clock(), reason=ENDED)
    for _ in range(changing.TRIES):
        bought = await changing.read(context, order.id)
        drafts = [each for each in bought.sessions if each["status"] == SessionStatus.DRAFT]
        if not drafts:
            await _settle(context, bought, order)
            return
        if order.on_expiry is OnExpiry.EXTEND and order.validity_days:
            if await _extended(context, bought, order, drafts):
                return
            continue
        effects = []
        for session in drafts:
            due = line(session).paid if order.on_expiry is not OnExpiry.FORFEIT else ZERO
            fields = {
                "cancelledBy": "system",
                "cancellationTime": command.now,
                "cancellationReason": ENDED,
                "timeoutStatus": TimeoutStatus.COMPLETED.value,
                "refundDue": Decimal128(due),
            }
            effects.append(Effect(session, Plan(to=SessionStatus.CANCELLED, fields=fields)))
        await changing.write(context, bought, effects, command)
    raise changing.changing()


async def _extended(context: Context, bought: Bought, order: Order, drafts: list[Document]) -> bool:
    """The drafts first: the order says when it is next to be looked at."""
    assert order.valid_until is not None
    now, length = context.clock(), timedelta(days=order.validity_days or 0)
    until = order.valid_until + length
    while until <= now:
        until += length
    late = [each for each in drafts if each.get("validUntil") != until]
    effects = [Effect(each, Plan(fields={"validUntil": until})) for each in late]
    command = Command(action="extend", actor=Actor.system(), now=now)
    if late and not await changing.write(context, bought, effects, command):
        return False
    await _mark(context, bought, order, "order.extended", {"validUntil": until}, {"validUntil": until})
    return True


async def _settle(context: Context, bought: Bought, order: Order) -> bool:
    """Nothing is left to schedule: the end is behind it."""
    await following.follow(context.store, order.id, context.clock())
    change: Document = {"validUntil": None}
    return await _mark(context, bought, order, "order.ended", change, {"validUntil": order.valid_until})


async def _mark(context: Context, bought: Bought, order: Order, type_: str, fields: Document, told: Document) -> bool:
    """The order's own fields, if its end is still the one that was read, and the event of it."""
    now = context.clock()
    if outbox.is_full(bought.order):
        await outbox.deliver(context.store, COLLECTION, bought.order)
    values = {name: "$$REMOVE" if value is None else {"$literal": value} for name, value in fields.items()}
    event = following.event(type_, bought.order, now, Actor.system(), **told)
    change = [{"$set": {**values, "updatedAt": {"$literal": now}}}, {"$set": outbox.appended(event)}]
    as_read: Document = {"_id": order.id, "validUntil": order.valid_until, **outbox.room_for_events()}
    if "expiryStatedFor" in fields:
        as_read["expiryStatedFor"] = {"$ne": order.valid_until}
    return await context.store.update("mark order", COLLECTION, as_read, change)
