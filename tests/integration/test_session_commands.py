"""Commands on sessions where something has changed since: repeats, moves, what is no one's, what is stored."""

from datetime import datetime, timedelta

import pytest
from bson import ObjectId

from confiido_booking import Actor, Booking, Confiido, Expert, ExpertInput, Session
from confiido_booking.bookings.views import Change
from confiido_booking.database.store import Document, Store
from confiido_booking.errors import Conflict, NotFound, TransitionRefused, Unavailable
from tests.builders import MONDAY, Clock, a_client, an_admin, an_expert, make_expert

NOON = MONDAY + timedelta(hours=3)
LATER = NOON + timedelta(hours=2)


async def book(
    confiido: Confiido, client: Actor, expert: Expert, starts_at: datetime = NOON, *, key: str | None = None
) -> Change:
    return await confiido.bookings.book(
        actor=client, expert=expert.id or "", session_type="video", duration=30, starts_at=starts_at, request_key=key
    )


async def confirmed(confiido: Confiido, client: Actor, expert: Expert, starts_at: datetime = NOON) -> Change:
    booked = await book(confiido, client, expert, starts_at)
    return await confiido.bookings.confirm(booked.booking_id, booked.session_id, actor=an_admin())


async def without_expert(store: Store, change: Change) -> None:
    """As in an old document: the session names no expert, and no calendar has its minutes."""
    await store.collection("bookings").update_one({"_id": change.booking_id}, {"$unset": {"sessions.0.expertId": ""}})
    await store.collection("service_sessions").update_one(
        {"listing.sessionId": change.session_id}, {"$unset": {"expertId": ""}}
    )
    its_claim = {"busy": {"sessionId": change.session_id}}
    await store.collection("calendars").update_many({}, {"$pull": its_claim})


async def claims_of(store: Store, expert: Expert) -> list[Document]:
    calendar = await store.find_one("read", "calendars", {"_id": expert.id})
    assert calendar is not None
    claims: list[Document] = calendar["busy"]
    return claims


async def test_a_booking_repeated_after_its_start_gives_the_first_session(confiido: Confiido, clock: Clock) -> None:
    ada, grace = a_client(), await make_expert(confiido)
    first = await book(confiido, ada, grace, key="once")
    clock.now = NOON + timedelta(minutes=5)

    again = await book(confiido, ada, grace, key="once")

    assert (again.session_id, again.repeated) == (first.session_id, True)


async def test_a_booking_repeated_after_the_expert_left_gives_the_first_session(confiido: Confiido) -> None:
    ada, grace = a_client(), await make_expert(confiido)
    assert grace.id is not None
    first = await book(confiido, ada, grace, key="once")
    await confiido.experts.update(grace.id, actor=an_admin(), changes=ExpertInput(is_active=False))

    again = await book(confiido, ada, grace, key="once")

    assert (again.session_id, again.repeated) == (first.session_id, True)


async def test_an_expert_without_a_profile_reaches_no_session_without_an_expert(
    confiido: Confiido, store: Store
) -> None:
    booked = await book(confiido, a_client(), await make_expert(confiido))
    await without_expert(store, booked)
    nobody = Actor.expert(ObjectId(), user_id="0001")

    page = await confiido.bookings.list(actor=nobody)
    refused = []
    for command in (
        confiido.bookings.confirm(booked.booking_id, booked.session_id, actor=nobody),
        confiido.bookings.patch(booked.booking_id, booked.session_id, actor=nobody, changes={"notes": "Mine"}),
        confiido.bookings.find_session(booked.session_id, actor=nobody),
        confiido.bookings.get(booked.booking_id, actor=nobody),
    ):
        with pytest.raises(NotFound) as error:
            await command
        refused.append(error.value)

    assert (page.total, page.bookings) == (0, [])
    assert len(refused) == 4


async def test_saving_a_booking_whole_keeps_until_when_the_client_may_cancel(confiido: Confiido, store: Store) -> None:
    grace = await make_expert(confiido, cancellation_policy={"client_until_hours_before": 2})
    booked = await book(confiido, a_client(), grace)
    booking = await Booking.get(booked.booking_id)
    assert booking is not None

    await booking.save()

    kept = await store.find_one("read", "bookings", {"_id": booked.booking_id})
    assert kept is not None
    assert kept["sessions"][0]["clientCancelUntil"] == NOON - timedelta(hours=2)


async def test_everything_stored_of_a_session_is_a_field_of_its_model(confiido: Confiido, clock: Clock) -> None:
    ada, grace = a_client(), await make_expert(confiido, meeting_link="https://meet.example.org/grace")
    booked = await book(confiido, ada, grace)
    bookings, ids, admin = confiido.bookings, (booked.booking_id, booked.session_id), an_admin()
    await bookings.complete_payment(*ids, actor=admin, payment_method="cash")
    await bookings.request_reschedule(*ids, actor=ada, starts_at=LATER, reason="A train")
    await bookings.respond_reschedule(*ids, actor=an_expert(grace), approve=True, note="Fine")
    await bookings.patch(*ids, actor=admin, changes={"customFields": {"room": 3}, "expertNotes": "Prepare"})

    cancelled = await bookings.cancel(*ids, actor=ada, reason="A train again")

    known = {info.alias or name for name, info in Session.model_fields.items()}
    assert set(cancelled.raw_session) - known == set()


