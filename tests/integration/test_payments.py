"""Attempts, returns and webhooks, against a provider on loopback (MONEY, The ledger; FRONTEND 2.14)."""

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from decimal import Decimal
from itertools import permutations

import pytest
from bson import ObjectId

from confiido_booking import Confiido, Conflict, Invalid, NotAllowed, NotFound, PaymentNotVerified, Unavailable
from confiido_booking.billing.rules import LineWish
from confiido_booking.errors import InvalidSignature, MalformedEvent
from confiido_booking.ledger.models import EntryKind, EntryState, Place
from confiido_booking.payments.listing import PaymentFilter
from tests.builders import Clock, a_client, a_service, an_admin, an_expert
from tests.integration.paying import RAZORPAY, STRIPE, Paying
from tests.providers import (
    StandIn,
    Webhook,
    razorpay_dispute,
    razorpay_payment,
    razorpay_refund,
    razorpay_says,
    stand_in,
    stripe_says,
)


@pytest.fixture
def other_side() -> Iterator[StandIn]:
    with stand_in() as provider:
        yield provider


@pytest.fixture
async def paying(confiido: Confiido, other_side: StandIn, clock: Clock) -> "Iterator[Paying]":
    begun = await Paying.begun(confiido, other_side, clock)
    yield begun
    await begun.confiido.payments.providers.close()


@pytest.mark.parametrize("provider", [RAZORPAY, STRIPE])
@pytest.mark.parametrize(("price", "currency"), [("20", "INR"), ("500", "JPY"), ("1.250", "KWD")])
async def test_a_session_is_paid_at_a_provider_in_its_currency(
    confiido: Confiido, other_side: StandIn, clock: Clock, price: str, currency: str, provider: object
) -> None:
    paying = await Paying.begun(confiido, other_side, clock, price=price, currency=currency)

    opened = await paying.open(STRIPE if provider is STRIPE else RAZORPAY)
    if provider is STRIPE:
        await paying.hears(paying.succeeded(opened.checkout.order_id), STRIPE)
    else:
        await paying.hears(paying.captured(opened.checkout.order_id))

    session, [entry] = await paying.session(), await paying.entries()
    assert opened.checkout.fields["amount"] == paying.minor
    assert (session["status"], session["paymentStatus"]) == ("confirmed", "paid")
    assert session["paidAmount"].to_decimal() == Decimal(price)
    assert (entry.state, entry.amount, entry.currency) == (EntryState.CAPTURED, Decimal(price), currency)
    await paying.confiido.payments.providers.close()


async def test_an_open_attempt_is_given_again(paying: Paying) -> None:
    first = await paying.open()
    again = await paying.open(actor=an_admin())

    assert again.entry.id == first.entry.id
    assert again.checkout.order_id == first.checkout.order_id
    assert len(paying.other_side.orders) == 1
    assert len(await paying.entries()) == 1


async def test_after_a_failed_try_the_same_order_is_paid(paying: Paying) -> None:
    order = (await paying.open()).checkout.order_id
    payment = razorpay_payment("pay_0", order, paying.minor)
    await paying.hears(razorpay_says("payment.failed", paying.clock.now, payment=payment))
    failed = [each.state for each in await paying.entries()]

    again = await paying.open()
    await paying.verify(again.checkout.order_id)

    assert failed == [EntryState.FAILED]
    assert again.checkout.order_id == order
    assert [each.state for each in await paying.entries()] == [EntryState.CAPTURED]


async def test_after_a_cancelled_intent_another_is_opened(paying: Paying) -> None:
    first = (await paying.open(STRIPE)).checkout.order_id
    paying.other_side.intents[first]["status"] = "canceled"
    await paying.hears(stripe_says("payment_intent.canceled", paying.clock.now, id=first), STRIPE)

    again = (await paying.open(STRIPE)).checkout.order_id

    assert again != first
    assert sorted(each.state.value for each in await paying.entries()) == ["created", "failed"]


async def test_many_who_open_at_once_open_one(paying: Paying) -> None:
    opened = await asyncio.gather(*(paying.open() for _ in range(8)))

    assert len(await paying.entries()) == 1
    assert len({each.checkout.order_id for each in opened}) == 1


