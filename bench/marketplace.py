"""Data to measure on, written in bulk as the library would have written it.

One session is really booked, confirmed and completed; the others are its likenesses with their own ids and times.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from bson import ObjectId

from confiido_booking import Actor, Confiido, Expert, ExpertInput
from confiido_booking.bookings import guards, totals
from confiido_booking.bookings.context import wall_fields
from confiido_booking.calendar import claims
from confiido_booking.database.documents import to_mongo
from confiido_booking.database.store import Document

ZONE = "Asia/Kolkata"
DURATION = 30


def profile(number: int = 0) -> ExpertInput:
    """An expert who can be booked at any time."""
    return ExpertInput.model_validate(
        {
            "user_id": ObjectId(),
            "expert_user_id": f"{1000 + number % 9000}",
            "email": f"expert{number}@example.org",
            "name": f"Expert {number}",
            "timezone": ZONE,
            "session_types": [
                {"session_type": "video", "duration": DURATION, "price": Decimal("1499.50"), "currency": "INR"}
            ],
        }
    )


@dataclass(frozen=True, slots=True)
class Likeness:
    """Sessions like a really booked one."""

    expert: Document
    completed: Document
    confirmed: Document

    @classmethod
    async def taken(cls, confiido: Confiido) -> "Likeness":
        """Book, confirm and complete one session, and keep what was stored."""
        expert = await confiido.experts.create(actor=Actor.admin(), profile=profile())
        assert expert.id is not None
        client = a_client()
        change = await confiido.bookings.book(
            actor=client,
            expert=expert.id,
            session_type="video",
            duration=DURATION,
            starts_at=confiido.clock() + timedelta(days=1),
            notes="The first of several sessions on statistics.",
        )
        booking_id = change.document["_id"]
        owner = of_expert(expert)
        confirmed = await confiido.bookings.confirm(booking_id, change.session_id, actor=owner)
        completed = await confiido.bookings.complete(booking_id, change.session_id, actor=owner)
        raw = await confiido.store.find_one("read expert", "experts", {"_id": expert.id})
        assert raw is not None
        return cls(raw, completed.raw_session, confirmed.raw_session)

    def session(self, expert_id: ObjectId, starts_at: datetime, *, status: str = "completed") -> Document:
        """A session of its own at that time."""
        like = self.confirmed if status in ("pending", "confirmed") else self.completed
        return {
            **like,
            **wall_fields(starts_at, DURATION, ZONE),
            "sessionId": ObjectId(),
            "serviceSessionId": ObjectId(),
            "claimId": ObjectId(),
            "requestKey": str(ObjectId()),
            "expertId": expert_id,
            "status": status,
            "clientCancelUntil": starts_at,
            "createdTime": starts_at - timedelta(days=3),
            "updatedTime": starts_at + timedelta(minutes=DURATION),
        }

    def another_expert(self, number: int) -> Document:
        return {**self.expert, "_id": ObjectId(), "userId": ObjectId(), "name": f"Expert {number}"}


def a_client() -> Actor:
    return Actor.client(ObjectId(), user_id="1234", email="client@example.org", name="Ada Client")


def of_expert(expert: Expert) -> Actor:
    return Actor.expert(expert.user_id, user_id=expert.expert_user_id, email=expert.email).as_expert(
        expert.id or ObjectId()
    )


def booking(client: Actor, sessions: Sequence[Document], now: datetime) -> Document:
    """The document of a client with these sessions."""
    assert client.id is not None
    sums = totals.of(map(totals.line, sessions))
    return {
        "_id": ObjectId(),
        **guards.empty_booking(client.id, now),
        "clientUserId": client.user_id,
        "clientEmail": client.email,
        "clientName": client.name,
        "sessions": list(sessions),
        "currency": "INR",
        "totalSessions": len(sessions),
        "totals": to_mongo(sums),
        "totalSpent": to_mongo(sums["INR"]["booked"]),
    }


def service_session(session: Document, client_id: ObjectId) -> Document:
    """The service session beside a session."""
    return {
        "_id": session["serviceSessionId"],
        "rev": session["version"],
        **claims.service_session(session, client_id),
    }


def busy(session: Document, client_id: ObjectId, now: datetime) -> Document:
    """A session's claim in its expert's calendar."""
    return {
        "claimId": session["claimId"],
        "owner": "session",
        "from": session["startsAt"],
        "until": session["endsAt"],
        "clientId": client_id,
        "sessionId": session["sessionId"],
        "serviceSessionId": session["serviceSessionId"],
        "claimedAt": now,
        "requestKey": session["requestKey"],
    }


async def insert(confiido: Confiido, collection: str, documents: Iterable[Document], *, batch: int = 500) -> None:
    """Insert in batches."""
    waiting: list[Document] = []
    target = confiido.store.collection(collection)
    for document in documents:
        waiting.append(document)
        if len(waiting) == batch:
            await target.insert_many(waiting, ordered=False)
            waiting = []
    if waiting:
        await target.insert_many(waiting, ordered=False)
