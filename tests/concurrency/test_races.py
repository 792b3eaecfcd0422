"""Many at once for one scarce thing: exactly one gets it, the others hear why (SPEC 11, L1, L3, L6)."""

import asyncio
import time
from collections import Counter
from datetime import timedelta
from decimal import Decimal

from bson import ObjectId

from confiido_booking import BookingError
from confiido_booking.bookings.views import Change
from tests.builders import a_client
from tests.concurrency.world import LATER, NOON, Builder
from tests.laws.check import check_laws
from tests.processes import outcome

CALLERS = 50


async def test_of_fifty_callers_for_one_slot_one_gets_it(world: Builder, engine_is_embedded: bool) -> None:
    here = await world("nothing")
    slowest = 0.0
    for _ in range(2 if engine_is_embedded else 30):
        await here.again()
        began = time.perf_counter()

        answers = await asyncio.gather(
            *(outcome(here.book(here.confiido, a_client(), NOON)) for _ in range(CALLERS)),
        )

        slowest = max(slowest, time.perf_counter() - began)
        assert Counter(answers) == {"ok": 1, "slot_taken": CALLERS - 1}
        assert len(await here.claims()) == 1
    await check_laws(here.confiido)
    print(f"slowest round of {CALLERS} callers: {slowest:.2f} s")  # noqa: T201 - a figure, not a law


async def test_twenty_first_bookings_of_one_client_make_one_document(world: Builder) -> None:
    here = await world("nothing")

    answers = await asyncio.gather(
        *(outcome(here.book(here.confiido, here.ada, NOON + timedelta(hours=number))) for number in range(20))
    )

    assert answers == ["ok"] * 20
    assert len(await here.sessions()) == 20
    await check_laws(here.confiido)


async def test_confirm_and_cancel_end_as_one_after_the_other(world: Builder, engine_is_embedded: bool) -> None:
    here = await world("pending")
    for _ in range(3 if engine_is_embedded else 30):
        await here.again()

        confirmed, cancelled = await asyncio.gather(
            outcome(here.do(here.confiido, "confirm")), outcome(here.do(here.confiido, "cancel"))
        )

        assert cancelled == "ok"
        assert confirmed in ("ok", "transition_refused")
        assert (await here.session())["status"] == "cancelled"
        assert await here.claims() == []
    await check_laws(here.confiido)


async def test_of_twenty_clients_who_accept_one_slot_one_gets_it(world: Builder, engine_is_embedded: bool) -> None:
    here = await world("nothing")
    for _ in range(1 if engine_is_embedded else 10):
        await here.again()
        clients = [a_client() for _ in range(20)]
        asked = [await here.ask(here.confiido, client, NOON) for client in clients]
        for each in asked:
            await here.confiido.bookings.quote(*_ids(each), actor=here.admin, amount=Decimal(25))

        answers = await asyncio.gather(
            *(
                outcome(here.confiido.bookings.accept(*_ids(each), actor=client))
                for client, each in zip(clients, asked, strict=True)
            )
        )

        assert Counter(answers) == {"ok": 1, "slot_taken": 19}
        assert len(await here.claims()) == 1
    await check_laws(here.confiido)


async def test_of_many_accepts_of_one_quote_one_does_it(world: Builder, engine_is_embedded: bool) -> None:
    here = await world("quoted")
    for _ in range(2 if engine_is_embedded else 20):
        await here.again()

        answers = await asyncio.gather(*(outcome(here.do(here.confiido, "accept")) for _ in range(5)))

        assert answers.count("ok") == 1
        assert set(answers) <= {"ok", "transition_refused", "try_again", "slot_taken"}
        assert len(await here.claims()) == 1
    await check_laws(here.confiido)


async def test_an_accept_and_a_new_quote_end_as_one_after_the_other(world: Builder, engine_is_embedded: bool) -> None:
    here = await world("quoted")
    for _ in range(3 if engine_is_embedded else 30):
        await here.again()

        accepted, quoted = await asyncio.gather(
            outcome(here.do(here.confiido, "accept")), outcome(here.do(here.confiido, "quote"))
        )

        session = await here.session()
        assert (accepted, quoted) in (("ok", "transition_refused"), ("quote_replaced", "ok"), ("ok", "ok"))
        assert session["status"] == ("pending" if accepted == "ok" else "quoted")
        assert len(await here.claims()) == (accepted == "ok")
    await check_laws(here.confiido)


async def test_booking_and_declining_a_request_end_as_one_after_the_other(
    world: Builder, engine_is_embedded: bool
) -> None:
    here = await world("asked")
    for _ in range(3 if engine_is_embedded else 30):
        await here.again()

        answers = await asyncio.gather(
            outcome(here.do(here.confiido, "book")), outcome(here.do(here.confiido, "decline"))
        )

        assert sorted(answers) == ["ok", "transition_refused"]
        assert (await here.session())["status"] == ("confirmed" if answers[0] == "ok" else "cancelled")
        assert len(await here.claims()) == (answers[0] == "ok")
    await check_laws(here.confiido)


def _ids(change: Change) -> tuple[ObjectId, ObjectId]:
    return change.booking_id, change.session_id


async def test_a_hold_that_lapses_while_it_is_confirmed_is_one_or_the_other(
    world: Builder, engine_is_embedded: bool
) -> None:
    here = await world("pending")
    for _ in range(3 if engine_is_embedded else 30):
        await here.again()
        confirming = asyncio.ensure_future(outcome(here.do(here.confiido, "confirm")))
        await asyncio.sleep(0)
        here.clock.advance(minutes=31)

        confirmed, _ = await asyncio.gather(confirming, here.confiido.chores.expire_holds())

        assert (await here.session())["status"] == ("confirmed" if confirmed == "ok" else "cancelled")
        assert len(await here.claims()) == (confirmed == "ok")
        await check_laws(here.confiido)


async def test_a_move_and_bookings_of_the_new_time_leave_one_there(world: Builder, engine_is_embedded: bool) -> None:
    here = await world("confirmed")
    for _ in range(2 if engine_is_embedded else 10):
        await here.again()

        answers = await asyncio.gather(
            outcome(here.move(here.confiido, LATER)),
            *(outcome(here.book(here.confiido, a_client(), LATER)) for _ in range(5)),
        )

        assert Counter(answers) == {"ok": 1, "slot_taken": 5}
        await check_laws(here.confiido)


async def test_of_fifty_equal_cancels_one_does_it(world: Builder) -> None:
    here = await world("confirmed")

    answers = await asyncio.gather(*(outcome(here.do(here.confiido, "cancel")) for _ in range(CALLERS)))

    assert Counter(answers) == {"ok": 1, "transition_refused": CALLERS - 1}
    await check_laws(here.confiido)


async def test_the_refused_hear_the_current_status(world: Builder) -> None:
    here = await world("confirmed")
    await here.do(here.confiido, "cancel")

    try:
        await here.do(here.confiido, "complete")
    except BookingError as refusal:
        details = refusal.details

    assert details == {"status": "cancelled"}
