"""Paying and cancelling orders (MONEY: "Orders and seats", "Cancelling and refunds", "The ledger"; L7)."""

from datetime import timedelta
from decimal import Decimal

import pytest
from bson import ObjectId

from confiido_booking import (
    Actor,
    CancellationPolicy,
    CancellationTier,
    Confiido,
    Conflict,
    Expert,
    Invalid,
    NotAllowed,
)
from confiido_booking.errors import BookingError
from confiido_booking.ledger.models import Place
from confiido_booking.orders.reading import OrderView
from tests.builders import Clock, a_client, a_service, an_admin, make_expert
from tests.laws.check import check_laws
from tests.laws.orders import broken_orders
from tests.ledger import broken_money
from tests.ordering import SIX, WEEK, event, events_of, id_of, offered, order, package_of

ADMIN = an_admin()


@pytest.fixture
async def grace(confiido: Confiido) -> Expert:
    return await make_expert(confiido)


async def a_course(confiido: Confiido, expert: Expert, classes: int = 3, **fields: object) -> ObjectId:
    course = await offered(confiido, expert, "course", price_cents=10000, **fields)
    await events_of(confiido, course, classes)
    return id_of(course)


async def all_is_well(confiido: Confiido) -> None:
    await check_laws(confiido)
    assert await broken_orders(confiido) == []
    assert await broken_money(confiido) == []
    report = await confiido.doctor.examine()
    assert list(report.findings) == []


async def test_an_orders_payment_confirms_its_sessions_and_pays_it(confiido: Confiido, grace: Expert) -> None:
    bought = await confiido.orders.create(await a_course(confiido, grace), actor=a_client())

    paid = await confiido.orders.pay(bought.id, actor=ADMIN, method="cash")

    assert (paid.status, paid.standing.paid) == ("paid", 100)
    assert [(s.status, s.payment_status, s.paid_amount) for s in paid.sessions] == [
        ("confirmed", "paid", Decimal("33.34")),
        ("confirmed", "paid", Decimal("33.33")),
        ("confirmed", "paid", Decimal("33.33")),
    ]
    stored = await order(confiido, bought.id)
    assert (stored["status"], "timeoutAt" in stored) == ("paid", False)
    assert [each["type"] for each in stored["outbox"]] == ["order.placed", "order.paid"]
    held = [await event(confiido, each.service_session_id or ObjectId()) for each in paid.sessions]
    assert all("heldUntil" not in each["seats"][0] for each in held)
    await all_is_well(confiido)


async def test_a_providers_payment_of_an_order_does_the_same_and_once(confiido: Confiido, grace: Expert) -> None:
    ada = a_client()
    bought = await confiido.orders.create(await a_course(confiido, grace), actor=ada)
    owed = await confiido.ledger.owed(Place.ORDER, bought.id, actor=ada)
    await confiido.ledger.open(owed, provider="bank", provider_order_id="o", actor=ada)

    for _ in range(2):
        await confiido.ledger.captured(
            provider="bank", provider_payment_id="p", provider_order_id="o", amount=owed.amount, currency="INR"
        )

    paid = await confiido.orders.get(bought.id, actor=ada)
    assert (owed.amount, paid.status, paid.standing.paid) == (100, "paid", 100)
    assert {session.status for session in paid.sessions} == {"confirmed"}
    await all_is_well(confiido)


async def test_a_part_of_the_price_confirms_nothing_and_the_rest_of_it_everything(
    confiido: Confiido, grace: Expert
) -> None:
    bought = await confiido.orders.create(await a_course(confiido, grace), actor=a_client())

    part = await confiido.orders.pay(bought.id, actor=ADMIN, amount=10)
    rest = await confiido.orders.pay(bought.id, actor=a_service())

    assert (part.status, part.standing.paid) == ("pending_payment", 10)
    assert {session.status for session in part.sessions} == {"pending"}
    assert (rest.status, rest.standing.paid) == ("paid", 100)
    await all_is_well(confiido)


