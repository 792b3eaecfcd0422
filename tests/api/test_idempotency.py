"""``Idempotency-Key`` over HTTP: one effect, one answer, for a day (SPEC 8, L9)."""

import asyncio
from datetime import timedelta

import httpx
import pytest
import structlog
from fastapi import FastAPI

from confiido_booking.actors import Actor
from confiido_booking.client import Confiido
from confiido_booking.errors import Conflict, Invalid, Unavailable
from confiido_booking.experts.models import Expert
from confiido_booking.idempotency import IdempotencyKeys, KeptAnswer, Running, digest
from tests.api.conftest import Headers, wish
from tests.builders import Clock, a_client


async def test_the_same_key_and_body_get_the_first_answer_again(
    http: httpx.AsyncClient, as_: Headers, ada: Actor, grace: Expert
) -> None:
    headers = as_(ada, idempotency_key="first")

    first = await http.post("/api/bookings", json=wish(grace), headers=headers)
    again = await http.post("/api/bookings", json=wish(grace), headers=headers)

    assert (first.status_code, again.status_code) == (201, 201)
    assert again.content == first.content
    assert again.headers["idempotency-replayed"] == "true"
    assert "idempotency-replayed" not in first.headers
    assert again.headers["etag"] == first.headers["etag"]
    assert again.headers["content-type"] == first.headers["content-type"]
    listed = await http.get("/api/bookings/user", headers=headers)
    assert listed.json()["data"]["pagination"]["total"] == 1


async def test_another_body_under_the_same_key_is_refused(
    http: httpx.AsyncClient, as_: Headers, ada: Actor, grace: Expert
) -> None:
    headers = as_(ada, idempotency_key="k")
    await http.post("/api/bookings", json=wish(grace), headers=headers)

    other = await http.post("/api/bookings", json=wish(grace, startTime="15:00"), headers=headers)

    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


async def test_keys_belong_to_their_caller(http: httpx.AsyncClient, as_: Headers, ada: Actor, grace: Expert) -> None:
    await http.post("/api/bookings", json=wish(grace), headers=as_(ada, idempotency_key="k"))

    other = await http.post(
        "/api/bookings", json=wish(grace, startTime="15:00"), headers=as_(a_client(), idempotency_key="k")
    )

    assert other.status_code == 201
    assert "idempotency-replayed" not in other.headers


async def test_a_refusal_is_an_answer_too(http: httpx.AsyncClient, as_: Headers, ada: Actor, grace: Expert) -> None:
    await http.post("/api/bookings", json=wish(grace), headers=as_(a_client()))
    headers = as_(ada, idempotency_key="k")

    first = await http.post("/api/bookings", json=wish(grace), headers=headers)
    again = await http.post("/api/bookings", json=wish(grace), headers=headers)

    assert (first.status_code, again.status_code) == (409, 409)
    assert again.content == first.content
    assert again.headers["idempotency-replayed"] == "true"


