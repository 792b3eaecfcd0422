"""Migration: apply against a bare bulk write of the very same documents, memory as the source grows, and what nested
and flat documents take on the disk (seed 002's claim). ``python -m bench.migration`` on MONGODB_URI.

Each figure has its own process, so that one does not warm another and memory is what that one run took.
"""

import argparse
import asyncio
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

from bench import dumps, report, server
from confiido_booking import Confiido
from confiido_booking.database.store import Document, Store
from confiido_booking.migration import Options, Runs, apply, load_profile, open_source, plan, verify
from confiido_booking.migration.samples import AS_OF

HEADING = report.SECTIONS[0]
COPIED = ("experts", "calendars", "users", "booking_archive", "service_sessions", "legacy_ids", "bookings")
BATCH = 600  # what apply writes at once
OLD_INDEXES = ("expertId", "status", "scheduledDate", "paymentStatus", "createdAt", "clientId")
TARGET, SHARE = 2_000, 0.7


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.migration", description=__doc__)
    parser.add_argument("--documents", type=int, default=10_000, help="old documents for the speed (10,000)")
    parser.add_argument("--rounds", type=int, default=3, help="times apply and the bare driver take turns (3)")
    parser.add_argument("--memory", type=int, nargs="*", default=[10_000, 100_000], help="sizes for the memory of plan")
    parser.add_argument("--applied", type=int, default=100_000, help="the largest of them that is applied and verified")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/benchmarks.md")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(asyncio.run(_ONE[arguments.one[0]](*arguments.one[1].split(" ")))))
        return
    uri, name = server.database_server(), f"confiido_bench_{uuid4().hex[:8]}"
    with TemporaryDirectory(prefix="confiido-bench-") as folder:
        bench = Bench(Path(folder), uri, name)
        try:
            parts = [
                bench.speed(arguments.documents, arguments.rounds),
                bench.memory(sorted(arguments.memory), arguments.applied),
                bench.size(arguments.documents),
            ]
        finally:
            asyncio.run(_drop(uri, bench.names))
    text = "\n\n".join(parts)
    print(text)
    if arguments.write:
        report.DOCUMENT.write_text(report.replaced(report.DOCUMENT.read_text(), HEADING, text))


class Bench:
    """The tables, each from figures of processes of their own."""

    def __init__(self, folder: Path, uri: str, name: str) -> None:
        self.folder, self.uri = folder, uri
        self.names = [name, f"{name}_bare", f"{name}_flat"]
        self.target, self.bare, self.flat = (server.with_database(uri, name) for name in self.names)

    def speed(self, documents: int, rounds: int) -> str:
        """apply and the bare driver in turn; medians."""
        shown = []
        for what, eras in (("flat (eras A, B)", dumps.FLAT), ("every era, mixed", dumps.EVERY)):
            source = self._dump(documents, eras)
            taken = []
            for _ in range(rounds):
                self._empty()
                taken.append((_apart("apply", self.target, source), _apart("bare", self.target, self.bare)))
            shown.append(_row(_speeds(what, documents, taken)))
        head = (
            "old documents", "documents", "sessions", "apply, documents/s (slowest to fastest)", "sessions/s",
            "bare bulk write, sessions/s", "apply : bare", "reading, µs a session", "writing, µs", "own CPU, µs",
            f"{TARGET:,}/s or {SHARE}",
        )  # fmt: skip
        intro = (
            f"{rounds} rounds of each in turn, load {report.load()}. The bare driver writes the very documents that "
            f"apply wrote, {BATCH} at a time."
        )
        return "\n".join([intro, "", _row(head), _row(["---"] * len(head)), *shown])

    def memory(self, sizes: Sequence[int], applied: int) -> str:
        """The most memory that each command had, by the size of the source."""
        rows = []
        for size in sizes:
            source = self._dump(size, dumps.EVERY)
            planned = _apart("plan", source)
            figures = [f"{size:,}", f"{planned['sessions']:,}", f"{planned['peak']} MB"]
            if size <= applied:
                self._empty()
                figures.append(f"{_apart('apply', self.target, source)['peak']} MB")
                figures.append(f"{_apart('verify', self.target, source)['peak']} MB")
            rows.append(_row([*figures, *["not measured"] * (5 - len(figures))]))
        head = ("documents of every era", "sessions", "plan, peak memory", "apply", "verify")
        return "\n".join([_row(head), _row(["---"] * len(head)), *rows])

    def size(self, documents: int) -> str:
        """Seed 002's first claim."""
        self._empty()
        _apart("apply", self.target, self._dump(documents, dumps.EVERY))
        found = _apart("sizes", self.target, self.flat)
        rows = [
            ("flat, one document a session", found["flat_data"], found["flat_indexes"]),
            ("nested, one document a client", found["nested_data"], found["nested_indexes"]),
            ("service sessions, by which lists find", found["events_data"], found["events_indexes"]),
        ]
        table = [_row([what, f"{data:.2f}", f"{indexes:.2f}"]) for what, data, indexes in rows]
        head = [_row([f"{documents:,} documents of every era", "data, MB", "indexes, MB"]), _row(["---"] * 3)]
        ratio = f"The same fields take {found['ratio']:.2f} times as much flat as nested, data and indexes."
        return "\n".join([*head, *table, "", ratio])

    def _dump(self, documents: int, eras: str) -> str:
        folder = self.folder / f"{eras}-{documents}"
        return str(folder) if folder.exists() else dumps.write(folder, documents, seed=11, eras=eras)

    def _empty(self) -> None:
        asyncio.run(_drop(self.uri, self.names))


