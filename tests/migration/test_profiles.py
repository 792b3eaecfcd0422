"""The four built-in profiles on tables as their seeds describe them, and a profile of somebody's own."""

from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from bson import Decimal128, ObjectId

from confiido_booking import Confiido, Invalid
from confiido_booking.migration import load_profile, rollback
from confiido_booking.migration.profile import BUILT_IN
from tests.builders import Clock, an_admin
from tests.migration.harness import AS_OF, MemorySource, becomes, everything, flat, migrate, verified


def booking(**changes: Any) -> dict[str, Any]:
    """A row of seed 000's bookings."""
    row = {
        "id": 1,
        "client_name": "Ada Lovelace",
        "client_email": "Ada@Example.org",
        "user_id": 7,
        "session_type": "Consultation",
        "date": date(2025, 9, 12),
        "time": "9:30 AM",
        "location": "Studio 2",
        "notes": "first time",
        "status": "Booked",
        "package_id": 3,
        "quote_amount": Decimal("120.50"),
        "created_at": datetime(2025, 9, 1, 8, 0),
    }
    return {name: value for name, value in {**row, **changes}.items() if value is not None}


def test_bookings_sessions_reads_seed_000s_columns_and_keeps_the_others() -> None:
    found = becomes(booking(), profile="bookings-sessions", currency="USD", timezone="America/New_York")

    session, client = found.session, found.clients[0]
    assert (session["startsAt"], session["startTime"]) == (datetime(2025, 9, 12, 13, 30, tzinfo=UTC), "09:30")
    assert (session["status"], session["price"], session["location"]) == ("confirmed", Decimal128("120.50"), "Studio 2")
    assert (client.booking["clientName"], client.booking["clientEmail"]) == ("Ada Lovelace", "ada@example.org")
    assert session["legacy"]["fields"]["package_id"] == 3
    assert {"duration_assumed", "session_type_assumed", "no_expert"} <= set(session["legacy"]["flags"])


def test_bookings_sessions_makes_one_session_of_the_two_rows_of_an_appointment() -> None:
    both = {
        "sessions": [
            booking(id=51, status="invoiced", invoice_amount=Decimal("150.00"), paid=True, notes=None, time="09:30"),
            booking(id=52, status="quoted", booking_id=2, date=None, time=None),
        ]
    }

    found = becomes(
        booking(id=1),
        booking(id=2, date=date(2025, 9, 20)),
        profile="bookings-sessions",
        tables=both,
        missing_price="zero",
    )

    assert (found.read, found.reading.matched, len(found.sessions)) == (4, 2, 2)
    paid = next(session for session in found.sessions if session["price"] == Decimal128("150.00"))
    assert (paid["paymentStatus"], paid["status"], paid["notes"]) == ("paid", "completed", "first time")
    old = {entry["_id"]: entry["sessionId"] for entry in found.clients[0].legacy_ids}
    assert old["bookings:1"] == old["sessions:51"] == paid["sessionId"]


def test_bookings_sessions_keeps_a_request_and_a_quote_what_they_are() -> None:
    rows = [booking(id=1, status="request"), booking(id=2, status="Quoted", date=None, time=None)]

    found = becomes(*rows, profile="bookings-sessions")

    assert [session["status"] for session in found.sessions] == ["requested", "quoted"]


def test_bookings_sessions_takes_a_named_expert_for_all() -> None:
    expert = ObjectId()

    found = becomes(booking(), profile="bookings-sessions", expert=expert)

    assert found.session["expertId"] == expert
    assert "expert_assumed" in found.session["legacy"]["flags"]


async def test_bookings_sessions_reviews_get_the_session_of_their_booking(confiido: Confiido, clock: Clock) -> None:
    clock.now = AS_OF
    tables = {"bookings": [booking()], "reviews": [{"id": 9, "booking_id": 1, "rating": 5}]}
    source = MemorySource(tables)

    applied = await migrate(confiido, source, profile="bookings-sessions")

    (review,) = await confiido.store.find("read", "reviews", {})
    (entry,) = await confiido.store.find("read", "legacy_ids", {"_id": "bookings:1"})
    assert review["sessionId"] == entry["sessionId"]
    assert (await verified(confiido, source, applied)).is_sound


def crm(**changes: Any) -> dict[str, Any]:
    """A row of seed 003's bookings."""
    row = {
        "id": "8e7c0d3a-0000-4000-8000-000000000001",
        "contactDetails": '{"email": "Eve@Example.org", "firstName": "Eve", "lastName": "Ng", "phone": "+44 20"}',
        "finalAmount": "75.00",
        "currency": "GBP",
        "session_date": "2025-09-12",
        "start_time": time(9, 0),
        "end_time": time(17, 0),
        "status": "confirmed",
        "payment_status": "paid",
        "source": "phone",
        "referral_source": "google",
        "booking_notes": "vegetarian",
        "created_at": "2025-08-01T10:00:00Z",
    }
    return {name: value for name, value in {**row, **changes}.items() if value is not None}


