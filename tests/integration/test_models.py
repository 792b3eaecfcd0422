"""The models against the store: seed 002's own document, round trips through Beanie, and saving a whole document."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from beanie.exceptions import RevisionIdWasChanged
from bson import Decimal128, ObjectId
from pymongo.errors import OperationFailure

from confiido_booking import Actor, Booking, Confiido, Expert, ServiceSession, Session
from confiido_booking.bookings.models import HistoryEntry
from confiido_booking.calendar.models import Busy, Calendar
from confiido_booking.database.store import Store
from tests.builders import Clock, a_client, an_admin, make_expert

SEED_002: dict[str, Any] = {
    "_id": "68b61bd7a4c0bf9eaab38ee7",
    "clientId": "68b6134f8e21e1ae686349f7",
    "clientUserId": "9062",
    "clientEmail": "test0209@gmail.com",
    "sessions": [
        {
            "sessionId": "68b61bd7a4c0bf9eaab38ee6",
            "expertId": "68b0daa5349f0802590e2755",
            "expertUserId": "1534",
            "expertEmail": "megha@confiido.com",
            "sessionType": "chat",
            "duration": 30,
            "scheduledDate": "2025-08-29T00:00:00.000+00:00",
            "startTime": "12:30",
            "endTime": "13:00",
            "status": "pending",
            "price": 20,
            "currency": "INR",
            "paymentStatus": "pending",
            "notes": "Service: Resume Review",
        }
    ],
    "totalSessions": 1,
    "totalSpent": 20,
    "createdAt": "2025-09-01T22:19:03.359+00:00",
    "updatedAt": "2025-09-01T22:19:03.359+00:00",
}

pytestmark = pytest.mark.usefixtures("connected")


def a_session(**overrides: Any) -> Session:
    fields = {"session_type": "video", "duration": 30, "status": "confirmed", "price": Decimal("19.99")}
    return Session.model_validate({**fields, **overrides})


def a_booking(*sessions: Session) -> Booking:
    return Booking(client_id=ObjectId(), client_user_id="9062", sessions=list(sessions))


async def in_store(store: Store, collection: str, key: Any) -> dict[str, Any]:
    document = await store.collection(collection).find_one({"_id": key})
    assert document is not None
    return document


def nulls(value: Any, path: str = "") -> list[str]:
    """Where in a stored document a null stands."""
    if value is None:
        return [path]
    if isinstance(value, dict):
        return [found for name, item in value.items() for found in nulls(item, f"{path}.{name}")]
    if isinstance(value, list):
        return [found for index, item in enumerate(value) for found in nulls(item, f"{path}.{index}")]
    return []


async def test_seed_002s_document_gets_its_totals_from_the_pre_save_hook() -> None:
    booking = Booking.model_validate({**SEED_002, "totalSessions": 0, "totalSpent": 0})

    await booking.insert()

    assert (booking.total_sessions, booking.total_spent) == (1, Decimal(20))
    assert booking.totals["INR"].outstanding == 20


async def test_seed_002s_document_is_written_back_with_its_own_names_and_values() -> None:
    await Booking.model_validate(SEED_002).insert()
    kept = await Booking.get("68b61bd7a4c0bf9eaab38ee7")
    assert kept is not None

    wire = json.loads(kept.model_dump_json(by_alias=True))

    [given], [session] = SEED_002["sessions"], wire["sessions"]
    assert {name: session[name] for name in given} == given | {"scheduledDate": "2025-08-29"}
    dated = {"sessions", "createdAt", "updatedAt"}
    assert {name: wire[name] for name in SEED_002 if name not in dated} == {
        name: value for name, value in SEED_002.items() if name not in dated
    }
    assert datetime.fromisoformat(wire["createdAt"]) == datetime.fromisoformat(SEED_002["createdAt"])
    assert datetime.fromisoformat(wire["updatedAt"]) > datetime.fromisoformat(SEED_002["updatedAt"])


async def test_the_instants_of_seed_002s_session_follow_from_its_wall_clock(store: Store) -> None:
    booking = await Booking.model_validate(SEED_002).insert()

    [session] = (await in_store(store, "bookings", booking.id))["sessions"]

    assert session["scheduledDate"] == datetime(2025, 8, 29, tzinfo=UTC)
    assert session["startsAt"] == datetime(2025, 8, 29, 7, 0, tzinfo=UTC)  # 12:30 in Asia/Kolkata
    assert session["endsAt"] == datetime(2025, 8, 29, 7, 30, tzinfo=UTC)


async def test_a_booking_comes_back_as_it_was_saved() -> None:
    at = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
    entry = HistoryEntry.model_validate(
        {"at": at, "actor": {"role": "client"}, "action": "confirm", "from": "pending", "to": "confirmed"}
    )
    saved = await a_booking(a_session(starts_at=at, history=[entry], notes="नमस्ते")).insert()

    found = await Booking.get(saved.id)

    assert found is not None
    assert found.sessions == saved.sessions
    assert found.sessions[0].history[0].from_ == "pending"
    assert found.totals == saved.totals


@pytest.mark.parametrize(
    ("price", "currency"), [("0.1", "INR"), ("999999999999.99", "INR"), ("24.999", "KWD"), ("500", "JPY")]
)
async def test_money_stays_an_exact_decimal(store: Store, price: str, currency: str) -> None:
    saved = await a_booking(a_session(price=Decimal(price), currency=currency)).insert()

    raw = await in_store(store, "bookings", saved.id)
    found = await Booking.get(saved.id)

    assert found is not None
    assert found.sessions[0].price == found.total_spent == Decimal(price)
    assert isinstance(raw["sessions"][0]["price"], Decimal128)
    assert isinstance(raw["totalSpent"], Decimal128)


async def test_what_is_stored_has_camel_case_names_and_neither_nulls_nor_a_stray_id(store: Store) -> None:
    saved = await a_booking(a_session()).insert()

    raw = await in_store(store, "bookings", saved.id)

    [session] = raw["sessions"]
    assert nulls(raw) == []
    assert {"id", "_id", "from_"}.isdisjoint(session)
    assert "id" not in raw
    assert [name for name in (*raw, *session) if "_" in name] == ["_id", "revision_id"]
    assert {"clientId", "clientUserId", "bookingReference", "totalSessions", "schemaVersion"} <= raw.keys()
    assert {"sessionId", "sessionType", "paymentStatus", "rescheduleHistory", "customFields"} <= session.keys()


async def test_a_service_session_a_calendar_and_an_expert_come_back_as_they_were_saved(store: Store) -> None:
    at = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
    ids = {"claim_id": ObjectId(), "client_id": ObjectId(), "session_id": ObjectId()}
    event = ServiceSession.model_validate(
        {"starts_at": at, "status": "scheduled", "seats": [ids], "current_participants": 1}
    )
    busy = Busy.model_validate({**ids, "owner": "session", "from": at, "until": at, "claimed_at": at})
    calendar = Calendar(id=ObjectId(), busy=[busy])
    expert = Expert.model_validate(
        {"name": "Grace", "sessionTypes": [{"sessionType": "video", "duration": 30, "price": Decimal("19.90")}]}
    )

    await event.insert()
    await calendar.insert()
    await expert.insert()

    assert await ServiceSession.get(event.id) == event
    assert await Calendar.get(calendar.id) == calendar
    assert await Expert.get(expert.id) == expert
    for name, key in (("service_sessions", event.id), ("calendars", calendar.id), ("experts", expert.id)):
        raw = await in_store(store, name, key)
        assert nulls(raw) == []
        assert "id" not in raw
    assert (await in_store(store, "calendars", calendar.id))["busy"][0]["from"] == at


async def test_what_a_command_wrote_is_read_by_the_models(confiido: Confiido, clock: Clock) -> None:
    expert, client = await make_expert(confiido), a_client()
    starts_at = clock() + timedelta(days=1)
    booked = await confiido.bookings.book(
        actor=client, expert=str(expert.id), session_type="video", duration=30, starts_at=starts_at
    )

    booking = await Booking.get(booked.document["_id"])
    event = await ServiceSession.get(booked.session.service_session_id)
    calendar = await Calendar.get(expert.id)

    assert booking is not None
    assert event is not None
    assert calendar is not None
    assert booking.sessions == booked.booking.sessions
    assert (booking.total_sessions, booking.total_spent) == (1, Decimal(20))
    assert event.starts_at == booking.sessions[0].starts_at == starts_at
    assert [busy.claim_id for busy in calendar.busy] == [booking.sessions[0].claim_id]


async def test_who_acted_is_stored_under_id_by_commands_and_by_save_alike(confiido: Confiido, clock: Clock) -> None:
    expert, client = await make_expert(confiido), a_client()
    booked = await confiido.bookings.book(
        actor=client, expert=str(expert.id), session_type="video", duration=30, starts_at=clock() + timedelta(days=1)
    )
    stamp = {"role": "client", "id": client.id}
    assert (booked.raw_session["createdBy"], booked.raw_session["history"][0]["actor"]) == (stamp, stamp)

    saved = await Booking.get(booked.booking_id)
    assert saved is not None
    await saved.save()

    [session] = (await in_store(confiido.store, "bookings", booked.booking_id))["sessions"]
    assert (session["createdBy"], session["history"][0]["actor"]) == (stamp, stamp)


async def test_saving_a_changed_booking_recomputes_its_totals() -> None:
    booking = await a_booking(a_session(price=Decimal(20)), a_session(price=Decimal(35))).insert()
    assert booking.total_spent == 55

    booking.sessions[0] = booking.sessions[0].model_copy(update={"status": "cancelled"})
    booking.sessions.append(a_session(price=Decimal("9.50"), currency="EUR"))
    await booking.save()

    found = await Booking.get(booking.id)
    assert found is not None
    assert (found.total_sessions, found.total_spent) == (3, Decimal(35))
    assert found.totals["EUR"].booked == Decimal("9.50")


async def test_a_stale_save_fails_after_a_guarded_update(confiido: Confiido, clock: Clock) -> None:
    expert, client, admin = await make_expert(confiido), a_client(), an_admin()
    booked = await confiido.bookings.book(
        actor=client,
        expert=str(expert.id),
        session_type="video",
        duration=30,
        starts_at=clock() + timedelta(days=1),
    )
    stale = await Booking.get(booked.document["_id"])
    assert stale is not None
    await confiido.bookings.confirm(booked.document["_id"], booked.session_id, actor=admin)

    with pytest.raises((RevisionIdWasChanged, OperationFailure)):  # FerretDB says it in its own way
        await stale.save()

    kept = await confiido.bookings.get(booked.document["_id"], actor=Actor.admin())
    assert kept["sessions"][0]["status"] == "confirmed"


async def test_a_stale_save_cannot_take_a_fence_away(confiido: Confiido, clock: Clock) -> None:
    stale = await a_booking(a_session()).insert()
    claim_id = ObjectId()
    assert await confiido.bookings.context.healing.fence(stale.client_id, claim_id, clock())

    with pytest.raises((RevisionIdWasChanged, OperationFailure)):
        await stale.save()

    kept = await confiido.bookings.of_client(stale.client_id, actor=Actor.admin())
    assert kept["abandonedClaims"] == [claim_id]
