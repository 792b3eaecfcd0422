"""Public service sessions and their seats, one thing after another (SPEC 9; seed 4.2, 4.6, 4.7, 4.13, 4.19)."""

from datetime import UTC, datetime, timedelta

import pytest
from bson import ObjectId

from confiido_booking import Actor, ClientBusy, ClientRef, Confiido, Conflict, Expert, Invalid, NotAllowed, NotFound
from confiido_booking.bookings.views import Change
from confiido_booking.catalog.models import Service
from confiido_booking.catalog.service import ServiceInput
from confiido_booking.database.store import Document, Store
from confiido_booking.workshops.reading import EventFilter, EventView
from tests.builders import MONDAY, Clock, a_client, an_admin, an_expert, make_expert
from tests.laws.check import check_laws

SIX = MONDAY + timedelta(days=1, hours=9)


@pytest.fixture
async def grace(confiido: Confiido) -> Expert:
    return await make_expert(confiido, timezone="Europe/Berlin", buffer_before=10, buffer_after=5)


async def offered(confiido: Confiido, expert: Expert, **fields: object) -> Service:
    known = {"service_type": "workshop", "name": "Yoga", "price_cents": 50000, "duration": 60, "max_participants": 3}
    service = ServiceInput.model_validate({**known, **fields})
    return await confiido.catalog.create(actor=an_expert(expert), service=service)


@pytest.fixture
async def yoga(confiido: Confiido, grace: Expert) -> Service:
    return await offered(confiido, grace)


async def held(confiido: Confiido, service: Service, starts_at: datetime = SIX, **fields: object) -> Document:
    """One event of the service, raw."""
    made = await confiido.workshops.create(service.id or ObjectId(), actor=an_admin(), starts_at=starts_at, **fields)  # type: ignore[arg-type]
    return made[0].document


async def event_of(confiido: Confiido, event: Document) -> Document:
    found = await confiido.store.find_one("read", "service_sessions", {"_id": event["_id"]})
    assert found is not None
    return found


async def seated(confiido: Confiido, event: Document, client: Actor | None = None) -> Change:
    return await confiido.workshops.take_seat(event["_id"], actor=client or a_client())


async def code(refused: pytest.ExceptionInfo[Conflict]) -> str:
    return refused.value.code


async def test_a_workshop_takes_its_experts_minutes_with_the_buffers(
    confiido: Confiido, grace: Expert, yoga: Service, store: Store
) -> None:
    event = await held(confiido, yoga)

    calendar = await store.find_one("read", "calendars", {"_id": grace.id})
    assert calendar is not None
    (claim,) = calendar["busy"]
    assert (claim["owner"], claim["serviceSessionId"], claim["claimId"]) == ("event", event["_id"], event["claimId"])
    assert (claim["from"], claim["until"]) == (SIX - timedelta(minutes=10), SIX + timedelta(minutes=65))
    with pytest.raises(Conflict) as refused:
        await confiido.bookings.book(
            actor=a_client(), expert=grace.id or "", session_type="video", duration=30, starts_at=SIX
        )
    assert refused.value.code == "slot_taken"
    await check_laws(confiido)


async def test_the_sessions_of_a_course_stay_at_their_hour_and_are_numbered(confiido: Confiido, grace: Expert) -> None:
    course = await offered(confiido, grace, service_type="course", name="Mindfulness", max_participants=20)
    first = datetime(2026, 3, 16, 17, tzinfo=UTC)  # 18:00 in Berlin; the clock goes forward on the 29th

    made = await confiido.workshops.create(
        course.id or ObjectId(), actor=an_expert(grace), starts_at=first, rrule="FREQ=WEEKLY;COUNT=4"
    )
    more = await confiido.workshops.create(
        course.id or ObjectId(), actor=an_expert(grace), times=[first + timedelta(days=60)]
    )

    events = [view.document for view in (*made, *more)]
    assert [event["startsAt"].hour for event in events[:4]] == [17, 17, 16, 16]
    assert [event["sequenceNumber"] for event in events] == [1, 2, 3, 4, 5]
    assert {(event["sessionType"], event["timezone"], event["maxParticipants"]) for event in events} == {
        ("course_session", "Europe/Berlin", 20)
    }
    await check_laws(confiido)