async def test_a_provider_that_is_away_leaves_nothing_half_done(paying: Paying) -> None:
    before = await paying.session()
    paying.other_side.says = [(503, b"")]

    with pytest.raises(Unavailable) as refused:
        await paying.open(STRIPE)
    then = await paying.entries()
    again = await paying.open(STRIPE)

    assert refused.value.code == "provider_unavailable"
    assert then == []
    assert await paying.session() == before
    assert [each.provider_order_id for each in await paying.entries()] == [again.checkout.order_id]


async def test_a_try_after_a_lost_answer_asks_under_the_same_key(paying: Paying) -> None:
    first = await paying.open(STRIPE)
    await paying.confiido.store.collection("payments").delete_many({})  # as if it had died before it noted the attempt

    again = await paying.open(STRIPE)

    assert again.checkout.order_id == first.checkout.order_id
    assert len(paying.other_side.intents) == 1


async def test_the_amount_is_what_is_owed_whatever_the_caller_says(paying: Paying) -> None:
    for claims, code in (
        ({"amount": Decimal(1)}, "amount_mismatch"),
        ({"amount": Decimal("20.01")}, "amount_mismatch"),
        ({"amount": Decimal(20), "currency": "USD"}, "currency_mismatch"),
    ):
        with pytest.raises(Invalid) as refused:
            await paying.open(**claims)
        assert refused.value.code == code

    opened = await paying.open(amount=Decimal("20.00"), currency="INR")
    assert opened.entry.amount == 20
    assert len(paying.other_side.orders) == 1


async def test_only_the_client_and_an_admin_open_an_attempt(paying: Paying) -> None:
    with pytest.raises(NotFound):
        await paying.open(actor=a_client())
    with pytest.raises((NotAllowed, NotFound)):
        await paying.open(actor=an_expert(paying.expert))
    with pytest.raises(NotAllowed):
        await paying.open(actor=a_service())

    assert paying.other_side.orders == {}


async def test_what_is_paid_is_not_paid_again(paying: Paying) -> None:
    order = (await paying.open()).checkout.order_id
    await paying.verify(order)

    with pytest.raises(Conflict) as refused:
        await paying.open()

    assert refused.value.code == "already_paid"


async def test_an_unknown_session_cannot_be_paid(paying: Paying) -> None:
    with pytest.raises(NotFound):
        await paying.confiido.payments.open(actor=paying.ada, provider=RAZORPAY, to=None, id=ObjectId())


async def test_a_return_confirms_the_session_and_completes_the_payment(paying: Paying) -> None:
    order = (await paying.open()).checkout.order_id

    entry = await paying.verify(order)
    completed = [
        await paying.confiido.bookings.complete_payment(paying.booking_id, paying.session_id, actor=paying.ada)
        for _ in range(2)
    ]

    assert (entry.state, entry.amount) == (EntryState.CAPTURED, 20)
    assert [each.raw_session["status"] for each in completed] == ["confirmed", "confirmed"]
    assert [each.raw_session["paymentStatus"] for each in completed] == ["paid", "paid"]


async def test_a_forged_return_pays_nothing(paying: Paying) -> None:
    order = (await paying.open()).checkout.order_id
    forged = paying.returned(order) | {"razorpay_payment_id": "pay_2"}

    with pytest.raises(PaymentNotVerified):
        await paying.confiido.payments.verify(actor=paying.ada, provider=RAZORPAY, returned=forged)

    assert (await paying.session())["status"] == "pending"
    assert [each.state for each in await paying.entries()] == [EntryState.CREATED]


async def test_a_return_of_anothers_payment_is_not_found(paying: Paying) -> None:
    order = (await paying.open()).checkout.order_id

    for actor, returned in ((a_client(), paying.returned(order)), (paying.ada, paying.returned("order_of_nobody"))):
        with pytest.raises(NotFound) as refused:
            await paying.confiido.payments.verify(actor=actor, provider=RAZORPAY, returned=returned)
        assert refused.value.code == "payment_not_found"

    assert (await paying.session())["status"] == "pending"


