"""Seed 2.15: documents of an old system are shown as they lie, and converted by the command that touches them."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from bson import Decimal128, ObjectId

from confiido_booking import Actor, Confiido, Expert, NotFound
from confiido_booking.bookings.models import CURRENT, OLD
from confiido_booking.bookings.reading import SessionFilter
from confiido_booking.bookings.service import Bookings
from confiido_booking.bookings.unconverted import NoneUnconverted
from confiido_booking.bookings.views import Change
from confiido_booking.errors import Conflict, SlotTaken
from confiido_booking.migration import Runs, open_source, rollback
from tests.builders import Clock, a_client, an_admin, an_expert, make_expert
from tests.laws.check import check_laws
from tests.migration.harness import CLIENT, MemorySource, flat, inner, migrate, nested, verified

ADA = Actor.client(CLIENT, user_id="9062", email="ada@example.org", name="Ada")
TO_COME = {"scheduledDate": "2026-03-10", "status": "confirmed", "paymentStatus": "paid"}


async def put(confiido: Confiido, *documents: dict[str, Any]) -> None:
    """As an old system, beside whatever is there; and this process has learned of it."""
    await confiido.store.collection("bookings").insert_many([dict(document) for document in documents])
    await confiido.old.any()


async def old_left(confiido: Confiido) -> int:
    return await confiido.store.count("count", "bookings", OLD)


async def current(confiido: Confiido, client_id: ObjectId = CLIENT) -> dict[str, Any]:
    (document,) = await confiido.store.find("read", "bookings", {"clientId": client_id, **CURRENT})
    return document


async def test_a_list_shows_flat_nested_and_hybrid_documents_and_touches_none(confiido: Confiido) -> None:
    hybrid = flat(scheduledDate="2025-09-20", sessions=[inner(sessionId=ObjectId(), scheduledDate="2025-09-21")])
    originals = [flat(), hybrid, nested(inner(sessionId=ObjectId(), scheduledDate="2025-09-22"))]
    await put(confiido, *originals)

    page = await confiido.bookings.list(actor=ADA)

    assert page.total == 4
    assert [str(session["startsAt"].date()) for _, session in page.sessions] == [
        "2025-09-22", "2025-09-21", "2025-09-20", "2025-09-12",
    ]  # fmt: skip
    assert [booking["totalSpent"] for booking in page.bookings] == [Decimal128("3000.00")]
    stored = await confiido.store.find("read", "bookings", {})
    assert sorted(map(str, stored)) == sorted(map(str, await _as_stored(confiido, originals)))


async def _as_stored(confiido: Confiido, documents: list[dict[str, Any]]) -> list[dict[str, Any]]:
    held = confiido.store.collection("as_stored")
    await held.insert_many([dict(document) for document in documents])
    return await confiido.store.find("read", "as_stored", {})


async def test_documents_that_come_while_the_process_runs_are_shown_where_there_was_nothing(confiido: Confiido) -> None:
    assert (await confiido.bookings.list(actor=ADA)).total == 0
    await confiido.store.collection("bookings").insert_one(flat())

    page = await confiido.bookings.list(actor=ADA)

    assert page.total == 1


async def test_the_worker_shows_what_it_finds_and_what_has_changed_and_what_is_gone(confiido: Confiido) -> None:
    first, second = flat(), flat(scheduledDate="2025-09-20", status="confirmed")
    await confiido.store.collection("bookings").insert_many([first, second])

    assert await confiido.old.show_all() == 1
    assert await confiido.old.show_all() == 0
    assert (await confiido.bookings.list(actor=an_admin())).total == 2

    bookings = confiido.store.collection("bookings")
    await bookings.update_one(
        {"_id": first["_id"]}, {"$set": {"status": "cancelled"}, "$currentDate": {"updatedAt": True}}
    )
    assert await confiido.old.show_all() == 1
    cancelled = SessionFilter(status="cancelled")
    assert (await confiido.bookings.list(actor=an_admin(), filters=cancelled)).total == 1

    await bookings.delete_many(OLD)
    assert await confiido.old.show_all() == 1
    assert (await confiido.bookings.list(actor=an_admin())).total == 0
    assert await confiido.store.count("count", "migration_shown", {}) == 0


async def test_an_expert_and_an_admin_see_them_and_the_figures_count_them(confiido: Confiido) -> None:
    expert = await make_expert(confiido)
    mine = [flat(expertId=expert.id), flat(expertId=expert.user_id, clientId=ObjectId(), scheduledDate="2025-09-20")]
    await put(confiido, *mine, flat(clientId=ObjectId()))

    page = await confiido.bookings.list(actor=an_expert(expert))

    assert page.total == 2
    everybodys = await confiido.bookings.list(actor=an_admin())
    assert (everybodys.total, (await confiido.bookings.stats(actor=an_admin())).total) == (3, 3)
    assert await old_left(confiido) == 3


async def test_a_get_shows_them_by_any_id_to_whom_they_belong(confiido: Confiido) -> None:
    document = flat()
    await put(confiido, document)
    (booking,) = (await confiido.bookings.list(actor=ADA)).bookings

    for name in (document["_id"], booking["_id"]):
        assert (await confiido.bookings.get(name, actor=ADA))["totalSessions"] == 1
    assert (await confiido.bookings.of_client(CLIENT, actor=ADA))["clientEmail"] == "ada@example.org"
    for booking_id in (None, document["_id"], booking["_id"]):
        found = await confiido.bookings.find_session(document["_id"], actor=ADA, booking_id=booking_id)
        assert found.session.status == "completed"
    for whose in (document["_id"], booking["_id"]):
        with pytest.raises(NotFound):
            await confiido.bookings.get(whose, actor=a_client())
    with pytest.raises(NotFound):
        await confiido.bookings.find_session(document["_id"], actor=a_client())
    assert await old_left(confiido) == 1


async def test_an_old_nested_document_is_shown_under_its_own_id(confiido: Confiido) -> None:
    document = nested(inner())
    await put(confiido, document)

    booking = await confiido.bookings.get(document["_id"], actor=ADA)

    assert (booking["_id"], booking["sessions"][0]["version"]) == (document["_id"], 1)
    assert await old_left(confiido) == 1


Command = Callable[[Confiido, ObjectId, ObjectId], Awaitable[Change]]
COMMANDS: dict[str, Command] = {
    "cancel": lambda c, b, s: c.bookings.cancel(b, s, actor=ADA),
    "complete": lambda c, b, s: c.bookings.complete(b, s, actor=an_admin()),
    "patch": lambda c, b, s: c.bookings.patch(b, s, actor=ADA, changes={"notes": "new"}),
    "reschedule": lambda c, b, s: c.bookings.reschedule(
        b, s, actor=an_admin(), scheduled_date="2026-03-12", start_time="15:00"
    ),
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("named", ["shown", "flat"])
async def test_a_command_converts_the_client_it_touches_and_nobody_else(
    confiido: Confiido, clock: Clock, command: str, named: str
) -> None:
    expert = await make_expert(confiido)
    document, other = flat(expertId=expert.id, **TO_COME), flat(clientId=ObjectId())
    await put(confiido, document, flat(), other)
    (booking,) = (await confiido.bookings.list(actor=ADA)).bookings
    booking_id = booking["_id"] if named == "shown" else document["_id"]

    change = await COMMANDS[command](confiido, booking_id, document["_id"])

    assert (change.session_id, change.booking_id) == (document["_id"], booking["_id"])
    assert change.raw_session["version"] == 2
    assert len((await current(confiido))["sessions"]) == 2
    assert await old_left(confiido) == 1
    assert (await confiido.bookings.list(actor=ADA)).total == 2
    await confiido.store.collection("bookings").delete_many(OLD)
    await confiido.old.show_all()
    await check_laws(confiido)


async def test_money_received_and_an_invoice_convert_the_client_too(confiido: Confiido) -> None:
    unpaid = flat(scheduledDate="2026-03-10", status="confirmed", paymentStatus="pending")
    await put(confiido, unpaid, flat(clientId=ObjectId()))

    shown = await confiido.ledger.cancellation(unpaid["_id"], actor=ADA)
    before = await old_left(confiido)
    paid = await confiido.ledger.paid(unpaid["_id"], actor=an_admin())
    later = flat(scheduledDate="2025-10-01")
    await put(confiido, later)
    invoice = await confiido.invoices.of_sessions(actor=an_admin(), session_ids=[later["_id"]])

    assert (shown is not None, before) == (True, 2)
    assert paid.change.session.payment_status == "paid"
    assert invoice.invoice.session_ids == [later["_id"]]
    assert await old_left(confiido) == 1


async def test_a_pending_flat_document_is_confirmed_by_its_ids(confiido: Confiido) -> None:
    document = flat(scheduledDate="2026-03-10", status="pending", paymentStatus="pending")
    await put(confiido, document)

    change = await confiido.bookings.confirm(document["_id"], document["_id"], actor=an_admin())

    assert change.session.status == "confirmed"


@pytest.mark.parametrize("nested_too", [True, False])
async def test_a_hybrid_is_healed_by_the_next_booking_of_its_client(confiido: Confiido, nested_too: bool) -> None:
    expert = await make_expert(confiido)
    assert expert.id is not None
    sessions = [inner(sessionId=ObjectId(), scheduledDate="2025-09-21")] if nested_too else None
    await put(confiido, flat(sessions=sessions))

    change = await confiido.bookings.book(
        actor=ADA, expert=expert.id, session_type="video", duration=30, scheduled_date="2026-03-10", start_time="10:00"
    )

    assert change.document["totalSessions"] == (3 if nested_too else 2)
    assert await old_left(confiido) == 0


async def test_nobody_books_over_a_session_that_is_not_converted(confiido: Confiido, clock: Clock) -> None:
    expert = await make_expert(confiido)
    assert expert.id is not None
    await put(confiido, flat(expertId=expert.id, **TO_COME))
    await confiido.old.show_all()
    clock.advance(minutes=5)

    with pytest.raises(SlotTaken):
        await confiido.bookings.book(
            actor=a_client(), expert=expert.id, session_type="video", duration=30,
            scheduled_date="2026-03-10", start_time="10:30",
        )  # fmt: skip

    assert await old_left(confiido) == 1
    assert (await confiido.doctor.examine()).is_sound
    lying = (await _only_old(confiido))["_id"]
    await confiido.bookings.cancel(lying, lying, actor=an_admin())
    assert await confiido.store.count("count", "calendars", {"busy.0": {"$exists": True}}) == 0


async def _only_old(confiido: Confiido) -> dict[str, Any]:
    (document,) = await confiido.store.find("read", "bookings", OLD)
    return document


async def test_an_expert_of_an_old_system_without_a_calendar_can_be_booked(confiido: Confiido) -> None:
    expert = await make_expert(confiido)
    assert expert.id is not None
    await confiido.store.delete("delete", "calendars", {"_id": expert.id})

    change = await confiido.bookings.book(
        actor=ADA, expert=expert.id, session_type="video", duration=30, scheduled_date="2026-03-10", start_time="10:00"
    )

    assert change.session.status == "pending"


async def test_what_an_old_system_adds_beside_a_current_document_is_shown_and_taken_in(confiido: Confiido) -> None:
    first = flat()
    await put(confiido, first)
    await confiido.bookings.patch(first["_id"], first["_id"], actor=an_admin(), changes={"notes": "x"})
    late = flat(scheduledDate="2025-09-25")
    await put(confiido, late)

    booking_id = (await current(confiido))["_id"]
    booking = await confiido.bookings.get(booking_id, actor=ADA)
    page = await confiido.bookings.list(actor=ADA)

    assert (booking["totalSessions"], booking["totalSpent"], len(booking["sessions"])) == (2, Decimal128("1500.00"), 2)
    assert (page.total, len(page.bookings), await old_left(confiido)) == (2, 1, 1)
    await confiido.bookings.patch(booking_id, late["_id"], actor=ADA, changes={"notes": "y"})
    assert (len((await current(confiido))["sessions"]), await old_left(confiido)) == (2, 0)


async def test_a_stranger_converts_nothing(confiido: Confiido) -> None:
    document = flat(**TO_COME)
    await put(confiido, document)

    for actor in (a_client(), an_expert(await make_expert(confiido))):
        with pytest.raises(NotFound):
            await confiido.bookings.cancel(document["_id"], document["_id"], actor=actor)

    assert await old_left(confiido) == 1


async def test_ids_of_old_lead_to_what_was_migrated(confiido: Confiido) -> None:
    one, other = flat(**TO_COME), nested(inner())
    another = nested(
        inner(sessionId=ObjectId(), scheduledDate="2025-09-22"), createdAt=other["createdAt"] + timedelta(1)
    )
    await migrate(confiido, MemorySource({"bookings": [one, other, another]}))
    booking_id = (await current(confiido))["_id"]

    found = await confiido.bookings.get(another["_id"], actor=ADA)
    change = await confiido.bookings.cancel(one["_id"], one["_id"], actor=ADA)

    assert (found["_id"], change.booking_id) == (booking_id, booking_id)
    session = another["sessions"][0]["sessionId"]
    assert (await confiido.bookings.find_session(session, actor=ADA, booking_id=another["_id"])).session_id == session


async def test_what_was_converted_on_touch_can_be_rolled_back(confiido: Confiido, clock: Clock) -> None:
    originals = [flat(**TO_COME), nested(inner(sessionId=ObjectId()))]
    await put(confiido, *originals)
    before = await confiido.store.find("read", "bookings", {}, sort=[("_id", 1)])
    await confiido.old.convert(CLIENT)

    await rollback(confiido.store, await Runs(confiido.store).named("on-touch"), now=clock.now)

    assert await confiido.store.find("read", "bookings", {}, sort=[("_id", 1)]) == before
    assert (await confiido.bookings.list(actor=ADA)).total == 2


async def test_applying_in_place_later_takes_the_others_and_leaves_who_was_converted(confiido: Confiido) -> None:
    touched, other = flat(), flat(clientId=ObjectId())
    await put(confiido, touched, other)
    await confiido.bookings.patch(touched["_id"], touched["_id"], actor=ADA, changes={"notes": "mine"})
    uri = confiido.settings.mongodb_uri
    assert uri is not None
    source = open_source(uri.get_secret_value(), in_place=True)

    applied = await migrate(confiido, source, in_place=True)

    assert await old_left(confiido) == 0
    assert (applied.counts["inserted"], len((await current(confiido))["sessions"])) == (1, 1)
    assert (await current(confiido))["sessions"][0]["notes"] == "mine"
    assert (await verified(confiido, source, applied)).is_sound


async def test_once_all_is_converted_lists_stop_looking(confiido: Confiido, clock: Clock) -> None:
    await put(confiido, flat())
    await confiido.bookings.list(actor=ADA)
    await confiido.old.convert(CLIENT)
    clock.advance(seconds=31)
    await confiido.bookings.list(actor=ADA)
    before = confiido.store.commands

    page = await confiido.bookings.list(actor=ADA)

    assert (page.total, confiido.store.commands - before) == (1, 4)


@pytest.mark.parametrize("round_", range(3))
async def test_commands_that_touch_one_client_at_once_give_one_document_and_lose_nothing(
    confiido: Confiido, round_: int
) -> None:
    expert = await make_expert(confiido)
    days = [flat(expertId=expert.id, **TO_COME | {"scheduledDate": f"2026-03-1{day}"}) for day in range(4)]
    await put(confiido, *days, nested(inner(sessionId=ObjectId())))

    async def touch(document: dict[str, Any]) -> Change:
        return await confiido.bookings.patch(
            document["_id"], document["_id"], actor=an_admin(), changes={"notes": str(document["_id"])}
        )

    changes = await asyncio.gather(*(touch(document) for document in days), return_exceptions=True)

    assert not [change for change in changes if isinstance(change, BaseException) and not isinstance(change, Conflict)]
    booking = await current(confiido)
    assert len(booking["sessions"]) == len({session["sessionId"] for session in booking["sessions"]}) == 5
    assert await old_left(confiido) == 0
    noted = {session["notes"] for session in booking["sessions"] if "notes" in session}
    assert noted == {str(change.session_id) for change in changes if isinstance(change, Change)}
    await confiido.old.show_all()
    await check_laws(confiido)


class Killed(BaseException):
    """The process died before this command."""


@pytest.mark.parametrize("died_at", range(16))
async def test_a_conversion_that_dies_anywhere_is_ended_by_the_next_command(confiido: Confiido, died_at: int) -> None:
    expert = await make_expert(confiido)
    document = flat(expertId=expert.id, **TO_COME)
    await put(confiido, document, flat(status="nonsense"), nested(inner(sessionId=ObjectId())))
    await confiido.old.show_all()
    steps = 0

    async def die(step: str) -> None:
        nonlocal steps
        steps += 1
        if steps == died_at + 1:
            raise Killed(step)

    confiido.store.hook = die
    try:
        await confiido.old.convert(CLIENT)
    except Killed:
        pass
    else:
        assert steps > 10
    confiido.store.hook = None
    seen = await confiido.bookings.list(actor=ADA)
    change = await confiido.bookings.patch(document["_id"], document["_id"], actor=ADA, changes={"notes": "here"})

    assert seen.total == 2
    assert change.session.notes == "here"
    booking = await current(confiido)
    assert sorted(session["legacy"]["runId"] for session in booking["sessions"]) == ["on-touch", "on-touch"]
    assert await old_left(confiido) == 0
    (refused,) = await confiido.store.find("read", "migration_quarantine", {})
    assert refused["reason"] == "status_unknown"
    await check_laws(confiido)


async def test_where_there_are_none_nothing_costs_more(confiido: Confiido, clock: Clock) -> None:
    """The same calls, step by step, as where nobody looks for any."""
    expert = await make_expert(confiido)
    nobody_looks = replace(confiido.bookings, context=replace(confiido.bookings.context, old=NoneUnconverted()))

    with_them = await _steps_of_a_day(confiido, confiido.bookings, expert, clock, day=1)
    without = await _steps_of_a_day(confiido, nobody_looks, expert, clock, day=2)

    assert with_them == without
    assert len(with_them) > 20


async def _steps_of_a_day(
    confiido: Confiido, bookings: Bookings, expert: Expert, clock: Clock, *, day: int
) -> list[str]:
    """A first booking, another, a get by each name, a list, its figures, a confirmation, a cancellation."""
    client, steps = a_client(), list[str]()

    async def note(step: str) -> None:
        steps.append(step)

    assert expert.id is not None
    confiido.store.hook = note
    for hour in (1, 2):
        change = await bookings.book(
            actor=client,
            expert=expert.id,
            session_type="video",
            duration=30,
            starts_at=clock.now + timedelta(days=day, hours=hour),
        )
    await bookings.get(change.booking_id, actor=client)
    await bookings.find_session(change.session_id, actor=client)
    await bookings.list(actor=client)
    await bookings.stats(actor=client)
    await bookings.confirm(change.booking_id, change.session_id, actor=an_admin())
    await bookings.cancel(change.booking_id, change.session_id, actor=client)
    confiido.store.hook = None
    return sorted(steps)
