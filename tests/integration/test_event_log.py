"""Every event comes into the log once, numbered without a gap, whatever dies or sleeps (MONEY, Events)."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from bson import ObjectId

from confiido_booking import Confiido, Invalid, NotAllowed
from confiido_booking.database.store import Document, Store
from confiido_booking.events import outbox
from confiido_booking.events.log import EventLog, in_order
from tests.builders import MONDAY, Clock, a_client, a_service, an_admin, make_expert
from tests.processes import processes

MOST_COMMANDS = 40


async def tell(store: Store, source: ObjectId, *events: Document, collection: str = "bookings") -> list[ObjectId]:
    """Events in the outbox of a document that has nothing else. Their ids."""
    await store.update("tell", collection, {"_id": source}, {"$set": {"clientId": source}}, upsert=True)
    await store.update("tell", collection, {"_id": source}, outbox.pushed(*events))
    return [event["id"] for event in events]


def some_events(count: int, *, minutes: float = 0) -> list[Document]:
    at = MONDAY + timedelta(minutes=minutes)
    return [
        outbox.event("session.updated", at=at + timedelta(seconds=number), actor=an_admin()) for number in range(count)
    ]


async def the_log(confiido: Confiido) -> list[Document]:
    return (await confiido.events.page(actor=an_admin(), limit=500)).events


async def check_log(confiido: Confiido, told: dict[ObjectId, list[ObjectId]]) -> None:
    """Each event that was told is in the log once; the numbers have no gap; each document's are in its order."""
    everything = await confiido.store.find("read", "events", {}, sort=[("seq", 1)])
    log = await the_log(confiido)

    assert sorted(event["_id"] for event in everything) == sorted(id_ for ids in told.values() for id_ in ids)
    assert [event["seq"] for event in log] == list(range(1, len(everything) + 1))
    for source, ids in told.items():
        assert [event["_id"] for event in log if event["source"] == source] == ids


async def test_what_is_told_is_numbered_by_time_across_documents_and_collections(confiido: Confiido) -> None:
    ada, order = ObjectId(), ObjectId()
    first, third = some_events(1), some_events(1, minutes=2)
    [second] = await tell(confiido.store, order, *some_events(1, minutes=1), collection="orders")
    told = await tell(confiido.store, ada, *first, *third)

    numbered = await confiido.events.collect()

    log = await the_log(confiido)
    assert numbered == 3
    assert [event["_id"] for event in log] == [told[0], second, told[1]]
    assert [event["seq"] for event in log] == [1, 2, 3]
    assert "unnumberedSince" not in log[0]
    assert await confiido.events.collect() == 0


async def test_numbers_go_on_where_they_were(confiido: Confiido) -> None:
    told = dict[ObjectId, list[ObjectId]]()
    ada = ObjectId()
    for number in range(1, 4):
        told.setdefault(ada, []).extend(await tell(confiido.store, ada, *some_events(number, minutes=number)))
        bo = ObjectId()
        told[bo] = await tell(confiido.store, bo, *some_events(2, minutes=number))
        assert await confiido.events.collect() == number + 2

    await check_log(confiido, told)


async def test_a_clock_that_is_behind_does_not_change_the_order_in_a_document(confiido: Confiido) -> None:
    ada, bo = ObjectId(), ObjectId()
    told = {ada: await tell(confiido.store, ada, *some_events(1, minutes=5), *some_events(1, minutes=1))}
    told[bo] = await tell(confiido.store, bo, *some_events(1, minutes=3))

    await confiido.events.collect()

    await check_log(confiido, told)
    assert [event["_id"] for event in await the_log(confiido)] == [told[bo][0], *told[ada]]


async def test_what_a_command_delivered_itself_is_numbered_before_what_waits_still(confiido: Confiido) -> None:
    ada = ObjectId()
    told = {ada: await tell(confiido.store, ada, *some_events(3, minutes=9))}
    read = await confiido.store.find_one("read", "bookings", {"_id": ada})
    assert read is not None
    await outbox.deliver(confiido.store, "bookings", read)
    told[ada] += await tell(confiido.store, ada, *some_events(2, minutes=1))

    await confiido.events.collect()

    await check_log(confiido, told)


async def test_an_event_waits_for_the_one_before_it_that_is_not_stored_yet(confiido: Confiido, clock: Clock) -> None:
    ada = ObjectId()
    told = {ada: await tell(confiido.store, ada, *some_events(3))}
    clock.now = MONDAY + timedelta(minutes=1)
    read = await confiido.store.find_one("read", "bookings", {"_id": ada})
    assert read is not None
    await confiido.store.update("hide", "bookings", {"_id": ada}, {"$unset": {"outboxSince": ""}})
    second = {**read["outbox"][1], "_id": told[ada][1], "source": ada, "place": 2, "unnumberedSince": MONDAY}
    await confiido.store.insert("half stored", "events", second)

    early = await confiido.events.collect()
    await outbox.deliver(confiido.store, "bookings", read)
    late = await confiido.events.collect()

    assert (early, late) == (0, 3)
    await check_log(confiido, told)


@pytest.mark.parametrize("start", ["two documents", "a plan whose author died"])
async def test_a_process_that_dies_at_any_command_loses_and_doubles_nothing(
    confiido: Confiido, clock: Clock, start: str
) -> None:
    for stop in range(MOST_COMMANDS):
        told = await _begin(confiido, clock, start)
        async with processes(confiido, "worker") as (worker,):
            await worker.start(worker.confiido.events.collect())
            ended = await worker.run_to(stop)
        told[ObjectId()] = []
        later = next(iter(told))
        told[later] += await tell(confiido.store, later, *some_events(1, minutes=3))
        clock.advance(seconds=31)  # its lease has ended

        await confiido.events.collect()

        await check_log(confiido, told)
        if ended:
            return
    pytest.fail("collecting takes more commands than were tried")


