"""A small marketplace to try things on: three experts in three zones, two clients with sessions.

Everybody has a fixed id, so that seeding again changes nothing and tokens stay good. It goes through the
same doors as anybody else.
"""

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from bson import ObjectId

from confiido_booking import tokens
from confiido_booking.actors import Actor
from confiido_booking.client import Confiido
from confiido_booking.errors import Conflict, NotFound, iso
from confiido_booking.experts.models import Expert
from confiido_booking.experts.service import ExpertInput
from confiido_booking.settings import Settings

_TOKENS_LAST = timedelta(days=30)
ADMIN = Actor.admin(ObjectId("5c0f11d0000000000000a001"))
CLIENT = Actor.client(ObjectId("5c0f11d0000000000000c001"), user_id="2001", email="mira@example.org", name="Mira Joshi")
OTHER_CLIENT = Actor.client(
    ObjectId("5c0f11d0000000000000c002"), user_id="2002", email="tom@example.org", name="Tom Baker"
)
_ASHA, _JONAS, _EMILY = (ObjectId(f"5c0f11d0000000000000e00{number}") for number in (1, 2, 3))


def _hours(*days: int, start: str, end: str) -> dict[str, Any]:
    slots = [{"dayOfWeek": day, "startTime": start, "endTime": end} for day in days]
    return {"periods": [{"timeSlots": slots}]}


_PROFILES: tuple[dict[str, Any], ...] = (
    {
        "userId": _ASHA,
        "expertUserId": "1001",
        "email": "asha@example.org",
        "name": "Asha Rao",
        "title": "Career mentor",
        "expertise": ["career", "interviews"],
        "timezone": "Asia/Kolkata",
        "sessionTypes": [
            {"sessionType": "video", "duration": 30, "price": 500, "currency": "INR"},
            {"sessionType": "video", "duration": 60, "price": 900, "currency": "INR"},
            {"sessionType": "chat", "duration": 30, "price": 200, "currency": "INR"},
        ],
        "availability": _hours(0, 1, 2, 3, 4, 5, 6, start="09:00", end="21:00"),
        "bufferAfter": 10,
        "cancellationPolicy": {
            "tiers": [{"hoursBefore": 24, "refundPercent": 100}, {"hoursBefore": 2, "refundPercent": 50}],
            "clientUntilHoursBefore": 2,
        },
    },
    {
        "userId": _JONAS,
        "expertUserId": "1002",
        "email": "jonas@example.org",
        "name": "Jonas Weber",
        "title": "Software architect",
        "expertise": ["architecture", "databases"],
        "timezone": "Europe/Berlin",
        "sessionTypes": [
            {"sessionType": "video", "duration": 45, "price": 60, "currency": "EUR"},
            {"sessionType": "in-person", "duration": 90, "price": 140, "currency": "EUR"},
        ],
        "availability": _hours(1, 2, 3, 4, 5, start="08:30", end="17:30"),
        "minNotice": 60,
        "payment": "later",
    },
    {
        "userId": _EMILY,
        "expertUserId": "1003",
        "email": "emily@example.org",
        "name": "Emily Chen",
        "title": "Product coach",
        "expertise": ["product", "leadership"],
        "timezone": "America/New_York",
        "sessionTypes": [{"sessionType": "audio", "duration": 30, "price": 40, "currency": "USD"}],
    },
)


@dataclass(frozen=True, slots=True)
class Demo:
    """Who is there, and a place to book: ``expert`` from ``starts_at``, in minutes and by medium."""

    admin: Actor
    client: Actor
    expert: Expert
    session_type: str
    duration: int
    starts_at: datetime

    @property
    def expert_actor(self) -> Actor:
        """The user who owns the expert's profile."""
        return Actor.expert(
            self.expert.user_id,
            user_id=self.expert.expert_user_id,
            email=self.expert.email,
            name=self.expert.name,
        )


async def seed(confiido: Confiido) -> Demo:
    """Make what is missing of the marketplace, and find a free time for a first booking."""
    experts = [await _expert(confiido, profile) for profile in _PROFILES]
    asha, jonas, emily = experts
    tomorrow = confiido.clock() + timedelta(days=1)
    if not await _has_sessions(confiido, CLIENT):
        await _book(confiido, CLIENT, jonas, "video", 45, tomorrow)
        await _book(confiido, CLIENT, emily, "audio", 30, tomorrow + timedelta(days=2), confirmed=True)
    if not await _has_sessions(confiido, OTHER_CLIENT):
        await _book(confiido, OTHER_CLIENT, asha, "video", 60, tomorrow, confirmed=True)
        await _book(confiido, OTHER_CLIENT, asha, "chat", 30, tomorrow + timedelta(days=1))
    return Demo(ADMIN, CLIENT, asha, "video", 30, await _free_for_both(confiido, asha, CLIENT, 30, tomorrow))


def introduction(demo: Demo, settings: Settings, url: str) -> str:
    """Tokens, an expert to book and a first request that can be pasted, for the service at ``url``."""

    def token(actor: Actor) -> str:
        return tokens.mint(actor, settings=settings, lasts=_TOKENS_LAST)

    client, number = token(demo.client), demo.expert.expert_user_id
    body = json.dumps(
        {
            "expertId": number,
            "sessionType": demo.session_type,
            "duration": demo.duration,
            "startsAt": iso(demo.starts_at),
        }
    )
    return f"""
Client  {demo.client.name}: {client}
Expert  {demo.expert.name}: {token(demo.expert_actor)}
Admin   {token(demo.admin)}

Book {demo.expert.name} (expertId {demo.expert.id}, number {number}):

curl -sS -X POST {url}/api/bookings -H 'Authorization: Bearer {client}' -H 'Content-Type: application/json' -d '{body}'

All routes: {url}/docs
"""


async def _free_for_both(confiido: Confiido, expert: Expert, client: Actor, duration: int, after: datetime) -> datetime:
    """The first start that neither the expert's calendar nor a session of the client stands against."""
    assert client.id is not None
    sessions = (await confiido.bookings.of_client(client.id, actor=ADMIN))["sessions"]
    taken = [(session["startsAt"], session["endsAt"]) for session in sessions if "startsAt" in session]
    starts = await confiido.calendar.next_starts(expert, after, duration, count=500)
    length = timedelta(minutes=duration)
    return next(start for start in starts if all(until <= start or start + length <= since for since, until in taken))


async def _expert(confiido: Confiido, profile: dict[str, Any]) -> Expert:
    try:
        return await confiido.experts.get(profile["userId"])
    except NotFound:
        return await confiido.experts.create(actor=ADMIN, profile=ExpertInput.model_validate(profile))


async def _has_sessions(confiido: Confiido, client: Actor) -> bool:
    assert client.id is not None
    try:
        document = await confiido.bookings.of_client(client.id, actor=ADMIN)
    except NotFound:
        return False
    return bool(document.get("totalSessions"))


async def _book(
    confiido: Confiido,
    client: Actor,
    expert: Expert,
    session_type: str,
    duration: int,
    after: datetime,
    *,
    confirmed: bool = False,
) -> None:
    free = await confiido.calendar.next_starts(expert, after, duration, count=1)
    try:
        booked = await confiido.bookings.book(
            actor=client,
            expert=expert.user_id,
            session_type=session_type,
            duration=duration,
            starts_at=free[0],
            notes="Booked by the demo",
        )
        if confirmed:
            await confiido.bookings.confirm(booked.document["_id"], booked.session_id, actor=ADMIN)
    except Conflict:
        return  # somebody else's session is in the way: the demo does without this one
