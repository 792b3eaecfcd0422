"""HISTORY 4: the hand-written samples, all of them valid history, in one dump."""

from datetime import UTC, datetime
from typing import Any

from bson import Decimal128, ObjectId

from tests.migration.harness import becomes

ADA, BOB, CARL = ObjectId(), ObjectId(), ObjectId("68b6134f8e21e1ae686349f7")
MENTOR, ACCOUNT = ObjectId("68b0daa5349f0802590e2755"), ObjectId()
A_CREATED = datetime(2025, 8, 10, 8, 0, tzinfo=UTC)

ERA_A: dict[str, Any] = {
    "_id": ObjectId("6897a1000000000000000001"),
    "clientId": ADA,
    "expertId": MENTOR,
    "sessionType": "video",
    "duration": 60,
    "scheduledDate": datetime(2025, 8, 12, tzinfo=UTC),
    "startTime": "9:30",
    "endTime": "10:30",
    "status": "pending",
    "price": 50,
    "currency": "USD",
    "paymentStatus": "pending",
    "createdAt": A_CREATED,
    "updatedAt": A_CREATED,
    "__v": 0,
}
ERA_B = {
    **ERA_A,
    "_id": ObjectId("68b500000000000000000002"),
    "clientId": BOB,
    "clientUserId": "0000",
    "expertUserId": "1534",
    "clientEmail": "a@x.io",
    "expertEmail": "m@x.io",
    "startTime": "23:30",
    "endTime": "00:30",
    "currency": "INR",
    "status": "confirmed",
}
ERA_B_OVERLAPPING = {
    **ERA_B,
    "_id": ObjectId("68b500000000000000000003"),
    "clientId": ADA,
    "startTime": "23:45",
    "endTime": "00:45",
    "createdAt": datetime(2025, 8, 11, tzinfo=UTC),
}
ERA_C = {
    "_id": "68b61bd7a4c0bf9eaab38ee7",
    "clientId": "68b6134f8e21e1ae686349f7",
    "clientUserId": "9062",
    "clientEmail": "test0209@example.org",
    "sessions": [
        {
            "sessionId": "68b61bd7a4c0bf9eaab38ee6",
            "expertId": "68b0daa5349f0802590e2755",
            "expertUserId": "1534",
            "expertEmail": "m@x.io",
            "sessionType": "chat",
            "duration": 30,
            "scheduledDate": "2025-08-29T00:00:00.000+00:00",
            "startTime": "12:30",
            "endTime": "13:00",
            "status": "pending",
            "price": 20,
            "currency": "INR",
            "paymentStatus": "pending",
            "notes": "Service: Resume Review",
        }
    ],
    "totalSessions": 1,
    "totalSpent": 20,
}
HYBRID = {**ERA_B, "_id": ObjectId("68b500000000000000000004"), "sessions": [{**ERA_C["sessions"][0]}]}  # type: ignore[index]
PEOPLE: dict[str, Any] = {
    "users": [{"_id": ADA, "user_id": "4711", "email": "ada@example.org"}, {"_id": ACCOUNT, "user_id": "1534"}],
    "experts": [{"_id": MENTOR, "userId": ACCOUNT, "mentor_email": "m@x.io"}],
}


def test_an_era_a_document_gets_its_people_its_padding_and_its_own_currency() -> None:
    found = becomes(ERA_A, **PEOPLE)

    booking, session = found.clients[0].booking, found.session
    assert (booking["clientUserId"], session["expertUserId"], session["currency"]) == ("4711", "1534", "USD")
    assert (session["startTime"], session["startsAt"]) == ("09:30", datetime(2025, 8, 12, 4, 0, tzinfo=UTC))
    assert (session["status"], session["cancellationReason"]) == ("cancelled", "stale_at_migration")


def test_two_era_b_documents_of_one_mentor_overlap_across_midnight() -> None:
    found = becomes(ERA_B, ERA_B_OVERLAPPING, **PEOPLE)

    flags = {session["sessionId"]: session["legacy"]["flags"] for session in found.sessions}
    assert "conflict" in flags[ERA_B_OVERLAPPING["_id"]]
    assert {"across_midnight", "shared_number"} <= set(flags[ERA_B["_id"]])


def test_the_era_c_document_of_the_new_structures_own_page() -> None:
    found = becomes(ERA_C, **PEOPLE)

    client, session = found.clients[0], found.session
    assert (client.id, client.booking["_id"]) == (CARL, ObjectId("68b61bd7a4c0bf9eaab38ee7"))
    assert session["sessionId"] == ObjectId("68b61bd7a4c0bf9eaab38ee6")
    assert session["createdTime"] == datetime(2025, 9, 1, 22, 19, 3, tzinfo=UTC)  # the sessionId's own
    assert "booked_after_start" in session["legacy"]["flags"]
    assert client.booking["totalSpent"] == Decimal128("0")  # stale: cancelled, and so counted no more


def test_a_hybrid_document_gives_its_flat_and_its_nested_session() -> None:
    found = becomes(HYBRID, **PEOPLE)

    assert {session["sessionId"] for session in found.sessions} == {
        HYBRID["_id"],
        ObjectId("68b61bd7a4c0bf9eaab38ee6"),
    }
    assert found.clients[0].booking["totalSessions"] == 2


def test_two_nested_documents_of_one_client_merge_and_their_stored_totals_are_not_believed() -> None:
    other = {**ERA_C, "_id": ObjectId(), "totalSpent": 99, "sessions": [{**ERA_C["sessions"][0]}]}  # type: ignore[index]
    other["sessions"][0] |= {"sessionId": ObjectId(), "status": "completed", "paymentStatus": "paid"}

    found = becomes(ERA_C, other, **PEOPLE)

    assert len(found.clients) == 1
    assert found.clients[0].booking["totalSpent"] == Decimal128("20.00")