async def test_return_webhook_and_replays_at_once_are_one_entry(paying: Paying) -> None:
    order = (await paying.open()).checkout.order_id
    webhook = paying.captured(order)
    paid = razorpay_says(
        "order.paid", paying.clock.now, order={"id": order}, payment=razorpay_payment("pay_1", order, paying.minor)
    )

    await asyncio.gather(
        *(paying.verify(order) for _ in range(3)),
        *(paying.hears(webhook) for _ in range(3)),
        *(paying.hears(paid) for _ in range(2)),
    )

    [entry] = await paying.entries()
    assert (entry.state, [part.amount for part in entry.allocations]) == (EntryState.CAPTURED, [20])
    assert (await paying.session())["paidAmount"].to_decimal() == 20


async def test_the_same_webhook_again_changes_nothing(paying: Paying) -> None:
    order = (await paying.open()).checkout.order_id
    webhook = paying.captured(order)
    await paying.hears(webhook)
    before, session = await paying.entries(), await paying.session()
    sent = paying.confiido.store.commands

    await paying.hears(webhook)

    assert paying.confiido.store.commands - sent == 2  # the event that is there, and that it is done
    assert (await paying.entries(), await paying.session()) == (before, session)


async def test_a_capture_takes_thirteen_commands(paying: Paying) -> None:
    order = (await paying.open()).checkout.order_id
    sent = paying.confiido.store.commands

    await paying.hears(paying.captured(order))

    assert paying.confiido.store.commands - sent <= 13


async def test_a_type_that_concerns_nobody_is_not_even_stored(paying: Paying) -> None:
    sent = paying.confiido.store.commands

    await paying.hears(razorpay_says("settlement.processed", paying.clock.now, settlement={"id": "setl_1"}))

    assert paying.confiido.store.commands == sent


async def test_what_is_not_the_providers_is_not_stored(paying: Paying) -> None:
    order = (await paying.open()).checkout.order_id
    raw, headers = paying.captured(order)

    for forged, error in (
        ((raw[:-1], headers), InvalidSignature),
        ((raw.replace(b"2000", b"0001"), headers), InvalidSignature),
        ((raw, {}), InvalidSignature),
        (razorpay_says("payment.captured", paying.clock.now), MalformedEvent),
    ):
        with pytest.raises(error):
            await paying.hears(forged)

    assert await paying.confiido.store.collection("provider_events").count_documents({}) == 0
    assert (await paying.session())["status"] == "pending"


def story_of_a_payment(paying: Paying, order: str) -> dict[str, Webhook]:
    now = paying.clock.now
    return {
        "failed": razorpay_says("payment.failed", now, payment=razorpay_payment("pay_0", order, paying.minor)),
        "captured": paying.captured(order),
        "part refunded": razorpay_says("refund.processed", now, refund=razorpay_refund("rfnd_1", "pay_1", 500)),
        "refunded": razorpay_says("refund.processed", now, refund=razorpay_refund("rfnd_2", "pay_1", 1500)),
        "disputed": razorpay_says(
            "payment.dispute.created", now, dispute=razorpay_dispute("disp_1", "pay_1", paying.minor)
        ),
        "dispute won": razorpay_says(
            "payment.dispute.won", now, dispute=razorpay_dispute("disp_1", "pay_1", paying.minor)
        ),
        "dispute lost": razorpay_says(
            "payment.dispute.lost",
            now,
            dispute=razorpay_dispute("disp_1", "pay_1", paying.minor, amount_deducted=paying.minor),
        ),
    }


@pytest.mark.parametrize(
    "told",
    [
        ("failed", "captured", "part refunded"),
        ("captured", "part refunded", "refunded"),
        ("captured", "disputed", "dispute won"),
        ("captured", "disputed", "dispute lost"),
        ("failed", "captured", "disputed", "part refunded"),
    ],
    ids=" ".join,
)
async def test_whatever_the_order_of_its_webhooks_a_payment_ends_the_same(
    paying: Paying, told: tuple[str, ...], engine_is_embedded: bool
) -> None:
    order = (await paying.open()).checkout.order_id
    await paying.keep()
    story = story_of_a_payment(paying, order)
    every = list(permutations(told))
    ends = []

    for names in every[:: 5 if engine_is_embedded else 1]:
        await paying.again()
        for name in (*names, *reversed(names)):  # and all of them once more
            await paying.hears(story[name])
        ends.append((names, await paying.books()))

    assert {str(end) for _, end in ends} == {str(ends[0][1])}, ends
    events = await paying.confiido.store.collection("provider_events").find().to_list()
    assert all("doneAt" in event for event in events)


