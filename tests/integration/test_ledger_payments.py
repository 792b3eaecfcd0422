"""What paying does: the rules of MONEY, "Sessions" and "The ledger", each with a test of its own."""

import asyncio
from datetime import timedelta
from decimal import Decimal

import pytest
from bson import Decimal128, ObjectId

from confiido_booking import Actor, Confiido, Expert
from confiido_booking.bookings.archive import Archive
from confiido_booking.bookings.views import Change
from confiido_booking.database.store import Store
from confiido_booking.ledger.models import DisputeState, EntryState, Place
from tests.builders import Clock, a_client, an_expert
from tests.ledger import (
    ADMIN,
    SERVICE,
    Bank,
    an_expert_of,
    booked,
    broken_money,
    captured,
    entries_of,
    in_state,
    money_of,
    refused,
    stored,
    with_bank,
)


def _ids(change: Change) -> tuple[ObjectId, ObjectId]:
    return change.booking_id, change.session_id


@pytest.fixture
async def grace(confiido: Confiido) -> Expert:
    return await an_expert_of(confiido, 100)


async def test_paying_a_pending_session_wholly_confirms_it(confiido: Confiido, grace: Expert) -> None:
    change = await booked(confiido, grace)

    paid = await confiido.ledger.paid(change.session_id, actor=ADMIN, method="bank", reference="UTR 7")

    assert await money_of(confiido, change) == ("confirmed", "paid", "100.00", "0")
    assert (paid.payment.amount, paid.payment.reference, paid.payment.state) == (100, "UTR 7", EntryState.CAPTURED)
    assert [(part.to, part.id, part.amount) for part in paid.payment.allocations] == [
        (Place.SESSION, change.session_id, 100)
    ]
    assert await broken_money(confiido) == []


@pytest.mark.parametrize("status", ["requested", "quoted", "cancelled", "draft"])
async def test_what_is_requested_quoted_cancelled_or_a_draft_without_an_order_cannot_be_paid(
    confiido: Confiido, grace: Expert, status: str
) -> None:
    change = await booked(confiido, grace)
    await in_state(confiido, change, status=status)

    assert await refused(confiido.ledger.paid(change.session_id, actor=ADMIN)) == "transition_refused"
    assert await entries_of(confiido) == []


async def test_a_draft_of_an_order_is_paid_and_stays_a_draft(confiido: Confiido, grace: Expert) -> None:
    change = await booked(confiido, grace)
    await in_state(confiido, change, status="draft", orderId=ObjectId())

    await confiido.ledger.paid(change.session_id, actor=ADMIN)

    assert await money_of(confiido, change) == ("draft", "paid", "100.00", "0")


async def test_paying_a_completed_session_only_records_it(confiido: Confiido, grace: Expert) -> None:
    change = await booked(confiido, grace)
    await confiido.bookings.confirm(change.booking_id, change.session_id, actor=ADMIN)
    await confiido.bookings.complete(change.booking_id, change.session_id, actor=ADMIN)

    await confiido.ledger.paid(change.session_id, actor=SERVICE)

    assert await money_of(confiido, change) == ("completed", "paid", "100.00", "0")


async def test_what_owes_nothing_cannot_be_paid(confiido: Confiido, grace: Expert) -> None:
    change = await booked(confiido, grace)
    await confiido.ledger.paid(change.session_id, actor=ADMIN)

    assert await refused(confiido.ledger.paid(change.session_id, actor=ADMIN)) == "already_paid"
    assert len(await entries_of(confiido)) == 1


async def test_more_than_what_is_outstanding_is_refused(confiido: Confiido, grace: Expert) -> None:
    change = await booked(confiido, grace)

    assert (
        await refused(confiido.ledger.paid(change.session_id, actor=ADMIN, amount=Decimal("100.01"))) == "overpayment"
    )
    assert await entries_of(confiido) == []


