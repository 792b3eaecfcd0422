"""Who came, from signed payloads of LiveKit (seed 004: how they work together, determining attendance)."""

from collections.abc import Sequence
from datetime import timedelta
from itertools import permutations

import pytest
from bson import ObjectId
from livekit.api import TokenVerifier

from confiido_booking import Actor, Confiido, Conflict, Expert, NotAllowed, NotFound, Settings, Unavailable
from confiido_booking.bookings.views import Change
from confiido_booking.database.store import Document, Store
from confiido_booking.errors import InvalidSignature, MalformedEvent
from tests.builders import Clock, a_client, an_admin, an_expert, make_expert
from tests.conftest import SECRET as TOKENS
from tests.integration.test_workshops import SIX, event_of, held, offered, seated
from tests.laws.check import check_laws
from tests.rooms import CONFIGURED, signed, told

END = SIX + timedelta(hours=1)


@pytest.fixture
def settings(uri: str) -> Settings:
    return Settings.model_validate({"env": "test", "MONGODB_URI": uri, "jwt_secret": TOKENS, **CONFIGURED})


@pytest.fixture
async def grace(confiido: Confiido) -> Expert:
    return await make_expert(confiido)


@pytest.fixture
async def event(confiido: Confiido, grace: Expert) -> Document:
    return await held(confiido, await offered(confiido, grace))


async def confirmed(confiido: Confiido, event: Document, client: Actor | None = None) -> Change:
    change = await seated(confiido, event, client)
    return await confiido.bookings.confirm(change.booking_id, change.session_id, actor=an_admin())


async def tell(confiido: Confiido, *bodies: bytes) -> None:
    for body in bodies:
        await confiido.attendance.receive(body, signed(body))


def meeting(event: Document, client: Actor) -> list[bytes]:
    """The room opens at two past, closes at the end; the client is there from five past to twenty past."""
    room, minute, who = event["_id"], timedelta(minutes=1), client.id
    return [
        told("room_started", SIX + 2 * minute, room=room),
        told("participant_joined", SIX + 5 * minute, room=room, identity=who),
        told("participant_left", SIX + 20 * minute, room=room, identity=who),
        told("room_finished", END, room=room),
    ]


async def test_the_flow_of_a_meeting(confiido: Confiido, event: Document, grace: Expert, clock: Clock) -> None:
    """Booked, room starts, user joins, user leaves, room ends (seed 004, "How They Work Together")."""
    ada, bo = a_client(), a_client(email="bo@example.org")
    await confirmed(confiido, event, ada)
    await confirmed(confiido, event, bo)
    opens, joins, leaves, closes = meeting(event, ada)
    clock.now = SIX

    await tell(confiido, opens)
    began = await event_of(confiido, event)
    await tell(confiido, joins, leaves, closes)
    ended = await event_of(confiido, event)
    clock.now = END
    seen = await confiido.attendance.get(event["_id"], actor=an_expert(grace))

    assert (began["status"], began["actualStartsAt"]) == ("in_progress", SIX + timedelta(minutes=2))
    assert (ended["status"], ended["actualEndsAt"]) == ("completed", END)
    assert [(r.client_id, r.presence.seconds, r.attended) for r in seen.attendees] == [
        (ada.id, 900, True),
        (bo.id, 0, False),
    ]
    assert [record.client_id for record in seen.no_shows] == [bo.id]
    await check_laws(confiido)


async def test_the_events_of_a_meeting_come_in_any_order_and_twice(
    confiido: Confiido, grace: Expert, clock: Clock, engine_is_embedded: bool
) -> None:
    workshop, ada = await offered(confiido, grace), a_client()
    clock.now = SIX
    ends = []
    orders = list(permutations(range(4)))
    for number, order in enumerate(orders[::7] if engine_is_embedded else orders):
        clock.now = SIX - timedelta(days=1)
        event = await held(confiido, workshop, SIX + timedelta(hours=2 * number))
        event_time = timedelta(hours=2 * number)
        await confirmed(confiido, event, ada)
        bodies = [
            told(kind, SIX + event_time + timedelta(minutes=minutes), room=event["_id"], identity=who)
            for kind, minutes, who in [
                ("room_started", 2, None),
                ("participant_joined", 5, ada.id),
                ("participant_left", 20, ada.id),
                ("room_finished", 60, None),
            ]
        ]
        clock.now = SIX + event_time + timedelta(hours=1)

        await tell(confiido, *(bodies[place] for place in order), *(bodies[place] for place in order[:2]))

        left = await event_of(confiido, event)
        seen = await confiido.attendance.get(event["_id"], actor=an_admin())
        times = [left[name] - event_time for name in ("actualStartsAt", "actualEndsAt")]
        ends.append((left["status"], *times, [(r.presence.seconds, r.attended) for r in seen.attendees]))

    assert ends == [("completed", SIX + timedelta(minutes=2), END, [(900, True)])] * len(ends)


