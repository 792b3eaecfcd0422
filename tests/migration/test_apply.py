"""Writing: one document a client, claims, the archive, the quarantine; twice, in two halves, and back."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from bson import Decimal128, ObjectId

from confiido_booking import Actor, Confiido, Conflict
from confiido_booking.bookings.models import Booking, Session
from confiido_booking.migration import Runs, RunState, rollback
from confiido_booking.migration.export import rows
from confiido_booking.migration.samples import Samples
from confiido_booking.migration.sources import BACKUP, MongoSource
from tests.builders import Clock, a_client, make_expert
from tests.migration.harness import (
    AS_OF,
    CLIENT,
    CREATED,
    EXPERT,
    MemorySource,
    everything,
    flat,
    inner,
    migrate,
    nested,
    verified,
)

FUTURE = datetime(2026, 3, 9, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _today(clock: Clock) -> None:
    clock.now = AS_OF


def dump(documents: int = 25, seed: int = 1) -> MemorySource:
    samples = Samples(seed=seed, irregular=0.3, experts_count=5)
    return MemorySource(
        {
            "bookings": list(samples.documents(documents)),
            "users": list(samples.users(documents)),
            "experts": list(samples.experts()),
        }
    )


async def test_a_mixed_dump_migrates_verifies_and_is_sound_for_the_doctor(confiido: Confiido) -> None:
    source = dump()

    applied = await migrate(confiido, source)

    assert applied.run.state is RunState.DONE
    assert (await verified(confiido, source, applied)).differences == []
    assert (await confiido.doctor.examine()).findings == []


async def test_a_second_run_writes_nothing(confiido: Confiido) -> None:
    source = dump()
    await migrate(confiido, source)
    before = await everything(confiido)

    again = await migrate(confiido, source, now=AS_OF + timedelta(days=1))

    assert again.wrote == 0
    assert await everything(confiido) == before


async def test_rolled_back_and_applied_again_gives_the_same_documents(confiido: Confiido) -> None:
    source = dump()
    first = await migrate(confiido, source, run_id="first")
    before = await everything(confiido)

    await rollback(confiido.store, first.run, now=AS_OF)
    emptied = await everything(confiido)
    await migrate(confiido, source, run_id="second")

    assert {name: len(documents) for name, documents in emptied.items()} == dict.fromkeys(emptied, 0)
    assert await everything(confiido) == before


async def test_what_is_stored_is_what_the_core_would_store(confiido: Confiido) -> None:
    await migrate(
        confiido, MemorySource({"bookings": [flat(), nested(inner(status="confirmed", scheduledDate=FUTURE))]})
    )

    stored = (await everything(confiido, "bookings"))["bookings"][0]
    booking = Booking.model_validate(stored)
    assert [type(session) for session in booking.sessions] == [Session, Session]
    assert stored["totals"]["INR"]["paid"] == Decimal128("1500.00")
    assert {"sessionId", "serviceSessionId", "claimId", "startsAt", "version", "history", "policy"} <= set(
        stored["sessions"][0]
    )


async def test_a_session_to_come_holds_its_minutes_against_new_bookings(confiido: Confiido) -> None:
    expert = await make_expert(confiido)
    old = flat(status="confirmed", expertId=expert.id, scheduledDate=FUTURE, startTime="10:00")
    await migrate(confiido, MemorySource({"bookings": [old]}))

    with pytest.raises(Conflict) as refusal:
        await confiido.bookings.book(
            actor=a_client(),
            expert=expert.expert_user_id or "",
            session_type="video",
            duration=60,
            scheduled_date="2026-03-09",
            start_time="10:30",
        )

    assert refusal.value.code == "slot_taken"


async def test_minutes_the_new_system_has_given_away_make_a_conflict_and_no_failure(confiido: Confiido) -> None:
    expert = await make_expert(confiido)
    await confiido.bookings.book(
        actor=a_client(),
        expert=expert.expert_user_id or "",
        session_type="video",
        duration=60,
        scheduled_date="2026-03-09",
        start_time="10:30",
    )
    old = flat(status="confirmed", expertId=expert.id, scheduledDate=FUTURE, startTime="10:00")

    applied = await migrate(confiido, MemorySource({"bookings": [old]}))

    assert applied.conflicts == [old["_id"]]
    booking = await confiido.bookings.of_client(CLIENT, actor=Actor.admin(ObjectId()))
    assert booking["sessions"][0]["conflict"] is True
    assert (await confiido.doctor.examine()).findings == []


async def test_an_imported_session_is_cancelled_by_its_client_like_any_other(confiido: Confiido) -> None:
    old = flat(status="confirmed", scheduledDate=FUTURE)
    await migrate(confiido, MemorySource({"bookings": [old]}))
    booking = await confiido.bookings.of_client(CLIENT, actor=Actor.client(CLIENT))

    change = await confiido.bookings.cancel(booking["_id"], old["_id"], actor=Actor.client(CLIENT))

    assert change.session.status == "cancelled"
    assert (await confiido.store.find("read", "calendars", {}))[0]["busy"] == []


async def test_catching_up_adds_what_is_new_and_takes_over_what_changed(confiido: Confiido) -> None:
    moved = flat(status="confirmed", scheduledDate=FUTURE)
    source = MemorySource({"bookings": [moved]})
    await migrate(confiido, source, run_id="first")
    source.data["bookings"] = [
        {**moved, "startTime": "14:00", "endTime": "15:00"},
        flat(scheduledDate=datetime(2025, 10, 1, tzinfo=UTC)),
    ]

    applied = await migrate(confiido, source, run_id="second")

    assert (applied.counts["added"], applied.counts["taken_over"]) == (1, 1)
    booking = await confiido.bookings.of_client(CLIENT, actor=Actor.client(CLIENT))
    assert {session["startTime"] for session in booking["sessions"]} == {"14:00", "10:00"}
    busy = (await confiido.store.find("read", "calendars", {"_id": EXPERT}))[0]["busy"]
    assert [entry["from"].hour for entry in busy] == [8]
    assert (await verified(confiido, source, applied)).is_sound
    assert (await confiido.doctor.examine()).findings == []


async def test_what_both_systems_changed_stays_and_is_named(confiido: Confiido) -> None:
    old = flat(status="confirmed", scheduledDate=FUTURE)
    source = MemorySource({"bookings": [old]})
    await migrate(confiido, source, run_id="first")
    booking = await confiido.bookings.of_client(CLIENT, actor=Actor.client(CLIENT))
    await confiido.bookings.cancel(booking["_id"], old["_id"], actor=Actor.client(CLIENT))
    source.data["bookings"] = [{**old, "status": "completed"}]

    applied = await migrate(confiido, source, run_id="second")

    assert applied.changed_in_both == [old["_id"]]
    stored = await confiido.bookings.of_client(CLIENT, actor=Actor.client(CLIENT))
    assert stored["sessions"][0]["status"] == "cancelled"


async def test_rollback_keeps_what_was_booked_since_or_refuses_over_it(confiido: Confiido, clock: Clock) -> None:
    expert = await make_expert(confiido)
    applied = await migrate(confiido, MemorySource({"bookings": [flat()]}))
    since = await confiido.bookings.book(
        actor=Actor.client(CLIENT),
        expert=expert.expert_user_id or "",
        session_type="video",
        duration=60,
        scheduled_date="2026-03-09",
        start_time="10:30",
    )

    with pytest.raises(Conflict) as refusal:
        await rollback(confiido.store, applied.run, now=AS_OF, refuse=True)
    await rollback(confiido.store, applied.run, now=AS_OF)

    assert refusal.value.code == "changed_since"
    booking = await confiido.bookings.of_client(CLIENT, actor=Actor.client(CLIENT))
    assert [session["sessionId"] for session in booking["sessions"]] == [since.session_id]
    assert (await confiido.doctor.examine()).findings == []


async def test_migrating_in_place_keeps_every_original_and_rollback_puts_them_back(
    confiido: Confiido, uri: str
) -> None:
    originals = [flat(), flat(_id="a text id", clientId=str(CLIENT)), nested(inner(scheduledDate="2025-09-20"))]
    await confiido.store.run("drop", lambda: confiido.store.collection("bookings").drop())
    await confiido.store.collection("bookings").insert_many([dict(document) for document in originals])
    source = MongoSource(uri, in_place=True)

    applied = await migrate(confiido, source, in_place=True)
    kept = await confiido.store.find("read", BACKUP, {})
    sound = await verified(confiido, source, applied)
    await rollback(confiido.store, applied.run, now=AS_OF)

    by_id = {document["_id"]: document for document in originals}
    assert {document["_id"]: document for document in kept} == by_id
    assert (sound.differences, sound.found) == ([], 3)
    returned = await confiido.store.find("read", "bookings", {})
    assert {document["_id"]: document for document in returned} == by_id


async def test_every_old_id_leads_to_its_session_and_reviews_name_it(confiido: Confiido) -> None:
    old = flat()
    review = {"_id": ObjectId(), "bookingId": str(old["_id"]), "rating": 5}
    orphan = {"_id": ObjectId(), "bookingId": str(ObjectId()), "rating": 1}

    applied = await migrate(confiido, MemorySource({"bookings": [old], "reviews": [review, orphan]}))

    reviews = {document["_id"]: document for document in await confiido.store.find("read", "reviews", {})}
    assert reviews[review["_id"]]["sessionId"] == old["_id"]
    assert len(applied.dangling) == 1
    entry = await confiido.store.find_one("read", "legacy_ids", {"_id": old["_id"]})
    assert entry is not None
    assert (entry["sessionId"], entry["clientId"]) == (old["_id"], CLIENT)


async def test_a_review_that_was_lost_or_names_no_session_is_found(confiido: Confiido) -> None:
    old = flat()
    reviews = [{"_id": ObjectId(), "bookingId": str(old["_id"]), "rating": 5} for _ in range(3)]
    source = MemorySource({"bookings": [old], "reviews": reviews})
    applied = await migrate(confiido, source)
    stored = confiido.store.collection("reviews")
    await stored.delete_one({"_id": reviews[0]["_id"]})
    await stored.update_one({"_id": reviews[1]["_id"]}, {"$set": {"sessionId": ObjectId()}})

    found = await verified(confiido, source, applied)

    wrong = {item.subject for item in found.differences if item.kind == "unresolved_reference"}
    assert wrong == {f"reviews {review['_id']}" for review in reviews[:2]}
    assert found.count_of_differences == 2


async def test_one_client_first_leaves_the_reviews_of_the_others_to_the_run_of_all(confiido: Confiido) -> None:
    one, other = flat(), flat(clientId=ObjectId(), clientEmail="bea@example.org")
    reviews = [{"_id": ObjectId(), "bookingId": str(old["_id"]), "rating": 5} for old in (one, other)]
    source = MemorySource({"bookings": [one, other], "reviews": reviews})

    alone = await migrate(confiido, source, run_id="alone", client=CLIENT)
    (first,) = await confiido.store.find("read", "reviews", {})
    assert (await verified(confiido, source, alone)).is_sound
    every = await migrate(confiido, source, run_id="every")

    assert first["sessionId"] == one["_id"]
    linked = await confiido.store.find("read", "reviews", {}, sort=[("_id", 1)])
    assert [review["sessionId"] for review in linked] == [one["_id"], other["_id"]]
    assert (await verified(confiido, source, every)).is_sound


async def test_a_review_of_a_record_that_was_mended_gets_its_session(confiido: Confiido) -> None:
    old = flat(status="zombie")
    review = {"_id": ObjectId(), "bookingId": str(old["_id"]), "rating": 5}
    source = MemorySource({"bookings": [old], "reviews": [review]})
    await migrate(confiido, source, run_id="first")
    source.data["bookings"] = [{**old, "status": "completed"}]

    mended = await migrate(confiido, source, run_id="second")
    again = await migrate(confiido, source, run_id="third")

    (linked,) = await confiido.store.find("read", "reviews", {})
    assert linked["sessionId"] == old["_id"]
    assert (mended.counts["references"], again.wrote) == (1, 0)
    assert (await verified(confiido, source, again)).is_sound


async def test_a_quarantined_record_keeps_its_original_its_reason_and_its_run(confiido: Confiido) -> None:
    old = flat(status="zombie")

    applied = await migrate(confiido, MemorySource({"bookings": [old]}))

    (entry,) = await confiido.store.find("read", "migration_quarantine", {})
    assert (entry["reason"], entry["original"], entry["runId"]) == ("status_unknown", old, applied.run.id)
    assert entry["source"] == "memory"


async def test_a_missing_session_a_changed_price_and_a_lost_quarantine_are_found(confiido: Confiido) -> None:
    documents = [flat(), flat(scheduledDate=datetime(2025, 10, 1, tzinfo=UTC)), flat(status="zombie")]
    source = MemorySource({"bookings": documents})
    applied = await migrate(confiido, source)
    bookings = confiido.store.collection("bookings")
    await bookings.update_one({}, {"$pull": {"sessions": {"sessionId": documents[0]["_id"]}}})
    await bookings.update_one({}, {"$set": {"sessions.0.price": Decimal128("1")}})
    await confiido.store.collection("migration_quarantine").delete_many({})

    found = await verified(confiido, source, applied)

    assert {"missing_session", "price", "totals", "missing_quarantine"} <= {item.kind for item in found.differences}


async def test_a_run_that_did_not_end_goes_on_with_its_own_parameters_only(confiido: Confiido) -> None:
    source = dump(8)
    applied = await migrate(confiido, source)
    applied.run.state = RunState.RUNNING
    await Runs(confiido.store).save(applied.run)

    with pytest.raises(Conflict) as refusal:
        await migrate(confiido, source, currency="USD")

    assert refusal.value.code == "run_differs"
    assert (await migrate(confiido, source)).run.id == applied.run.id


async def test_export_gives_rows_that_migrate_to_the_same_documents(confiido: Confiido) -> None:
    source = dump(8)
    source.data["bookings"] += [flat(createdAt=CREATED + timedelta(minutes=n)) for n in range(205)]
    first = await migrate(confiido, source, run_id="first")
    kept = ("bookings", "booking_archive", "service_sessions", "calendars")
    before = await everything(confiido, *kept)

    exported = [row async for row in rows(confiido.store)]
    await rollback(confiido.store, first.run, now=AS_OF)
    await migrate(confiido, MemorySource({"bookings": exported}, name="export"), run_id="second")

    after = await everything(confiido, *kept)
    assert after["bookings"] == before["bookings"]
    assert {name: after[name] for name in kept[1:3]} == {name: before[name] for name in kept[1:3]}


async def test_migrated_reviews_are_read_and_counted_as_the_expert_s(confiido: Confiido) -> None:
    old = flat()
    review = {"_id": ObjectId(), "bookingId": str(old["_id"]), "rating": "5", "text": "Sharp questions"}
    half = {"_id": ObjectId(), "bookingId": str(old["_id"]), "rating": 4.5}
    unreadable = {"_id": ObjectId(), "bookingId": str(old["_id"]), "rating": "good"}

    await migrate(confiido, MemorySource({"bookings": [old], "reviews": [review, half, unreadable]}))

    expert = (await confiido.store.find("read", "bookings", {}))[0]["sessions"][0]["expertId"]
    await confiido.store.insert("insert", "experts", {"_id": expert, "userId": expert})
    read = await confiido.reviews.of_expert(expert)
    assert (read.average, read.count) == (Decimal("4.75"), 2)
    assert "Sharp questions" in [each.comment for each in read.reviews]


async def test_one_client_leaves_the_nested_documents_of_the_others_alone(confiido: Confiido) -> None:
    other = ObjectId()
    source = MemorySource({"bookings": [nested(inner()), nested(inner(), clientId=other, clientEmail="o@example.org")]})

    applied = await migrate(confiido, source, client=CLIENT)

    written = await confiido.store.find("read", "bookings", {})
    assert [booking["clientId"] for booking in written] == [CLIENT]
    assert applied.counts["clients"] == 1
