"""Whether the migration keeps its promise: a mixed dump of every era migrates on a real server, is killed three times
on the way, verifies clean, is rolled back, applied again, and gives the same bytes but for run ids.

``make acceptance`` (100,000 documents), or ``python -m bench.migration_acceptance --documents 3000``. Every step is
the command as people call it, in a process of its own. Exit code 1 where anything is not as it should be.
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

import bson
from pymongo import MongoClient
from pymongo.database import Database

from bench import dumps, report, server
from confiido_booking.database.store import Document
from confiido_booking.migration.samples import AS_OF

HEADING = report.SECTIONS[1]
KILLS = (0.1, 0.4, 0.7)  # of the clients are there when it is killed
COMMAND = [sys.executable, "-c", "from confiido_booking.cli import main; main()"]
WHEN = f"{AS_OF:%Y-%m-%dT%H:%M:%SZ}"
RUNS = "migration_runs"


@dataclass(frozen=True, slots=True)
class Step:
    name: str
    seconds: float
    peak: int  # MB
    result: str


@dataclass(slots=True)
class Acceptance:
    """One acceptance: its steps, and what was not as it should be."""

    database: Database[Document]
    uri: str
    source: str
    documents: int
    log: Path
    steps: list[Step] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def run(self) -> None:
        applying = ["migrate", "apply", "--source", self.source, "--target", self.uri, "--as-of", WHEN, "--yes"]
        verifying = ["migrate", "verify", "--source", self.source, "--target", self.uri]
        self._do("plan", "migrate", "plan", "--source", self.source, "--as-of", WHEN)
        for share in KILLS:
            self._killed(share, *applying)
        self._do("apply, to the end", *applying)
        self._do("verify", *verifying)
        self._do("doctor", "doctor")
        first = self._state("what is there")
        self._do("rollback", "migrate", "rollback", "--target", self.uri, "--yes")
        left = self._state("what is left")
        self._expect(not left, f"the rollback left {sorted(left)}")
        self._do("apply, again", *applying, "--run", "again")
        self._do("verify, again", *verifying)
        second = self._state("what is there, again")
        self._expect(first == second, f"not the same bytes: {first} and {second}")

    def _do(self, name: str, *arguments: str) -> None:
        code, seconds, peak = _ended(self._started(*arguments))
        self._expect(code == 0, f"{name} ended with {code}, see {self.log}")
        self._note(name, seconds, peak, f"exit code {code}")

    def _started(self, *arguments: str) -> tuple[subprocess.Popen[bytes], float]:
        environment = {**os.environ, "MONGODB_URI": self.uri, "CONFIIDO_ENV": "test"}
        with self.log.open("ab") as log:
            started = subprocess.Popen([*COMMAND, *arguments], stdout=log, stderr=log, env=environment)
        return started, time.monotonic()

    def _killed(self, share: float, *arguments: str) -> None:
        """SIGKILL once so many clients have their document."""
        wanted = self.documents // 4 * share
        started = self._started(*arguments)
        while started[0].poll() is None and self.database.bookings.estimated_document_count() < wanted:
            time.sleep(0.05)
        was_at_work = started[0].poll() is None
        started[0].send_signal(signal.SIGKILL)
        _, seconds, peak = _ended(started)
        there = self.database.bookings.count_documents({})
        self._expect(was_at_work, f"apply had ended before it was killed at {share:.0%}")
        self._note("apply, killed", seconds, peak, f"SIGKILL with {there:,} clients there")

    def _state(self, name: str) -> dict[str, tuple[int, str]]:
        """How many documents each collection has, and a digest of their bytes without run ids."""
        begun = time.monotonic()
        names = sorted(set(self.database.list_collection_names()) - {RUNS})
        found = {name: state for name in names if (state := _state(self.database, name))[0]}
        shown = ", ".join(f"{count:,} {name}" for name, (count, _) in found.items()) or "nothing"
        self._note(name, time.monotonic() - begun, 0, shown)
        return found

    def _expect(self, is_so: bool, fault: str) -> None:
        if not is_so:
            self.faults.append(fault)

    def _note(self, name: str, seconds: float, peak: int, result: str) -> None:
        self.steps.append(Step(name, seconds, peak, result))
        print(f"{name}: {seconds:.0f} s, {peak} MB, {result}", file=sys.stderr, flush=True)

    def table(self) -> str:
        rows = (f"| {step.name} | {step.seconds:,.0f} | {step.peak or ''} | {step.result} |" for step in self.steps)
        lines = ["| step | seconds | peak memory, MB | |", "|---|---|---|---|", *rows]
        outcome = "The same bytes both times but for run ids." if not self.faults else "; ".join(self.faults)
        return "\n".join([*lines, "", f"{outcome}"])


def _ended(started: tuple[subprocess.Popen[bytes], float]) -> tuple[int, float, int]:
    """Exit code, seconds, and the most memory the process had, in MB."""
    process, begun = started
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, time.monotonic() - begun, usage.ru_maxrss // 1024


def _state(database: Database[Document], name: str) -> tuple[int, str]:
    count, digest = 0, sha256()
    for document in _by_id(database, name):
        document = without_run(document)
        if name == "calendars":  # two batches at once take their minutes in either order
            document["busy"].sort(key=lambda busy: busy["claimId"])
        digest.update(bson.encode(document))
        count += 1
    return count, digest.hexdigest()


def _by_id(database: Database[Document], name: str) -> Iterator[Document]:
    yield from database[name].find(batch_size=500).sort("_id", 1)


def without_run(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: without_run(item) for name, item in value.items() if name != "runId"}
    if isinstance(value, list):
        return [without_run(item) for item in value]
    return value


def accept(uri: str, documents: int, *, seed: int, huge: int, log: Path) -> Acceptance:
    """Do it all in a database of its own, which is dropped at the end."""
    name = f"confiido_acceptance_{uuid4().hex[:8]}"
    with TemporaryDirectory(prefix="confiido-") as folder, MongoClient[Document](uri, tz_aware=True) as client:
        source = dumps.write(Path(folder) / "dump", documents, seed=seed, huge=huge)
        accepting = Acceptance(client[name], server.with_database(uri, name), source, documents, log)
        try:
            accepting.run()
        finally:
            client.drop_database(name)
    return accepting


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.migration_acceptance", description=__doc__)
    parser.add_argument("--documents", type=int, default=100_000, help="old documents of every era (100,000)")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--huge", type=int, default=5, help="documents of 1,200 sessions besides (5)")
    parser.add_argument("--write", action="store_true", help="put the table into docs/benchmarks.md")
    parser.add_argument("--log", type=Path, default=Path("migration-acceptance.log"), help="what the commands print")
    arguments = parser.parse_args()
    begun = time.monotonic()
    at = server.database_server()
    done = accept(at, arguments.documents, seed=arguments.seed, huge=arguments.huge, log=arguments.log)
    what = f"{arguments.documents:,} documents of every era and {arguments.huge} huge ones (seed {arguments.seed})"
    text = f"{what}, {time.monotonic() - begun:,.0f} s in all; load {report.load()}.\n\n{done.table()}"
    print(text)
    if arguments.write:
        report.DOCUMENT.write_text(report.replaced(report.DOCUMENT.read_text(), HEADING, text))
    sys.exit(1 if done.faults else 0)


if __name__ == "__main__":
    main()
