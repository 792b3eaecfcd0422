"""What providers sign is believed, and only that; what they tell becomes the same facts."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from bson import ObjectId
from hypothesis import given
from hypothesis import strategies as st

from confiido_booking import Settings, Unavailable
from confiido_booking.errors import InvalidSignature, MalformedEvent, PaymentNotVerified
from confiido_booking.ledger.models import DisputeState, EntryState
from confiido_booking.payments.provider import Captured, Disputed, Failed, Refunded, Told
from confiido_booking.payments.razorpay import Razorpay
from confiido_booking.payments.stripe import Stripe
from tests.providers import (
    Webhook,
    razorpay_dispute,
    razorpay_payment,
    razorpay_refund,
    razorpay_says,
    signature,
    signed,
    stripe_says,
    with_providers,
)

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
CONFIGURED = with_providers(Settings.model_validate({"env": "test"}), "http://127.0.0.1:1")
BARE = Settings.model_validate({"env": "test"})
RAZORPAY, STRIPE = Razorpay(CONFIGURED), Stripe(CONFIGURED)
OURS = ObjectId()

RAZORPAY_CAPTURED = razorpay_says("payment.captured", NOW, payment=razorpay_payment("pay_1", "order_1", 2000))
STRIPE_INTENT = {"id": "pi_1", "amount_received": 1250, "currency": "kwd", "payment_method_types": ["card"]}
STRIPE_CAPTURED = stripe_says("payment_intent.succeeded", NOW, **STRIPE_INTENT)
EVERY = [("razorpay", RAZORPAY, RAZORPAY_CAPTURED), ("stripe", STRIPE, STRIPE_CAPTURED)]
each_provider = pytest.mark.parametrize(
    ("provider", "webhook"), [each[1:] for each in EVERY], ids=[each[0] for each in EVERY]
)


def razorpay(webhook: Webhook) -> Told:
    raw, headers = webhook
    return RAZORPAY.told(raw, headers, NOW)


def stripe(webhook: Webhook) -> Told:
    raw, headers = webhook
    return STRIPE.told(raw, headers, NOW)


def test_razorpays_capture_is_told_by_two_events() -> None:
    paid = razorpay_says("order.paid", NOW, order={"id": "order_1"}, payment=razorpay_payment("pay_1", "order_1", 2000))

    facts = [razorpay(each).facts for each in (RAZORPAY_CAPTURED, paid)]

    captured = Captured(
        payment_id="pay_1", order_id="order_1", amount=Decimal("20.00"), currency="INR", method="upi", at=NOW
    )
    assert facts == [(captured,), (captured,)]


def test_stripes_capture_is_what_was_received() -> None:
    told = stripe(STRIPE_CAPTURED)

    assert told.facts == (
        Captured(payment_id="pi_1", order_id="pi_1", amount=Decimal("1.250"), currency="KWD", method="card", at=NOW),
    )


def test_a_failure_is_told() -> None:
    payment = razorpay_payment("pay_1", "order_1", 2000)

    [one] = razorpay(razorpay_says("payment.failed", NOW, payment=payment)).facts
    [other] = stripe(stripe_says("payment_intent.payment_failed", NOW, **STRIPE_INTENT)).facts

    assert one == Failed(payment_id="pay_1", order_id="order_1", at=NOW)
    assert other == Failed(payment_id="pi_1", order_id="pi_1", at=NOW)


@pytest.mark.parametrize(
    ("status", "state"),
    [("processed", EntryState.SETTLED), ("failed", EntryState.FAILED), ("pending", EntryState.PENDING)],
)
def test_razorpays_refunds_are_told_with_our_own_id(status: str, state: EntryState) -> None:
    refund = razorpay_refund("rfnd_1", "pay_1", 500, status=status, key=str(OURS))

    [fact] = razorpay(razorpay_says(f"refund.{status}", NOW, refund=refund)).facts

    assert fact == Refunded(
        refund_id="rfnd_1",
        payment_id="pay_1",
        amount=Decimal("5.00"),
        currency="INR",
        state=state,
        key=OURS,
        at=NOW,
    )


@pytest.mark.parametrize("kind", ["refund.created", "refund.updated", "charge.refund.updated", "charge.refunded"])
def test_stripes_refunds_are_told_by_several_events(kind: str) -> None:
    refund = {"id": "re_1", "payment_intent": "pi_1", "amount": 500, "currency": "inr", "status": "succeeded"}
    thing: dict[str, Any] = {"id": "ch_1", "refunds": {"data": [refund]}} if kind == "charge.refunded" else refund

    [fact] = stripe(stripe_says(kind, NOW, **thing)).facts

    assert isinstance(fact, Refunded)
    assert (fact.refund_id, fact.payment_id, fact.amount, fact.state, fact.key) == (
        "re_1",
        "pi_1",
        Decimal("5.00"),
        EntryState.SETTLED,
        None,
    )


@pytest.mark.parametrize(
    ("kind", "deducted", "state"),
    [
        ("created", 0, DisputeState.OPEN),
        ("under_review", 0, DisputeState.OPEN),
        ("action_required", 0, DisputeState.OPEN),
        ("won", 0, DisputeState.WON),
        ("lost", 2000, DisputeState.LOST),
        ("closed", 0, DisputeState.WON),
        ("closed", 2000, DisputeState.LOST),
    ],
)
def test_razorpays_disputes_are_told(kind: str, deducted: int, state: DisputeState) -> None:
    dispute = razorpay_dispute("disp_1", "pay_1", 2000, amount_deducted=deducted)

    [fact] = razorpay(razorpay_says(f"payment.dispute.{kind}", NOW, dispute=dispute)).facts

    assert isinstance(fact, Disputed)
    assert (fact.dispute_id, fact.payment_id, fact.amount, fact.state) == ("disp_1", "pay_1", Decimal("20.00"), state)


@pytest.mark.parametrize(
    ("kind", "status", "state"),
    [
        ("created", "needs_response", DisputeState.OPEN),
        ("updated", "under_review", DisputeState.OPEN),
        ("closed", "won", DisputeState.WON),
        ("closed", "warning_closed", DisputeState.WON),
        ("closed", "lost", DisputeState.LOST),
    ],
)
def test_stripes_disputes_are_told(kind: str, status: str, state: DisputeState) -> None:
    thing = {"id": "dp_1", "payment_intent": "pi_1", "amount": 2000, "currency": "inr", "status": status}

    [fact] = stripe(stripe_says(f"charge.dispute.{kind}", NOW, **thing)).facts

    assert isinstance(fact, Disputed)
    assert fact.state is state


def test_an_unknown_type_tells_nothing() -> None:
    assert razorpay(razorpay_says("settlement.processed", NOW, settlement={"id": "setl_1"})).facts == ()
    assert stripe(stripe_says("customer.created", NOW, id="cus_1")).facts == ()


def test_two_deliveries_have_one_id_and_two_events_two() -> None:
    raw, headers = RAZORPAY_CAPTURED
    other = razorpay_says("payment.captured", NOW, payment=razorpay_payment("pay_2", "order_1", 2000))

    ids = [razorpay(each).event_id for each in (RAZORPAY_CAPTURED, (raw, dict(headers)), other)]

    assert ids[0] == ids[1]
    assert ids[1] != ids[2]


def test_razorpays_unsigned_event_id_cannot_take_the_place_of_another_event() -> None:
    other = razorpay_says("payment.captured", NOW, payment=razorpay_payment("pay_2", "order_2", 2000))
    borrowed = other[0], other[1] | {"x-razorpay-event-id": RAZORPAY_CAPTURED[1]["x-razorpay-event-id"]}

    assert razorpay(borrowed).event_id != razorpay(RAZORPAY_CAPTURED).event_id


@each_provider
def test_another_secret_is_refused(provider: Razorpay | Stripe, webhook: Webhook) -> None:
    forged = (
        razorpay_says("payment.captured", NOW, secret="guess", payment=razorpay_payment("pay_1", "order_1", 2000)),
        stripe_says("payment_intent.succeeded", NOW, secret="guess", **STRIPE_INTENT),
    )[provider is STRIPE]

    with pytest.raises(InvalidSignature):
        provider.told(*forged, NOW)


@each_provider
def test_no_signature_is_refused(provider: Razorpay | Stripe, webhook: Webhook) -> None:
    with pytest.raises(InvalidSignature):
        provider.told(webhook[0], {}, NOW)


@pytest.mark.parametrize(
    "header", ["", "x", "é" * 64, "t=1", "t=x,v1=y", "t=,v1=", "v1=abc", "t=1,v1=é", ",,,", "=" * 9]
)
def test_a_signature_of_any_form_is_refused_calmly(header: str) -> None:
    with pytest.raises(InvalidSignature):
        RAZORPAY.told(RAZORPAY_CAPTURED[0], {"x-razorpay-signature": header}, NOW)
    with pytest.raises(InvalidSignature):
        STRIPE.told(STRIPE_CAPTURED[0], {"stripe-signature": header}, NOW)


@given(data=st.data())
def test_one_byte_more_or_less_or_other_is_refused(data: st.DataObject) -> None:
    _, provider, (raw, headers) = data.draw(st.sampled_from(EVERY))
    place = data.draw(st.integers(0, len(raw) - 1))
    byte = data.draw(st.binary(min_size=1, max_size=1))
    changed = data.draw(
        st.sampled_from(
            [raw[:place], raw[:place] + raw[place + 1 :], raw[:place] + byte + raw[place:], raw + byte, b""]
        )
    )
    other = raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :]

    for forged in (changed, other):
        with pytest.raises(InvalidSignature):
            provider.told(forged, headers, NOW)


def test_stripes_old_signature_is_refused() -> None:
    with pytest.raises(InvalidSignature):
        STRIPE.told(*STRIPE_CAPTURED, NOW + timedelta(minutes=6))
    assert STRIPE.told(*STRIPE_CAPTURED, NOW + timedelta(minutes=4)).facts


def _without(*path: str) -> Any:
    def change(event: dict[str, Any]) -> None:
        inner = event
        for name in path[:-1]:
            inner = inner[name]
        del inner[path[-1]]

    return change


def _with(value: object, *path: str) -> Any:
    def change(event: dict[str, Any]) -> None:
        inner = event
        for name in path[:-1]:
            inner = inner[name]
        inner[path[-1]] = value

    return change


PAYMENT = ("payload", "payment", "entity")


@pytest.mark.parametrize(
    "change",
    [
        _without("event"),
        _without("payload"),
        _without("created_at"),
        _without(*PAYMENT),
        _without(*PAYMENT, "id"),
        _without(*PAYMENT, "amount"),
        _with(None, "payload"),
        _with([], "payload", "payment"),
        _with("x" * 200, *PAYMENT, "id"),
        _with("a\0b", *PAYMENT, "id"),
        _with({"$ne": None}, *PAYMENT, "id"),
        _with({"$ne": None}, *PAYMENT, "order_id"),
        _with(20.5, *PAYMENT, "amount"),
        _with("2000", *PAYMENT, "amount"),
        _with(-2000, *PAYMENT, "amount"),
        _with(10**30, *PAYMENT, "amount"),
        _with("BTC", *PAYMENT, "currency"),
        _with(None, *PAYMENT, "currency"),
        _with(10**20, "created_at"),
        _with("now", "created_at"),
        _with(7, "event"),
    ],
)
def test_a_signed_event_that_makes_no_sense_is_malformed(change: Any) -> None:
    with pytest.raises(MalformedEvent):
        razorpay(
            razorpay_says("payment.captured", NOW, payment=razorpay_payment("pay_1", "order_1", 2000), change=change)
        )


@pytest.mark.parametrize(
    "change",
    [
        _without("id"),
        _without("type"),
        _without("data"),
        _with({"$gt": ""}, "id"),
        _with("2000", "data", "object", "amount_received"),
        _with("btc", "data", "object", "currency"),
        _with(None, "created"),
    ],
)
def test_a_signed_event_of_stripe_that_makes_no_sense_is_malformed(change: Any) -> None:
    with pytest.raises(MalformedEvent):
        stripe(stripe_says("payment_intent.succeeded", NOW, change=change, **STRIPE_INTENT))


@pytest.mark.parametrize("raw", [b"", b"[]", b"null", b"{", b"[" * 100_000, b"9" * 5000, b'"\xff"'])
def test_signed_bytes_that_are_no_object_are_malformed(raw: bytes) -> None:
    with pytest.raises((MalformedEvent, InvalidSignature)):
        RAZORPAY.told(raw, {"x-razorpay-signature": signed(raw)}, NOW)


async def test_razorpays_return_is_verified_by_its_signature() -> None:
    good = {
        "razorpay_order_id": "order_1",
        "razorpay_payment_id": "pay_1",
        "razorpay_signature": signature("order_1", "pay_1"),
    }

    returned = await RAZORPAY.verify(good)

    assert (returned.order_id, returned.payment_id) == ("order_1", "pay_1")
    for wrong in (
        good | {"razorpay_order_id": "order_2"},
        good | {"razorpay_payment_id": "pay_2"},
        good | {"razorpay_signature": signature("order_1", "pay_1", "test_secret_key")},
        good | {"razorpay_signature": ""},
        good | {"razorpay_signature": "é"},
        {"razorpay_order_id": "order_1"},
    ):
        with pytest.raises(PaymentNotVerified):
            await RAZORPAY.verify(wrong)


async def test_what_is_not_configured_says_so() -> None:
    with pytest.raises(Unavailable) as razorpays:
        Razorpay(BARE).told(*RAZORPAY_CAPTURED, NOW)
    with pytest.raises(Unavailable) as stripes:
        Stripe(BARE).told(*STRIPE_CAPTURED, NOW)
    with pytest.raises(Unavailable) as verified:
        await Razorpay(BARE).verify({})

    assert {each.value.code for each in (razorpays, stripes, verified)} == {"provider_not_configured"}
