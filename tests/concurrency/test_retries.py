"""Stale clocks and retries (PROTOCOL, to be tested: 5 and 6; L9).

A command judged by the clock of its sender may come after the deadline it was sent before. A command repeated with its
key has one effect, wherever the first try sleeps or died, and also once the session has lapsed or gone to the archive.
"""

from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest

from confiido_booking import Confiido
from confiido_booking.bookings.views import Change
from tests.concurrency.world import NOON, OVERLAPPING, Builder, World
from tests.laws.check import broken_laws, check_laws
from tests.processes import outcome, processes

LATE = timedelta(minutes=31)
MOST_COMMANDS = 12

REPEATED: dict[str, tuple[str, Callable[[World, Confiido], Awaitable[object]]]] = {
    "book": ("nothing", lambda w, c: w.book(c, w.ada, NOON, key="one")),
    "cancel": ("confirmed", lambda w, c: w.do(c, "cancel", key="one")),
    "reschedule": ("confirmed", lambda w, c: w.move(c, OVERLAPPING, key="one")),
    "undo": ("completed", lambda w, c: w.do(c, "undo", key="one")),
    "pay": ("pending", lambda w, c: w.do(c, "pay", key="one")),
    "approve": ("requested", lambda w, c: w.do(c, "approve", key="one")),
    "request": ("nothing", lambda w, c: w.do(c, "ask", key="one")),
    "quote": ("asked", lambda w, c: w.do(c, "quote", key="one")),
    "accept": ("quoted", lambda w, c: w.do(c, "accept", key="one")),
    "book what was requested": ("asked", lambda w, c: w.do(c, "book", key="one")),
}


async def test_a_confirmation_sent_before_the_deadline_counts_if_nothing_swept_the_hold(world: Builder) -> None:
    here = await world("pending")
    async with processes(here.confiido, "confirm") as (late,):
        await late.start(here.do(late.confiido, "confirm"))
        here.clock.advance(seconds=LATE.total_seconds())

        answer = await late.finish()
        swept = await here.confiido.chores.expire_holds()

        assert (answer, swept) == ("ok", 0)
        assert (await here.session())["status"] == "confirmed"
        await check_laws(here.confiido)


async def test_money_that_is_applied_after_the_deadline_comes_onto_no_session(world: Builder) -> None:
    here = await world("pending")
    async with processes(here.confiido, "pay") as (late,):
        await late.start(here.do(late.confiido, "pay"))
        here.clock.advance(seconds=LATE.total_seconds())

        answer = await late.finish()
        swept = await here.confiido.chores.expire_holds()

        assert (answer, swept) == ("hold_expired", 1)
        assert (await here.session())["paidAmount"].to_decimal() == 0
        await check_laws(here.confiido)


@pytest.mark.parametrize("action", ["confirm", "pay"])
async def test_what_comes_after_the_hold_was_swept_is_refused(action: str, world: Builder) -> None:
    here = await world("pending")
    async with processes(here.confiido, action) as (late,):
        await late.start(here.do(late.confiido, action))
        here.clock.advance(seconds=LATE.total_seconds())
        second = await outcome(here.book(here.confiido, here.bo, NOON))

        answer = await late.finish()

        assert (answer, second) == ("transition_refused", "ok")
        await check_laws(here.confiido)


@pytest.mark.parametrize("action", ["confirm", "pay"])
async def test_what_is_sent_after_the_deadline_is_refused_though_nothing_swept(action: str, world: Builder) -> None:
    here = await world("lapsed")

    assert await outcome(here.do(here.confiido, action)) == "hold_expired"


@pytest.mark.parametrize("name", REPEATED)
async def test_a_repeat_has_one_effect_wherever_the_first_sleeps(name: str, world: Builder) -> None:
    start, doing = REPEATED[name]
    here = await world(start)
    for stop in range(MOST_COMMANDS):
        await here.again()
        async with processes(here.confiido, "first") as (first,):
            await first.start(_run(doing, here, first.confiido))
            ended = await first.run_to(stop)
            here.clock.advance(seconds=31)

            second = await outcome(_run(doing, here, here.confiido))
            woken = await first.finish()

            told = f"{name} slept after {stop}: {first.trace}; it answered {woken}, its repeat {second}"
            assert "ok" in (second, woken), told
            assert await _effects(here) == 1, told
            here.clock.advance(seconds=61)
            await here.confiido.doctor.repair()
            assert await broken_laws(here.confiido) == [], told
        if ended:
            return
    pytest.fail(f"{name} needs more than {MOST_COMMANDS} commands")


@pytest.mark.parametrize("name", REPEATED)
async def test_a_repeat_after_half_a_minute_does_what_the_first_died_over(name: str, world: Builder) -> None:
    start, doing = REPEATED[name]
    here = await world(start)
    for stop in range(MOST_COMMANDS):
        await here.again()
        async with processes(here.confiido, "first") as (first,):
            await first.start(_run(doing, here, first.confiido))
            ended = await first.run_to(stop)
            await first.die()
            here.clock.advance(seconds=31)

            second = await outcome(_run(doing, here, here.confiido))

            told = f"{name} died after {stop}: {first.trace}; its repeat answered {second}"
            assert second == "ok", told
            assert await _effects(here) == 1, told
            here.clock.advance(seconds=61)
            await here.confiido.doctor.repair()
            assert await broken_laws(here.confiido) == [], told
        if ended:
            return
    pytest.fail(f"{name} needs more than {MOST_COMMANDS} commands")


async def test_a_repeat_after_the_hold_lapsed_gives_the_first_answer(world: Builder) -> None:
    here = await world("nothing")
    first = await here.book(here.confiido, here.ada, NOON, key="one")
    here.clock.advance(seconds=LATE.total_seconds())

    before_the_sweep = await here.book(here.confiido, here.ada, NOON, key="one")
    await here.confiido.chores.expire_holds()
    after_the_sweep = await here.book(here.confiido, here.ada, NOON, key="one")

    assert {first.session_id, before_the_sweep.session_id, after_the_sweep.session_id} == {first.session_id}
    await check_laws(here.confiido)


async def test_a_repeat_after_archiving_gives_the_session(world: Builder) -> None:
    here = await world("paid")
    here.clock.advance(hours=30)
    await here.do(here.confiido, "complete", key="one")
    await here.do(here.confiido, "archive")
    assert await here.sessions() == []

    again = await here.do(here.confiido, "complete", key="one")

    assert isinstance(again, Change)
    assert again.repeated
    assert again.session.status == "completed"


async def _run(doing: Callable[[World, Confiido], Awaitable[object]], world: World, confiido: Confiido) -> object:
    return await doing(world, confiido)


async def _effects(world: World) -> int:
    return sum(entry.get("key") == "one" for session in await world.sessions() for entry in session["history"])