async def test_a_cancellation_that_died_half_way_is_finished_by_its_repeat(confiido: Confiido, store: Store) -> None:
    ada, grace = a_client(), await make_expert(confiido)
    booked = await book(confiido, ada, grace)

    async def dies(step: str) -> None:
        if step in ("project", "release"):
            raise Unavailable()

    store.hook = dies
    with pytest.raises(Unavailable):
        await confiido.bookings.cancel(booked.booking_id, booked.session_id, actor=ada, request_key="once")
    store.hook = None
    left = await claims_of(store, grace)
    again = await confiido.bookings.cancel(booked.booking_id, booked.session_id, actor=ada, request_key="once")

    event = await store.find_one("read", "service_sessions", {"listing.sessionId": booked.session_id})
    assert (len(left), again.repeated) == (1, True)
    assert await claims_of(store, grace) == []
    assert event is not None
    assert event["status"] == "canceled"


async def test_a_session_without_an_expert_cannot_be_moved(confiido: Confiido, store: Store) -> None:
    booked = await confirmed(confiido, a_client(), await make_expert(confiido))
    await without_expert(store, booked)

    with pytest.raises(Conflict) as refused:
        await confiido.bookings.reschedule(booked.booking_id, booked.session_id, actor=an_admin(), starts_at=LATER)

    assert refused.value.code == "no_expert"


async def test_the_doctor_and_the_chores_pass_over_a_session_without_an_expert(
    confiido: Confiido, store: Store, clock: Clock
) -> None:
    grace = await make_expert(confiido)
    lapses, ended = await book(confiido, a_client(), grace), await confirmed(confiido, a_client(), grace, LATER)
    for booked in (lapses, ended):
        await without_expert(store, booked)
    clock.now = MONDAY + timedelta(days=500)

    await confiido.chores.once()
    report = await confiido.doctor.repair()

    assert report.is_sound
    assert await store.find_one("read", "bookings", {"sessions.status": "pending"}) is None


async def test_a_move_that_was_fenced_while_it_slept_says_to_try_again(confiido: Confiido, store: Store) -> None:
    grace = await make_expert(confiido)
    booked = await confirmed(confiido, a_client(), grace)

    async def is_fenced(step: str) -> None:
        if step == "reschedule":
            new = next(claim for claim in await claims_of(store, grace) if claim["from"] == LATER)
            fence = {"$addToSet": {"abandonedClaims": new["claimId"]}}
            await store.collection("bookings").update_one({"_id": booked.booking_id}, fence)

    store.hook = is_fenced
    with pytest.raises(Conflict) as refused:
        await confiido.bookings.reschedule(booked.booking_id, booked.session_id, actor=an_admin(), starts_at=LATER)
    store.hook = None

    assert refused.value.code == "try_again"
    assert [claim["from"] for claim in await claims_of(store, grace)] == [NOON]


async def test_a_request_cannot_be_approved_once_the_session_has_started(confiido: Confiido, clock: Clock) -> None:
    ada, grace = a_client(), await make_expert(confiido)
    booked = await confirmed(confiido, ada, grace)
    ids = booked.booking_id, booked.session_id
    await confiido.bookings.request_reschedule(*ids, actor=ada, starts_at=LATER)
    clock.now = NOON + timedelta(minutes=1)

    with pytest.raises(TransitionRefused) as refused:
        await confiido.bookings.respond_reschedule(*ids, actor=an_expert(grace), approve=True)

    assert refused.value.code == "already_started"


async def test_a_request_made_in_another_zone_is_shown_in_the_sessions(confiido: Confiido) -> None:
    ada, grace = a_client(), await make_expert(confiido)  # in Asia/Kolkata
    booked = await confirmed(confiido, ada, grace)

    asked = await confiido.bookings.request_reschedule(
        booked.booking_id,
        booked.session_id,
        actor=ada,
        scheduled_date="2026-03-02",
        start_time="20:00",
        timezone="UTC",
    )

    request = asked.session.reschedule_request
    assert request is not None
    assert (request.requested_date, request.requested_start_time) == ("2026-03-03", "01:30")
    assert request.requested_starts_at == MONDAY.replace(hour=20)


async def test_completing_a_session_closes_its_pending_request(confiido: Confiido) -> None:
    ada, grace = a_client(), await make_expert(confiido)
    booked = await confirmed(confiido, ada, grace)
    ids = booked.booking_id, booked.session_id
    await confiido.bookings.request_reschedule(*ids, actor=ada, starts_at=LATER)

    completed = await confiido.bookings.complete(*ids, actor=an_expert(grace))

    assert completed.session.reschedule_request is not None
    assert completed.session.reschedule_request.status == "cancelled"


async def test_a_clients_own_lapsed_hold_does_not_stop_a_move_onto_its_time(confiido: Confiido, clock: Clock) -> None:
    ada, grace, ken = a_client(), await make_expert(confiido), await make_expert(confiido, name="Ken")
    standing = await confirmed(confiido, ada, grace)
    held = await book(confiido, ada, ken, LATER)
    clock.advance(minutes=31)

    moved = await confiido.bookings.reschedule(
        standing.booking_id, standing.session_id, actor=an_admin(), starts_at=LATER
    )

    statuses = {session["sessionId"]: session["status"] for session in moved.document["sessions"]}
    assert moved.session.starts_at == LATER
    assert statuses[held.session_id] == "cancelled"
