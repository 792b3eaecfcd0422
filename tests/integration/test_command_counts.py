"""SPEC 11: how many database commands an operation sends, and how many of them wait for one another. Never times."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from bson import ObjectId

from confiido_booking import Actor, Confiido, Expert
from confiido_booking.bookings.views import Change
from confiido_booking.database.store import Store
from tests.builders import Clock, a_client, an_admin, an_expert, make_expert


@dataclass
class Trips:
    """The steps in the order they began, and which of them waited for the one before to end."""

    steps: list[str] = field(default_factory=list)
    sequential: int = 0


@asynccontextmanager
async def trips(store: Store) -> AsyncIterator[Trips]:
    """Every command waits a moment before it is sent, so that those which are not in sequence are seen together."""
    seen, waiting = Trips(), 0
    before = store.commands

    async def hook(step: str) -> None:
        nonlocal waiting
        seen.steps.append(step)
        if waiting == 0:
            seen.sequential += 1
        waiting += 1
        await asyncio.sleep(0.01)
        waiting -= 1

    store.hook = hook
    yield seen
    store.hook = None
    assert store.commands - before == len(seen.steps)


@pytest.fixture
async def expert(confiido: Confiido) -> Expert:
    return await make_expert(confiido)


async def book(confiido: Confiido, expert: Expert, client: Actor, clock: Clock, *, hours: float = 24) -> Change:
    assert expert.id is not None
    return await confiido.bookings.book(
        actor=client, expert=expert.id, session_type="video", duration=30, starts_at=clock.now + timedelta(hours=hours)
    )


async def test_a_booking_takes_four_commands_in_three_round_trips_once_the_document_exists(
    confiido: Confiido, expert: Expert, clock: Clock
) -> None:
    client = a_client()
    await book(confiido, expert, client, clock)

    async with trips(confiido.store) as seen:
        await book(confiido, expert, client, clock, hours=30)

    assert sorted(seen.steps) == ["claim", "insert service session", "push", "read expert"]
    assert seen.sequential == 3


Decide = Callable[[Confiido, ObjectId, ObjectId, Expert], Awaitable[Change]]


async def confirm(confiido: Confiido, booking: ObjectId, session: ObjectId, expert: Expert) -> Change:
    return await confiido.bookings.confirm(booking, session, actor=an_admin())


async def complete(confiido: Confiido, booking: ObjectId, session: ObjectId, expert: Expert) -> Change:
    return await confiido.bookings.complete(booking, session, actor=an_admin())


async def no_show(confiido: Confiido, booking: ObjectId, session: ObjectId, expert: Expert) -> Change:
    return await confiido.bookings.no_show(booking, session, actor=an_admin())


@pytest.mark.parametrize(("decide", "step"), [(complete, "complete"), (no_show, "no-show")])
async def test_what_ends_a_session_is_decided_by_one_command_and_told_to_its_service_session(
    confiido: Confiido, expert: Expert, clock: Clock, decide: Decide, step: str
) -> None:
    change = await book(confiido, expert, a_client(), clock)
    await confirm(confiido, change.document["_id"], change.session_id, expert)
    clock.advance(hours=25)

    async with trips(confiido.store) as seen:
        await decide(confiido, change.document["_id"], change.session_id, expert)

    assert seen.steps == [step, "project"]


async def test_a_confirmation_is_decided_by_one_command(confiido: Confiido, expert: Expert, clock: Clock) -> None:
    change = await book(confiido, expert, a_client(), clock)

    async with trips(confiido.store) as seen:
        await confirm(confiido, change.document["_id"], change.session_id, expert)

    assert seen.steps == ["confirm", "project"]


@pytest.mark.parametrize("by", ["client", "expert", "admin"])
async def test_a_cancellation_is_decided_by_one_command_and_then_frees_the_minutes(
    confiido: Confiido, expert: Expert, clock: Clock, by: str
) -> None:
    client = a_client()
    actors = {"client": client, "expert": await confiido.experts.identify(an_expert(expert)), "admin": an_admin()}
    change = await book(confiido, expert, client, clock)

    async with trips(confiido.store) as seen:
        await confiido.bookings.cancel(change.document["_id"], change.session_id, actor=actors[by])

    assert seen.steps == ["cancel", "project", "release"]


async def test_an_expert_is_looked_up_once_in_half_a_minute(confiido: Confiido, expert: Expert, clock: Clock) -> None:
    changes = [await book(confiido, expert, a_client(), clock, hours=hours) for hours in (24, 25)]

    async with trips(confiido.store) as seen:
        for change in changes:
            await confiido.bookings.confirm(change.document["_id"], change.session_id, actor=an_expert(expert))

    assert seen.steps == ["read expert", "confirm", "project", "confirm", "project"]


async def test_a_list_takes_four_commands_however_many_sessions_are_on_the_page(
    confiido: Confiido, expert: Expert, clock: Clock
) -> None:
    client = a_client()
    for hours in range(24, 28):
        await book(confiido, expert, client, clock, hours=hours)

    async with trips(confiido.store) as seen:
        page = await confiido.bookings.list(actor=client)

    assert len(page.sessions) == 4
    assert sorted(seen.steps) == ["count sessions", "list sessions", "read lapsed holds", "read sessions"]
    assert seen.sequential <= 2
