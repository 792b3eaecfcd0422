"""From a request to a confirmed session: what each step does, and what it refuses (SPEC 4; MONEY, Sessions; 2.1)."""

from datetime import timedelta
from decimal import Decimal

import pytest
from bson import ObjectId

from confiido_booking import Actor, AddOn, BookingError, ClientRef, Confiido, Expert, Settings
from confiido_booking.bookings.models import CancellationPolicy, CancellationTier
from confiido_booking.bookings.views import Change
from confiido_booking.catalog.service import ServiceInput
from confiido_booking.database.store import Document
from tests.builders import MONDAY, Clock, a_client, a_service, an_admin, an_expert, make_expert
from tests.laws.check import check_laws

NOON = MONDAY + timedelta(hours=3)


@pytest.fixture
def ada() -> Actor:
    return a_client()


@pytest.fixture
async def grace(confiido: Confiido) -> Expert:
    return await make_expert(confiido, buffer_before=10)


async def asked(confiido: Confiido, ada: Actor, grace: Expert, **further: object) -> Change:
    """Ada asks Grace for half an hour of video at noon."""
    wish: dict[str, object] = {"expert": grace.id, "session_type": "video", "duration": 30, "starts_at": NOON}
    return await confiido.bookings.request(actor=ada, **{**wish, **further})  # type: ignore[arg-type]


async def offered(confiido: Confiido, ada: Actor, grace: Expert, **terms: object) -> Change:
    """Grace offers what Ada asked for, for 25 INR unless the terms say otherwise."""
    asked_for = await asked(confiido, ada, grace)
    return await confiido.bookings.quote(
        *ids(asked_for),
        actor=an_expert(grace),
        **{"amount": Decimal(25), **terms},  # type: ignore[arg-type]
    )


def ids(change: Change) -> tuple[ObjectId, ObjectId]:
    return change.booking_id, change.session_id


async def event_of(confiido: Confiido, change: Change) -> Document:
    found = await confiido.store.collection("service_sessions").find_one(
        {"_id": change.raw_session["serviceSessionId"]}
    )
    assert found is not None
    return dict(found)


async def refused(command: object) -> str:
    with pytest.raises(BookingError) as refusal:
        await command  # type: ignore[misc]
    return refusal.value.code


async def test_a_request_may_leave_everything_open(confiido: Confiido, ada: Actor) -> None:
    change = await confiido.bookings.request(actor=ada, notes="Someone for my thesis?")

    session = change.raw_session
    assert (session["status"], session["notes"]) == ("requested", "Someone for my thesis?")
    assert not {"expertId", "sessionType", "duration", "startsAt", "claimId"} & session.keys()
    assert session["requestedAt"] == MONDAY
    assert session["history"][0]["actor"] == {"role": "client", "id": ada.id}
    assert (await event_of(confiido, change))["status"] == "draft"
    assert change.booking.total_sessions == 1
    assert change.booking.total_spent == 0
    await check_laws(confiido)


async def test_a_requested_and_a_quoted_time_claim_nothing(confiido: Confiido, ada: Actor, grace: Expert) -> None:
    await offered(confiido, ada, grace)

    await confiido.bookings.book(
        actor=a_client(), expert=grace.id or "", session_type="video", duration=30, starts_at=NOON
    )

    await check_laws(confiido)


async def test_a_request_without_an_expert_is_seen_by_its_client_and_by_admins(
    confiido: Confiido, ada: Actor, grace: Expert
) -> None:
    change = await confiido.bookings.request(actor=ada)
    mentor, bo = an_expert(grace), a_client()

    totals = [(await confiido.bookings.list(actor=who)).total for who in (ada, an_admin(), mentor, bo)]

    assert totals == [1, 1, 0, 0]
    for stranger in (mentor, bo):
        assert await refused(confiido.bookings.find_session(change.session_id, actor=stranger)) == "session_not_found"
    await confiido.bookings.find_session(change.session_id, actor=ada)


@pytest.mark.parametrize("staff", [an_admin(), a_service()])
async def test_staff_requests_for_somebody_who_phoned(confiido: Confiido, staff: Actor, grace: Expert) -> None:
    client = await confiido.customers.client_of(email=" Ada@Example.org ", name="Ada")

    change = await asked(confiido, staff, grace, client=client, source="phone")

    assert change.document["clientId"] == client.client_id
    assert change.raw_session["source"] == "phone"
    assert change.raw_session["createdBy"]["role"] == staff.role