async def test_crm_makes_users_of_the_distinct_emails_with_statistics(confiido: Confiido, clock: Clock) -> None:
    clock.now = AS_OF
    later = crm(
        id="2",
        contactDetails={"email": " eve@example.ORG", "firstName": "Evelyn"},
        finalAmount="25.50",
        created_at="2025-08-05T10:00:00Z",
        session_date="2025-09-14",
    )
    source = MemorySource({"bookings": [crm(), later]})

    applied = await migrate(confiido, source, profile="crm")

    (user,) = await confiido.store.find("read", "users", {})
    assert (user["email"], user["name"], user["totalBookings"]) == ("eve@example.org", "Eve Ng", 2)
    assert user["totalSpent"] == Decimal128("100.50")
    assert user["createdAt"] == user["firstBookingDate"] == datetime(2025, 8, 1, 10, tzinfo=UTC)
    assert user["lastBookingDate"] == datetime(2025, 8, 5, 10, tzinfo=UTC)
    (stored,) = await confiido.store.find("read", "bookings", {})
    assert stored["clientId"] == user["_id"]
    assert (stored["sessions"][0]["duration"], stored["sessions"][0]["referralSource"]) == (480, "google")
    assert (await verified(confiido, source, applied)).is_sound


def estuary(**changes: Any) -> dict[str, Any]:
    """A row of seed 004's bookings."""
    row = {
        "id": 1,
        "user_id": 7,
        "service_id": 5,
        "service_session_id": 11,
        "order_id": 21,
        "status": "confirmed",
        "price_charged_cents": 4500,
        "currency": "usd",
        "created_at": datetime(2025, 9, 1, 8, 0, tzinfo=UTC),
    }
    return {name: value for name, value in {**row, **changes}.items() if value is not None}


def event(**changes: Any) -> dict[str, Any]:
    row = {
        "id": 11,
        "service_id": 5,
        "session_type": "individual",
        "visibility": "private",
        "start_time": datetime(2025, 9, 12, 13, 0, tzinfo=UTC),
        "end_time": datetime(2025, 9, 12, 14, 30, tzinfo=UTC),
        "timezone": "America/New_York",
        "max_participants": 1,
        "status": "scheduled",
    }
    return {**row, **changes}


SERVICES = [{"id": 5, "name": "Mindfulness", "primary_practitioner_id": 3}]
PRACTITIONERS = [{"id": 3, "user_id": 70, "name": "Kim", "email": "kim@example.org"}]


def test_estuary_takes_the_time_from_the_service_session_and_the_cents_exactly() -> None:
    tables = {"service_sessions": [event()], "services": SERVICES, "practitioners": PRACTITIONERS}

    session = becomes(estuary(), profile="estuary", tables=tables).session

    assert (session["startTime"], session["duration"], session["timezone"]) == ("09:00", 90, "America/New_York")
    assert (session["price"], session["currency"]) == (Decimal128("45.00"), "USD")
    assert (session["title"], session["expertEmail"]) == ("Mindfulness", "kim@example.org")


def test_estuarys_older_rows_carry_their_own_time_and_a_parent_becomes_an_order() -> None:
    own = {"service_session_id": None, "order_id": None, "start_time": "2025-09-12T13:00:00Z"}
    times = own | {"end_time": "2025-09-12T14:00:00Z", "timezone": "Europe/Berlin"}

    found = becomes(
        estuary(id=2, parent_booking_id=1, **times),
        estuary(id=3, parent_booking_id=1, **{**times, "start_time": "2025-09-13T13:00:00Z"}),
        profile="estuary",
    )

    assert len({session["orderId"] for session in found.sessions}) == 1
    assert found.sessions[0]["startTime"] == "15:00"


def test_estuarys_course_was_paid_once_and_each_session_carries_its_exact_share() -> None:
    classes = [event(id=n, session_type="course_session", visibility="public", sequence_number=n) for n in (1, 2, 3)]
    tables = {"service_sessions": classes, "services": SERVICES, "orders": [{"id": 21, "total_cents": 20000}]}
    rows = [estuary(id=n, service_session_id=n, price_charged_cents=0) for n in (1, 2, 3)]

    found = becomes(*rows, profile="estuary", tables=tables)

    assert sorted(str(session["price"]) for session in found.sessions) == ["66.66", "66.67", "66.67"]


