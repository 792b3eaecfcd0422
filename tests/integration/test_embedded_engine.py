"""The embedded engine as a process: one owner per file, gone with its parent, nothing acknowledged lost (L8)."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pymongo import AsyncMongoClient
from pymongo.errors import PyMongoError

from confiido_booking.database.embedded import EmbeddedEngine, EngineRefused, embedded_uri, running


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def wait_for_the_end_of(pid: int) -> bool:
    deadline = time.monotonic() + 10
    while is_alive(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not is_alive(pid)


async def test_acknowledged_writes_survive_a_kill_of_the_engine_and_a_restart_has_the_same_uri(tmp_path: Path) -> None:
    acknowledged: list[str] = []

    async def write(client: AsyncMongoClient[dict[str, object]], writer: int) -> None:
        for number in range(10_000):
            name = f"{writer}-{number}"
            try:
                await client.kill.documents.insert_one({"_id": name})
                await client.kill.arrays.update_one({"_id": writer}, {"$push": {"names": name}}, upsert=True)
            except PyMongoError:
                return
            acknowledged.append(name)

    with EmbeddedEngine(tmp_path / "confiido.db") as engine:
        uri = engine.uri
        async with AsyncMongoClient[dict[str, object]](uri) as client:
            writers = [asyncio.create_task(write(client, writer)) for writer in range(4)]
            while len(acknowledged) < 50:
                await asyncio.sleep(0.02)
            engine.kill()
            await asyncio.gather(*writers)

            restarted = engine.start()
            documents = {document["_id"] for document in await client.kill.documents.find().to_list()}
            arrays = await client.kill.arrays.find().to_list()

    assert restarted == uri
    assert set(acknowledged) <= documents
    assert set(acknowledged) <= {name for array in arrays for name in array["names"]}  # type: ignore[attr-defined]


def test_a_second_engine_on_one_file_is_refused_and_the_first_can_be_joined(
    tmp_path: Path,
) -> None:
    file = tmp_path / "confiido.db"

    with EmbeddedEngine(file) as first:
        with pytest.raises(EngineRefused, match="already in use by another engine"):
            EmbeddedEngine(file).start()
        with embedded_uri(file) as joined:
            pass
        still_there = running(file)

    assert joined == still_there == first.uri
    assert running(file) is None


def test_a_taken_port_is_refused_with_a_sentence() -> None:
    with EmbeddedEngine() as first:
        port = int(first.uri.rpartition(":")[2].partition("/")[0])

        with pytest.raises(EngineRefused, match="address already in use"):
            EmbeddedEngine(port=port).start()


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "ended"])
def test_the_engine_ends_with_its_parent_and_leaves_the_file_free(tmp_path: Path, end: signal.Signals) -> None:
    file = tmp_path / "confiido.db"
    program = (
        "import sys, time; from pathlib import Path; from confiido_booking.database.embedded import EmbeddedEngine\n"
        "engine = EmbeddedEngine(Path(sys.argv[1])); engine.start(); print(engine.pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(file)], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        engine = int(parent.stdout.readline())
        os.kill(parent.pid, end)
        parent.wait()

    assert wait_for_the_end_of(engine)
    assert running(file) is None
