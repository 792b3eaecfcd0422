"""What PROTOCOL.md takes from the store, on whichever engine the suite runs (PROTOCOL, to be tested: 1).

One conditional update of one document is atomic: FENCE against no document, against racing inserts and against a
session that stands; S with older and newer versions; the guard of a claim; a duplicate key by whichever door it comes.
"""

import asyncio
from datetime import timedelta

import pytest
from bson import ObjectId

from confiido_booking import Confiido, Expert
from confiido_booking.bookings import guards
from confiido_booking.bookings.guards import Command
from confiido_booking.bookings.healing import Healing
from confiido_booking.calendar import claims
from confiido_booking.calendar.claims import Claim
from confiido_booking.database.store import Document, Duplicate
from tests.builders import MONDAY, a_client, make_expert

NOON = MONDAY + timedelta(hours=3)
RACERS = 50


async def the_booking(confiido: Confiido, client_id: ObjectId) -> Document:
    found = await confiido.store.collection("bookings").find({"clientId": client_id}).to_list()
    assert len(found) == 1
    return found[0]


async def a_session(confiido: Confiido, client_id: ObjectId) -> Document:
    """A pending session at noon, raw."""
    expert = await make_expert(confiido)
    booked = await confiido.bookings.book(
        actor=a_client(id=client_id), expert=expert.id or "", session_type="video", duration=30, starts_at=NOON
    )
    return booked.raw_session


async def the_event(confiido: Confiido, session: Document) -> Document:
    event = await confiido.store.collection("service_sessions").find_one({"_id": session["serviceSessionId"]})
    assert event is not None
    return event


def a_claim(expert: Expert, *, minutes: int = 0, id: ObjectId | None = None) -> Claim:
    """Half an hour from noon, later by so many minutes."""
    starts_at = NOON + timedelta(minutes=minutes)
    return Claim(
        id=id or ObjectId(),
        expert_id=expert.id or ObjectId(),
        from_=starts_at,
        until=starts_at + timedelta(minutes=30),
        client_id=ObjectId(),
        session_id=ObjectId(),
        service_session_id=ObjectId(),
        claimed_at=MONDAY,
    )


async def test_a_fence_makes_the_document_it_does_not_find(confiido: Confiido) -> None:
    client, claim_id = ObjectId(), ObjectId()

    fenced = await Healing(confiido.store).fence(client, claim_id, MONDAY)

    assert fenced
    booking = await the_booking(confiido, client)
    assert booking["abandonedClaims"] == [claim_id]
    assert booking["sessions"] == []


async def test_fences_and_inserts_of_one_new_document_race_to_one_document_with_every_fence(confiido: Confiido) -> None:
    client, claim_ids = ObjectId(), [ObjectId() for _ in range(RACERS)]
    healing = Healing(confiido.store)

    async def insert() -> None:
        try:
            empty = {"_id": ObjectId(), **guards.empty_booking(client, MONDAY)}
            await confiido.store.insert("insert booking", "bookings", empty)
        except Duplicate:
            return

    await asyncio.gather(*(insert() for _ in range(RACERS)), *(healing.fence(client, one, MONDAY) for one in claim_ids))

    booking = await the_booking(confiido, client)
    assert set(booking["abandonedClaims"]) == set(claim_ids)


@pytest.mark.parametrize("status", ["pending", "confirmed", "completed", "no-show"])
async def test_a_fence_is_refused_where_a_session_stands(confiido: Confiido, status: str) -> None:
    client = ObjectId()
    session = await a_session(confiido, client)
    await confiido.store.collection("bookings").update_one(
        {"clientId": client}, {"$set": {"sessions.0.status": status}}
    )

    fenced = await Healing(confiido.store).fence(client, session["claimId"], MONDAY)

    assert not fenced
    assert (await the_booking(confiido, client))["abandonedClaims"] == []


async def test_a_fence_takes_where_the_session_is_cancelled_or_another_claim_stands(confiido: Confiido) -> None:
    client = ObjectId()
    session = await a_session(confiido, client)
    other = ObjectId()
    healing = Healing(confiido.store)
    await confiido.store.collection("bookings").update_one(
        {"clientId": client}, {"$set": {"sessions.0.status": "cancelled"}}
    )

    fenced = [await healing.fence(client, session["claimId"], MONDAY), await healing.fence(client, other, MONDAY)]

    assert fenced == [True, True]
    assert (await the_booking(confiido, client))["abandonedClaims"] == [session["claimId"], other]


