"""Orders that race, and orders that are stopped after each of their database commands (L5, L8, L9; MONEY, "Orders")."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import pytest
from bson import ObjectId

from confiido_booking import Actor, BookingError, Confiido, Conflict
from confiido_booking.orders.reading import OrderView
from tests.builders import Clock, a_client, an_admin, make_expert
from tests.laws.check import broken_laws
from tests.laws.orders import broken_orders
from tests.ledger import broken_money
from tests.ordering import SIX, events_of, id_of, offered, package_of
from tests.processes import Snapshot, outcome, processes

MOST_COMMANDS = 40


@dataclass
class Shop:
    """A course of three classes with one place each, an individual service, and a bundle of two of it."""

    confiido: Confiido
    clock: Clock
    services: dict[str, ObjectId]
    ada: Actor
    bo: Actor
    snapshot: Snapshot

    async def buy(self, confiido: Confiido, kind: str, client: Actor, key: str) -> OrderView:
        starts_at = SIX if kind == "individual" else None
        return await confiido.orders.create(self.services[kind], actor=client, starts_at=starts_at, request_key=key)

    async def again(self, begins: object) -> None:
        await self.snapshot.restore(self.confiido)
        self.clock.now = begins  # type: ignore[assignment]

    async def bought(self, client: Actor) -> set[ObjectId]:
        """The orders of which sessions of this client stand."""
        bookings = await self.confiido.store.collection("bookings").find({"clientId": client.id}).to_list()
        return {s["orderId"] for b in bookings for s in b["sessions"] if s["status"] != "cancelled"}


async def open_shop(confiido: Confiido, clock: Clock, *, places: int = 1) -> Shop:
    grace, lin = await make_expert(confiido), await make_expert(confiido)
    course = await offered(confiido, grace, "course")
    await events_of(confiido, course, 3, places=places)
    advice = await offered(confiido, lin, "individual")
    bundle = await package_of(confiido, lin, (advice, 2), service_type="bundle")
    services = {"course": id_of(course), "individual": id_of(advice), "bundle": id_of(bundle)}
    clock.advance(minutes=1)
    return Shop(confiido, clock, services, a_client(), a_client(email="bo@example.org"), await Snapshot.take(confiido))


Rival = Callable[[Shop, str], Awaitable[object]]


async def _nobody(shop: Shop, kind: str) -> None: ...


RIVALS: dict[str, Rival] = {
    "nobody does anything": _nobody,
    "another client buys the same": lambda shop, kind: shop.buy(shop.confiido, kind, shop.bo, "bo's"),
    "the client repeats it": lambda shop, kind: shop.buy(shop.confiido, kind, shop.ada, "ada's"),
    "the client buys it once more": lambda shop, kind: shop.buy(shop.confiido, kind, shop.ada, "another"),
    "the worker comes": lambda shop, kind: shop.confiido.chores.orders.settle(),
}


@pytest.mark.parametrize("kind", ["course", "individual", "bundle"])
async def test_an_order_killed_at_any_command_is_there_whole_or_not_at_all(
    kind: str, confiido: Confiido, clock: Clock, engine_is_embedded: bool
) -> None:
    shop = await open_shop(confiido, clock)
    begins, names = clock.now, list(RIVALS)

    for stop in range(MOST_COMMANDS):
        rivals = [names[(stop + step) % len(names)] for step in range(1 if engine_is_embedded else 3)]
        got_to_its_end = False
        for rival in rivals:
            await shop.again(begins)
            async with processes(confiido, kind) as (process,):
                await process.start(shop.buy(process.confiido, kind, shop.ada, "ada's"))
                got_to_its_end = await process.run_to(stop)
                moment = f"stopped after {process.trace}, {rival}"
                second = await outcome(RIVALS[rival](shop, kind))
                assert await broken_laws(confiido, settled=False) == [], moment
                assert await broken_orders(confiido, settled=False) == [], moment
                clock.advance(seconds=61)
                report = await confiido.doctor.repair()
                assert list(report.findings) == [], f"{moment}, then the doctor"
                assert await broken_laws(confiido) == [], f"{moment}, then the doctor"
                assert await broken_orders(confiido) == [], f"{moment}, then the doctor"
                first = await process.finish()
                moment += f", then woke and did {process.trace}"
                assert await broken_laws(confiido, settled=False) == [], moment
                assert await broken_orders(confiido, settled=False) == [], moment
                clock.advance(seconds=61)
                await confiido.doctor.repair()
                assert await broken_laws(confiido) == [], moment
                assert await broken_orders(confiido) == [], moment
                adas = await shop.bought(shop.ada)
                if rival != "the client buys it once more":
                    succeeded = "ok" in (first, second if rival == "the client repeats it" else first)
                    assert len(adas) == int(succeeded), f"{first}, {second}: {moment}"
                if rival == "another client buys the same":
                    assert bool(await shop.bought(shop.bo)) == (second == "ok"), f"{second}: {moment}"
        if got_to_its_end:
            return
    pytest.fail(f"{kind} needs more than {MOST_COMMANDS} commands")


async def test_a_place_that_a_dead_order_took_is_anybodys_after_half_a_minute(confiido: Confiido, clock: Clock) -> None:
    shop = await open_shop(confiido, clock)
    async with processes(confiido, "course") as (process,):
        await process.start(shop.buy(process.confiido, "course", shop.ada, "ada's"))
        while "take seat" not in process.trace:
            await process.run_to(1)
        early = await outcome(shop.buy(confiido, "course", shop.bo, "early"))
        clock.advance(seconds=31)

        bought = await shop.buy(confiido, "course", shop.bo, "bo's")

        assert (early, bought.status) == ("event_full", "pending_payment")
        assert await process.finish() != "ok"
    await confiido.chores.orders.settle()
    assert await broken_laws(confiido) == []
    assert await broken_orders(confiido) == []


@pytest.mark.parametrize(("places", "buyers"), [(1, 8), (3, 8)])
async def test_of_many_orders_for_the_last_places_as_many_succeed_as_there_are(
    places: int, buyers: int, confiido: Confiido, clock: Clock
) -> None:
    shop = await open_shop(confiido, clock, places=places)

    async def attempt() -> str:
        try:
            await confiido.orders.create(shop.services["course"], actor=a_client())
        except Conflict as refused:
            return refused.code
        return "ok"

    answers = await asyncio.gather(*(attempt() for _ in range(buyers)))

    assert answers.count("ok") == places, answers
    assert set(answers) <= {"ok", "event_full", "try_again"}
    assert await broken_laws(confiido) == []
    assert await broken_orders(confiido) == []


async def test_equal_orders_at_once_with_one_key_make_one(confiido: Confiido, clock: Clock) -> None:
    shop = await open_shop(confiido, clock, places=5)

    async def attempt(kind: str) -> OrderView | str:
        try:
            return await shop.buy(confiido, kind, shop.ada, kind)
        except BookingError as refused:
            return refused.code

    for kind in ("bundle", "course"):
        answers = await asyncio.gather(*(attempt(kind) for _ in range(4)))
        answer = await attempt(kind)
        made = {each.id for each in (*answers, answer) if isinstance(each, OrderView)}
        assert len(made) == 1, answers

    clock.advance(seconds=61)
    await confiido.doctor.repair()
    assert len(await shop.bought(shop.ada)) == 2
    assert await broken_laws(confiido) == []
    assert await broken_orders(confiido) == []


async def test_a_payment_killed_at_any_command_pays_all_of_the_order_or_nothing(
    confiido: Confiido, clock: Clock
) -> None:
    shop = await open_shop(confiido, clock)
    bought = await shop.buy(confiido, "course", shop.ada, "ada's")
    shop.snapshot, begins = await Snapshot.take(confiido), clock.now

    for stop in range(MOST_COMMANDS):
        await shop.again(begins)
        async with processes(confiido, "pay") as (process,):
            await process.start(process.confiido.orders.pay(bought.id, actor=an_admin(), request_key="k"))
            got_to_its_end = await process.run_to(stop)
            moment = f"stopped after {process.trace}"
            clock.advance(seconds=61)
            await confiido.doctor.repair()
            assert await broken_laws(confiido) == [], moment
            assert await broken_orders(confiido) == [], moment
            await process.finish()
            statuses = {each.status for each in (await confiido.orders.get(bought.id, actor=shop.ada)).sessions}
            assert statuses in ({"pending"}, {"confirmed"}), moment
            assert await broken_orders(confiido) == [], moment
            assert await broken_money(confiido) == [], moment
        if got_to_its_end:
            return
    pytest.fail(f"pay needs more than {MOST_COMMANDS} commands")


async def test_a_cancellation_killed_at_any_command_takes_all_of_it_or_nothing(
    confiido: Confiido, clock: Clock
) -> None:
    shop = await open_shop(confiido, clock)
    bought = await shop.buy(confiido, "course", shop.ada, "ada's")
    await confiido.orders.pay(bought.id, actor=an_admin())
    shop.snapshot, begins = await Snapshot.take(confiido), clock.now

    for stop in range(MOST_COMMANDS):
        await shop.again(begins)
        async with processes(confiido, "cancel") as (process,):
            await process.start(process.confiido.orders.cancel(bought.id, actor=shop.ada, request_key="k"))
            got_to_its_end = await process.run_to(stop)
            moment = f"stopped after {process.trace}"
            assert await broken_laws(confiido, settled=False) == [], moment
            clock.advance(seconds=61)
            report = await confiido.doctor.repair()
            assert list(report.findings) == [], moment
            assert await broken_laws(confiido) == [], moment
            assert await broken_orders(confiido) == [], moment
            done = await confiido.orders.get(bought.id, actor=shop.ada)
            assert done.status in ("paid", "cancelled"), moment
            assert await process.finish() == "ok", moment
            assert await broken_laws(confiido) == [], moment
            assert await broken_orders(confiido) == [], moment
        if got_to_its_end:
            return
    pytest.fail(f"cancel needs more than {MOST_COMMANDS} commands")


@pytest.mark.parametrize("round_", range(5))
async def test_cancelling_and_paying_at_once_end_as_one_after_the_other(
    round_: int, confiido: Confiido, clock: Clock
) -> None:
    shop = await open_shop(confiido, clock)
    bought = await shop.buy(confiido, "course", shop.ada, "ada's")

    answers = await asyncio.gather(
        outcome(confiido.orders.cancel(bought.id, actor=shop.ada)),
        outcome(confiido.orders.pay(bought.id, actor=an_admin())),
    )

    left = await confiido.orders.get(bought.id, actor=shop.ada)
    assert left.status == "cancelled", answers
    assert answers[0] == "ok"
    due = sum(session.refund_due or 0 for session in left.sessions)
    assert (due, left.standing.paid) == ((500, 500) if answers[1] == "ok" else (0, 0)), answers
    assert await broken_laws(confiido) == []
    assert await broken_orders(confiido) == []
    assert await broken_money(confiido) == []


@pytest.mark.parametrize("kind", ["individual", "workshop"])
async def test_scheduling_a_draft_killed_at_any_command_gives_it_its_place_or_leaves_it(
    kind: str, confiido: Confiido, clock: Clock
) -> None:
    shop, lin = await open_shop(confiido, clock), await make_expert(confiido)
    child = await offered(confiido, lin, kind)
    bundle = await package_of(confiido, lin, (child, 2), service_type="bundle", price_cents=0)
    given: dict[str, object] = {"starts_at": SIX}
    if kind == "workshop":
        given = {"service_session_id": (await events_of(confiido, child, places=1))[0]}
    bought = await confiido.orders.create(id_of(bundle), actor=shop.ada)
    session_id = bought.sessions[0].session_id
    clock.advance(minutes=1)
    shop.snapshot, begins = await Snapshot.take(confiido), clock.now

    for stop in range(MOST_COMMANDS):
        await shop.again(begins)
        async with processes(confiido, "schedule") as (process,):
            command = process.confiido.orders.schedule(session_id, actor=shop.ada, request_key="k", **given)  # type: ignore[arg-type]
            await process.start(command)
            got_to_its_end = await process.run_to(stop)
            moment = f"stopped after {process.trace}"
            assert await broken_laws(confiido, settled=False) == [], moment
            clock.advance(seconds=61)
            report = await confiido.doctor.repair()
            assert list(report.findings) == [], moment
            assert await broken_laws(confiido) == [], moment
            answer = await process.finish()
            clock.advance(seconds=61)
            await confiido.doctor.repair()
            moment += f", then woke, did {process.trace}, and answered {answer}"
            assert await broken_laws(confiido) == [], moment
            assert await broken_orders(confiido) == [], moment
            status = (await confiido.orders.get(bought.id, actor=shop.ada)).sessions[0].status
            assert (status == "confirmed") == (answer == "ok"), moment
        if got_to_its_end:
            return
    pytest.fail(f"schedule needs more than {MOST_COMMANDS} commands")