async def test_of_a_list_of_times_all_are_made_or_none(confiido: Confiido, yoga: Service, store: Store) -> None:
    await held(confiido, yoga, SIX + timedelta(days=1))
    days = [SIX + timedelta(days=day) for day in range(3)]

    with pytest.raises(Conflict) as refused:
        await confiido.workshops.create(yoga.id or ObjectId(), actor=an_admin(), times=days)

    assert refused.value.code == "slot_taken"
    assert refused.value.details == {"conflicts": ["2026-03-04T18:00:00.000Z"]}
    assert await store.count("count", "service_sessions", {}) == 1
    await check_laws(confiido)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, "times_required"),
        ({"times": []}, "times_required"),
        ({"times": [SIX, SIX + timedelta(minutes=74)]}, "times_overlap"),
        ({"times": [SIX], "starts_at": SIX}, "times_required"),
        ({"starts_at": MONDAY - timedelta(minutes=1)}, "starts_in_past"),
        ({"starts_at": SIX, "timezone": "Europe/Atlantis"}, "invalid_time"),
        ({"starts_at": "2026-03-03T18:00:00"}, "invalid_time"),
        ({"starts_at": SIX, "max_participants": 0}, "invalid_input"),
        ({"starts_at": SIX, "max_participants": 2001}, "invalid_input"),
        ({"starts_at": SIX, "rrule": "FREQ=WEEKLY"}, "invalid_rrule"),
        ({"rrule": "FREQ=WEEKLY;COUNT=2"}, "times_required"),
    ],
)
async def test_times_that_cannot_be_are_refused(
    confiido: Confiido, grace: Expert, yoga: Service, fields: dict[str, object], expected: str
) -> None:
    with pytest.raises(Invalid) as refused:
        await confiido.workshops.create(yoga.id or ObjectId(), actor=an_expert(grace), **fields)  # type: ignore[arg-type]

    assert refused.value.code == expected
    assert await confiido.store.count("count", "service_sessions", {}) == 0


async def test_only_workshops_and_courses_that_are_on_sale_have_events(confiido: Confiido, grace: Expert) -> None:
    advice = await offered(confiido, grace, service_type="individual", max_participants=1)
    gone = await offered(confiido, grace, is_active=False)

    with pytest.raises(Invalid) as no_workshop:
        await held(confiido, advice)
    with pytest.raises(Conflict) as off_sale:
        await held(confiido, gone)

    assert (no_workshop.value.code, off_sale.value.code) == ("no_service_sessions", "service_inactive")


async def test_others_neither_make_nor_change_events(confiido: Confiido, yoga: Service) -> None:
    event = await held(confiido, yoga)
    ken = an_expert(await make_expert(confiido))

    for actor in (a_client(), ken):
        with pytest.raises(NotAllowed):
            await confiido.workshops.create(yoga.id or ObjectId(), actor=actor, starts_at=SIX + timedelta(days=3))
        with pytest.raises(NotAllowed):
            await confiido.workshops.edit(event["_id"], actor=actor, title="Mine")
        for command in (confiido.workshops.cancel, confiido.workshops.start, confiido.workshops.complete):
            with pytest.raises(NotAllowed):
                await command(event["_id"], actor=actor)
    with pytest.raises(NotFound):
        await confiido.workshops.cancel(ObjectId(), actor=an_admin())

    assert (await event_of(confiido, event)) == (await event_of(confiido, event)) | {"status": "scheduled", "rev": 1}


async def test_one_key_makes_one_set_of_events(confiido: Confiido, yoga: Service) -> None:
    times = [SIX, SIX + timedelta(days=1)]

    made = [
        await confiido.workshops.create(yoga.id or ObjectId(), actor=an_admin(), times=times, request_key="one")
        for _ in range(2)
    ]

    assert [view.document["_id"] for view in made[0]] == [view.document["_id"] for view in made[1]]
    assert await confiido.store.count("count", "service_sessions", {}) == 2
    await check_laws(confiido)


async def test_a_seat_is_a_session_of_its_client(confiido: Confiido, grace: Expert, yoga: Service) -> None:
    event, ada = await held(confiido, yoga), a_client()

    change = await seated(confiido, event, ada)

    session, after = change.session, await event_of(confiido, event)
    assert (session.seat, session.service_session_id, session.title) == (True, event["_id"], "Yoga")
    assert (session.status, session.price, session.starts_at) == ("pending", yoga.price, SIX)
    assert (session.service_id, session.service_version, session.service_type) == (yoga.id, 1, "workshop")
    assert session.timeout_at == MONDAY + timedelta(minutes=30)
    (seat,) = after["seats"]
    assert (seat["clientId"], seat["sessionId"], seat["claimId"]) == (ada.id, session.session_id, session.claim_id)
    assert (seat["heldUntil"], after["currentParticipants"]) == (session.timeout_at, 1)
    listed = await confiido.bookings.list(actor=an_expert(grace))
    assert [found["sessionId"] for _, found in listed.sessions] == [session.session_id]
    await check_laws(confiido)


