"""PLACING: an order with all it gives, or nothing (MONEY, "Orders and seats"; docs/seats.md).

1. insert the order as ``placing``, with the ids of all its sessions and claims
2. take its places, in ascending order of the events; or the minutes of an individual session; drafts need none
3. push all its sessions in ONE update of the client's document, whose guard is that neither a claim nor the order's own
   id is abandoned: this decides
4. write their entries in the lists    5. the order says what its sessions say

UNDO, by whoever was refused, by a repeat under the same key, and, 30 s later, by everybody: FENCE the order's id in the
client's document (it stands: go on with 4), release the claims, remove the order.
"""

from collections.abc import Sequence
from datetime import datetime

from bson import ObjectId

from confiido_booking.actors import Actor
from confiido_booking.bookings import book, guards, merging
from confiido_booking.bookings.context import Context
from confiido_booking.bookings.guards import Command
from confiido_booking.bookings.healing import YOUNG
from confiido_booking.bookings.pushing import push_all
from confiido_booking.bookings.views import ClientRef, View
from confiido_booking.calendar import claims, seats
from confiido_booking.database.documents import to_mongo
from confiido_booking.database.store import Document
from confiido_booking.errors import BookingError, Conflict, Unavailable
from confiido_booking.orders import following
from confiido_booking.orders.buying import Purchase, by_its_order
from confiido_booking.orders.models import COLLECTION, Order, OrderStatus
from confiido_booking.workshops import seating

_TRIES = 3


async def place(context: Context, purchase: Purchase, client: ClientRef, command: Command) -> None:
    """From 1 to 5. Refused, nothing of it is left.

    Raises:
        Conflict: ``event_full``, ``already_enrolled``, ``already_started``, ``transition_refused``, ``slot_taken``,
            ``client_busy``, ``try_again``, ``too_many_sessions``.
    """
    store, order = context.store, purchase.order
    await store.insert("insert order", COLLECTION, to_mongo(order))
    try:
        await _stand(context, purchase, client, command)
    except Unavailable:
        raise  # how far it came is not known: whoever meets it undoes it or goes on
    except BookingError:
        await _remove(context, order.id)
        raise
    await following.follow(store, order.id, command.now, command.actor)


async def _stand(context: Context, purchase: Purchase, client: ClientRef, command: Command) -> None:
    if purchase.places:
        events = await seating.take_places(context, purchase.places, actor=command.actor)
        sessions = [
            seating.seat_session(event, place, purchase.sale(share), command) | by_its_order(purchase.order)
            for event, place, share in zip(events, purchase.places, purchase.shares, strict=True)
        ]
        sessions[0]["requestKey"] = command.key
        await seating.push_seats(context, sessions, purchase.places, client, command, View.WHOLE)
    elif purchase.order.claims:
        await book.place(context, purchase.sessions[0], purchase.expert, client, command, View.HEAD)
    else:
        await _push_drafts(context, purchase.sessions, client, command)


async def _push_drafts(context: Context, sessions: Sequence[Document], client: ClientRef, command: Command) -> None:
    document = await push_all(context, sessions, client, command, View.WHOLE)
    if document is None:
        standing = {**guards.of_client(client.client_id), "sessions.sessionId": sessions[0]["sessionId"]}
        document = await context.store.find_one("read own push", "bookings", standing)
    if document is None:
        raise await _refusal(context, sessions, client)
    owner = document["clientId"]
    entries = [{"_id": claims.entry_id(each), "rev": 1, **claims.service_session(each, owner)} for each in sessions]
    await context.store.insert_missing("insert service sessions", "service_sessions", entries)
    if owner != client.client_id:  # merged with another meanwhile
        await merging.rename(context.store, client.client_id, owner)


async def _refusal(context: Context, sessions: Sequence[Document], client: ClientRef) -> Conflict:
    owner, columns = guards.of_client(client.client_id), {"abandonedClaims": 1}
    booking = await context.store.find_one("read booking", "bookings", owner, columns)
    if sessions[0]["orderId"] in (booking or {}).get("abandonedClaims", []):
        return Conflict("The order took too long; please try again", code="try_again")
    return Conflict("You have too many sessions to buy more", code="too_many_sessions")


async def _remove(context: Context, order_id: ObjectId) -> None:
    placing = {"_id": order_id, "status": OrderStatus.PLACING.value}
    await context.store.delete("remove order", COLLECTION, placing)


async def undo(context: Context, order: Order, now: datetime) -> bool:
    """UNDO of an order that is ``placing``. False = it stands, and is what its sessions say."""
    client_id = await _fenced(context, order, now)
    if client_id is None:
        await _finish(context, order, now)
        return False
    for claim in order.claims:
        if claim.expert_id is None:
            await seats.release(context.store, claim.service_session_id, claim.claim_id, now)
            continue
        minutes = {
            "clientId": client_id,
            "claimId": claim.claim_id,
            "sessionId": claim.session_id,
            "serviceSessionId": claim.service_session_id,
        }
        await context.healing.abandon(minutes, claim.expert_id, now)
    await _remove(context, order.id)
    return True


async def _fenced(context: Context, order: Order, now: datetime) -> ObjectId | None:
    """In whose document it is fenced; None = its sessions came to be."""
    store, client_id = context.store, order.client_id
    kept = {"_id": {"$in": order.session_ids}}
    for _ in range(_TRIES):
        if await store.find_one("read archive", "booking_archive", kept, {"_id": 1}):
            return None
        if await context.healing.fence_order(client_id, order.id, now):
            return client_id
        columns = dict.fromkeys((*merging.READ, "sessions.orderId"), 1)
        booking = await store.find_one("read booking", "bookings", guards.of_client(client_id), columns)
        if booking is None or "mergedInto" not in booking:
            return None
        client_id = await merging.finish(store, booking)
    raise Conflict("The order is changing; please try again", code="try_again")


async def _finish(context: Context, order: Order, now: datetime) -> None:
    """4 and 5, for whoever died after 3."""
    document = await context.store.find_one("read order", COLLECTION, {"_id": order.id})
    for session in await following.sessions_of(context.store, document) if document else []:
        if claims.is_projected(session):
            await claims.project(context.store, session, order.client_id)
    actor = Actor.system()
    await following.follow(context.store, order.id, now, actor)


async def undo_own(context: Context, client_id: ObjectId, key: str, now: datetime) -> None:
    """What earlier tries under the same key have left, however young: a fence tells them."""
    placing = {"clientId": client_id, "status": OrderStatus.PLACING.value, "requestKey": key}
    for left in await context.store.find("find own orders", COLLECTION, placing):
        await undo(context, Order.model_validate(left), now)


async def settle(context: Context) -> int:
    """What nobody is at work on any more. For the worker and the doctor. How many."""
    now = context.clock()
    left = {"status": OrderStatus.PLACING.value, "createdAt": {"$lte": now - YOUNG}}
    found = await context.store.find("find placing orders", COLLECTION, left, limit=200)
    for document in found:
        await undo(context, Order.model_validate(document), now)
    return len(found)