async def test_another_currency_is_refused(confiido: Confiido, grace: Expert) -> None:
    change = await booked(confiido, grace)
    in_dollars = confiido.ledger.paid(change.session_id, actor=ADMIN, amount=100, currency="USD")

    assert await refused(in_dollars) == "currency_mismatch"


@pytest.mark.parametrize("amount", [0, -1, Decimal("0.001"), 20.5, True])
async def test_what_is_no_amount_is_refused(confiido: Confiido, grace: Expert, amount: object) -> None:
    change = await booked(confiido, grace)

    assert await refused(confiido.ledger.paid(change.session_id, actor=ADMIN, amount=amount)) == "invalid_amount"


async def test_neither_the_client_nor_the_expert_may_say_that_it_was_paid(confiido: Confiido, grace: Expert) -> None:
    ada = a_client()
    change = await booked(confiido, grace, client=ada)

    for actor in (ada, an_expert(grace)):
        assert await refused(confiido.ledger.paid(change.session_id, actor=actor)) == "not_allowed"
    assert await refused(confiido.ledger.paid(change.session_id, actor=a_client())) == "session_not_found"


async def test_a_part_payment_never_confirms_and_restarts_the_hold_once(
    confiido: Confiido, grace: Expert, clock: Clock
) -> None:
    change = await booked(confiido, grace)
    clock.advance(minutes=20)

    await confiido.ledger.paid(change.session_id, actor=ADMIN, amount=40)
    first = (await stored(confiido, change))["timeoutAt"]
    clock.advance(minutes=20)
    await confiido.ledger.paid(change.session_id, actor=ADMIN, amount=30)
    second = (await stored(confiido, change))["timeoutAt"]

    assert await money_of(confiido, change) == ("pending", "partially_paid", "70.00", "0")
    assert first == clock() + timedelta(minutes=10)
    assert second == first
    await confiido.ledger.paid(change.session_id, actor=ADMIN)
    assert await money_of(confiido, change) == ("confirmed", "paid", "100.00", "0")


async def test_lapsing_after_a_part_payment_leaves_all_that_was_paid_due(
    confiido: Confiido, grace: Expert, clock: Clock
) -> None:
    change = await booked(confiido, grace)
    await confiido.ledger.paid(change.session_id, actor=ADMIN, amount=40)
    clock.advance(minutes=31)

    await confiido.chores.expire_holds()

    session = await stored(confiido, change)
    assert (session["status"], str(session["refundDue"])) == ("cancelled", "40.00")
    refunded = await confiido.ledger.refund(change.session_id, actor=ADMIN, reason="The hold lapsed")
    assert (refunded.amount, await money_of(confiido, change)) == (40, ("cancelled", "refunded", "40.00", "40.00"))


async def test_a_lapsed_hold_cannot_be_paid_by_anybodys_word(confiido: Confiido, grace: Expert, clock: Clock) -> None:
    change = await booked(confiido, grace)
    clock.advance(minutes=31)

    assert await refused(confiido.ledger.paid(change.session_id, actor=ADMIN)) == "hold_expired"


async def test_the_same_key_pays_once(confiido: Confiido, grace: Expert) -> None:
    change = await booked(confiido, grace)

    one = await confiido.ledger.paid(change.session_id, actor=ADMIN, amount=40, request_key="k")
    again = await confiido.ledger.paid(change.session_id, actor=ADMIN, amount=40, request_key="k")

    assert (one.payment.id, one.payment.amount) == (again.payment.id, again.payment.amount)
    assert await money_of(confiido, change) == ("pending", "partially_paid", "40.00", "0")


async def test_a_stale_version_is_refused(confiido: Confiido, grace: Expert) -> None:
    change = await booked(confiido, grace)

    assert await refused(confiido.ledger.paid(change.session_id, actor=ADMIN, if_version=7)) == "precondition_failed"
    assert (await confiido.ledger.paid(change.session_id, actor=ADMIN, if_version=1)).payment.amount == 100