async def test_agents_egress_the_expert_and_strangers_are_no_attendees(
    confiido: Confiido, event: Document, grace: Expert, clock: Clock
) -> None:
    ada = a_client()
    await confirmed(confiido, event, ada)
    clock.now = END
    people: Sequence[tuple[object, str]] = [
        (grace.user_id, "STANDARD"),
        (ada.id, "AGENT"),
        (ada.id, "EGRESS"),
        (ada.id, "INGRESS"),
        (ObjectId(), "STANDARD"),
        ("agent-AJ_1", "STANDARD"),
    ]

    await tell(
        confiido,
        *(
            told("participant_joined", SIX, room=event["_id"], identity=who, kind=kind, sid=f"PA_{number}")
            for number, (who, kind) in enumerate(people)
        ),
    )

    seen = await confiido.attendance.get(event["_id"], actor=an_admin())
    assert [(record.client_id, record.attended) for record in seen.attendees] == [(ada.id, False)]


async def test_several_visits_are_added_up(confiido: Confiido, event: Document, clock: Clock) -> None:
    ada = a_client()
    await confirmed(confiido, event, ada)
    clock.now = END

    for number, (joined, left) in enumerate([(0, 10), (20, 25), (30, None)]):
        who = {"room": event["_id"], "identity": ada.id, "sid": f"PA_{number}"}
        await tell(confiido, told("participant_joined", SIX + timedelta(minutes=joined), **who))  # type: ignore[arg-type]
        if left is not None:
            await tell(confiido, told("participant_left", SIX + timedelta(minutes=left), **who))  # type: ignore[arg-type]
    await tell(confiido, told("room_finished", SIX + timedelta(minutes=50), room=event["_id"]))

    [record] = (await confiido.attendance.get(event["_id"], actor=an_admin())).attendees
    assert (record.presence.seconds, record.presence.joined_at) == ((10 + 5 + 20) * 60, SIX)


async def test_a_trial_before_the_start_leaves_the_event_scheduled(
    confiido: Confiido, event: Document, clock: Clock
) -> None:
    clock.now, minute, room = SIX, timedelta(minutes=1), event["_id"]

    await tell(confiido, told("room_started", SIX - 20 * minute, room=room))
    trial = await event_of(confiido, event)
    await tell(confiido, told("room_finished", SIX - 10 * minute, room=room))
    after = await event_of(confiido, event)
    await tell(confiido, told("room_started", SIX + minute, room=room, room_sid="RM_2"))
    await tell(confiido, told("room_finished", SIX + 20 * minute, room=room, room_sid="RM_2"))
    ended = await event_of(confiido, event)
    await tell(confiido, told("room_started", SIX + 25 * minute, room=room, room_sid="RM_3"))
    again = await event_of(confiido, event)

    assert [each["status"] for each in (trial, after, ended, again)] == [
        "in_progress",
        "scheduled",
        "completed",
        "in_progress",
    ]
    assert "actualStartsAt" not in after
    assert (again["actualStartsAt"], "actualEndsAt" in again) == (SIX + minute, False)
    await check_laws(confiido)


async def test_a_cancelled_event_stays_cancelled_and_a_room_of_nobodys_is_passed_over(
    confiido: Confiido, event: Document, clock: Clock
) -> None:
    await confiido.workshops.cancel(event["_id"], actor=an_admin())
    clock.now = SIX

    await tell(confiido, *meeting(event, a_client()))
    await tell(confiido, told("room_started", SIX, room=ObjectId()))
    await tell(confiido, told("track_published", SIX, room=event["_id"], identity=ObjectId()))

    assert (await event_of(confiido, event))["status"] == "canceled"
    await check_laws(confiido)


