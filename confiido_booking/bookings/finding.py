"""Finding one: a client's booking, a session in it or in the archive, as an actor may see it (L10)."""

from collections.abc import Sequence

from bson import ObjectId

from confiido_booking.actors import Actor, Role
from confiido_booking.bookings import guards, merging, rules
from confiido_booking.bookings.context import BOOKING_NOT_FOUND, SESSION_NOT_FOUND, Context
from confiido_booking.bookings.models import CURRENT
from confiido_booking.bookings.unconverted import Led, stitched
from confiido_booking.bookings.views import Change
from confiido_booking.database.store import Document
from confiido_booking.errors import NotFound


async def get(context: Context, booking_id: ObjectId, actor: Actor) -> Document:
    """The client's document with its current sessions, as this actor may see it (L10).

    Raises:
        NotFound: ``booking_not_found``, also where it is not theirs to see.
    """
    document = await _read(context, {"_id": booking_id, **CURRENT})
    if document is None and (led := await context.old.named(booking_id)):
        return await of_client(context, led.client_id, actor)
    return _visible(await _whole(context, document), actor)


async def of_client(context: Context, client_id: ObjectId, actor: Actor) -> Document:
    """As :func:`get`, by the client."""
    document = await _read(context, guards.of_client(client_id))
    if document is None and (shown := (await context.old.of_clients([client_id])).get(client_id)):
        return _visible(shown.document, actor)
    return _visible(await _whole(context, document), actor)


async def _read(context: Context, query: Document) -> Document | None:
    """The document, or that of the client this one was merged with."""
    return await merging.followed(context.store, await context.store.find_one("read booking", "bookings", query))


async def _whole(context: Context, document: Document | None) -> Document | None:
    """With what of the client is not converted yet, where this process knows of any."""
    if document is None or not context.old.known:
        return document
    shown = (await context.old.of_clients([document["clientId"]])).get(document["clientId"])
    return stitched(document, shown) if shown else document


def _visible(document: Document | None, actor: Actor) -> Document:
    if document is not None:
        if actor.role is not Role.EXPERT:
            if actor.is_staff or document["clientId"] == actor.id:
                return document
        else:
            own = [session for session in document["sessions"] if rules.is_own(session, actor, document["clientId"])]
            if own:
                return document | {"sessions": own}
    raise NotFound(BOOKING_NOT_FOUND, code="booking_not_found")


async def find_session(
    context: Context,
    session_id: ObjectId,
    actor: Actor,
    *,
    booking_id: ObjectId | None = None,
    only_read: bool = False,
) -> Change:
    """One session, current or archived, by its ``sessionId`` or its old ``_id``.

    One of an old system's document is converted first, for whoever asks is about to change it or what stands on it;
    ``only_read``: it is shown as it would be.

    Raises:
        NotFound: ``session_not_found``, also where it is not theirs to see (L10).
    """
    try:
        return await _find_session(context, session_id, actor, booking_id=booking_id)
    except NotFound:
        led = await _led(context, booking_id, session_id)
        if led is None:
            raise
        if session := led.shown_session(session_id):
            assert led.shown is not None
            if not rules.is_own(session, actor, led.client_id):
                raise
            if only_read:
                return Change(led.shown.document | {"sessions": [session]}, session["sessionId"])
            await context.old.convert(led.client_id)
            return await _find_session(context, session["sessionId"], actor, booking_id=None)
        return await _find_session(context, led.session_id or session_id, actor, booking_id=led.booking_id)


async def settled(
    context: Context, booking_id: ObjectId, session_id: ObjectId, actor: Actor
) -> tuple[ObjectId, ObjectId] | None:
    """Where these ids lead, once what is old of their client is converted: of a session that this actor may see.

    None = nowhere else.
    """
    led = await _led(context, booking_id, session_id)
    if led is None:
        return None
    session = led.shown_session(session_id)
    if session is None:
        return led.booking_id, led.session_id or session_id
    if not rules.is_own(session, actor, led.client_id):
        return None
    await context.old.convert(led.client_id)
    booking = await context.store.find_one("read booking", "bookings", guards.of_client(led.client_id), {"_id": 1})
    return (booking["_id"], session["sessionId"]) if booking else None


