"""SPEC 11: a client's document stays under 1 MiB whatever the client does, and sheds what is finished first."""

from datetime import timedelta

import bson
import pytest
from bson import ObjectId

from confiido_booking import Actor, Confiido, Expert
from confiido_booking.bookings import guards
from confiido_booking.bookings.views import Change, View
from confiido_booking.database.store import Document, Store
from confiido_booking.errors import Conflict
from tests.builders import Clock, a_client, an_admin, an_expert, make_expert

MIB = 1024 * 1024
LETTER = "🌍"  # four bytes
KEY = "k" * 200


async def book(
    confiido: Confiido,
    client: Actor,
    expert: Expert,
    clock: Clock,
    hour: int,
    notes: str | None = None,
    request_key: str | None = None,
) -> Change:
    assert expert.id is not None
    return await confiido.bookings.book(
        actor=client,
        expert=expert.id,
        session_type="video",
        duration=30,
        starts_at=clock.now + timedelta(hours=hour),
        view=View.HEAD,
        notes=notes,
        request_key=request_key,
    )


async def fill(store: Store, booked: Change, *, left: int, status: str, days: int) -> list[Document]:
    """Likenesses of the session, ``days`` away, until no more than ``left`` bytes would find room."""
    booking = await store.find_one("read booking", "bookings", {"_id": booked.document["_id"]})
    assert booking is not None
    like: Document = {**booking["sessions"][0], "internalNotes": LETTER * 4000, "status": status}
    copies: list[Document] = []
    while guards.has_room(booking, left):
        shift = timedelta(days=days, hours=len(copies))
        moved = {name: like[name] + shift for name in ("startsAt", "endsAt", "createdTime", "updatedTime")}
        ids = {name: ObjectId() for name in ("sessionId", "claimId", "serviceSessionId")}
        copies.append({**like, **moved, **ids, "requestKey": str(ObjectId())})
        booking["sessions"].append(copies[-1])
    await store.update("fill", "bookings", {"_id": booking["_id"]}, {"$push": {"sessions": {"$each": copies}}})
    return copies


async def size(store: Store, booking_id: ObjectId) -> int:
    booking = await store.find_one("read booking", "bookings", {"_id": booking_id})
    assert booking is not None
    return len(bson.encode(booking, codec_options=store.client.codec_options))


async def test_a_client_books_until_there_is_no_room_and_then_writes_and_cancels_all_they_can(
    confiido: Confiido, store: Store, clock: Clock
) -> None:
    expert, client = await make_expert(confiido, payment="later", horizon=3650), a_client()
    first = await book(confiido, client, expert, clock, 1, notes=LETTER * 1000)
    booking_id = first.document["_id"]
    copies = await fill(store, first, left=30_000, status="confirmed", days=100)
    booked = [first.session_id]

    async def book_on() -> None:
        for hour in range(2, 30):
            change = await book(confiido, client, expert, clock, hour, notes=LETTER * 1000, request_key=f"{hour}{KEY}")
            booked.append(change.session_id)

    async def patch_on(session_id: ObjectId) -> None:
        for number in range(10):
            await confiido.bookings.patch(
                booking_id,
                session_id,
                actor=client,
                changes={"notes": LETTER * 1000},
                request_key=f"{number}{KEY}",
                view=View.HEAD,
            )

    with pytest.raises(Conflict) as refusal:
        await book_on()
    everywhere = [*booked, *(copy["sessionId"] for copy in copies)]
    for session_id in everywhere[-3:]:
        with pytest.raises(Conflict, match="no more room"):
            await patch_on(session_id)
        with pytest.raises(Conflict, match="no more room"):
            await confiido.bookings.request_reschedule(
                booking_id, session_id, actor=client, starts_at=clock.now + timedelta(days=300), reason=LETTER * 500
            )
        with pytest.raises(Conflict, match="no more room"):
            await confiido.bookings.cancel(booking_id, session_id, actor=client, reason=LETTER * 500)
    for session_id in everywhere[-3:]:
        await confiido.bookings.cancel(booking_id, session_id, actor=client, request_key=KEY, view=View.HEAD)

    assert refusal.value.code == "too_many_sessions"
    assert len(booked) >= 3
    assert 700_000 < await size(store, booking_id) < MIB