async def test_whatever_the_order_of_stripes_webhooks_a_payment_ends_the_same(paying: Paying) -> None:
    intent = (await paying.open(STRIPE)).checkout.order_id
    await paying.keep()
    now, refund = paying.clock.now, {"id": "re_1", "payment_intent": intent, "amount": 500, "currency": "inr"}
    story = [
        paying.succeeded(intent),
        stripe_says("refund.created", now, **refund, status="pending"),
        stripe_says("refund.updated", now, **refund, status="succeeded"),
        stripe_says("charge.refunded", now, id="ch_1", refunds={"data": [{**refund, "status": "succeeded"}]}),
    ]
    ends = []

    for webhooks in list(permutations(story))[::4]:
        await paying.again()
        for webhook in (*webhooks, *webhooks):
            await paying.hears(webhook, STRIPE)
        ends.append(await paying.books())

    assert len({str(end) for end in ends}) == 1
    assert ends[0][0] == ("confirmed", "partially_refunded", "20.00", "5.00")


@pytest.mark.parametrize(
    ("amount", "currency", "known", "reason"),
    [(2000, "USD", True, "currency_mismatch"), (2000, "INR", False, "unknown_payment")],
)
async def test_what_is_for_nothing_we_know_is_kept_unplaced(
    paying: Paying, amount: int, currency: str, known: bool, reason: str
) -> None:
    order = (await paying.open()).checkout.order_id if known else "order_of_nobody"

    await paying.hears(paying.captured(order, amount=amount, currency=currency))

    kept = next(each for each in await paying.entries() if each.state is EntryState.CAPTURED)
    assert [(part.to, part.amount, part.reason) for part in kept.allocations] == [(Place.UNPLACED, 20, reason)]
    assert (await paying.session())["status"] == "pending"


async def test_more_than_is_owed_leaves_the_rest_unplaced(paying: Paying) -> None:
    order = (await paying.open()).checkout.order_id

    await paying.hears(paying.captured(order, amount=2500))

    entry = next(each for each in await paying.entries() if each.state is EntryState.CAPTURED)
    assert sorted((part.to.value, part.amount) for part in entry.allocations) == [("session", 20), ("unplaced", 5)]
    assert (await paying.session())["status"] == "confirmed"


async def test_a_second_payment_of_one_order_is_unplaced(paying: Paying) -> None:
    order = (await paying.open()).checkout.order_id
    await paying.hears(paying.captured(order, "pay_1"))

    await paying.hears(paying.captured(order, "pay_2"))

    second = next(each for each in await paying.entries() if each.provider_payment_id == "pay_2")
    assert [(part.to, part.amount) for part in second.allocations] == [(Place.UNPLACED, 20)]
    assert (await paying.session())["paidAmount"].to_decimal() == 20


async def test_a_late_payment_takes_the_slot_again_if_it_is_free(paying: Paying) -> None:
    order = (await paying.open()).checkout.order_id
    paying.clock.advance(minutes=31)
    await paying.confiido.chores.expire_holds()

    await paying.hears(paying.captured(order))

    session = await paying.session()
    assert (session["status"], session["paymentStatus"]) == ("confirmed", "paid")


async def test_a_late_payment_whose_slot_is_gone_is_unplaced_and_can_go_back(paying: Paying) -> None:
    order = (await paying.open()).checkout.order_id
    paying.clock.advance(minutes=31)
    await paying.confiido.bookings.book(
        actor=a_client(),
        expert=paying.expert.id or "",
        session_type="video",
        duration=30,
        starts_at=paying.clock.now + timedelta(hours=24) - timedelta(minutes=31),
    )

    await paying.hears(paying.captured(order))
    [entry] = await paying.entries()
    unplaced = PaymentFilter(unplaced=True)
    page = await paying.confiido.payments.list(actor=an_admin(), filters=unplaced)
    refunds = await paying.confiido.ledger.refund_payment(entry.id, actor=an_admin(), reason="The slot is gone")
    after = await paying.confiido.payments.list(actor=an_admin(), filters=unplaced)

    assert [(part.to, part.amount) for part in entry.allocations] == [(Place.UNPLACED, 20)]
    assert [each.id for each in page.entries] == [entry.id]
    assert after.entries == []
    assert [each.state for each in refunds] == [EntryState.SETTLED]
    assert [each["payment_id"] for each in paying.other_side.refunds.values()] == ["pay_1"]
    assert (await paying.session())["status"] == "cancelled"


