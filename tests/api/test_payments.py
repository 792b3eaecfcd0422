"""The marketplace frontend's payment, from its first request to its last, with the provider on loopback."""

import json
from collections.abc import Iterator
from datetime import timedelta

import httpx
import pytest

from confiido_booking import Actor, Confiido, Expert
from tests.api.conftest import Headers, http_client, wish
from tests.builders import Clock, a_client, an_admin, an_expert
from tests.providers import (
    StandIn,
    razorpay_payment,
    razorpay_refund,
    razorpay_says,
    signature,
    signed,
    stand_in,
    stripe_says,
    with_providers,
)

CREATE, VERIFY = "/api/payments/create-razorpay-order", "/api/payments/verify-razorpay-payment"
RAZORPAY, STRIPE = "/api/webhooks/razorpay", "/api/webhooks/stripe"


@pytest.fixture
def other_side() -> Iterator[StandIn]:
    with stand_in() as provider:
        yield provider


@pytest.fixture
async def confiido(confiido: Confiido, other_side: StandIn) -> "Iterator[Confiido]":
    knowing = Confiido.over(confiido.store, with_providers(confiido.settings, other_side.base_url), confiido.clock)
    yield knowing
    await knowing.payments.providers.close()


async def booked(http: httpx.AsyncClient, ada: dict[str, str], grace: Expert) -> tuple[str, str]:
    """The ids of a booking and of its pending session."""
    data = (await http.post("/api/bookings", json=wish(grace), headers=ada)).json()["data"]
    return data["booking"]["_id"], data["session"]["sessionId"]


def asked(session_id: str, **changes: object) -> dict[str, object]:
    """What the frontend sends to pay 20 INR."""
    return {
        "amount": 20,
        "currency": "INR",
        "receipt": f"receipt_{session_id}"[:40],
        "notes": {
            "payment_id": session_id,
            "expert_id": "x",
            "session_type": "video",
            "loyalty_points_used": 0,
        },
        **changes,
    }


def returned(order_id: str, payment_id: str = "pay_1") -> dict[str, str]:
    return {
        "razorpay_order_id": order_id,
        "razorpay_payment_id": payment_id,
        "razorpay_signature": signature(order_id, payment_id),
    }


async def test_the_frontends_payment_from_the_first_request_to_the_last(
    http: httpx.AsyncClient, ada: Actor, grace: Expert, as_: Headers, clock: Clock
) -> None:
    me = as_(ada)
    booking_id, session_id = await booked(http, me, grace)

    order = await http.post(CREATE, json=asked(session_id), headers=me)
    order_id = order.json()["data"]["id"]
    unpaid = await http.put(
        f"/api/bookings/{booking_id}/complete-payment",
        json={"sessionId": session_id, "paymentMethod": "online", "loyaltyPointsUsed": 0},
        headers=me,
    )
    verified = await http.post(VERIFY, json=returned(order_id), headers=me)
    completed = [
        await http.put(
            f"/api/bookings/{booking_id}/complete-payment",
            json={"sessionId": session_id, "paymentMethod": "online", "loyaltyPointsUsed": 0},
            headers=me,
        )
        for _ in range(2)
    ]
    payment = razorpay_payment("pay_1", order_id, 2000)
    told = razorpay_says("payment.captured", clock.now, payment=payment)
    heard = await http.post(RAZORPAY, content=told[0], headers=told[1])
    mine = (await http.get("/api/transactions/user", headers=me)).json()

    assert order.status_code == 200
    assert order.json()["success"] is True
    assert {name: order.json()["data"][name] for name in ("amount", "currency", "status", "receipt")} == {
        "amount": 2000,
        "currency": "INR",
        "status": "created",
        "receipt": asked(session_id)["receipt"],
    }
    assert isinstance(order.json()["data"]["created_at"], int)
    assert (unpaid.status_code, unpaid.json()["code"]) == (402, "payment_not_verified")
    data = verified.json()["data"]
    assert (data["order_id"], data["payment_id"], data["verified"]) == (order_id, "pay_1", True)
    assert [answer.status_code for answer in completed] == [200, 200]
    assert {answer.json()["data"]["session"]["status"] for answer in completed} == {"confirmed"}
    assert (heard.status_code, heard.json()) == (200, {"received": True})
    [transaction] = mine["transactions"]
    assert transaction["_id"] == data["transaction_id"]
    assert {name: transaction[name] for name in ("type", "amount", "currency", "status", "sessionId")} == {
        "type": "booking",
        "amount": 20,
        "currency": "INR",
        "status": "completed",
        "sessionId": session_id,
    }
    assert transaction["transactionId"] == "pay_1"
    assert mine["stats"] == {
        "total": 1,
        "completed": 1,
        "pending": 0,
        "failed": 0,
        "refunded": 0,
        "totalSpent": 20,
        "received": {"INR": 20},
    }
    assert mine["pagination"] == {"page": 1, "limit": 20, "total": 1, "pages": 1}


