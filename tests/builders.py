"""What tests need before they can begin: an expert to book, people who act, a clock that stands still."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import cycle
from urllib.parse import urlsplit
from uuid import uuid4

from bson import ObjectId

from confiido_booking import Actor, Confiido, Expert, ExpertInput

MONDAY = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)  # when every test begins, unless it says otherwise

_numbers = cycle(range(1000, 10000))


class Clock:
    """A clock that a test sets: ``clock.now = …``, ``clock.advance(minutes=31)``."""

    def __init__(self, now: datetime = MONDAY) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **amount: float) -> None:
        """Move on by ``timedelta(**amount)``."""
        self.now += timedelta(**amount)


def with_database(uri: str, name: str) -> str:
    """The same server, another database."""
    return urlsplit(uri)._replace(path=f"/{name}").geturl()


def a_new_database(uri: str) -> str:
    """The same server, a database that nobody has had before.

    One that was dropped is not taken again: FerretDB's connections remember its collections for a moment, and then
    find nothing in the new ones.
    """
    return with_database(uri, f"confiido_test_{uuid4().hex}")


def new_number() -> str:
    """A 4-digit user number nobody else in this run has."""
    return str(next(_numbers))


def a_client(*, id: ObjectId | None = None, email: str | None = "ada@example.org", name: str | None = "Ada") -> Actor:
    return Actor.client(id or ObjectId(), user_id=new_number(), email=email, name=name)


def an_expert(expert: Expert) -> Actor:
    """The user who owns this profile."""
    return Actor.expert(expert.user_id, user_id=expert.expert_user_id, email=expert.email, name=expert.name)


def an_admin() -> Actor:
    return Actor.admin(ObjectId())


def a_service() -> Actor:
    return Actor.service(ObjectId())


def offer(
    *,
    session_type: str = "video",
    duration: int = 30,
    price: Decimal | int = 20,
    currency: str = "INR",
    title: str | None = None,
) -> dict[str, object]:
    """One thing an expert sells, as :class:`ExpertInput` takes it."""
    return {
        "session_type": session_type,
        "duration": duration,
        "price": Decimal(price),
        "currency": currency,
        **({"title": title} if title else {}),
    }


async def make_expert(confiido: Confiido, **overrides: object) -> Expert:
    """An active expert who can be booked at any time: video 30 (20 INR) and 60 minutes (35 INR), chat 30 (10 INR)."""
    profile: dict[str, object] = {
        "user_id": ObjectId(),
        "expert_user_id": new_number(),
        "email": "mentor@example.org",
        "name": "Grace",
        "timezone": "Asia/Kolkata",
        "session_types": [
            offer(),
            offer(duration=60, price=35),
            offer(session_type="chat", price=10),
        ],
    }
    return await confiido.experts.create(actor=an_admin(), profile=ExpertInput.model_validate({**profile, **overrides}))
