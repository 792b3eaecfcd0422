"""A process stops after each of its database commands in turn, for good or for a while (PROTOCOL, to be tested: 2; L8).

While it is stopped another command runs; then a minute passes and the doctor comes; then the process wakes and goes on.
The laws hold at every one of these moments, what was acknowledged is there, and what was refused has no effect.
"""

from collections.abc import Awaitable, Callable

import pytest

from confiido_booking import Confiido
from tests.concurrency.world import LATER, NOON, OVERLAPPING, Builder, World
from tests.laws.check import broken_laws
from tests.processes import Process, outcome, processes

Doing = Callable[[World, Confiido, str], Awaitable[object]]
MOST_COMMANDS = 50

COMMANDS: dict[str, tuple[str, Doing]] = {
    "book, the client's first": ("nothing", lambda w, c, key: w.book(c, w.ada, NOON, key=key)),
    "book, the client's second": ("pending", lambda w, c, key: w.book(c, w.ada, LATER, key=key)),
    "book over an own lapsed hold": (
        "lapsed",
        lambda w, c, key: w.book(c, w.ada, OVERLAPPING, expert=w.other_expert, key=key),
    ),
    "book over another's lapsed hold": ("lapsed", lambda w, c, key: w.book(c, w.bo, OVERLAPPING, key=key)),
    "book while busy": ("pending", lambda w, c, key: w.book(c, w.ada, NOON, expert=w.other_expert, key=key)),
    "confirm": ("pending", lambda w, c, key: w.do(c, "confirm", key=key)),
    "cancel": ("confirmed", lambda w, c, key: w.do(c, "cancel", key=key)),
    "cancel what was paid": ("paid", lambda w, c, key: w.do(c, "cancel", by=w.ada, key=key)),
    "complete": ("confirmed", lambda w, c, key: w.do(c, "complete", key=key)),
    "no-show": ("started", lambda w, c, key: w.do(c, "no-show", key=key)),
    "undo": ("completed", lambda w, c, key: w.do(c, "undo", key=key)),
    "undo what has ended": ("ended", lambda w, c, key: w.do(c, "undo", key=key)),
    "reschedule": ("confirmed", lambda w, c, key: w.move(c, LATER, key=key)),
    "reschedule a little": ("confirmed", lambda w, c, key: w.move(c, OVERLAPPING, key=key)),
    "approve": ("requested", lambda w, c, key: w.do(c, "approve", key=key)),
    "expire": ("lapsed", lambda w, c, key: w.do(c, "expire", key=key)),
    "archive": ("old", lambda w, c, key: w.do(c, "archive")),
    "pay": ("pending", lambda w, c, key: w.do(c, "pay", key=key)),
    "request": ("nothing", lambda w, c, key: w.do(c, "ask", key=key)),
    "quote": ("asked", lambda w, c, key: w.do(c, "quote", key=key)),
    "accept": ("quoted", lambda w, c, key: w.do(c, "accept", key=key)),
    "book what was requested": ("asked", lambda w, c, key: w.do(c, "book", key=key)),
    "decline": ("asked", lambda w, c, key: w.do(c, "decline", key=key)),
    "patch": ("pending", lambda w, c, key: w.do(c, "patch", key=key)),
    "merge": ("confirmed", lambda w, c, key: w.merge(c)),
    "merge with a history": ("archived", lambda w, c, key: w.merge(c)),
}
RIVALS: dict[str, Doing] = {
    "another client books the time": lambda w, c, key: w.book(c, w.bo, NOON, key=key),
    "the client books another expert": lambda w, c, key: w.book(c, w.ada, OVERLAPPING, expert=w.other_expert, key=key),
    "another client books the later time": lambda w, c, key: w.book(c, w.bo, LATER, key=key),
    "an admin cancels": lambda w, c, key: w.do(c, "cancel", key=key),
    "an admin moves it": lambda w, c, key: w.move(c, LATER, key=key),
    "the client repeats it": lambda w, c, key: w.book(c, w.ada, NOON, key="the first"),
    "an admin undoes it": lambda w, c, key: w.do(c, "undo", key=key),
    "an admin offers it anew": lambda w, c, key: w.do(c, "quote", key=key),
    "an admin merges the client with another": lambda w, c, key: w.merge(c),
    "nobody does anything": lambda w, c, key: _nothing(),
}
LATE = "a minute later another client books the time"


