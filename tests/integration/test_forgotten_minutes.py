"""Minutes that the calendar has dropped are still taken, and a clock that runs ahead drops none that live (L3)."""

import asyncio
from datetime import datetime, timedelta

import pytest

from confiido_booking import Actor, Confiido, Expert
from confiido_booking.bookings.views import Change, ClientRef
from confiido_booking.calendar.service import Calendars
from confiido_booking.database.store import Store
from confiido_booking.errors import SlotTaken
from tests.builders import MONDAY, Clock, a_client, an_admin, an_expert, make_expert

NOON = MONDAY + timedelta(hours=3)


async def book(confiido: Confiido, client: Actor, expert: Expert, starts_at: datetime) -> Change:
    return await confiido.bookings.book(
        actor=client, expert=expert.id or "", session_type="video", duration=30, starts_at=starts_at
    )


async def book_for(confiido: Confiido, client: Actor, expert: Expert, starts_at: datetime) -> Change:
    """As an admin, so that the session is confirmed and may have begun."""
    assert client.id is not None
    return await confiido.bookings.book(
        actor=an_admin(),
        client=ClientRef(client_id=client.id),
        expert=expert.id or "",
        session_type="video",
        duration=30,
        starts_at=starts_at,
    )


async def forget(store: Store) -> None:
    """Every calendar has dropped what it held."""
    await store.collection("calendars").update_many({}, {"$set": {"busy": []}})


async def test_a_start_just_past_is_refused_over_a_session_the_calendar_has_forgotten(
    confiido: Confiido, store: Store, clock: Clock
) -> None:
    grace = await make_expert(confiido)
    await book_for(confiido, a_client(), grace, NOON)
    clock.now = NOON + timedelta(minutes=20)
    await forget(store)

    with pytest.raises(SlotTaken):
        await book_for(confiido, a_client(), grace, NOON + timedelta(minutes=15))

    calendar = await store.find_one("read", "calendars", {"_id": grace.id})
    assert calendar is not None
    assert calendar["busy"] == []


async def test_past_minutes_claimed_just_now_stay_claimed_whoever_tidies_up(
    confiido: Confiido, store: Store, clock: Clock
) -> None:
    grace = await make_expert(confiido)
    clock.now = NOON + timedelta(hours=2)
    refused = []

    async def others_come(step: str) -> None:
        if step == "insert service session":
            store.hook = None
            await book_for(confiido, a_client(), grace, NOON - timedelta(hours=1))
            await confiido.calendar.block(an_expert(grace), NOON + timedelta(hours=5), NOON + timedelta(hours=6))
            with pytest.raises(SlotTaken) as error:
                await book_for(confiido, a_client(), grace, NOON)
            refused.append(error.value.code)

    store.hook = others_come
    await book_for(confiido, a_client(), grace, NOON)

    assert refused == ["slot_taken"]


async def test_of_three_who_book_one_past_time_at_once_one_wins(confiido: Confiido, clock: Clock) -> None:
    grace = await make_expert(confiido)
    clock.now = NOON + timedelta(hours=2)

    outcomes = await asyncio.gather(
        *(book_for(confiido, a_client(), grace, NOON) for _ in range(3)), return_exceptions=True
    )

    refused = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    assert [type(each) for each in refused] == [SlotTaken] * 2


async def test_the_buffer_after_a_forgotten_session_is_still_taken(
    confiido: Confiido, store: Store, clock: Clock
) -> None:
    grace = await make_expert(confiido, buffer_after=15)
    await book_for(confiido, a_client(), grace, NOON)
    clock.now = NOON + timedelta(hours=2)
    await forget(store)

    with pytest.raises(SlotTaken):
        await book_for(confiido, a_client(), grace, NOON + timedelta(minutes=40))
    free = await book_for(confiido, a_client(), grace, NOON + timedelta(minutes=45))

    assert free.session.starts_at == NOON + timedelta(minutes=45)


async def test_a_client_cannot_book_so_soon_that_the_buffer_reaches_back_into_a_session(
    confiido: Confiido, store: Store, clock: Clock
) -> None:
    grace = await make_expert(confiido, buffer_before=10)
    await book_for(confiido, a_client(), grace, NOON)
    clock.now = NOON + timedelta(minutes=31)
    await forget(store)

    with pytest.raises(SlotTaken):
        await book(confiido, a_client(), grace, NOON + timedelta(minutes=35))


async def test_a_claimer_whose_clock_is_ahead_drops_nothing_that_lives(
    confiido: Confiido, store: Store, clock: Clock
) -> None:
    grace = await make_expert(confiido)
    await book_for(confiido, a_client(), grace, NOON)
    clock.now = NOON + timedelta(minutes=27)
    ahead = Confiido.over(store, confiido.settings, lambda: clock.now + timedelta(minutes=5))

    await book(ahead, a_client(), grace, NOON + timedelta(hours=2))

    calendar = await store.find_one("read", "calendars", {"_id": grace.id})
    assert calendar is not None
    assert NOON in [busy["from"] for busy in calendar["busy"]]


async def test_who_blocks_time_with_a_clock_ahead_drops_nothing_that_lives(
    confiido: Confiido, store: Store, clock: Clock
) -> None:
    grace = await make_expert(confiido)
    await book_for(confiido, a_client(), grace, NOON)
    clock.now = NOON + timedelta(minutes=27)
    ahead = Calendars(store, lambda: clock.now + timedelta(minutes=5), confiido.experts)

    await ahead.block(an_expert(grace), NOON + timedelta(hours=2), NOON + timedelta(hours=3))

    calendar = await store.find_one("read", "calendars", {"_id": grace.id})
    assert calendar is not None
    assert NOON in [busy["from"] for busy in calendar["busy"]]