async def test_the_hold_lapsed_while_the_client_paid_and_the_slot_is_free(
    http: httpx.AsyncClient, ada: Actor, grace: Expert, as_: Headers, clock: Clock
) -> None:
    booking_id, session_id = await booked(http, as_(ada), grace)
    order_id = (await http.post(CREATE, json=asked(session_id), headers=as_(ada))).json()["data"]["id"]
    clock.advance(minutes=31)

    verified = await http.post(VERIFY, json=returned(order_id), headers=as_(ada))
    completed = await http.put(
        f"/api/bookings/{booking_id}/complete-payment",
        json={"sessionId": session_id, "paymentMethod": "online", "loyaltyPointsUsed": 0},
        headers=as_(ada),
    )

    assert (verified.status_code, completed.status_code) == (200, 200)
    assert completed.json()["data"]["session"]["status"] == "confirmed"


async def test_the_hold_lapsed_and_the_slot_is_gone_so_the_money_is_offered_for_refund(
    http: httpx.AsyncClient, ada: Actor, grace: Expert, as_: Headers, clock: Clock
) -> None:
    _, session_id = await booked(http, as_(ada), grace)
    order_id = (await http.post(CREATE, json=asked(session_id), headers=as_(ada))).json()["data"]["id"]
    clock.advance(minutes=31)
    await booked(http, as_(a_client()), grace)

    verified = await http.post(VERIFY, json=returned(order_id), headers=as_(ada))
    admin = as_(an_admin())
    listed = (await http.get("/api/admin/payments?unplaced=true", headers=admin)).json()["data"]
    placed = (await http.get("/api/admin/payments?unplaced=true&state=refunded", headers=admin)).json()["data"]

    assert verified.status_code == 200
    [payment] = listed["payments"]
    assert (payment["unplaced"], payment["currency"], payment["target"]["id"]) == (20, "INR", session_id)
    assert payment["allocations"][0]["reason"]
    assert "key" not in payment
    assert placed["payments"] == []


async def test_a_refund_by_webhook_is_seen_by_the_client(
    http: httpx.AsyncClient, ada: Actor, grace: Expert, as_: Headers, clock: Clock
) -> None:
    _, session_id = await booked(http, as_(ada), grace)
    order_id = (await http.post(CREATE, json=asked(session_id), headers=as_(ada))).json()["data"]["id"]
    refund = razorpay_says("refund.processed", clock.now, refund=razorpay_refund("rfnd_1", "pay_1", 2000))
    captured = razorpay_says("payment.captured", clock.now, payment=razorpay_payment("pay_1", order_id, 2000))

    for raw, headers in (refund, captured):
        await http.post(RAZORPAY, content=raw, headers=headers)
    mine = (await http.get("/api/transactions/user?status=refunded", headers=as_(ada))).json()

    assert [each["status"] for each in mine["transactions"]] == ["refunded"]
    assert mine["stats"]["totalSpent"] == 0


async def test_stripe_opens_answers_again_and_confirms_by_webhook(
    http: httpx.AsyncClient, ada: Actor, grace: Expert, as_: Headers, clock: Clock
) -> None:
    _, session_id = await booked(http, as_(ada), grace)
    body = {"provider": "stripe", "sessionId": session_id}

    opened = [await http.post("/api/payments", json=body, headers=as_(ada)) for _ in range(2)]
    intent = opened[0].json()["data"]["checkout"]
    told = stripe_says("payment_intent.succeeded", clock.now, id=intent["id"], amount_received=2000, currency="inr")
    heard = await http.post(STRIPE, content=told[0], headers=told[1])
    session = (await http.get(f"/api/sessions/{session_id}", headers=as_(ada))).json()["data"]["session"]

    assert [answer.status_code for answer in opened] == [201, 201]
    assert opened[1].json()["data"]["checkout"]["id"] == intent["id"]
    assert (intent["amount"], intent["client_secret"]) == (2000, f"{intent['id']}_secret")
    assert opened[0].json()["data"]["payment"]["state"] == "created"
    assert heard.json() == {"received": True}
    assert session["paymentStatus"] == "paid"