async def _nothing() -> None: ...


def rivals_of(start: str, stop: int, how_many: int) -> list[str]:
    """Who competes with a process stopped there: so many, in turn, that over all stops everybody does."""
    names = [name for name in RIVALS if start != "nothing" or name not in _NEED_A_SESSION] + [LATE]
    return [names[(stop * how_many + place) % len(names)] for place in range(how_many)]


_NEED_A_SESSION = {
    "an admin cancels",
    "an admin moves it",
    "an admin undoes it",
    "an admin merges the client with another",
}
_WITHOUT_A_KEY = ("archive", "merge", "merge with a history")


@pytest.mark.parametrize("name", COMMANDS)
async def test_a_command_stopped_anywhere_leaves_the_laws_whole(
    name: str, world: Builder, engine_is_embedded: bool
) -> None:
    start, doing = COMMANDS[name]
    here = await world(start)
    how_many = 1 if engine_is_embedded else 2
    met: set[tuple[str, tuple[str, ...]]] = set()

    for stop in range(MOST_COMMANDS):
        got_to_its_end = False
        for rival in rivals_of(start, stop, how_many):
            for last in (None, "insert service session"):
                await here.again()
                async with processes(here.confiido, name) as (process,):
                    await process.start(doing(here, process.confiido, "the first"))
                    got_to_its_end = await process.run_to(stop, last=last)
                    if (rival, tuple(process.trace)) not in met:
                        met.add((rival, tuple(process.trace)))
                        await _meet(here, process, rival)
        if got_to_its_end:
            return
    pytest.fail(f"{name} needs more than {MOST_COMMANDS} commands")


async def _meet(world: World, process: Process, rival: str) -> None:
    moment = f"{process.name} stopped after {process.trace}, {rival}"
    answers = {}
    if rival in RIVALS:
        answers["the second"] = await outcome(RIVALS[rival](world, world.confiido, "the second"))
    assert await broken_laws(world.confiido, settled=False) == [], moment
    world.clock.advance(seconds=61)
    if rival == LATE and world.clock() < NOON:
        answers["the second"] = await outcome(world.book(world.confiido, world.bo, NOON, key="the second"))
        assert answers["the second"] == "ok" or await _stands(world), f"L8 the time is blocked: {moment}"

    report = await world.confiido.doctor.repair()

    assert await broken_laws(world.confiido) == [], f"{moment}, then the doctor"
    assert list(report.findings) == [], f"{moment}, then the doctor"
    answers["the first"] = await process.finish()
    assert await broken_laws(world.confiido, settled=False) == [], f"{moment}, then woke and did {process.trace}"
    world.clock.advance(seconds=61)
    await world.confiido.doctor.repair()
    assert await broken_laws(world.confiido) == [], f"{moment}, then woke, did {process.trace}, then the doctor"
    done = await world.keys()
    if rival in ("nobody does anything", "the client repeats it"):
        return
    if process.name in _WITHOUT_A_KEY:
        del answers["the first"]
    if rival == "an admin merges the client with another":
        del answers["the second"]
    for key, answer in answers.items():
        assert (answer == "ok") == (key in done), f"{key} answered {answer}: {moment}, then {process.trace}"


async def _stands(world: World) -> bool:
    """Whether a session that is not cancelled is on those minutes."""
    standing = ("pending", "confirmed", "completed", "no-show")
    return any(s["status"] in standing and s["startsAt"] < LATER for s in await world.sessions())