async def test_a_push_and_a_fence_of_one_claim_never_both_succeed(confiido: Confiido) -> None:
    client = a_client()
    expert = await make_expert(confiido)
    healing = Healing(confiido.store)
    first = await confiido.bookings.book(
        actor=client, expert=expert.id or "", session_type="video", duration=30, starts_at=NOON
    )
    session = first.raw_session
    for number in range(10):
        moved = NOON + timedelta(days=number + 1)
        late = session | {
            "sessionId": ObjectId(),
            "claimId": ObjectId(),
            "startsAt": moved,
            "endsAt": moved + timedelta(minutes=30),
        }
        guard = {"clientId": client.id, "abandonedClaims": {"$ne": late["claimId"]}}
        pushed, fenced = await asyncio.gather(
            confiido.store.find_and_update(
                "push", "bookings", guard, guards.push([late], {}, Command(action="book", actor=client, now=MONDAY))
            ),
            healing.fence(client.id or ObjectId(), late["claimId"], MONDAY),
        )

        assert (pushed is not None) != fenced


async def test_a_service_session_is_written_by_the_newer_version_only(confiido: Confiido) -> None:
    client = ObjectId()
    session = await a_session(confiido, client)

    await claims.project(confiido.store, session | {"version": 5, "status": "cancelled"}, client)
    await claims.project(confiido.store, session | {"version": 4, "status": "confirmed"}, client)
    await claims.project(confiido.store, session | {"version": 5, "status": "confirmed"}, client)

    event = await the_event(confiido, session)
    assert (event["rev"], event["status"]) == (5, "canceled")


async def test_a_late_insert_does_not_write_over_a_newer_version(confiido: Confiido) -> None:
    client = ObjectId()
    session = await a_session(confiido, client)
    for _ in range(10):
        late = session | {"serviceSessionId": ObjectId(), "version": 1}

        await asyncio.gather(
            claims.insert_service_session(confiido.store, late, client),
            claims.project(confiido.store, late | {"version": 2, "status": "cancelled"}, client),
        )

        event = await the_event(confiido, late)
        assert (event["rev"], event["status"]) == (2, "canceled")


async def test_what_is_buried_stays_buried_and_unlisted(confiido: Confiido) -> None:
    client = ObjectId()
    session = await a_session(confiido, client)

    await claims.bury(confiido.store, session["serviceSessionId"], session["expertId"])
    await claims.insert_service_session(confiido.store, session, client)
    await claims.project(confiido.store, session | {"version": 100}, client)

    event = await the_event(confiido, session)
    assert event["status"] == "canceled"
    assert "listing" not in event


async def test_a_claim_is_refused_by_one_minute_of_overlap_and_taken_beside_another(confiido: Confiido) -> None:
    expert = await make_expert(confiido)

    taken = [
        await claims.claim(confiido.store, a_claim(expert)),
        await claims.claim(confiido.store, a_claim(expert, minutes=29)),
        await claims.claim(confiido.store, a_claim(expert, minutes=-29)),
        await claims.claim(confiido.store, a_claim(expert, minutes=30)),
        await claims.claim(confiido.store, a_claim(expert, minutes=-30)),
    ]

    assert taken == [True, False, False, True, True]


async def test_of_racing_claims_on_overlapping_minutes_one_is_taken(confiido: Confiido) -> None:
    expert = await make_expert(confiido)

    taken = await asyncio.gather(
        *(claims.claim(confiido.store, a_claim(expert, minutes=number % 25)) for number in range(RACERS))
    )

    assert sum(taken) == 1


async def test_a_claim_ignores_only_the_one_it_is_told_to(confiido: Confiido) -> None:
    expert = await make_expert(confiido)
    own = ObjectId()
    await claims.claim(confiido.store, a_claim(expert, id=own))

    refused = await claims.claim(confiido.store, a_claim(expert, minutes=10), ignoring=ObjectId())
    taken = await claims.claim(confiido.store, a_claim(expert, minutes=10), ignoring=own)

    assert (refused, taken) == (False, True)


async def test_a_duplicate_key_is_known_by_every_door(confiido: Confiido) -> None:
    client = ObjectId()
    store, empty = confiido.store, guards.empty_booking(client, MONDAY)
    await store.insert("insert booking", "bookings", {"_id": ObjectId(), **empty})

    with pytest.raises(Duplicate):
        await store.insert("insert booking", "bookings", {"_id": ObjectId(), **empty})
    never = {"clientId": client, "bookingReference": "none"}
    with pytest.raises(Duplicate):
        await store.update("upsert", "bookings", never, {"$set": {"schemaVersion": 1}}, upsert=True)
