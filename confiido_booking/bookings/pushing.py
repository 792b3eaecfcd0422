"""A new session into its client's document: BOOK 2b of PROTOCOL.md, and what an earlier try of it left."""

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
    if context.old.known:
        await context.old.convert(client.client_id)
    document = await _push_once(context, session, client, command, view)
    if document is not None:
        return document
    heir = await merging.heir_of(context.store, client.client_id)
    if heir is not None:
        return await push(context, session, ClientRef(client_id=heir), command, view)
    if not await _ensure_booking(context, client.client_id, command.now) and "claimId" in session:
        await context.healing.expire_own(client.client_id, session["startsAt"], session["endsAt"], command.now)
    # Once more in any case: where there was no document, a rival may have made it since.
    document = await _push_once(context, session, client, command, view)
    if document is not None:
        return document
    if await Archive(context.store).make_room(
        client.client_id, guards.weight(session), now=command.now, keep=session["sessionId"]
    ):
        return await _push_once(context, session, client, command, view)
    return None


async def _push_once(
    context: Context, session: Document, client: ClientRef, command: Command, view: View
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
        **outbox.room_for_events(guards.MOST_EVENTS),
        **guards.room_for(guards.weight(session)),
    }
    if "claimId" in session:
        guard["abandonedClaims"] = {"$ne": session["claimId"]}
        guard["sessions"] = {"$not": guards.overlapping(session["startsAt"], session["endsAt"])}
    return await context.store.find_and_update(
        "push",
        "bookings",
        guard,
        guards.push(session, known, command),
        projection=projection(view, session["sessionId"]),
    )


async def _ensure_booking(context: Context, client_id: ObjectId, now: datetime) -> bool:
    """Make the client's empty document; whether there was none (L1: a duplicate means there is one).

    One whose outbox is full is relieved of it.
    """
    there = await context.store.find_one(
        "read booking", "bookings", guards.of_client(client_id), dict.fromkeys(outbox.FIELDS, 1)
    )
    if there is not None:
        if outbox.is_full(there, guards.MOST_EVENTS):
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
