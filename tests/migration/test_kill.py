"""Killed anywhere and run again: SIGKILL from outside, and a stop between any two database commands from inside."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from bson import json_util
from pymongo import MongoClient

from confiido_booking import Confiido
from confiido_booking.migration import Runs, rollback
from confiido_booking.migration.samples import Samples
from tests.builders import Clock
from tests.migration.harness import AS_OF, MemorySource, everything, migrate, verified

WHEN = f"{AS_OF:%Y-%m-%dT%H:%M:%SZ}"


class Killed(Exception):
    """The process ended here."""


def dump(documents: int) -> MemorySource:
    samples = Samples(seed=5, irregular=0.2, experts_count=6)
    return MemorySource({"bookings": list(samples.documents(documents)), "experts": list(samples.experts())})


async def test_stopped_before_any_command_and_run_again_it_gives_the_same_documents(
    confiido: Confiido, clock: Clock
) -> None:
    clock.now = AS_OF
    source = dump(12)
    whole = await migrate(confiido, source, run_id="whole")
    expected = await everything(confiido)
    await rollback(confiido.store, whole.run, now=AS_OF)

    for stop in range(3, 200, 4):
        left = stop

        async def dies(step: str) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                raise Killed(step)

        confiido.store.hook = dies
        try:
            await migrate(confiido, source, run_id=f"cut {stop}")
            finished = True
        except Killed:
            finished = False
        confiido.store.hook = None
        applied = await migrate(confiido, source, run_id=f"cut {stop}")
        assert await everything(confiido) == expected, f"stopped before command {stop}"
        if finished:
            break
        await rollback(confiido.store, applied.run, now=AS_OF)
    assert stop > 20


async def test_a_rollback_that_was_stopped_is_finished_by_the_next(confiido: Confiido, clock: Clock) -> None:
    clock.now = AS_OF
    source = dump(12)
    applied = await migrate(confiido, source)
    left = 9

    async def dies(step: str) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise Killed(step)

    confiido.store.hook = dies
    with pytest.raises(Killed):
        await rollback(confiido.store, applied.run, now=AS_OF)
    confiido.store.hook = None

    await rollback(confiido.store, await Runs(confiido.store).named(None, wrote=True), now=AS_OF)

    assert all(not documents for documents in (await everything(confiido)).values())


async def test_three_sigkills_and_the_run_verifies_and_after_a_rollback_comes_out_the_same(
    confiido: Confiido, clock: Clock, uri: str, tmp_path: Path, engine_is_embedded: bool
) -> None:
    clock.now = AS_OF
    documents = 60 if engine_is_embedded else 400
    samples = Samples(seed=6)
    for name, rows in (("bookings", samples.documents(documents)), ("experts", samples.experts())):
        (tmp_path / f"{name}.ndjson").write_text("".join(json_util.dumps(row) + "\n" for row in rows))
    confiido_command = [sys.executable, "-c", "from confiido_booking.cli import main; main()", "migrate"]
    command = [*confiido_command, "apply", "--source", str(tmp_path), "--target", uri]
    command += ["--as-of", WHEN, "--rate", str(documents // 6), "--yes"]  # slow enough to be killed in time

    killed = await asyncio.to_thread(_killed_three_times, command, uri, documents)
    command[command.index("--rate") : command.index("--rate") + 2] = []
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False)
    result = tmp_path.parent / f"{tmp_path.name}.verified.json"
    check = [*confiido_command, "verify", "--source", str(tmp_path), "--target", uri, "--json", str(result)]
    proof = await asyncio.to_thread(subprocess.run, check, capture_output=True, text=True, check=False)
    there = await everything(confiido)
    findings = (await confiido.doctor.examine()).findings
    await rollback(confiido.store, await Runs(confiido.store).named(None, wrote=True), now=AS_OF)
    left = await everything(confiido)
    again = await asyncio.to_thread(subprocess.run, [*command, "--run", "again"], capture_output=True, check=False)

    assert killed == 3
    assert (done.returncode, proof.returncode) == (0, 0), done.stderr + proof.stdout
    shown = json.loads(result.read_text())
    assert shown["read"] == shown["found"] + shown["quarantined"]
    assert findings == []
    assert not any(left.values())
    assert again.returncode == 0
    assert await everything(confiido) == there


def _killed_three_times(command: list[str], uri: str, documents: int) -> int:
    """How many of the three runs were still at work when they were killed."""
    killed = 0
    for share in (0.1, 0.3, 0.5):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env={**os.environ, "CONFIIDO_ENV": "test"})
        with MongoClient[dict[str, object]](uri) as client:
            bookings = client.get_default_database().bookings
            while process.poll() is None and bookings.count_documents({}) < documents * share / 4:
                time.sleep(0.05)
        killed += process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
    return killed


async def test_two_runs_at_once_over_the_same_source_do_each_client_once(confiido: Confiido, clock: Clock) -> None:
    clock.now = AS_OF
    source = dump(15)

    one, two = await asyncio.gather(
        migrate(confiido, source, run_id="one"), migrate(confiido, source, run_id="two"), return_exceptions=True
    )

    assert not isinstance(one, BaseException), one
    assert not isinstance(two, BaseException), two
    assert (await verified(confiido, source, one)).is_sound
    assert (await confiido.doctor.examine()).findings == []
