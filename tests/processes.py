"""Processes that a test stops, puts to sleep or steps, between any two of their database commands.

A :class:`Process` is the library over the test's database with a store of its own, whose every command first waits for
its turn. A process that gets no more turns has died or sleeps, whichever the test says next.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any

from bson import ObjectId

from confiido_booking import BookingError, Confiido
from confiido_booking.database.store import Document, Filter, Store, Update

COLLECTIONS = ("bookings", "calendars", "service_sessions", "booking_archive", "experts", "users", "payments", "orders")
_SPINS = 12  # loop turns after which a task that waits for no command has reached its next one, or its end

_READS_WHAT_STANDS_STILL = frozenset({"read expert", "read experts"})


@dataclass(frozen=True)
class Touch:
    """The document a command is about: ``key`` is its ``_id`` or ``clientId``, None = any of the collection."""

    collection: str
    key: tuple[str, ObjectId] | None
    writes: bool

    @classmethod
    def of(cls, collection: str, query: Filter, *, writes: bool) -> "Touch":
        keys = ((name, query.get(name)) for name in ("clientId", "_id"))
        return cls(collection, next(((n, value) for n, value in keys if isinstance(value, ObjectId)), None), writes)

    def commutes(self, other: "Touch") -> bool:
        """Whether the order of the two cannot matter."""
        if self.collection != other.collection or not (self.writes or other.writes):
            return True
        if self.key is None or other.key is None:
            return False
        return self.key[0] == other.key[0] and self.key[1] != other.key[1]


class _WatchedStore(Store):
    """A store that tells what the next command is about, and when it has ended."""

    touch: Touch | None = None  # None: it depends on everything
    ended: Callable[[], None]

    async def run[T](self, step: str, command: Callable[[], Awaitable[T]], *, repeatable: bool = True) -> T:
        try:
            return await super().run(step, command, repeatable=repeatable)
        finally:
            self.ended()

    async def find_one(
        self, step: str, collection: str, query: Filter, projection: Filter | None = None
    ) -> Document | None:
        self.touch = Touch.of(collection, query, writes=False)
        return await super().find_one(step, collection, query, projection)

    async def insert(self, step: str, collection: str, document: Document) -> None:
        self.touch = Touch.of(collection, document, writes=True)
        await super().insert(step, collection, document)

    async def update(
        self,
        step: str,
        collection: str,
        query: Filter,
        update: Update,
        *,
        upsert: bool = False,
        repeatable: bool = True,
    ) -> bool:
        self.touch = Touch.of(collection, query, writes=True)
        return await super().update(step, collection, query, update, upsert=upsert, repeatable=repeatable)

    async def find_and_update(
        self,
        step: str,
        collection: str,
        query: Filter,
        update: Update,
        *,
        projection: Filter | None = None,
        before: bool = False,
    ) -> Document | None:
        self.touch = Touch.of(collection, query, writes=True)
        return await super().find_and_update(step, collection, query, update, projection=projection, before=before)

    async def delete(self, step: str, collection: str, query: Filter) -> bool:
        self.touch = Touch.of(collection, query, writes=True)
        return await super().delete(step, collection, query)


@dataclass(eq=False)
class Turn:
    """A command that waits until the test lets it run."""

    step: str
    touch: Touch | None = None
    allowed: asyncio.Event = field(default_factory=asyncio.Event)

    def commutes(self, other: "Turn") -> bool:
        return self.touch is not None and other.touch is not None and self.touch.commutes(other.touch)


class Process:
    """One of several processes over one database. ``trace`` are the commands it has run."""

    def __init__(self, confiido: Confiido, name: str = "process") -> None:
        store = _WatchedStore(confiido.store.client, confiido.store.name, hook=self._wait_for_turn)
        store.ended = self._command_ended
        self._store = store
        self.name = name
        self.confiido = Confiido.over(store, confiido.settings, confiido.clock)
        self.waiting: list[Turn] = []
        self.trace: list[str] = []
        self._running = 0
        self._task: asyncio.Task[Any] | None = None

    async def _wait_for_turn(self, step: str) -> None:
        touch, self._store.touch = self._store.touch, None
        if step not in _READS_WHAT_STANDS_STILL:
            turn = Turn(step, touch)
            self.waiting.append(turn)
            await turn.allowed.wait()
            self.trace.append(step)
        self._running += 1

    def _command_ended(self) -> None:
        self._running -= 1

    async def start(self, command: Coroutine[Any, Any, object]) -> None:
        """Begin, up to the first command that waits."""
        self._task = asyncio.create_task(command)
        await self._settle()

    async def _settle(self) -> None:
        spins = 0
        while spins < _SPINS:
            if self._running > 0:
                spins = 0
                await asyncio.sleep(0.0002)
            else:
                spins += 1
                await asyncio.sleep(0)

    @property
    def is_done(self) -> bool:
        return self._task is not None and self._task.done()

    async def step(self, turn: Turn | None = None) -> None:
        """Let one waiting command run, the first that came unless ``turn`` says which."""
        turn = turn or self.waiting[0]
        self.waiting.remove(turn)
        turn.allowed.set()
        await self._settle()

    async def run_to(self, commands: int, *, last: str | None = None) -> bool:
        """Let so many commands run, ``last`` only where nothing else waits; whether the process got to its end."""
        for _ in range(commands):
            if not self.waiting:
                break
            await self.step(next((turn for turn in self.waiting if turn.step != last), None))
        return self.is_done

    async def run_to_step(self, step: str) -> None:
        """Let it run until it is about to do ``step``."""
        while self.waiting and self.waiting[0].step != step:
            await self.step()
        assert self.waiting, f"{self.name} ended without {step!r}: {self.trace}"

    async def finish(self) -> str:
        """Let it run to its end; ``"ok"``, or the code of the refusal."""
        while not self.is_done:
            await self.step()
        return self.outcome

    @property
    def outcome(self) -> str:
        assert self._task is not None
        error = self._task.exception()
        if error is None:
            return "ok"
        if isinstance(error, BookingError):
            return error.code
        raise error

    @property
    def result(self) -> Any:
        """What the command gave back."""
        assert self._task is not None
        return self._task.result()

    async def die(self) -> None:
        """No command of it runs any more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self.waiting.clear()