async def test_an_invalid_body_is_an_answer_too(http: httpx.AsyncClient, as_: Headers, ada: Actor) -> None:
    headers = as_(ada, idempotency_key="k")

    answers = [await http.post("/api/bookings", json={}, headers=headers) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [422, 422]
    assert answers[1].headers["idempotency-replayed"] == "true"


async def test_of_many_at_once_one_runs(http: httpx.AsyncClient, as_: Headers, ada: Actor, grace: Expert) -> None:
    headers = as_(ada, idempotency_key="k")

    answers = await asyncio.gather(*(http.post("/api/bookings", json=wish(grace), headers=headers) for _ in range(10)))

    codes = sorted({(answer.status_code, answer.json().get("code")) for answer in answers}, key=str)
    assert set(codes) <= {(201, None), (409, "idempotency_key_running")}
    listed = await http.get("/api/bookings/user", headers=as_(ada))
    assert listed.json()["data"]["pagination"]["total"] == 1


@pytest.mark.parametrize("key", ["", "a b", "x" * 256, "\x01", "é"])
async def test_a_key_is_visible_ascii(
    http: httpx.AsyncClient, as_: Headers, ada: Actor, grace: Expert, key: str
) -> None:
    headers = [(name.encode(), value.encode()) for name, value in as_(ada).items()]

    answer = await http.post(
        "/api/bookings", json=wish(grace), headers=[*headers, (b"idempotency-key", key.encode("latin-1"))]
    )

    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_idempotency_key")


async def test_a_command_whose_process_died_is_taken_over_and_has_one_effect(
    http: httpx.AsyncClient, as_: Headers, ada: Actor, grace: Expert, confiido: Confiido, clock: Clock
) -> None:
    headers = as_(ada, idempotency_key="k")
    first = await http.post("/api/bookings", json=wish(grace), headers=headers)
    unanswered = {"$set": {"state": "running"}, "$unset": {"body": "", "status": "", "headers": ""}}
    await confiido.store.update("forget the answer", "idempotency_keys", {}, unanswered)

    early = await http.post("/api/bookings", json=wish(grace), headers=headers)
    clock.advance(seconds=61)
    late = await http.post("/api/bookings", json=wish(grace), headers=headers)

    assert (early.status_code, early.json()["code"]) == (409, "idempotency_key_running")
    assert late.status_code == 201
    assert late.json()["data"]["session"]["sessionId"] == first.json()["data"]["session"]["sessionId"]
    listed = await http.get("/api/bookings/user", headers=headers)
    assert listed.json()["data"]["pagination"]["total"] == 1


async def test_an_answer_of_503_is_not_final(
    http: httpx.AsyncClient, as_: Headers, ada: Actor, grace: Expert, confiido: Confiido
) -> None:
    headers = as_(ada, idempotency_key="k")

    async def fails(step: str) -> None:
        if step == "claim":
            raise Unavailable()

    confiido.store.hook = fails
    first = await http.post("/api/bookings", json=wish(grace), headers=headers)
    confiido.store.hook = None
    again = await http.post("/api/bookings", json=wish(grace), headers=headers)

    assert (first.status_code, first.json()["code"]) == (503, "store_unavailable")
    assert again.status_code == 201


async def test_a_fault_of_ours_frees_the_key_and_shows_no_trace(
    http: httpx.AsyncClient, as_: Headers, ada: Actor, grace: Expert, confiido: Confiido
) -> None:
    headers = as_(ada, idempotency_key="k")

    async def fails(step: str) -> None:
        if step == "claim":
            raise ZeroDivisionError("secret inside")

    confiido.store.hook = fails
    with structlog.testing.capture_logs() as lines:
        first = await http.post("/api/bookings", json=wish(grace), headers=headers)
    confiido.store.hook = None
    again = await http.post("/api/bookings", json=wish(grace), headers=headers)

    assert first.status_code == 500
    assert [line["event"] for line in lines] == ["unexpected", "request"]
    assert first.json() == {
        "success": False,
        "error": "Something went wrong on our side",
        "code": "internal_error",
    }
    assert again.status_code == 201


async def test_a_key_is_forgotten_after_a_day(confiido: Confiido, clock: Clock) -> None:
    keys = confiido.idempotency
    running = await keys.begin("id", "one")
    assert isinstance(running, Running)
    await keys.finish(running, KeptAnswer(200, b"{}", {}))
    clock.advance(hours=25)

    begun = await keys.begin("id", "two")

    assert isinstance(begun, Running)


async def test_who_was_taken_over_can_neither_answer_nor_free(confiido: Confiido, clock: Clock) -> None:
    keys = confiido.idempotency
    sleeper = await keys.begin("id", "one")
    clock.advance(seconds=61)
    taker = await keys.begin("id", "one")
    assert isinstance(sleeper, Running)
    assert isinstance(taker, Running)

    await keys.free(sleeper)
    await keys.finish(sleeper, KeptAnswer(200, b"late", {}))
    with pytest.raises(Conflict):
        await keys.begin("id", "one")
    await keys.finish(taker, KeptAnswer(201, b"first", {"etag": '"1"'}))

    assert await keys.begin("id", "one") == KeptAnswer(201, b"first", {"etag": '"1"'})
    with pytest.raises(Invalid):
        await keys.begin("id", "two")


async def test_of_many_who_take_over_one_does(confiido: Confiido, clock: Clock) -> None:
    keys: IdempotencyKeys = confiido.idempotency
    await keys.begin("id", "one")
    clock.now += timedelta(seconds=61)

    outcomes = await asyncio.gather(*(keys.begin("id", "one") for _ in range(5)), return_exceptions=True)

    assert sum(isinstance(outcome, Running) for outcome in outcomes) == 1
    assert sum(isinstance(outcome, Conflict) for outcome in outcomes) == 4


def test_parts_of_a_digest_are_told_apart() -> None:
    assert digest("ab", "c") != digest("a", "bc")


async def test_reading_takes_no_key(http: httpx.AsyncClient, as_: Headers, ada: Actor, app: FastAPI) -> None:
    answers = [await http.get("/api/bookings/user", headers=as_(ada, idempotency_key="k")) for _ in range(2)]

    assert all("idempotency-replayed" not in answer.headers for answer in answers)
