"""The person behind a clientId: found or made by e-mail (MONEY, "Who the client is")."""

import asyncio

import pytest
from bson import ObjectId

from confiido_booking import Confiido, Invalid


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