@pytest.mark.parametrize(
    ("currency", "price", "part"), [("JPY", "501", "200"), ("INR", "99.99", "33.33"), ("KWD", "1.250", "0.417")]
)
async def test_part_payments_are_exact_in_every_currency(
    confiido: Confiido, currency: str, price: str, part: str
) -> None:
    change = await booked(confiido, await an_expert_of(confiido, price, currency))

    await confiido.ledger.paid(change.session_id, actor=ADMIN, amount=Decimal(part))
    await confiido.ledger.paid(change.session_id, actor=ADMIN)

    session = await stored(confiido, change)
    assert session["paidAmount"].to_decimal() == Decimal(price)
    assert await broken_money(confiido) == []


async def test_of_many_who_pay_at_once_one_does(confiido: Confiido, grace: Expert) -> None:
    change = await booked(confiido, grace)

    answers = await asyncio.gather(
        *(confiido.ledger.paid(change.session_id, actor=ADMIN) for _ in range(8)), return_exceptions=True
    )

    won = [answer for answer in answers if not isinstance(answer, BaseException)]
    codes = {getattr(answer, "code", repr(answer)) for answer in answers if isinstance(answer, BaseException)}
    assert (len(won), codes) == (1, {"already_paid"})
    assert await money_of(confiido, change) == ("confirmed", "paid", "100.00", "0")
    assert await broken_money(confiido) == []


async def test_money_from_before_the_ledger_gets_an_entry_with_the_first_command(
    confiido: Confiido, grace: Expert
) -> None:
    change = await booked(confiido, grace)
    old = {"paidAmount": Decimal128("60.00"), "refundAmount": Decimal128("10.00"), "paymentStatus": "partially_paid"}
    await in_state(confiido, change, status="confirmed", **old)

    await confiido.ledger.paid(change.session_id, actor=ADMIN, amount=50, if_version=1)

    kinds = sorted((entry.provider, entry.kind.value, str(entry.amount)) for entry in await entries_of(confiido))
    assert kinds == [("manual", "payment", "50.00"), ("opening", "payment", "60.00"), ("opening", "refund", "10.00")]
    assert await money_of(confiido, change) == ("confirmed", "paid", "110.00", "10.00")
    assert await broken_money(confiido) == []


async def test_money_from_before_the_ledger_gets_an_entry_by_the_doctor(confiido: Confiido, grace: Expert) -> None:
    change = await booked(confiido, grace)
    await in_state(confiido, change, status="confirmed", paidAmount=Decimal128("60.00"))
    before = await confiido.doctor.examine()

    await confiido.doctor.repair()

    assert [entry.provider for entry in await entries_of(confiido)] == ["opening"]
    assert "ledger" not in {finding.kind for finding in before.findings}
    assert await broken_money(confiido) == []
    assert (await confiido.doctor.examine()).is_sound


async def test_an_archived_session_comes_back_when_it_is_paid(confiido: Confiido, grace: Expert, clock: Clock) -> None:
    change = await booked(confiido, grace)
    await confiido.bookings.confirm(change.booking_id, change.session_id, actor=ADMIN)
    await confiido.bookings.complete(change.booking_id, change.session_id, actor=ADMIN)
    clock.advance(days=800)
    client_id = change.document["clientId"]
    assert await Archive(confiido.store).client(client_id, now=clock(), older_than=timedelta(0)) == 1

    await confiido.ledger.paid(change.session_id, actor=ADMIN)

    booking = await confiido.bookings.get(change.booking_id, actor=ADMIN)
    assert [session["sessionId"] for session in booking["sessions"]] == [change.session_id]
    assert (booking["archived"], booking["totalSessions"]) == ({"sessions": 0, "sums": {}}, 1)
    assert (await confiido.bookings.list(actor=ADMIN)).total == 1
    assert (await confiido.doctor.examine()).is_sound
    await Archive(confiido.store).client(client_id, now=clock(), older_than=timedelta(0))
    assert await money_of(confiido, change) == ("completed", "paid", "100.00", "0")
    assert await broken_money(confiido) == []
    assert (await confiido.doctor.examine()).is_sound


