"""The five patterns of seed 004 and what an order is (SPEC 9; MONEY, "Orders and seats"), by library."""

from datetime import timedelta
from decimal import Decimal

import pytest
from bson import ObjectId

from confiido_booking import Actor, ClientRef, Confiido, Conflict, Expert, Invalid, NotAllowed, NotFound
from confiido_booking.orders.models import OrderStatus
from confiido_booking.orders.reading import OrderFilter
from tests.builders import Clock, a_client, an_admin, an_expert, make_expert
from tests.laws.check import check_laws
from tests.ordering import SIX, WEEK, all_of, event, events_of, id_of, offered, order, package_of


@pytest.fixture
async def grace(confiido: Confiido) -> Expert:
    return await make_expert(confiido, buffer_before=10)


async def test_individual_session_creates_its_service_session_and_one_booking(
    confiido: Confiido, grace: Expert
) -> None:
    advice, ada = await offered(confiido, grace, "individual"), a_client()

    (session,) = await confiido.factory.create_individual_booking(id_of(advice), actor=ada, starts_at=SIX)

    assert (session.status, session.price, session.starts_at, session.duration) == ("pending", 500, SIX, 60)
    assert session.service_session_id is not None
    held = await event(confiido, session.service_session_id)
    assert (held["sessionType"], held["visibility"], held["maxParticipants"]) == ("individual", "private", 1)
    bought = await confiido.orders.get(session.order_id or ObjectId(), actor=ada)
    assert (bought.status, bought.price, bought.sessions[0].session_id) == ("pending_payment", 500, session.session_id)
    await check_laws(confiido)


async def test_workshop_is_made_once_and_shared_by_the_bookings_of_many(confiido: Confiido, grace: Expert) -> None:
    yoga = await offered(confiido, grace, "workshop")
    (shared,) = await events_of(confiido, yoga, places=25)

    made = [
        (await confiido.factory.create_workshop_booking(id_of(yoga), actor=a_client(), service_session=shared))[0]
        for _ in range(3)
    ]

    assert {session.service_session_id for session in made} == {shared}
    assert len({session.order_id for session in made}) == 3
    held = await event(confiido, shared)
    assert held["currentParticipants"] == 3
    assert {seat["orderId"] for seat in held["seats"]} == {session.order_id for session in made}
    await check_laws(confiido)


async def test_course_gives_a_booking_for_each_class_by_one_order(confiido: Confiido, grace: Expert) -> None:
    course, ada = await offered(confiido, grace, "course", price_cents=10000), a_client()
    classes = await events_of(confiido, course, 3)

    made = await confiido.factory.create_course_booking(id_of(course), actor=ada)

    assert [session.service_session_id for session in made] == classes
    assert [session.starts_at for session in made] == [SIX, SIX + WEEK, SIX + 2 * WEEK]
    assert {session.order_id for session in made} == {made[0].order_id}
    assert [session.price for session in made] == [Decimal("33.34"), Decimal("33.33"), Decimal("33.33")]
    assert {(session.service_id, session.service_type) for session in made} == {(course.id, "course")}
    assert {session.timeout_at for session in made} == {made[0].timeout_at}
    held = [await event(confiido, each) for each in classes]
    assert [each["seats"][0]["heldUntil"] for each in held] == [made[0].timeout_at] * 3
    (booking,) = await all_of(confiido, "bookings")
    assert booking["totalSpent"].to_decimal() == 100
    await check_laws(confiido)


async def test_package_gives_drafts_of_each_service_to_be_scheduled_later(confiido: Confiido, grace: Expert) -> None:
    talk = await offered(confiido, grace, "individual", name="Consultation", price_cents=20000)
    massage = await offered(confiido, grace, "individual", name="Massage", price_cents=10000)
    yoga = await offered(confiido, grace, "workshop", name="Yoga", price_cents=5000)
    package = await package_of(confiido, grace, (talk, 1), (massage, 3), (yoga, 2), price_cents=30000, validity_days=90)

    made = await confiido.factory.create_package_booking(id_of(package), actor=a_client())

    assert [session.service_id for session in made] == [talk.id, *[massage.id] * 3, *[yoga.id] * 2]
    assert {(session.status, session.starts_at, session.service_type) for session in made} == {
        ("draft", None, "package")
    }
    assert [session.price for session in made] == [100, 50, 50, 50, 25, 25]
    assert {session.valid_until for session in made} == {confiido.clock() + timedelta(days=90)}
    drafts = [await event(confiido, session.service_session_id or ObjectId()) for session in made]
    assert {(each["status"], each.get("startsAt"), len(each["seats"])) for each in drafts} == {("draft", None, 0)}
    await check_laws(confiido)