async def _led(context: Context, booking_id: ObjectId | None, session_id: ObjectId) -> Led | None:
    """Where ids of old lead that nothing current has; None = nowhere else, or to different clients."""
    led = await context.old.named(session_id)
    if booking_id is None or (led is not None and led.booking_id == booking_id):
        return led if led is None or led.shown or led.session_id != session_id else None
    whose = await context.old.named(booking_id)
    if led is None:
        return whose if whose is not None and whose.booking_id != booking_id else None
    if whose is None:
        current = {"_id": booking_id, **guards.of_client(led.client_id)}
        return led if await context.store.find_one("read booking", "bookings", current, {"_id": 1}) else None
    return led if whose.client_id == led.client_id else None


async def _find_session(context: Context, session_id: ObjectId, actor: Actor, *, booking_id: ObjectId | None) -> Change:
    query: Document
    if booking_id is not None:
        query = {"_id": booking_id, **CURRENT}
    else:
        query = await _whose(context, session_id)
    document = await _read(context, query)
    if document is None or (actor.role is Role.CLIENT and document["clientId"] != actor.id):
        sentence, code = (
            (SESSION_NOT_FOUND, "session_not_found") if booking_id is None else (BOOKING_NOT_FOUND, "booking_not_found")
        )
        raise NotFound(sentence, code=code)
    named = (s for s in document["sessions"] if session_id in (s["sessionId"], s.get("_id")))
    session = next(named, None) or await archived_session(context, document["clientId"], session_id)
    if session is None or not rules.is_own(session, actor, document["clientId"]):
        raise NotFound(SESSION_NOT_FOUND, code="session_not_found")
    return Change(document | {"sessions": [session]}, session["sessionId"])


async def _whose(context: Context, session_id: ObjectId) -> Document:
    """The booking of a session named alone: by its ``sessionId``, or by its old ``_id``, here or in the archive."""
    store = context.store
    query = {"listing.sessionId": session_id}
    if listed := await store.find_one("find session", "service_sessions", query, {"listing.clientId": 1}):
        return guards.of_client(listed["listing"]["clientId"])
    if kept := await store.find_one("read archive", "booking_archive", {"session._id": session_id}, {"clientId": 1}):
        return guards.of_client(kept["clientId"])
    return {"sessions._id": session_id, **CURRENT}


async def archived_session(context: Context, client_id: ObjectId, session_id: ObjectId) -> Document | None:
    query = {"clientId": client_id, "$or": [{"_id": session_id}, {"session._id": session_id}]}
    kept = await context.store.find_one("read archive", "booking_archive", query)
    return kept["session"] if kept else None


async def lapsed(context: Context, sessions: Sequence[tuple[ObjectId, ObjectId]], actor: Actor) -> list[Change]:
    """Of these (booking, session) pairs the actor's own whose hold has lapsed, expired on the way."""
    now = context.clock()
    wanted = dict.fromkeys(sessions)
    found = await context.store.find(
        "read bookings", "bookings", {"_id": {"$in": [pair[0] for pair in wanted]}, **CURRENT}
    )
    changes = []
    for document in found:
        for session in document["sessions"]:
            if (document["_id"], session["sessionId"]) not in wanted or not rules.is_own(
                session, actor, document["clientId"]
            ):
                continue
            if rules.is_lapsed(session, now):
                session = await context.healing.expire(document["_id"], session["sessionId"], now) or session
            if session["status"] == "cancelled" and session.get("timeoutStatus") == "expired":
                changes.append(Change(document | {"sessions": [session]}, session["sessionId"]))
    return changes