async def test_what_was_paid_of_an_order_that_then_lapses_is_due_back(
    confiido: Confiido, grace: Expert, clock: Clock
) -> None:
    bought = await confiido.orders.create(await a_course(confiido, grace), actor=a_client())
    await confiido.orders.pay(bought.id, actor=ADMIN, amount=10)
    clock.advance(minutes=31)

    await confiido.chores.once()

    lapsed = await confiido.orders.get(bought.id, actor=ADMIN)
    assert lapsed.status == "expired"
    assert sum(session.refund_due or 0 for session in lapsed.sessions) == 10
    await all_is_well(confiido)


async def test_a_paid_package_has_drafts_that_stay_and_what_costs_nothing_in_it_is_the_clients_too(
    confiido: Confiido, grace: Expert, clock: Clock
) -> None:
    talk, gift = (
        await offered(confiido, grace, "individual"),
        await offered(confiido, grace, "individual", price_cents=0),
    )
    package = await package_of(confiido, grace, (talk, 1), (gift, 1))
    bought = await confiido.orders.create(id_of(package), actor=a_client())

    await confiido.orders.pay(bought.id, actor=ADMIN)
    clock.advance(days=2)
    await confiido.chores.once()

    left = await confiido.orders.get(bought.id, actor=ADMIN)
    assert left.status == "paid"
    assert not any("timeoutAt" in session for session in left.raw_sessions)
    assert [(s.status, s.payment_status, s.price) for s in left.sessions] == [
        ("draft", "paid", 500),
        ("draft", "not_required", 0),
    ]
    await all_is_well(confiido)


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"amount": 101}, "overpayment"),
        ({"amount": 0}, "invalid_amount"),
        ({"amount": Decimal("1.001")}, "too_many_decimals"),
        ({"currency": "EUR", "amount": 1}, "currency_mismatch"),
    ],
)
async def test_a_payment_that_cannot_be_changes_nothing(
    confiido: Confiido, grace: Expert, fields: dict[str, object], code: str
) -> None:
    bought = await confiido.orders.create(await a_course(confiido, grace), actor=a_client())

    with pytest.raises(Invalid) as refused:
        await confiido.orders.pay(bought.id, actor=ADMIN, **fields)  # type: ignore[arg-type]

    assert refused.value.code in (code, "invalid_amount")
    assert (await confiido.orders.get(bought.id, actor=ADMIN)).raw_sessions == bought.raw_sessions


async def test_only_staff_record_money_and_only_what_is_owed(confiido: Confiido, grace: Expert) -> None:
    ada = a_client()
    bought = await confiido.orders.create(await a_course(confiido, grace), actor=ada)

    with pytest.raises(NotAllowed):
        await confiido.orders.pay(bought.id, actor=ada)
    first = await confiido.orders.pay(bought.id, actor=ADMIN, request_key="k")
    again = await confiido.orders.pay(bought.id, actor=ADMIN, request_key="k")
    with pytest.raises(Conflict) as refused:
        await confiido.orders.pay(bought.id, actor=ADMIN)

    assert refused.value.code == "already_paid"
    assert again.raw_sessions == first.raw_sessions
    await all_is_well(confiido)


