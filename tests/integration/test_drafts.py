"""Drafts of packages and bundles: scheduled one by one within their validity, which ends by the service's rule."""

from datetime import timedelta

import pytest
from bson import ObjectId

from confiido_booking import Actor, Confiido, Expert
from confiido_booking.errors import BookingError
from confiido_booking.orders.reading import OrderView
from tests.builders import Clock, a_client, a_service, an_admin, an_expert, make_expert
from tests.laws.check import check_laws
from tests.laws.orders import broken_orders
from tests.ledger import broken_money
from tests.ordering import SIX, event, events_of, id_of, offered, order, package_of

ADMIN = an_admin()


@pytest.fixture
async def grace(confiido: Confiido) -> Expert:
    return await make_expert(confiido, buffer_before=10)


async def all_is_well(confiido: Confiido) -> None:
    await check_laws(confiido)
    assert await broken_orders(confiido) == []
    assert await broken_money(confiido) == []
    report = await confiido.doctor.examine()
    assert list(report.findings) == []


async def passes(
    confiido: Confiido, expert: Expert, ada: Actor, *, paid: bool = True, kind: str = "individual", **fields: object
) -> OrderView:
    """Three of one service, valid for 90 days."""
    child = await offered(confiido, expert, kind)
    known = {"price_cents": 90000, "validity_days": 90}
    bundle = await package_of(confiido, expert, (child, 3), service_type="bundle", **{**known, **fields})
    bought = await confiido.orders.create(id_of(bundle), actor=ada)
    return await confiido.orders.pay(bought.id, actor=ADMIN) if paid else bought


async def refusal(confiido: Confiido, session_id: ObjectId, actor: Actor, **given: object) -> str:
    with pytest.raises(BookingError) as refused:
        await confiido.orders.schedule(session_id, actor=actor, **given)  # type: ignore[arg-type]
    return refused.value.code


async def test_a_paid_draft_is_scheduled_by_its_client_and_confirmed(confiido: Confiido, grace: Expert) -> None:
    ada = a_client()
    bought = await passes(confiido, grace, ada)
    first = bought.sessions[0]

    change = await confiido.orders.schedule(first.session_id, actor=ada, starts_at=SIX, request_key="k")
    again = await confiido.orders.schedule(first.session_id, actor=ada, starts_at=SIX, request_key="k")

    session = change.session
    assert (session.status, session.starts_at, session.price) == ("confirmed", SIX, 300)
    assert again.raw_session == change.raw_session
    private = await event(confiido, session.service_session_id or ObjectId())
    assert (private["status"], private["startsAt"], private["_id"]) == ("scheduled", SIX, first.service_session_id)
    calendar = await confiido.store.collection("calendars").find_one({"_id": grace.id})
    assert calendar is not None
    assert [each["from"] for each in calendar["busy"]] == [SIX - timedelta(minutes=10)]
    assert (await confiido.orders.get(bought.id, actor=ada)).status == "paid"
    await all_is_well(confiido)


async def test_a_draft_of_a_workshop_takes_a_place_in_one_of_its_events(confiido: Confiido, grace: Expert) -> None:
    ada = a_client()
    bought = await passes(confiido, grace, ada, kind="workshop")
    child = await confiido.catalog.get(bought.sessions[0].service_id or ObjectId())
    (shared,) = await events_of(confiido, child, places=1)
    (other,) = await events_of(confiido, await offered(confiido, grace, "workshop"), first=SIX + timedelta(hours=3))
    ids = [session.session_id for session in bought.sessions]

    change = await confiido.orders.schedule(ids[0], actor=ada, service_session_id=shared)

    assert (change.session.status, change.session.seat, change.session.starts_at) == ("confirmed", True, SIX)
    held = await event(confiido, shared)
    assert [(seat["sessionId"], seat["orderId"]) for seat in held["seats"]] == [(ids[0], bought.id)]
    entry = await event(confiido, ids[0])
    assert (entry["visibility"], entry["eventId"], "status" in entry) == ("seat", shared, False)
    assert await refusal(confiido, ids[1], ada, service_session_id=shared) == "already_enrolled"
    assert await refusal(confiido, ids[1], ada, service_session_id=other) == "service_session_not_found"
    assert await refusal(confiido, ids[1], ada, starts_at=SIX) == "service_session_required"
    await all_is_well(confiido)


async def test_a_draft_whose_order_is_not_paid_is_held_until_it_is(
    confiido: Confiido, grace: Expert, clock: Clock
) -> None:
    ada = a_client()
    bought = await passes(confiido, grace, ada, paid=False)
    clock.advance(minutes=5)
    change = await confiido.orders.schedule(bought.sessions[0].session_id, actor=ada, starts_at=SIX)
    held = (change.session.status, change.session.timeout_at)

    paid = await confiido.orders.pay(bought.id, actor=ADMIN)

    assert held == ("pending", bought.sessions[0].timeout_at)
    assert [session.status for session in paid.sessions] == ["confirmed", "draft", "draft"]
    await all_is_well(confiido)


