"""Places under load and under crashes: L5 and L8 of public service sessions (PROTOCOL, SEAT and WORKSHOP; issue 7).

A process stops after each of its database commands in turn; another command runs, a minute passes, the doctor comes,
the process wakes and goes on. The laws hold at every one of these moments.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pytest
from bson import ObjectId

from confiido_booking import Actor, Confiido, Expert
from confiido_booking.bookings.guards import Command
from confiido_booking.bookings.statuses import SessionStatus
from confiido_booking.bookings.views import Change, ClientRef, View
from confiido_booking.calendar.seats import Place
from confiido_booking.catalog.models import Service
from confiido_booking.catalog.service import ServiceInput
from confiido_booking.database.store import Document, Store
from confiido_booking.ids import new_claim_id
from confiido_booking.workshops import seating
from confiido_booking.workshops.seating import Sale
from tests.builders import MONDAY, Clock, a_client, an_admin, an_expert, make_expert
from tests.concurrency.test_guards_matter import drop_guard
from tests.laws.check import broken_laws, check_laws
from tests.processes import Process, Snapshot, outcome, processes

SIX = MONDAY + timedelta(days=1, hours=9)
LATER = SIX + timedelta(hours=3)
MOST_COMMANDS = 40


@dataclass
class Studio:
    """A workshop with a few places; ``seats`` of them are Ada's and Bo's, unpaid."""

    confiido: Confiido
    clock: Clock
    grace: Expert
    service: Service
    event: Document
    ada: Actor
    bo: Actor
    seats: list[Change]

    async def take(self, confiido: Confiido, client: Actor | None = None, *, key: str | None = None) -> Change:
        return await confiido.workshops.take_seat(self.event["_id"], actor=client or a_client(), request_key=key)

    async def cancel_seat(self, confiido: Confiido, *, key: str | None = None) -> Change:
        seat = self.seats[0]
        return await confiido.bookings.cancel(seat.booking_id, seat.session_id, actor=an_admin(), request_key=key)

    async def confirm_seat(self, confiido: Confiido, *, key: str | None = None) -> Change:
        seat = self.seats[0]
        return await confiido.bookings.confirm(seat.booking_id, seat.session_id, actor=an_admin(), request_key=key)

    async def move(self, confiido: Confiido, starts_at: datetime = LATER, *, key: str | None = None) -> object:
        return await confiido.workshops.edit(self.event["_id"], actor=an_admin(), starts_at=starts_at, request_key=key)

    async def cancel(self, confiido: Confiido, *, key: str | None = None) -> object:
        return await confiido.workshops.cancel(self.event["_id"], actor=an_admin(), request_key=key)

    async def resize(self, confiido: Confiido, places: int) -> object:
        return await confiido.workshops.edit(self.event["_id"], actor=an_admin(), max_participants=places)

    async def make(self, confiido: Confiido, *days: int, key: str | None = None) -> object:
        times = [SIX + timedelta(days=day) for day in days]
        return await confiido.workshops.create(
            self.service.id or ObjectId(), actor=an_admin(), times=times, request_key=key
        )

    async def book(self, confiido: Confiido, starts_at: datetime, client: Actor | None = None) -> Change:
        return await confiido.bookings.book(
            actor=client or a_client(),
            expert=self.grace.id or "",
            session_type="video",
            duration=30,
            starts_at=starts_at,
        )

    async def stored(self) -> Document:
        found = await self.confiido.store.find_one("read", "service_sessions", {"_id": self.event["_id"]})
        assert found is not None
        return found


async def open_studio(confiido: Confiido, clock: Clock, *, places: int = 3, taken: int = 2) -> Studio:
    grace = await make_expert(confiido)
    wanted = ServiceInput(service_type="workshop", name="Yoga", price_cents=50000, duration=60)  # type: ignore[arg-type]
    service = await confiido.catalog.create(actor=an_expert(grace), service=wanted)
    (made,) = await confiido.workshops.create(
        service.id or ObjectId(), actor=an_admin(), starts_at=SIX, max_participants=places
    )
    ada, bo = a_client(), a_client(email="bo@example.org", name="Bo")
    studio = Studio(confiido, clock, grace, service, made.document, ada, bo, [])
    for client in (ada, bo)[:taken]:
        studio.seats.append(await studio.take(confiido, client))
    clock.advance(minutes=1)
    return studio


async def codes(*commands: Awaitable[object]) -> list[str]:
    return await asyncio.gather(*(outcome(_as_coroutine(command)) for command in commands))


async def _as_coroutine(command: Awaitable[object]) -> object:
    return await command


async def test_fifty_want_the_last_place_and_one_gets_it(
    confiido: Confiido, clock: Clock, engine_is_embedded: bool
) -> None:
    studio = await open_studio(confiido, clock, places=1, taken=0)
    many = 15 if engine_is_embedded else 50

    answers = await codes(*(studio.take(confiido) for _ in range(many)))

    assert sorted(set(answers)) == ["event_full", "ok"]
    assert answers.count("ok") == 1
    assert (await studio.stored())["currentParticipants"] == 1
    await check_laws(confiido)


async def test_two_hundred_want_twenty_five_places(confiido: Confiido, clock: Clock, engine_is_embedded: bool) -> None:
    many, places = (30, 5) if engine_is_embedded else (200, 25)
    studio = await open_studio(confiido, clock, places=places, taken=0)
    turn = asyncio.Semaphore(40)

    async def take() -> object:
        async with turn:
            return await studio.take(confiido)

    answers = await codes(*(take() for _ in range(many)))

    assert answers.count("ok") == places
    assert set(answers) == {"ok", "event_full"}
    assert len((await studio.stored())["seats"]) == places
    await check_laws(confiido)


async def test_a_client_who_asks_ten_times_at_once_has_one_place(confiido: Confiido, clock: Clock) -> None:
    studio = await open_studio(confiido, clock, places=10, taken=0)

    answers = await codes(*(studio.take(confiido, studio.ada) for _ in range(10)))

    assert answers.count("ok") == 1
    assert set(answers) <= {"ok", "already_enrolled", "client_busy"}
    assert len((await studio.stored())["seats"]) == 1
    await check_laws(confiido)


async def test_one_key_at_once_is_one_place(confiido: Confiido, clock: Clock) -> None:
    studio = await open_studio(confiido, clock, places=10, taken=0)

    answers = await codes(*(studio.take(confiido, studio.ada, key="one") for _ in range(5)))

    assert answers.count("ok") >= 1
    assert len((await studio.stored())["seats"]) == 1
    await check_laws(confiido)


async def test_cancelling_and_taking_at_once_leaves_every_place_sold_once(
    confiido: Confiido, clock: Clock, engine_is_embedded: bool
) -> None:
    studio = await open_studio(confiido, clock, places=2)

    for _ in range(2 if engine_is_embedded else 10):
        answers = await codes(studio.cancel_seat(confiido), *(studio.take(confiido) for _ in range(4)))
        assert answers.count("ok") <= 2
        event = await studio.stored()
        assert event["currentParticipants"] == len(event["seats"]) <= 2
    await check_laws(confiido)


async def test_capacity_changes_while_places_are_taken(
    confiido: Confiido, clock: Clock, engine_is_embedded: bool
) -> None:
    studio = await open_studio(confiido, clock, places=4, taken=0)
    sizes = [1, 6, 2, 8, 3] if engine_is_embedded else [1, 6, 2, 8, 3, 10, 4, 12]

    await codes(
        *(studio.take(confiido) for _ in range(3 * len(sizes))), *(studio.resize(confiido, size) for size in sizes)
    )

    event = await studio.stored()
    assert event["maxParticipants"] in [4, *sizes]
    assert event["currentParticipants"] == len(event["seats"]) <= event["maxParticipants"]
    await check_laws(confiido)


async def test_takers_meet_a_move_and_a_cancellation(
    confiido: Confiido, clock: Clock, engine_is_embedded: bool
) -> None:
    for command in ("move", "cancel"):
        studio = await open_studio(confiido, clock, places=20, taken=2)
        many = 4 if engine_is_embedded else 15
        doing = getattr(studio, command)(confiido)

        answers = await codes(doing, *(studio.take(confiido) for _ in range(many)))

        assert answers[0] == "ok"
        clock.advance(seconds=61)
        await confiido.doctor.repair()
        assert await broken_laws(confiido) == [], (command, answers)


async def test_two_commands_for_the_same_minutes_make_one_set_of_events(confiido: Confiido, clock: Clock) -> None:
    studio = await open_studio(confiido, clock, taken=0)

    answers = await codes(studio.make(confiido, 1, 2, 3), studio.make(confiido, 3, 4), studio.book(confiido, LATER))

    assert sorted(answers[:2]) == ["ok", "slot_taken"]
    assert await confiido.store.count("count", "service_sessions", {"visibility": "public"}) in (3, 4)
    await check_laws(confiido)


async def test_the_naive_way_oversells(confiido: Confiido, clock: Clock) -> None:
    """Control: look whether there is room, then write. It is what the seat's guard is for."""
    studio = await open_studio(confiido, clock, places=1, taken=0)
    events = confiido.store.collection("service_sessions")

    async def take_naively() -> bool:
        event = await events.find_one({"_id": studio.event["_id"]})
        assert event is not None
        if event["currentParticipants"] >= event["maxParticipants"]:
            return False
        await asyncio.sleep(0.05)
        seat = {"claimId": ObjectId(), "clientId": ObjectId(), "sessionId": ObjectId()}
        change: dict[str, Any] = {"$push": {"seats": seat}, "$inc": {"currentParticipants": 1}}
        await events.update_one({"_id": studio.event["_id"]}, change)
        return True

    taken = await asyncio.gather(*(take_naively() for _ in range(10)))

    assert sum(taken) > 1
    assert any(sentence.startswith("L5") for sentence in await broken_laws(confiido))