async def test_a_client_who_is_back_before_stripes_webhook_is_believed_when_stripe_agrees(
    http: httpx.AsyncClient, ada: Actor, grace: Expert, as_: Headers, other_side: StandIn
) -> None:
    booking_id, session_id = await booked(http, as_(ada), grace)
    opened = await http.post("/api/payments", json={"provider": "stripe", "sessionId": session_id}, headers=as_(ada))
    intent = opened.json()["data"]["checkout"]["id"]
    path, body = "/api/payments/verify-stripe-payment", {"payment_intent": intent}

    early = await http.post(path, json=body, headers=as_(ada))
    other_side.intents[intent]["status"] = "succeeded"
    others = await http.post(path, json=body, headers=as_(a_client()))
    verified = await http.post(path, json=body, headers=as_(ada))
    completed = await http.put(
        f"/api/bookings/{booking_id}/complete-payment",
        json={"sessionId": session_id, "paymentMethod": "online", "loyaltyPointsUsed": 0},
        headers=as_(ada),
    )

    assert (early.status_code, others.status_code, verified.status_code) == (402, 404, 200)
    assert verified.json()["data"]["payment_id"] == intent
    assert completed.status_code == 200


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"amount": 1}, 422, "amount_mismatch"),
        ({"amount": 2000}, 422, "amount_mismatch"),
        ({"amount": "20"}, 422, "invalid_input"),
        ({"amount": -20}, 422, "amount_mismatch"),
        ({"currency": "USD"}, 422, "currency_mismatch"),
        ({"currency": "Rupees"}, 422, "invalid_currency"),
        ({"receipt": "x" * 41}, 422, "invalid_input"),
        ({"notes": {}}, 422, "invalid_input"),
        ({"notes": {"payment_id": "no id"}}, 422, "invalid_input"),
        ({"notes": {"payment_id": "0" * 24}}, 404, "session_not_found"),
    ],
)
async def test_a_wrong_order_is_refused(
    http: httpx.AsyncClient,
    ada: Actor,
    grace: Expert,
    as_: Headers,
    other_side: StandIn,
    change: dict[str, object],
    status: int,
    code: str,
) -> None:
    _, session_id = await booked(http, as_(ada), grace)

    answer = await http.post(CREATE, json=asked(session_id, **change), headers=as_(ada))

    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert other_side.orders == {}


@pytest.mark.parametrize("named", [{}, {"sessionId": "0" * 24, "orderId": "0" * 24}])
async def test_a_payment_is_for_one_thing(
    http: httpx.AsyncClient, ada: Actor, as_: Headers, named: dict[str, str]
) -> None:
    answer = await http.post("/api/payments", json={"provider": "razorpay", **named}, headers=as_(ada))

    assert answer.status_code == 422


async def test_a_provider_that_is_down_is_503_and_the_next_try_succeeds(
    http: httpx.AsyncClient, ada: Actor, grace: Expert, as_: Headers, other_side: StandIn
) -> None:
    _, session_id = await booked(http, as_(ada), grace)
    other_side.says = [(500, b"")]
    key = {"Idempotency-Key": "pay-once"}

    answers = [await http.post(CREATE, json=asked(session_id), headers=as_(ada) | key) for _ in range(3)]

    assert [answer.status_code for answer in answers] == [503, 200, 200]
    assert answers[0].json()["code"] == "provider_unavailable"
    assert answers[1].json() == answers[2].json()


async def test_a_forged_return_is_402(http: httpx.AsyncClient, ada: Actor, grace: Expert, as_: Headers) -> None:
    _, session_id = await booked(http, as_(ada), grace)
    order_id = (await http.post(CREATE, json=asked(session_id), headers=as_(ada))).json()["data"]["id"]
    forged = returned(order_id) | {"razorpay_signature": signature(order_id, "pay_1", "test_secret_key")}

    answer = await http.post(VERIFY, json=forged, headers=as_(ada))
    others = await http.post(VERIFY, json=returned(order_id), headers=as_(a_client()))
    experts = await http.post(VERIFY, json=returned(order_id), headers=as_(an_expert(grace)))

    assert (answer.status_code, answer.json()["code"]) == (402, "payment_not_verified")
    assert (others.status_code, experts.status_code) == (404, 403)


@pytest.mark.parametrize("media_type", ["application/json", "text/plain", "application/octet-stream", ""])
async def test_a_webhook_is_read_whatever_its_media_type(
    http: httpx.AsyncClient, clock: Clock, media_type: str
) -> None:
    raw, headers = razorpay_says("payment.captured", clock.now, payment=razorpay_payment("pay_1", "order_x", 2000))

    answers = [await http.post(RAZORPAY, content=raw, headers=headers | {"content-type": media_type}) for _ in range(2)]

    assert [(each.status_code, each.json()) for each in answers] == [(200, {"received": True})] * 2