async def test_bundle_gives_as_many_drafts_of_one_service(confiido: Confiido, grace: Expert) -> None:
    yoga = await offered(confiido, grace, "workshop", name="Yoga")
    bundle = await package_of(confiido, grace, (yoga, 10), service_type="bundle", price_cents=100001)

    made = await confiido.factory.create_bundle_booking(id_of(bundle), actor=a_client())

    assert [session.service_id for session in made] == [yoga.id] * 10
    assert {session.title for session in made} == {"Yoga"}
    assert sum(session.price for session in made) == Decimal("1000.01")
    assert [session.price for session in made] == [Decimal("100.01"), *[Decimal(100)] * 9]
    await check_laws(confiido)


async def test_what_costs_nothing_is_paid_and_confirmed_at_once(confiido: Confiido, grace: Expert) -> None:
    course = await offered(confiido, grace, "course", price_cents=0)
    await events_of(confiido, course, 2)

    bought = await confiido.orders.create(id_of(course), actor=a_client())

    assert bought.status == "paid"
    assert [(s.status, s.payment_status, s.timeout_at) for s in bought.sessions] == [
        ("confirmed", "not_required", None)
    ] * 2
    stored = await order(confiido, bought.id)
    assert (stored["status"], "claims" in stored) == ("paid", False)
    assert [each["type"] for each in stored["outbox"]] == ["order.placed", "order.paid"]
    await check_laws(confiido)


@pytest.mark.parametrize("full", [0, 1, 2])
async def test_an_order_that_meets_a_full_class_takes_no_place_at_all(
    confiido: Confiido, grace: Expert, full: int
) -> None:
    course = await offered(confiido, grace, "course")
    classes = await events_of(confiido, course, 3, places=2)
    await confiido.store.collection("service_sessions").update_one(
        {"_id": classes[full]}, {"$set": {"maxParticipants": 1}}
    )
    await confiido.orders.create(id_of(course), actor=a_client())

    with pytest.raises(Conflict) as refused:
        await confiido.orders.create(id_of(course), actor=a_client())

    assert refused.value.code == "event_full"
    assert [(await event(confiido, each))["currentParticipants"] for each in classes] == [1, 1, 1]
    assert len(await all_of(confiido, "orders")) == 1
    await check_laws(confiido)


async def test_a_client_who_is_busy_at_one_class_gets_none_of_them(confiido: Confiido, grace: Expert) -> None:
    course, other, ada = await offered(confiido, grace, "course"), await make_expert(confiido), a_client()
    classes = await events_of(confiido, course, 2)
    await confiido.bookings.book(
        actor=ada, expert=other.id or "", session_type="video", duration=30, starts_at=SIX + WEEK
    )

    with pytest.raises(Conflict) as refused:
        await confiido.orders.create(id_of(course), actor=ada)

    assert refused.value.code == "client_busy"
    assert [(await event(confiido, each))["seats"] for each in classes] == [[], []]
    assert await all_of(confiido, "orders") == []
    await check_laws(confiido)


async def test_one_client_has_one_place_in_a_class(confiido: Confiido, grace: Expert) -> None:
    course, ada = await offered(confiido, grace, "course"), a_client()
    await events_of(confiido, course, 2)
    await confiido.orders.create(id_of(course), actor=ada)

    with pytest.raises(Conflict) as refused:
        await confiido.orders.create(id_of(course), actor=ada)

    assert refused.value.code == "already_enrolled"
    await check_laws(confiido)


@pytest.mark.parametrize("service_type", ["individual", "course", "bundle"])
async def test_a_repeat_with_the_same_key_is_one_order_and_one_answer(
    confiido: Confiido, grace: Expert, service_type: str
) -> None:
    ada, starts_at = a_client(), None
    if service_type == "bundle":
        service = await package_of(
            confiido, grace, (await offered(confiido, grace, "individual"), 3), service_type="bundle"
        )
    else:
        service = await offered(confiido, grace, service_type)
        if service_type == "course":
            await events_of(confiido, service, 2)
        else:
            starts_at = SIX

    first = await confiido.orders.create(id_of(service), actor=ada, starts_at=starts_at, request_key="k")
    again = await confiido.orders.create(id_of(service), actor=ada, starts_at=starts_at, request_key="k")

    assert again.raw_sessions == first.raw_sessions
    assert again.order == first.order
    assert len(await all_of(confiido, "orders")) == 1
    await check_laws(confiido)