async def test_cancelling_gives_each_session_back_by_its_own_start_and_share(
    confiido: Confiido, grace: Expert, clock: Clock
) -> None:
    tiers = [CancellationTier(hours_before=24, refund_percent=100), CancellationTier(hours_before=0, refund_percent=50)]
    course = await a_course(confiido, grace, cancellation_policy=CancellationPolicy(tiers=tiers))
    ada = a_client()
    bought = await confiido.orders.create(course, actor=ada)
    await confiido.orders.pay(bought.id, actor=ADMIN)
    clock.now = SIX + WEEK - timedelta(hours=5)
    preview = await confiido.orders.cancellation(bought.id, actor=ada)

    done = await confiido.orders.cancel(bought.id, actor=ada, reason="I am moving away")

    assert (preview.allowed, preview.refund_amount, preview.fee) == (True, Decimal("50.00"), Decimal("16.66"))
    assert done.refund_due == Decimal("50.00")
    assert [(s.status, s.refund_due) for s in done.order.sessions] == [
        ("confirmed", None),
        ("cancelled", Decimal("16.67")),
        ("cancelled", Decimal("33.33")),
    ]
    assert done.order.status == "partly_cancelled"
    held = [await event(confiido, s.service_session_id or ObjectId()) for s in done.order.sessions]
    assert [each["currentParticipants"] for each in held] == [1, 0, 0]
    await all_is_well(confiido)


async def test_states_of_an_order_from_partly_cancelled_to_refunded(confiido: Confiido, grace: Expert) -> None:
    ada = a_client()
    bought = await confiido.orders.create(await a_course(confiido, grace), actor=ada)
    await confiido.orders.pay(bought.id, actor=ADMIN)
    first, *others = [session.session_id for session in bought.sessions]

    states = [(await confiido.orders.cancel(bought.id, actor=ada, session_ids=[first])).order.status]
    states.append((await confiido.orders.cancel(bought.id, actor=ada)).order.status)
    for session_id in (first, *others):
        await confiido.ledger.refund(session_id, actor=ADMIN, reason="cancelled")
    states.append((await confiido.orders.get(bought.id, actor=ada)).status)

    assert states == ["partly_cancelled", "cancelled", "refunded"]
    stored = await order(confiido, bought.id)
    assert (stored["status"], stored["refunded"].to_decimal()) == ("refunded", 100)
    assert [each["type"] for each in stored["outbox"]] == [
        "order.placed",
        "order.paid",
        "order.cancelled",
        "order.cancelled",
        "order.refunded",
    ]
    with pytest.raises(Conflict) as refused:
        await confiido.orders.cancel(bought.id, actor=ada)
    assert refused.value.code == "nothing_to_cancel"
    await all_is_well(confiido)


async def test_an_unpaid_order_is_cancelled_with_nothing_due(confiido: Confiido, grace: Expert) -> None:
    ada = a_client()
    bought = await confiido.orders.create(await a_course(confiido, grace), actor=ada)

    done = await confiido.orders.cancel(bought.id, actor=ada, request_key="k")
    again = await confiido.orders.cancel(bought.id, actor=ada, request_key="k")

    assert (done.order.status, done.refund_due) == ("cancelled", 0)
    assert again.order.raw_sessions == done.order.raw_sessions
    await all_is_well(confiido)


@pytest.mark.parametrize(
    ("rule", "begun", "named", "expected"),
    [
        ("each", False, [1], "partly_cancelled"),
        ("each", True, None, "partly_cancelled"),
        ("rest", False, [1], "rest_only"),
        ("rest", False, [0, 1, 2], "cancelled"),
        ("rest", True, [1, 2], "partly_cancelled"),
        ("rest", True, None, "partly_cancelled"),
        ("none", False, [1], "whole_order_only"),
        ("none", False, None, "cancelled"),
        ("none", True, None, "whole_order_only"),
    ],
)
async def test_what_of_an_order_its_client_may_cancel_is_the_services_rule(
    confiido: Confiido,
    grace: Expert,
    clock: Clock,
    rule: str,
    begun: bool,
    named: list[int] | None,
    expected: str,
) -> None:
    ada = a_client()
    bought = await confiido.orders.create(await a_course(confiido, grace, partial_cancel=rule), actor=ada)
    await confiido.orders.pay(bought.id, actor=ADMIN)
    if begun:
        clock.now = SIX + timedelta(minutes=1)
    ids = [bought.sessions[place].session_id for place in named] if named is not None else None

    try:
        got = str((await confiido.orders.cancel(bought.id, actor=ada, session_ids=ids)).order.status)
    except BookingError as refused:
        got = refused.code

    assert got == expected
    await all_is_well(confiido)