async def test_estuarys_workshop_is_one_event_with_a_seat_for_each_booking(confiido: Confiido, clock: Clock) -> None:
    clock.now = AS_OF
    workshop = event(session_type="workshop", visibility="public", max_participants=25)
    rows = [estuary(id=n, user_id=n, order_id=n) for n in (1, 2, 3)]
    tables = {"bookings": rows, "service_sessions": [workshop], "services": SERVICES, "practitioners": PRACTITIONERS}

    await migrate(confiido, MemorySource(tables), profile="estuary")

    (stored,) = await confiido.store.find("read", "service_sessions", {"visibility": "public"})
    listed = await confiido.bookings.list(actor=an_admin())
    assert (stored["currentParticipants"], stored["maxParticipants"], stored["sessionType"]) == (3, 25, "workshop")
    assert [session["serviceSessionId"] for _, session in listed.sessions] == [stored["_id"]] * 3


OWN = """
name = "studio"
[parameters]
duration = 45
sessionType = "in-person"
[status]
ok = "confirmed"
gone = "cancelled"
[tables.termine]
role = "sessions"
key = "nr"
[tables.termine.columns]
clientEmail = { column = "mail", as = "lower" }
clientName = { join = ["vorname", "nachname"] }
scheduledDate = "tag"
startTime = "zeit"
status = "stand"
duration = { column = "stunden", as = "hours" }
price = { column = "cent", as = "cents" }
currency = { value = "EUR" }
expertEmail = { value = "chef@example.org" }
"""


def test_a_profile_of_ones_own_is_a_file(tmp_path: Path) -> None:
    file = tmp_path / "studio.toml"
    file.write_text(OWN)
    row = {"nr": 4, "mail": "M@X.DE", "vorname": "Mia", "nachname": "Ott", "tag": "2025-09-12", "zeit": "9:00"}
    row |= {"stand": "OK", "stunden": "1.5", "cent": 1999}

    session = becomes(profile=load_profile(str(file)), tables={"termine": [row]}, timezone="Europe/Berlin").session

    assert (session["duration"], session["price"], session["currency"]) == (90, Decimal128("19.99"), "EUR")
    assert (session["startsAt"], session["status"]) == (datetime(2025, 9, 12, 7, 0, tzinfo=UTC), "confirmed")


def test_cents_that_are_no_number_go_to_the_quarantine(tmp_path: Path) -> None:
    file = tmp_path / "studio.toml"
    file.write_text(OWN)
    row = {"nr": 4, "mail": "m@x.de", "tag": "2025-09-12", "zeit": "9:00", "stand": "ok", "cent": "free"}

    found = becomes(profile=load_profile(str(file)), tables={"termine": [row]})

    assert found.reason == "price_invalid"


async def test_where_nothing_says_when_a_row_was_booked_no_date_is_made_of_its_derived_id(
    confiido: Confiido, tmp_path: Path
) -> None:
    file = tmp_path / "studio.toml"
    file.write_text(OWN)
    day = {"tag": "2025-09-12", "zeit": "9:00", "stand": "ok", "stunden": "1", "cent": "100"}
    rows = [{"nr": nr, "mail": f"client{nr}@example.org", **day} for nr in range(30)]

    await migrate(confiido, MemorySource({"termine": rows}), profile=str(file))

    bookings = await confiido.store.find("read", "bookings", {})
    users = await confiido.store.find("read", "users", {})
    assert {booking["createdAt"].year for booking in bookings} == {2000}
    assert {user["createdAt"].year for user in users} == {1970}


@pytest.mark.parametrize(
    "text",
    [
        "no = toml =",
        "[tables.x]\nrole = 'guests'",
        "[tables.x]\nrole = 'sessions'\n[tables.x.columns]\ncolour = 'c'",
        "[tables.x]\nrole = 'users'",
        "[tables.x]\n[tables.x.columns]\nprice = {column = 'p', as = 'magic'}",
        "[status]\nok = 'splendid'\n[tables.x]",
        "[status]\nok = {status = 'pending', payment = 'maybe'}\n[tables.x]",
    ],
)
def test_a_wrong_profile_is_refused_with_what_is_wrong(tmp_path: Path, text: str) -> None:
    file = tmp_path / "own.toml"
    file.write_text(text)

    with pytest.raises(Invalid) as refusal:
        load_profile(str(file))

    assert refusal.value.code == "profile_invalid"


def test_every_built_in_profile_loads_and_a_source_without_its_tables_is_refused() -> None:
    for name in BUILT_IN:
        assert load_profile(name).name == name
    with pytest.raises(Invalid):
        load_profile("nonesuch")
    with pytest.raises(Invalid) as refusal:
        becomes(profile="crm", tables={"orders": [{"id": 1}]})
    assert refusal.value.code == "source_empty"


