"""Orders over HTTP: seed 004's five patterns, paid, scheduled and cancelled (ROUTES; SPEC 9)."""

from datetime import timedelta
from typing import Any

import httpx
import pytest

from confiido_booking import Actor, Confiido, Expert
from confiido_booking.catalog.models import Service
from tests.api.conftest import Headers
from tests.builders import Clock, a_client, an_admin, make_expert
from tests.ordering import SIX, WEEK, events_of, id_of, offered, package_of

ORDERS = "/api/v1/orders"


async def buy(http: httpx.AsyncClient, headers: dict[str, str], service: Service, **given: Any) -> Any:
    answer = await http.post(ORDERS, json={"service_id": str(service.id), **given}, headers=headers)
    assert answer.status_code == 201, answer.text
    return answer.json()["data"]


async def test_individual_session_is_bought_at_a_time(
    confiido: Confiido, http: httpx.AsyncClient, as_: Headers, ada: Actor, grace: Expert
) -> None:
    advice = await offered(confiido, grace, "individual")

    data = await buy(http, as_(ada), advice, starts_at="2026-03-03T19:00:00+01:00")

    (booking,) = data["bookings"]
    assert (data["order"]["status"], data["order"]["price_cents"]) == ("pending_payment", 50000)
    assert (booking["status"], booking["start_time"]) == ("pending_payment", "2026-03-03T18:00:00.000Z")
    assert (booking["price_charged_cents"], booking["share_cents"]) == (50000, 50000)
    assert booking["hold_until"] == data["order"]["hold_until"]


async def test_workshop_is_bought_by_its_service_session(
    confiido: Confiido, http: httpx.AsyncClient, as_: Headers, ada: Actor, grace: Expert
) -> None:
    yoga = await offered(confiido, grace, "workshop", max_participants=1)
    (shared,) = await events_of(confiido, yoga)

    data = await buy(http, as_(ada), yoga, service_session_id=str(shared))
    other = {"service_id": str(yoga.id), "service_session_id": str(shared)}
    full = await http.post(ORDERS, json=other, headers=as_(a_client()))

    assert data["bookings"][0]["service_session_id"] == str(shared)
    assert (full.status_code, full.json()["code"]) == (409, "event_full")


async def test_course_charges_its_bookings_nothing_and_shows_their_shares(
    confiido: Confiido, http: httpx.AsyncClient, as_: Headers, ada: Actor, grace: Expert
) -> None:
    course = await offered(confiido, grace, "course", price_cents=10000)
    await events_of(confiido, course, 3)
    data = await buy(http, as_(ada), course)

    path = f"{ORDERS}/{data['order']['id']}"
    paid = await http.put(f"{path}/paid", json={"payment_method": "cash"}, headers=as_(an_admin()))
    listed = await http.get("/api/v1/bookings?service_type=course&when=upcoming", headers=as_(ada))
    by_order = await http.get(f"/api/v1/bookings/?order_id={data['order']['id']}", headers=as_(ada))
    read = await http.get(f"{path}/", headers=as_(ada))

    assert [each["price_charged_cents"] for each in data["bookings"]] == [0, 0, 0]
    assert [each["share_cents"] for each in data["bookings"]] == [3334, 3333, 3333]
    assert paid.json()["data"]["order"]["status"] == "paid"
    assert [each["start_time"][:10] for each in listed.json()["data"]["bookings"]] == [
        "2026-03-03",
        "2026-03-10",
        "2026-03-17",
    ]
    assert {each["status"] for each in listed.json()["data"]["bookings"]} == {"confirmed"}
    assert by_order.json()["data"]["pagination"]["total"] == 3
    assert read.json()["data"]["order"] == paid.json()["data"]["order"]


@pytest.mark.parametrize("service_type", ["package", "bundle"])
async def test_package_and_bundle_give_drafts_that_are_scheduled_later(
    confiido: Confiido, http: httpx.AsyncClient, as_: Headers, ada: Actor, grace: Expert, service_type: str
) -> None:
    talk, yoga = await offered(confiido, grace, "individual"), await offered(confiido, grace, "workshop")
    (shared,) = await events_of(confiido, yoga, first=SIX + WEEK)
    children = [(talk, 1), (yoga, 1)] if service_type == "package" else [(talk, 2)]
    service = await package_of(confiido, grace, *children, service_type=service_type, validity_days=30)
    data = await buy(http, as_(ada), service)
    ids = [each["id"] for each in data["bookings"]]
    await http.put(f"{ORDERS}/{data['order']['id']}/paid", headers=as_(an_admin()))

    first = await http.put(
        f"/api/v1/bookings/{ids[0]}/schedule", json={"starts_at": "2026-03-03T18:00:00Z"}, headers=as_(ada)
    )
    wanted = {"service_session_id": str(shared)} if service_type == "package" else {"starts_at": "2026-03-04T18:00:00Z"}
    second = await http.put(f"/api/v1/bookings/{ids[1]}/schedule/", json=wanted, headers=as_(ada))
    late = await http.put(f"/api/v1/bookings/{ids[1]}/schedule", json=wanted, headers=as_(ada))

    assert [(each["status"], each.get("start_time")) for each in data["bookings"]] == [("draft", None)] * 2
    assert data["order"]["valid_until"] == "2026-04-01T09:00:00.000Z"
    booked = [answer.json()["data"]["booking"] for answer in (first, second)]
    assert [each["status"] for each in booked] == ["confirmed", "confirmed"]
    assert booked[0]["start_time"] == "2026-03-03T18:00:00.000Z"
    assert (late.status_code, late.json()["code"]) == (409, "transition_refused")


