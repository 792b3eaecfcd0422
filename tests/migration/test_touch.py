"""Seed 2.15: one client's old documents are converted where they lie, and a half-done conversion is finished."""

from bson import ObjectId

from confiido_booking import Actor, Confiido
from confiido_booking.migration.sources import BACKUP
from confiido_booking.migration.touch import convert_client
from tests.migration.harness import AS_OF, CLIENT, flat, inner, nested


async def put(confiido: Confiido, *documents: dict[str, object]) -> None:
    await confiido.store.collection("bookings").insert_many([dict(document) for document in documents])


async def test_a_clients_flat_nested_and_hybrid_documents_become_one_and_others_stay(confiido: Confiido) -> None:
    other = flat(clientId=ObjectId())
    hybrid = flat(scheduledDate="2025-09-20", sessions=[inner(scheduledDate="2025-09-21")])
    await put(confiido, flat(), hybrid, nested(inner(sessionId=ObjectId(), scheduledDate="2025-09-22")), other)

    converted = await convert_client(confiido.store, confiido.settings, CLIENT, now=AS_OF)

    booking = await confiido.bookings.of_client(CLIENT, actor=Actor.client(CLIENT))
    assert converted
    assert booking["totalSessions"] == 4
    left = await confiido.store.find("read", "bookings", {"schemaVersion": {"$exists": False}})
    assert [document["_id"] for document in left] == [other["_id"]]
    assert len(await confiido.store.find("read", BACKUP, {})) == 3


async def test_where_there_is_nothing_old_one_read_says_so_and_nothing_is_written(confiido: Confiido) -> None:
    before = confiido.store.commands

    assert not await convert_client(confiido.store, confiido.settings, CLIENT, now=AS_OF)

    assert confiido.store.commands == before + 1


async def test_a_client_who_is_converted_costs_one_read(confiido: Confiido) -> None:
    await put(confiido, flat())
    await convert_client(confiido.store, confiido.settings, CLIENT, now=AS_OF)
    before = confiido.store.commands

    assert not await convert_client(confiido.store, confiido.settings, CLIENT, now=AS_OF)

    assert confiido.store.commands == before + 1