async def test_an_expert_does_not_request(confiido: Confiido, grace: Expert) -> None:
    mentor = an_expert(grace)

    assert await refused(asked(confiido, mentor, grace)) == "not_allowed"


async def test_a_request_names_who_is_there(confiido: Confiido, ada: Actor, grace: Expert) -> None:
    own = Actor.client(grace.user_id)

    assert await refused(asked(confiido, ada, grace, expert="9999")) == "expert_not_found"
    assert await refused(asked(confiido, own, grace)) == "self_booking"
    assert await refused(asked(confiido, ada, grace, starts_at=MONDAY - timedelta(minutes=1))) == "starts_in_past"
    assert await refused(asked(confiido, ada, grace, duration=4)) == "invalid_input"
    assert await refused(asked(confiido, ada, grace, session_type="telepathy")) == "invalid_input"
    assert await confiido.store.collection("bookings").count_documents({}) == 0


async def test_a_request_repeated_with_its_key_is_one_request(confiido: Confiido, ada: Actor, grace: Expert) -> None:
    first = await asked(confiido, ada, grace, request_key="once")

    again = await asked(confiido, ada, grace, request_key="once")

    assert again.repeated
    assert again.session_id == first.session_id
    assert await confiido.store.collection("service_sessions").count_documents({}) == 1


async def test_a_quote_is_its_amount_and_its_add_ons(confiido: Confiido, ada: Actor, grace: Expert) -> None:
    add_ons = [AddOn(name="Recording", price=Decimal(5)), AddOn(name="Homework", price=Decimal("7.50"), minutes=15)]

    change = await offered(confiido, ada, grace, add_ons=add_ons, text="As we said")

    session = change.session
    assert session.current_quote is not None
    assert (session.status, session.quote_amount, session.current_quote.total) == (
        "quoted",
        Decimal("37.50"),
        Decimal("37.50"),
    )
    assert (session.price, session.duration, session.quoted_at) == (0, 30, MONDAY)
    assert [each.minutes for each in session.add_ons] == [0, 15]
    assert session.history[-1].actor.role == "expert"
    assert change.booking.total_spent == 0
    await check_laws(confiido)


async def test_a_new_quote_replaces_the_old_and_both_stay_in_the_history(
    confiido: Confiido, ada: Actor, grace: Expert
) -> None:
    first = await offered(confiido, ada, grace, amount=Decimal(25))

    second = await confiido.bookings.quote(*ids(first), actor=an_admin(), amount=Decimal(20))

    session = second.session
    assert session.quote_amount == 20
    assert [quote.total for quote in session.quotes] == [25, 20]
    assert [entry.quote_id for entry in session.history[1:]] == [quote.quote_id for quote in session.quotes]


async def test_an_offer_is_made_to_somebody_who_did_not_ask(confiido: Confiido, grace: Expert) -> None:
    client = await confiido.customers.client_of(email="ada@example.org")

    change = await confiido.bookings.quote_new(
        actor=an_expert(grace), client=client, amount=Decimal(30), session_type="video", duration=45
    )

    session = change.session
    assert (session.status, session.expert_id, session.quote_amount) == ("quoted", grace.id, 30)
    assert session.current_quote is not None
    assert [entry.quote_id for entry in session.history] == [session.current_quote.quote_id]
    await check_laws(confiido)


async def test_an_expert_offers_the_own_time_to_people_they_know(confiido: Confiido, ada: Actor, grace: Expert) -> None:
    ken = await make_expert(confiido)
    mentor, stranger = an_expert(grace), ClientRef(client_id=ObjectId())
    kind = {"amount": Decimal(30), "session_type": "video", "duration": 45}
    by_mail = await confiido.customers.client_of(email="ada@example.org")
    acquainted = ClientRef(client_id=(await offered(confiido, ada, grace)).document["clientId"])

    for_ken = confiido.bookings.quote_new(actor=mentor, client=by_mail, expert=ken.id, **kind)  # type: ignore[arg-type]
    unknown = confiido.bookings.quote_new(actor=mentor, client=stranger, **kind)  # type: ignore[arg-type]

    assert await refused(for_ken) == "not_allowed"
    assert await refused(unknown) == "client_not_found"
    await confiido.bookings.quote_new(actor=mentor, client=acquainted, **kind)  # type: ignore[arg-type]


