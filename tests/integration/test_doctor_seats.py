"""What the doctor proves of seats (L5): counted right, none without a session, no session without one."""

from datetime import timedelta
from typing import Any

import pytest
from bson import ObjectId

from confiido_booking import Confiido
from confiido_booking.bookings.views import Change
from confiido_booking.catalog.service import ServiceInput
from confiido_booking.database.store import Document, Store
from tests.builders import MONDAY, Clock, a_client, an_admin, an_expert, make_expert
from tests.laws.check import check_laws

SIX = MONDAY + timedelta(days=1, hours=9)


@pytest.fixture
async def event(confiido: Confiido) -> Document:
    grace = await make_expert(confiido)
    wanted = {"service_type": "workshop", "name": "Yoga", "price_cents": 0, "duration": 60, "max_participants": 3}
    service = await confiido.catalog.create(actor=an_expert(grace), service=ServiceInput.model_validate(wanted))
    (made,) = await confiido.workshops.create(service.id or ObjectId(), actor=an_admin(), starts_at=SIX)
    return made.document


@pytest.fixture
async def seat(confiido: Confiido, clock: Clock, event: Document) -> Change:
    """Somebody's, long enough ago that nobody is still at work on it."""
    taken = await confiido.workshops.take_seat(event["_id"], actor=a_client())
    clock.advance(seconds=61)
    return taken


async def kinds(confiido: Confiido) -> list[str]:
    return [finding.kind for finding in (await confiido.doctor.examine()).findings]


async def change(store: Store, collection: str, query: Document, **update: Any) -> None:
    await store.collection(collection).update_one(query, {f"${name}": value for name, value in update.items()})


async def test_all_is_sound_where_nothing_happened(confiido: Confiido, seat: Change) -> None:
    assert await kinds(confiido) == []


async def test_a_wrong_count_is_found_and_put_right(
    confiido: Confiido, store: Store, event: Document, seat: Change
) -> None:
    await change(store, "service_sessions", {"_id": event["_id"]}, set={"currentParticipants": 7})

    found = await kinds(confiido)
    report = await confiido.doctor.repair()

    assert found == ["participants"]
    assert report.is_sound
    await check_laws(confiido)


async def test_a_session_that_lost_its_seat_gets_it_back(
    confiido: Confiido, store: Store, event: Document, seat: Change
) -> None:
    await change(store, "service_sessions", {"_id": event["_id"]}, set={"seats": [], "currentParticipants": 0})

    found = await kinds(confiido)
    report = await confiido.doctor.repair()

    assert found == ["seat_missing"]
    assert report.is_sound
    await check_laws(confiido)


async def test_a_session_without_a_seat_in_a_full_event_is_for_a_person_to_settle(
    confiido: Confiido, store: Store, event: Document, seat: Change
) -> None:
    lost = {"seats": [], "currentParticipants": 0, "maxParticipants": 0}
    await change(store, "service_sessions", {"_id": event["_id"]}, set=lost)

    report = await confiido.doctor.repair()

    assert [finding.kind for finding in report.findings] == ["seat_missing"]


async def test_more_seats_than_places_are_named(
    confiido: Confiido, store: Store, event: Document, seat: Change
) -> None:
    await change(store, "service_sessions", {"_id": event["_id"]}, set={"maxParticipants": 0})

    report = await confiido.doctor.repair()

    assert [finding.kind for finding in report.findings] == ["overbooked"]


async def test_a_seat_that_nothing_stands_on_goes(
    confiido: Confiido, store: Store, event: Document, seat: Change
) -> None:
    stray = {"claimId": ObjectId(), "clientId": ObjectId(), "sessionId": ObjectId(), "claimedAt": MONDAY}
    await change(
        store, "service_sessions", {"_id": event["_id"]}, push={"seats": stray}, set={"currentParticipants": 2}
    )

    found = await kinds(confiido)
    report = await confiido.doctor.repair()

    assert found == ["orphaned_seat"]
    assert report.is_sound
    await check_laws(confiido)


async def test_a_seat_of_an_archived_session_stays(
    confiido: Confiido, store: Store, clock: Clock, event: Document, seat: Change
) -> None:
    ids = seat.booking_id, seat.session_id
    await confiido.bookings.confirm(*ids, actor=an_admin())
    await confiido.bookings.complete(*ids, actor=an_admin())
    clock.now = SIX + timedelta(days=40)
    assert await confiido.chores.archive_history() == 1
    clock.advance(seconds=61)

    report = await confiido.doctor.repair()

    after = await store.find_one("read", "service_sessions", {"_id": event["_id"]})
    assert after is not None
    assert (report.is_sound, len(after["seats"])) == (True, 1)
    page = await confiido.bookings.list(actor=an_admin())
    assert [session["sessionId"] for _, session in page.sessions] == [seat.session_id]
    await check_laws(confiido)


async def test_the_worker_heals_what_a_crash_left_of_late(
    confiido: Confiido, store: Store, clock: Clock, event: Document, seat: Change
) -> None:
    """The event says canceled, and its maker died before its seats heard of it."""
    entry = {"at": clock(), "actor": {"role": "admin"}, "action": "cancel", "key": "k", "reason": "Ill"}
    canceled = {"status": "canceled", "updatedAt": clock()}
    await change(store, "service_sessions", {"_id": event["_id"]}, set=canceled, push={"history": entry})
    clock.advance(seconds=61)

    await confiido.chores.heal_recent()

    found = await confiido.bookings.find_session(seat.session_id, actor=an_admin())
    assert (found.session.status, found.session.cancellation_reason) == ("cancelled", "Ill")
    await check_laws(confiido)
