"""The person behind a clientId: found or made by e-mail (MONEY, "Who the client is")."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest
from bson import ObjectId

from confiido_booking import Actor, BookingError, ClientRef, Confiido, Conflict, Expert, Invalid, Role
from confiido_booking.bookings.views import Change
from confiido_booking.customers.service import Customers
from confiido_booking.database.store import Document, Hook
from tests.builders import Clock, a_client, a_service, an_admin, make_expert
from tests.laws.check import check_laws


async def test_a_client_named_by_email_is_made_once_and_found_ever_after(confiido: Confiido) -> None:
    made = await confiido.customers.client_of(email=" Ada@Example.org", name="Ada", phone="+91 98765")

    found = await confiido.customers.client_of(email="ADA@example.ORG", name="Somebody else")

    assert made.client_id == found.client_id
    assert (found.client_email, found.client_name) == ("Ada@example.org", "Ada")
    (user,) = await confiido.store.find("read", "users", {})
    assert (user["_id"], user["emailKey"], user["provisional"]) == (made.client_id, "ada@example.org", True)
    assert user["phone"] == "+91 98765"


async def test_what_was_not_known_of_a_client_is_filled_in(confiido: Confiido) -> None:
    await confiido.customers.client_of(email="ada@example.org")

    await confiido.customers.client_of(email="ada@example.org", name="Ada", phone="1")

    (user,) = await confiido.store.find("read", "users", {})
    assert (user["name"], user["phone"]) == ("Ada", "1")


async def test_of_fifty_racing_creations_of_one_address_one_client_comes(confiido: Confiido) -> None:
    spellings = ("ada@example.org", "Ada@Example.org", " ADA@EXAMPLE.ORG ")

    refs = await asyncio.gather(*(confiido.customers.client_of(email=spellings[n % 3]) for n in range(50)))

    assert len({ref.client_id for ref in refs}) == 1
    assert await confiido.store.count("count", "users", {}) == 1


async def test_an_explicit_client_is_never_matched_by_email(confiido: Confiido) -> None:
    await confiido.customers.client_of(email="ada@example.org")
    named = ObjectId()

    ref = await confiido.customers.client_of(client_id=named, email="ada@example.org")

    assert ref.client_id == named


async def test_without_a_name_to_find_nobody_is_made(confiido: Confiido) -> None:
    with pytest.raises(Invalid) as nobody:
        await confiido.customers.client_of(name="Ada", phone="1")
    with pytest.raises(Invalid) as nowhere:
        await confiido.customers.client_of(email="ada")
    with pytest.raises(Invalid):
        await confiido.customers.client_of(email="ada@example.org", name="\0")

    assert (nobody.value.code, nowhere.value.code) == ("client_required", "invalid_email")
    assert await confiido.store.count("count", "users", {}) == 0


# Taking over: a verified address leads to the provisional user of it.


def verified(email: str = "ada@example.org", *, id: ObjectId | None = None) -> Actor:
    return replace(a_client(id=id, email=email), email_verified=True)


async def booked(confiido: Confiido, expert: Expert, client: ObjectId, clock: Clock, *, hours: float = 24) -> Change:
    """What an admin books for a client."""
    return await confiido.bookings.book(
        actor=an_admin(),
        expert=expert.id or "",
        session_type="video",
        duration=30,
        starts_at=clock.now + timedelta(hours=hours),
        client=ClientRef(client_id=client),
    )


async def test_a_verified_address_takes_over_what_was_booked_for_it(confiido: Confiido, clock: Clock) -> None:
    expert = await make_expert(confiido)
    provisional = (await confiido.customers.client_of(email="ada@example.org")).client_id
    change = await booked(confiido, expert, provisional, clock)
    ada = verified(" ADA@Example.org".strip())

    known = await confiido.customers.identify(ada)

    assert (known.id, known.subject) == (provisional, ada.id)
    assert (await confiido.bookings.get(change.booking_id, actor=known))["clientId"] == provisional
    by_address = await confiido.customers.client_of(email="ada@example.org")
    by_token = await confiido.customers.client_of(client_id=ada.id)
    assert by_address.client_id == by_token.client_id == provisional
    await check_laws(confiido)


async def test_an_address_that_is_not_verified_links_nothing(confiido: Confiido) -> None:
    await confiido.customers.client_of(email="ada@example.org")
    before = await confiido.store.find("read", "users", {})
    ada = a_client(email="ada@example.org")

    assert (await confiido.customers.identify(ada)).id == ada.id
    assert await confiido.store.find("read", "users", {}) == before


async def test_who_has_bookings_of_their_own_takes_over_nothing(confiido: Confiido, clock: Clock) -> None:
    expert = await make_expert(confiido)
    ada = verified()
    await booked(confiido, expert, ada.id or ObjectId(), clock)
    provisional = (await confiido.customers.client_of(email="ada@example.org")).client_id

    assert (await confiido.customers.identify(ada)).id == ada.id != provisional
    user = await confiido.store.find_one("read", "users", {"_id": provisional})
    assert user is not None
    assert user["provisional"] is True
    assert "subjects" not in user


async def test_only_clients_take_over(confiido: Confiido) -> None:
    await confiido.customers.client_of(email="ada@example.org")

    for role in (Role.EXPERT, Role.ADMIN, Role.SERVICE):
        actor = replace(verified(), role=role)
        assert (await confiido.customers.identify(actor)) is actor


async def test_whoever_signed_in_with_a_verified_address_is_met_by_it(confiido: Confiido) -> None:
    ada = verified()
    await confiido.customers.identify(ada)

    assert (await confiido.customers.client_of(email="Ada@example.org")).client_id == ada.id


async def test_of_racing_callers_with_one_address_one_takes_over(confiido: Confiido) -> None:
    provisional = (await confiido.customers.client_of(email="ada@example.org")).client_id
    callers = [verified() for _ in range(20)]

    known = await asyncio.gather(*(confiido.customers.identify(caller) for caller in callers))

    assert [actor.id for actor in known].count(provisional) == 1
    assert {actor.id for actor in known} <= {provisional, *(caller.id for caller in callers)}
    (user,) = await confiido.store.find("read", "users", {"_id": provisional})
    assert len(user["subjects"]) == 1


async def test_one_caller_racing_with_themselves_is_linked_once(confiido: Confiido) -> None:
    provisional = (await confiido.customers.client_of(email="ada@example.org")).client_id
    ada = verified()

    known = await asyncio.gather(*(Customers(confiido.bookings.context).identify(ada) for _ in range(20)))

    assert {actor.id for actor in known} == {provisional}


async def test_what_a_caller_books_while_they_take_over_goes_with_them(confiido: Confiido, clock: Clock) -> None:
    expert = await make_expert(confiido)
    provisional = (await confiido.customers.client_of(email="ada@example.org")).client_id
    ada = verified()
    stale = Actor.client(ada.id or ObjectId())

    async def book_before_the_link(step: str) -> None:
        if step == "take over":
            confiido.store.hook = None
            await confiido.bookings.book(
                actor=stale,
                expert=expert.id or "",
                session_type="video",
                duration=30,
                starts_at=clock.now + timedelta(hours=24),
            )

    confiido.store.hook = book_before_the_link
    known = await confiido.customers.identify(ada)
    later = await confiido.bookings.book(
        actor=stale,
        expert=expert.id or "",
        session_type="video",
        duration=30,
        starts_at=clock.now + timedelta(hours=30),
    )

    assert known.id == provisional
    assert later.document["clientId"] == provisional
    assert later.document["totalSessions"] == 2
    await check_laws(confiido)
    assert (await confiido.doctor.examine()).findings == []


async def test_a_takeover_stopped_after_the_link_is_ended_by_the_doctor(confiido: Confiido, clock: Clock) -> None:
    expert = await make_expert(confiido)
    provisional = (await confiido.customers.client_of(email="ada@example.org")).client_id
    ada = verified()
    stale = Actor.client(ada.id or ObjectId())
    confiido.store.hook = _die_at("take")
    with pytest.raises(_Died):
        await confiido.customers.identify(ada)
    confiido.store.hook = None
    await booked(confiido, expert, stale.id or ObjectId(), clock)  # by a process that knows of nothing

    assert [finding.kind for finding in (await confiido.doctor.examine()).findings] == ["merge"]
    assert (await confiido.doctor.repair()).findings == []

    booking = await confiido.store.find_one("read", "bookings", {"clientId": provisional})
    assert booking is not None
    assert booking["totalSessions"] == 1
    await check_laws(confiido)


async def test_a_caller_costs_one_read_in_half_a_minute(confiido: Confiido, clock: Clock) -> None:
    ada = a_client()
    before = confiido.store.commands

    for _ in range(10):
        await confiido.customers.identify(ada)
    known_at_once = confiido.store.commands - before
    clock.advance(seconds=31)
    await confiido.customers.identify(ada)

    assert (known_at_once, confiido.store.commands - before) == (1, 2)


# Merging: what an administrator does about one person with two ids.


async def test_all_of_one_client_becomes_the_other_s(confiido: Confiido, clock: Clock) -> None:
    expert = await make_expert(confiido)
    old, new = a_client(), a_client()
    await completed(confiido, expert, old, clock, hours=2)
    clock.advance(days=800)
    await confiido.chores.archive_history()
    done = await completed(confiido, expert, old, clock, hours=3)
    await confiido.reviews.write(actor=old, session_id=done.session_id, rating=4)
    invoice = await confiido.invoices.of_sessions(actor=an_admin(), session_ids=[done.session_id])
    coming = await booked(confiido, expert, old.id or ObjectId(), clock, hours=30)
    await booked(confiido, expert, new.id or ObjectId(), clock, hours=40)

    merged = await merge(confiido, new, old)

    assert (merged["clientId"], merged["totalSessions"], len(merged["sessions"])) == (new.id, 4, 3)
    assert merged["totalSpent"].to_decimal() == 80
    assert (await confiido.bookings.list(actor=new)).total == 4
    assert (await confiido.bookings.list(actor=old)).total == 0
    assert (await confiido.invoices.get(invoice.invoice.id, actor=new)).invoice.client_id == new.id
    review = await confiido.store.find_one("read", "reviews", {})
    assert review is not None
    assert review["clientId"] == new.id
    assert (await confiido.bookings.get(coming.booking_id, actor=an_admin()))["clientId"] == new.id
    assert (await confiido.customers.identify(old)).id == new.id
    (event,) = await confiido.store.find("read", "service_sessions", {"listing.sessionId": coming.session_id})
    assert (event["listing"]["clientId"], event["seats"][0]["clientId"]) == (new.id, new.id)
    await check_laws(confiido)
    assert (await confiido.doctor.examine()).findings == []


async def test_sessions_that_overlap_are_kept_and_flagged(confiido: Confiido, clock: Clock) -> None:
    here, there = await make_expert(confiido), await make_expert(confiido)
    old, new = a_client(), a_client()
    await booked(confiido, here, old.id or ObjectId(), clock)
    await booked(confiido, there, new.id or ObjectId(), clock)

    merged = await merge(confiido, new, old)

    assert [session.get("conflict") for session in merged["sessions"]] == [None, True]
    assert {session["status"] for session in merged["sessions"]} == {"confirmed"}
    await check_laws(confiido)
    assert (await confiido.doctor.examine()).findings == []


async def test_a_merge_is_repeatable_and_its_booking_still_answers_to_its_old_id(
    confiido: Confiido, clock: Clock
) -> None:
    expert = await make_expert(confiido)
    old, new = a_client(), a_client()
    change = await booked(confiido, expert, old.id or ObjectId(), clock)

    merged = [await merge(confiido, new, old) for _ in range(3)]
    cancelled = await confiido.bookings.cancel(change.booking_id, change.session_id, actor=an_admin())

    assert [document["totalSessions"] for document in merged] == [1, 1, 1]
    assert (cancelled.document["clientId"], cancelled.session.status) == (new.id, "cancelled")
    await check_laws(confiido)


async def test_clients_are_merged_one_after_another_and_never_in_a_circle(confiido: Confiido, clock: Clock) -> None:
    expert = await make_expert(confiido)
    first, second, third = a_client(), a_client(), a_client()
    for hours, client in enumerate((first, second, third), 24):
        await booked(confiido, expert, client.id or ObjectId(), clock, hours=hours)

    await merge(confiido, second, first)
    chained = await merge(confiido, third, second)
    back = await merge(confiido, first, third)

    assert chained["totalSessions"] == back["totalSessions"] == 3
    assert back["clientId"] == third.id
    assert (await confiido.customers.identify(first)).id == third.id
    await check_laws(confiido)


async def test_racing_merges_of_two_clients_both_ways_leave_one_of_them(confiido: Confiido, clock: Clock) -> None:
    expert = await make_expert(confiido)
    one, other = a_client(), a_client()
    for hours, client in enumerate((one, other), 24):
        await booked(confiido, expert, client.id or ObjectId(), clock, hours=hours)

    await asyncio.gather(*(merge(confiido, *pair) for pair in [(one, other), (other, one)] * 5), return_exceptions=True)
    merged = await merge(confiido, one, other)

    assert merged["totalSessions"] == 2
    await check_laws(confiido)
    assert (await confiido.doctor.examine()).findings == []


async def test_a_client_is_taken_over_or_merged_away_but_never_both_ways(confiido: Confiido, clock: Clock) -> None:
    expert = await make_expert(confiido)
    for hours in range(24, 29):
        provisional = (await confiido.customers.client_of(email=f"ada{hours}@example.org")).client_id
        await booked(confiido, expert, provisional, clock, hours=hours)
        ada = verified(f"ada{hours}@example.org")

        await asyncio.gather(
            confiido.customers.identify(ada),
            merge(confiido, ada, Actor.client(provisional)),
            return_exceptions=True,
        )

        merged = await merge(confiido, ada, Actor.client(provisional))
        assert merged["totalSessions"] == 1
        assert (await Customers(confiido.bookings.context).identify(ada)).id == merged["clientId"]
    await check_laws(confiido)
    assert (await confiido.doctor.examine()).findings == []


async def test_a_merge_stopped_before_its_link_hinders_another_for_a_minute(confiido: Confiido, clock: Clock) -> None:
    expert = await make_expert(confiido)
    one, other = a_client(), a_client()
    for hours, client in enumerate((one, other), 24):
        await booked(confiido, expert, client.id or ObjectId(), clock, hours=hours)
    confiido.store.hook = _die_at("linked")
    with pytest.raises(_Died):
        await merge(confiido, one, other)
    confiido.store.hook = None

    with pytest.raises(Conflict) as early:
        await merge(confiido, other, one)
    clock.advance(seconds=61)
    merged = await merge(confiido, other, one)

    assert early.value.code == "try_again"
    assert (merged["clientId"], merged["totalSessions"]) == (other.id, 2)
    await check_laws(confiido)


async def test_bookings_that_race_with_a_merge_are_all_there_afterwards(confiido: Confiido, clock: Clock) -> None:
    expert = await make_expert(confiido)
    old, new = a_client(), a_client()
    first = await booked(confiido, expert, old.id or ObjectId(), clock, hours=23)

    async def book(hours: int) -> Change:
        client = (old, new)[hours % 2]
        return await confiido.bookings.book(
            actor=client,
            expert=expert.id or "",
            session_type="video",
            duration=30,
            starts_at=clock.now + timedelta(hours=hours),
        )

    *changes, _, _ = await asyncio.gather(
        *(book(hours) for hours in range(24, 36)),
        merge(confiido, new, old),
        confiido.bookings.cancel(first.booking_id, first.session_id, actor=an_admin()),
    )

    document = await merge(confiido, new, old)
    assert document["totalSessions"] == 13
    ids = {session["sessionId"]: session["status"] for session in document["sessions"]}
    assert {change.session_id for change in changes} < set(ids)
    assert ids[first.session_id] == "cancelled"
    await check_laws(confiido)
    assert (await confiido.doctor.examine()).findings == []


async def test_what_cannot_be_merged_is_refused_and_stays(confiido: Confiido, clock: Clock) -> None:
    expert = await make_expert(confiido)
    old, new, third = a_client(), a_client(), a_client()
    await booked(confiido, expert, old.id or ObjectId(), clock)

    async def refusal(into: Actor, from_: Actor, actor: Actor) -> str:
        before = await everything(confiido)
        with pytest.raises(BookingError) as refused:
            await confiido.customers.merge(into.id or ObjectId(), from_=from_.id or ObjectId(), actor=actor)
        assert await everything(confiido) == before
        return refused.value.code

    assert await refusal(new, new, an_admin()) == "same_client"
    assert await refusal(old, new, an_admin()) == "client_not_found"
    for actor in (new, a_service(), Actor.expert(ObjectId())):
        assert await refusal(new, old, actor) == "not_allowed"
    await merge(confiido, new, old)
    assert await refusal(third, old, an_admin()) == "merged_elsewhere"


async def test_two_clients_whose_bookings_do_not_fit_into_one_are_not_merged(confiido: Confiido, clock: Clock) -> None:
    expert = await make_expert(confiido)
    old, new = a_client(), a_client()
    for client in (old, new):
        change = await booked(confiido, expert, client.id or ObjectId(), clock, hours=24 + (client is old))
        await confiido.store.update(
            "fill", "bookings", {"_id": change.booking_id}, {"$set": {"sessions.0.internalNotes": "x" * 600_000}}
        )

    with pytest.raises(Conflict) as refused:
        await merge(confiido, new, old)

    assert refused.value.code == "booking_full"
    assert (await confiido.customers.identify(old)).id == old.id


class _Died(Exception):
    pass


def _die_at(step: str) -> Hook:
    async def hook(at: str) -> None:
        if at == step:
            raise _Died

    return hook


async def merge(confiido: Confiido, into: Actor, from_: Actor) -> Document:
    assert into.id is not None
    assert from_.id is not None
    return await confiido.customers.merge(into.id, from_=from_.id, actor=an_admin())


async def completed(confiido: Confiido, expert: Expert, client: Actor, clock: Clock, *, hours: float) -> Change:
    change = await booked(confiido, expert, client.id or ObjectId(), clock, hours=hours)
    return await confiido.bookings.complete(change.booking_id, change.session_id, actor=an_admin())


async def everything(confiido: Confiido) -> dict[str, list[Document]]:
    names = ("users", "bookings", "service_sessions", "calendars")
    return {name: await confiido.store.find("read", name, {}, sort=[("_id", 1)]) for name in names}


async def test_money_that_comes_by_the_name_of_a_merged_client_reaches_its_session(
    confiido: Confiido, clock: Clock
) -> None:
    expert = await make_expert(confiido)
    old, new = a_client(), a_client()
    change = await booked(confiido, expert, old.id or ObjectId(), clock)
    await merge(confiido, new, old)

    paid = await confiido.bookings.complete_payment(change.booking_id, change.session_id, actor=an_admin())

    assert (paid.document["clientId"], paid.session.payment_status) == (new.id, "paid")
    entries = await confiido.store.find("read", "payments", {})
    assert {entry["clientId"] for entry in entries} == {new.id}
    await check_laws(confiido)
    assert (await confiido.doctor.examine()).findings == []