async def test_a_quote_with_nonsense_is_refused_and_changes_nothing(
    confiido: Confiido, ada: Actor, grace: Expert
) -> None:
    change = await asked(confiido, ada, grace)
    mentor = an_expert(grace)
    many = [AddOn(name="One", price=Decimal(1))] * 21
    nonsense: list[tuple[dict[str, object], str]] = [
        ({"amount": Decimal(-1)}, "invalid_amount"),
        ({"amount": Decimal("0.001")}, "invalid_amount"),
        ({"amount": 1.5}, "invalid_amount"),
        ({"amount": Decimal(1), "currency": "XXX"}, "invalid_currency"),
        ({"amount": Decimal(1), "expires_at": MONDAY}, "invalid_input"),
        ({"amount": Decimal(1), "text": "a\0b"}, "invalid_input"),
        ({"amount": Decimal(1), "add_ons": many}, "invalid_input"),
        ({"amount": Decimal(1), "add_ons": [AddOn(name=" ", price=Decimal(1))]}, "invalid_input"),
        ({"amount": Decimal(1), "add_ons": [AddOn(name="x", price=Decimal(-1))]}, "invalid_amount"),
        ({"amount": Decimal(1), "add_ons": [AddOn(name="x", price=Decimal(1), minutes=1411)]}, "invalid_input"),
        ({"amount": Decimal(1), "add_ons": [AddOn(name="x", price=Decimal(1), minutes=-1)]}, "invalid_input"),
        ({"amount": Decimal(999_999_999_999), "add_ons": many[:2]}, "invalid_amount"),
    ]

    codes = [
        await refused(confiido.bookings.quote(*ids(change), actor=mentor, **terms))  # type: ignore[arg-type]
        for terms, _ in nonsense
    ]

    assert codes == [code for _, code in nonsense]
    assert (await confiido.bookings.find_session(change.session_id, actor=ada)).session.status == "requested"


async def test_accepting_copies_the_total_and_the_minutes_and_holds_the_time(
    confiido: Confiido, ada: Actor, grace: Expert, settings: Settings
) -> None:
    change = await offered(confiido, ada, grace, add_ons=[AddOn(name="Homework", price=Decimal(5), minutes=15)])
    quote = change.raw_session["quotes"][-1]["quoteId"]

    accepted = await confiido.bookings.accept(*ids(change), actor=ada, quote_id=quote)

    session = accepted.session
    assert (session.status, session.price, session.payment_status) == ("pending", 30, "pending")
    assert (session.duration, session.ends_at, session.end_time) == (45, NOON + timedelta(minutes=45), "18:15")
    assert settings.hold is not None
    assert session.timeout_at == MONDAY + settings.hold
    assert (session.policy.price_source, session.policy.buffer_before) == ("quote", 10)
    assert session.booked_at == MONDAY
    assert accepted.booking.total_spent == 30
    assert (await event_of(confiido, accepted))["status"] == "scheduled"
    await check_laws(confiido)


async def test_the_policy_of_the_service_that_was_asked_for_wins_over_the_experts(
    confiido: Confiido, ada: Actor, grace: Expert
) -> None:
    strict = CancellationPolicy(
        tiers=[CancellationTier(hours_before=48, refund_percent=50)], client_until_hours_before=4
    )
    known = {"service_type": "individual", "name": "Coaching", "price_cents": 2500, "duration": 30}
    service = ServiceInput.model_validate({**known, "cancellation_policy": strict.model_dump()})
    sold = await confiido.catalog.create(actor=an_expert(grace), service=service)
    accepting, booking = [
        await asked(confiido, ada, grace, service_id=sold.id, starts_at=NOON + timedelta(days=day)) for day in (0, 1)
    ]
    await confiido.bookings.quote(*ids(accepting), actor=an_expert(grace), amount=Decimal(25))

    accepted = await confiido.bookings.accept(*ids(accepting), actor=ada)
    booked = await confiido.bookings.book_requested(*ids(booking), actor=an_admin(), price=Decimal(25))

    assert [change.session.policy.cancellation for change in (accepted, booked)] == [strict, strict]
    assert accepted.session.client_cancel_until == NOON - timedelta(hours=4)
    await check_laws(confiido)


