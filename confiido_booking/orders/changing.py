"""Several sessions of an order changed in ONE update of their client's document, on exactly what was read of them."""

from collections.abc import Sequence
from dataclasses import dataclass

from confiido_booking.actors import Actor
from confiido_booking.bookings import guards, merging
from confiido_booking.bookings.archive import Archive
from confiido_booking.bookings.context import Context
from confiido_booking.bookings.guards import Command
from confiido_booking.bookings.rules import is_lapsed
from confiido_booking.bookings.transitions import Plan
from confiido_booking.calendar import claims
from confiido_booking.database.store import Document
from confiido_booking.errors import Conflict
from confiido_booking.events import outbox
from confiido_booking.orders import following
from confiido_booking.orders.models import COLLECTION
from confiido_booking.orders.rules import not_found

TRIES = 8


@dataclass(frozen=True, slots=True)
class Bought:
    """An order, its client's document and its sessions, raw; archived ones are among the sessions alone."""

    order: Document
    document: Document | None
    sessions: list[Document]


@dataclass(frozen=True, slots=True)
class Effect:
    """What becomes of one session, as it was read."""

    session: Document
    plan: Plan


async def read(context: Context, order_id: object) -> Bought:
    """As they are, lapsed holds made what they are before anything is decided on them.

    Raises:
        NotFound: ``order_not_found``.
    """
    store, now = context.store, context.clock()
    for _ in range(TRIES):
        order = await store.find_one("read order", COLLECTION, {"_id": order_id})
        if order is None:
            raise not_found()
        booking = await store.find_one("read booking", "bookings", guards.of_client(order["clientId"]))
        booking = await merging.followed(store, booking)
        sessions = await following.gathered(store, order, booking)
        lapsed = [each for each in sessions if is_lapsed(each, now)]
        if booking is None or not lapsed:
            return Bought(order, booking, sessions)
        for session in lapsed:
            await context.healing.expire(booking["_id"], session["sessionId"], now)
    raise changing()


async def write(context: Context, bought: Bought, effects: Sequence[Effect], command: Command) -> bool:
    """Whether it was done; False = one of them has changed since, or room was made: to be read anew."""
    assert bought.document is not None
    as_read = [
        {
            "sessions": {
                "$elemMatch": {
                    "sessionId": each.session["sessionId"],
                    "version": each.session["version"],
                    "history.key": {"$ne": command.key},
                }
            }
        }
        for each in effects
    ]
    grows = sum(each.plan.needs(command) for each in effects) if any(each.plan.grows for each in effects) else 0
    count = guards.MOST_EVENTS * len(effects)
    changed = await context.store.find_and_update(
        f"{command.action} order",
        "bookings",
        {
            "_id": bought.document["_id"],
            **guards.OPEN,
            "$and": as_read,
            **outbox.room_for_events(count),
            **(guards.room_for(grows) if grows else {}),
        },
        [stage for each in effects for stage in each.plan.change(each.session["sessionId"], command)],
    )
    if changed is None:
        if outbox.is_full(bought.document, count):
            await outbox.deliver(context.store, "bookings", bought.document)
        elif grows and not guards.has_room(bought.document, grows):
            keep = effects[0].session["sessionId"]
            client_id = bought.document["clientId"]
            if not await Archive(context.store).make_room(client_id, grows, now=command.now, keep=keep):
                raise Conflict("There is no more room in this booking", code="booking_full")
        return False
    touched = {each.session["sessionId"] for each in effects}
    sessions = [each for each in changed["sessions"] if each["sessionId"] in touched]
    await finish(context, Bought(bought.order, changed, sessions), command.actor)
    return True


async def finish(context: Context, bought: Bought, actor: Actor) -> None:
    """What follows from the sessions' state: their entries, their places, the order. Done twice it is done once."""
    for session in bought.sessions:
        if bought.document is None:
            continue
        if session["status"] == "cancelled":
            await context.healing.drop(session, bought.document["clientId"])
        elif "serviceSessionId" in session:
            await claims.project(context.store, session, bought.document["clientId"])
    await following.follow(context.store, bought.order["_id"], context.clock(), actor)


def changing() -> Conflict:
    return Conflict("The order is changing; please try again", code="try_again")