async def test_what_is_not_signed_by_livekit_changes_nothing(confiido: Confiido, event: Document, store: Store) -> None:
    body = meeting(event, a_client())[0]
    other = meeting(event, a_client())[1]
    before = await event_of(confiido, event)

    for header in ("", "Bearer ", "nonsense", signed(other), signed(body, secret="x" * 32), signed(body, key="other")):
        with pytest.raises(InvalidSignature):
            await confiido.attendance.receive(body, header)
    for malformed in (b"{", b'{"event": 1}', b'{"event": "room_started", "createdAt": "soon"}'):
        with pytest.raises(MalformedEvent):
            await confiido.attendance.receive(malformed, signed(malformed))
    with pytest.raises(InvalidSignature):
        await confiido.attendance.receive(b"\xff", signed(body))

    assert await event_of(confiido, event) == before
    assert await store.count("count", "attendance", {}) == 0


class _Killed(BaseException):
    pass


@pytest.mark.parametrize("step", ["track event", "note visit", "note room in_progress", "note room completed"])
async def test_a_process_that_dies_is_told_again(confiido: Confiido, event: Document, clock: Clock, step: str) -> None:
    ada = a_client()
    await confirmed(confiido, event, ada)
    clock.now = END

    async def die(at: str) -> None:
        if at == step:
            confiido.store.hook = None
            raise _Killed

    confiido.store.hook = die
    opens, *others = meeting(event, ada)
    for body in (others[0], opens, *others[1:]):
        try:
            await tell(confiido, body)
        except _Killed:
            await tell(confiido, body)

    assert confiido.store.hook is None
    [record] = (await confiido.attendance.get(event["_id"], actor=an_admin())).attendees
    left = await event_of(confiido, event)
    assert (record.presence.seconds, record.attended, left["status"]) == (900, True, "completed")


async def test_no_shows_are_set_by_rule_after_the_end_and_an_undo_stays(
    confiido: Confiido, event: Document, grace: Expert, clock: Clock
) -> None:
    ada, bo = a_client(), a_client(email="bo@example.org")
    came, absent = await confirmed(confiido, event, ada), await confirmed(confiido, event, bo)
    clock.now = END
    await tell(confiido, *meeting(event, ada))

    clock.advance(minutes=59)
    early = await confiido.attendance.settle()
    clock.advance(minutes=1)
    decided = [await confiido.attendance.settle(), await confiido.attendance.settle()]
    statuses = [
        (await confiido.bookings.find_session(change.session_id, actor=an_admin())).session.status
        for change in (came, absent)
    ]
    await confiido.bookings.undo(
        absent.booking_id, absent.session_id, actor=an_expert(grace), reason="Was on the telephone"
    )
    await tell(confiido, told("participant_joined", END, room=event["_id"], identity=ada.id, sid="PA_late"))
    again = await confiido.attendance.settle()

    assert (early, decided, statuses) == (0, [2, 0], ["completed", "no-show"])
    undone = (await confiido.bookings.find_session(absent.session_id, actor=an_admin())).session
    assert (again, undone.status) == (0, "confirmed")
    await check_laws(confiido)


async def test_nobody_is_a_no_show_where_nobody_watched(confiido: Confiido, event: Document, clock: Clock) -> None:
    change = await confirmed(confiido, event)
    clock.now = END + timedelta(days=1)

    assert await confiido.attendance.settle() == 0
    assert (await confiido.bookings.find_session(change.session_id, actor=an_admin())).session.status == "confirmed"


async def test_an_individual_session_has_a_room_too(confiido: Confiido, grace: Expert, clock: Clock) -> None:
    ada = a_client()
    change = await confiido.bookings.book(
        actor=ada, expert=grace.id or "", session_type="video", duration=60, starts_at=SIX
    )
    await confiido.bookings.confirm(change.booking_id, change.session_id, actor=an_admin())
    event = {"_id": change.raw_session["serviceSessionId"]}
    bodies = meeting(event, ada)
    clock.now = SIX

    shown = []
    for body in bodies:
        await tell(confiido, body)
        shown.append((await confiido.workshops.get(event["_id"], actor=ada)).document["status"])
    await check_laws(confiido)
    clock.now = END + timedelta(hours=1)
    assert await confiido.attendance.settle() == 1

    assert shown == ["in_progress", "in_progress", "in_progress", "completed"]
    session = (await confiido.bookings.find_session(change.session_id, actor=ada)).session
    assert (session.status, (await event_of(confiido, event))["status"]) == ("completed", "completed")
    await check_laws(confiido)