@pytest.mark.parametrize(
    ("amount", "payment", "payment_status"), [(0, "upfront", "not_required"), (9, "later", "pending")]
)
async def test_what_is_free_or_paid_later_is_not_held_for_a_payment(
    confiido: Confiido, ada: Actor, amount: int, payment: str, payment_status: str
) -> None:
    ken = await make_expert(confiido, payment=payment)
    change = await offered(confiido, ada, ken, amount=Decimal(amount))

    accepted = await confiido.bookings.accept(*ids(change), actor=ada)

    assert accepted.session.status == "pending"
    assert accepted.session.timeout_at is None
    assert accepted.session.payment_status == payment_status


async def test_a_quote_that_was_replaced_is_not_accepted(confiido: Confiido, ada: Actor, grace: Expert) -> None:
    first = await offered(confiido, ada, grace)
    old = first.raw_session["quotes"][-1]["quoteId"]
    await confiido.bookings.quote(*ids(first), actor=an_admin(), amount=Decimal(99))

    assert await refused(confiido.bookings.accept(*ids(first), actor=ada, quote_id=old)) == "quote_replaced"
    assert (await confiido.bookings.find_session(first.session_id, actor=ada)).session.status == "quoted"


async def test_an_expired_quote_is_not_accepted_while_an_admin_may_book_it_or_offer_anew(
    confiido: Confiido, ada: Actor, grace: Expert, clock: Clock
) -> None:
    change = await offered(confiido, ada, grace, expires_at=MONDAY + timedelta(hours=1))
    clock.advance(hours=1)

    assert await refused(confiido.bookings.accept(*ids(change), actor=ada)) == "quote_expired"
    anew = await confiido.bookings.quote(*ids(change), actor=an_admin(), amount=Decimal(25), expires_at=NOON)
    clock.now = NOON
    booked = await confiido.bookings.book_requested(*ids(anew), actor=an_admin())

    assert (booked.session.status, booked.session.price) == ("confirmed", 25)


async def test_what_is_incomplete_is_neither_accepted_nor_booked(confiido: Confiido, ada: Actor) -> None:
    change = await confiido.bookings.request(actor=ada)
    await confiido.bookings.quote(*ids(change), actor=an_admin(), amount=Decimal(25))

    for command in (
        confiido.bookings.accept(*ids(change), actor=ada),
        confiido.bookings.book_requested(*ids(change), actor=an_admin(), duration=30),
    ):
        with pytest.raises(BookingError) as refusal:
            await command
        assert refusal.value.code == "incomplete"
        missing = {error.path for error in refusal.value.errors}  # type: ignore[attr-defined]
        assert missing >= {"expertId", "sessionType", "startsAt"}
    assert (await confiido.bookings.find_session(change.session_id, actor=ada)).session.status == "quoted"


async def test_a_quote_says_what_the_request_left_open(confiido: Confiido, ada: Actor, grace: Expert) -> None:
    change = await confiido.bookings.request(actor=ada, scheduled_date="2026-03-05", start_time="9:30")
    assert (change.session.start_time, change.session.end_time) == ("09:30", None)

    quoted = await confiido.bookings.quote(
        *ids(change), actor=an_admin(), amount=Decimal(25), expert=grace.id, session_type="audio", duration=50
    )
    accepted = await confiido.bookings.accept(*ids(quoted), actor=ada)

    session = accepted.session
    assert (session.start_time, session.end_time, session.session_type) == ("09:30", "10:20", "audio")
    assert session.title == "Audio session with Grace"
    await check_laws(confiido)


async def test_a_session_is_booked_from_a_request_at_the_expert_s_price(
    confiido: Confiido, ada: Actor, grace: Expert
) -> None:
    change = await asked(confiido, ada, grace)

    booked = await confiido.bookings.book_requested(*ids(change), actor=an_admin())

    session = booked.session
    assert (session.status, session.price, session.policy.price_source) == ("confirmed", 20, "expert")
    assert session.confirmed_at == session.booked_at == MONDAY
    assert session.timeout_at is None
    await check_laws(confiido)


