"""What goes back, and by which rules: MONEY, "Cancelling and refunds" and "The ledger", each with a test of its own."""

import asyncio
from datetime import timedelta
from decimal import Decimal

import pytest
from bson import Decimal128, ObjectId

from confiido_booking import Confiido, Expert
from confiido_booking.billing.models import Party
from confiido_booking.billing.rules import LineWish
from confiido_booking.bookings.archive import Archive
from confiido_booking.bookings.views import Change
from confiido_booking.ledger.models import DisputeState, EntryState, Place
from confiido_booking.settings import Settings
from tests.builders import Clock, a_client, an_expert
from tests.ledger import (
    ADMIN,
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

TIERS = {
    "cancellation_policy": {
        "tiers": [{"hours_before": 24, "refund_percent": 100}, {"hours_before": 6, "refund_percent": 50}],
        "client_until_hours_before": 2,
    }
}


@pytest.fixture
async def grace(confiido: Confiido) -> Expert:
    return await an_expert_of(confiido, 100)


@pytest.fixture
def bank() -> Bank:
    return Bank()


@pytest.fixture
def banked(confiido: Confiido, bank: Bank) -> Confiido:
    """The library with a provider that pays back."""
    return with_bank(confiido, bank)


async def paid(confiido: Confiido, expert: Expert, *amounts: int, hours: float = 48) -> Change:
    change = await booked(confiido, expert, hours=hours)
    for amount in amounts or (100,):
        await confiido.ledger.paid(change.session_id, actor=ADMIN, amount=amount)
    return change


async def test_a_refund_of_a_session_that_is_not_cancelled_lowers_its_price_so_that_nobody_owes(
    confiido: Confiido, grace: Expert
) -> None:
    change = await paid(confiido, grace)

    refunded = await confiido.ledger.refund(change.session_id, actor=ADMIN, amount=30, reason="A late start")

    session = await stored(confiido, change)
    booking = await confiido.bookings.get(change.booking_id, actor=ADMIN)
    assert [(entry.state, entry.amount) for entry in refunded.refunds] == [(EntryState.SETTLED, 30)]
    assert await money_of(confiido, change) == ("confirmed", "partially_refunded", "100.00", "30.00")
    assert str(session["price"]) == "70.00"
    assert session["history"][-1]["reason"] == "A late start"
    assert booking["totals"]["INR"]["outstanding"].to_decimal() == 0
    assert await broken_money(confiido) == []


async def test_a_refund_first_consumes_an_over_payment(confiido: Confiido, grace: Expert) -> None:
    change = await paid(confiido, grace)
    await in_state(confiido, change, price=Decimal128("80.00"))

    await confiido.ledger.refund(change.session_id, actor=ADMIN, amount=30, reason="Agreed on less")

    assert str((await stored(confiido, change))["price"]) == "70.00"


async def test_more_than_was_paid_never_goes_back(confiido: Confiido, grace: Expert) -> None:
    change = await paid(confiido, grace)
    unpaid = await booked(confiido, grace, hours=30)

    assert (
        await refused(confiido.ledger.refund(change.session_id, actor=ADMIN, amount=101, reason="x")) == "over_refund"
    )
    await confiido.ledger.refund(change.session_id, actor=ADMIN, amount=100, reason="x")
    again = confiido.ledger.refund(change.session_id, actor=ADMIN, amount=1, reason="x")
    assert await refused(again) == "nothing_to_refund"
    nothing = confiido.ledger.refund(unpaid.session_id, actor=ADMIN, amount=1, reason="x")
    assert await refused(nothing) == "nothing_to_refund"
    assert await money_of(confiido, change) == ("confirmed", "refunded", "100.00", "100.00")


async def test_of_many_refunds_at_once_no_more_goes_back_than_was_paid(
    banked: Confiido, bank: Bank, grace: Expert
) -> None:
    change = await booked(banked, grace)
    await captured(banked, change)

    answers = await asyncio.gather(
        *(banked.ledger.refund(change.session_id, actor=ADMIN, amount=40, reason="x") for _ in range(6)),
        return_exceptions=True,
    )

    done = [answer for answer in answers if not isinstance(answer, BaseException)]
    assert len(done) == 2, answers
    assert sum(bank.paid_back.values()) == 80
    assert await money_of(banked, change) == ("confirmed", "partially_refunded", "100.00", "80.00")
    assert await broken_money(banked) == []


async def test_without_an_amount_a_cancelled_session_gives_back_what_is_left_of_what_is_due(
    confiido: Confiido, clock: Clock
) -> None:
    ada, expert = a_client(), await an_expert_of(confiido, 100, **TIERS)
    change = await booked(confiido, expert, client=ada, hours=48)
    await confiido.ledger.paid(change.session_id, actor=ADMIN)
    clock.advance(hours=40)
    await confiido.bookings.cancel(change.booking_id, change.session_id, actor=ada)

    first = await confiido.ledger.refund(change.session_id, actor=ADMIN, amount=20, reason="x")
    rest = await confiido.ledger.refund(change.session_id, actor=ADMIN, reason="x")

    assert [first.amount, rest.amount] == [20, 30]
    assert str((await stored(confiido, change))["price"]) == "100.00"
    assert await refused(confiido.ledger.refund(change.session_id, actor=ADMIN, reason="x")) == "nothing_to_refund"
    assert await money_of(confiido, change) == ("cancelled", "partially_refunded", "100.00", "50.00")


async def test_what_is_not_cancelled_needs_an_amount(confiido: Confiido, grace: Expert) -> None:
    change = await paid(confiido, grace)

    assert await refused(confiido.ledger.refund(change.session_id, actor=ADMIN, reason="x")) == "amount_required"


async def test_an_admin_may_set_another_refund_with_a_reason(confiido: Confiido, grace: Expert) -> None:
    change = await paid(confiido, grace)
    await confiido.bookings.cancel(change.booking_id, change.session_id, actor=ADMIN)

    lowered = await confiido.ledger.set_refund_due(change.session_id, actor=ADMIN, amount=60, reason="Agreed")

    booking = await confiido.bookings.get(change.booking_id, actor=ADMIN)
    assert (lowered.session.refund_due, lowered.session.history[-1].reason) == (60, "Agreed")
    assert booking["totals"]["INR"]["refundable"].to_decimal() == 60
    too_much = confiido.ledger.set_refund_due(change.session_id, actor=ADMIN, amount=101, reason="x")
    assert await refused(too_much) == "over_refund"
    await confiido.ledger.refund(change.session_id, actor=ADMIN, reason="x")
    too_late = confiido.ledger.set_refund_due(change.session_id, actor=ADMIN, amount=50, reason="x")
    assert await refused(too_late) == "already_refunded"


async def test_a_refund_by_several_payments_takes_the_latest_first(confiido: Confiido, grace: Expert) -> None:
    change = await paid(confiido, grace, 60, 40)

    refunded = await confiido.ledger.refund(change.session_id, actor=ADMIN, amount=70, reason="x", request_key="k")
    again = await confiido.ledger.refund(change.session_id, actor=ADMIN, amount=70, reason="x", request_key="k")

    payments = {entry.id: entry.amount for entry in await entries_of(confiido) if entry.kind == "payment"}
    legs = [(payments[entry.refers or ObjectId()], entry.amount) for entry in refunded.refunds]
    assert legs == [(40, 40), (60, 30)]
    assert [entry.id for entry in again.refunds] == [entry.id for entry in refunded.refunds]
    assert await money_of(confiido, change) == ("confirmed", "partially_refunded", "100.00", "70.00")
    assert await broken_money(confiido) == []


async def test_a_refund_is_reserved_until_its_provider_has_paid(banked: Confiido, bank: Bank, grace: Expert) -> None:
    change = await booked(banked, grace)
    await captured(banked, change)
    bank.answers = "pending"

    refunded = await banked.ledger.refund(change.session_id, actor=ADMIN, amount=70, reason="x")
    under_way = await stored(banked, change)
    more = await refused(banked.ledger.refund(change.session_id, actor=ADMIN, amount=31, reason="x"))
    leg = refunded.refunds[0]
    settled = await banked.ledger.refund_settled(
        provider="bank", provider_refund_id=leg.provider_refund_id or "", provider_payment_id="pay_1",
        amount=Decimal(70), currency="INR", refund_id=leg.id,
    )  # fmt: skip

    assert (leg.state, settled.state, more) == (EntryState.PENDING, EntryState.SETTLED, "over_refund")
    assert (str(under_way["refundPending"]), str(under_way["refundAmount"])) == ("70.00", "0")
    assert await money_of(banked, change) == ("confirmed", "partially_refunded", "100.00", "70.00")
    assert (await stored(banked, change))["refundPending"].to_decimal() == 0
    assert await broken_money(banked) == []


async def test_a_refund_that_its_provider_refuses_is_released(banked: Confiido, bank: Bank, grace: Expert) -> None:
    change = await booked(banked, grace)
    await captured(banked, change)
    bank.answers = "failed"

    refunded = await banked.ledger.refund(change.session_id, actor=ADMIN, amount=70, reason="x")

    assert [entry.state for entry in refunded.refunds] == [EntryState.RELEASED]
    assert await money_of(banked, change) == ("confirmed", "paid", "100.00", "0")
    assert (await stored(banked, change))["refundPending"].to_decimal() == 0
    bank.answers = "settled"
    await banked.ledger.refund(change.session_id, actor=ADMIN, amount=100, reason="x")
    assert await money_of(banked, change) == ("confirmed", "refunded", "100.00", "100.00")
    assert await broken_money(banked) == []


async def test_a_refund_whose_provider_is_silent_is_asked_for_again_under_the_same_id(
    banked: Confiido, bank: Bank, grace: Expert, clock: Clock
) -> None:
    change = await booked(banked, grace)
    await captured(banked, change)
    bank.answers = "silent"
    silent = await banked.ledger.refund(change.session_id, actor=ADMIN, amount=70, reason="x")

    bank.answers = "settled"
    clock.advance(hours=2)
    await banked.ledger.settle()

    assert [entry.state for entry in silent.refunds] == [EntryState.PENDING]
    assert bank.asked == [silent.refunds[0].id] * 2
    assert await money_of(banked, change) == ("confirmed", "partially_refunded", "100.00", "70.00")


async def test_a_refund_of_a_provider_that_is_not_configured_is_refused(confiido: Confiido, grace: Expert) -> None:
    change = await booked(confiido, grace)
    await captured(confiido, change)

    refusal = await refused(confiido.ledger.refund(change.session_id, actor=ADMIN, amount=70, reason="x"))

    assert refusal == "provider_not_configured"
    assert await money_of(confiido, change) == ("confirmed", "paid", "100.00", "0")


async def test_a_refund_made_at_the_providers_becomes_an_entry(banked: Confiido, grace: Expert) -> None:
    change = await booked(banked, grace)
    await captured(banked, change)

    for _ in range(2):
        await banked.ledger.refund_settled(
            provider="bank", provider_refund_id="rf_1", provider_payment_id="pay_1", amount=Decimal(25), currency="INR"
        )

    assert await money_of(banked, change) == ("confirmed", "partially_refunded", "100.00", "25.00")
    assert str((await stored(banked, change))["price"]) == "75.00"
    assert await broken_money(banked) == []


async def test_a_refund_or_a_dispute_that_comes_before_its_payment_waits_for_it(
    banked: Confiido, grace: Expert
) -> None:
    change = await booked(banked, grace)
    told = {"provider": "bank", "provider_payment_id": "pay_1", "currency": "INR"}
    await banked.ledger.refund_settled(provider_refund_id="rf_1", amount=Decimal(25), **told)  # type: ignore[arg-type]
    await banked.ledger.disputed(
        provider_dispute_id="dp_1",
        amount=Decimal(10),
        outcome=DisputeState.LOST,
        **told,  # type: ignore[arg-type]
    )
    before = await money_of(banked, change)

    await captured(banked, change)

    assert before == ("pending", "pending", "0", "0")
    assert await money_of(banked, change) == ("confirmed", "partially_refunded", "100.00", "35.00")
    assert await broken_money(banked) == []


async def test_a_dispute_changes_nothing_until_it_is_lost_and_then_it_is_owed_again(
    banked: Confiido, grace: Expert
) -> None:
    change = await booked(banked, grace)
    await captured(banked, change)
    dispute = {
        "provider": "bank", "provider_dispute_id": "dp_1", "provider_payment_id": "pay_1",
        "amount": Decimal(100), "currency": "INR",
    }  # fmt: skip

    await banked.ledger.disputed(outcome=DisputeState.OPEN, **dispute)  # type: ignore[arg-type]
    while_open = await money_of(banked, change)
    refusal = await refused(banked.ledger.refund(change.session_id, actor=ADMIN, amount=10, reason="x"))
    for _ in range(2):
        lost = await banked.ledger.disputed(outcome=DisputeState.LOST, **dispute)  # type: ignore[arg-type]

    booking = await banked.bookings.get(change.booking_id, actor=ADMIN)
    assert (while_open, refusal) == (("confirmed", "paid", "100.00", "0"), "disputed")
    assert (lost.kind, lost.state) == ("chargeback", EntryState.CAPTURED)
    assert await money_of(banked, change) == ("confirmed", "refunded", "100.00", "100.00")
    assert booking["totals"]["INR"]["outstanding"].to_decimal() == 100
    await banked.ledger.paid(change.session_id, actor=ADMIN)
    assert await money_of(banked, change) == ("confirmed", "paid", "200.00", "100.00")
    assert await broken_money(banked) == []


async def test_a_dispute_that_was_won_lets_money_go_back_again(banked: Confiido, grace: Expert) -> None:
    change = await booked(banked, grace)
    await captured(banked, change)
    for outcome in (DisputeState.OPEN, DisputeState.WON, DisputeState.OPEN):
        await banked.ledger.disputed(
            provider="bank", provider_dispute_id="dp_1", provider_payment_id="pay_1",
            amount=Decimal(100), currency="INR", outcome=outcome,
        )  # fmt: skip

    await banked.ledger.refund(change.session_id, actor=ADMIN, amount=10, reason="x")

    assert await money_of(banked, change) == ("confirmed", "partially_refunded", "100.00", "10.00")


async def test_a_payments_unplaced_money_goes_back_first_and_never_twice(
    banked: Confiido, bank: Bank, grace: Expert
) -> None:
    change = await booked(banked, grace)
    entry = await captured(banked, change, amount=130)

    first = await banked.ledger.refund_payment(entry.id, actor=ADMIN, reason="Too much")
    rest = await banked.ledger.refund_payment(entry.id, actor=ADMIN, reason="All of it")

    after = await banked.ledger.entries.get(entry.id)
    assert [[each.amount for each in done] for done in (first, rest)] == [[30], [100]]
    assert after
    assert after.state is EntryState.REFUNDED
    assert sum(bank.paid_back.values()) == 130
    again = banked.ledger.refund_payment(entry.id, actor=ADMIN, reason="x")
    assert await refused(again) == "nothing_to_refund"
    assert await broken_money(banked) == []


async def test_races_on_a_payments_unplaced_money_pay_it_back_once(banked: Confiido, bank: Bank, grace: Expert) -> None:
    entry = await banked.ledger.captured(
        provider="bank", provider_payment_id="pay_7", amount=Decimal(50), currency="INR"
    )

    answers = await asyncio.gather(
        *(banked.ledger.refund_payment(entry.id, actor=ADMIN, amount=30, reason="x") for _ in range(5)),
        return_exceptions=True,
    )

    assert sum(not isinstance(answer, BaseException) for answer in answers) == 1
    assert sum(bank.paid_back.values()) == 30


async def test_an_archived_session_comes_back_when_it_is_refunded(
    confiido: Confiido, grace: Expert, clock: Clock
) -> None:
    change = await paid(confiido, grace)
    await confiido.bookings.complete(change.booking_id, change.session_id, actor=ADMIN)
    clock.advance(days=60)
    client_id = change.document["clientId"]
    assert await Archive(confiido.store).client(client_id, now=clock(), older_than=timedelta(0)) == 1

    await confiido.ledger.refund(change.session_id, actor=ADMIN, amount=10, reason="x")

    assert await money_of(confiido, change) == ("completed", "partially_refunded", "100.00", "10.00")
    assert (await confiido.doctor.examine()).is_sound
    assert await broken_money(confiido) == []


async def test_the_worker_pays_back_what_is_due_where_it_is_told_to(
    confiido: Confiido, grace: Expert, settings: Settings
) -> None:
    change, unpaid = await paid(confiido, grace), await booked(confiido, grace, hours=30)
    for each in (change, unpaid):
        await confiido.bookings.cancel(each.booking_id, each.session_id, actor=ADMIN)
    by_itself = type(confiido).over(confiido.store, settings.model_copy(update={"auto_refund": True}), confiido.clock)

    off = await confiido.chores.once()
    on = [(await by_itself.chores.once())["refunded"] for _ in range(2)]

    assert (off["refunded"], on) == (0, [1, 0])
    assert await money_of(confiido, change) == ("cancelled", "refunded", "100.00", "100.00")


async def test_many_disputed_sessions_do_not_hold_up_the_refunds_of_the_rest(
    confiido: Confiido, grace: Expert, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("confiido_booking.database.store.WALK_BATCH", 2)
    sessions = [await booked(confiido, grace, hours=24 + hour) for hour in range(5)]
    for number, change in enumerate(sessions):
        await captured(confiido, change, f"pay_{number}")
        await confiido.bookings.cancel(change.booking_id, change.session_id, actor=ADMIN)
    for number in range(4):
        await confiido.ledger.disputed(
            provider="bank", provider_dispute_id=f"dp_{number}", provider_payment_id=f"pay_{number}",
            amount=Decimal(100), currency="INR", outcome=DisputeState.OPEN,
        )  # fmt: skip
    refunding = settings.model_copy(update={"auto_refund": True})
    by_itself = type(confiido).over(confiido.store, refunding, confiido.clock, providers={"bank": Bank()})

    paid_back = await by_itself.ledger.pay_back_due()

    assert paid_back == 1
    assert [(await money_of(confiido, each))[3] for each in sessions] == ["0", "0", "0", "0", "100.00"]


@pytest.mark.parametrize(
    ("hours_left", "refund", "fee", "tier"),
    [
        (24, "100.00", "0.00", 24),
        (23.99, "50.00", "50.00", 6),
        (6, "50.00", "50.00", 6),
        (5.99, "0.00", "100.00", None),
    ],
)
async def test_the_preview_says_what_cancelling_then_does(
    confiido: Confiido, clock: Clock, hours_left: float, refund: str, fee: str, tier: int | None
) -> None:
    ada, expert = a_client(), await an_expert_of(confiido, 100, **TIERS)
    change = await booked(confiido, expert, client=ada, hours=48)
    await confiido.ledger.paid(change.session_id, actor=ADMIN)
    starts_at = change.session.starts_at
    assert starts_at is not None
    clock.now = starts_at - timedelta(hours=hours_left)

    terms = await confiido.ledger.cancellation(change.session_id, actor=ada)
    by_expert = await confiido.ledger.cancellation(change.session_id, actor=an_expert(expert))
    cancelled = await confiido.bookings.cancel(change.booking_id, change.session_id, actor=ada)
    after = await confiido.ledger.cancellation(change.session_id, actor=ada)

    ends = starts_at - timedelta(hours=tier if tier else 2)
    assert (terms.allowed, terms.refund_amount, terms.fee) == (True, Decimal(refund), Decimal(fee))
    assert (terms.tier and terms.tier.hours_before, terms.until) == (tier, ends)
    assert (by_expert.refund_amount, by_expert.fee, by_expert.until) == (100, 0, None)
    assert cancelled.session.refund_due == terms.refund_amount
    assert (after.allowed, after.refund_amount, after.fee) == (False, terms.refund_amount, terms.fee)


async def test_too_late_to_cancel_the_preview_allows_nothing(confiido: Confiido, clock: Clock) -> None:
    ada, expert = a_client(), await an_expert_of(confiido, 100, **TIERS)
    change = await booked(confiido, expert, client=ada, hours=48)
    await confiido.ledger.paid(change.session_id, actor=ADMIN)
    clock.advance(hours=46.5)

    terms = await confiido.ledger.cancellation(change.session_id, actor=ada)

    assert (terms.allowed, terms.refund_amount, terms.until) == (False, 0, None)


async def test_a_refund_under_way_is_not_previewed_again(banked: Confiido, bank: Bank, grace: Expert) -> None:
    change = await booked(banked, grace)
    await captured(banked, change)
    bank.answers = "pending"
    await banked.ledger.refund(change.session_id, actor=ADMIN, amount=70, reason="x")

    terms = await banked.ledger.cancellation(change.session_id, actor=ADMIN)

    assert (terms.refund_amount, terms.fee) == (30, 0)


@pytest.mark.parametrize(("currency", "price", "part"), [("JPY", "501", "250"), ("KWD", "1.255", "0.628")])
async def test_refunds_are_rounded_half_up_in_the_currencys_own_decimals(
    confiido: Confiido, clock: Clock, currency: str, price: str, part: str
) -> None:
    half = {"cancellation_policy": {"tiers": [{"hours_before": 1, "refund_percent": 50}]}}
    ada, expert = a_client(), await an_expert_of(confiido, price, currency, **half)
    change = await booked(confiido, expert, client=ada)
    await confiido.ledger.paid(change.session_id, actor=ADMIN)
    await confiido.bookings.cancel(change.booking_id, change.session_id, actor=ada)

    refunded = await confiido.ledger.refund(change.session_id, actor=ADMIN, reason="x")

    assert refunded.amount == Decimal(part) + (1 if currency == "JPY" else 0)
    assert await broken_money(confiido) == []


async def test_a_refund_is_for_admin_and_service_alone(confiido: Confiido, grace: Expert) -> None:
    ada = a_client()
    change = await booked(confiido, grace, client=ada)
    await confiido.ledger.paid(change.session_id, actor=ADMIN)

    for actor in (ada, an_expert(grace)):
        assert await refused(confiido.ledger.refund(change.session_id, actor=actor, reason="x")) == "not_allowed"
    by_client = confiido.ledger.refund_payment(ObjectId(), actor=ada, reason="x")
    assert await refused(by_client) == "not_allowed"
    unknown = confiido.ledger.refund_payment(ObjectId(), actor=ADMIN, reason="x")
    assert await refused(unknown) == "payment_not_found"


async def test_an_invoices_payment_by_a_provider_goes_to_its_sessions_and_the_excess_is_unplaced(
    banked: Confiido, grace: Expert
) -> None:
    ada = a_client()
    changes = [await booked(banked, grace, client=ada, hours=hours) for hours in (24, 48)]
    for change in changes:
        await banked.bookings.confirm(change.booking_id, change.session_id, actor=ADMIN)
    stated = await banked.invoices.of_sessions(actor=ADMIN, session_ids=[each.session_id for each in changes])
    owed = await banked.ledger.owed(Place.INVOICE, stated.invoice.id, actor=ada)
    await banked.ledger.open(owed, provider="bank", provider_order_id="o", actor=ada)

    entry = await banked.ledger.captured(
        provider="bank", provider_payment_id="p", provider_order_id="o", amount=Decimal(230), currency="INR"
    )

    assert [(part.to.value, str(part.amount)) for part in entry.allocations] == [
        ("session", "100.00"),
        ("session", "100.00"),
        ("unplaced", "30.00"),
    ]
    assert (await banked.invoices.get(stated.invoice.id, actor=ada)).balance.outstanding == 0
    assert await broken_money(banked) == []
    assert (await banked.doctor.examine()).is_sound


async def test_a_standalone_invoice_is_paid_and_refunded_by_its_provider(banked: Confiido, bank: Bank) -> None:
    stated = await banked.invoices.standalone(
        actor=ADMIN,
        currency="INR",
        lines=[LineWish("Workbook", 1, 500)],
        client=Party(name="Ada", email="a@example.org"),
    )
    owed = await banked.ledger.owed(Place.INVOICE, stated.invoice.id, actor=ADMIN)
    await banked.ledger.open(owed, provider="bank", provider_order_id="o", actor=ADMIN)
    entry = await banked.ledger.captured(
        provider="bank", provider_payment_id="p", provider_order_id="o", amount=Decimal(500), currency="INR"
    )
    paid_then = (await banked.invoices.get(stated.invoice.id, actor=ADMIN)).balance.paid

    back = await banked.ledger.refund_payment(entry.id, actor=ADMIN, amount=200, reason="A page is missing")

    after = (await banked.invoices.get(stated.invoice.id, actor=ADMIN)).balance
    assert (paid_then, [each.state for each in back], sum(bank.paid_back.values())) == (500, ["settled"], 200)
    assert (after.paid, after.outstanding) == (300, 200)
    assert (await banked.doctor.examine()).is_sound