async def test_staff_takes_a_confirmed_seat_for_somebody(confiido: Confiido, yoga: Service) -> None:
    event, client = await held(confiido, yoga), ClientRef(client_id=ObjectId(), client_email="bo@example.org")

    change = await confiido.workshops.take_seat(event["_id"], actor=an_admin(), client=client)

    assert (change.session.status, change.document["clientEmail"]) == ("confirmed", "bo@example.org")
    assert "heldUntil" not in (await event_of(confiido, event))["seats"][0]
    await check_laws(confiido)


async def test_whoever_cannot_have_a_seat_is_told_why(
    confiido: Confiido, grace: Expert, yoga: Service, clock: Clock
) -> None:
    event, ada = await held(confiido, yoga), a_client()
    course = await offered(confiido, grace, service_type="course")
    lesson = await held(confiido, course, SIX + timedelta(days=1))
    ken = await make_expert(confiido)
    await seated(confiido, event, ada)
    codes = []

    for client, wanted in (
        (ada, event),
        (Actor.client(grace.user_id), event),
        (ada, lesson),
        (ada, {"_id": ObjectId()}),
    ):
        with pytest.raises((Conflict, Invalid, NotFound)) as refused:
            await seated(confiido, wanted, client)
        codes.append(refused.value.code)
    busy = a_client()
    await confiido.bookings.book(actor=busy, expert=ken.id or "", session_type="video", duration=30, starts_at=SIX)
    with pytest.raises(ClientBusy):
        await seated(confiido, event, busy)
    for _ in range(2):
        await seated(confiido, event)
    with pytest.raises(Conflict) as full:
        await seated(confiido, event)
    clock.now = SIX
    with pytest.raises(Conflict) as started:
        await seated(confiido, event)

    assert codes == ["already_enrolled", "self_booking", "sold_as_course", "service_session_not_found"]
    assert (full.value.code, started.value.code) == ("event_full", "already_started")
    assert (await event_of(confiido, event))["currentParticipants"] == 3


async def test_a_cancelled_seat_is_free_for_another(confiido: Confiido, yoga: Service) -> None:
    event, ada = await held(confiido, yoga, max_participants=1), a_client()
    change = await seated(confiido, event, ada)

    await confiido.bookings.cancel(change.booking_id, change.session_id, actor=ada)
    await seated(confiido, event)
    with pytest.raises(Conflict):
        await seated(confiido, event, ada)

    assert (await event_of(confiido, event))["currentParticipants"] == 1
    await check_laws(confiido)


async def test_a_lapsed_seat_is_free_for_another_and_for_the_same(
    confiido: Confiido, yoga: Service, clock: Clock
) -> None:
    event, ada = await held(confiido, yoga, max_participants=2), a_client()
    first, second = await seated(confiido, event, ada), await seated(confiido, event)
    clock.advance(minutes=31)

    seen = await confiido.workshops.get(event["_id"], actor=a_client())
    again = await seated(confiido, event, ada)
    await seated(confiido, event)

    assert seen.attendee_count == 0
    assert again.session_id != first.session_id
    lapsed = await confiido.bookings.find_session(second.session_id, actor=an_admin())
    assert (lapsed.session.status, lapsed.session.cancelled_by) == ("cancelled", "system")
    assert (await event_of(confiido, event))["currentParticipants"] == 2
    await check_laws(confiido)


async def test_a_confirmed_seat_is_held_no_more(confiido: Confiido, yoga: Service, clock: Clock) -> None:
    event = await held(confiido, yoga, max_participants=1)
    change = await seated(confiido, event)

    await confiido.bookings.confirm(change.booking_id, change.session_id, actor=an_admin())

    clock.advance(minutes=31)
    assert "heldUntil" not in (await event_of(confiido, event))["seats"][0]
    with pytest.raises(Conflict) as refused:
        await seated(confiido, event)
    assert refused.value.code == "event_full"
    await check_laws(confiido)


