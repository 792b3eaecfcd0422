"""Money when processes die: each command of the ledger stopped after each of its database commands in turn (L7, L8).

While it is stopped somebody else acts; then a minute passes, and the worker and the doctor come; then the process wakes
and goes on. However that ends, all money is accounted for, nothing has gone back twice, and the bank has paid out what
the ledger says.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from decimal import Decimal
from itertools import count

import pytest
from bson import Decimal128

from confiido_booking import BookingError, Confiido, Expert
from confiido_booking.bookings.archive import Archive
from confiido_booking.bookings.views import Change
from confiido_booking.database.store import Store
from confiido_booking.ledger.models import DisputeState, EntryKind, EntryState, Place
from tests.builders import Clock, a_client
from tests.laws.check import broken_laws
from tests.ledger import ADMIN, Bank, an_expert_of, booked, broken_money, captured, in_state, with_bank
from tests.processes import COLLECTIONS

MOST_COMMANDS = 60
_numbers = count(1)


@dataclass
class Scene:
    """One session of one client, and a bank; ``number`` makes everybody's ids of this round their own."""

    confiido: Confiido
    clock: Clock
    bank: Bank
    expert: Expert
    change: Change
    number: int
    names: dict[str, str] = field(default_factory=dict)

    def named(self, what: str) -> str:
        return f"{what}_{self.number}"


Act = Callable[[Scene, Confiido], Awaitable[object]]


async def nothing(scene: Scene, confiido: Confiido) -> None: ...


async def paid_in_two_ways(scene: Scene, confiido: Confiido) -> None:
    await confiido.ledger.paid(scene.change.session_id, actor=ADMIN, amount=60)
    await captured(confiido, scene.change, scene.named("p"))


async def an_attempt(scene: Scene, confiido: Confiido) -> None:
    owed = await confiido.ledger.owed(Place.SESSION, scene.change.session_id, actor=ADMIN)
    order = f"order_{scene.named('p')}"
    await confiido.ledger.open(owed, provider="bank", provider_order_id=order, actor=ADMIN)


async def a_late_attempt(scene: Scene, confiido: Confiido) -> None:
    await an_attempt(scene, confiido)
    scene.clock.advance(minutes=45)


async def old_money(scene: Scene, confiido: Confiido) -> None:
    await confiido.bookings.confirm(scene.change.booking_id, scene.change.session_id, actor=ADMIN)
    await in_state(confiido, scene.change, paidAmount=Decimal128("60.00"))
    await confiido.doctor.repair()  # of the totals
    await confiido.store.collection("payments").delete_many(
        {"provider": "opening", "target.id": scene.change.session_id}
    )
    await confiido.store.collection("bookings").update_one(
        {"_id": scene.change.booking_id}, {"$unset": {"sessions.0.ledger": ""}}
    )


async def archived(scene: Scene, confiido: Confiido) -> None:
    await paid_in_two_ways(scene, confiido)
    await confiido.bookings.complete(scene.change.booking_id, scene.change.session_id, actor=ADMIN)
    scene.clock.advance(days=60)
    client_id = scene.change.document["clientId"]
    await Archive(confiido.store).client(client_id, now=scene.clock(), older_than=timedelta(0))


async def pay_a_part(scene: Scene, confiido: Confiido) -> object:
    return await confiido.ledger.paid(scene.change.session_id, actor=ADMIN, amount=40, request_key=scene.named("part"))


async def be_told_of_a_payment(scene: Scene, confiido: Confiido) -> object:
    return await captured(confiido, scene.change, scene.named("p"), amount=130)


async def refund(scene: Scene, confiido: Confiido) -> object:
    return await confiido.ledger.refund(
        scene.change.session_id, actor=ADMIN, amount=70, reason="x", request_key=scene.named("refund")
    )


async def be_told_of_a_refund(scene: Scene, confiido: Confiido) -> object:
    return await confiido.ledger.refund_settled(
        provider="bank", provider_refund_id=scene.named("rf"), provider_payment_id=scene.named("p"),
        amount=Decimal(30), currency="INR",
    )  # fmt: skip


async def be_told_of_a_chargeback(scene: Scene, confiido: Confiido) -> object:
    return await confiido.ledger.disputed(
        provider="bank", provider_dispute_id=scene.named("dp"), provider_payment_id=scene.named("p"),
        amount=Decimal(40), currency="INR", outcome=DisputeState.LOST,
    )  # fmt: skip


async def pay_the_rest(scene: Scene, confiido: Confiido) -> object:
    return await confiido.ledger.paid(scene.change.session_id, actor=ADMIN)