@asynccontextmanager
async def processes(confiido: Confiido, *names: str) -> AsyncIterator[list[Process]]:
    """Processes that are ended with the block, however it ends."""
    started = [Process(confiido, name) for name in names]
    try:
        yield started
    finally:
        for process in started:
            await process.die()


async def outcome(command: Coroutine[Any, Any, object]) -> str:
    """``"ok"``, or the code of the refusal."""
    try:
        await command
    except BookingError as error:
        return error.code
    return "ok"


@dataclass(frozen=True)
class Snapshot:
    """All documents of the database, to begin again from."""

    documents: Mapping[str, Sequence[Document]]

    @classmethod
    async def take(cls, confiido: Confiido) -> "Snapshot":
        store = confiido.store
        return cls({name: await store.collection(name).find().to_list() for name in COLLECTIONS})

    async def restore(self, confiido: Confiido) -> None:
        """The documents as they were; experts stay."""
        await asyncio.gather(*(self._restore(confiido.store, name) for name in self.documents if name != "experts"))

    async def _restore(self, store: Store, name: str) -> None:
        await store.collection(name).delete_many({})
        if documents := self.documents[name]:
            await store.collection(name).insert_many(documents)


@dataclass
class Schedule:
    """A depth-first walk through all orders of several processes' commands, each order of commuting commands once.

    Sleep sets: a command that has been tried first at a fork is not tried again below its siblings until something
    it depends on has run. With ``draws``, so many orders drawn by lot instead, the same ones every time.
    """

    draws: int = 0
    forks: list["_Fork"] = field(default_factory=list)
    depth: int = 0
    runs: int = 0
    lot: Random = field(default_factory=lambda: Random(0))

    def __iter__(self) -> Iterator["Schedule"]:
        for _ in range(self.draws):
            self.forks, self.depth = [], 0
            self.runs += 1
            yield self
        while not self.draws:
            self.depth = 0
            self.runs += 1
            yield self
            while self.forks and not self.forks[-1].advance():
                self.forks.pop()
            if not self.forks:
                return

    async def run(self, group: Sequence[Process]) -> bool:
        """Step the processes to their ends, in the next order; False where this order has been seen before."""
        asleep: frozenset[tuple[int, str]] = frozenset()
        while True:
            turns = {(number, turn.step): turn for number, process in enumerate(group) for turn in process.waiting}
            if not turns:
                assert all(process.is_done for process in group)
                return True
            if self.depth == len(self.forks):
                choices = [turn for turn in turns if turn not in asleep]
                if not choices:
                    return False
                if self.draws:
                    self.lot.shuffle(choices)
                self.forks.append(_Fork(choices, asleep))
            fork = self.forks[self.depth]
            self.depth += 1
            chosen = turns[fork.chosen]
            asleep = frozenset(
                name for name in fork.tried if name[0] != fork.chosen[0] and turns[name].commutes(chosen)
            )
            await group[fork.chosen[0]].step(chosen)


@dataclass
class _Fork:
    """A moment at which several commands wait. A name is the process's number and its step."""

    choices: Sequence[tuple[int, str]]
    asleep: frozenset[tuple[int, str]]
    place: int = 0

    @property
    def chosen(self) -> tuple[int, str]:
        return self.choices[self.place]

    @property
    def tried(self) -> frozenset[tuple[int, str]]:
        """What needs not be tried first again, until something it depends on has run."""
        return self.asleep.union(self.choices[: self.place])

    def advance(self) -> bool:
        self.place += 1
        return self.place < len(self.choices)
