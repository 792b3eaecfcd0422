"""Processes killed while clients book over HTTP: nothing acknowledged is lost, nothing half done stays (L8, L9).

The server process, the embedded engine and a real server of this test's own are each ended by SIGKILL under load.
"""

import asyncio
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from confiido_booking import Actor, Confiido, Settings
from confiido_booking.database.embedded import EmbeddedEngine
from confiido_booking.times import utc_now
from tests.api.server import Server, a_free_port, serving, token
from tests.builders import Clock, a_client, make_expert, with_database
from tests.conftest import SECRET, SERVER
from tests.laws.check import check_laws

REAL_SERVER = Path(__file__).parents[3] / "shared" / "server"
REAL_PORT = 27217
CLIENTS = 6


@dataclass
class Load:
    """Clients who book one hour after the other, each request with a key of its own, until nobody answers."""

    base: str
    expert_id: str
    clients: list[Actor] = field(default_factory=lambda: [a_client() for _ in range(CLIENTS)])
    acknowledged: dict[str, str] = field(default_factory=dict)  # key -> sessionId
    unanswered: dict[str, int] = field(default_factory=dict)  # key -> who
    errors: list[str] = field(default_factory=list)
    day: int = field(default_factory=lambda: int((utc_now() + timedelta(days=2)).timestamp()) // 3600)

    async def run(self) -> None:
        async with httpx.AsyncClient(base_url=self.base, timeout=60) as http:
            await asyncio.gather(*(self._book_on(http, who) for who in range(len(self.clients))))

    async def _book_on(self, http: httpx.AsyncClient, who: int) -> None:
        for number in range(1000):
            if not await self.book(http, f"{who}-{number}", who):
                return

    async def book(self, http: httpx.AsyncClient, key: str, who: int) -> bool:
        """Whether it was acknowledged; a request without an answer, or with 503, is one to be repeated."""
        number = int(key.partition("-")[2])
        starts_at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime((self.day + number * CLIENTS + who) * 3600))
        wish = {"expertId": self.expert_id, "sessionType": "video", "duration": 30, "startsAt": starts_at}
        headers = {**token(self.clients[who]), "Idempotency-Key": key}
        self.unanswered[key] = who
        try:
            answer = await http.post("/api/bookings", json=wish, headers=headers)
        except httpx.TransportError:
            return False
        if answer.status_code == 201:
            self.acknowledged[key] = answer.json()["data"]["session"]["sessionId"]
            del self.unanswered[key]
        elif answer.status_code != 503:
            self.errors.append(f"{answer.status_code} {answer.text[:200]}")
        return answer.status_code == 201

    async def until(self, how_many: int) -> None:
        while len(self.acknowledged) < how_many and not self.errors:
            await asyncio.sleep(0.01)

    async def again(self) -> None:
        """Every request without an answer, once more with its key; a key whose first try died is free after 60 s."""
        async with httpx.AsyncClient(base_url=self.base, timeout=60) as http:
            for key, who in list(self.unanswered.items()):
                await self.book(http, key, who)


@asynccontextmanager
async def marketplace(uri: str) -> AsyncIterator[tuple[Confiido, Clock, str]]:
    """The library on a database with one expert."""
    clock = Clock(utc_now())
    settings = Settings.model_validate({"env": "test", "MONGODB_URI": uri, "jwt_secret": SECRET})
    async with Confiido.connect(uri, settings=settings, clock=clock) as confiido:
        await confiido.ensure_indexes()
        expert = await make_expert(confiido)
        yield confiido, clock, str(expert.id)
        await confiido.store.client.drop_database(confiido.store.name)


async def everything_is_there(confiido: Confiido, clock: Clock, load: Load) -> None:
    """What was acknowledged, what is repeated, and the laws."""
    clock.now = utc_now() + timedelta(seconds=61)
    await confiido.doctor.repair()
    await check_laws(confiido)
    forget = {"$set": {"createdAt": utc_now() - timedelta(seconds=61)}}  # as if a minute had passed
    await confiido.store.collection("idempotency_keys").update_many({"state": "running"}, forget)

    await load.again()

    assert load.errors == []
    assert load.unanswered == {}
    clock.now = utc_now() + timedelta(seconds=61)
    await check_laws(confiido)
    bookings = await confiido.store.collection("bookings").find().to_list()
    stored = [str(session["sessionId"]) for booking in bookings for session in booking["sessions"]]
    assert sorted(load.acknowledged.values()) == sorted(stored)


