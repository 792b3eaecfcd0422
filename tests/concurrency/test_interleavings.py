"""Two commands stepped through every order of their database commands (L6, L9; issue: the interleaving test).

Orders that differ only in commands on different collections, or in reads, count as one. After each the laws hold
without any doctor, and the stored state is that of the commands that succeeded, one after the other.
On the embedded engine some orders are drawn by lot; the real server does all where they are few, and with EVERY_ORDER
in the environment all of them.
"""

import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import permutations

import pytest

from confiido_booking import Confiido
from confiido_booking.bookings.views import Change
from tests.concurrency.world import LATER, NOON, OVERLAPPING, Builder, World
from tests.laws.check import broken_laws
from tests.processes import Process, Schedule, processes

Doing = Callable[[World, Confiido], Awaitable[object]]
State = tuple[object, ...]
EVERY_ORDER = "EVERY_ORDER" in os.environ
MOST_ORDERS = 5000


def _draws(engine_is_embedded: bool, *, few_orders: bool) -> int:
    """How many orders are drawn by lot; 0 = all of them are done."""
    if EVERY_ORDER:
        return 0
    if engine_is_embedded:
        return 3
    return 0 if few_orders else 20


@dataclass(frozen=True)
class Pair:
    """Two commands and where they begin; ``pause``: the second starts so much later by the clock."""

    start: str
    one: Doing
    other: Doing
    pause: timedelta = timedelta(0)


PAIRS = {
    "two clients book one time": Pair(
        "an empty booking", lambda w, c: w.book(c, w.ada, NOON), lambda w, c: w.book(c, w.bo, OVERLAPPING)
    ),
    "a client books two experts at once": Pair(
        "an empty booking",
        lambda w, c: w.book(c, w.ada, NOON),
        lambda w, c: w.book(c, w.ada, OVERLAPPING, expert=w.other_expert),
    ),
    "a client's first two bookings": Pair(
        "nothing",
        lambda w, c: w.book(c, w.ada, NOON),
        lambda w, c: w.book(c, w.ada, LATER, expert=w.other_expert),
    ),
    "confirm and cancel": Pair("pending", lambda w, c: w.do(c, "confirm"), lambda w, c: w.do(c, "cancel")),
    "expire and a confirm from before the deadline": Pair(
        "pending", lambda w, c: w.do(c, "confirm"), lambda w, c: w.do(c, "expire"), timedelta(minutes=31)
    ),
    "a booking over a lapsed hold and a confirm from before": Pair(
        "pending", lambda w, c: w.do(c, "confirm"), lambda w, c: w.book(c, w.bo, NOON), timedelta(minutes=31)
    ),
    "reschedule and book the new time": Pair(
        "confirmed", lambda w, c: w.move(c, LATER), lambda w, c: w.book(c, w.bo, LATER)
    ),
    "reschedule and book the old time": Pair(
        "confirmed", lambda w, c: w.move(c, LATER), lambda w, c: w.book(c, w.bo, NOON)
    ),
    "cancel and reschedule": Pair("confirmed", lambda w, c: w.do(c, "cancel"), lambda w, c: w.move(c, LATER)),
    "cancel and book the time": Pair("confirmed", lambda w, c: w.do(c, "cancel"), lambda w, c: w.book(c, w.bo, NOON)),
    "two reschedules": Pair("confirmed", lambda w, c: w.move(c, LATER), lambda w, c: w.move(c, OVERLAPPING)),
    "complete and cancel": Pair("confirmed", lambda w, c: w.do(c, "complete"), lambda w, c: w.do(c, "cancel")),
    "undo and archive": Pair("ended", lambda w, c: w.do(c, "undo"), lambda w, c: w.do(c, "archive")),
    "pay and a client's cancel": Pair("pending", lambda w, c: w.do(c, "pay"), lambda w, c: w.do(c, "cancel", by=w.ada)),
    "two cancels": Pair("confirmed", lambda w, c: w.do(c, "cancel"), lambda w, c: w.do(c, "cancel")),
    "two accepts": Pair("quoted", lambda w, c: w.do(c, "accept"), lambda w, c: w.do(c, "accept")),
    "accept and a new quote": Pair("quoted", lambda w, c: w.do(c, "accept"), lambda w, c: w.do(c, "quote")),
    "accept and book": Pair("quoted", lambda w, c: w.do(c, "accept"), lambda w, c: w.do(c, "book")),
    "book and decline": Pair("asked", lambda w, c: w.do(c, "book"), lambda w, c: w.do(c, "decline")),
    "accept and another client's booking of the time": Pair(
        "quoted", lambda w, c: w.do(c, "accept"), lambda w, c: w.book(c, w.bo, OVERLAPPING)
    ),
    "accept and the client's booking of another expert": Pair(
        "quoted", lambda w, c: w.do(c, "accept"), lambda w, c: w.book(c, w.ada, NOON, expert=w.other_expert)
    ),
    "two requests": Pair("nothing", lambda w, c: w.ask(c, w.ada, NOON), lambda w, c: w.ask(c, w.ada, NOON)),
    "heal and a booking that sleeps": Pair(
        "an empty booking",
        lambda w, c: w.book(c, w.ada, NOON),
        lambda w, c: w.book(c, w.bo, NOON),
        timedelta(seconds=31),
    ),
    "heal and a first booking that sleeps": Pair(
        "nothing", lambda w, c: w.book(c, w.ada, NOON), lambda w, c: w.book(c, w.bo, NOON), timedelta(seconds=31)
    ),
}
FEW_ORDERS = {
    "confirm and cancel",
    "expire and a confirm from before the deadline",
    "complete and cancel",
    "undo and archive",
    "pay and a client's cancel",
    "two cancels",
}


