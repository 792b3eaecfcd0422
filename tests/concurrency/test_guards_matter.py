"""Each guard is there because without it a law breaks (PROTOCOL, to be tested: 4).

One guard at a time is taken out of the filter it stands in; the scenario that needs it then breaks a law, and the law
check of the other tests says so. With the guard in place the same scenarios are sound.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pytest
from bson import ObjectId

from confiido_booking.bookings.archive import Archive
from confiido_booking.database.store import Document, Filter, Store, Update
from tests.concurrency.world import LATER, NOON, OVERLAPPING, Builder, World
from tests.laws.check import broken_laws, check_laws
from tests.processes import outcome, processes

Scenario = Callable[[World], Awaitable[None]]


def drop_guard(monkeypatch: pytest.MonkeyPatch, step: str, condition: str) -> None:
    """The step's filter without that condition, wherever in it it stands."""
    update, find_and_update = Store.update, Store.find_and_update

    async def weak_update(
        self: Store, name: str, collection: str, query: Filter, change: Update, **options: bool
    ) -> bool:
        weak = _without(query, condition) if name == step else query
        return await update(self, name, collection, weak, change, **options)

    async def weak_find_and_update(
        self: Store, name: str, collection: str, query: Filter, change: Update, **options: Any
    ) -> Document | None:
        weak = _without(query, condition) if name == step else query
        return await find_and_update(self, name, collection, weak, change, **options)

    monkeypatch.setattr(Store, "update", weak_update)
    monkeypatch.setattr(Store, "find_and_update", weak_find_and_update)


def _without(part: Any, condition: str) -> Any:
    if isinstance(part, Mapping):
        return {name: _without(value, condition) for name, value in part.items() if name != condition}
    if isinstance(part, list):
        return [_without(value, condition) for value in part]
    return part


async def two_clients_book_one_time(here: World) -> None:
    await here.book(here.confiido, here.ada, NOON)
    await outcome(here.book(here.confiido, here.bo, OVERLAPPING))


async def a_client_books_two_experts(here: World) -> None:
    await here.book(here.confiido, here.ada, NOON)
    await outcome(here.book(here.confiido, here.ada, OVERLAPPING, expert=here.other_expert))


async def a_sleeper_pushes_onto_a_healed_claim(here: World) -> None:
    async with processes(here.confiido, "sleeper") as (sleeper,):
        await sleeper.start(here.book(sleeper.confiido, here.ada, NOON))
        await sleeper.run_to_step("insert service session")
        here.clock.advance(seconds=31)
        await here.book(here.confiido, here.bo, OVERLAPPING)
        await sleeper.finish()


async def a_push_comes_between_the_read_and_the_fence(here: World) -> None:
    async with processes(here.confiido, "sleeper", "healer") as (sleeper, healer):
        await sleeper.start(here.book(sleeper.confiido, here.ada, NOON))
        await sleeper.run_to_step("insert service session")
        here.clock.advance(seconds=31)
        await healer.start(here.book(healer.confiido, here.bo, OVERLAPPING))
        await healer.run_to_step("fence")
        await sleeper.finish()
        await healer.finish()


async def one_key_books_again_after_a_cancel(here: World) -> None:
    first = await here.book(here.confiido, here.ada, NOON, key="one")
    await here.confiido.bookings.cancel(first.document["_id"], first.session_id, actor=here.admin)
    await outcome(here.book(here.confiido, here.ada, NOON, key="one"))


async def a_cancelled_session_is_completed(here: World) -> None:
    await here.do(here.confiido, "cancel")
    await outcome(here.do(here.confiido, "complete"))


async def a_lapsed_hold_is_confirmed(here: World) -> None:
    await outcome(here.do(here.confiido, "confirm"))


async def two_moves_from_one_version(here: World) -> None:
    async with processes(here.confiido, "first", "second") as (first, second):
        await first.start(here.move(first.confiido, NOON + timedelta(hours=4)))
        await second.start(here.move(second.confiido, LATER))
        await first.run_to_step("reschedule")
        await second.run_to_step("reschedule")
        await second.finish()
        await first.finish()


async def a_new_quote_comes_before_the_accept(here: World) -> None:
    async with processes(here.confiido, "client") as (client,):
        await client.start(here.do(client.confiido, "accept"))
        await client.run_to_step("accept")
        await here.do(here.confiido, "quote")
        await client.finish()


async def a_declined_request_is_booked(here: World) -> None:
    async with processes(here.confiido, "admin") as (admin,):
        await admin.start(here.do(admin.confiido, "book"))
        await admin.run_to_step("book")
        await here.do(here.confiido, "decline")
        await admin.finish()


async def a_client_accepts_while_busy(here: World) -> None:
    await here.book(here.confiido, here.ada, OVERLAPPING, expert=here.other_expert)
    await outcome(here.do(here.confiido, "accept"))


async def a_sleeper_accepts_on_a_healed_claim(here: World) -> None:
    async with processes(here.confiido, "sleeper") as (sleeper,):
        await sleeper.start(here.do(sleeper.confiido, "accept"))
        await sleeper.run_to_step("accept")
        here.clock.advance(seconds=31)
        await here.book(here.confiido, here.bo, OVERLAPPING)
        await sleeper.finish()


async def a_confirm_sleeps_before_its_service_session(here: World) -> None:
    async with processes(here.confiido, "confirmer") as (confirmer,):
        await confirmer.start(here.do(confirmer.confiido, "confirm"))
        await confirmer.run_to_step("project")
        await here.do(here.confiido, "cancel")
        await confirmer.finish()