async def test_a_seat_that_was_paid_a_moment_before_it_lapsed_is_never_sold_again(
    confiido: Confiido, yoga: Service, clock: Clock, store: Store
) -> None:
    """The process that confirmed died before it could say so in the event."""
    event = await held(confiido, yoga, max_participants=1)
    change = await seated(confiido, event)
    await confiido.bookings.confirm(change.booking_id, change.session_id, actor=an_admin())
    until = {"seats.$.heldUntil": MONDAY + timedelta(minutes=30)}
    await store.update("die", "service_sessions", {"seats.sessionId": change.session_id}, {"$set": until})
    clock.advance(minutes=31)

    with pytest.raises(Conflict) as refused:
        await seated(confiido, event)

    assert refused.value.code == "event_full"
    await check_laws(confiido)


async def test_capacity_is_raised_and_lowered_to_what_is_taken(confiido: Confiido, yoga: Service) -> None:
    event, admin = await held(confiido, yoga), an_admin()
    for _ in range(2):
        await seated(confiido, event)

    with pytest.raises(Conflict) as refused:
        await confiido.workshops.edit(event["_id"], actor=admin, max_participants=1)
    lowered = await confiido.workshops.edit(event["_id"], actor=admin, max_participants=2, title="Yin yoga")
    raised = await confiido.workshops.edit(event["_id"], actor=admin, max_participants=5)

    assert (refused.value.code, refused.value.details) == ("capacity_taken", {"currentParticipants": 2})
    assert [view.document["maxParticipants"] for view in (lowered, raised)] == [2, 5]
    assert raised.document["title"] == "Yin yoga"
    await check_laws(confiido)


async def test_all_seats_move_with_their_event(confiido: Confiido, grace: Expert, yoga: Service) -> None:
    event, ada, bo = await held(confiido, yoga), a_client(), a_client(email="bo@example.org")
    adas, bos = await seated(confiido, event, ada), await seated(confiido, event, bo)
    ken = await make_expert(confiido)
    later = SIX + timedelta(hours=2)
    await confiido.bookings.book(actor=bo, expert=ken.id or "", session_type="video", duration=30, starts_at=later)

    moved = await confiido.workshops.edit(event["_id"], actor=an_expert(grace), starts_at=later, reason="Rain")

    sessions = [(await confiido.bookings.find_session(s.session_id, actor=an_admin())).session for s in (adas, bos)]
    assert moved.document["startsAt"] == later
    assert [(s.starts_at, s.start_time, bool(s.conflict)) for s in sessions] == [
        (later, "21:00", False),
        (later, "21:00", True),
    ]
    assert [a.conflict for a in moved.attendees] == [False, True]
    assert sessions[0].reschedule_history[0].previous_starts_at == SIX
    await check_laws(confiido)


async def test_a_moved_client_may_cancel_with_a_full_refund_until_the_new_start(
    confiido: Confiido, clock: Clock
) -> None:
    policy = {"tiers": [{"hoursBefore": 48, "refundPercent": 50}], "clientUntilHoursBefore": 48}
    expert = await make_expert(confiido, cancellation_policy=policy)
    event, ada = await held(confiido, await offered(confiido, expert)), a_client()
    change = await seated(confiido, event, ada)
    await confiido.bookings.complete_payment(change.booking_id, change.session_id, actor=an_admin())
    await confiido.workshops.edit(event["_id"], actor=an_expert(expert), starts_at=SIX + timedelta(hours=2))
    clock.now = SIX + timedelta(hours=1)

    after = await confiido.bookings.cancel(change.booking_id, change.session_id, actor=ada)

    assert after.session.refund_due == after.session.paid_amount == yoga_price(after)
    await check_laws(confiido)


def yoga_price(change: Change) -> object:
    return change.session.price


async def test_a_move_onto_taken_minutes_is_refused_and_changes_nothing(
    confiido: Confiido, grace: Expert, yoga: Service
) -> None:
    event, other = await held(confiido, yoga), await held(confiido, yoga, SIX + timedelta(hours=2))
    before = await event_of(confiido, event)

    with pytest.raises(Conflict) as refused:
        await confiido.workshops.edit(event["_id"], actor=an_expert(grace), starts_at=other["startsAt"])
    onto_itself = await confiido.workshops.edit(
        event["_id"], actor=an_expert(grace), starts_at=SIX + timedelta(minutes=15)
    )

    assert refused.value.code == "slot_taken"
    assert onto_itself.document["rev"] == before["rev"] + 1
    await check_laws(confiido)


