"""What is kept of each run, in ``migration_runs``: its parameters, its state, how far it came."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Self

from pymongo import DESCENDING

from confiido_booking.database.store import Document, Store
from confiido_booking.errors import Conflict, Invalid
from confiido_booking.migration.options import Options

RUNS = "migration_runs"


class RunState(StrEnum):
    """``running`` also stands for a run that was killed: the next ``apply`` goes on with it."""

    RUNNING = "running"
    DONE = "done"
    ROLLING_BACK = "rolling_back"
    ROLLED_BACK = "rolled_back"


@dataclass(slots=True)
class Run:
    """``source`` names where from, without a password. ``wrote``: sessions, people and references it wrote."""

    id: str
    source: str
    options: Options
    state: RunState
    started_at: datetime
    in_place: bool = False
    counts: dict[str, int] = field(default_factory=dict)
    finished_at: datetime | None = None

    @property
    def wrote(self) -> int:
        return self.counts.get("wrote", 0)

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Self:
        return cls(
            document["_id"],
            document["source"],
            Options.restored(document["options"]),
            RunState(document["state"]),
            document["startedAt"],
            document["inPlace"],
            dict(document["counts"]),
            document.get("finishedAt"),
        )

    def stored(self) -> Document:
        document = {
            "source": self.source,
            "options": self.options.stored(),
            "state": self.state.value,
            "startedAt": self.started_at,
            "inPlace": self.in_place,
            "counts": self.counts,
        }
        return document | ({"finishedAt": self.finished_at} if self.finished_at else {})


@dataclass(frozen=True, slots=True)
class Runs:
    store: Store

    async def all(self) -> list[Run]:
        """Newest first."""
        found = await self.store.find("read runs", RUNS, {}, sort=[("startedAt", DESCENDING), ("_id", DESCENDING)])
        return [Run.of(document) for document in found]

    async def get(self, run_id: str) -> Run | None:
        found = await self.store.find_one("read run", RUNS, {"_id": run_id})
        return Run.of(found) if found else None

    async def save(self, run: Run) -> None:
        await self.store.update("save run", RUNS, {"_id": run.id}, {"$set": run.stored()}, upsert=True)

    async def begin(
        self, source: str, options: Options, *, run_id: str | None, in_place: bool, explicit: bool, now: datetime
    ) -> Run:
        """The run to go on with, else a new one.

        A run that did not end is taken up with its own parameters, so that both halves agree. ``explicit``: the
        caller named an instant of its own.

        Raises:
            Conflict: ``run_differs``, where the parameters given are not those of the run; ``run_ended``.
        """
        open_run = await self.get(run_id) if run_id else await self._unfinished(source)
        if open_run is not None:
            if open_run.state not in (RunState.RUNNING, RunState.DONE):
                raise Conflict(f"The run {open_run.id} is {open_run.state}; name another", code="run_ended")
            ours, theirs = options.stored(), open_run.options.stored()
            if not explicit:
                ours.pop("as_of"), theirs.pop("as_of")
            if ours != theirs or open_run.source != source:
                raise Conflict(
                    f"The run {open_run.id} did not end and has other parameters; "
                    "give the same ones, roll it back, or name another with --run",
                    code="run_differs",
                )
            open_run.state = RunState.RUNNING
            return open_run
        return Run(run_id or f"{now:%Y%m%d-%H%M%S}", source, options, RunState.RUNNING, now, in_place)

    async def _unfinished(self, source: str) -> Run | None:
        found = await self.store.find(
            "read runs", RUNS, {"source": source, "state": RunState.RUNNING.value}, sort=[("startedAt", DESCENDING)]
        )
        return Run.of(found[0]) if found else None

    async def newest(self, *, source: str | None = None, wrote: bool = False) -> Run | None:
        """The newest run that stands; with ``wrote``, the newest that wrote anything."""
        for run in await self.all():
            stands = run.state is not RunState.ROLLED_BACK and (source is None or run.source == source)
            if stands and (not wrote or run.wrote or run.state is not RunState.DONE):
                return run
        return None

    async def named(self, run_id: str | None, *, wrote: bool = False) -> Run:
        """The run of that name, or the newest. Raises Invalid ``run_unknown``."""
        run = await self.get(run_id) if run_id else await self.newest(wrote=wrote)
        if run is None:
            raise Invalid(
                f"There is no run {run_id}"
                if run_id
                else ("There is no run to undo" if wrote else "There is no run yet"),
                code="run_unknown",
            )
        return run
