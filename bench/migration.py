"""Migration (SPEC 11, seed 2.19): apply against a bare bulk write of the very same documents, memory as the source
grows, and what nested and flat documents take on the disk. ``python -m bench.migration`` on MONGODB_URI.

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
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

from bson import json_util

from bench import server
from confiido_booking import Confiido
from confiido_booking.database.store import Document, Store
from confiido_booking.migration import Options, apply, load_profile, open_source, verify
from confiido_booking.migration.samples import AS_OF, Samples

COPIED = ("experts", "calendars", "users", "booking_archive", "service_sessions", "legacy_ids", "bookings")
BATCH = 600  # what apply writes at once
OLD_INDEXES = ("expertId", "status", "scheduledDate", "paymentStatus", "createdAt", "clientId")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.migration", description=__doc__)
    parser.add_argument("--documents", type=int, default=10_000, help="old documents of every era (10,000)")
    parser.add_argument("--memory", type=int, nargs="*", default=[10_000, 50_000], help="sizes for the memory figure")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(asyncio.run(_ONE[arguments.one[0]](*arguments.one[1].split(" ")))))
        return
    print(table(arguments.documents, arguments.memory))


def table(documents: int, sizes: Sequence[int]) -> str:
    """The figures as Markdown."""
    uri, name = server.database_server(), f"confiido_bench_{uuid4().hex[:8]}"
    with TemporaryDirectory(prefix="confiido-bench-") as folder:
        dumps = {size: _dump(Path(folder) / str(size), size) for size in {documents, *sizes}}
        target = server.with_database(uri, name)
        applied = _apart("apply", target, dumps[documents])
        bare = _apart("bare", target, server.with_database(uri, f"{name}_bare"))
        sizes_on_disk = _apart("sizes", target, server.with_database(uri, f"{name}_flat"))
        memory = {size: _apart("plan", dumps[size])["peak"] for size in sorted({documents, *sizes})}
        asyncio.run(_drop(uri, [name, f"{name}_bare", f"{name}_flat"]))
    speed, bare_speed = applied["sessions"] / applied["seconds"], applied["sessions"] / bare["seconds"]
    rows = [
        ("old documents, of every era", f"{documents:,}"),
        ("sessions in them", f"{applied['sessions']:,}"),
        ("apply, sessions a second", f"{speed:,.0f}"),
        ("apply, old documents a second", f"{documents / applied['seconds']:,.0f}"),
        ("bare bulk write of the same documents, sessions a second", f"{bare_speed:,.0f}"),
        ("apply : bare", f"{speed / bare_speed:.2f}"),
        ("of apply: writing alone, sessions a second", f"{applied['sessions'] / applied['writing']:,.0f}"),
        *((f"peak memory at {size:,} documents", f"{peak} MB") for size, peak in memory.items()),
        ("flat, one document a session: data, MB", f"{sizes_on_disk['flat_data']:.2f}"),
        ("flat: indexes of seed 002's time, MB", f"{sizes_on_disk['flat_indexes']:.2f}"),
        ("nested, one document a client: data, MB", f"{sizes_on_disk['nested_data']:.2f}"),
        ("nested: indexes, MB", f"{sizes_on_disk['nested_indexes']:.2f}"),
        ("service sessions beside them: data, MB", f"{sizes_on_disk['events_data']:.2f}"),
        ("service sessions: indexes, MB", f"{sizes_on_disk['events_indexes']:.2f}"),
        ("the same fields, flat : nested, data and indexes", f"{sizes_on_disk['ratio']:.2f}"),
    ]
    return "\n".join(["| migration | |", "|---|---|", *(f"| {what} | {figure} |" for what, figure in rows)])


def _dump(folder: Path, documents: int) -> str:
    folder.mkdir()
    samples = Samples(seed=11)
    for name, rows in (
        ("bookings", samples.documents(documents)),
        ("users", samples.users(documents)),
        ("experts", samples.experts()),
    ):
        with (folder / f"{name}.ndjson").open("w") as file:
            file.writelines(json_util.dumps(row) + "\n" for row in rows)
    return str(folder)


def _apart(what: str, *arguments: str) -> dict[str, Any]:
    """A figure, measured in a process of its own."""
    command = [sys.executable, "-m", "bench.migration", "--one", what, " ".join(arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


async def _apply(uri: str, folder: str) -> dict[str, Any]:
    source, profile, options = open_source(folder), load_profile("confiido-flat"), Options(as_of=AS_OF)
    writing: list[float] = []

    def watch(stage: str, _: int) -> None:
        if stage == "written" or not writing:
            writing.append(time.perf_counter())
        elif len(writing) == 1:
            writing[0] = time.perf_counter()

    async with Confiido.connect(uri) as confiido:
        await confiido.ensure_indexes()
        begun = time.perf_counter()
        done = await apply(confiido, source, profile, options, now=datetime.now(UTC), progress=watch)
        seconds = time.perf_counter() - begun
        sound = await verify(confiido.store, source, profile, done.run)
    if not sound.is_sound:
        raise RuntimeError(str(sound.differences[:3]))
    return {"seconds": seconds, "writing": writing[-1] - writing[0], "sessions": sound.found, "peak": _peak()}


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


async def _plan(folder: str) -> dict[str, Any]:
    from confiido_booking.migration import plan

    plan(open_source(folder), load_profile("confiido-flat"), Options(as_of=AS_OF))
    return {"peak": _peak()}


async def _sizes(uri: str, into: str) -> dict[str, Any]:
    """Seed 002's claim: the same sessions as one document each, with the client's fields and the old indexes."""
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
    for name in names:
        async with Confiido.connect(server.with_database(uri, name)) as confiido:
            await confiido.store.client.drop_database(name)


_ONE: dict[str, Any] = {"apply": _apply, "bare": _bare, "plan": _plan, "sizes": _sizes}

if __name__ == "__main__":
    os.environ.setdefault("CONFIIDO_ENV", "test")
    main()
