"""SPEC 11: no list, and nothing on the way of a booking, walks a whole collection.

Judged by the server's own plan. FerretDB shows PostgreSQL's, where a ``Seq Scan`` reads every document; MongoDB has
``COLLSCAN``. The embedded engine has no plan worth the name: it may scan.
"""

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Literal

import pytest
from bson import ObjectId

from confiido_booking import Actor, Confiido
from confiido_booking.bookings import guards
from confiido_booking.bookings.dialects import SALES_WORDS, in_sales_word
from confiido_booking.bookings.models import CURRENT, OLD
from confiido_booking.bookings.reading import SessionFilter
from confiido_booking.database.store import Document, Store
from confiido_booking.workshops.reading import EventFilter, _query
from tests.builders import Clock, a_client, an_admin

STATUSES = ("completed", "confirmed", "pending", "cancelled", "no-show", "requested", "quoted", "draft")
FILLING = 3000  # entries: with few a plan rightly reads them all


@pytest.fixture(autouse=True)
def _real_server(engine_is_embedded: bool) -> None:
    if engine_is_embedded:
        pytest.skip("The embedded engine explains no plan; MONGODB_URI names a server that does")


@pytest.fixture
async def filled(confiido: Confiido, clock: Clock) -> Confiido:
    """Entries of many clients, experts, states and days."""
    entries = [
        {
            "_id": ObjectId(),
            "expertId": ObjectId(),
            "startsAt": clock.now - timedelta(hours=number),
            "status": "completed",
            "listing": {
                "sessionId": ObjectId(),
                "clientId": ObjectId(),
                "sessionType": "video",
                "status": STATUSES[number % len(STATUSES)],
                "timeoutAt": clock.now + timedelta(minutes=number),
            },
        }
        for number in range(FILLING)
    ]
    bookings = [guards.empty_booking(ObjectId(), clock.now) for _ in range(FILLING)]
    await confiido.store.collection("service_sessions").insert_many(entries)
    await confiido.store.collection("bookings").insert_many(bookings)
    return confiido


def nodes(plan: object) -> Iterator[Mapping[str, Any]]:
    """Every mapping in an explanation, however deep."""
    if isinstance(plan, Mapping):
        yield plan
        for part in plan.values():
            yield from nodes(part)
    elif isinstance(plan, list):
        for part in plan:
            yield from nodes(part)


async def scans(store: Store, collection: str, query: Document, **more: object) -> bool:
    """Whether the server would read the whole collection for this query."""
    command = {"explain": {"find": collection, "filter": query, **more}, "verbosity": "queryPlanner"}
    explanation = await store.database.command(command)
    steps = [node for node in nodes(explanation) if "Node Type" in node or "stage" in node]
    assert steps, explanation
    return any(_is_scan(step) for step in steps)


def _is_scan(step: Mapping[str, Any]) -> bool:
    """Also a walk along the whole of ``_id``, which is how FerretDB scans a collection it has no statistics of."""
    if (step.get("Node Type") or step.get("stage")) in ("Seq Scan", "COLLSCAN"):
        return True
    return step.get("Index Name") == "_id_" and "object_id" not in str(step.get("Index Cond"))


def _of_word(word: str, now: datetime) -> SessionFilter:
    return SessionFilter(conditions=[in_sales_word(word, now)])


LISTS: dict[str, Callable[[datetime], SessionFilter]] = {
    "client": lambda now: SessionFilter(client_id=ObjectId()),
    "expert": lambda now: SessionFilter(expert_id=ObjectId()),
    "confirmed": lambda now: SessionFilter(status="confirmed"),
    "pending": lambda now: SessionFilter(status="pending"),
    "cancelled": lambda now: SessionFilter(status="cancelled"),
    "requested": lambda now: SessionFilter(status="requested"),
    **{f"word {word}": partial(_of_word, word) for word in SALES_WORDS},
    "dates": lambda now: SessionFilter(from_=now - timedelta(days=7), to=now),
}