async def cancel(scene: Scene, confiido: Confiido) -> object:
    return await confiido.bookings.cancel(scene.change.booking_id, scene.change.session_id, actor=ADMIN)


async def refund_a_little(scene: Scene, confiido: Confiido) -> object:
    return await confiido.ledger.refund(scene.change.session_id, actor=ADMIN, amount=35, reason="x")


COMMANDS: dict[str, tuple[Act, Act]] = {
    "an admin records a part": (nothing, pay_a_part),
    "an admin records a part beside old money": (old_money, pay_a_part),
    "a provider tells of a payment": (an_attempt, be_told_of_a_payment),
    "a provider tells of a late payment": (a_late_attempt, be_told_of_a_payment),
    "an admin refunds by two payments": (paid_in_two_ways, refund),
    "an admin refunds what was archived": (archived, refund),
    "a provider tells of a refund of its own": (paid_in_two_ways, be_told_of_a_refund),
    "a provider tells of a chargeback": (paid_in_two_ways, be_told_of_a_chargeback),
}
RIVALS: list[Act | None] = [None, nothing, pay_the_rest, refund_a_little, cancel]  # None: the same once more


@pytest.mark.parametrize("name", COMMANDS)
async def test_money_is_accounted_for_wherever_a_process_stops(
    name: str, confiido: Confiido, clock: Clock, engine_is_embedded: bool
) -> None:
    before, act = COMMANDS[name]
    begins = clock.now
    for stop in range(0, MOST_COMMANDS, 4 if engine_is_embedded else 1):
        rival = RIVALS[stop % len(RIVALS)]
        clock.now = begins + timedelta(days=100 * stop)
        scene = await _scene(confiido, clock)
        await before(scene, scene.confiido)
        if await _meet(scene, act, stop, rival or act, f"{name}, stopped at {stop}"):
            return
    pytest.fail(f"{name} needs more than {MOST_COMMANDS} commands")


async def _scene(confiido: Confiido, clock: Clock) -> Scene:
    for collection in (*COLLECTIONS, "events"):
        await confiido.store.collection(collection).delete_many({})
    bank, expert = Bank(), await an_expert_of(confiido, 100)
    change = await booked(confiido, expert, client=a_client())
    return Scene(with_bank(confiido, bank), clock, bank, expert, change, next(_numbers))


async def _meet(scene: Scene, act: Act, stop: int, rival: Act, moment: str) -> bool:
    asleep, awake = asyncio.Event(), asyncio.Event()
    steps = count()

    async def sleep(step: str) -> None:
        if next(steps) == stop:
            asleep.set()
            await awake.wait()

    store = Store(scene.confiido.store.client, scene.confiido.store.name, hook=sleep)
    sleeper = replace(scene, confiido=with_bank(Confiido.over(store, scene.confiido.settings, scene.clock), scene.bank))
    running = asyncio.create_task(_outcome(act(sleeper, sleeper.confiido)))
    woken = asyncio.create_task(asleep.wait())
    await asyncio.wait([running, woken], return_when=asyncio.FIRST_COMPLETED)
    got_to_its_end = running.done()

    await _outcome(rival(scene, scene.confiido))
    scene.clock.advance(seconds=61)
    await scene.confiido.ledger.settle()
    await scene.confiido.doctor.repair()
    await _check(scene, f"{moment}, then {rival.__name__}")
    awake.set()
    woken.cancel()
    answer = await running
    scene.clock.advance(hours=2)
    await scene.confiido.ledger.settle()
    report = await scene.confiido.doctor.repair()
    assert list(report.findings) == [], moment
    await _check(scene, f"{moment}, then {rival.__name__}, then woke: {answer}")
    return got_to_its_end


async def _outcome(command: Awaitable[object]) -> str:
    try:
        await command
    except BookingError as refusal:
        return refusal.code
    return "ok"


async def _check(scene: Scene, moment: str) -> None:
    confiido = scene.confiido
    assert await broken_money(confiido) == [], moment
    assert await broken_laws(confiido) == [], moment
    entries = await confiido.ledger.entries.find({"clientId": scene.change.document["clientId"]})
    gone = {
        entry.id: entry.amount
        for entry in entries
        if entry.kind is EntryKind.REFUND and entry.state is EntryState.SETTLED and entry.provider == "bank"
    }
    by_us = {id_: amount for id_, amount in gone.items() if id_ in scene.bank.asked}
    assert by_us == scene.bank.paid_back, moment
    assert not [entry.id for entry in entries if entry.due_at is not None], moment