async def test_complete_payment_believes_a_client_once_a_verified_payment_is_there(
    confiido: Confiido, grace: Expert
) -> None:
    ada = a_client()
    change = await booked(confiido, grace, client=ada)
    ids = change.booking_id, change.session_id
    alone = await refused(confiido.bookings.complete_payment(*ids, actor=ada))
    await captured(confiido, change)

    for _ in range(2):
        done = await confiido.bookings.complete_payment(*ids, actor=ada)

        assert (done.session.status, done.session.payment_status) == ("confirmed", "paid")
    assert alone == "payment_not_verified"


async def test_complete_payment_of_an_archived_session_that_was_paid_answers_as_before(
    confiido: Confiido, grace: Expert, clock: Clock
) -> None:
    ada = a_client()
    paid, refunded = await booked(confiido, grace, client=ada), await booked(confiido, grace, client=ada, hours=30)
    for number, change in enumerate((paid, refunded)):
        await captured(confiido, change, f"pay_{number}")
        await confiido.bookings.complete(*_ids(change), actor=ADMIN)
    await with_bank(confiido, Bank()).ledger.refund(refunded.session_id, actor=ADMIN, amount=40, reason="Late")
    clock.advance(days=40)
    assert await Archive(confiido.store).client(paid.document["clientId"], now=clock(), older_than=timedelta(0)) == 2

    for actor in (ada, ADMIN):
        done = await confiido.bookings.complete_payment(*_ids(paid), actor=actor)

        assert (done.repeated, done.session.payment_status) == (True, "paid")
    assert await refused(confiido.bookings.complete_payment(*_ids(refunded), actor=ada)) == "archived"
    booking = await confiido.bookings.get(paid.booking_id, actor=ADMIN)
    assert booking["sessions"] == []


async def test_a_verified_payment_whose_process_died_is_placed_by_whoever_meets_it(
    confiido: Confiido, grace: Expert, clock: Clock
) -> None:
    ada = a_client()
    change = await booked(confiido, grace, client=ada)
    owed = await confiido.ledger.owed(Place.SESSION, change.session_id, actor=ada)
    entry = await confiido.ledger.open(owed, provider="bank", provider_order_id="o", actor=ada)
    await confiido.ledger.entries.change(entry, "captured", state=EntryState.CAPTURED, due_at=clock())

    done = await confiido.bookings.complete_payment(change.booking_id, change.session_id, actor=ada)

    assert done.session.payment_status == "paid"
    assert await broken_money(confiido) == []


async def test_the_worker_finishes_what_a_dead_process_left(confiido: Confiido, grace: Expert, clock: Clock) -> None:
    change = await booked(confiido, grace)
    owed = await confiido.ledger.owed(Place.SESSION, change.session_id, actor=ADMIN)
    entry = await confiido.ledger.open(owed, provider="bank", provider_order_id="o", actor=ADMIN)
    due = clock() + timedelta(seconds=30)
    await confiido.ledger.entries.change(entry, "captured", state=EntryState.CAPTURED, due_at=due)

    at_once = await confiido.ledger.settle()
    clock.advance(seconds=31)
    later = await confiido.ledger.settle()

    assert (at_once, later) == (0, 1)
    assert await money_of(confiido, change) == ("confirmed", "paid", "100.00", "0")


async def test_the_same_payment_told_twice_makes_one_entry(confiido: Confiido, grace: Expert) -> None:
    change = await booked(confiido, grace)

    told = await captured(confiido, change)
    again = await asyncio.gather(*(captured(confiido, change) for _ in range(4)))

    assert {entry.id for entry in again} == {told.id}
    assert await money_of(confiido, change) == ("confirmed", "paid", "100.00", "0")


