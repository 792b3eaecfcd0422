"""The worker, which looks for what is due every few seconds, walks no whole collection for it."""

from datetime import timedelta
from typing import Any

import pytest
from bson import ObjectId

from confiido_booking import Confiido
from confiido_booking.bookings import guards
from confiido_booking.database.store import Document
from confiido_booking.events.log import OUTBOXES
from tests.builders import MONDAY
from tests.integration.test_query_plans import scans

FILLING = 3000
PAST = MONDAY - timedelta(days=9999)


@pytest.fixture(autouse=True)
def _real_server(engine_is_embedded: bool) -> None:
    if engine_is_embedded:
        pytest.skip("The embedded engine explains no plan; MONGODB_URI names a server that does")


async def fill(confiido: Confiido, collection: str, **fields: Any) -> None:
    """So many documents of which a few hundred differ, as those that wait do."""
    documents = [
        {"_id": ObjectId(), **{name: make(number) for name, make in fields.items()}} for number in range(FILLING)
    ]
    await confiido.store.collection(collection).insert_many(documents)


@pytest.mark.parametrize("collection", OUTBOXES)
async def test_outboxes_are_found_by_their_index(confiido: Confiido, collection: str) -> None:
    empty = (
        {"_id": ObjectId(), **(guards.empty_booking(ObjectId(), MONDAY) if collection == "bookings" else {})}
        for _ in range(FILLING)
    )
    if collection == "bookings":
        await confiido.store.collection(collection).insert_many(list(empty))
    else:
        await fill(
            confiido, collection, expertId=lambda _: ObjectId(), number=str, key=str, clientId=lambda _: ObjectId()
        )

    query: Document = {"outboxSince": {"$gt": PAST}}
    assert not await scans(confiido.store, collection, query, sort={"outboxSince": 1}, limit=500)


async def test_the_log_is_read_and_numbered_by_its_indexes(confiido: Confiido) -> None:
    await fill(confiido, "events", seq=lambda number: number, source=lambda _: ObjectId(), place=lambda _: 1)
    sources = {"source": {"$in": [ObjectId()]}, "unnumberedSince": {"$gt": PAST}}

    assert not await scans(confiido.store, "events", {"unnumberedSince": {"$gt": PAST}}, sort={"unnumberedSince": 1})
    assert not await scans(confiido.store, "events", {"seq": {"$gt": 2900}}, sort={"seq": 1}, limit=100)
    assert not await scans(confiido.store, "events", sources)
    assert not await scans(confiido.store, "events", {"$or": [{"source": ObjectId(), "place": 1}]})


async def test_what_is_to_be_delivered_or_sent_is_found_by_its_index(confiido: Confiido) -> None:
    at = {"nextAttemptAt": lambda number: MONDAY + timedelta(minutes=number)}
    await fill(
        confiido,
        "webhook_deliveries",
        state=lambda number: "pending" if number % 50 == 0 else "delivered",
        webhookId=lambda _: ObjectId(),
        clientId=lambda _: ObjectId(),
        seq=lambda number: number,
        **at,
    )
    await fill(
        confiido,
        "communications",
        state=lambda number: "queued" if number % 50 == 0 else "sent",
        dueAt=lambda number: MONDAY + timedelta(minutes=number),
        sessionId=lambda _: ObjectId(),
    )
    earlier = {"webhookId": ObjectId(), "clientId": ObjectId(), "state": "pending", "seq": {"$lt": 7}}
    due = {"$lte": MONDAY + timedelta(hours=1)}

    assert not await scans(confiido.store, "webhook_deliveries", {"state": "pending", "nextAttemptAt": due})
    assert not await scans(confiido.store, "webhook_deliveries", earlier)
    assert not await scans(confiido.store, "communications", {"state": "queued", "dueAt": due}, sort={"dueAt": 1})
