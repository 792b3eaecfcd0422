"""What a calendar shows of a span of time (seed 004: calendar integration, and the first of its common queries)."""

from datetime import timedelta

import pytest
from bson import ObjectId

from confiido_booking import Actor, Confiido, Expert, Invalid
from confiido_booking.calendar.showing import CalendarEvent, Span, query
from tests.builders import MONDAY, Clock, a_client, an_admin, an_expert, make_expert
from tests.integration.test_query_plans import scans
from tests.integration.test_workshops import SIX, held, offered, seated


@pytest.fixture
async def grace(confiido: Confiido) -> Expert:
    return await make_expert(confiido)


async def seen(confiido: Confiido, actor: Actor, **asked: object) -> list[CalendarEvent]:
    return await confiido.calendar.events(actor, from_=MONDAY, **asked)  # type: ignore[arg-type]


async def booked(confiido: Confiido, expert: Expert, client: Actor, hours: float = 1) -> ObjectId:
    change = await confiido.bookings.book(
        actor=client,
        expert=expert.id or "",
        session_type="video",
        duration=30,
        starts_at=MONDAY + timedelta(hours=hours),
    )
    return change.session_id


async def test_get_all_sessions_for_a_practitioners_calendar(confiido: Confiido, grace: Expert) -> None:
    """A workshop is one event with many attendees, a course N events, an individual session one with one."""
    ada, bo = a_client(), a_client(email="bo@example.org", name="Bo")
    workshop = await held(confiido, await offered(confiido, grace), SIX)
    course = await offered(confiido, grace, service_type="course", name="Mindfulness")
    await confiido.workshops.create(
        course.id or ObjectId(), actor=an_admin(), times=[SIX + timedelta(days=day) for day in (1, 2, 3)]
    )
    for client in (ada, bo):
        await seated(confiido, workshop, client)
    await confiido.orders.create(course.id or ObjectId(), actor=ada)
    single = await booked(confiido, grace, ada)
    await booked(confiido, await make_expert(confiido), bo)

    events = await seen(confiido, an_expert(grace))

    assert [(e.session_type, e.attendee_count, len(e.attendees)) for e in events] == [
        ("individual", 1, 1),
        ("workshop", 2, 2),
        *[("course_session", 1, 1)] * 3,
    ]
    assert [(a.name, a.email, a.status) for a in events[1].attendees] == [
        ("Ada", "ada@example.org", "pending"),
        ("Bo", "bo@example.org", "pending"),
    ]
    assert events[0].attendees[0].session_id == single
    assert (events[1].service_session_id, events[1].starts_at) == (workshop["_id"], SIX)


async def test_a_client_sees_the_own_events_the_own_entry_and_the_true_count(confiido: Confiido, grace: Expert) -> None:
    ada, bo = a_client(), a_client(email="bo@example.org", name="Bo")
    workshop = await held(confiido, await offered(confiido, grace), SIX)
    for client in (ada, bo):
        await seated(confiido, workshop, client)
    await booked(confiido, grace, bo)

    own, stranger = await seen(confiido, ada), await seen(confiido, a_client())
    asked = [await seen(confiido, ada, client_id=bo.id), await seen(confiido, ada, client_id=ada.id)]
    of_bo = await seen(confiido, an_admin(), client_id=bo.id)
    by_ken = await seen(confiido, an_expert(await make_expert(confiido)), expert_id=grace.id)

    assert [(e.attendee_count, [a.client_id for a in e.attendees]) for e in own] == [(2, [ada.id])]
    assert own[0].attendees[0].name == "Ada"
    assert (stranger, by_ken) == ([], [])
    assert asked == [[], own]
    assert [(e.session_type, e.attendee_count, len(e.attendees)) for e in of_bo] == [
        ("individual", 1, 1),
        ("workshop", 2, 2),
    ]
    assert len(await seen(confiido, an_admin())) == 2


async def test_what_was_cancelled_or_lapsed_is_not_shown(confiido: Confiido, grace: Expert, clock: Clock) -> None:
    ada, admin = a_client(), an_admin()
    yoga = await offered(confiido, grace)
    await booked(confiido, grace, ada)
    gone, kept = await held(confiido, yoga, SIX), await held(confiido, yoga, SIX + timedelta(days=1))
    await seated(confiido, gone, ada)
    await seated(confiido, kept, ada)
    await confiido.workshops.cancel(gone["_id"], actor=admin)
    clock.advance(minutes=31)

    assert [(e.service_session_id, e.attendee_count) for e in await seen(confiido, admin)] == [(kept["_id"], 0)]
    assert await seen(confiido, ada) == []


async def test_an_event_that_reaches_into_the_span_is_in_it(confiido: Confiido, grace: Expert) -> None:
    await held(confiido, await offered(confiido, grace), SIX)
    admin, minute = an_admin(), timedelta(minutes=1)

    async def count(from_: timedelta, to: timedelta) -> int:
        return len(await confiido.calendar.events(admin, from_=SIX + from_, to=SIX + to))

    assert await count(59 * minute, 70 * minute) == 1
    assert await count(60 * minute, 70 * minute) == 0
    assert await count(-minute, minute) == 1
    assert await count(-minute, 0 * minute) == 0


@pytest.mark.parametrize("days", [0, -1, 366.01])
async def test_a_span_that_cannot_be_is_refused(confiido: Confiido, days: float) -> None:
    with pytest.raises(Invalid) as refused:
        await seen(confiido, an_admin(), to=MONDAY + timedelta(days=days))

    assert refused.value.code == "invalid_span"


async def test_a_month_of_a_thousand_events_is_two_commands_and_no_scan(
    confiido: Confiido, grace: Expert, engine_is_embedded: bool
) -> None:
    month = 30 if engine_is_embedded else 1000  # the embedded engine takes seconds to be filled
    clients = [ObjectId() for _ in range(50)]
    entries = [
        {
            "_id": ObjectId(),
            "expertId": grace.id if number % 3 == 0 else ObjectId(),
            "sessionType": "individual",
            "visibility": "private",
            "status": "scheduled",
            "startsAt": MONDAY + timedelta(minutes=40 * number / 3),
            "endsAt": MONDAY + timedelta(minutes=40 * number / 3 + 10),
            "seats": [{"claimId": ObjectId(), "clientId": clients[number % 50], "sessionId": ObjectId()}],
            "listing": {"sessionId": ObjectId(), "clientId": clients[number % 50], "status": "confirmed"},
        }
        for number in range(3 * month)
    ]
    await confiido.store.collection("service_sessions").insert_many(entries)
    actor = await confiido.experts.identify(an_expert(grace))
    before = confiido.store.commands

    events = await confiido.calendar.events(actor, from_=MONDAY)

    assert (len(events), confiido.store.commands - before) == (month, 2)
    if not engine_is_embedded:
        week = Span(from_=MONDAY, to=MONDAY + timedelta(days=1))
        for whose in ({"expertId": grace.id}, {"listing.clientId": clients[0]}, {}):
            assert not await scans(confiido.store, "service_sessions", query(week, whose)), whose
