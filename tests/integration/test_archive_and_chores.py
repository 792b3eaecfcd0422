"""What goes into the archive and what waits, and that the worker does all that is due (SPEC 11)."""

from datetime import datetime, timedelta

import pytest
from bson import ObjectId

from confiido_booking import Actor, Confiido, Expert
from confiido_booking import chores as chores_module
from confiido_booking.bookings.archive import Archive
from confiido_booking.bookings.views import Change
from confiido_booking.database.store import Document, Duplicate, Store
from tests.builders import MONDAY, Clock, a_client, an_admin, make_expert

NOON = MONDAY + timedelta(hours=3)
NO_AGE = timedelta(0)


async def book(confiido: Confiido, client: Actor, expert: Expert, starts_at: datetime = NOON) -> Change:
    return await confiido.bookings.book(
        actor=client, expert=expert.id or "", session_type="video", duration=30, starts_at=starts_at
    )


async def completed(
    confiido: Confiido, client: Actor, expert: Expert, starts_at: datetime = NOON, *, paid: bool = True
) -> Change:
    booked, admin = await book(confiido, client, expert, starts_at), an_admin()
    ids = booked.booking_id, booked.session_id
    if paid:
        await confiido.bookings.complete_payment(*ids, actor=admin)
    else:
        await confiido.bookings.confirm(*ids, actor=admin)
    return await confiido.bookings.complete(*ids, actor=admin)


async def archived(store: Store) -> list[Document]:
    return await store.collection("booking_archive").find().to_list()


async def remember_old_id(store: Store, change: Change) -> ObjectId:
    """As a migrated session has it: the ``_id`` it had before it had a ``sessionId``."""
    old = ObjectId()
    await store.collection("bookings").update_one({"_id": change.booking_id}, {"$set": {"sessions.0._id": old}})
    return old


async def test_an_older_copy_that_comes_while_the_archive_looks_does_not_stay(
    confiido: Confiido, store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = a_client()
    done = await completed(confiido, ada, await make_expert(confiido))
    assert ada.id is not None
    clock.now = NOON + timedelta(days=2)
    older = {**done.raw_session, "version": done.session.version - 1, "notes": "Older"}
    update_each = Store.update_each
    tries: list[str] = []

    async def meets_an_older_copy(self: Store, step: str, collection: str, writes: object) -> None:
        if not tries:  # the upsert had looked before, so its insert fails
            await store.collection("booking_archive").insert_one(
                {"_id": done.session_id, "clientId": ada.id, "version": older["version"], "session": older}
            )
            tries.append(step)
            raise Duplicate("E11000")
        tries.append(step)
        await update_each(self, step, collection, writes)  # type: ignore[arg-type]

    monkeypatch.setattr(Store, "update_each", meets_an_older_copy)
    moved = await Archive(store).client(ada.id, now=clock(), older_than=NO_AGE)

    (copy,) = await archived(store)
    assert (moved, len(tries)) == (1, 2)
    assert copy["version"] == copy["session"]["version"] == done.session.version


async def test_a_newer_copy_in_the_archive_stays(confiido: Confiido, store: Store, clock: Clock) -> None:
    ada = a_client()
    done = await completed(confiido, ada, await make_expert(confiido))
    assert ada.id is not None
    newer = {**done.raw_session, "version": done.session.version + 1}
    await store.collection("booking_archive").insert_one(
        {"_id": done.session_id, "clientId": ada.id, "version": newer["version"], "session": newer}
    )
    clock.now = NOON + timedelta(days=2)

    await Archive(store).client(ada.id, now=clock(), older_than=NO_AGE)

    (copy,) = await archived(store)
    assert copy["version"] == copy["session"]["version"] == newer["version"]


async def test_an_unpaid_completed_session_waits_a_year_for_its_money(
    confiido: Confiido, store: Store, clock: Clock
) -> None:
    await completed(confiido, a_client(), await make_expert(confiido), paid=False)

    went = []
    for days in (31, 364, 366):
        clock.now = NOON + timedelta(days=days)
        went.append(await confiido.chores.archive_history())

    assert went == [0, 0, 1]


async def test_a_cancelled_session_stays_while_its_refund_is_due(
    confiido: Confiido, store: Store, clock: Clock
) -> None:
    booked, admin = await book(confiido, a_client(), await make_expert(confiido)), an_admin()
    ids = booked.booking_id, booked.session_id
    await confiido.bookings.complete_payment(*ids, actor=admin)
    await confiido.bookings.cancel(*ids, actor=admin)
    clock.now = NOON + timedelta(days=100)

    went = await confiido.chores.archive_history()

    assert (went, await archived(store)) == (0, [])


async def test_a_migrated_session_is_found_by_its_old_id_alone_also_in_the_archive(
    confiido: Confiido, store: Store, clock: Clock
) -> None:
    ada = a_client()
    done = await completed(confiido, ada, await make_expert(confiido))
    old = await remember_old_id(store, done)

    current = await confiido.bookings.find_session(old, actor=ada)
    clock.now = NOON + timedelta(days=31)
    went = await confiido.chores.archive_history()
    kept = await confiido.bookings.find_session(old, actor=ada)

    assert went == 1
    assert [current.session_id, kept.session_id] == [done.session_id] * 2


async def test_the_worker_does_all_that_is_due_beyond_one_batch(
    confiido: Confiido, store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chores_module, "BATCH", 2)
    settings = confiido.settings.model_copy(update={"complete_after_hours": 1})
    worker = Confiido.over(store, settings, clock)
    grace = await make_expert(confiido)
    for hours in range(5):
        await book(confiido, a_client(), grace, NOON + timedelta(hours=hours))
        standing = await book(confiido, a_client(), grace, NOON + timedelta(hours=hours, minutes=30))
        await confiido.bookings.confirm(standing.booking_id, standing.session_id, actor=an_admin())
    clock.now = NOON + timedelta(days=1)

    done = await worker.chores.once()

    assert (done["expired"], done["completed"]) == (5, 5)


async def test_the_archive_reaches_bookings_behind_those_that_never_qualify(
    confiido: Confiido, store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("confiido_booking.database.store.WALK_BATCH", 2)
    monkeypatch.setattr(chores_module, "BATCH", 2)
    grace, last = await make_expert(confiido), a_client()
    for half_hours in range(3):
        starts_at = NOON + timedelta(minutes=30 * half_hours)
        await completed(confiido, a_client(), grace, starts_at, paid=False)
    await completed(confiido, last, grace, NOON + timedelta(hours=5))
    clock.now = NOON + timedelta(days=31)

    went = await confiido.chores.archive_history()

    assert went == 1
    assert [copy["clientId"] for copy in await archived(store)] == [last.id]


async def test_the_worker_gets_past_entries_it_can_do_nothing_about(
    confiido: Confiido, store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chores_module, "BATCH", 2)
    settings = confiido.settings.model_copy(update={"complete_after_hours": 1})
    worker = Confiido.over(store, settings, clock)
    grace = await make_expert(confiido)
    for hours in range(4):
        held = await book(confiido, a_client(), grace, NOON + timedelta(hours=hours))
        standing = await book(confiido, a_client(), grace, NOON + timedelta(hours=hours, minutes=30))
        await confiido.bookings.confirm(standing.booking_id, standing.session_id, actor=an_admin())
        if hours < 2:  # their bookings are gone, as after a half restored backup
            gone = [held.booking_id, standing.booking_id]
            await store.collection("bookings").delete_many({"_id": {"$in": gone}})
    clock.now = NOON + timedelta(days=1)

    done = await worker.chores.once()

    assert (done["expired"], done["completed"]) == (2, 2)
