"""The providers' libraries against a provider on loopback that answers, refuses, lies, breaks and hangs."""

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from bson import ObjectId

from confiido_booking import Invalid, PaymentNotVerified, Settings, Unavailable
from confiido_booking.ledger.models import EntryState
from confiido_booking.payments import provider as provider_module
from confiido_booking.payments import razorpay as razorpay_module
from confiido_booking.payments import stripe as stripe_module
from confiido_booking.payments.provider import Provider, Wanted
from confiido_booking.payments.razorpay import Razorpay
from confiido_booking.payments.stripe import Stripe
from tests.providers import StandIn, stand_in, with_providers

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
WANTED = Wanted(key=str(ObjectId()), amount=Decimal("20.00"), currency="INR", receipt="r-1", notes={"session": "s1"})


@pytest.fixture
def other_side() -> Iterator[StandIn]:
    with stand_in() as provider:
        yield provider


@pytest.fixture(params=[Razorpay, Stripe])
async def provider(request: pytest.FixtureRequest, other_side: StandIn) -> "Iterator[Provider]":
    made = request.param(with_providers(Settings.model_validate({"env": "test"}), other_side.base_url))
    yield made
    await made.close()


async def test_an_order_is_opened_in_minor_units(provider: Provider, other_side: StandIn) -> None:
    checkout = await provider.open(WANTED)

    made = (other_side.orders | other_side.intents)[checkout.order_id]
    assert (made["amount"], made["currency"].upper()) == (2000, "INR")
    assert checkout.fields["amount"] == 2000


async def test_an_open_order_is_shown_again(provider: Provider) -> None:
    first = await provider.open(WANTED)

    again = await provider.again(first.order_id, WANTED, NOW)

    assert again is not None
    assert again.order_id == first.order_id
    assert {name: again.fields[name] for name in ("id", "amount", "currency")} == {
        name: first.fields[name] for name in ("id", "amount", "currency")
    }


async def test_a_refund_is_asked_for_once_under_its_own_id(provider: Provider, other_side: StandIn) -> None:
    order = await provider.open(WANTED)
    refund_id = ObjectId()

    answers = [
        await provider.refund(
            refund_id=refund_id, provider_payment_id=order.order_id, amount=Decimal("5.00"), currency="INR"
        )
        for _ in range(2)
    ]

    assert len(other_side.refunds) == 1
    assert {(each.state, each.provider_refund_id) for each in answers} == {
        (EntryState.SETTLED, next(iter(other_side.refunds)))
    }


async def test_a_refund_that_takes_days_is_pending(provider: Provider, other_side: StandIn) -> None:
    order = await provider.open(WANTED)
    other_side.refund_status = "pending"

    answer = await provider.refund(
        refund_id=ObjectId(), provider_payment_id=order.order_id, amount=Decimal("5.00"), currency="INR"
    )

    assert answer.state is EntryState.PENDING


@pytest.mark.parametrize(
    "said",
    [
        (500, b"{}"),
        (503, b"down"),
        (502, b"<html>bad gateway</html>"),
        (429, b'{"error": {"code": "BAD_REQUEST_ERROR", "description": "slow down"}}'),
        (401, b'{"error": {"code": "BAD_REQUEST_ERROR", "description": "Authentication failed", "type": "x"}}'),
        (200, b""),
        (200, b"null"),
        (200, b"[]"),
        (200, b"{}"),
        (200, b'{"id": 7}'),
        (200, b'{"id": "order_1", "amount": 1}'),
        (200, b"{truncated"),
        (302, b"{}"),
        (400, b'{"error": "text"}'),
        (400, b"{}"),
    ],
)
async def test_an_answer_that_is_none_is_unavailable(
    provider: Provider, other_side: StandIn, said: tuple[int, bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    other_side.says = [said]

    with pytest.raises((Unavailable, Invalid)) as refused:
        await provider.open(WANTED)

    assert refused.value.code in ("provider_unavailable", "provider_refused")
    assert said[0] == 400 or refused.value.code == "provider_unavailable"
    assert capsys.readouterr().out == ""


async def test_its_no_is_a_refusal_without_its_words(provider: Provider, other_side: StandIn) -> None:
    no = b'{"error": {"code": "BAD_REQUEST_ERROR", "description": "secret words", "type": "invalid_request_error"}}'
    other_side.says = [(400, no), (400, no)]

    with pytest.raises(Invalid) as refused:
        await provider.open(WANTED)
    answer = await provider.refund(
        refund_id=ObjectId(), provider_payment_id="pay_1", amount=Decimal("5.00"), currency="INR"
    )

    assert refused.value.code == "provider_refused"
    assert "secret" not in str(refused.value)
    assert (answer.state, answer.reason) == (EntryState.FAILED, "provider_refused")


@pytest.mark.parametrize("kind", [Razorpay, Stripe])
async def test_nobody_there_is_unavailable(kind: type[Provider], capsys: pytest.CaptureFixture[str]) -> None:
    nobody = kind(with_providers(Settings.model_validate({"env": "test"}), "http://127.0.0.1:9"))

    with pytest.raises(Unavailable) as refused:
        await nobody.open(WANTED)
    await nobody.close()

    assert refused.value.code == "provider_unavailable"
    assert capsys.readouterr().out == ""


async def test_one_that_hangs_is_given_up(
    provider: Provider, other_side: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (provider_module, razorpay_module, stripe_module):
        monkeypatch.setattr(module, "TIMEOUT_SECONDS", 0.2)
    other_side.hangs = 1.0

    with pytest.raises(Unavailable) as refused:
        await provider.open(WANTED)

    assert refused.value.code == "provider_unavailable"


async def test_an_amount_it_cannot_charge_is_not_asked_for(provider: Provider, other_side: StandIn) -> None:
    with pytest.raises(Invalid) as refused:
        await provider.open(Wanted(key="k", amount=Decimal("1.255"), currency="KWD", receipt="r"))

    assert refused.value.code == "amount_not_chargeable"
    assert other_side.asked == []


async def test_stripes_return_is_believed_when_stripe_says_it_is_paid(other_side: StandIn) -> None:
    stripe = Stripe(with_providers(Settings.model_validate({"env": "test"}), other_side.base_url))
    order = await stripe.open(WANTED)

    with pytest.raises(PaymentNotVerified):
        await stripe.verify({"payment_intent": order.order_id})
    other_side.intents[order.order_id]["status"] = "succeeded"
    returned = await stripe.verify({"payment_intent": order.order_id})

    assert returned.payment_id == order.order_id
    for wrong in ({}, {"payment_intent": ""}, {"payment_intent": "../orders"}, {"payment_intent": "pi_unknown"}):
        with pytest.raises(PaymentNotVerified):
            await stripe.verify(wrong)
    await stripe.close()


async def test_a_cancelled_intent_is_open_no_more(other_side: StandIn) -> None:
    stripe = Stripe(with_providers(Settings.model_validate({"env": "test"}), other_side.base_url))
    order = await stripe.open(WANTED)
    other_side.intents[order.order_id]["status"] = "canceled"

    again = await stripe.again(order.order_id, WANTED, NOW)

    assert again is None
    await stripe.close()
