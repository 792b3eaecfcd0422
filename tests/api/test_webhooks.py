"""/api/admin/webhooks: register, list, read the log, replay, end (ROUTES)."""

from collections.abc import AsyncIterator
from datetime import timedelta

import httpx
import pytest
from standardwebhooks.webhooks import Webhook

from confiido_booking import Actor, Confiido, Expert, Settings
from confiido_booking.times import utc_now
from tests.api.conftest import Headers, wish
from tests.builders import Clock, an_admin
from tests.receiver import Receiver, receiving

PATH = "/api/admin/webhooks"


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"webhook_allow_private": True})


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


async def test_a_webhook_from_its_registration_to_its_end(
    http: httpx.AsyncClient,
    confiido: Confiido,
    as_: Headers,
    ada: Actor,
    grace: Expert,
    receiver: Receiver,
    clock: Clock,
) -> None:
    clock.now = utc_now()
    admin = an_admin()
    asked = {"url": receiver.url, "events": ["session.*"]}
    created = await http.post(PATH, json=asked, headers=as_(admin))
    webhook, secret = created.json()["data"]["webhook"], created.json()["data"]["secret"]
    of_it = f"{PATH}/{webhook['id']}"
    tomorrow = f"{(clock.now + timedelta(days=1)).date()}"
    await http.post("/api/bookings", json=wish(grace, scheduledDate=tomorrow), headers=as_(ada))
    await confiido.chores.once()

    listed = (await http.get(PATH, headers=as_(admin))).json()["data"]["webhooks"]
    log = (await http.get(f"{of_it}/deliveries", headers=as_(admin))).json()["data"]
    [delivery] = log["deliveries"]
    replayed = await http.post(f"{PATH}/deliveries/{delivery['id']}/replay", headers=as_(admin))
    await confiido.chores.once()
    ended = await http.delete(of_it, headers=as_(admin))

    assert created.status_code == 201
    assert listed == [webhook]
    assert set(webhook) == {"id", "url", "events", "createdAt"}
    assert (delivery["type"], delivery["state"], delivery["attempts"]) == ("session.booked", "delivered", 1)
    assert delivery["log"][0]["status"] == 204
    assert (replayed.status_code, replayed.json()["data"]["delivery"]["state"]) == (200, "pending")
    [first, second] = receiver.requests
    assert first[0]["webhook-id"] == second[0]["webhook-id"]
    assert Webhook(secret).verify(second[1], second[0])["type"] == "session.booked"
    assert ended.status_code == 200
    assert (await http.get(f"{of_it}/deliveries", headers=as_(admin))).status_code == 404


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"url": "https://203.0.114.7/"},
        {"url": "https://203.0.114.7/", "events": []},
        {"url": "https://203.0.114.7/", "events": ["x"]},
        {"url": "https://203.0.114.7/", "events": "session.booked"},
        {"url": {"$ne": None}, "events": ["*"]},
        {"url": "nonsense", "events": ["*"]},
        {"url": "https://203.0.114.7/", "events": ["*"] * 101},
    ],
)
async def test_wrong_input_is_refused(http: httpx.AsyncClient, as_: Headers, body: dict[str, object]) -> None:
    answer = await http.post(PATH, json=body, headers=as_(an_admin()))

    assert answer.status_code == 422
