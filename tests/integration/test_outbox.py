"""Every command's event is stored by the write that did it, and leaves the document in its order (MONEY, Events)."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from bson import ObjectId

from confiido_booking import Actor, Confiido, Expert
from confiido_booking.bookings import guards
from confiido_booking.bookings.views import Change
from confiido_booking.database.store import Document, Store
from confiido_booking.errors import TransitionRefused
from confiido_booking.events import outbox
from tests.builders import Clock, a_client, an_admin, an_expert, make_expert


@pytest.fixture
async def expert(confiido: Confiido) -> Expert:
    return await make_expert(confiido)


async def book(confiido: Confiido, expert: Expert, client: Actor, clock: Clock, *, hours: float = 24) -> Change:
    assert expert.id is not None
    return await confiido.bookings.book(
        actor=client, expert=expert.id, session_type="video", duration=30, starts_at=clock.now + timedelta(hours=hours)
    )


async def the_booking(store: Store, booking_id: ObjectId) -> Document:
    booking = await store.find_one("read booking", "bookings", {"_id": booking_id})
    assert booking is not None
    return booking


async def fill_outbox(store: Store, booking_id: ObjectId, upto: int = outbox.MOST) -> list[ObjectId]:
    """Events until there are so many. The ids of all that are there."""
    waiting = [entry["id"] for entry in (await the_booking(store, booking_id)).get("outbox", [])]
    more = [outbox.event("session.updated", at=datetime.now(UTC), actor=an_admin()) for _ in range(upto - len(waiting))]
    await store.update("fill outbox", "bookings", {"_id": booking_id}, outbox.pushed(*more))
    return waiting + [entry["id"] for entry in more]


async def test_a_life_leaves_its_events_in_the_document_in_their_order(
    confiido: Confiido, store: Store, expert: Expert, clock: Clock
) -> None:
    client = a_client()
    change = await book(confiido, expert, client, clock)
    ids, owner = (change.booking_id, change.session_id), an_expert(expert)
    await confiido.bookings.confirm(*ids, actor=owner)
    await confiido.bookings.reschedule(*ids, actor=an_admin(), starts_at=clock.now + timedelta(hours=50))
    await confiido.bookings.patch(*ids, actor=client, changes={"notes": "$price"})
    await confiido.bookings.cancel(*ids, actor=owner, reason="$$ROOT")

    booking = await the_booking(store, change.booking_id)
    told = booking["outbox"]

    assert [event["type"] for event in told] == [
        "session.booked",
        "session.confirmed",
        "session.rescheduled",
        "session.updated",
        "session.cancelled",
    ]
    assert {event["clientId"] for event in told} == {client.id}
    assert {event["sessionId"] for event in told} == {change.session_id}
    assert told[0]["actor"] == {"role": "client", "id": client.id}
    assert {name: value for name, value in told[0]["data"].items() if value is not None} == {
        "bookingId": change.booking_id,
        "status": "pending",
        "paymentStatus": "pending",
        "version": 1,
        "expertId": expert.id,
        "startsAt": clock.now + timedelta(hours=24),
        "endsAt": clock.now + timedelta(hours=24.5),
    }
    assert (told[1]["data"]["from"], told[1]["data"]["status"]) == ("pending", "confirmed")
    assert told[2]["data"]["startsAt"] == clock.now + timedelta(hours=50)
    assert (told[4]["data"]["from"], told[4]["data"]["status"]) == ("confirmed", "cancelled")
    assert "$" not in str(told)
    assert booking["outboxSince"] == clock.now


async def test_what_a_payment_or_a_booking_confirms_is_told_beside_it(
    confiido: Confiido, store: Store, expert: Expert, clock: Clock
) -> None:
    change = await book(confiido, expert, a_client(), clock)
    await confiido.bookings.complete_payment(change.booking_id, change.session_id, actor=an_admin())

    told = (await the_booking(store, change.booking_id))["outbox"]

    assert [event["type"] for event in told] == ["session.booked", "payment.received", "session.confirmed"]


async def test_a_payment_that_confirms_nothing_tells_of_no_confirmation(
    confiido: Confiido, store: Store, expert: Expert, clock: Clock
) -> None:
    change = await book(confiido, expert, a_client(), clock)
    await confiido.bookings.confirm(change.booking_id, change.session_id, actor=an_admin())
    await confiido.bookings.complete_payment(change.booking_id, change.session_id, actor=an_admin())

    told = (await the_booking(store, change.booking_id))["outbox"]

    assert [event["type"] for event in told] == ["session.booked", "session.confirmed", "payment.received"]


async def test_a_refused_command_tells_nothing(confiido: Confiido, store: Store, expert: Expert, clock: Clock) -> None:
    client = a_client()
    change = await book(confiido, expert, client, clock)

    for _ in range(2):
        await confiido.bookings.confirm(change.booking_id, change.session_id, actor=an_admin(), request_key="one")
    with pytest.raises(TransitionRefused):
        await confiido.bookings.confirm(change.booking_id, change.session_id, actor=an_admin())

    assert len((await the_booking(store, change.booking_id))["outbox"]) == 2


async def test_replies_have_nothing_of_the_outbox(confiido: Confiido, expert: Expert, clock: Clock) -> None:
    change = await book(confiido, expert, a_client(), clock)

    changed = await confiido.bookings.confirm(change.booking_id, change.session_id, actor=an_admin())

    assert not {*change.document, *changed.document} & set(outbox.FIELDS)


async def test_a_delivered_outbox_is_empty_and_its_events_have_their_place(
    confiido: Confiido, store: Store, expert: Expert, clock: Clock
) -> None:
    change = await book(confiido, expert, a_client(), clock)
    ids = (change.booking_id, change.session_id)
    for place in (1, 2):
        first = await the_booking(store, change.booking_id)
        assert await outbox.deliver(store, "bookings", first) == 1
        if place == 1:
            await confiido.bookings.confirm(*ids, actor=an_admin())

    booking = await the_booking(store, change.booking_id)
    events = await store.find("read events", "events", {}, sort=[("place", 1)])

    assert (booking["outbox"], booking["eventsDelivered"]) == ([], 2)
    assert "outboxSince" not in booking
    assert [(event["type"], event["place"]) for event in events] == [("session.booked", 1), ("session.confirmed", 2)]
    assert {event["source"] for event in events} == {change.booking_id}


async def test_what_comes_while_an_outbox_is_delivered_stays_in_it(
    confiido: Confiido, store: Store, expert: Expert, clock: Clock
) -> None:
    change = await book(confiido, expert, a_client(), clock)
    read = await the_booking(store, change.booking_id)
    await confiido.bookings.confirm(change.booking_id, change.session_id, actor=an_admin())

    for _ in range(2):  # the second is a sleeper's
        await outbox.deliver(store, "bookings", read)

    booking = await the_booking(store, change.booking_id)
    assert [event["type"] for event in booking["outbox"]] == ["session.confirmed"]
    assert (booking["eventsDelivered"], booking["outboxSince"]) == (1, clock.now)
    assert await store.count("count", "events", {}) == 1


@pytest.mark.parametrize("there", ["none", "some", "all"])
async def test_what_somebody_else_has_begun_to_deliver_is_delivered_once(
    confiido: Confiido, store: Store, expert: Expert, clock: Clock, there: str
) -> None:
    change = await book(confiido, expert, a_client(), clock)
    await fill_outbox(store, change.booking_id, 7)
    read = await the_booking(store, change.booking_id)
    begun = {"none": [], "some": [2, 5], "all": range(7)}[there]
    for place in begun:
        await store.insert("store event", "events", {"_id": read["outbox"][place]["id"], "place": place + 1})

    await outbox.deliver(store, "bookings", read)

    events = await store.find("read events", "events", {}, {"place": 1}, sort=[("place", 1)])
    assert [event["_id"] for event in events] == [entry["id"] for entry in read["outbox"]]
    assert [event["place"] for event in events] == [1, 2, 3, 4, 5, 6, 7]
    assert (await the_booking(store, change.booking_id))["outbox"] == []


async def test_a_full_outbox_is_delivered_by_the_command_that_would_exceed_it(
    confiido: Confiido, store: Store, clock: Clock
) -> None:
    expert, client = await make_expert(confiido, payment="later"), a_client()
    change = await book(confiido, expert, client, clock)
    ids, waiting = (change.booking_id, change.session_id), list[ObjectId]()
    commands = {
        "book": lambda: book(confiido, expert, client, clock, hours=30),
        "confirm": lambda: confiido.bookings.confirm(*ids, actor=an_admin()),
        "patch": lambda: confiido.bookings.patch(*ids, actor=client, changes={"notes": "Tea"}),
        "reschedule": lambda: confiido.bookings.reschedule(
            *ids, actor=an_admin(), starts_at=clock.now + timedelta(hours=40)
        ),
        "cancel": lambda: confiido.bookings.cancel(*ids, actor=client),
    }

    for name, command in commands.items():
        waiting += [id_ for id_ in await fill_outbox(store, change.booking_id) if id_ not in waiting]
        await command()

        booking = await the_booking(store, change.booking_id)
        assert len(booking["outbox"]) == 1, name
        waiting.append(booking["outbox"][0]["id"])

    events = await store.find("read events", "events", {}, {"place": 1}, sort=[("place", 1)])
    assert [event["_id"] for event in events] == waiting[:-1]
    assert [event["place"] for event in events] == list(range(1, len(waiting)))


async def test_without_its_guard_a_command_would_exceed_a_full_outbox(
    confiido: Confiido, store: Store, expert: Expert, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    change = await book(confiido, expert, a_client(), clock)
    await fill_outbox(store, change.booking_id)
    monkeypatch.setattr(outbox, "room_for_events", lambda count=1: {})

    await confiido.bookings.confirm(change.booking_id, change.session_id, actor=an_admin())

    assert len((await the_booking(store, change.booking_id))["outbox"]) > outbox.MOST


async def test_commands_that_race_at_a_full_outbox_lose_no_event(
    confiido: Confiido, store: Store, clock: Clock
) -> None:
    expert, client = await make_expert(confiido, payment="later"), a_client()
    change = await book(confiido, expert, client, clock)
    waiting = await fill_outbox(store, change.booking_id, outbox.MOST - 1)

    await asyncio.gather(
        *(
            confiido.bookings.patch(change.booking_id, change.session_id, actor=client, changes={"notes": str(number)})
            for number in range(5)
        ),
        return_exceptions=True,
    )

    booking = await the_booking(store, change.booking_id)
    events = await store.find("read events", "events", {}, {"place": 1}, sort=[("place", 1)])
    everything = [*(event["_id"] for event in events), *(entry["id"] for entry in booking["outbox"])]
    assert everything[: len(waiting)] == waiting
    assert len(everything) == len(set(everything)) == len(waiting) + booking["sessions"][0]["version"] - 1
    assert len(booking["outbox"]) <= outbox.MOST


async def test_a_hold_expires_although_the_outbox_is_full(
    confiido: Confiido, store: Store, expert: Expert, clock: Clock
) -> None:
    change = await book(confiido, expert, a_client(), clock)
    await fill_outbox(store, change.booking_id)
    clock.advance(minutes=31)

    assert await confiido.chores.expire_holds() == 1

    assert [event["type"] for event in (await the_booking(store, change.booking_id))["outbox"]] == ["session.expired"]


async def test_a_full_outbox_weighs_no_more_than_it_is_taken_for(
    confiido: Confiido, store: Store, expert: Expert, clock: Clock
) -> None:
    change = await book(confiido, expert, a_client(), clock)
    await confiido.bookings.complete_payment(change.booking_id, change.session_id, actor=an_admin())
    await confiido.bookings.reschedule(
        change.booking_id, change.session_id, actor=an_admin(), starts_at=clock.now + timedelta(hours=40)
    )
    await confiido.bookings.request_reschedule(
        change.booking_id,
        change.session_id,
        actor=Actor.client(change.document["clientId"]),
        starts_at=clock.now + timedelta(hours=60),
        reason="🌍" * 500,
    )

    told = (await the_booking(store, change.booking_id))["outbox"]

    assert max(guards.weight(event) for event in told) < outbox.EVENT_BYTES