async def test_an_order_is_previewed_cancelled_and_listed(
    confiido: Confiido, http: httpx.AsyncClient, as_: Headers, ada: Actor, grace: Expert, clock: Clock
) -> None:
    course = await offered(confiido, grace, "course", price_cents=10000)
    await events_of(confiido, course, 3)
    data = await buy(http, as_(ada), course)
    path = f"{ORDERS}/{data['order']['id']}"
    await http.put(f"{path}/paid", headers=as_(an_admin()))
    clock.now = SIX + timedelta(minutes=1)

    preview = await http.get(f"{path}/cancellation", headers=as_(ada))
    cancelled = await http.post(f"{path}/cancel", json={"reason": "Moving"}, headers=as_(ada))
    listed = await http.get(f"{ORDERS}?status=partly_cancelled", headers=as_(ada))
    of_another = await http.get(path, headers=as_(a_client()))

    terms = preview.json()["data"]
    assert (terms["allowed"], terms["refund_cents"], terms["fee_cents"]) == (True, 6666, 0)
    assert [each["allowed"] for each in terms["bookings"]] == [False, True, True]
    given_up = cancelled.json()["data"]
    assert given_up["refund_cents"] == 6666
    assert (given_up["order"]["status"], [each["status"] for each in given_up["bookings"]]) == (
        "partly_cancelled",
        ["confirmed", "canceled", "canceled"],
    )
    assert [each["id"] for each in listed.json()["data"]["orders"]] == [data["order"]["id"]]
    assert of_another.status_code == 404


@pytest.mark.parametrize(
    ("currency", "cents", "shares"), [("JPY", 500, [167, 167, 166]), ("KWD", 1250, [417, 417, 416])]
)
async def test_money_is_in_the_currencys_minor_unit(
    confiido: Confiido,
    http: httpx.AsyncClient,
    as_: Headers,
    ada: Actor,
    grace: Expert,
    currency: str,
    cents: int,
    shares: list[int],
) -> None:
    course = await offered(confiido, grace, "course", price_cents=cents, currency=currency)
    await events_of(confiido, course, 3)

    data = await buy(http, as_(ada), course)
    paid = await http.put(f"{ORDERS}/{data['order']['id']}/paid", json={"amount_cents": cents}, headers=as_(an_admin()))

    assert [each["share_cents"] for each in data["bookings"]] == shares
    assert (data["order"]["price_cents"], paid.json()["data"]["order"]["paid_cents"]) == (cents, cents)


async def test_a_repeat_under_one_key_is_one_order(
    confiido: Confiido, http: httpx.AsyncClient, as_: Headers, ada: Actor, grace: Expert
) -> None:
    bundle = await package_of(confiido, grace, (await offered(confiido, grace, "individual"), 2), service_type="bundle")

    first, again = [await buy(http, as_(ada, Idempotency_Key="one"), bundle) for _ in range(2)]

    assert again == first
    assert await confiido.store.count("count", "orders", {}) == 1


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({}, 422, "invalid_input"),
        ({"service_id": "0" * 24}, 404, "service_not_found"),
        ({"service_id": {"$ne": None}}, 422, "invalid_input"),
        ({"service_id": "{service}"}, 422, "time_required"),
        ({"service_id": "{service}", "starts_at": "soon"}, 422, "invalid_time"),
        ({"service_id": "{service}", "starts_at": "2026-03-03T18:00:00Z", "client_id": "0" * 24}, 403, "not_allowed"),
        ({"service_id": "{service}", "starts_at": "2026-03-03T18:00:00Z", "timezone": "Mars"}, 422, "invalid_time"),
    ],
)
async def test_what_cannot_be_bought_is_refused(
    confiido: Confiido,
    http: httpx.AsyncClient,
    as_: Headers,
    ada: Actor,
    body: dict[str, Any],
    status: int,
    code: str,
) -> None:
    service = await offered(confiido, await make_expert(confiido), "individual")
    if body.get("service_id") == "{service}":
        body = {**body, "service_id": str(id_of(service))}

    answer = await http.post(ORDERS, json=body, headers=as_(ada))

    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert await confiido.store.count("count", "orders", {}) == 0


async def test_staff_buys_for_somebody_by_address_and_bills_the_order(
    confiido: Confiido, http: httpx.AsyncClient, as_: Headers, grace: Expert
) -> None:
    course = await offered(confiido, grace, "course")
    await events_of(confiido, course, 2)
    admin = as_(an_admin())

    data = await buy(http, admin, course, client_email="new@example.org", client_name="Noor")
    await http.put(f"{ORDERS}/{data['order']['id']}/paid", headers=admin)
    billed = await http.post(
        "/api/invoices", json={"sessionIds": [each["id"] for each in data["bookings"]]}, headers=admin
    )

    assert billed.status_code == 201, billed.text
    invoice = billed.json()["data"]["invoice"]
    assert (invoice["total"], invoice["paidAmount"], len(invoice["lines"])) == (500, 500, 2)