def test_a_user_or_expert_that_cannot_be_read_goes_to_the_quarantine_and_the_others_come() -> None:
    broken = [{"_id": {"$oid": "x"}, "email": "a@example.org"}, {"email": "b@example.org"}]

    found = becomes(flat(), users=broken, experts=[{"userId": {"$date": []}}])

    assert len(found.sessions) == 1
    assert found.read == len(found.sessions) + len(found.quarantine) == 4


COMING = {
    "start_time": datetime(2026, 3, 12, 13, 0, tzinfo=UTC),
    "end_time": datetime(2026, 3, 12, 15, 0, tzinfo=UTC),
}
WORKSHOP = {"session_type": "workshop", "visibility": "public", "max_participants": 25}


async def test_a_workshop_to_come_takes_its_experts_minutes_and_its_seats_are_listed(
    confiido: Confiido, clock: Clock
) -> None:
    rows = [estuary(id=n, user_id=n, order_id=n) for n in (1, 2)]
    rows.append(estuary(id=3, user_id=3, order_id=3, service_session_id=12))
    events = [event(**WORKSHOP, **COMING), event(id=12, **COMING)]
    tables = {"bookings": rows, "service_sessions": events, "services": SERVICES, "practitioners": PRACTITIONERS}

    applied = await migrate(confiido, MemorySource(tables), profile="estuary", as_of=clock.now, now=clock.now)

    (workshop,) = await confiido.store.find("read", "service_sessions", {"visibility": "public"})
    (calendar,) = await confiido.store.find("read", "calendars", {})
    (held,) = calendar["busy"]
    assert (held["owner"], held["serviceSessionId"], held["claimId"]) == ("event", workshop["_id"], workshop["claimId"])
    assert (held["from"], held["until"]) == (COMING["start_time"], COMING["end_time"])
    assert (await confiido.bookings.list(actor=an_admin())).total == 3
    assert len(applied.conflicts) == 1
    assert (await confiido.doctor.examine()).is_sound

    await rollback(confiido.store, applied.run, now=clock.now)
    assert not any((await everything(confiido)).values())


async def test_of_two_workshops_at_one_time_the_second_is_kept_and_marked(confiido: Confiido, clock: Clock) -> None:
    rows = [estuary(id=n, user_id=n, order_id=n, service_session_id=10 + n) for n in (1, 2)]
    events = [event(id=n, **WORKSHOP, **COMING) for n in (11, 12)]
    tables = {"bookings": rows, "service_sessions": events, "services": SERVICES, "practitioners": PRACTITIONERS}
    source = MemorySource(tables)

    applied = await migrate(confiido, source, profile="estuary", as_of=clock.now, now=clock.now)
    again = await migrate(confiido, source, profile="estuary", as_of=clock.now, now=clock.now)

    stored = await confiido.store.find("read", "service_sessions", {"visibility": "public"})
    assert [found["_id"] for found in stored if found.get("conflict")] == applied.conflicts == again.conflicts
    assert (len(stored), again.wrote) == (2, 0)
    assert (await confiido.doctor.examine()).is_sound


async def test_an_order_is_written_with_the_sums_of_its_sessions(confiido: Confiido, clock: Clock) -> None:
    classes = [event(id=n, session_type="course_session", visibility="public", sequence_number=n) for n in (1, 2, 3)]
    orders = [{"id": 21, "total_cents": 20000}]
    rows = [estuary(id=n, service_session_id=n, price_charged_cents=0) for n in (1, 2, 3)]
    rows[2]["status"] = "canceled"
    tables = {"bookings": rows, "service_sessions": classes, "services": SERVICES, "orders": orders}
    source = MemorySource(tables | {"practitioners": PRACTITIONERS})

    applied = await migrate(confiido, source, profile="estuary")

    (order,) = await confiido.store.find("read", "orders", {})
    (booking,) = await confiido.store.find("read", "bookings", {})
    sessions = booking["sessions"]
    assert {session["orderId"] for session in sessions} == {order["_id"]}
    assert (order["price"], order["currency"], order["clientId"]) == (Decimal128("200.00"), "USD", booking["clientId"])
    assert order["paid"].to_decimal() == sum(session["paidAmount"].to_decimal() for session in sessions)
    assert (order["status"], order["reference"][:3]) == ("partly_cancelled", "CO-")
    assert sorted(order["sessionIds"]) == sorted(session["sessionId"] for session in sessions)
    await rollback(confiido.store, applied.run, now=AS_OF)
    assert not await confiido.store.find("read", "orders", {})