async def test_a_seat_does_not_move_by_itself(confiido: Confiido, grace: Expert, yoga: Service) -> None:
    event, ada = await held(confiido, yoga), a_client()
    change = await seated(confiido, event, ada)
    ids = change.booking_id, change.session_id
    await confiido.bookings.confirm(*ids, actor=an_admin())

    with pytest.raises(Conflict) as moved:
        await confiido.bookings.reschedule(*ids, actor=an_expert(grace), starts_at=SIX + timedelta(days=1))
    with pytest.raises(Conflict) as asked:
        await confiido.bookings.request_reschedule(*ids, actor=ada, starts_at=SIX + timedelta(days=1))

    assert {moved.value.code, asked.value.code} == {"moves_with_event"}
    await check_laws(confiido)


async def test_cancelling_an_event_cancels_its_sessions_and_frees_the_minutes(
    confiido: Confiido, grace: Expert, yoga: Service, store: Store
) -> None:
    event, ada = await held(confiido, yoga), a_client()
    paid, unpaid = await seated(confiido, event, ada), await seated(confiido, event)
    await confiido.bookings.complete_payment(paid.booking_id, paid.session_id, actor=an_admin())

    gone = await confiido.workshops.cancel(event["_id"], actor=an_expert(grace), reason="Ill")

    sessions = [(await confiido.bookings.find_session(s.session_id, actor=an_admin())).session for s in (paid, unpaid)]
    assert (gone.document["status"], gone.document["seats"], gone.attendee_count) == ("canceled", [], 0)
    assert [(s.status, s.cancelled_by, s.cancellation_reason) for s in sessions] == [("cancelled", "expert", "Ill")] * 2
    assert sessions[0].refund_due == sessions[0].paid_amount == sessions[0].price
    calendar = await store.find_one("read", "calendars", {"_id": grace.id})
    assert calendar is not None
    assert calendar["busy"] == []
    await held(confiido, yoga)
    await check_laws(confiido)


async def test_an_event_goes_along_its_life(confiido: Confiido, grace: Expert, yoga: Service, clock: Clock) -> None:
    event, own = await held(confiido, yoga), an_expert(grace)
    await seated(confiido, event)
    codes: list[str] = []

    with pytest.raises(Conflict) as early:
        await confiido.workshops.complete(event["_id"], actor=own)
    clock.now = SIX + timedelta(minutes=1)
    started = await confiido.workshops.start(event["_id"], actor=own)
    with pytest.raises(Conflict) as entered:
        await confiido.workshops.take_seat(event["_id"], actor=an_admin(), client=ClientRef(client_id=ObjectId()))
    with pytest.raises(Conflict) as moved:
        await confiido.workshops.edit(event["_id"], actor=own, starts_at=SIX + timedelta(days=1))
    clock.now = SIX + timedelta(hours=1)
    ended = await confiido.workshops.complete(event["_id"], actor=own)
    for again in (confiido.workshops.start, confiido.workshops.complete, confiido.workshops.cancel):
        with pytest.raises(Conflict) as refused:
            await again(event["_id"], actor=own)
        codes.append(f"{refused.value.code} {refused.value.details['status']}")

    assert started.document["actualStartsAt"] == SIX + timedelta(minutes=1)
    assert (ended.document["status"], ended.document["actualEndsAt"]) == ("completed", SIX + timedelta(hours=1))
    assert [e.value.details["status"] for e in (early, entered, moved)] == ["scheduled", "in_progress", "in_progress"]
    assert codes == ["transition_refused completed"] * 3


async def test_a_repeated_command_on_an_event_is_done_once(confiido: Confiido, grace: Expert, yoga: Service) -> None:
    event, own = await held(confiido, yoga), an_expert(grace)
    await seated(confiido, event)

    moves = [
        await confiido.workshops.edit(event["_id"], actor=own, starts_at=SIX + timedelta(hours=n), request_key="m")
        for n in (3, 4)
    ]
    ends = [await confiido.workshops.cancel(event["_id"], actor=own, request_key="c") for _ in range(2)]

    assert [view.document["startsAt"] for view in moves] == [SIX + timedelta(hours=3)] * 2
    assert [view.document["rev"] for view in ends] == [3, 3]
    await check_laws(confiido)