async def test_an_order_that_is_not_paid_in_time_expires_with_all_it_held(
    confiido: Confiido, grace: Expert, clock: Clock
) -> None:
    course, ada = await offered(confiido, grace, "course"), a_client()
    classes = await events_of(confiido, course, 2, places=1)
    bundle = await package_of(confiido, grace, (await offered(confiido, grace, "individual"), 2), service_type="bundle")
    enrolled = await confiido.orders.create(id_of(course), actor=ada)
    passes = await confiido.orders.create(id_of(bundle), actor=ada)
    clock.advance(minutes=31)
    at_once = [(await confiido.orders.get(each.id, actor=ada)).status for each in (enrolled, passes)]

    await confiido.chores.expire_holds()

    assert at_once == ["expired", "expired"]
    stored = [await order(confiido, each.id) for each in (enrolled, passes)]
    assert [each["status"] for each in stored] == ["expired", "expired"]
    assert [each["outbox"][-1]["type"] for each in stored] == ["order.expired"] * 2
    assert [(await event(confiido, each))["seats"] for each in classes] == [[], []]
    left = (await confiido.orders.get(passes.id, actor=ada)).sessions
    assert {(session.status, session.cancelled_by) for session in left} == {("cancelled", "system")}
    await check_laws(confiido)


async def test_the_places_of_an_order_that_lapsed_are_anybodys_at_once(
    confiido: Confiido, grace: Expert, clock: Clock
) -> None:
    course = await offered(confiido, grace, "course")
    await events_of(confiido, course, 2, places=1)
    await confiido.orders.create(id_of(course), actor=a_client())
    clock.advance(minutes=31)

    bought = await confiido.orders.create(id_of(course), actor=a_client())

    assert bought.status == "pending_payment"
    await check_laws(confiido)


async def test_who_buys_what_and_for_whom(confiido: Confiido, grace: Expert) -> None:
    yoga = await offered(confiido, grace, "workshop")
    hidden = await offered(confiido, grace, "individual", visibility="private")
    (shared,) = await events_of(confiido, yoga)
    bo, somebody = a_client(), ObjectId()

    bought = await confiido.orders.create(
        id_of(yoga), actor=an_admin(), client=ClientRef(client_id=somebody), service_session_id=shared
    )

    assert (bought.order.client_id, bought.status) == (somebody, "pending_payment")
    with pytest.raises(NotFound):
        await confiido.orders.get(bought.id, actor=bo)
    with pytest.raises(NotFound):
        await confiido.orders.get(bought.id, actor=an_expert(grace))
    with pytest.raises(NotAllowed):
        await confiido.orders.create(id_of(yoga), actor=an_expert(grace), service_session_id=shared)
    with pytest.raises(NotAllowed):
        await confiido.orders.list(actor=an_expert(grace))
    with pytest.raises(NotFound):
        await confiido.orders.create(id_of(hidden), actor=bo, starts_at=SIX)
    with pytest.raises(Invalid) as oneself:
        await confiido.orders.create(id_of(yoga), actor=Actor.client(grace.user_id), service_session_id=shared)
    assert oneself.value.code == "self_booking"
    assert (await confiido.orders.list(actor=bo)).total == 0
    page = await confiido.orders.list(actor=an_admin(), filters=OrderFilter(status=OrderStatus.PENDING_PAYMENT))
    assert [view.id for view in page.orders] == [bought.id]


@pytest.mark.parametrize(
    ("service_type", "given", "code"),
    [
        ("individual", {}, "time_required"),
        ("individual", {"starts_at": SIX - timedelta(days=7)}, "starts_in_past"),
        ("individual", {"starts_at": "next week"}, "invalid_time"),
        ("workshop", {}, "service_session_required"),
        ("workshop", {"service_session_id": ObjectId()}, "service_session_not_found"),
        ("workshop", {"starts_at": SIX}, "service_session_required"),
        ("course", {}, "nothing_scheduled"),
        ("course", {"starts_at": SIX}, "invalid_input"),
        ("course", {"service_session_id": ObjectId()}, "invalid_input"),
    ],
)
async def test_a_purchase_that_cannot_be_is_refused_and_leaves_nothing(
    confiido: Confiido, grace: Expert, service_type: str, given: dict[str, object], code: str
) -> None:
    service = await offered(confiido, grace, service_type)

    with pytest.raises((Conflict, Invalid, NotFound)) as refused:
        await confiido.orders.create(id_of(service), actor=a_client(), **given)  # type: ignore[arg-type]

    assert refused.value.code == code
    assert [await all_of(confiido, name) for name in ("orders", "bookings")] == [[], []]


async def test_a_class_that_belongs_to_another_service_is_not_sold_with_this_one(
    confiido: Confiido, grace: Expert
) -> None:
    yoga, dance = await offered(confiido, grace, "workshop"), await offered(confiido, grace, "workshop")
    (shared,) = await events_of(confiido, dance)

    with pytest.raises(NotFound):
        await confiido.orders.create(id_of(yoga), actor=a_client(), service_session_id=shared)
    with pytest.raises(Invalid) as other:
        await confiido.factory.create_course_booking(id_of(yoga), actor=a_client())

    assert other.value.code == "wrong_service_type"
