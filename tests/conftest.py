"""One engine for each test process, one database for each test.

Without ``MONGODB_URI`` the engine is the embedded one, in memory; with it, that server, where each test's database is
dropped when the test ends.
"""

import os
from collections.abc import AsyncIterator, Iterator
from uuid import uuid4

import pytest

from confiido_booking import Confiido, Settings
from confiido_booking.database.embedded import EmbeddedEngine
from confiido_booking.database.store import Store
from tests.builders import Clock, with_database

SERVER = os.environ.get("MONGODB_URI")
SECRET = "a secret that only the tests know, 32 letters and more"


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("CONFIIDO_") or name == "MONGODB_URI":
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def engine_is_embedded() -> bool:
    """Whether writes take 15 to 150 ms each: races then run fewer rounds."""
    return SERVER is None


@pytest.fixture(scope="session")
def server_uri() -> Iterator[str]:
    """The server, naming no database."""
    if SERVER is not None:
        yield SERVER
    else:
        with EmbeddedEngine() as engine:
            yield engine.uri


@pytest.fixture
def database_name() -> str:
    return f"confiido_test_{uuid4().hex}"


@pytest.fixture
def uri(server_uri: str, database_name: str) -> str:
    """The URI of this test's own database."""
    return with_database(server_uri, database_name)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def settings(uri: str) -> Settings:
    return Settings.model_validate({"env": "test", "MONGODB_URI": uri, "jwt_secret": SECRET})


@pytest.fixture
async def connected(uri: str, settings: Settings, clock: Clock) -> AsyncIterator[Confiido]:
    """The library on an empty database, without indexes."""
    async with Confiido.connect(uri, settings=settings, clock=clock) as confiido:
        yield confiido
        await confiido.store.client.drop_database(confiido.store.name)


@pytest.fixture
async def confiido(connected: Confiido) -> Confiido:
    """The library, ready to be used: indexes made, the clock at :data:`tests.builders.MONDAY`."""
    await connected.ensure_indexes()
    return connected


@pytest.fixture
def store(connected: Confiido) -> Store:
    """This test's database; the same one as ``confiido.store``."""
    return connected.store
