"""Finding one: a client's booking, a session in it or in the archive, as an actor may see it (L10)."""

from collections.abc import Sequence

from bson import ObjectId

from confiido_booking.actors import Actor, Role
from confiido_booking.bookings import rules
from confiido_booking.bookings.context import BOOKING_NOT_FOUND, SESSION_NOT_FOUND, Context
from confiido_booking.bookings.views import Change
from confiido_booking.database.store import Document
from confiido_booking.errors import NotFound


async def get(context: Context, booking_id: ObjectId, actor: Actor) -> Document:
    """The client's document with its current sessions, as this actor may see it (L10).

    Raises:
        NotFound: ``booking_not_found``, also where it is not theirs to see.
    """
    document = await context.store.find_one("read booking", "bookings", {"_id": booking_id})
    return _visible(document, actor)


async def of_client(context: Context, client_id: ObjectId, actor: Actor) -> Document:
    """As :func:`get`, by the client."""
    document = await context.store.find_one("read booking", "bookings", {"clientId": client_id})
    return _visible(document, actor)


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
    context: Context, session_id: ObjectId, actor: Actor, *, booking_id: ObjectId | None = None
) -> Change:
    """One session, current or archived, by its ``sessionId`` or its old ``_id``.

    Raises:
        NotFound: ``session_not_found``, also where it is not theirs to see (L10).
    """
    query: Document
    if booking_id is not None:
        query = {"_id": booking_id}
    else:
        query = await _whose(context, session_id)
    document = await context.store.find_one("read booking", "bookings", query)
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
        return {"clientId": listed["listing"]["clientId"]}
    if kept := await store.find_one("read archive", "booking_archive", {"session._id": session_id}, {"clientId": 1}):
        return {"clientId": kept["clientId"]}
    return {"sessions._id": session_id}


async def archived_session(context: Context, client_id: ObjectId, session_id: ObjectId) -> Document | None:
    query = {"clientId": client_id, "$or": [{"_id": session_id}, {"session._id": session_id}]}
    kept = await context.store.find_one("read archive", "booking_archive", query)
    return kept["session"] if kept else None


async def lapsed(context: Context, sessions: Sequence[tuple[ObjectId, ObjectId]], actor: Actor) -> list[Change]:
    """Of these (booking, session) pairs the actor's own whose hold has lapsed, expired on the way."""
    now = context.clock()
    wanted = dict.fromkeys(sessions)
    found = await context.store.find("read bookings", "bookings", {"_id": {"$in": [pair[0] for pair in wanted]}})
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
