"""The catalogue over HTTP: snake_case, minor units, open to everybody (ROUTES; seed 4.20)."""

import httpx
import pytest

from confiido_booking import Actor, Expert
from tests.api.conftest import Headers
from tests.builders import a_client, an_admin, an_expert

YOGA = {
    "service_type": "workshop",
    "name": "Yoga",
    "price_cents": 50000,
    "currency": "INR",
    "duration_minutes": 60,
    "max_participants": 25,
    "medium": "in-person",
}


async def test_what_is_offered_is_shown_to_everybody(http: httpx.AsyncClient, as_: Headers, grace: Expert) -> None:
    made = await http.post("/api/v1/services", json=YOGA, headers=as_(an_expert(grace)))
    service = made.json()["data"]["service"]

    listed = await http.get("/api/v1/services?q=yog&type=workshop")
    one = await http.get(f"/api/v1/services/{service['id']}/")

    assert made.status_code == 201
    assert service | YOGA == service
    assert (service["primary_practitioner"], service["version"], service["is_active"]) == (str(grace.id), 1, True)
    assert listed.json()["data"] == {
        "services": [service],
        "pagination": {"page": 1, "limit": 20, "total": 1, "pages": 1},
    }
    assert one.json()["data"]["service"] == service


async def test_a_bad_token_is_refused_also_where_none_is_needed(http: httpx.AsyncClient) -> None:
    answer = await http.get("/api/v1/services", headers={"Authorization": "Bearer nothing"})

    assert answer.status_code == 401


async def test_a_service_off_sale_is_gone_for_the_public(
    http: httpx.AsyncClient, as_: Headers, grace: Expert, ada: Actor
) -> None:
    own = as_(an_expert(grace))
    made = await http.post("/api/v1/services", json=YOGA, headers=own)
    path = f"/api/v1/services/{made.json()['data']['service']['id']}"

    gone = await http.delete(path, headers=own)
    again = await http.delete(path, headers=own)

    assert [gone.status_code, again.status_code] == [200, 200]
    assert [(await http.get(path, headers=headers)).status_code for headers in ({}, as_(ada), own)] == [404, 404, 200]
    back = await http.put(path, json={"is_active": True}, headers=as_(an_admin()))
    assert (back.json()["data"]["service"]["is_active"], (await http.get(path)).status_code) == (True, 200)


async def test_a_key_makes_one_service(http: httpx.AsyncClient, as_: Headers, grace: Expert) -> None:
    headers = as_(an_expert(grace), Idempotency_Key="one")

    made = [(await http.post("/api/v1/services", json=YOGA, headers=headers)).json() for _ in range(2)]

    assert made[0] == made[1]
    assert (await http.get("/api/v1/services")).json()["data"]["pagination"]["total"] == 1


@pytest.mark.parametrize(
    "body",
    [
        {},
        YOGA | {"price_cents": "1"},
        YOGA | {"price_cents": 1.5},
        YOGA | {"price_cents": -1},
        YOGA | {"price_cents": True},
        YOGA | {"currency": "XXX"},
        YOGA | {"currency": {"$ne": None}},
        YOGA | {"children": [{"service_id": {"$gt": ""}}]},
        YOGA | {"children": "all"},
        YOGA | {"duration_minutes": 1e3},
        YOGA | {"max_participants": 10**9},
        YOGA | {"medium": "smoke"},
        YOGA | {"name": ["a"]},
        YOGA | {"cancellation_policy": {"tiers": [{"hoursBefore": -1, "refundPercent": 200}]}},
    ],
)
async def test_hostile_input_is_refused_with_its_field(
    http: httpx.AsyncClient, as_: Headers, grace: Expert, body: dict[str, object]
) -> None:
    answer = await http.post("/api/v1/services", json=body, headers=as_(an_expert(grace)))

    assert answer.status_code == 422
    assert answer.json()["errors"]


@pytest.mark.parametrize("query", ["type=party", "expert_id=x", "page=0", "limit=101", "q=" + "q" * 101, "q=%00"])
async def test_a_list_that_cannot_be_is_refused(http: httpx.AsyncClient, query: str) -> None:
    assert (await http.get(f"/api/v1/services?{query}")).status_code == 422


async def test_a_client_sells_nothing(http: httpx.AsyncClient, as_: Headers) -> None:
    answer = await http.post("/api/v1/services", json=YOGA, headers=as_(a_client()))

    assert (answer.status_code, answer.json()["code"]) == (403, "not_allowed")
