"""What the doctor finds, repairs, and passes over (PROTOCOL, DOCTOR)."""

from datetime import datetime, timedelta

import pytest
from bson import Decimal128, ObjectId

from confiido_booking import Actor, Confiido, Expert
from confiido_booking.bookings.views import Change
from confiido_booking.database.store import Store
from confiido_booking.doctor import Doctor
from tests.builders import MONDAY, Clock, a_client, an_admin, make_expert

NOON = MONDAY + timedelta(hours=3)
SETTLED = timedelta(seconds=61)  # after which a half-done command is nobody's any more


async def book(confiido: Confiido, client: Actor, expert: Expert, starts_at: datetime = NOON) -> Change:
    return await confiido.bookings.book(
        actor=client, expert=expert.id or "", session_type="video", duration=30, starts_at=starts_at
    )


async def with_history(confiido: Confiido, clock: Clock, expert: Expert) -> Change:
    """A session that is paid, completed and archived."""
    booked, admin = await book(confiido, a_client(), expert), an_admin()
    ids = booked.booking_id, booked.session_id
    await confiido.bookings.complete_payment(*ids, actor=admin)
    done = await confiido.bookings.complete(*ids, actor=admin)
    clock.now = NOON + timedelta(days=31)
    assert await confiido.chores.archive_history() == 1
    clock.advance(seconds=SETTLED.total_seconds())
    return done


async def kinds(confiido: Confiido) -> list[str]:
    return [finding.kind for finding in (await confiido.doctor.examine()).findings]


async def test_wrong_sums_of_the_archive_are_found_and_put_right(
    confiido: Confiido, store: Store, clock: Clock
) -> None:
    done = await with_history(confiido, clock, await make_expert(confiido))
    right = await store.find_one("read", "bookings", {"_id": done.booking_id})
    assert right is not None
    wrong = {"$set": {"archived.sessions": 3, "archived.sums.INR.paid": Decimal128("1")}}
    await store.collection("bookings").update_one({"_id": done.booking_id}, wrong)

    found = await kinds(confiido)
    report = await confiido.doctor.repair()

    mended = await store.find_one("read", "bookings", {"_id": done.booking_id})
    assert mended is not None
    assert "archive" in found
    assert report.is_sound
    assert [mended[name] for name in ("archived", "totals", "totalSessions")] == [
        right[name] for name in ("archived", "totals", "totalSessions")
    ]


async def test_two_events_of_one_expert_at_once_are_found(confiido: Confiido, store: Store, clock: Clock) -> None:
    grace = await make_expert(confiido)
    await book(confiido, a_client(), grace)
    workshop = {
        "_id": ObjectId(),
        "expertId": grace.id,
        "visibility": "public",
        "status": "scheduled",
        "startsAt": NOON + timedelta(minutes=15),
        "endsAt": NOON + timedelta(hours=1),
        "rev": 1,
    }
    await store.collection("service_sessions").insert_one(workshop)

    assert await kinds(confiido) == ["expert_overlap"]


async def test_what_somebody_newer_wrote_is_no_drift(confiido: Confiido, store: Store, clock: Clock) -> None:
    booked = await book(confiido, a_client(), await make_expert(confiido))
    clock.advance(seconds=SETTLED.total_seconds())
    event = {"_id": booked.session.service_session_id}
    await store.collection("service_sessions").update_one(event, {"$set": {"title": "Other"}})
    drifted = await kinds(confiido)

    await store.collection("service_sessions").update_one(event, {"$set": {"rev": booked.session.version + 1}})

    assert drifted == ["drift"]
    assert await kinds(confiido) == []


async def test_what_is_gone_at_the_second_look_is_no_finding(
    confiido: Confiido, store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    booked = await book(confiido, a_client(), await make_expert(confiido))
    await store.collection("bookings").update_one({"_id": booked.booking_id}, {"$set": {"totalSessions": 7}})
    walk = Doctor._walk
    seen = []

    async def and_then_it_is_right(self: Doctor, since: datetime | None) -> object:
        found = await walk(self, since)
        seen.append([finding.kind for finding in found.findings])
        await store.collection("bookings").update_one({"_id": booked.booking_id}, {"$set": {"totalSessions": 1}})
        return found

    monkeypatch.setattr(Doctor, "_walk", and_then_it_is_right)
    report = await confiido.doctor.examine()

    assert seen == [["totals"], []]
    assert report.is_sound


async def test_repairs_come_in_the_protocols_order(confiido: Confiido, store: Store, clock: Clock) -> None:
    grace, ken = await make_expert(confiido), await make_expert(confiido, name="Ken")
    done = await with_history(confiido, clock, grace)
    standing = await book(confiido, a_client(), grace, clock() + timedelta(hours=3))
    clock.advance(seconds=SETTLED.total_seconds())
    await store.collection("bookings").update_one({"_id": done.booking_id}, {"$set": {"archived.sessions": 3}})
    await store.collection("bookings").update_one({"_id": standing.booking_id}, {"$set": {"totalSessions": 7}})
    await store.collection("service_sessions").update_one(
        {"_id": standing.session.service_session_id}, {"$set": {"title": "Other"}}
    )
    await store.collection("calendars").delete_one({"_id": ken.id})
    steps: list[str] = []

    async def notes(step: str) -> None:
        if step in ("make calendar", "rewrite service session", "recount archive", "recompute totals"):
            steps.append(step)

    store.hook = notes
    report = await confiido.doctor.repair()
    store.hook = None

    assert list(dict.fromkeys(steps)) == [
        "make calendar",
        "rewrite service session",
        "recount archive",
        "recompute totals",
    ]
    assert report.is_sound
