"""L1 beside documents of an old system: one current document of a client, whatever else lies in the collection."""

import asyncio
from typing import Any

import pytest
from bson import ObjectId
from pymongo import ASCENDING, IndexModel

from confiido_booking import Confiido
from confiido_booking.bookings import guards
from confiido_booking.bookings.healing import Healing
from confiido_booking.database.store import Duplicate
from tests.builders import Clock


async def old_documents(confiido: Confiido, client_id: ObjectId) -> None:
    """Three flat documents of one client, as an old system left them."""
    flat: list[dict[str, Any]] = [{"_id": ObjectId(), "clientId": client_id, "status": "pending"} for _ in range(3)]
    await confiido.store.collection("bookings").insert_many(flat)


async def current(confiido: Confiido, client_id: ObjectId) -> int:
    return await confiido.store.count("count", "bookings", guards.of_client(client_id))


async def test_many_old_documents_and_one_current_one_may_stand_beside_each_other(
    confiido: Confiido, clock: Clock
) -> None:
    client_id = ObjectId()
    await old_documents(confiido, client_id)
    await confiido.store.insert("insert", "bookings", guards.empty_booking(client_id, clock.now))

    with pytest.raises(Duplicate):
        await confiido.store.insert("insert", "bookings", guards.empty_booking(client_id, clock.now))

    assert await current(confiido, client_id) == 1


async def test_of_racing_first_documents_one_is_inserted(confiido: Confiido, clock: Clock) -> None:
    client_id = ObjectId()
    await old_documents(confiido, client_id)

    async def insert() -> bool:
        try:
            await confiido.store.insert("insert", "bookings", guards.empty_booking(client_id, clock.now))
        except Duplicate:
            return False
        return True

    inserted = await asyncio.gather(*(insert() for _ in range(20)))

    assert sum(inserted) == 1
    assert await current(confiido, client_id) == 1


async def test_a_fence_makes_its_own_document_and_never_marks_an_old_one(confiido: Confiido, clock: Clock) -> None:
    client_id, claim_ids = ObjectId(), [ObjectId() for _ in range(10)]
    await old_documents(confiido, client_id)

    fenced = await asyncio.gather(*(Healing(confiido.store).fence(client_id, c, clock.now) for c in claim_ids))

    (document,) = await confiido.store.find("read", "bookings", guards.of_client(client_id))
    assert all(fenced)
    assert set(document["abandonedClaims"]) == set(claim_ids)
    assert await confiido.store.count("count", "bookings", {"abandonedClaims": {"$exists": True}}) == 1


async def test_the_index_of_earlier_versions_is_replaced_and_a_second_run_changes_nothing(connected: Confiido) -> None:
    bookings = connected.store.collection("bookings")
    former = IndexModel([("clientId", ASCENDING)], unique=True, name="one_booking_per_client")
    await bookings.create_indexes([former])

    await connected.ensure_indexes()

    names = set(await bookings.index_information())
    assert {"one_document_per_client", "client"} < names
    assert "one_booking_per_client" not in names
    await connected.ensure_indexes()
    assert set(await bookings.index_information()) == names
    client_id = ObjectId()
    await old_documents(connected, client_id)
    for expected in (True, False):
        document = {"_id": ObjectId(), "clientId": client_id, "schemaVersion": 1}
        try:
            await connected.store.insert("insert", "bookings", document)
        except Duplicate:
            assert not expected
