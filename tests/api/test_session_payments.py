"""Money of sessions over HTTP: shapes, codes and refusals of /paid, /refund, /payments, /cancellation."""

from typing import Any

import httpx
import pytest

from confiido_booking import Actor, Confiido, Expert
from tests.api.conftest import Headers, wish
from tests.builders import an_admin

ADMIN = an_admin()


@pytest.fixture
async def session(http: httpx.AsyncClient, as_: Headers, ada: Actor, grace: Expert) -> dict[str, Any]:
    answer = await http.post("/api/bookings", json=wish(grace), headers=as_(ada))
    made: dict[str, Any] = answer.json()["data"]
    return {"id": made["session"]["sessionId"], "booking": made["booking"]["_id"]}


async def test_a_payment_answers_with_the_session_and_its_entry(
    http: httpx.AsyncClient, as_: Headers, session: dict[str, Any]
) -> None:
    body = {"amount": 7.5, "paymentMethod": "bank", "reference": "UTR 1", "paidAt": "2026-03-01T09:00:00Z"}

    answer = await http.put(f"/api/sessions/{session['id']}/paid", json=body, headers=as_(ADMIN))

    data = answer.json()["data"]
    assert answer.status_code == 200
    assert answer.headers["ETag"] == f'"{data["session"]["version"]}"'
    assert (data["session"]["paidAmount"], data["session"]["paymentStatus"]) == (7.5, "partially_paid")
    assert {name: data["payment"][name] for name in ("kind", "state", "provider", "method", "reference", "amount")} == {
        "kind": "payment",
        "state": "captured",
        "provider": "manual",
        "method": "bank",
        "reference": "UTR 1",
        "amount": 7.5,
    }
    assert data["payment"]["allocations"] == [{"to": "session", "id": session["id"], "amount": 7.5}]
    assert data["payment"]["paidAt"] == "2026-03-01T09:00:00.000Z"
    assert "ledger" not in data["session"]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"amount": 20.01}, 422, "overpayment"),
        ({"amount": 0}, 422, "invalid_amount"),
        ({"amount": "20"}, 422, None),
        ({"amount": 20.001}, 422, "invalid_amount"),
        ({"currency": "USD"}, 422, "currency_mismatch"),
        ({"currency": "XXX"}, 422, "invalid_currency"),
        ({"paidAt": "2027-01-01T00:00:00Z"}, 422, "invalid_input"),
        ({"paidAt": "yesterday"}, 422, None),
        ({"reference": "x" * 501}, 422, None),
    ],
)
async def test_what_is_wrong_with_a_payment_is_said_and_changes_nothing(
    http: httpx.AsyncClient,
    as_: Headers,
    confiido: Confiido,
    session: dict[str, Any],
    body: Any,
    status: int,
    code: str,
) -> None:
    answer = await http.put(f"/api/sessions/{session['id']}/paid", json=body, headers=as_(ADMIN))

    assert (answer.status_code, code and answer.json()["code"]) == (status, code)
    assert await confiido.store.collection("payments").count_documents({}) == 0


async def test_the_same_key_pays_once_and_another_body_is_refused(
    http: httpx.AsyncClient, as_: Headers, session: dict[str, Any]
) -> None:
    path, headers = f"/api/sessions/{session['id']}/paid", as_(ADMIN, Idempotency_Key="k")

    first = await http.put(path, json={"amount": 5}, headers=headers)
    again = await http.put(path, json={"amount": 5}, headers=headers)
    other = await http.put(path, json={"amount": 6}, headers=headers)

    assert first.json() == again.json()
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


async def test_a_stale_etag_pays_nothing(http: httpx.AsyncClient, as_: Headers, session: dict[str, Any]) -> None:
    stale = await http.put(f"/api/sessions/{session['id']}/paid", json={}, headers=as_(ADMIN, If_Match='"9"'))

    assert (stale.status_code, stale.json()["code"]) == (412, "precondition_failed")


async def test_from_payment_to_refund(
    http: httpx.AsyncClient, as_: Headers, ada: Actor, session: dict[str, Any]
) -> None:
    path = f"/api/sessions/{session['id']}"
    await http.put(f"{path}/paid", json={}, headers=as_(ADMIN))
    preview = await http.get(f"{path}/cancellation", headers=as_(ada))
    await http.put(f"/api/bookings/{session['booking']}/cancel", json={"sessionId": session["id"]}, headers=as_(ada))
    lowered = await http.put(f"{path}/refund-due", json={"amount": 15, "reason": "An agreement"}, headers=as_(ADMIN))

    refunded = await http.post(f"{path}/refund", json={"reason": "You cancelled"}, headers=as_(ADMIN))
    seen = await http.get(f"{path}/payments", headers=as_(ada))

    assert preview.json()["data"] == {
        "allowed": True,
        "refundAmount": 20,
        "fee": 0,
        "currency": "INR",
        "until": "2026-03-03T07:00:00.000Z",
    }
    assert lowered.json()["data"]["session"]["refundDue"] == 15
    assert (refunded.status_code, refunded.json()["data"]["refund"]["amount"]) == (201, 15)
    assert [(each["kind"], each["amount"]) for each in seen.json()["data"]["payments"]] == [
        ("payment", 20),
        ("refund", 15),
    ]
    assert not any("actor" in each or "history" in each for each in seen.json()["data"]["payments"])
    again = await http.post(f"{path}/refund", json={"reason": "Once more"}, headers=as_(ADMIN))
    assert (again.status_code, again.json()["code"]) == (409, "nothing_to_refund")


async def test_loyalty_points_are_refused_and_none_of_them_accepted(
    http: httpx.AsyncClient, as_: Headers, session: dict[str, Any]
) -> None:
    path, body = f"/api/bookings/{session['booking']}/complete-payment", {"sessionId": session["id"]}

    with_points = await http.put(path, json=body | {"loyaltyPointsUsed": 5}, headers=as_(ADMIN))
    without = await http.put(path, json=body | {"loyaltyPointsUsed": 0}, headers=as_(ADMIN))
    repeated = await http.put(path, json=body | {"loyaltyPointsUsed": 0}, headers=as_(ADMIN))

    assert (with_points.status_code, with_points.json()["code"]) == (422, "loyalty_unavailable")
    assert [each.status_code for each in (without, repeated)] == [200, 200]
    assert without.json()["data"]["session"]["status"] == "confirmed"