async def test_webhooks_that_are_not_the_providers_are_refused(
    http: httpx.AsyncClient, clock: Clock, confiido: Confiido
) -> None:
    raw, headers = razorpay_says("payment.captured", clock.now, payment=razorpay_payment("pay_1", "order_x", 2000))
    stripes = stripe_says("payment_intent.succeeded", clock.now - timedelta(hours=1), id="pi_1")
    huge = b" " * (confiido.settings.max_body_bytes + 1)

    answers = [
        await http.post(RAZORPAY, content=raw + b" ", headers=headers),
        await http.post(RAZORPAY, content=raw),
        await http.post(STRIPE, content=raw, headers=headers),
        await http.post(STRIPE, content=stripes[0], headers=stripes[1]),
        await http.post(RAZORPAY, content=b"{}", headers={"x-razorpay-signature": signed(b"{}")}),
        await http.post(RAZORPAY, content=huge, headers={"x-razorpay-signature": signed(huge)}),
        await http.post("/api/webhooks/paypal", content=raw),
    ]

    assert [answer.status_code for answer in answers] == [400, 400, 400, 400, 400, 413, 404]
    assert answers[0].json() == {"success": False, "error": "Invalid signature", "code": "invalid_signature"}
    assert answers[4].json()["code"] == "malformed_event"


async def test_what_is_not_configured_is_503(
    connected: Confiido, ada: Actor, grace: Expert, as_: Headers, clock: Clock
) -> None:
    from api.app import create_app

    raw, headers = razorpay_says("payment.captured", clock.now, payment=razorpay_payment("pay_1", "order_x", 2000))

    async with http_client(create_app(connected)) as http:
        _, session_id = await booked(http, as_(ada), grace)
        answers = [
            await http.post(CREATE, json=asked(session_id), headers=as_(ada)),
            await http.post("/api/payments", json={"provider": "stripe", "sessionId": session_id}, headers=as_(ada)),
            await http.post(VERIFY, json=returned("order_1"), headers=as_(ada)),
            await http.post(RAZORPAY, content=raw, headers=headers),
            await http.post(STRIPE, content=raw, headers=headers),
        ]

    assert {(answer.status_code, answer.json()["code"]) for answer in answers} == {(503, "provider_not_configured")}


async def test_the_admins_list_comes_in_pages(
    http: httpx.AsyncClient, as_: Headers, clock: Clock, confiido: Confiido
) -> None:
    for number in range(5):
        payment = razorpay_payment(f"pay_{number}", "order_x", 100 + number)
        raw, headers = razorpay_says("payment.captured", clock.now, payment=payment)
        await http.post(RAZORPAY, content=raw, headers=headers)
        clock.advance(minutes=1)
    admin, seen, cursor = as_(an_admin()), [], ""

    while True:
        page = (await http.get(f"/api/admin/payments?limit=2{cursor}", headers=admin)).json()["data"]
        seen += [payment["providerPaymentId"] for payment in page["payments"]]
        if "nextCursor" not in page["pagination"]:
            break
        cursor = f"&cursor={page['pagination']['nextCursor']}"
    today = (await http.get("/api/admin/payments?from=2026-03-02&to=2026-03-02", headers=admin)).json()["data"]
    later = (await http.get("/api/admin/payments?from=2026-03-03", headers=admin)).json()["data"]
    wrong = [
        await http.get(f"/api/admin/payments?{query}", headers=admin)
        for query in ("state=gone", "limit=0", "limit=101", "cursor=x", "from=yesterday", "unplaced=perhaps")
    ]

    assert seen == [f"pay_{number}" for number in (4, 3, 2, 1, 0)]
    assert page["pagination"]["total"] == 5
    assert (len(today["payments"]), len(later["payments"])) == (5, 0)
    assert {answer.status_code for answer in wrong} == {422}


async def test_transactions_are_the_callers_own(
    http: httpx.AsyncClient, ada: Actor, grace: Expert, as_: Headers
) -> None:
    _, session_id = await booked(http, as_(ada), grace)
    await http.post(CREATE, json=asked(session_id), headers=as_(ada))

    mine = (await http.get("/api/transactions/user?page=1&limit=5", headers=as_(ada))).json()
    others = (await http.get("/api/transactions/user", headers=as_(a_client()))).json()
    none = (await http.get("/api/transactions/user?type=refund", headers=as_(ada))).json()

    assert [each["status"] for each in mine["transactions"]] == ["pending"]
    assert mine["stats"]["pending"] == 1
    assert (others["transactions"], others["stats"]["total"]) == ([], 0)
    assert none["transactions"] == []
    assert json.dumps(mine).count("rzp_test") == 0
