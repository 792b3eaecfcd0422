"""POST /api/sessions/{id}/email (ROUTES)."""

from collections.abc import AsyncIterator

import httpx
import pytest
from pydantic import SecretStr

from confiido_booking import Actor, Confiido, Expert, Settings
from tests.api.conftest import Headers, wish
from tests.builders import an_admin
from tests.mailbox import Mailbox, mailbox


@pytest.fixture
async def box() -> AsyncIterator[Mailbox]:
    async with mailbox() as box:
        yield box


@pytest.fixture
def settings(settings: Settings, box: Mailbox) -> Settings:
    return settings.model_copy(update={"smtp_url": SecretStr(box.url)})


@pytest.fixture
async def path(http: httpx.AsyncClient, as_: Headers, ada: Actor, grace: Expert) -> str:
    booked = await http.post("/api/bookings", json=wish(grace), headers=as_(ada))
    return f"/api/sessions/{booked.json()['data']['session']['sessionId']}/email"


async def test_a_message_is_queued_and_sent_by_the_worker(
    http: httpx.AsyncClient, confiido: Confiido, as_: Headers, box: Mailbox, path: str
) -> None:
    answer = await http.post(path, json={"subject": "Hello", "text": "Until tomorrow"}, headers=as_(an_admin()))
    before = len(box.mails)
    await confiido.chores.once()

    message = answer.json()["data"]["message"]
    assert (answer.status_code, message["state"], len(message["id"])) == (200, "queued", 24)
    assert (before, [mail["Subject"] for mail in box.mails]) == (0, ["Hello"])


async def test_a_repeat_with_the_same_key_is_one_message(
    http: httpx.AsyncClient, confiido: Confiido, as_: Headers, box: Mailbox, path: str
) -> None:
    admin = an_admin()
    headers = {**as_(admin), "Idempotency-Key": "one"}
    answers = [await http.post(path, json={"subject": "Hello", "text": "You"}, headers=headers) for _ in range(2)]
    await confiido.chores.once()

    assert answers[0].json() == answers[1].json()
    assert len(box.mails) == 1


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 422),
        ({"template": "reminder"}, 409),
        ({"template": "nothing"}, 422),
        ({"subject": "Hello"}, 422),
        ({"subject": {"$gt": ""}, "text": "You"}, 422),
        ({"subject": "a" * 201, "text": "You"}, 422),
    ],
)
async def test_what_cannot_be_sent_is_refused(
    http: httpx.AsyncClient, as_: Headers, path: str, body: dict[str, object], status: int
) -> None:
    assert (await http.post(path, json=body, headers=as_(an_admin()))).status_code == status
