"""The first writes into a store that has no collections yet, many at once."""

import asyncio

from bson import ObjectId

from confiido_booking.database.store import Store


async def test_many_first_writes_into_new_collections_all_succeed(store: Store) -> None:
    names = [f"made_by_its_first_write_{number}" for number in range(5)]
    documents = [(name, {"_id": ObjectId()}) for name in names for _ in range(20)]

    await asyncio.gather(*(store.insert("first write", name, document) for name, document in documents))

    assert [await store.count("count", name, {}) for name in names] == [20] * 5