async def is_answered_without_a_store(server: Server, load: Load) -> None:
    """503 in the envelope, within seconds, while the process itself lives."""
    started = time.monotonic()
    async with httpx.AsyncClient(base_url=server.base, timeout=60) as http:
        ada = token(load.clients[0])
        wish = {"expertId": load.expert_id, "sessionType": "video", "duration": 30, "startsAt": "2030-01-01T09:00:00Z"}
        refused = await asyncio.gather(
            http.get("/api/bookings", headers=ada),
            http.post("/api/bookings", json=wish, headers=ada),
            http.post("/api/bookings", json=wish, headers={**ada, "Idempotency-Key": "away"}),
            http.get("/health/ready"),
        )
        alive = await http.get("/health/live")

    assert [(answer.status_code, answer.json()["code"]) for answer in refused] == [(503, "store_unavailable")] * 4
    assert {answer.json()["error"] for answer in refused} == {"Service temporarily unavailable"}
    assert alive.status_code == 200
    assert time.monotonic() - started < 20


async def test_a_killed_server_process_loses_nothing_and_leaves_nothing_half_done(
    server_uri: str, database_name: str, tmp_path: Path, engine_is_embedded: bool
) -> None:
    uri, port = with_database(server_uri, database_name), a_free_port()
    async with marketplace(uri) as (confiido, clock, expert_id):
        load = Load(f"http://127.0.0.1:{port}", expert_id)
        with serving(tmp_path, uri, port=port) as server:
            booking = asyncio.create_task(load.run())
            await load.until(12 if engine_is_embedded else 100)
            server.process.kill()
            await booking

        with serving(tmp_path, uri, port=port):
            await everything_is_there(confiido, clock, load)

    assert len(load.acknowledged) >= 12


async def _outlived(
    uri: str, tmp_path: Path, kill: Callable[[], Awaitable[None]], restart: Callable[[], Awaitable[None]], acks: int
) -> None:
    """The store is killed under load and started again; the server process stays."""
    async with marketplace(uri) as (confiido, clock, expert_id):
        with serving(tmp_path, uri) as server:
            load = Load(server.base, expert_id)
            booking = asyncio.create_task(load.run())
            await load.until(acks)
            await kill()
            await booking
            await is_answered_without_a_store(server, load)
            await restart()
            server.wait_until_ready()
            await everything_is_there(confiido, clock, load)

    assert len(load.acknowledged) >= acks


@pytest.mark.skipif(SERVER is not None, reason="the embedded engine's own; the run without MONGODB_URI has it")
async def test_a_killed_embedded_engine_loses_nothing_and_is_found_again(database_name: str, tmp_path: Path) -> None:
    with EmbeddedEngine(tmp_path / "confiido.db") as engine:

        async def kill() -> None:
            engine.kill()

        async def restart() -> None:
            await asyncio.to_thread(engine.start)

        await _outlived(with_database(engine.uri, database_name), tmp_path, kill, restart, 10)


@pytest.fixture
def own_server() -> Iterator[str]:
    """A real server that nobody else uses; started here, and wiped afterwards."""
    up = run("up", str(REAL_PORT))
    yield up.splitlines()[-1]
    run("down", str(REAL_PORT), "--wipe")


def run(script: str, *options: str) -> str:
    done = subprocess.run([REAL_SERVER / script, *options], capture_output=True, text=True, timeout=300, check=True)
    return done.stdout.strip()


@pytest.mark.skipif(SERVER is None, reason="MONGODB_URI is not set: the run on the real server has it")
@pytest.mark.skipif(not (REAL_SERVER / "up").exists(), reason="there is no ../shared/server to start one with")
async def test_a_killed_real_server_loses_nothing_and_is_found_again(own_server: str, tmp_path: Path) -> None:
    async def kill() -> None:
        await asyncio.to_thread(run, "down", str(REAL_PORT), "--kill")

    async def restart() -> None:
        await asyncio.to_thread(run, "up", str(REAL_PORT))

    await _outlived(with_database(own_server, f"confiido_kill_{uuid4().hex}"), tmp_path, kill, restart, 100)