Doing = Callable[[Studio, Confiido, str], Awaitable[object]]
COMMANDS: dict[str, Doing] = {
    "take": lambda s, c, key: s.take(c, key=key),
    "take over a lapsed seat": lambda s, c, key: s.take(c, key=key),
    "cancel a seat": lambda s, c, key: s.cancel_seat(c, key=key),
    "confirm a seat": lambda s, c, key: s.confirm_seat(c, key=key),
    "move": lambda s, c, key: s.move(c, key=key),
    "cancel": lambda s, c, key: s.cancel(c, key=key),
    "make three": lambda s, c, key: s.make(c, 1, 2, 3, key=key),
}
RIVALS: dict[str, Callable[[Studio], Awaitable[object]]] = {
    "nobody": lambda s: asyncio.sleep(0),
    "another takes a place": lambda s: s.take(s.confiido),
    "the event moves": lambda s: s.move(s.confiido, LATER + timedelta(hours=3)),
    "the event is cancelled": lambda s: s.cancel(s.confiido),
    "a seat is cancelled": lambda s: s.cancel_seat(s.confiido),
    "somebody books the later time": lambda s: s.book(s.confiido, LATER),
    "another makes two events": lambda s: s.make(s.confiido, 3, 4),
}


@pytest.mark.parametrize("name", COMMANDS)
async def test_a_command_stopped_anywhere_leaves_the_laws_whole(
    name: str, confiido: Confiido, clock: Clock, engine_is_embedded: bool
) -> None:
    studio = await open_studio(confiido, clock, places=2 if "lapsed" in name else 3)
    if "lapsed" in name:
        clock.advance(minutes=31)
    begins, now = await Snapshot.take(confiido), clock.now
    rivals = list(RIVALS)

    for stop in range(MOST_COMMANDS):
        for rival in [rivals[stop % len(rivals)]] if engine_is_embedded else rivals[stop % 2 :: 2]:
            await begins.restore(confiido)
            clock.now = now
            async with processes(confiido, name) as (process,):
                await process.start(_as_coroutine(COMMANDS[name](studio, process.confiido, "the first")))
                ended = await process.run_to(stop)
                await _meet(studio, process, rival)
        if ended:
            return
    pytest.fail(f"{name} needs more than {MOST_COMMANDS} commands")