async def test_booking_takes_what_the_admin_says_over_what_was_asked(
    confiido: Confiido, ada: Actor, grace: Expert
) -> None:
    ken = await make_expert(confiido, email=None)
    change = await offered(confiido, ada, grace, add_ons=[AddOn(name="Homework", price=Decimal(5), minutes=15)])
    later = NOON + timedelta(hours=1)

    booked = await confiido.bookings.book_requested(
        *ids(change), actor=an_admin(), expert=ken.id, starts_at=later, duration=60, price=Decimal(50)
    )

    session = booked.session
    assert (session.expert_id, session.expert_email) == (ken.id, None)
    assert (session.starts_at, session.duration, session.price) == (later, 75, 50)
    assert session.policy.price_source == "admin"
    await check_laws(confiido)


@pytest.mark.parametrize("status", ["requested", "quoted"])
async def test_what_is_not_offered_needs_a_price(confiido: Confiido, ada: Actor, grace: Expert, status: str) -> None:
    change = await asked(confiido, ada, grace, duration=42)
    if status == "quoted":
        await confiido.bookings.quote(*ids(change), actor=an_admin(), amount=Decimal(1))
        assert (await confiido.bookings.book_requested(*ids(change), actor=an_admin())).session.price == 1
        return

    assert await refused(confiido.bookings.book_requested(*ids(change), actor=an_admin())) == "session_type_not_offered"


async def test_a_taken_time_is_neither_accepted_nor_booked(confiido: Confiido, ada: Actor, grace: Expert) -> None:
    change = await offered(confiido, ada, grace)
    await confiido.bookings.book(
        actor=a_client(), expert=grace.id or "", session_type="video", duration=30, starts_at=NOON
    )

    assert await refused(confiido.bookings.accept(*ids(change), actor=ada)) == "slot_taken"
    assert await refused(confiido.bookings.book_requested(*ids(change), actor=an_admin())) == "slot_taken"
    assert (await confiido.bookings.find_session(change.session_id, actor=ada)).session.status == "quoted"
    await check_laws(confiido)


async def test_a_client_who_is_busy_then_does_not_accept(confiido: Confiido, ada: Actor, grace: Expert) -> None:
    ken = await make_expert(confiido)
    change = await offered(confiido, ada, grace)
    await confiido.bookings.book(actor=ada, expert=ken.id or "", session_type="video", duration=30, starts_at=NOON)

    assert await refused(confiido.bookings.accept(*ids(change), actor=ada)) == "client_busy"
    calendar = await confiido.store.collection("calendars").find_one({"_id": grace.id})
    assert calendar is not None
    assert calendar["busy"] == []


async def test_a_quote_over_an_own_lapsed_hold_is_accepted(
    confiido: Confiido, ada: Actor, grace: Expert, clock: Clock
) -> None:
    change = await offered(confiido, ada, grace)
    await confiido.bookings.book(actor=ada, expert=grace.id or "", session_type="video", duration=30, starts_at=NOON)
    clock.advance(minutes=31)

    accepted = await confiido.bookings.accept(*ids(change), actor=ada)

    assert accepted.session.status == "pending"
    await check_laws(confiido)


async def test_who_may_do_what_with_a_request_and_a_quote(confiido: Confiido, ada: Actor, grace: Expert) -> None:
    ken = await make_expert(confiido)
    change = await offered(confiido, ada, grace)
    bookings, admin, service = confiido.bookings, an_admin(), a_service()
    one, mentor = ids(change), an_expert(grace)

    assert await refused(bookings.quote(*one, actor=ada, amount=Decimal(1))) == "not_allowed"
    assert await refused(bookings.quote(*one, actor=service, amount=Decimal(1))) == "not_allowed"
    assert await refused(bookings.quote(*one, actor=an_expert(ken), amount=Decimal(1))) == "session_not_found"
    assert await refused(bookings.quote(*one, actor=mentor, amount=Decimal(1), expert=ken.id)) == "not_allowed"
    assert await refused(bookings.accept(*one, actor=admin)) == "not_allowed"
    assert await refused(bookings.accept(*one, actor=a_client())) == "booking_not_found"
    assert await refused(bookings.book_requested(*one, actor=ada)) == "not_allowed"
    assert await refused(bookings.book_requested(*one, actor=mentor)) == "not_allowed"
    assert await refused(bookings.decline(*one, actor=mentor)) == "not_allowed"
    assert await refused(bookings.decline(*one, actor=service)) == "not_allowed"


