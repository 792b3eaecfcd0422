"""Races over HTTP between two server processes on one database: the store decides, and nothing else (SPEC 3, 11)."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass
from datetime import timedelta
from uuid import uuid4

import httpx
import pytest

from confiido_booking import Actor, Confiido, Expert
from confiido_booking.times import utc_now
from tests.api.server import Server, serving, token
from tests.builders import Clock, a_client, an_admin, an_expert, make_expert, with_database
from tests.laws.check import check_laws

CALLERS = 50


@dataclass
class Pair:
    """Two processes that serve one database."""

    confiido: Confiido
    doors: tuple[httpx.AsyncClient, httpx.AsyncClient]
    grace: Expert

    async def book(self, number: int, client: Actor, hours: float, expert: Expert | None = None) -> httpx.Response:
        """By the process of that number, so many hours from now."""
        starts_at = (utc_now() + timedelta(days=2)).replace(minute=0, second=0, microsecond=0) + timedelta(hours=hours)
        wish = {
            "expertId": str((expert or self.grace).id),
            "sessionType": "video",
            "duration": 30,
            "startsAt": starts_at.isoformat(),
        }
        return await self.doors[number % 2].post("/api/bookings", json=wish, headers=token(client))


@pytest.fixture
def clock() -> Clock:
    """The processes have the real one."""
    return Clock(utc_now())


@pytest.fixture(scope="module")
def database_name() -> str:
    """One for all tests here, which is emptied after each."""
    return f"confiido_test_{uuid4().hex}"


@pytest.fixture(scope="module")
def servers(server_uri: str, database_name: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Server]]:
    with ExitStack() as stack:
        folder, uri = tmp_path_factory.mktemp("servers"), with_database(server_uri, database_name)
        yield [stack.enter_context(serving(folder, uri)) for _ in range(2)]


@pytest.fixture
async def pair(confiido: Confiido, servers: list[Server]) -> AsyncIterator[Pair]:
    async with AsyncExitStack() as stack:
        limits = httpx.Limits(max_connections=CALLERS)
        one, other = [
            await stack.enter_async_context(httpx.AsyncClient(base_url=server.base, timeout=60, limits=limits))
            for server in servers
        ]
        yield Pair(confiido, (one, other), await make_expert(confiido))


async def test_of_fifty_who_book_one_slot_one_gets_it(
    pair: Pair, clock: Clock, confiido: Confiido, engine_is_embedded: bool
) -> None:
    for hour in range(1 if engine_is_embedded else 5):
        answers = await asyncio.gather(*(pair.book(number, a_client(), hour) for number in range(CALLERS)))

        outcomes = Counter((answer.status_code, answer.json().get("code")) for answer in answers)
        assert outcomes == {(201, None): 1, (409, "slot_taken"): CALLERS - 1}
    clock.now = utc_now() + timedelta(minutes=1)
    await confiido.doctor.repair()
    await check_laws(confiido)


async def test_the_first_bookings_of_one_client_make_one_document(
    pair: Pair, clock: Clock, confiido: Confiido, engine_is_embedded: bool
) -> None:
    ada, how_many = a_client(), 6 if engine_is_embedded else 20

    answers = await asyncio.gather(*(pair.book(number, ada, number) for number in range(how_many)))

    assert [answer.status_code for answer in answers] == [201] * how_many, [answer.text[:200] for answer in answers]
    booked = [answer.json()["data"] for answer in answers]
    assert len({data["booking"]["_id"] for data in booked}) == 1
    last = await pair.doors[0].get(f"/api/bookings/{booked[0]['booking']['_id']}", headers=token(ada))
    assert last.json()["data"]["booking"]["totalSessions"] == how_many
    assert last.json()["data"]["booking"]["totalSpent"] == 20 * how_many
    clock.now = utc_now() + timedelta(minutes=1)
    await check_laws(confiido)


async def test_one_client_is_never_in_two_places(pair: Pair, clock: Clock, confiido: Confiido) -> None:
    ada = a_client()
    experts = [pair.grace, *[await make_expert(confiido) for _ in range(5)]]

    answers = await asyncio.gather(*(pair.book(number, ada, 3, expert) for number, expert in enumerate(experts)))

    outcomes = Counter((answer.status_code, answer.json().get("code")) for answer in answers)
    assert outcomes == {(201, None): 1, (409, "client_busy"): 5}
    clock.now = utc_now() + timedelta(minutes=1)
    await confiido.doctor.repair()
    await check_laws(confiido)


async def test_confirm_and_cancel_at_once_do_what_they_say_in_some_order(
    pair: Pair, clock: Clock, confiido: Confiido, engine_is_embedded: bool
) -> None:
    mentor, how_many = an_expert(pair.grace), 3 if engine_is_embedded else 15
    clients = [a_client() for _ in range(how_many)]
    booked = [(await pair.book(0, client, hour)).json()["data"] for hour, client in enumerate(clients)]

    def command(number: int, action: str, actor: Actor, data: dict[str, dict[str, str]]) -> Awaitable[httpx.Response]:
        path = f"/api/bookings/{data['booking']['_id']}/{action}"
        return pair.doors[number].put(path, json={"sessionId": data["session"]["sessionId"]}, headers=token(actor))

    for client, data in zip(clients, booked, strict=True):
        confirmed, cancelled = await asyncio.gather(
            command(0, "confirm", mentor, data), command(1, "cancel", client, data)
        )
        path = f"/api/sessions/{data['session']['sessionId']}"
        after = (await pair.doors[0].get(path, headers=token(an_admin()))).json()["data"]["session"]

        walked = [entry["to"] for entry in after["history"]]
        assert (cancelled.status_code, after["status"]) == (200, "cancelled")
        if confirmed.status_code == 200:
            assert walked == ["pending", "confirmed", "cancelled"]
        else:
            assert (confirmed.status_code, confirmed.json()["details"]) == (409, {"status": "cancelled"})
            assert walked == ["pending", "cancelled"]
    clock.now = utc_now() + timedelta(minutes=1)
    await check_laws(confiido)


async def test_of_one_key_sent_to_both_processes_there_is_one_effect(
    pair: Pair, clock: Clock, confiido: Confiido
) -> None:
    ada, path = a_client(), "/api/bookings"
    starts_at = (utc_now() + timedelta(days=3)).isoformat()
    wish = {"expertId": str(pair.grace.id), "sessionType": "video", "duration": 30, "startsAt": starts_at}
    headers = {**token(ada), "Idempotency-Key": "once"}

    answers = await asyncio.gather(*(pair.doors[n % 2].post(path, json=wish, headers=headers) for n in range(10)))
    again = await pair.doors[1].post(path, json=wish, headers=headers)

    outcomes = {(answer.status_code, answer.json().get("code")) for answer in answers}
    assert (201, None) in outcomes
    assert outcomes <= {(201, None), (409, "idempotency_key_running")}
    assert again.headers["idempotency-replayed"] == "true"
    assert again.json()["data"]["booking"]["totalSessions"] == 1
    clock.now = utc_now() + timedelta(minutes=1)
    await check_laws(confiido)