async def test_what_cannot_go_alone_is_not_cancelled_by_another_door_either(confiido: Confiido, grace: Expert) -> None:
    ada = a_client()
    bought = await confiido.orders.create(await a_course(confiido, grace, partial_cancel="none"), actor=ada)
    session_id = bought.sessions[1].session_id
    found = await confiido.bookings.find_session(session_id, actor=ada)

    with pytest.raises(Conflict) as refused:
        await confiido.bookings.cancel(found.booking_id, session_id, actor=ada)
    await confiido.bookings.cancel(found.booking_id, session_id, actor=ADMIN)

    assert refused.value.code == "part_of_order"
    assert (await confiido.orders.get(bought.id, actor=ada)).status == "pending_payment"
    await all_is_well(confiido)


async def test_a_session_cancelled_by_another_door_is_told_by_its_order(confiido: Confiido, grace: Expert) -> None:
    ada = a_client()
    bought = await confiido.orders.create(await a_course(confiido, grace), actor=ada)
    await confiido.orders.pay(bought.id, actor=ADMIN)
    found = await confiido.bookings.find_session(bought.sessions[0].session_id, actor=ada)

    await confiido.bookings.cancel(found.booking_id, found.session_id, actor=ada)

    assert (await order(confiido, bought.id))["status"] == "partly_cancelled"
    await all_is_well(confiido)


async def test_what_is_no_part_of_the_order_is_not_cancelled(confiido: Confiido, grace: Expert) -> None:
    ada = a_client()
    bought = await confiido.orders.create(await a_course(confiido, grace), actor=ada)

    answers = [
        await refusal(confiido, bought, actor, ids)
        for actor, ids in (
            (ada, [ObjectId()]),
            (ada, []),
            (a_client(), None),
            (a_service(), None),
        )
    ]

    assert answers == ["session_not_found", "session_not_found", "order_not_found", "not_allowed"]
    assert (await confiido.orders.get(bought.id, actor=ada)).raw_sessions == bought.raw_sessions


async def refusal(confiido: Confiido, bought: OrderView, actor: Actor, ids: list[ObjectId] | None) -> str:
    with pytest.raises(BookingError) as refused:
        await confiido.orders.cancel(bought.id, actor=actor, session_ids=ids)
    return refused.value.code


@pytest.mark.parametrize("others", [0, 1])
async def test_a_payment_that_comes_late_for_a_workshop_revives_the_place_if_it_is_free(
    confiido: Confiido, grace: Expert, clock: Clock, others: int
) -> None:
    yoga, ada = await offered(confiido, grace, "workshop"), a_client()
    (shared,) = await events_of(confiido, yoga, places=1)
    bought = await confiido.orders.create(id_of(yoga), actor=ada, service_session_id=shared)
    owed = await confiido.ledger.owed(Place.ORDER, bought.id, actor=ada)
    await confiido.ledger.open(owed, provider="bank", provider_order_id="o", actor=ada)
    clock.advance(minutes=31)
    for _ in range(others):
        await confiido.orders.create(id_of(yoga), actor=a_client(), service_session_id=shared)

    entry = await confiido.ledger.captured(
        provider="bank", provider_payment_id="p", provider_order_id="o", amount=owed.amount, currency="INR"
    )

    left = await confiido.orders.get(bought.id, actor=ada)
    held = await event(confiido, shared)
    placed = [each.to for each in entry.allocations]
    assert (left.status, placed) == (("expired", [Place.UNPLACED]) if others else ("paid", [Place.SESSION]))
    assert (held["seats"][0]["sessionId"] == bought.sessions[0].session_id) == (not others)
    clock.advance(minutes=1)
    await all_is_well(confiido)