async def test_a_request_is_declined_by_the_expert_and_a_quote_by_the_client(
    confiido: Confiido, ada: Actor, grace: Expert
) -> None:
    request, quote = await asked(confiido, ada, grace), await offered(confiido, ada, grace)

    assert await refused(confiido.bookings.decline(*ids(request), actor=ada)) == "not_allowed"
    no_time = await confiido.bookings.decline(*ids(request), actor=an_expert(grace), reason="I am away")
    too_dear = await confiido.bookings.decline(*ids(quote), actor=ada)

    assert [c.session.status for c in (no_time, too_dear)] == ["cancelled", "cancelled"]
    assert (no_time.session.cancelled_by, no_time.session.cancellation_reason) == ("expert", "I am away")
    assert too_dear.session.cancelled_by == "client"
    assert [entry.action for entry in too_dear.session.history] == ["request", "quote", "decline"]
    assert (await event_of(confiido, too_dear))["status"] == "canceled"
    await check_laws(confiido)


async def test_a_client_withdraws_a_request_whose_time_has_passed(
    confiido: Confiido, ada: Actor, grace: Expert, clock: Clock
) -> None:
    change = await asked(confiido, ada, grace)
    clock.now = NOON + timedelta(days=1)

    withdrawn = await confiido.bookings.cancel(*ids(change), actor=ada)

    assert withdrawn.session.status == "cancelled"


async def test_a_time_that_has_passed_is_not_accepted_but_an_admin_may_book_it(
    confiido: Confiido, ada: Actor, grace: Expert, clock: Clock
) -> None:
    change = await offered(confiido, ada, grace)
    clock.now = NOON + timedelta(minutes=1)

    assert await refused(confiido.bookings.accept(*ids(change), actor=ada)) == "starts_in_past"
    booked = await confiido.bookings.book_requested(*ids(change), actor=an_admin())

    assert booked.session.status == "confirmed"


@pytest.mark.parametrize("action", ["quote", "accept", "book", "decline"])
async def test_what_is_booked_is_not_offered_taken_or_declined_again(
    confiido: Confiido, ada: Actor, grace: Expert, action: str
) -> None:
    change = await asked(confiido, ada, grace)
    await confiido.bookings.book_requested(*ids(change), actor=an_admin())
    bookings = confiido.bookings

    again = {
        "quote": lambda: bookings.quote(*ids(change), actor=an_admin(), amount=Decimal(1)),
        "accept": lambda: bookings.accept(*ids(change), actor=ada),
        "book": lambda: bookings.book_requested(*ids(change), actor=an_admin()),
        "decline": lambda: bookings.decline(*ids(change), actor=an_admin()),
    }[action]

    with pytest.raises(BookingError) as refusal:
        await again()
    assert refusal.value.code == "transition_refused"
    assert refusal.value.details == {"status": "confirmed"}


async def test_a_booking_s_currency_is_that_of_its_first_session_as_it_was_offered(
    confiido: Confiido, ada: Actor, grace: Expert
) -> None:
    change = await asked(confiido, ada, grace)
    assert change.booking.currency == "INR"

    await confiido.bookings.quote(*ids(change), actor=an_admin(), amount=Decimal(1500), currency="JPY")
    accepted = await confiido.bookings.accept(*ids(change), actor=ada)

    assert (accepted.booking.currency, accepted.booking.total_spent) == ("JPY", 1500)
    assert await refused(confiido.bookings.quote(*ids(change), actor=an_admin(), amount=Decimal(1))) != ""
    await check_laws(confiido)


async def test_an_imported_quote_that_is_an_amount_alone_is_accepted(
    confiido: Confiido, ada: Actor, grace: Expert
) -> None:
    change = await offered(confiido, ada, grace, amount=Decimal(40))
    await confiido.store.collection("bookings").update_one(
        {"_id": change.booking_id}, {"$unset": {"sessions.0.quotes": ""}}
    )

    accepted = await confiido.bookings.accept(*ids(change), actor=ada, quote_id=change.session_id)

    assert accepted.session.price == 40