async def test_a_draft_of_an_order_that_lapsed_cannot_be_scheduled(
    confiido: Confiido, grace: Expert, clock: Clock
) -> None:
    ada = a_client()
    bought = await passes(confiido, grace, ada, paid=False)
    clock.advance(minutes=31)

    assert await refusal(confiido, bought.sessions[0].session_id, ada, starts_at=SIX) == "hold_expired"


async def test_who_schedules_what_and_when(confiido: Confiido, grace: Expert) -> None:
    ada, lin = a_client(), await make_expert(confiido)
    bought = await passes(confiido, grace, ada)
    first, second, third = (session.session_id for session in bought.sessions)
    await confiido.orders.schedule(first, actor=ada, starts_at=SIX)

    codes = [
        await refusal(confiido, second, actor, **given)
        for actor, given in (
            (ada, {}),
            (ada, {"starts_at": SIX - timedelta(days=7)}),
            (ada, {"starts_at": SIX + timedelta(minutes=30)}),
            (ada, {"starts_at": SIX + timedelta(days=90)}),
            (ada, {"starts_at": SIX, "service_session_id": ObjectId()}),
            (ada, {"starts_at": SIX, "expert": lin.id}),
            (a_client(), {"starts_at": SIX}),
            (an_expert(grace), {"starts_at": SIX}),
            (a_service(), {"starts_at": SIX}),
        )
    ]
    again = await refusal(confiido, first, ada, starts_at=SIX)
    of_lin = await confiido.orders.schedule(third, actor=ADMIN, starts_at=SIX + timedelta(days=1), expert=lin.id)

    assert codes == [
        "time_required",
        "starts_in_past",
        "slot_taken",
        "outside_validity",
        "time_required",
        "not_allowed",
        "session_not_found",
        "not_allowed",
        "not_allowed",
    ]
    assert again == "transition_refused"
    assert of_lin.session.expert_id == lin.id
    await all_is_well(confiido)


@pytest.mark.parametrize(
    ("rule", "statuses", "due", "status"),
    [
        ("forfeit", ["confirmed", "cancelled", "cancelled"], 0, "partly_cancelled"),
        ("refund", ["confirmed", "cancelled", "cancelled"], 600, "partly_cancelled"),
        ("extend", ["confirmed", "draft", "draft"], 0, "paid"),
    ],
)
async def test_the_end_of_a_validity_is_stated_in_advance_and_comes_by_the_services_rule(
    confiido: Confiido, grace: Expert, clock: Clock, rule: str, statuses: list[str], due: int, status: str
) -> None:
    ada = a_client()
    bought = await passes(confiido, grace, ada, on_expiry=rule)
    until = bought.order.valid_until
    assert until is not None
    await confiido.orders.schedule(bought.sessions[0].session_id, actor=ada, starts_at=SIX)
    early = await confiido.orders.expire_drafts()
    clock.now = until - timedelta(days=6)
    stated = [await confiido.orders.expire_drafts() for _ in range(2)]
    told = [each["type"] for each in (await order(confiido, bought.id))["outbox"]]
    clock.now = until

    ended = await confiido.orders.expire_drafts()

    assert (early, stated, ended) == (0, [1, 0], 1)
    assert told[-1] == "order.expiring"
    left = await confiido.orders.get(bought.id, actor=ada)
    assert [session.status for session in left.sessions] == statuses
    assert sum(session.refund_due or 0 for session in left.sessions) == due
    assert left.status == status
    expected = until + timedelta(days=90) if rule == "extend" else None
    assert left.order.valid_until == expected
    if rule == "extend":
        assert {session.valid_until for session in left.sessions[1:]} == {expected}
    await confiido.orders.expire_drafts()
    assert (await confiido.orders.get(bought.id, actor=ada)).raw_sessions == left.raw_sessions
    clock.advance(minutes=1)
    await all_is_well(confiido)


async def test_after_its_validity_a_draft_that_no_worker_has_met_is_refused_all_the_same(
    confiido: Confiido, grace: Expert, clock: Clock
) -> None:
    ada = a_client()
    bought = await passes(confiido, grace, ada)
    assert bought.order.valid_until is not None
    clock.now = bought.order.valid_until + timedelta(seconds=1)

    code = await refusal(confiido, bought.sessions[0].session_id, ada, starts_at=clock.now + timedelta(days=1))

    assert code == "validity_ended"