async def _meet(studio: Studio, process: Process, rival: str) -> None:
    confiido, moment = studio.confiido, f"{process.name} stopped after {process.trace}, {rival}"
    await outcome(_as_coroutine(RIVALS[rival](studio)))
    assert await broken_laws(confiido, settled=False) == [], moment
    studio.clock.advance(seconds=61)

    report = await confiido.doctor.repair()

    assert await broken_laws(confiido) == [], f"{moment}, then the doctor"
    assert list(report.findings) == [], f"{moment}, then the doctor"
    await process.finish()
    assert await broken_laws(confiido, settled=False) == [], f"{moment}, then woke and did {process.trace}"
    studio.clock.advance(seconds=61)
    await confiido.doctor.repair()
    assert await broken_laws(confiido) == [], f"{moment}, then woke, did {process.trace}, then the doctor"


async def test_all_of_a_killed_commands_events_are_made_or_none(confiido: Confiido, clock: Clock) -> None:
    studio = await open_studio(confiido, clock, taken=0)
    begins = await Snapshot.take(confiido)
    counts = set()

    for stop in range(MOST_COMMANDS):
        await begins.restore(confiido)
        async with processes(confiido, "maker") as (maker,):
            await maker.start(_as_coroutine(studio.make(maker.confiido, 1, 2, 3)))
            ended = await maker.run_to(stop)
        clock.advance(seconds=61)
        await confiido.doctor.repair()
        counts.add(await confiido.store.count("count", "service_sessions", {"visibility": "public"}))
        if ended:
            break

    assert counts == {1, 4}


