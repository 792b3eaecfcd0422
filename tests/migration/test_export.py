"""What ``export`` wrote migrates to the documents it was written from, whichever profile brought them."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from confiido_booking import Confiido
from confiido_booking.migration import open_source
from confiido_booking.migration.export import export_all
from confiido_booking.migration.samples import Samples
from tests.builders import Clock, a_client, make_expert
from tests.migration.harness import COLLECTIONS, CREATED, MemorySource, everything, flat, migrate, verified
from tests.migration.test_profiles import (
    COMING,
    PRACTITIONERS,
    SERVICES,
    WORKSHOP,
    booking,
    crm,
    estuary,
    event,
)

Tables = dict[str, list[dict[str, Any]]]


def of_every_era() -> Tables:
    samples = Samples(seed=4)
    many = [flat(createdAt=CREATED + timedelta(minutes=n)) for n in range(205)]
    return {
        "bookings": [*samples.documents(60), *many],
        "users": [dict(user) for user in samples.users(60)],
        "experts": [dict(expert) for expert in samples.experts()],
    }


def of_two_tables() -> Tables:
    both = [booking(id=51, status="invoiced", time="09:30"), booking(id=52, status="quoted", booking_id=2, date=None)]
    return {"bookings": [booking(id=1), booking(id=2)], "sessions": both}


def of_a_crm() -> Tables:
    return {"bookings": [crm(), crm(id="2", contactDetails={"email": "bo@example.org"}, status="cancelled")]}


def of_seats() -> Tables:
    rows = [estuary(id=n, user_id=n, order_id=n) for n in (1, 2)]
    rows += [estuary(id=n, user_id=1, order_id=21, service_session_id=n, price_charged_cents=0) for n in (13, 14, 15)]
    classes = [event(id=n, session_type="course_session", visibility="public", sequence_number=n) for n in (13, 14, 15)]
    return {
        "bookings": rows,
        "service_sessions": [event(**WORKSHOP, **COMING), *classes],
        "services": SERVICES,
        "practitioners": PRACTITIONERS,
        "orders": [{"id": 21, "total_cents": 20000}],
        "users": [{"id": 1, "email": "ann@example.org", "first_name": "Ann"}],
    }


PROFILES = {"confiido-flat": of_every_era, "bookings-sessions": of_two_tables, "crm": of_a_crm, "estuary": of_seats}
KEPT = [*(name for name in COLLECTIONS if name != "legacy_ids"), "orders"]


@pytest.mark.parametrize("profile", PROFILES)
async def test_what_a_profile_brought_is_the_same_after_export_and_migration(
    confiido: Confiido, clock: Clock, tmp_path: Path, profile: str
) -> None:
    tables = PROFILES[profile]()
    when: dict[str, Any] = {"as_of": clock.now, "now": clock.now, "missing_price": "zero"}
    await migrate(confiido, MemorySource(tables), profile=profile, run_id="first", **when)
    before = await everything(confiido, *KEPT)

    written = await export_all(confiido.store, tmp_path)
    for name in (*KEPT, "legacy_ids", "migration_runs", "migration_quarantine"):
        await confiido.store.collection(name).delete_many({})
    source = open_source(str(tmp_path))
    applied = await migrate(confiido, source, run_id="second", **when)

    after = await everything(confiido, *KEPT)
    assert written["bookings"] == applied.counts["inserted"] > 0
    for name in KEPT:
        assert _settled(name, after[name]) == _settled(name, before[name]), name
    assert (await verified(confiido, source, applied)).is_sound
    again = await migrate(confiido, source, run_id="third", **when)
    assert again.wrote == 0


def _settled(name: str, documents: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What only says when and in which order something was written."""
    for document in documents:
        if name == "calendars":
            for entry in document["busy"]:
                entry.pop("claimedAt")
        if name == "service_sessions" and document.get("seats"):
            document["seats"].sort(key=lambda seat: str(seat["sessionId"]))
    return documents


async def test_what_was_booked_here_is_exported_with_its_people_and_comes_back(
    confiido: Confiido, clock: Clock, tmp_path: Path
) -> None:
    expert = await make_expert(confiido, availability={"periods": []})
    assert expert.id is not None
    client = a_client()
    for hours in (24, 48):
        change = await confiido.bookings.book(
            actor=client, expert=expert.id, session_type="video", duration=30, notes="größer, “so”",
            starts_at=datetime(2026, 3, 2, 9, tzinfo=UTC) + timedelta(hours=hours),
        )  # fmt: skip
    await confiido.bookings.cancel(change.booking_id, change.session_id, actor=client, reason="ill")
    names = ("bookings", "service_sessions", "calendars", "experts")
    before = await everything(confiido, *names)

    await export_all(confiido.store, tmp_path)
    for name in names:
        await confiido.store.collection(name).delete_many({})
    await migrate(confiido, open_source(str(tmp_path)), as_of=clock.now, now=clock.now)

    after = await everything(confiido, *names)
    ours = ("outbox", "outboxSince", "revision_id", "abandonedClaims")
    for documents in (before["bookings"], after["bookings"]):
        for document in documents:
            for name in ours:
                document.pop(name, None)
    assert after["bookings"] == before["bookings"]
    assert after["experts"] == before["experts"]
    listed = [[entry.get("listing") for entry in found["service_sessions"]] for found in (before, after)]
    assert listed[0] == listed[1]
    assert (await confiido.doctor.examine()).is_sound