async def test_what_a_provider_brings_beyond_what_is_owed_is_unplaced(confiido: Confiido, grace: Expert) -> None:
    change = await booked(confiido, grace)

    entry = await captured(confiido, change, amount=130)

    assert [(part.to.value, str(part.amount), part.reason) for part in entry.allocations] == [
        ("session", "100.00", None),
        ("unplaced", "30.00", "overpayment"),
    ]
    assert await money_of(confiido, change) == ("confirmed", "paid", "100.00", "0")


async def test_a_second_payment_of_a_paid_session_is_unplaced(confiido: Confiido, grace: Expert) -> None:
    change = await booked(confiido, grace)
    await captured(confiido, change)
    again = await confiido.ledger.captured(
        provider="bank",
        provider_payment_id="pay_2",
        provider_order_id="order_pay_1",
        amount=Decimal(100),
        currency="INR",
    )

    assert [(part.to, part.reason) for part in again.allocations] == [(Place.UNPLACED, "already_paid")]
    assert await broken_money(confiido) == []


async def test_a_payment_of_nothing_we_know_or_in_another_currency_is_unplaced_with_its_reason(
    confiido: Confiido, grace: Expert
) -> None:
    change = await booked(confiido, grace)

    unknown = await confiido.ledger.captured(
        provider="bank", provider_payment_id="pay_9", provider_order_id="nobody's", amount=Decimal(5), currency="INR"
    )
    foreign = await captured(confiido, change, currency="USD")

    assert [part.reason for entry in (unknown, foreign) for part in entry.allocations] == [
        "unknown_payment",
        "currency_mismatch",
    ]
    assert await money_of(confiido, change) == ("pending", "pending", "0", "0")


async def test_a_failed_attempt_is_said_by_its_session_and_told_once(confiido: Confiido, grace: Expert) -> None:
    change = await booked(confiido, grace)
    await attempted(confiido, change)

    for _ in range(2):
        await attempt_failed(confiido)

    assert await money_of(confiido, change) == ("pending", "failed", "0", "0")
    assert await told(confiido, "payment.failed") == [change.session_id]
    assert (await confiido.bookings.stats(actor=ADMIN)).by_payment == {"failed": 1}
    assert (await confiido.doctor.examine()).is_sound


async def test_a_later_capture_mends_a_failed_attempt(confiido: Confiido, grace: Expert) -> None:
    change = await booked(confiido, grace)
    await attempted(confiido, change)
    await attempt_failed(confiido)

    await captured(confiido, change)

    assert await money_of(confiido, change) == ("confirmed", "paid", "100.00", "0")


@pytest.mark.parametrize(("paid", "status"), [(100, "paid"), (40, "partially_paid")])
async def test_a_failed_attempt_never_lowers_what_is_paid(
    confiido: Confiido, grace: Expert, paid: int, status: str
) -> None:
    change = await booked(confiido, grace)
    await attempted(confiido, change)
    await confiido.ledger.paid(change.session_id, actor=ADMIN, amount=paid)

    await attempt_failed(confiido)

    assert (await money_of(confiido, change))[1] == status
    assert await told(confiido, "payment.failed") == [change.session_id]


async def test_a_failure_whose_process_died_is_said_by_its_session_later(
    confiido: Confiido, grace: Expert, store: Store, clock: Clock
) -> None:
    change = await booked(confiido, grace)
    await attempted(confiido, change)

    async def die(step: str) -> None:
        if step == "payment-failed":
            raise RuntimeError("died")

    store.hook = die
    with pytest.raises(RuntimeError):
        await attempt_failed(confiido)
    store.hook = None
    clock.advance(seconds=31)

    assert await confiido.ledger.settle() == 1
    assert await confiido.ledger.settle() == 0
    assert await money_of(confiido, change) == ("pending", "failed", "0", "0")