async def test_a_full_document_sheds_what_is_finished_and_takes_the_booking(
    confiido: Confiido, store: Store, clock: Clock
) -> None:
    expert, client = await make_expert(confiido, payment="later"), a_client()
    first = await book(confiido, client, expert, clock, 1)
    finished = await fill(store, first, left=2_000, status="completed", days=-100)

    change = await book(confiido, client, expert, clock, 3, notes=LETTER * 1000)

    assert change.document["archived"]["sessions"] == len(finished)
    assert change.document["totalSessions"] == len(finished) + 2
    assert await store.count("count", "booking_archive", {}) == len(finished)
    assert await size(store, change.document["_id"]) < 60_000


async def test_a_full_document_sheds_what_is_finished_but_not_the_session_a_command_is_about(
    confiido: Confiido, store: Store, clock: Clock
) -> None:
    expert, client = await make_expert(confiido, payment="later"), a_client()
    first = await book(confiido, client, expert, clock, 1)
    booking_id = first.document["_id"]
    finished = await fill(store, first, left=500, status="completed", days=-100)
    patched, moved = finished[7]["sessionId"], first.session_id

    notes = await confiido.bookings.patch(booking_id, patched, actor=client, changes={"notes": LETTER * 1000})

    assert notes.raw_session["notes"] == LETTER * 1000
    assert notes.document["archived"]["sessions"] == len(finished) - 1
    await fill(store, first, left=500, status="completed", days=-200)
    later = clock.now + timedelta(hours=9)
    await confiido.bookings.confirm(booking_id, moved, actor=an_expert(expert))
    change = await confiido.bookings.reschedule(
        booking_id, moved, actor=an_expert(expert), starts_at=later, reason=LETTER * 500
    )
    assert change.raw_session["startsAt"] == later
    assert await size(store, booking_id) < 60_000


async def test_what_was_booked_within_a_day_keeps_its_key_where_a_repeat_looks(
    confiido: Confiido, store: Store, clock: Clock
) -> None:
    expert, client = await make_expert(confiido, payment="later"), a_client()
    first = await book(confiido, client, expert, clock, 1)
    await fill(store, first, left=2_000, status="cancelled", days=0)

    with pytest.raises(Conflict) as refusal:
        await book(confiido, client, expert, clock, 3, notes=LETTER * 1000)

    assert refusal.value.code == "too_many_sessions"


async def test_a_session_weighs_less_than_the_guard_takes_it_for(
    confiido: Confiido, store: Store, clock: Clock
) -> None:
    """Here 700 bytes without what is of any length, when it has been through all it can."""
    expert, client = await make_expert(confiido, payment="later"), a_client()
    change = await book(confiido, client, expert, clock, 1)
    booking_id, owner = change.document["_id"], an_expert(expert)
    await confiido.bookings.complete_payment(booking_id, change.session_id, actor=an_admin())
    await confiido.bookings.complete(booking_id, change.session_id, actor=owner)
    await confiido.bookings.undo(booking_id, change.session_id, actor=an_admin(), reason="It did not take place")
    done = await confiido.bookings.cancel(booking_id, change.session_id, actor=owner, reason="The expert is ill")

    session = done.raw_session
    fixed = {name: value for name, value in session.items() if name not in guards._OF_ANY_LENGTH}

    assert len(bson.encode(fixed)) < guards._BYTES_PER_SESSION


async def test_the_filter_and_the_rule_agree_on_what_has_room(confiido: Confiido, store: Store, clock: Clock) -> None:
    expert, client = await make_expert(confiido, payment="later"), a_client()
    first = await book(confiido, client, expert, clock, 1, notes=LETTER * 100)
    await fill(store, first, left=500_000, status="completed", days=-100)
    booking = await store.find_one("read booking", "bookings", {"clientId": client.id})
    assert booking is not None
    least, most = 0, guards.MAX_BYTES
    while most - least > 1:
        middle = (least + most) // 2
        least, most = (middle, most) if guards.has_room(booking, middle) else (least, middle)

    found = [await store.count("count", "bookings", guards.room_for(wanted)) for wanted in (least, most)]

    assert found == [1, 0]