async def test_our_refund_is_settled_by_its_webhook_once(paying: Paying) -> None:
    order = (await paying.open()).checkout.order_id
    await paying.hears(paying.captured(order))
    paying.other_side.refund_status = "pending"
    await paying.confiido.ledger.refund(paying.session_id, actor=an_admin(), reason="A favour", amount=Decimal(5))
    [asked] = paying.other_side.refunds.values()
    told = razorpay_says(
        "refund.processed",
        paying.clock.now,
        refund=razorpay_refund(asked["id"], "pay_1", 500, key=asked["notes"]["refund_id"]),
    )
    pending = [each.state for each in await paying.entries() if each.kind is EntryKind.REFUND]

    await asyncio.gather(paying.hears(told), paying.hears(told))

    [refund] = [each for each in await paying.entries() if each.kind is EntryKind.REFUND]
    assert pending == [EntryState.PENDING]
    assert (refund.state, refund.amount, refund.provider_refund_id) == (EntryState.SETTLED, 5, asked["id"])
    assert (await paying.session())["refundAmount"].to_decimal() == 5


async def test_our_refund_that_the_provider_fails_is_released(paying: Paying) -> None:
    order = (await paying.open()).checkout.order_id
    await paying.hears(paying.captured(order))
    paying.other_side.refund_status = "pending"
    await paying.confiido.ledger.refund(paying.session_id, actor=an_admin(), reason="A favour", amount=Decimal(5))
    [asked] = paying.other_side.refunds.values()

    await paying.hears(
        razorpay_says(
            "refund.failed",
            paying.clock.now,
            refund=razorpay_refund(asked["id"], "pay_1", 500, status="failed", key=asked["notes"]["refund_id"]),
        )
    )

    [refund] = [each for each in await paying.entries() if each.kind is EntryKind.REFUND]
    assert refund.state is EntryState.RELEASED
    assert (await paying.session())["refundAmount"].to_decimal() == 0


async def test_stripes_refund_of_the_dashboard_becomes_an_entry(paying: Paying) -> None:
    intent = (await paying.open(STRIPE)).checkout.order_id
    await paying.hears(paying.succeeded(intent), STRIPE)

    await paying.hears(
        stripe_says(
            "refund.created",
            paying.clock.now,
            id="re_1",
            payment_intent=intent,
            amount=2000,
            currency="inr",
            status="succeeded",
        ),
        STRIPE,
    )

    assert sorted((each.kind.value, each.state.value) for each in await paying.entries()) == [
        ("payment", "refunded"),
        ("refund", "settled"),
    ]
    assert (await paying.session())["refundAmount"].to_decimal() == 20


@pytest.mark.parametrize("standalone", [True, False])
async def test_an_invoice_is_paid_at_a_provider(paying: Paying, standalone: bool) -> None:
    admin, invoices = an_admin(), paying.confiido.invoices
    if standalone:
        line = LineWish(description="Workbook", quantity=Decimal(2), unit_price=Decimal(15))
        stated = await invoices.standalone(actor=admin, client_id=paying.ada.id, currency="INR", lines=[line])
    else:
        await paying.confiido.bookings.confirm(paying.booking_id, paying.session_id, actor=admin)
        stated = await invoices.of_sessions(actor=admin, session_ids=[paying.session_id])
    opened = await paying.confiido.payments.open(
        actor=paying.ada, provider=RAZORPAY, to=Place.INVOICE, id=stated.invoice.id
    )

    await paying.hears(paying.captured(opened.checkout.order_id, amount=int(stated.balance.outstanding * 100)))

    after = await invoices.get(stated.invoice.id, actor=admin)
    assert (after.balance.status.value, after.balance.outstanding) == ("paid", 0)
    assert ((await paying.session())["paymentStatus"] == "paid") is not standalone