async def test_a_dispute_is_told_once(confiido: Confiido, grace: Expert) -> None:
    change = await booked(confiido, grace)
    await captured(confiido, change)

    for outcome in (DisputeState.OPEN, DisputeState.OPEN, DisputeState.LOST):
        await confiido.ledger.disputed(
            provider="bank",
            provider_dispute_id="dp_1",
            provider_payment_id="pay_1",
            amount=Decimal(100),
            currency="INR",
            outcome=outcome,
        )

    assert await told(confiido, "payment.disputed") == [change.session_id]
    assert await told(confiido, "payment.charged_back") == [change.session_id]


async def test_a_payment_that_is_refused_is_not_told_as_unplaced(confiido: Confiido, grace: Expert) -> None:
    change = await booked(confiido, grace)

    pays = (confiido.ledger.paid(change.session_id, actor=ADMIN) for _ in range(4))
    await asyncio.gather(*pays, return_exceptions=True)

    assert await told(confiido, "payment.received") == [change.session_id]
    assert await told(confiido, "payment.unplaced") == []


async def attempted(confiido: Confiido, change: Change) -> None:
    owed = await confiido.ledger.owed(Place.SESSION, change.session_id, actor=ADMIN)
    await confiido.ledger.open(owed, provider="bank", provider_order_id="order_pay_1", actor=ADMIN)


async def attempt_failed(confiido: Confiido) -> None:
    await confiido.ledger.failed(
        provider="bank", provider_payment_id="pay_0", provider_order_id="order_pay_1", reason="declined"
    )


async def told(confiido: Confiido, type_: str) -> list[ObjectId | None]:
    """The sessions of which this was told."""
    await confiido.events.collect()
    events = await confiido.store.collection("events").find({"type": type_}).to_list()
    return [event.get("sessionId") for event in events]


async def test_a_failed_attempt_may_still_succeed_and_success_never_fails(confiido: Confiido, grace: Expert) -> None:
    change = await booked(confiido, grace)
    owed = await confiido.ledger.owed(Place.SESSION, change.session_id, actor=ADMIN)
    await confiido.ledger.open(owed, provider="bank", provider_order_id="order_pay_1", actor=ADMIN)
    named = {"provider": "bank", "provider_order_id": "order_pay_1"}

    failed = await confiido.ledger.failed(provider_payment_id="pay_0", **named)  # type: ignore[arg-type]
    paid = await captured(confiido, change)
    late = await confiido.ledger.failed(provider_payment_id="pay_0", **named)  # type: ignore[arg-type]

    assert (failed and failed.state, paid.state, late and late.state) == ("failed", "captured", "captured")


async def test_a_late_payment_takes_its_slot_again(confiido: Confiido, grace: Expert, clock: Clock) -> None:
    change = await booked(confiido, grace)
    await confiido.ledger.open(
        await confiido.ledger.owed(Place.SESSION, change.session_id, actor=ADMIN),
        provider="bank", provider_order_id="order_pay_1", actor=ADMIN,
    )  # fmt: skip
    clock.advance(minutes=45)

    entry = await captured(confiido, change)

    session = await stored(confiido, change)
    assert await money_of(confiido, change) == ("confirmed", "paid", "100.00", "0")
    assert [part.to for part in entry.allocations] == [Place.SESSION]
    assert session.get("cancelledBy") is None
    assert [each["to"] for each in session["history"]] == ["pending", "cancelled", "confirmed"]
    assert (await confiido.doctor.examine()).is_sound
    assert await broken_money(confiido) == []


