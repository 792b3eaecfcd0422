"""Who was migrated is met by their address, and taken over by its verified owner (MONEY, "Who the client is")."""

from dataclasses import replace

import pytest
from bson import ObjectId

from confiido_booking import Actor, Confiido, Conflict
from confiido_booking.migration import rollback
from confiido_booking.migration.sources import MongoSource
from tests.builders import Clock, a_client
from tests.migration.harness import AS_OF, CLIENT, MemorySource, everything, flat, migrate
from tests.migration.test_profiles import crm, estuary


@pytest.fixture(autouse=True)
def _today(clock: Clock) -> None:
    clock.now = AS_OF


def verified(email: str) -> Actor:
    return replace(a_client(email=email), email_verified=True)


async def test_an_account_that_was_migrated_is_met_by_its_address_and_never_taken_over(confiido: Confiido) -> None:
    account = {"_id": CLIENT, "email": " Ada@Example.org"}
    await migrate(confiido, MemorySource({"bookings": [flat()], "users": [account]}))
    caller = verified("ada@example.org")

    met = await confiido.customers.client_of(email="ADA@example.org")
    who = await confiido.customers.identify(caller)

    assert met.client_id == CLIENT
    assert who.id == caller.id


async def test_the_verified_owner_of_an_address_takes_over_what_only_the_address_named(confiido: Confiido) -> None:
    await migrate(confiido, MemorySource({"bookings": [crm()]}), profile="crm")
    (user,) = await confiido.store.find("read", "users", {})

    eve = await confiido.customers.identify(verified("eve@example.org"))

    assert (user["emailKey"], user["provisional"]) == ("eve@example.org", True)
    assert eve.id == user["_id"]
    assert (await confiido.bookings.of_client(user["_id"], actor=eve))["totalSessions"] == 1
    assert (await confiido.doctor.examine()).findings == []


async def test_a_client_without_a_user_is_taken_over_too(confiido: Confiido) -> None:
    await migrate(confiido, MemorySource({"bookings": [flat(clientId=None, clientEmail="Eve@example.org")]}))
    (booking,) = await confiido.store.find("read", "bookings", {})

    eve = await confiido.customers.identify(verified("eve@example.org"))
    again = await confiido.customers.client_of(email="eve@example.org")

    assert eve.id == again.client_id == booking["clientId"]
    assert (await confiido.bookings.of_client(booking["clientId"], actor=eve))["totalSessions"] == 1


async def test_an_address_that_is_not_verified_takes_over_nobody_who_was_migrated(confiido: Confiido) -> None:
    await migrate(confiido, MemorySource({"bookings": [flat(clientId=None, clientEmail="eve@example.org")]}))
    stranger = a_client(email="eve@example.org")

    who = await confiido.customers.identify(stranger)

    assert who.id == stranger.id


async def test_two_migrated_users_of_one_address_are_never_taken_for_each_other(confiido: Confiido) -> None:
    users = [{"id": number, "email": email} for number, email in ((1, "ann@example.org"), (2, "Ann@example.org"))]
    await migrate(confiido, MemorySource({"bookings": [estuary()], "users": users}), profile="estuary")
    caller = verified("ann@example.org")

    who = await confiido.customers.identify(caller)
    with pytest.raises(Conflict) as refusal:
        await confiido.customers.client_of(email="ann@example.org")

    assert who.id == caller.id
    assert refusal.value.code == "several_clients"


async def test_in_place_the_users_who_are_there_get_a_key_and_rollback_takes_it_back(
    confiido: Confiido, uri: str
) -> None:
    users = [{"_id": CLIENT, "email": "Ada@example.org", "password": "kept"}, {"_id": ObjectId(), "name": "Nobody"}]
    await confiido.store.collection("bookings").insert_one(flat())
    await confiido.store.collection("users").insert_many([dict(user) for user in users])

    applied = await migrate(confiido, MongoSource(uri, in_place=True), in_place=True)
    met = await confiido.customers.client_of(email="ada@example.org")
    again = await migrate(confiido, MongoSource(uri, in_place=True), in_place=True)
    await rollback(confiido.store, applied.run, now=AS_OF)

    assert (met.client_id, again.wrote) == (CLIENT, 0)
    assert {user["_id"]: user for user in (await everything(confiido, "users"))["users"]} == {
        user["_id"]: user for user in users
    }