async def test_who_comes_in_person_is_checked_in(
    confiido: Confiido, event: Document, grace: Expert, clock: Clock
) -> None:
    change, pending = await confirmed(confiido, event), await seated(confiido, event)
    own = an_expert(grace)
    codes = []

    with pytest.raises(Conflict) as early:
        await confiido.attendance.check_in(event["_id"], change.session_id, actor=own)
    clock.advance(minutes=20)
    clock.now = SIX - timedelta(minutes=5)
    for session_id in (pending.session_id, ObjectId()):
        with pytest.raises((Conflict, NotFound)) as refused:
            await confiido.attendance.check_in(event["_id"], session_id, actor=own)
        codes.append(refused.value.code)
    with pytest.raises(NotAllowed):
        await confiido.attendance.check_in(event["_id"], change.session_id, actor=a_client())
    records = [await confiido.attendance.check_in(event["_id"], change.session_id, actor=own) for _ in range(2)]

    assert (early.value.code, codes) == ("too_early", ["session_not_found", "session_not_found"])
    assert [record.attended for record in records] == [True, True]
    clock.now = END + timedelta(hours=1)
    assert await confiido.attendance.settle() == 1
    await confiido.chores.expire_holds()
    await check_laws(confiido)


async def test_check_course_completion(confiido: Confiido, grace: Expert, clock: Clock) -> None:
    """attended / finished, in percent, of seed 004's last section; a course with no finished session has no rate."""
    course = await offered(confiido, grace, service_type="course", name="Mindfulness")
    made = await confiido.workshops.create(
        course.id or ObjectId(), actor=an_admin(), times=[SIX + timedelta(days=day) for day in range(3)]
    )
    ada, bo = a_client(), a_client(email="bo@example.org")
    for client in (ada, bo):
        order = await confiido.orders.create(course.id or ObjectId(), actor=client)
        for booking in await confiido.store.find("read", "bookings", {"clientId": client.id}):
            for session in booking["sessions"]:
                await confiido.bookings.confirm(booking["_id"], session["sessionId"], actor=an_admin())
        assert order is not None

    async def rate(actor: Actor, client: Actor | None = None) -> float | None:
        client_id = client.id if client else None
        return await confiido.attendance.completion(course.id or ObjectId(), actor=actor, client_id=client_id)

    nothing = await rate(ada)
    for day, view in enumerate(made[:2]):
        room, later = view.document["_id"], timedelta(days=day)
        clock.now = SIX + later + timedelta(hours=1)
        for client in (ada, bo) if day == 0 else (ada,):
            await tell(
                confiido, told("participant_joined", SIX + later, room=room, identity=client.id, sid=f"PA_{client.id}")
            )
        await tell(confiido, told("room_finished", SIX + later + timedelta(minutes=50), room=room))

    own = an_expert(grace)
    assert nothing is None
    assert [await rate(ada), await rate(bo), await rate(own), await rate(own, bo), await rate(an_admin(), ada)] == [
        100,
        50,
        75,
        50,
        100,
    ]
    for refused in (rate(ada, bo), rate(an_expert(await make_expert(confiido)))):
        with pytest.raises(NotAllowed):
            await refused


async def test_a_token_lets_a_participant_join_the_own_session_around_its_time(
    confiido: Confiido, event: Document, grace: Expert, clock: Clock
) -> None:
    ada, own = a_client(), an_expert(grace)
    await confirmed(confiido, event, ada)
    codes = []

    for minutes in (-16, 120):
        clock.now = SIX + timedelta(minutes=minutes)
        with pytest.raises(Conflict) as refused:
            await confiido.attendance.token(event["_id"], actor=ada)
        codes.append(refused.value.code)
    clock.now = SIX - timedelta(minutes=15)
    for actor in (a_client(), an_admin()):
        with pytest.raises(NotAllowed):
            await confiido.attendance.token(event["_id"], actor=actor)
    made = [await confiido.attendance.token(event["_id"], actor=actor) for actor in (ada, own)]

    assert codes == ["outside_window"] * 2
    claims = [
        TokenVerifier(str(CONFIGURED["livekit_api_key"]), str(CONFIGURED["livekit_api_secret"])).verify(m.token)
        for m in made
    ]
    assert [claim.identity for claim in claims] == [str(ada.id), str(grace.user_id)]
    assert {(c.video.room, c.video.room_join) for c in claims if c.video} == {(str(event["_id"]), True)}
    assert (made[0].url, made[0].expires_at) == (CONFIGURED["livekit_url"], END + timedelta(hours=1))


async def test_without_livekit_there_are_no_rooms(uri: str, clock: Clock) -> None:
    async with Confiido.connect(uri, settings=Settings(), clock=clock) as confiido:
        with pytest.raises(Unavailable) as refused:
            await confiido.attendance.receive(b"{}", signed(b"{}"))

    assert refused.value.code == "provider_not_configured"
