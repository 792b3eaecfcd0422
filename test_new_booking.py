"""The structure of one booking per client, told from the first booking to the analytics, by library and over HTTP.

    python test_new_booking.py

It starts an embedded engine in memory, or uses the server of ``MONGODB_URI`` with a database of its own, dropped at
the end. It is August 2025 in the story: the clock is set, not read. Every step asserts what it says.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count
from typing import Any
from uuid import uuid4

import httpx
import pytest
from bson import ObjectId

from api.app import create_app
from api.observability import configure_logs
from confiido_booking import (
    Actor,
    Booking,
    Change,
    ClientBusy,
    Confiido,
    ExpertInput,
    SessionFilter,
    Settings,
    SlotTaken,
    TransitionRefused,
)
from confiido_booking.database.embedded import EmbeddedEngine
from confiido_booking.tokens import mint

ADMIN = Actor.admin(ObjectId())
CLIENT = Actor.client(
    ObjectId("68b6134f8e21e1ae686349f7"), user_id="9062", email="test0209@example.org", name="Dev Nair"
)
OTHER = Actor.client(ObjectId(), user_id="9063", email="other@example.org", name="Noor Khan")
MEGHA = Actor.expert(ObjectId("68b0daa5349f0802590e2755"), user_id="1534", email="megha@example.org", name="Megha")
PROFILE = {
    "userId": str(MEGHA.id),
    "expertUserId": MEGHA.user_id,
    "email": MEGHA.email,
    "name": MEGHA.name,
    "timezone": "Asia/Kolkata",
    "sessionTypes": [
        {"sessionType": "chat", "duration": 30, "price": 20, "currency": "INR"},
        {"sessionType": "video", "duration": 60, "price": 35, "currency": "INR"},
    ],
}
RESUME_REVIEW: dict[str, Any] = {
    "scheduled_date": "2025-08-29",
    "start_time": "12:30",
    "notes": "Service: Resume Review",
}


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2025, 8, 20, 9, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


class Teller:
    """Prints the steps, numbered, each after its asserts have held."""

    def __init__(self, title: str) -> None:
        self._number = count(1)
        print(f"\n{title}\n{'-' * len(title)}")

    def __call__(self, step: str, *facts: str) -> None:
        print(f"{next(self._number):2}. {step}")
        for fact in facts:
            print(f"      {fact}")


@asynccontextmanager
async def marketplace(clock: Clock) -> AsyncIterator[Confiido]:
    """An empty database, gone at the end."""
    server = os.environ.get("MONGODB_URI")
    with nullcontext() if server else EmbeddedEngine() as engine:
        uri = server or (engine.uri if engine else "")
        settings = Settings.model_validate({"env": "test", "jwt_secret": uuid4().hex, "MONGODB_URI": uri})
        name = f"confiido_story_{uuid4().hex}"
        async with Confiido.connect(uri, database=name, settings=settings, clock=clock) as confiido:
            try:
                await confiido.ensure_indexes()
                yield confiido
            finally:
                await confiido.store.client.drop_database(name)


async def by_library(confiido: Confiido, clock: Clock) -> None:
    tell = Teller("By library")
    bookings = confiido.bookings
    megha = await confiido.experts.create(actor=ADMIN, profile=ExpertInput.model_validate(PROFILE))
    tell("Megha, expert 1534, offers a chat of 30 minutes for 20 INR and a video call of 60 for 35 INR")

    chat = await bookings.book(actor=CLIENT, expert="1534", session_type="chat", duration=30, **RESUME_REVIEW)
    assert (chat.booking.total_sessions, chat.booking.total_spent) == (1, Decimal(20))
    assert (chat.session.start_time, chat.session.end_time, chat.session.status) == ("12:30", "13:00", "pending")
    assert chat.session.starts_at == datetime(2025, 8, 29, 7, 0, tzinfo=UTC)
    tell("The first booking creates the client's document", *facts(chat))

    video = await bookings.book(
        actor=CLIENT, expert="1534", session_type="video", duration=60, starts_at="2025-09-01T10:00:00+05:30"
    )
    assert video.booking.id == chat.booking.id
    assert [session.session_id for session in video.booking.sessions] == [chat.session_id, video.session_id]
    assert (video.booking.total_sessions, video.booking.total_spent) == (2, Decimal(55))
    assert await Booking.find(Booking.client_id == CLIENT.id).count() == 1
    tell("The second one is added to it: one document, two sessions", *facts(video))

    with pytest.raises(SlotTaken) as taken:
        await bookings.book(
            actor=OTHER,
            expert="1534",
            session_type="chat",
            duration=30,
            scheduled_date="2025-08-29",
            start_time="12:45",
        )
    assert taken.value.next_starts[0] == datetime(2025, 8, 29, 7, 30, tzinfo=UTC)
    starts = ", ".join(f"{start:%H:%M}" for start in taken.value.next_starts)
    tell("Another client cannot have an overlapping time", f"{taken.value}; free starts (UTC): {starts}")

    second = {**PROFILE, "userId": str(ObjectId()), "expertUserId": "1535", "email": "ravi@example.org", "name": "Ravi"}
    await confiido.experts.create(actor=ADMIN, profile=ExpertInput.model_validate(second))
    with pytest.raises(ClientBusy) as busy:
        await bookings.book(actor=CLIENT, expert="1535", session_type="chat", duration=30, **RESUME_REVIEW)
    tell("Nor can the client be with two experts at once", str(busy.value))

    racing = [
        bookings.book(actor=Actor.client(ObjectId()), expert="1535", session_type="chat", duration=30, **RESUME_REVIEW)
        for _ in range(8)
    ]
    outcomes = await asyncio.gather(*racing, return_exceptions=True)
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Change"] + ["SlotTaken"] * 7
    tell("Of eight clients who want one slot at the same moment, one gets it")

    confirmed = await bookings.confirm(chat.booking_id, chat.session_id, actor=MEGHA)
    assert (confirmed.session.status, confirmed.session.version) == ("confirmed", chat.session.version + 1)
    await bookings.confirm(video.booking_id, video.session_id, actor=MEGHA)
    tell("Megha confirms both sessions, each by its sessionId", *facts(confirmed))

    cancelled = await bookings.cancel(video.booking_id, video.session_id, actor=CLIENT, reason="I am travelling")
    assert (cancelled.session.status, cancelled.session.cancelled_by) == ("cancelled", "client")
    assert cancelled.session.cancellation_reason == "I am travelling"
    assert (cancelled.booking.total_sessions, cancelled.booking.total_spent) == (2, Decimal(20))
    tell("The client cancels the second with a reason: it stays in the list and leaves the sum", *facts(cancelled))

    again = await bookings.book(
        actor=OTHER, expert="1534", session_type="video", duration=60, starts_at="2025-09-01T10:00:00+05:30"
    )
    assert again.booking.id != chat.booking.id
    tell("Its time is free again, and another client takes it in a document of their own", *facts(again))

    paid = await bookings.complete_payment(chat.booking_id, chat.session_id, actor=ADMIN, payment_method="cash")
    assert (paid.session.payment_status, paid.booking.totals["INR"].paid) == ("paid", Decimal(20))
    clock.now = datetime(2025, 8, 29, 8, 0, tzinfo=UTC)
    completed = await bookings.complete(chat.booking_id, chat.session_id, actor=MEGHA)
    assert (completed.session.status, completed.booking.total_spent) == ("completed", Decimal(20))
    tell("The chat is paid for, takes place, and Megha completes it", *facts(completed))

    with pytest.raises(TransitionRefused) as refused:
        await bookings.cancel(chat.booking_id, chat.session_id, actor=CLIENT)
    assert refused.value.status == "completed"
    tell("What is completed can no longer be cancelled", str(refused.value))

    day = datetime(2025, 8, 29, tzinfo=UTC)
    for wanted, expected in (
        (SessionFilter(status="cancelled"), [video.session_id]),
        (SessionFilter(from_=day, to=day + timedelta(days=1)), [chat.session_id]),
        (SessionFilter(expert_id=megha.id), [video.session_id, chat.session_id]),
    ):
        page = await bookings.list(actor=CLIENT, filters=wanted)
        assert [session["sessionId"] for _, session in page.sessions] == expected
    tell("The client's sessions are found by status, by date and by expert, the latest first")

    stats = await bookings.stats(actor=MEGHA)
    assert (stats.total, stats.bookings, stats.received) == (3, 2, {"INR": Decimal(20)})
    assert stats.by_status == {"completed": 1, "cancelled": 2}
    tell(
        "Megha's figures; the other client never paid, so that hold has lapsed and counts as cancelled",
        f"{stats.total} sessions of {stats.bookings} clients, {stats.received['INR']} INR received",
    )

    whole = await Booking.get(chat.booking_id)
    assert whole is not None
    before = (whole.total_sessions, whole.total_spent, whole.totals)
    await whole.save()
    assert (whole.total_sessions, whole.total_spent, whole.totals) == before
    tell("Saving the document whole computes the same totals that the commands had kept")

    report = await confiido.doctor.examine()
    assert report.is_sound, report.findings
    tell(f"The doctor finds all sound: {report.bookings} bookings, {report.sessions} sessions")


async def over_http(confiido: Confiido, clock: Clock) -> None:
    tell = Teller("Over HTTP")
    transport = httpx.ASGITransport(create_app(confiido))
    async with httpx.AsyncClient(transport=transport, base_url="http://confiido") as http:

        async def call(
            actor: Actor, method: str, path: str, body: object = None, *, expect: int = 200, **query: str
        ) -> Any:
            token = mint(actor, settings=confiido.settings, lasts=timedelta(hours=1))
            headers = {"Authorization": f"Bearer {token}"}
            answer = await http.request(method, path, json=body, params=query, headers=headers)
            assert answer.status_code == expect, answer.text
            return answer.json() if expect >= 400 else answer.json()["data"]

        await call(ADMIN, "POST", "/api/admin/experts", PROFILE, expect=201)
        tell("POST /api/admin/experts: Megha, expert 1534")

        wish = {
            "expertId": "1534",
            "sessionType": "chat",
            "duration": 30,
            "scheduledDate": "2025-08-29",
            "startTime": "12:30",
            "notes": "Service: Resume Review",
        }
        chat = await call(CLIENT, "POST", "/api/bookings", wish, expect=201)
        session, booking = chat["session"], chat["booking"]
        assert (booking["totalSessions"], booking["totalSpent"]) == (1, 20)
        assert {name: session[name] for name in wish if name != "expertId"} == {
            name: value for name, value in wish.items() if name != "expertId"
        }
        assert (session["endTime"], session["price"], session["currency"]) == ("13:00", 20, "INR")
        tell(
            "POST /api/bookings: 201, the first booking creates the client's document",
            f"booking {booking['_id']}, session {session['sessionId']}, {session['status']}",
        )

        later = {**wish, "sessionType": "video", "duration": 60, "scheduledDate": "2025-09-01", "startTime": "10:00"}
        video = await call(CLIENT, "POST", "/api/bookings", later, expect=201)
        assert (video["booking"]["_id"], video["booking"]["totalSessions"]) == (booking["_id"], 2)
        assert video["booking"]["totalSpent"] == 55
        tell("POST /api/bookings: 201, the second is added to it", "totalSessions 2, totalSpent 55")

        taken = await call(OTHER, "POST", "/api/bookings", {**wish, "startTime": "12:45"}, expect=409)
        assert taken["code"] == "slot_taken"
        assert taken["details"]["nextStarts"][0] == "2025-08-29T07:30:00.000Z"
        tell("POST /api/bookings: 409, that time is taken", f"{taken['error']}; {taken['details']['nextStarts']}")

        one = f"/api/bookings/{booking['_id']}"
        confirmed = await call(MEGHA, "PUT", f"{one}/confirm", {"sessionId": session["sessionId"]})
        assert confirmed["session"]["status"] == "confirmed"
        assert "totalSpent" not in confirmed["booking"]
        tell("PUT …/confirm by sessionId: the expert confirms, and sees no sums of the client")

        why = {"sessionId": video["session"]["sessionId"], "reason": "I am travelling"}
        cancelled = await call(CLIENT, "PUT", f"{one}/cancel", why)
        assert cancelled["session"]["cancellationReason"] == "I am travelling"
        assert (cancelled["booking"]["totalSessions"], cancelled["booking"]["totalSpent"]) == (2, 20)
        tell("PUT …/cancel with a reason", "totalSessions 2, totalSpent 20")

        unpaid = await call(CLIENT, "PUT", f"{one}/complete-payment", {"sessionId": session["sessionId"]}, expect=402)
        assert unpaid["code"] == "payment_not_verified"
        await call(ADMIN, "PUT", f"{one}/complete-payment", {"sessionId": session["sessionId"]})
        tell("PUT …/complete-payment: 402 on the client's word, recorded by an administrator")

        clock.now = datetime(2025, 8, 29, 8, 0, tzinfo=UTC)
        completed = await call(MEGHA, "PUT", f"{one}/complete", {"sessionId": session["sessionId"]})
        assert completed["session"]["status"] == "completed"
        refused = await call(CLIENT, "PUT", f"{one}/cancel", {"sessionId": session["sessionId"]}, expect=409)
        assert refused["details"]["status"] == "completed"
        tell("PUT …/complete; to cancel it now is refused", refused["error"])

        expert_id = session["expertId"]
        for query, expected in (
            ({"status": "cancelled"}, [video["session"]["sessionId"]]),
            ({"from": "2025-08-29", "to": "2025-08-29"}, [session["sessionId"]]),
            ({"expertId": expert_id}, [video["session"]["sessionId"], session["sessionId"]]),
        ):
            listed = await call(CLIENT, "GET", "/api/bookings/user", **query)
            assert [item["sessionId"] for found in listed["bookings"] for item in found["sessions"]] == expected
            assert listed["pagination"]["total"] == len(expected)
        tell("GET /api/bookings/user by status, by date and by expert")

        stats = (await call(CLIENT, "GET", "/api/bookings/user"))["stats"]
        assert (stats["total"], stats["paid"], stats["totalSpent"]) == (2, 1, 20)
        earned = (await call(MEGHA, "GET", "/api/bookings/mentor/1534"))["stats"]
        assert (earned["totalSessions"], earned["completedSessions"], earned["totalEarnings"]) == (2, 1, 20)
        tell("The figures of both", f"client: {stats}", f"expert: {earned}")

        stranger = await call(OTHER, "GET", one, expect=404)
        assert stranger["code"] == "booking_not_found"
        tell("Another client sees nothing of it", stranger["error"])


def facts(change: Change) -> tuple[str, str]:
    booking, session = change.booking, change.session
    return (
        f"session {session.session_id}: {session.session_type}, {session.scheduled_date:%Y-%m-%d} {session.start_time}"
        f"-{session.end_time}, {session.status}, {session.price} {session.currency}",
        f"booking {booking.booking_reference}: {booking.total_sessions} sessions, totalSpent {booking.total_spent}",
    )


async def test_one_booking_per_client_by_library() -> None:
    clock = Clock()
    async with marketplace(clock) as confiido:
        await by_library(confiido, clock)


async def test_one_booking_per_client_over_http() -> None:
    clock = Clock()
    async with marketplace(clock) as confiido:
        await over_http(confiido, clock)


if __name__ == "__main__":
    configure_logs("warning")
    asyncio.run(test_one_booking_per_client_by_library())
    asyncio.run(test_one_booking_per_client_over_http())
    print("\nAll of it held.")