@pytest.mark.parametrize("why", ["slot_taken", "already_started", "transition_refused"])
async def test_a_late_payment_whose_slot_is_gone_is_unplaced_and_offered_for_refund(
    confiido: Confiido, grace: Expert, clock: Clock, why: str
) -> None:
    change = await booked(confiido, grace)
    await confiido.ledger.open(
        await confiido.ledger.owed(Place.SESSION, change.session_id, actor=ADMIN),
        provider="bank", provider_order_id="order_pay_1", actor=ADMIN,
    )  # fmt: skip
    clock.advance(minutes=45)
    if why == "slot_taken":
        await booked(confiido, grace, hours=24 - 0.75)
    elif why == "already_started":
        clock.advance(hours=24)
    else:
        await confiido.chores.expire_holds()
        await in_state(confiido, change, cancelledBy="client", timeoutStatus="completed")

    entry = await captured(confiido, change)

    reason = "cancelled" if why == "transition_refused" else why
    assert [(part.to, part.reason) for part in entry.allocations] == [(Place.UNPLACED, reason)]
    assert (await stored(confiido, change))["status"] == "cancelled"
    with_provider = with_bank(confiido, Bank())
    back = await with_provider.ledger.refund_payment(entry.id, actor=ADMIN, reason="Too late")
    assert [(each.state, each.amount) for each in back] == [(EntryState.SETTLED, 100)]
    assert await broken_money(confiido) == []


async def test_a_session_that_a_person_cancelled_is_never_revived(
    confiido: Confiido, grace: Expert, clock: Clock
) -> None:
    ada = a_client()
    change = await booked(confiido, grace, client=ada)
    owed = await confiido.ledger.owed(Place.SESSION, change.session_id, actor=ada)
    await confiido.ledger.open(owed, provider="bank", provider_order_id="order_pay_1", actor=ada)
    await confiido.bookings.cancel(change.booking_id, change.session_id, actor=ada)

    entry = await captured(confiido, change)

    assert [(part.to, part.reason) for part in entry.allocations] == [(Place.UNPLACED, "cancelled")]
    assert await money_of(confiido, change) == ("cancelled", "pending", "0", "0")


async def test_an_orders_payment_goes_to_its_sessions_in_proportion_to_what_each_owes(confiido: Confiido) -> None:
    ada, order = a_client(), ObjectId()
    changes = []
    for hours, price in ((24, "10.00"), (48, "10.00"), (72, "10.01")):
        expert = await an_expert_of(confiido, price)
        changes.append(await booked(confiido, expert, client=ada, hours=hours))
        await in_state(confiido, changes[-1], orderId=order)
    placed = {"_id": order, "clientId": ada.id, "status": "pending_payment", "reference": "CO-1"}
    await confiido.store.insert("insert order", "orders", placed)
    owed = await confiido.ledger.owed(Place.ORDER, order, actor=ada)
    await confiido.ledger.open(owed, provider="bank", provider_order_id="o", actor=ada)

    part = await confiido.ledger.captured(
        provider="bank", provider_payment_id="p1", provider_order_id="o", amount=Decimal("10.00"), currency="INR"
    )
    rest = await confiido.ledger.captured(
        provider="bank", provider_payment_id="p2", provider_order_id="o", amount=Decimal("20.01"), currency="INR"
    )

    assert owed.amount == Decimal("30.01")
    assert [str(each.amount) for each in part.allocations] == ["3.33", "3.33", "3.34"]
    assert [str(each.amount) for each in rest.allocations] == ["6.67", "6.67", "6.67"]
    assert [(await money_of(confiido, each))[:2] for each in changes] == [("confirmed", "paid")] * 3
    assert await broken_money(confiido) == []


async def test_a_client_sees_the_entries_of_the_own_session_and_an_expert_none(
    confiido: Confiido, grace: Expert
) -> None:
    ada = a_client()
    change = await booked(confiido, grace, client=ada)
    await confiido.ledger.paid(change.session_id, actor=ADMIN, amount=40)

    seen = await confiido.ledger.of_session(change.session_id, actor=ada)

    assert [(entry.amount, entry.provider) for entry in seen] == [(40, "manual")]
    assert await refused(confiido.ledger.of_session(change.session_id, actor=an_expert(grace))) == "not_allowed"
    assert await refused(confiido.ledger.of_session(change.session_id, actor=Actor.client(ObjectId()))) == (
        "session_not_found"
    )