@pytest.mark.parametrize("kind", LISTS)
@pytest.mark.parametrize("actor", [an_admin(), a_client(), Actor.expert(ObjectId()).as_expert(ObjectId())])
async def test_no_list_scans(filled: Confiido, clock: Clock, kind: str, actor: Actor) -> None:
    asked: list[Document] = []
    store = filled.store

    class Watched(Store):
        async def find(self, step: str, collection: str, query: Any, *args: Any, **more: Any) -> list[Document]:
            if step == "list sessions":
                asked.append({"query": query, "sort": dict(more["sort"])})
            return await Store.find(self, step, collection, query, *args, **more)

        async def count(self, step: str, collection: str, query: Any) -> int:
            asked.append({"query": query, "sort": {}})
            return await Store.count(self, step, collection, query)

    watched = Confiido.over(Watched(store.client, store.name), filled.settings, filled.clock)
    await watched.bookings.list(actor=actor, filters=LISTS[kind](clock.now))

    for each in asked:  # nothing is asked where a filter names somebody else
        more = {"sort": each["sort"]} if each["sort"] else {}
        assert not await scans(store, "service_sessions", each["query"], **more), each


async def test_the_commands_of_a_booking_find_its_document_by_an_index(filled: Confiido) -> None:
    someone = ObjectId()
    by = {
        "bookings": [
            {"clientId": someone},
            {"clientId": someone, **CURRENT},
            {"clientId": {"$in": [someone]}, **CURRENT},
            {"_id": someone, **CURRENT},
            {"clientId": {"$in": [someone, str(someone)]}, **OLD},
            {"bookingReference": {"$exists": False}, **OLD},  # whether there is any old document
        ],
        "calendars": [{"_id": someone}],
        "booking_archive": [{"_id": someone}, {"clientId": someone}],
        "service_sessions": [{"_id": someone}, {"listing.sessionId": someone}],
    }
    await filled.store.collection("calendars").insert_many([{"busy": []} for _ in range(FILLING)])
    archived = [{"clientId": ObjectId(), "session": {}} for _ in range(FILLING)]
    await filled.store.collection("booking_archive").insert_many(archived)

    scanned = [
        (collection, query)
        for collection, queries in by.items()
        for query in queries
        if await scans(filled.store, collection, query)
    ]

    assert scanned == []


async def test_the_worker_finds_lapsed_holds_by_an_index(filled: Confiido, clock: Clock) -> None:
    lapsed = {"listing.status": "pending", "listing.timeoutAt": {"$lte": clock.now}}

    assert not await scans(filled.store, "service_sessions", lapsed)


async def test_the_explanation_tells_a_scan_where_there_is_one(filled: Confiido) -> None:
    assert await scans(filled.store, "service_sessions", {"listing.sessionType": "audio"})


@pytest.mark.parametrize("actor", [an_admin(), a_client(), Actor.expert(ObjectId()).as_expert(ObjectId())])
@pytest.mark.parametrize("when", ["upcoming", "past"])
async def test_service_sessions_to_come_and_past_are_found_by_an_index(
    filled: Confiido, clock: Clock, when: Literal["upcoming", "past"], actor: Actor
) -> None:
    events = [
        {
            "expertId": ObjectId(),
            "serviceId": ObjectId(),
            "visibility": "public",
            "status": ("scheduled", "completed", "canceled")[number % 3],
            "startsAt": clock.now + timedelta(hours=number - FILLING // 2),
        }
        for number in range(FILLING)
    ]
    await filled.store.collection("service_sessions").insert_many(events)
    wanted = [EventFilter(when=when, expert_id=ObjectId()), EventFilter(when=when, service_id=ObjectId())]
    if when == "upcoming":
        wanted.append(EventFilter(when=when, to=clock.now + timedelta(days=7)))

    scanned = [
        query
        for each in wanted
        if await scans(filled.store, "service_sessions", query := _query(actor, each, clock.now))
    ]

    assert scanned == []