async def test_everyone_is_told_of_a_move_and_a_cancellation_by_events(
    confiido: Confiido, grace: Expert, yoga: Service
) -> None:
    event, ada = await held(confiido, yoga), a_client()
    await seated(confiido, event, ada)
    await confiido.workshops.edit(event["_id"], actor=an_expert(grace), starts_at=SIX + timedelta(hours=2))
    await confiido.workshops.cancel(event["_id"], actor=an_expert(grace))

    await confiido.events.collect()

    told = (await confiido.events.page(actor=an_admin())).events
    of_event = [each["type"] for each in told if each["type"].startswith("service_session.")]
    of_client = [each["type"] for each in told if each.get("clientId") == ada.id]
    assert of_event == ["service_session.scheduled", "service_session.moved", "service_session.cancelled"]
    assert of_client == ["session.booked", "session.rescheduled", "session.cancelled"]
    assert all(each["data"]["serviceSessionId"] == event["_id"] for each in told if "clientId" not in each)


async def test_upcoming_events_are_ascending_and_past_ones_descending(
    confiido: Confiido, grace: Expert, yoga: Service, clock: Clock
) -> None:
    """Seed 4.19's last two queries."""
    events = [await held(confiido, yoga, SIX + timedelta(days=day)) for day in (3, 1, 2, 4)]
    own = an_expert(grace)
    clock.now = SIX + timedelta(days=2, hours=2)
    for event in (events[1], events[2]):
        await confiido.workshops.start(event["_id"], actor=own)
        await confiido.workshops.complete(event["_id"], actor=own)

    async def days(**filters: object) -> list[int]:
        wanted = EventFilter(expert_id=grace.id, **filters)  # type: ignore[arg-type]
        page = await confiido.workshops.list(actor=own, filters=wanted)
        return [(view.document["startsAt"] - SIX).days for view in page.events]

    assert await days(when="upcoming") == [3, 4]
    assert await days(when="past") == [2, 1]
    assert await days(from_=SIX + timedelta(days=2), to=SIX + timedelta(days=4)) == [2, 3]
    assert await days(service_id=ObjectId()) == []


async def test_a_client_sees_the_own_seat_and_the_true_count(confiido: Confiido, grace: Expert, yoga: Service) -> None:
    event, ada = await held(confiido, yoga), a_client()
    change = await seated(confiido, event, ada)
    await seated(confiido, event, a_client(email="bo@example.org", name="Bo"))
    await confiido.bookings.book(
        actor=ada, expert=grace.id or "", session_type="video", duration=30, starts_at=SIX + timedelta(days=1)
    )

    async def seen(actor: Actor) -> EventView:
        return await confiido.workshops.get(event["_id"], actor=actor)

    own, others, stranger = await seen(ada), await seen(an_expert(grace)), await seen(a_client())
    assert [(view.attendee_count, len(view.attendees)) for view in (own, others, stranger)] == [(2, 1), (2, 2), (2, 0)]
    assert own.attendees[0].session_id == change.session_id
    assert {(a.name, a.email, a.status) for a in others.attendees} == {
        ("Ada", "ada@example.org", "pending"),
        ("Bo", "bo@example.org", "pending"),
    }
    counts = [
        (await confiido.workshops.list(actor=actor)).total
        for actor in (ada, a_client(), an_expert(grace), an_expert(await make_expert(confiido)), an_admin())
    ]
    assert counts == [2, 1, 2, 1, 2]


async def test_an_undone_seat_needs_its_event(confiido: Confiido, grace: Expert, yoga: Service, clock: Clock) -> None:
    event = await held(confiido, yoga)
    kept, lost = await seated(confiido, event), await seated(confiido, event)
    for change in (kept, lost):
        await confiido.bookings.confirm(change.booking_id, change.session_id, actor=an_admin())
        await confiido.bookings.complete(change.booking_id, change.session_id, actor=an_admin())

    back = await confiido.bookings.undo(kept.booking_id, kept.session_id, actor=an_admin(), reason="A mistake")
    await check_laws(confiido)
    await confiido.workshops.cancel(event["_id"], actor=an_expert(grace))
    with pytest.raises(Conflict) as refused:
        await confiido.bookings.undo(lost.booking_id, lost.session_id, actor=an_admin(), reason="A mistake")

    assert back.session.status == "confirmed"
    assert refused.value.code == "event_canceled"
    await check_laws(confiido)
