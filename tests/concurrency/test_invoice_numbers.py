"""Numbers have no hole and no twin, and a session stands on one invoice: in races, and where processes die or sleep."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import timedelta
from itertools import count

import pytest
from bson import Decimal128

from confiido_booking import Actor, Confiido, Expert
from confiido_booking.billing import rules
from confiido_booking.billing.models import Invoice, InvoiceStatus, Kind, Party, Stored
from confiido_booking.billing.numbers import INTERRUPTED
from confiido_booking.billing.reading import Statement
from confiido_booking.billing.rules import LineWish
from confiido_booking.bookings.views import Change
from tests.builders import MONDAY, Clock, a_client, an_admin, make_expert
from tests.processes import Process, outcome, processes

ADMIN = an_admin()
MOST_COMMANDS = 80
_hours = count(1)


@pytest.fixture
async def grace(confiido: Confiido) -> Expert:
    return await make_expert(confiido, payment="later")


async def confirmed(confiido: Confiido, expert: Expert, client: Actor | None = None) -> Change:
    change = await confiido.bookings.book(
        actor=client or a_client(),
        expert=expert.id or "",
        session_type="video",
        duration=30,
        starts_at=MONDAY + timedelta(days=1, hours=next(_hours)),
    )
    return await confiido.bookings.confirm(change.booking_id, change.session_id, actor=ADMIN)


async def standalone(confiido: Confiido, key: str | None = None, *, issue: bool = True) -> Statement:
    return await confiido.invoices.standalone(
        actor=ADMIN,
        currency="INR",
        lines=[LineWish("Workbook", 1, 100)],
        client=Party(name="Bo"),
        issue=issue,
        request_key=key,
    )


async def of_sessions(confiido: Confiido, *changes: Change, key: str | None = None) -> Statement:
    ids = [change.session_id for change in changes]
    return await confiido.invoices.of_sessions(actor=ADMIN, session_ids=ids, request_key=key)


async def wrong(confiido: Confiido) -> list[str]:
    """What is not as it should be once everything has come to rest; nothing."""
    documents = [Invoice.model_validate(raw) for raw in await confiido.store.collection("invoices").find().to_list()]
    found = [f"{each.id} is still being placed" for each in documents if each.status is Stored.PLACING]
    found += [f"{each.id} still holds what it let go" for each in documents if each.releasing]
    numbers = Counter(each.number for each in documents if each.number is not None)
    counters = await confiido.store.collection("invoice_numbers").find().to_list()
    expected = {
        rules.number(*_series(counter["_id"]), sequence)
        for counter in counters
        for sequence in range(1, counter["seq"] + 1)
    }
    found += [f"{number} is missing" for number in sorted(expected - set(numbers))]
    found += [f"{number} was never taken" for number in sorted(set(numbers) - expected)]
    found += [f"{number} is there {times} times" for number, times in numbers.items() if times > 1]
    found += [f"{counter['_id']} has numbers pending" for counter in counters if counter["pending"]]
    live = {
        each.id: each
        for each in documents
        if each.status in (Stored.DRAFT, Stored.ISSUED) and each.kind is Kind.INVOICE and each.session_ids
    }
    named = {
        session["sessionId"]: session.get("invoiceIds", [])
        for booking in await confiido.store.collection("bookings").find().to_list()
        for session in booking["sessions"]
    }
    for each in live.values():
        held = named.items() if not rules.is_wholly_credited(each) else ()
        found += [f"{session} names {ids}" for session, ids in held if session in each.session_ids and ids != [each.id]]
    found += [f"{session} names what is not live" for session, ids in named.items() for i in ids if i not in live]
    report = await confiido.doctor.examine()
    return found + [f"{finding.kind}: {finding.sentence}" for finding in report.findings]


def _series(name: str) -> tuple[str, int]:
    series, _, year = name.partition("-")
    return series, int(year)


async def settle(confiido: Confiido, clock: Clock) -> None:
    clock.advance(seconds=31)
    for _ in range(2):  # what an abandoned one held is free only then
        await confiido.invoices.settle()


async def at_rest(confiido: Confiido, clock: Clock) -> list[str]:
    await settle(confiido, clock)
    await confiido.doctor.repair()
    return await wrong(confiido)


async def test_racing_invoices_have_the_numbers_one_after_the_other(
    confiido: Confiido, clock: Clock, engine_is_embedded: bool
) -> None:
    racers = 8 if engine_is_embedded else 25

    made = await asyncio.gather(*(standalone(confiido) for _ in range(racers)))

    assert sorted(str(each.invoice.number) for each in made) == [
        rules.number("INV", 2026, sequence) for sequence in range(1, racers + 1)
    ]
    assert await at_rest(confiido, clock) == []


async def test_a_number_read_and_then_written_is_given_twice(confiido: Confiido) -> None:
    """The control: the same race without the guard."""
    numbers = confiido.store.collection("naive")
    await numbers.insert_one({"_id": "INV", "seq": 0})

    async def take() -> int:
        counter = await numbers.find_one({"_id": "INV"})
        assert counter is not None
        await numbers.update_one({"_id": "INV"}, {"$set": {"seq": counter["seq"] + 1}})
        return int(counter["seq"]) + 1

    taken = await asyncio.gather(*(take() for _ in range(10)))

    assert len(set(taken)) < len(taken)


async def test_of_racing_invoices_of_one_session_one_is_made(
    confiido: Confiido, grace: Expert, clock: Clock, engine_is_embedded: bool
) -> None:
    racers = 5 if engine_is_embedded else 12
    ada = a_client()
    shared, *others = [await confirmed(confiido, grace, ada) for _ in range(racers + 1)]

    outcomes = await asyncio.gather(*(outcome(of_sessions(confiido, other, shared)) for other in others))

    assert Counter(outcomes) == {"ok": 1, "already_invoiced": racers - 1}
    assert await at_rest(confiido, clock) == []


async def test_a_draft_that_is_issued_by_several_has_one_number(
    confiido: Confiido, clock: Clock, engine_is_embedded: bool
) -> None:
    draft = await standalone(confiido, issue=False)
    issue = confiido.invoices.issue
    racers = 4 if engine_is_embedded else 10

    await asyncio.gather(*(outcome(issue(draft.invoice.id, actor=ADMIN)) for _ in range(racers)))

    assert (await confiido.invoices.get(draft.invoice.id, actor=ADMIN)).invoice.number == "INV-2026-000001"
    assert (await standalone(confiido)).invoice.number == "INV-2026-000002"
    assert await at_rest(confiido, clock) == []


async def test_an_invoice_that_two_mark_paid_is_paid_once(confiido: Confiido, grace: Expert) -> None:
    ada = a_client()
    sessions = [await confirmed(confiido, grace, ada) for _ in range(2)]
    stated = await of_sessions(confiido, *sessions)

    outcomes = await asyncio.gather(
        *(outcome(confiido.invoices.mark_paid(stated.invoice.id, actor=ADMIN)) for _ in range(3))
    )

    now = await confiido.invoices.get(stated.invoice.id, actor=ADMIN)
    assert outcomes.count("ok") == 1
    assert set(outcomes) <= {"ok", "already_paid", "try_again"}
    assert now.balance.paid == 40
    assert now.balance.outstanding == 0


async def test_an_invoice_is_either_paid_or_void(confiido: Confiido, engine_is_embedded: bool) -> None:
    for _ in range(2 if engine_is_embedded else 6):
        stated = await standalone(confiido)
        pay = confiido.invoices.mark_paid(stated.invoice.id, actor=ADMIN)
        void = confiido.invoices.void(stated.invoice.id, actor=ADMIN)

        outcomes = await asyncio.gather(outcome(pay), outcome(void))

        now = await confiido.invoices.get(stated.invoice.id, actor=ADMIN)
        assert sorted(outcomes)[1] == "ok"
        assert outcomes[0] != outcomes[1]
        assert now.balance.status is (InvoiceStatus.PAID if outcomes[0] == "ok" else InvoiceStatus.VOID)


async def test_what_two_credit_it_is_credited_once(confiido: Confiido, clock: Clock) -> None:
    stated = await standalone(confiido)
    credit = confiido.invoices.credit

    outcomes = await asyncio.gather(
        *(outcome(credit(stated.invoice.id, actor=ADMIN, reason="x", lines=[(1, 60)])) for _ in range(3))
    )

    now = await confiido.invoices.get(stated.invoice.id, actor=ADMIN)
    assert outcomes.count("ok") == 1
    assert now.balance.credited == 60
    assert await at_rest(confiido, clock) == []


Doing = Callable[[Confiido, str], Awaitable[object]]


async def _commands(confiido: Confiido, grace: Expert, name: str) -> Doing:
    """One of the commands, on something new each time."""
    ada = a_client()
    if name == "standalone":
        return standalone
    if name == "a draft":
        return lambda c, key: standalone(c, key, issue=False)
    if name == "issue":
        draft = (await standalone(confiido, issue=False)).invoice.id
        return lambda c, key: c.invoices.issue(draft, actor=ADMIN, request_key=key)
    sessions = [await confirmed(confiido, grace, ada) for _ in range(2)]
    if name == "of sessions":
        return lambda c, key: of_sessions(c, *sessions, key=key)
    made = (await of_sessions(confiido, *sessions)).invoice.id
    if name == "void":
        return lambda c, key: c.invoices.void(made, actor=ADMIN, reason="x", request_key=key)
    if name == "credit":
        return lambda c, key: c.invoices.credit(made, actor=ADMIN, reason="x", request_key=key)
    return lambda c, key: c.invoices.mark_paid(made, actor=ADMIN, request_key=key)


NAMES = ("standalone", "a draft", "issue", "of sessions", "void", "credit", "mark paid")


def stops(engine_is_embedded: bool) -> range:
    """After how many commands a process stops; the embedded engine, which is slow, skips most of them."""
    return range(1, MOST_COMMANDS, 5 if engine_is_embedded else 1)


@pytest.mark.parametrize("name", NAMES)
async def test_a_process_that_dies_anywhere_leaves_no_hole_and_its_repeat_does_it_once(
    confiido: Confiido, grace: Expert, clock: Clock, engine_is_embedded: bool, name: str
) -> None:
    made = 0
    for stop in stops(engine_is_embedded):
        made += 1
        doing = await _commands(confiido, grace, name)
        async with processes(confiido, "dying") as (dying,):
            await dying.start(doing(dying.confiido, f"{name} {stop}"))  # type: ignore[arg-type]
            was_done = await dying.run_to(stop)
        if stop % 2:
            await settle(confiido, clock)
        await doing(confiido, f"{name} {stop}")
        await settle(confiido, clock)
        if was_done:
            break
    else:
        raise AssertionError(f"{name} takes more than {MOST_COMMANDS} commands")

    assert await at_rest(confiido, clock) == []
    await _nothing_is_lost(confiido, name, made)


async def _nothing_is_lost(confiido: Confiido, name: str, times: int) -> None:
    everything = (await confiido.invoices.list(actor=ADMIN, limit=100)).statements
    interrupted = [each for each in everything if each.invoice.void_reason == INTERRUPTED]
    real = [each for each in everything if each not in interrupted]
    assert len(real) == (2 * times if name == "credit" else times)
    assert len(interrupted) <= 2  # only where a number had been taken and not yet given
    if name == "mark paid":
        assert {each.balance.status for each in real} == {InvoiceStatus.PAID}
        assert {str(each.balance.paid) for each in real} == {"40.00"}


@pytest.mark.parametrize("name", NAMES)
async def test_a_process_that_sleeps_anywhere_while_it_is_settled_breaks_nothing(
    confiido: Confiido, grace: Expert, clock: Clock, engine_is_embedded: bool, name: str
) -> None:
    outcomes = set()
    for stop in stops(engine_is_embedded):
        doing = await _commands(confiido, grace, name)
        async with processes(confiido, "sleeping") as (sleeping,):
            await sleeping.start(doing(sleeping.confiido, f"{name} {stop}"))  # type: ignore[arg-type]
            was_done = await sleeping.run_to(stop)
            await settle(confiido, clock)
            if stop % 2:
                await doing(confiido, f"{name} {stop}")  # somebody repeats it meanwhile
            clock.advance(seconds=1)
            outcomes.add(await sleeping.finish())
        if was_done:
            break

    assert outcomes == {"ok"}
    assert await at_rest(confiido, clock) == []


async def test_a_number_that_was_taken_and_not_given_is_a_stored_void_invoice(confiido: Confiido, clock: Clock) -> None:
    async with processes(confiido, "dying") as (dying,):
        await dying.start(standalone(dying.confiido))
        await _run_past(dying, "take number")
    clock.advance(seconds=31)

    after = await standalone(confiido)

    void = await confiido.store.collection("invoices").find_one({"number": "INV-2026-000001"})
    assert after.invoice.number == "INV-2026-000002"
    assert void is not None
    assert (void["status"], void["voidReason"]) == ("void", INTERRUPTED)


async def _run_past(process: Process, step: str) -> None:
    """Until the step is done; a counter that has to be begun first asks for its number twice."""
    for _ in range(10):
        await process.run_to_step(step)
        await process.step()
        if process.waiting and process.waiting[0].step == "issue invoice":
            return
    raise AssertionError(process.trace)


async def test_a_session_named_by_a_dead_invoice_is_free_for_the_next(
    confiido: Confiido, grace: Expert, clock: Clock
) -> None:
    session = await confirmed(confiido, grace)
    async with processes(confiido, "dying") as (dying,):
        await dying.start(of_sessions(dying.confiido, session))
        await dying.run_to_step("take number")
    at_once = await outcome(of_sessions(confiido, session))
    clock.advance(seconds=31)

    stated = await of_sessions(confiido, session)

    assert at_once == "already_invoiced"
    assert stated.invoice.number == "INV-2026-000001"
    assert await at_rest(confiido, clock) == []


async def test_a_price_that_changes_meanwhile_is_not_billed_as_it_was(
    confiido: Confiido, grace: Expert, clock: Clock
) -> None:
    session = await confirmed(confiido, grace)
    async with processes(confiido, "sleeping") as (sleeping,):
        await sleeping.start(of_sessions(sleeping.confiido, session))
        await sleeping.run_to_step("invoice")
        cheaper = {"$set": {"sessions.0.price": Decimal128("15.00")}}
        await confiido.store.update("patch", "bookings", {"_id": session.booking_id}, cheaper)
        how = await sleeping.finish()

    stated = await of_sessions(confiido, session)

    assert how == "try_again"
    assert (stated.invoice.number, str(stated.invoice.total)) == ("INV-2026-000001", "15.00")