async def test_an_order_is_paid_as_a_whole_and_shared_out(paying: Paying) -> None:
    second = await paying.confiido.bookings.book(
        actor=paying.ada,
        expert=paying.expert.id or "",
        session_type="video",
        duration=30,
        starts_at=paying.clock.now + timedelta(hours=30),
    )
    order_id, bookings = ObjectId(), paying.confiido.store.collection("bookings")
    await bookings.update_one({"_id": second.booking_id}, {"$set": {"sessions.$[].orderId": order_id}})
    placed = {"_id": order_id, "clientId": paying.ada.id, "status": "pending_payment", "reference": "CO-1"}
    await paying.confiido.store.insert("insert order", "orders", placed)
    opened = await paying.confiido.payments.open(
        actor=paying.ada, provider=RAZORPAY, to=None, id=order_id, amount=Decimal(40)
    )

    await paying.hears(paying.captured(opened.checkout.order_id, amount=4000))

    stored = await bookings.find_one({"_id": second.booking_id})
    assert stored is not None
    assert [(each["status"], each["paidAmount"].to_decimal()) for each in stored["sessions"]] == [
        ("confirmed", 20),
        ("confirmed", 20),
    ]
    [entry] = await paying.entries()
    assert entry.target is not None
    assert (entry.target.to, sorted(part.amount for part in entry.allocations)) == (Place.ORDER, [20, 20])


async def test_a_return_killed_at_any_command_is_finished_by_the_next(paying: Paying) -> None:
    order = (await paying.open()).checkout.order_id
    await paying.keep()
    await paying.verify(order)
    whole = await paying.books()

    for stop in range(1, 40):
        await paying.again()
        left, store = stop, paying.confiido.store

        async def dies(step: str) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                raise _Killed

        store.hook = dies
        with suppress(_Killed):
            await paying.verify(order)
        store.hook = None
        if left > 0:
            break
        await paying.verify(order)
        assert await paying.books() == whole, stop
    assert stop > 4


class _Killed(Exception):
    pass


async def test_a_webhook_killed_at_any_command_is_finished_by_the_worker(paying: Paying) -> None:
    order = (await paying.open()).checkout.order_id
    webhook = paying.captured(order)
    await paying.keep()
    await paying.hears(webhook)
    whole = await paying.books()
    begun = paying.clock.now

    for stop in range(1, 40):
        await paying.again()
        paying.clock.now = begun
        left, store = stop, paying.confiido.store

        async def dies(step: str) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                raise _Killed

        store.hook = dies
        with suppress(_Killed):
            await paying.hears(webhook)
        store.hook = None
        if left > 0:
            break
        stored = await store.collection("provider_events").count_documents({})
        paying.clock.advance(minutes=2)
        await paying.confiido.chores.once()
        if stored:
            assert await paying.books() == whole, stop
        else:  # it was not answered, so the provider sends it again
            await paying.hears(paying.captured(order))
            assert await paying.books() == whole, stop
    else:
        pytest.fail("a webhook takes fewer commands than that")
    assert stop > 5


async def test_an_event_that_cannot_be_worked_in_does_not_stand_in_the_way(paying: Paying) -> None:
    order = (await paying.open()).checkout.order_id
    await paying.hears(paying.captured(order))
    events = paying.confiido.store.collection("provider_events")
    await events.update_many({}, {"$set": {"dueAt": paying.clock.now}, "$unset": {"doneAt": ""}})
    poison = await events.find_one({})
    assert poison is not None
    bad = poison | {"_id": "razorpay:poison", "facts": [{"kind": "gone"}]}
    await events.insert_one(bad | {"dueAt": paying.clock.now - timedelta(minutes=5)})

    with pytest.raises(ValueError, match="kind"):
        await paying.confiido.payments.finish()
    done = await paying.confiido.payments.finish()

    assert done == 1


async def test_events_are_forgotten_when_nobody_sends_them_again(paying: Paying) -> None:
    order = (await paying.open()).checkout.order_id
    webhook = paying.captured(order)
    await paying.hears(webhook)
    paying.clock.advance(days=89)
    early = await paying.confiido.payments.forget()
    paying.clock.advance(days=2)

    forgotten = await paying.confiido.payments.forget()
    await paying.hears(webhook)

    assert (early, forgotten) == (0, 1)
    assert len(await paying.entries()) == 1