async def an_undo_between_copy_and_pull(here: World) -> None:
    async with processes(here.confiido, "archiver") as (archiver,):
        await archiver.start(here.do(archiver.confiido, "archive"))
        await archiver.run_to(3)
        assert archiver.trace[-1] == "archive copy"
        await here.do(here.confiido, "undo")
        await archiver.finish()


@dataclass(frozen=True)
class Guard:
    """A condition of a step's filter, and what needs it: where it begins, what happens, the law that then breaks."""

    step: str
    condition: str
    start: str
    scenario: Scenario
    law: str


GUARDS = {
    "the claim's overlap": Guard("claim", "busy", "nothing", two_clients_book_one_time, "L3"),
    "the push's overlap": Guard("push", "$nor", "nothing", a_client_books_two_experts, "L4"),
    "the push's fence": Guard(
        "push", "abandonedClaims", "an empty booking", a_sleeper_pushes_onto_a_healed_claim, "L3"
    ),
    "the push's key": Guard("push", "sessions.requestKey", "nothing", one_key_books_again_after_a_cancel, "L9"),
    "the status": Guard("complete", "status", "confirmed", a_cancelled_session_is_completed, "L6"),
    "the hold": Guard("confirm", "timeoutAt", "lapsed", a_lapsed_hold_is_confirmed, "L6"),
    "the move's version": Guard("reschedule", "version", "confirmed", two_moves_from_one_version, "L8"),
    "the accept's overlap": Guard("accept", "$and", "quoted", a_client_accepts_while_busy, "L4"),
    "the accept's fence": Guard("accept", "abandonedClaims", "quoted", a_sleeper_accepts_on_a_healed_claim, "L3"),
    "the service session's rev": Guard("project", "rev", "pending", a_confirm_sleeps_before_its_service_session, "L3"),
    "the fence's standing session": Guard(
        "fence", "sessions", "an empty booking", a_push_comes_between_the_read_and_the_fence, "L3"
    ),
}


@pytest.mark.parametrize("name", GUARDS)
async def test_without_this_guard_a_law_breaks(name: str, world: Builder, monkeypatch: pytest.MonkeyPatch) -> None:
    guard = GUARDS[name]
    here = await world(guard.start)
    drop_guard(monkeypatch, guard.step, guard.condition)

    await guard.scenario(here)

    assert any(sentence.startswith(guard.law) for sentence in await broken_laws(here.confiido))


async def test_without_its_version_an_accept_takes_another_quote_than_it_was_read_with(
    world: Builder, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = await world("quoted")
    drop_guard(monkeypatch, "accept", "version")

    await a_new_quote_comes_before_the_accept(here)

    session = await here.session()
    assert (session["status"], len(session["quotes"])) == ("pending", 2)


async def test_without_its_status_and_version_a_declined_request_is_booked(
    world: Builder, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = await world("asked")
    drop_guard(monkeypatch, "book", "version")
    drop_guard(monkeypatch, "book", "status")

    await a_declined_request_is_booked(here)

    assert any(sentence.startswith("L6") for sentence in await broken_laws(here.confiido))


async def test_with_them_a_new_quote_or_a_decline_is_what_stands(world: Builder) -> None:
    quoted = await world("quoted")
    await a_new_quote_comes_before_the_accept(quoted)
    assert ((await quoted.session())["status"], await quoted.claims()) == ("quoted", [])

    asked = await world("asked")
    await a_declined_request_is_booked(asked)
    assert ((await asked.session())["status"], await asked.claims()) == ("cancelled", [])
    await check_laws(asked.confiido)


@pytest.mark.parametrize("name", GUARDS)
async def test_with_every_guard_the_same_scenario_is_sound(name: str, world: Builder) -> None:
    guard = GUARDS[name]
    here = await world(guard.start)

    await guard.scenario(here)

    broken = await broken_laws(here.confiido, settled=guard.start != "lapsed")
    assert broken == []


async def test_without_the_archive_s_version_an_undo_is_lost(world: Builder, monkeypatch: pytest.MonkeyPatch) -> None:
    here = await world("old")
    pull = Archive._pull

    async def pull_whatever_is_there(
        self: Archive, client_id: ObjectId, sessions: Sequence[Document], now: datetime
    ) -> int:
        booking = await self.store.find_one("read booking", "bookings", {"clientId": client_id})
        return await pull(self, client_id, (booking or {})["sessions"], now)

    monkeypatch.setattr(Archive, "_pull", pull_whatever_is_there)

    await an_undo_between_copy_and_pull(here)

    assert await broken_laws(here.confiido) != []


async def test_the_naive_way_double_books(world: Builder) -> None:
    """Control: look whether the time is free, then save. It is what the claim's guard is for."""
    here = await world("nothing")
    calendars = here.confiido.store.collection("calendars")

    async def book_naively() -> bool:
        calendar = await calendars.find_one({"_id": here.expert.id})
        assert calendar is not None
        if any(busy["from"] < OVERLAPPING and busy["until"] > NOON for busy in calendar["busy"]):
            return False
        await asyncio.sleep(0.05)
        mine = {"claimId": ObjectId(), "owner": "block", "from": NOON, "until": OVERLAPPING, "claimedAt": here.clock()}
        await calendars.update_one({"_id": here.expert.id}, {"$push": {"busy": mine}})
        return True

    booked = await asyncio.gather(*(book_naively() for _ in range(10)))

    assert sum(booked) > 1
    assert any(sentence.startswith("L3") for sentence in await broken_laws(here.confiido))
