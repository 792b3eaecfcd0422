"""Reviews: one for each completed session by its client; an expert's figures are computed from what is stored.

A review is one document whose ``_id`` is its session's, so the second of two racing ones is refused by the store, and
no counter beside it can drift.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from bson import ObjectId

from confiido_booking.actors import Actor
from confiido_booking.bookings import finding
from confiido_booking.bookings.context import BOOKING_NOT_FOUND, Context
from confiido_booking.bookings.guards import fresh_key
from confiido_booking.bookings.reading import check_page
from confiido_booking.bookings.rules import text
from confiido_booking.database.store import Document, Duplicate
from confiido_booking.errors import Conflict, FieldError, Invalid, NotFound
from confiido_booking.events import outbox
from confiido_booking.reviews import rules
from confiido_booking.reviews.models import MAX_HISTORY, Review

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SHOWN = {"hidden": {"$ne": True}, "rating": {"$gte": 1, "$lte": 5}}


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewPage:
    """A page of an expert's reviews, the latest first. ``average`` and ``count`` are over all that are not hidden."""

    reviews: Sequence[Review]
    average: Decimal
    count: int
    page: int
    limit: int
    next_cursor: str | None = None

    @property
    def pages(self) -> int:
        return -(-self.count // self.limit)


@dataclass(frozen=True, slots=True)
class Reviews:
    """``confiido.reviews``."""

    context: Context

    async def write(
        self,
        *,
        actor: Actor,
        rating: int,
        comment: str | None = None,
        session_id: ObjectId | None = None,
        booking: ObjectId | str | None = None,
        request_key: str | None = None,
    ) -> Review:
        """The client's word on a completed session, named by ``session_id``, or by ``booking``: a booking with one
        completed session that has no review yet, or an id of before a migration.

        Raises:
            NotAllowed; Invalid: ``session_required``; NotFound: also where it is not theirs.
            Conflict: ``not_completed``, ``already_reviewed``.
        """
        rules.may_review(actor)
        rating, comment = rules.checked_rating(rating), rules.checked_comment(comment)
        if session_id is None:
            session_id = await self._meant(booking, actor)
        change = await finding.find_session(self.context, session_id, actor)
        session = change.raw_session
        key = request_key or fresh_key()
        there = await self._of(session["sessionId"])
        if there is not None:
            return _same(there, key)
        refusal = rules.why_not(session)
        if refusal is not None:
            raise refusal
        now = self.context.clock()
        given = {"comment": comment, "author": rules.first_name(change.document.get("clientName") or actor.name)}
        review: Document = {
            "_id": session["sessionId"],
            "sessionId": session["sessionId"],
            "clientId": change.document["clientId"],
            "expertId": session.get("expertId"),
            "rating": rating,
            **{name: value for name, value in given.items() if value},
            "createdAt": now,
            "updatedAt": now,
            "requestKey": key,
            "outbox": [_written(session, change.document, rating, actor, now)],
            "outboxSince": now,
        }
        try:
            await self.context.store.insert("insert review", "reviews", review)
        except Duplicate:
            there = await self._of(session["sessionId"])
            assert there is not None
            return _same(there, key)
        return Review.model_validate(review)

    async def of_expert(
        self, expert: str | ObjectId, *, page: int = 1, limit: int = 20, cursor: str | None = None
    ) -> ReviewPage:
        """What anybody may read of an expert, named as bookings name one. Raises NotFound, Invalid.

        ``cursor``: the ``next_cursor`` of the page before, in the place of ``page``; reviews that are written
        meanwhile shift nothing.
        """
        check_page(page, limit)
        profile = await self.context.experts.get(expert)
        query = {"expertId": profile.id, **_SHOWN}
        count, total = await self._figures(query)
        found = await self.context.store.find(
            "list reviews",
            "reviews",
            {"$and": [query, _after(cursor)]} if cursor else query,
            sort=[("createdAt", -1), ("_id", -1)],
            skip=0 if cursor else (page - 1) * limit,
            limit=limit + 1,
        )
        return ReviewPage(
            reviews=[Review.model_validate(document) for document in found[:limit]],
            average=rules.average(total, count),
            count=count,
            page=page,
            limit=limit,
            next_cursor=_cursor(found[limit - 1]) if len(found) > limit else None,
        )

    async def hide(self, review_id: ObjectId | str, *, actor: Actor, hidden: bool, reason: str) -> Review:
        """Take a review out of the list and the figures, or put it back. An administrator's, with a reason.

        Raises:
            NotAllowed; Invalid: ``reason_required``; NotFound: ``review_not_found``.
        """
        rules.may_hide(actor)
        review_id = _key(review_id)
        if not text(reason, "reason").strip():
            raise Invalid("Hiding a review needs a reason", code="reason_required")
        now = self.context.clock()
        entry = {"at": now, "actor": actor.stamp(), "action": "hide" if hidden else "unhide", "reason": reason}
        document = await self.context.store.find_and_update(
            "hide review",
            "reviews",
            {"_id": review_id, "hidden": {"$ne": True} if hidden else True},
            {
                "$set": {"hidden": hidden, "hiddenReason": reason, "updatedAt": now},
                "$push": {"history": {"$each": [entry], "$slice": -MAX_HISTORY}},
            },
        )
        document = document or await self.context.store.find_one("read review", "reviews", {"_id": review_id})
        if document is None:
            raise NotFound("Review not found", code="review_not_found")
        return Review.model_validate(document)

    async def _figures(self, query: Document) -> tuple[int, Decimal]:
        group = {"_id": None, "count": {"$sum": 1}, "total": {"$sum": "$rating"}}
        found = await self.context.store.aggregate("rate expert", "reviews", [{"$match": query}, {"$group": group}])
        return (found[0]["count"], Decimal(str(found[0]["total"]))) if found else (0, Decimal(0))

    async def _of(self, session_id: ObjectId) -> Document | None:
        return await self.context.store.find_one("read review", "reviews", {"sessionId": session_id})

    async def _meant(self, booking: ObjectId | str | None, actor: Actor) -> ObjectId:
        """The session a booking's id, or an old one, stands for."""
        if booking is None:
            raise Invalid("sessionId is needed", code="session_required", details={"sessionIds": []})
        named, store = _key(booking), self.context.store
        if isinstance(named, ObjectId) and await store.find_one("read booking", "bookings", {"_id": named}, {"_id": 1}):
            return await self._only_one(named, actor)
        old = [named, f"bookings:{named}"]  # a row's id of before, as migrations remember it
        entries = await store.find("read old id", "legacy_ids", {"_id": {"$in": old}, "clientId": actor.id})
        if not entries:
            raise NotFound(BOOKING_NOT_FOUND, code="booking_not_found")
        if "sessionId" in entries[0]:
            return ObjectId(entries[0]["sessionId"])
        return await self._only_one(entries[0]["bookingId"], actor)

    async def _only_one(self, booking_id: ObjectId, actor: Actor) -> ObjectId:
        document = await finding.get(self.context, booking_id, actor)
        store, client = self.context.store, {"clientId": document["clientId"]}
        archived = await store.find("read archive", "booking_archive", client, {"session": 1})
        reviews = await store.find("read reviews", "reviews", client, {"sessionId": 1})
        reviewed = frozenset(review["sessionId"] for review in reviews if "sessionId" in review)
        return rules.the_one([*document["sessions"], *(kept["session"] for kept in archived)], reviewed)


def _key(identifier: ObjectId | str) -> ObjectId | str:
    """A migrated review or booking may have any text for its id."""
    is_hex = isinstance(identifier, str) and len(identifier) == 24 and ObjectId.is_valid(identifier)
    return ObjectId(identifier) if is_hex else identifier


def _written(session: Document, booking: Document, rating: int, actor: Actor, now: datetime) -> Document:
    """``review.written``, which the review carries itself: it is told if and only if it was stored."""
    told = {"bookingId": booking.get("_id"), "expertId": session.get("expertId"), "rating": rating}
    return outbox.event(
        "review.written",
        at=now,
        actor=actor,
        client_id=booking["clientId"],
        session_id=session["sessionId"],
        data={name: value for name, value in told.items() if value is not None},
    )


def _cursor(review: Document) -> str:
    """Where a page ended. Opaque to callers."""
    written = review.get("createdAt", _EPOCH)
    return f"{(written - _EPOCH) // timedelta(milliseconds=1):x}-{review['_id']}"


def _after(cursor: str) -> Document:
    """What comes after it, the latest first; of one moment the ids that are texts come last, as in the sort."""
    moment, dash, identifier = cursor.partition("-")
    try:
        if len(moment) > 12 or not dash:
            raise ValueError
        at = _EPOCH + timedelta(milliseconds=int(moment, 16))
    except (ValueError, OverflowError):
        wrong = FieldError("cursor", "is not one that a page gave", "query")
        raise Invalid("cursor is not one that a page gave", errors=[wrong]) from None
    key = _key(identifier)
    ways: list[Document] = [{"createdAt": {"$lt": at}}, {"createdAt": at, "_id": {"$lt": key}}]
    if isinstance(key, ObjectId):
        ways.append({"createdAt": at, "_id": {"$type": "string"}})
    return {"$or": ways}


def _same(there: Document, key: str) -> Review:
    """The review that is there, where the same command wrote it."""
    if there.get("requestKey") == key:
        return Review.model_validate(there)
    raise Conflict("This session has been reviewed already", code="already_reviewed")