async def test_a_taker_who_wakes_after_its_place_was_healed_gets_another_or_none(
    confiido: Confiido, clock: Clock
) -> None:
    studio = await open_studio(confiido, clock, places=1, taken=0)

    async with processes(confiido, "sleeper") as (sleeper,):
        await sleeper.start(_as_coroutine(studio.take(sleeper.confiido, studio.ada)))
        await sleeper.run_to_step("push")
        clock.advance(seconds=31)
        second = await outcome(_as_coroutine(studio.take(confiido, studio.bo)))
        woken = await sleeper.finish()

    assert (second, woken) == ("ok", "event_full")
    await check_laws(confiido)


async def test_a_taker_who_sleeps_while_the_event_is_cancelled_gets_nothing(confiido: Confiido, clock: Clock) -> None:
    studio = await open_studio(confiido, clock, taken=0)

    async with processes(confiido, "sleeper") as (sleeper,):
        await sleeper.start(_as_coroutine(studio.take(sleeper.confiido, studio.ada)))
        await sleeper.run_to_step("push")
        await studio.cancel(confiido)
        woken = await sleeper.finish()

    assert woken == "transition_refused"
    await check_laws(confiido)


async def test_a_taker_who_sleeps_while_the_event_moves_comes_at_the_new_time(confiido: Confiido, clock: Clock) -> None:
    studio = await open_studio(confiido, clock, taken=0)

    async with processes(confiido, "sleeper") as (sleeper,):
        await sleeper.start(_as_coroutine(studio.take(sleeper.confiido, studio.ada)))
        await sleeper.run_to_step("push")
        await studio.move(confiido)
        woken = await sleeper.finish()
        taken = sleeper.result.session

    assert (woken, taken.starts_at) == ("ok", LATER)
    await check_laws(confiido)


async def test_a_mover_who_sleeps_does_not_undo_a_later_move(confiido: Confiido, clock: Clock) -> None:
    studio = await open_studio(confiido, clock)

    async with processes(confiido, "sleeper") as (sleeper,):
        await sleeper.start(_as_coroutine(studio.move(sleeper.confiido)))
        await sleeper.run_to_step("reschedule")
        await studio.move(confiido, LATER + timedelta(hours=3))
        await sleeper.finish()

    sessions = [(await confiido.bookings.find_session(s.session_id, actor=an_admin())).session for s in studio.seats]
    assert {session.starts_at for session in sessions} == {LATER + timedelta(hours=3)}
    await check_laws(confiido)