@pytest.mark.parametrize("name", PAIRS)
async def test_two_commands_in_any_order_do_as_if_one_came_after_the_other(
    name: str, world: Builder, engine_is_embedded: bool
) -> None:
    pair = PAIRS[name]
    here = await world(pair.start)
    expected = await _one_after_the_other(here, pair)

    for order in Schedule(draws=_draws(engine_is_embedded, few_orders=name in FEW_ORDERS)):
        assert order.runs < MOST_ORDERS, "there are more orders than this test has time for"
        async with processes(here.confiido, "one", "other") as group:
            await _begin(here, pair, group)
            if not await order.run(group):
                continue
            told = [(process.name, process.outcome, process.trace) for process in group]
            assert await broken_laws(here.confiido) == [], told
            succeeded = frozenset(process.name for process in group if process.outcome == "ok")
            assert succeeded in expected, told
            assert await _state(here) in expected[succeeded], told
            assert succeeded, told


async def test_two_equal_bookings_of_one_key_are_one_in_any_order(world: Builder, engine_is_embedded: bool) -> None:
    here = await world("an empty booking")
    pair = Pair(
        "an empty booking",
        lambda w, c: w.book(c, w.ada, NOON, key="twice"),
        lambda w, c: w.book(c, w.ada, NOON, key="twice"),
    )

    for order in Schedule(draws=_draws(engine_is_embedded, few_orders=False)):
        async with processes(here.confiido, "one", "other") as group:
            await _begin(here, pair, group)
            if not await order.run(group):
                continue
            told = [(process.name, process.outcome, process.trace) for process in group]
            assert await broken_laws(here.confiido) == [], told
            answers = [process.result for process in group if process.outcome == "ok"]
            assert {process.outcome for process in group} <= {"ok", "slot_taken"}, told
            assert len({answer.session_id for answer in answers if isinstance(answer, Change)}) == 1, told
            assert len(await here.sessions()) == 1, told


async def _begin(world: World, pair: Pair, group: Sequence[Process]) -> None:
    await world.again()
    await group[0].start(_run(pair.one, world, group[0]))
    world.clock.advance(seconds=pair.pause.total_seconds())
    await group[1].start(_run(pair.other, world, group[1]))


async def _run(doing: Doing, world: World, process: Process) -> object:
    return await doing(world, process.confiido)


async def _one_after_the_other(world: World, pair: Pair) -> dict[frozenset[str], set[State]]:
    """For each set of commands that can succeed, the states they lead to, in either order."""
    states: dict[frozenset[str], set[State]] = {}
    for order in [*permutations((0, 1)), (0,), (1,)]:
        async with processes(world.confiido, "one", "other") as group:
            await _begin(world, pair, group)
            for number in order:
                await group[number].finish()
            succeeded = frozenset(group[number].name for number in order if group[number].outcome == "ok")
            states.setdefault(succeeded, set()).add(await _state(world))
    return states


async def _state(world: World) -> State:
    """What a reader could tell apart: the sessions, and the minutes that are taken."""
    current = sorted(
        (s["startsAt"], str(s["expertId"]), s["status"], s["paymentStatus"], len(s.get("quotes", [])))
        for s in await world.sessions()
    )
    archived = await world.confiido.store.collection("booking_archive").count_documents({})
    taken = sorted((claim["from"], claim["until"]) for claim in await world.claims())
    return (tuple(current), archived, tuple(taken))