def _speeds(what: str, documents: int, taken: Sequence[tuple[dict[str, Any], dict[str, Any]]]) -> list[str]:
    """A row of the table of speed."""
    sessions = taken[0][0]["sessions"]
    seconds = [applied["seconds"] for applied, _ in taken]
    speed, slowest, fastest = (documents / each for each in (median(seconds), max(seconds), min(seconds)))
    ratio = median(bare["seconds"] / applied["seconds"] for applied, bare in taken)
    parts = [median(applied[part] for applied, _ in taken) / sessions * 1e6 for part in ("reading", "writing", "cpu")]
    return [
        what,
        f"{documents:,}",
        f"{sessions:,}",
        f"{speed:,.0f} ({slowest:,.0f} to {fastest:,.0f})",
        f"{sessions / median(seconds):,.0f}",
        f"{sessions / median(bare['seconds'] for _, bare in taken):,.0f}",
        f"{ratio:.2f}",
        *(f"{part:.0f}" for part in parts),
        "yes" if speed >= TARGET or ratio >= SHARE else "no",
    ]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _apart(what: str, *arguments: str) -> dict[str, Any]:
    """A figure, measured in a process of its own."""
    command = [sys.executable, "-m", "bench.migration", "--one", what, " ".join(arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(f"{what} {Path(arguments[-1]).name}: {figures}", file=sys.stderr, flush=True)
    return figures


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


async def _apply(uri: str, folder: str) -> dict[str, Any]:
    """``reading``: until the first batch is written, which includes making its documents."""
    source, profile, options = open_source(folder), load_profile("confiido-flat"), Options(as_of=AS_OF)
    ended: list[float] = []

    def watch(stage: str, done: int, total: int | None = None) -> None:
        if stage != "written":
            ended[:] = [time.perf_counter()]

    async with Confiido.connect(uri) as confiido:
        await confiido.ensure_indexes()
        begun, cpu = time.perf_counter(), time.process_time()
        done = await apply(confiido, source, profile, options, now=datetime.now(UTC), progress=watch)
        seconds, cpu = time.perf_counter() - begun, time.process_time() - cpu
    reading = ended[0] - begun
    return {
        "seconds": seconds,
        "reading": reading,
        "writing": seconds - reading,
        "cpu": cpu,
        "sessions": done.counts["inserted"],
        "peak": _peak(),
    }


async def _verify(uri: str, folder: str) -> dict[str, Any]:
    async with Confiido.connect(uri) as confiido:
        run = await Runs(confiido.store).named(None)
        sound = await verify(confiido.store, open_source(folder), load_profile("confiido-flat"), run)
    if not sound.is_sound:
        raise RuntimeError(str(sound.differences[:3]))
    return {"peak": _peak()}


async def _plan(folder: str) -> dict[str, Any]:
    planned = plan(open_source(folder), load_profile("confiido-flat"), Options(as_of=AS_OF))
    return {"peak": _peak(), "sessions": planned.sessions}


async def _bare(uri: str, into: str) -> dict[str, Any]:
    """What apply wrote, written again by the driver alone, in batches as large and with the same indexes."""
    async with Confiido.connect(uri) as confiido:
        documents = {name: await confiido.store.find("read", name, {}) for name in COPIED}
    async with Confiido.connect(into) as confiido:
        await confiido.ensure_indexes()
        begun = time.perf_counter()
        for name, rows in documents.items():
            for batch in _batches(rows):
                await confiido.store.collection(name).insert_many(batch, ordered=False)
        return {"seconds": time.perf_counter() - begun}


def _batches(rows: Sequence[Document]) -> Iterator[Sequence[Document]]:
    for start in range(0, len(rows), BATCH):
        yield rows[start : start + BATCH]


async def _sizes(uri: str, into: str) -> dict[str, Any]:
    """The same sessions as one document each, with the client's fields and the old indexes."""
    async with Confiido.connect(uri) as confiido:
        nested, events = await _size(confiido.store, "bookings"), await _size(confiido.store, "service_sessions")
        bookings = await confiido.store.find("read", "bookings", {})
    async with Confiido.connect(into) as confiido:
        collection = confiido.store.collection("flat")
        for name in OLD_INDEXES:
            await collection.create_index(name)
        head = ("clientId", "clientUserId", "clientEmail", "clientName")
        for booking in bookings:
            rows = [
                {"_id": session["sessionId"], **{name: booking[name] for name in head if name in booking}, **session}
                for session in booking["sessions"]
            ]
            if rows:
                await collection.insert_many([{**row, "_id": row["sessionId"]} for row in rows], ordered=False)
        flat = await _size(confiido.store, "flat")
    return {
        "flat_data": flat[0],
        "flat_indexes": flat[1],
        "nested_data": nested[0],
        "nested_indexes": nested[1],
        "events_data": events[0],
        "events_indexes": events[1],
        "ratio": sum(flat) / sum(nested),
    }


async def _size(store: Store, collection: str) -> tuple[float, float]:
    statistics = await store.database.command("collStats", collection)
    return statistics["storageSize"] / 2**20, statistics["totalIndexSize"] / 2**20


async def _drop(uri: str, names: Sequence[str]) -> None:
    async with Confiido.connect(server.with_database(uri, names[0])) as confiido:
        for name in names:
            await confiido.store.client.drop_database(name)


_ONE: dict[str, Any] = {"apply": _apply, "verify": _verify, "bare": _bare, "plan": _plan, "sizes": _sizes}

if __name__ == "__main__":
    os.environ.setdefault("CONFIIDO_ENV", "test")
    main()