async def test_without_the_fence_a_sleeper_stands_on_a_place_that_is_sold(
    confiido: Confiido, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    studio = await open_studio(confiido, clock, places=1, taken=0)
    drop_guard(monkeypatch, "push", "abandonedClaims")

    async with processes(confiido, "sleeper") as (sleeper,):
        await sleeper.start(_as_coroutine(studio.take(sleeper.confiido, studio.ada)))
        await sleeper.run_to_step("push")
        clock.advance(seconds=31)
        await studio.take(confiido, studio.bo)
        await sleeper.finish()

    assert any(sentence.startswith("L5") for sentence in await broken_laws(confiido))


@pytest.mark.parametrize("guard", ["$expr", "seats.clientId"])
async def test_without_a_guard_of_the_seat_a_law_breaks(
    guard: str, confiido: Confiido, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    studio = await open_studio(confiido, clock, places=1 if guard == "$expr" else 3, taken=0)
    drop_guard(monkeypatch, "take seat", guard)
    store = confiido.store

    for client in (studio.ada, studio.bo if guard == "$expr" else studio.ada):
        place = _place(studio, client)
        await seating.take_places(confiido.bookings.context, [place], actor=client)

    assert any(sentence.startswith("L5") for sentence in await broken_laws(confiido))
    assert isinstance(store, Store)


def _place(studio: Studio, client: Actor, event_id: ObjectId | None = None) -> Place:
    return Place(
        event_id=event_id or studio.event["_id"],
        claim_id=new_claim_id(studio.clock()),
        client_id=client.id or ObjectId(),
        session_id=ObjectId(),
        claimed_at=studio.clock(),
    )


async def test_two_who_want_the_last_places_of_a_course_do_not_refuse_each_other(
    confiido: Confiido, clock: Clock, engine_is_embedded: bool
) -> None:
    """MONEY, orders: places in ascending order, then one push of all sessions."""
    for _ in range(1 if engine_is_embedded else 5):
        studio = await open_studio(confiido, clock, taken=0)
        ids = await _course(studio)

        answers = await codes(*(_enrol(studio, confiido, ids, order) for order in (1, -1)))

        assert sorted(answers) == ["event_full", "ok"]
    await check_laws(confiido)


async def test_a_course_is_all_places_or_none(confiido: Confiido, clock: Clock) -> None:
    studio = await open_studio(confiido, clock, taken=0)
    ids = await _course(studio)
    middle = _place(studio, studio.bo, ids[1])
    await seating.take_places(confiido.bookings.context, [middle], actor=studio.bo)

    refused = await codes(_enrol(studio, confiido, ids, 1))
    await seating.leave_places(confiido.bookings.context, [middle])
    taken = await codes(_enrol(studio, confiido, ids, 1))

    assert (refused, taken) == (["event_full"], ["ok"])
    await check_laws(confiido)


async def _course(studio: Studio) -> list[ObjectId]:
    """Three classes of one place each; their ids."""
    wanted = ServiceInput(service_type="course", name="Mind", price_cents=10000, duration=60)  # type: ignore[arg-type]
    course = await studio.confiido.catalog.create(actor=an_expert(studio.grace), service=wanted)
    times = [SIX + timedelta(days=day) for day in (1, 2, 3)]
    made = await studio.confiido.workshops.create(
        course.id or ObjectId(), actor=an_admin(), times=times, max_participants=1
    )
    return [view.document["_id"] for view in made]


async def _enrol(studio: Studio, confiido: Confiido, ids: list[ObjectId], direction: int) -> Document:
    """As an order of the course will do it."""
    client, context = a_client(), confiido.bookings.context
    command = Command(action="book", actor=client, now=studio.clock())
    places = [_place(studio, client, event_id) for event_id in ids[::direction]]
    sale = Sale(service=studio.service, expert=studio.grace, price=studio.service.price, status=SessionStatus.CONFIRMED)
    events = await seating.take_places(context, places, actor=client)
    sessions = [seating.seat_session(event, place, sale, command) for event, place in zip(events, places, strict=True)]
    who = ClientRef(client_id=client.id or ObjectId())
    return await seating.push_seats(context, sessions, places, who, command, View.WHOLE)
