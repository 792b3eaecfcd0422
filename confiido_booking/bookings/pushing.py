"""A new session into its client's document: BOOK 2b of PROTOCOL.md, and what an earlier try of it left."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from bson import ObjectId

from confiido_booking.bookings import guards, merging
from confiido_booking.bookings.archive import Archive
from confiido_booking.bookings.context import Context
from confiido_booking.bookings.guards import Command
from confiido_booking.bookings.views import HEAD, Change, ClientRef, View, projection
from confiido_booking.database.store import Document, Duplicate
from confiido_booking.events import outbox


async def push(context: Context, session: Document, client: ClientRef, command: Command, view: View) -> Document | None:
    """BOOK 2b: the session into its client's document. None = refused, for whatever reason.

    A full document first sheds what is finished; a client who has none yet gets one; documents of an old system are
    converted to it; that of a client who was merged with another gives way to the other's.
    """
    return await push_all(context, [session], client, command, view)


async def push_all(
    context: Context, sessions: Sequence[Document], client: ClientRef, command: Command, view: View
) -> Document | None:
    """:func:`push` of several sessions in one update: all of them or none. They do not overlap each other."""
    if context.old.known:
        await context.old.convert(client.client_id)
    keep, weight = sessions[0]["sessionId"], sum(map(guards.weight, sessions))
    document = await _push_once(context, sessions, client, command, view)
    if document is not None:
        return document
    heir = await merging.heir_of(context.store, client.client_id)
    if heir is not None:
        return await push_all(context, sessions, ClientRef(client_id=heir), command, view)
    if not await _ensure_booking(context, client.client_id, command.now, guards.MOST_EVENTS * len(sessions)):
        for session in sessions:
            if "claimId" in session:
                await context.healing.expire_own(client.client_id, session["startsAt"], session["endsAt"], command.now)
    # Once more in any case: where there was no document, a rival may have made it since.
    document = await _push_once(context, sessions, client, command, view)
    if document is not None:
        return document
    if await Archive(context.store).make_room(client.client_id, weight, now=command.now, keep=keep):
        return await _push_once(context, sessions, client, command, view)
    return None


async def _push_once(
    context: Context, sessions: Sequence[Document], client: ClientRef, command: Command, view: View
) -> Document | None:
    known = {
        name: value
        for name, value in (
            ("clientUserId", client.client_user_id),
            ("clientEmail", client.client_email),
            ("clientName", client.client_name),
        )
        if value
    }
    guard: dict[str, Any] = {
        **guards.of_client(client.client_id),
        **guards.OPEN,
        "sessions.requestKey": {"$ne": command.key},
        **outbox.room_for_events(guards.MOST_EVENTS * len(sessions)),
        **guards.room_for(sum(map(guards.weight, sessions))),
    }
    placed = [session for session in sessions if "claimId" in session]
    fences = [session["claimId"] for session in placed] + [each["orderId"] for each in sessions if "orderId" in each]
    if fences:
        guard["abandonedClaims"] = {"$nin": fences}
    if placed:
        in_the_way = [guards.overlapping(session["startsAt"], session["endsAt"]) for session in placed]
        guard["$nor"] = [{"sessions": overlap} for overlap in in_the_way]
    return await context.store.find_and_update(
        "push",
        "bookings",
        guard,
        guards.push(sessions, known, command),
        projection=projection(view if len(sessions) == 1 else View.WHOLE, sessions[0]["sessionId"]),
    )


async def _ensure_booking(context: Context, client_id: ObjectId, now: datetime, events: int) -> bool:
    """Make the client's empty document; whether there was none (L1: a duplicate means there is one).

    One whose outbox is full is relieved of it.
    """
    there = await context.store.find_one(
        "read booking", "bookings", guards.of_client(client_id), dict.fromkeys(outbox.FIELDS, 1)
    )
    if there is not None:
        if outbox.is_full(there, events):
            await outbox.deliver(context.store, "bookings", there)
        return False
    if context.old.known is not False and await context.old.convert(client_id):
        return True
    document = {"_id": ObjectId(), **guards.empty_booking(client_id, now)}
    try:
        await context.store.insert("insert booking", "bookings", document)
    except Duplicate:
        return True
    return True


async def answered(context: Context, client_id: ObjectId, key: str, view: View) -> Change | None:
    """L9: the session this key made before, if it did."""
    document = await context.store.find_one(
        "read own key", "bookings", {**guards.of_client(client_id), "sessions.requestKey": key}
    )
    if document is None:
        return None
    session = next(session for session in document["sessions"] if session.get("requestKey") == key)
    if view is View.HEAD:
        document = {name: document[name] for name in ("_id", *HEAD) if name in document} | {"sessions": [session]}
    return Change(document, session["sessionId"], repeated=True)