@pytest.mark.parametrize("start", ["two documents", "a plan whose author died"])
async def test_a_process_that_sleeps_over_the_end_of_its_lease_does_no_harm(
    confiido: Confiido, clock: Clock, start: str
) -> None:
    for stop in range(MOST_COMMANDS):
        told = await _begin(confiido, clock, start)
        async with processes(confiido, "sleeper") as (sleeper,):
            await sleeper.start(sleeper.confiido.events.collect())
            ended = await sleeper.run_to(stop)
            clock.advance(seconds=31)
            new = ObjectId()
            told[new] = await tell(confiido.store, new, *some_events(2, minutes=4))
            await confiido.events.collect()
            later = next(iter(told))
            told[later] += await tell(confiido.store, later, *some_events(1, minutes=5))
            await sleeper.finish()
        clock.advance(seconds=31)

        await confiido.events.collect()

        await check_log(confiido, told)
        if ended:
            return
    pytest.fail("collecting takes more commands than were tried")


async def _begin(confiido: Confiido, clock: Clock, start: str) -> dict[ObjectId, list[ObjectId]]:
    clock.now = MONDAY + timedelta(hours=1)
    for name in ("events", "event_log", "bookings"):
        await confiido.store.collection(name).delete_many({})
    ada, bo = ObjectId(), ObjectId()
    told = {
        ada: await tell(confiido.store, ada, *some_events(2, minutes=2), *some_events(1)),
        bo: await tell(confiido.store, bo, *some_events(2, minutes=1)),
    }
    if start == "a plan whose author died":
        async with processes(confiido, "dead") as (dead,):
            await dead.start(dead.confiido.events.collect())
            await dead.run_to_step("number events")
        clock.advance(seconds=31)
        told[ada] += await tell(confiido.store, ada, *some_events(1))
    return told


async def test_several_workers_at_once_number_everything_once(
    confiido: Confiido, clock: Clock, engine_is_embedded: bool
) -> None:
    others = [EventLog(confiido.store, confiido.clock) for _ in range(3)]
    told = dict[ObjectId, list[ObjectId]]()
    for round_ in range(2 if engine_is_embedded else 8):
        for _ in range(3):
            source = ObjectId()
            told[source] = await tell(confiido.store, source, *some_events(4, minutes=round_))
        old = next(iter(told))
        told[old] += await tell(confiido.store, old, *some_events(1, minutes=round_))
        await asyncio.gather(*(log.collect() for log in others))
    clock.advance(seconds=31)

    await confiido.events.collect()

    await check_log(confiido, told)


async def test_a_reader_goes_on_from_its_cursor_and_meets_every_event_once(confiido: Confiido) -> None:
    ada = ObjectId()
    told = await tell(confiido.store, ada, *some_events(7))
    await confiido.events.collect()
    read, cursor = list[ObjectId](), 0

    for _ in range(4):
        page = await confiido.events.page(actor=an_admin(), after=cursor, limit=3)
        read += [event["_id"] for event in page.events]
        cursor = page.next_cursor

    assert read == told
    assert cursor == 7


async def test_a_reader_sees_nothing_after_a_number_that_is_not_there_yet(confiido: Confiido) -> None:
    ada = ObjectId()
    told = await tell(confiido.store, ada, *some_events(4))
    await confiido.events.collect()
    await confiido.store.update("half applied", "events", {"_id": told[1]}, {"$unset": {"seq": ""}})

    page = await confiido.events.page(actor=an_admin())

    assert ([event["_id"] for event in page.events], page.next_cursor) == (told[:1], 1)
    assert (await confiido.events.page(actor=an_admin(), after=1)).events == []


async def test_only_an_administrator_reads_the_log(confiido: Confiido) -> None:
    expert = await make_expert(confiido)
    for actor in (a_client(), a_service(), a_client(id=expert.id)):
        with pytest.raises(NotAllowed):
            await confiido.events.page(actor=actor)


@pytest.mark.parametrize(("after", "limit"), [(-1, 10), (2**53 + 1, 10), (0, 0), (0, 501)])
async def test_a_cursor_or_limit_out_of_range_is_refused(confiido: Confiido, after: int, limit: int) -> None:
    with pytest.raises(Invalid):
        await confiido.events.page(actor=an_admin(), after=after, limit=limit)


async def test_the_worker_collects_what_commands_told(confiido: Confiido, clock: Clock) -> None:
    expert = await make_expert(confiido)
    change = await confiido.bookings.book(
        actor=a_client(), expert=str(expert.id), session_type="video", duration=30, starts_at=MONDAY + timedelta(days=1)
    )
    await confiido.bookings.confirm(change.booking_id, change.session_id, actor=an_admin())

    done = await confiido.chores.once()

    assert done["recorded"] == 2
    assert [event["type"] for event in await the_log(confiido)] == ["session.booked", "session.confirmed"]


def test_the_order_of_a_document_wins_over_its_clocks() -> None:
    early, late = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)
    events = [
        {"_id": "b2", "source": 2, "place": 2, "at": early},
        {"_id": "b1", "source": 2, "place": 1, "at": late},
        {"_id": "a1", "source": 1, "place": 1, "at": early},
    ]

    assert [event["_id"] for event in in_order(events)] == ["a1", "b1", "b2"]
