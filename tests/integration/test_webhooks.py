"""Outgoing webhooks against a receiver on loopback: signed, in order, tried for three days (ROUTES; MONEY, Events)."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
from bson import ObjectId
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from confiido_booking import Actor, Confiido, Conflict, Expert, Invalid, NotAllowed, NotFound, Settings
from confiido_booking.bookings.views import Change
from confiido_booking.database.store import Document
from confiido_booking.events import deliveries, posting
from confiido_booking.events.webhooks import MOST_WEBHOOKS
from confiido_booking.times import utc_now
from tests.builders import Clock, a_client, a_service, an_admin, make_expert
from tests.processes import processes
from tests.receiver import Receiver, receiving

MOST_COMMANDS = 40


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"webhook_allow_private": True})


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


@pytest.fixture
async def expert(confiido: Confiido, clock: Clock) -> Expert:
    clock.now = utc_now()  # a receiver compares the timestamp with its own clock
    return await make_expert(confiido)


async def book(confiido: Confiido, expert: Expert, client: Actor | None = None, *, hours: float = 24) -> Change:
    return await confiido.bookings.book(
        actor=client or a_client(),
        expert=str(expert.id),
        session_type="video",
        duration=30,
        starts_at=confiido.clock() + timedelta(hours=hours),
    )


async def register(confiido: Confiido, receiver: Receiver, *events: str) -> Document:
    return await confiido.webhooks.create(actor=an_admin(), url=receiver.url, events=events or ("*",))


async def tell(confiido: Confiido) -> int:
    await confiido.events.collect()
    return await confiido.chores.telling.deliveries.run()


async def log_of(confiido: Confiido, webhook: Document) -> list[Document]:
    return await confiido.webhooks.deliveries(webhook["_id"], actor=an_admin())


async def test_an_event_is_told_with_a_signature_that_the_secret_verifies(
    confiido: Confiido, receiver: Receiver, expert: Expert
) -> None:
    webhook = await register(confiido, receiver)
    change = await book(confiido, expert)

    delivered = await tell(confiido)

    [(headers, body)] = receiver.requests
    told: dict[str, Any] = Webhook(webhook["secret"]).verify(body, headers)
    assert delivered == 1
    assert (headers[":path"], headers["content-type"]) == ("/told?by=confiido", "application/json")
    assert headers["host"] == f"127.0.0.1:{receiver.port}"
    assert set(told) == {"id", "type", "timestamp", "seq", "actor", "clientId", "sessionId", "data"}
    assert (told["id"], told["type"], told["seq"]) == (headers["webhook-id"], "session.booked", 1)
    assert told["sessionId"] == str(change.session_id)
    assert told["data"]["bookingId"] == str(change.booking_id)


async def test_a_changed_body_or_another_secret_does_not_verify(
    confiido: Confiido, receiver: Receiver, expert: Expert
) -> None:
    webhook, other = await register(confiido, receiver), await register(confiido, receiver)
    await book(confiido, expert)
    await tell(confiido)
    told = {headers["webhook-signature"]: (headers, body) for headers, body in receiver.requests}
    verified = 0

    for headers, body in told.values():
        for secret in (webhook["secret"], other["secret"]):
            with pytest.raises(WebhookVerificationError):
                Webhook(secret).verify(body + b" ", headers)
            with suppress(WebhookVerificationError):
                Webhook(secret).verify(body, headers)
                verified += 1

    assert (len(told), verified) == (2, 2)


async def test_a_webhook_is_told_only_what_it_asked_for_and_only_from_then_on(
    confiido: Confiido, receiver: Receiver, expert: Expert
) -> None:
    change = await book(confiido, expert)
    await confiido.events.collect()
    await register(confiido, receiver, "session.confirmed", "payment.*")

    await confiido.bookings.complete_payment(change.booking_id, change.session_id, actor=an_admin())
    await confiido.bookings.cancel(change.booking_id, change.session_id, actor=an_admin())
    await tell(confiido)

    assert [json.loads(body)["type"] for _, body in receiver.requests] == ["payment.received", "session.confirmed"]


async def test_what_was_delivered_is_not_told_again(confiido: Confiido, receiver: Receiver, expert: Expert) -> None:
    await register(confiido, receiver)
    await book(confiido, expert)

    told = [await tell(confiido) for _ in range(3)]

    assert (told, len(receiver.requests)) == ([1, 0, 0], 1)


async def test_a_failure_is_tried_again_with_growing_pauses_for_three_days_and_then_is_dead(
    confiido: Confiido, receiver: Receiver, expert: Expert, clock: Clock
) -> None:
    webhook = await register(confiido, receiver)
    await book(confiido, expert)
    receiver.answers = ["500 Oh no\r\n"] * 100
    begin, tried = clock.now, list[float]()

    for _ in range(40):
        attempts = len(receiver.requests)
        await tell(confiido)
        if len(receiver.requests) > attempts:
            tried.append((clock.now - begin) / timedelta(hours=1))
        [delivery] = await log_of(confiido, webhook)
        if delivery["state"] == "dead":
            break
        clock.now = delivery["nextAttemptAt"]

    assert delivery["state"] == "dead"
    assert tried[0] == 0
    assert tried[-1] == 72
    pauses = [round(later - earlier, 3) for earlier, later in pairwise(tried)]
    assert pauses[:-1] == sorted(pauses[:-1])
    assert len(tried) == 11
    assert {attempt["status"] for attempt in delivery["log"]} == {500}
    assert len(set(receiver.ids)) == 1
    clock.advance(days=2)
    assert await tell(confiido) == 0
    assert len(receiver.requests) == 11


async def test_a_dead_delivery_is_replayed(
    confiido: Confiido, receiver: Receiver, expert: Expert, clock: Clock
) -> None:
    webhook = await register(confiido, receiver)
    await book(confiido, expert)
    receiver.answers = ["500 Oh no\r\n"]
    await tell(confiido)
    await confiido.store.update("die", "webhook_deliveries", {}, {"$set": {"state": "dead"}})
    [delivery] = await log_of(confiido, webhook)

    await confiido.webhooks.replay(delivery["_id"], actor=an_admin())
    delivered = await tell(confiido)

    [delivery] = await log_of(confiido, webhook)
    assert (delivered, delivery["state"], delivery["attempts"]) == (1, "delivered", 1)
    assert [attempt.get("status") for attempt in delivery["log"]] == [500, 204]
    assert len(set(receiver.ids)) == 1


async def test_one_client_is_told_of_in_order_and_another_does_not_wait(
    confiido: Confiido, receiver: Receiver, expert: Expert, clock: Clock
) -> None:
    webhook = await register(confiido, receiver)
    change = await book(confiido, expert)
    await confiido.bookings.confirm(change.booking_id, change.session_id, actor=an_admin())
    other = await book(confiido, expert, hours=30)
    receiver.answers = ["503 Later\r\n"]

    await tell(confiido)
    first = [(json.loads(body)["type"], json.loads(body)["sessionId"]) for _, body in receiver.requests]
    clock.advance(seconds=6)
    await tell(confiido)
    everything = [(json.loads(body)["type"], json.loads(body)["sessionId"]) for _, body in receiver.requests]

    mine, theirs = str(change.session_id), str(other.session_id)
    assert first == [("session.booked", mine), ("session.booked", theirs)]
    assert everything[2:] == [("session.booked", mine), ("session.confirmed", mine)]
    assert {delivery["state"] for delivery in await log_of(confiido, webhook)} == {"delivered"}


@pytest.mark.parametrize(
    ("answer", "noted"),
    [
        ("302 Found\r\nLocation: http://127.0.0.1:1/\r\n", {"status": 302}),
        ("410 Gone\r\n", {"status": 410}),
        ("not http at all\r\n", {"error": "RemoteProtocolError"}),
        ("silence", {"error": "no answer in time"}),
    ],
)
async def test_anything_but_a_success_is_a_failure_that_the_log_names(
    confiido: Confiido,
    receiver: Receiver,
    expert: Expert,
    monkeypatch: pytest.MonkeyPatch,
    answer: str,
    noted: dict[str, object],
) -> None:
    monkeypatch.setattr(posting, "TIMEOUT_SECONDS", 0.3)
    webhook = await register(confiido, receiver)
    await book(confiido, expert)
    receiver.answers = [answer]

    delivered = await tell(confiido)

    [delivery] = await log_of(confiido, webhook)
    [attempt] = delivery["log"]
    assert (delivered, delivery["state"], len(receiver.requests)) == (0, "pending", 1)
    assert attempt.items() >= noted.items()


async def test_an_endless_answer_is_not_read_to_its_end(confiido: Confiido, receiver: Receiver, expert: Expert) -> None:
    await register(confiido, receiver)
    await book(confiido, expert)
    receiver.answers = ["200 endless\r\n"]

    assert await asyncio.wait_for(tell(confiido), 5) == 1


async def test_a_webhook_that_is_down_does_not_hold_up_the_others(
    confiido: Confiido, receiver: Receiver, expert: Expert
) -> None:
    await confiido.webhooks.create(actor=an_admin(), url="http://127.0.0.1:1/", events=["*"])
    await register(confiido, receiver)
    for hours in range(24, 30):
        await book(confiido, expert, hours=hours)

    await tell(confiido)

    failed = await confiido.store.count("count", "webhook_deliveries", {"attempts": {"$gt": 0}, "state": "pending"})
    assert (len(receiver.requests), failed) == (6, deliveries.TRIES)


async def test_a_worker_that_dies_at_any_command_loses_nothing_and_doubles_only_what_it_had_sent(
    confiido: Confiido, receiver: Receiver, expert: Expert, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = list[int]()

    async def post(url: str, body: str, **_: object) -> posting.Outcome:
        told.append(json.loads(body)["seq"])
        return posting.Outcome(1, 204)

    monkeypatch.setattr(posting, "post", post)
    webhook = await register(confiido, receiver)
    change = await book(confiido, expert)
    await confiido.bookings.confirm(change.booking_id, change.session_id, actor=an_admin())
    await confiido.events.collect()
    for stop in range(MOST_COMMANDS):
        told.clear()
        await confiido.store.collection("webhook_deliveries").delete_many({})
        await confiido.store.collection("event_log").delete_many({"_id": "webhooks"})
        async with processes(confiido, "worker") as (worker,):
            await worker.start(worker.confiido.chores.telling.deliveries.run())
            ended = await worker.run_to(stop)
            clock.advance(minutes=2)

            await tell(confiido)

            assert {delivery["state"] for delivery in await log_of(confiido, webhook)} == {"delivered"}
            assert len(await log_of(confiido, webhook)) == 2
            assert told == sorted(told)
            assert set(told) == {1, 2}
            assert len(told) <= 3
        if ended:
            return
    pytest.fail("telling takes more commands than were tried")


async def test_two_workers_at_once_tell_everything_once(
    confiido: Confiido, receiver: Receiver, expert: Expert, engine_is_embedded: bool
) -> None:
    await register(confiido, receiver)
    for hours in range(24, 27 if engine_is_embedded else 34):
        await book(confiido, expert, hours=hours)
    await confiido.events.collect()
    workers = [Confiido.over(confiido.store, confiido.settings, confiido.clock) for _ in range(2)]

    await asyncio.gather(*(worker.chores.telling.deliveries.run() for worker in workers))

    assert len(receiver.ids) == len(set(receiver.ids)) == (3 if engine_is_embedded else 10)


async def test_a_deleted_webhook_is_told_nothing_more(confiido: Confiido, receiver: Receiver, expert: Expert) -> None:
    webhook = await register(confiido, receiver)
    await book(confiido, expert)
    receiver.answers = ["500 Oh no\r\n"]
    await tell(confiido)

    await confiido.webhooks.delete(webhook["_id"], actor=an_admin())
    await book(confiido, expert, hours=30)
    await tell(confiido)

    assert len(receiver.requests) == 1
    assert await confiido.store.count("count", "webhook_deliveries", {}) == 0
    with pytest.raises(NotFound):
        await confiido.webhooks.delete(webhook["_id"], actor=an_admin())


async def test_the_secret_is_told_once(confiido: Confiido, receiver: Receiver) -> None:
    webhook = await register(confiido, receiver)

    [listed] = await confiido.webhooks.all(actor=an_admin())

    assert webhook["secret"].startswith("whsec_")
    assert "secret" not in listed


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("ftp://example.org/", "invalid_url"),
        ("https://", "invalid_url"),
        ("https://ada:secret@example.org/", "invalid_url"),
        ("https://example.org:99999/", "invalid_url"),
        ("https://exa mple.org/", "invalid_url"),
        ("https://example.org/\r\nX: 1", "invalid_url"),
        ("javascript:alert(1)", "invalid_url"),
        ("https://[::1", "invalid_url"),
        ("https://example.org/" + "a" * 2000, "invalid_url"),
    ],
)
async def test_what_is_no_address_is_refused(confiido: Confiido, url: str, code: str) -> None:
    with pytest.raises(Invalid) as refusal:
        await confiido.webhooks.create(actor=an_admin(), url=url, events=["*"])

    assert refusal.value.code == code


@pytest.mark.parametrize("events", [[], ["session.unheard_of"], ["*", "nothing.*"], ["session"], [""]])
async def test_types_that_do_not_exist_are_refused(confiido: Confiido, receiver: Receiver, events: list[str]) -> None:
    with pytest.raises(Invalid):
        await confiido.webhooks.create(actor=an_admin(), url=receiver.url, events=events)


async def test_only_an_administrator_keeps_webhooks(confiido: Confiido, receiver: Receiver) -> None:
    for actor in (a_client(), a_service()):
        with pytest.raises(NotAllowed):
            await confiido.webhooks.create(actor=actor, url=receiver.url, events=["*"])
        with pytest.raises(NotAllowed):
            await confiido.webhooks.all(actor=actor)
        with pytest.raises(NotAllowed):
            await confiido.webhooks.replay(ObjectId(), actor=actor)


async def test_there_are_not_more_than_so_many(confiido: Confiido, receiver: Receiver) -> None:
    await confiido.store.collection("webhooks").insert_many([{"url": receiver.url} for _ in range(MOST_WEBHOOKS)])

    with pytest.raises(Conflict):
        await register(confiido, receiver)
