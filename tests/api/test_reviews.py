"""Reviews over HTTP (ROUTES, reviews)."""

import asyncio
from typing import Any

import httpx
import pytest
from bson import ObjectId

from confiido_booking import Actor, Confiido, Expert
from confiido_booking.bookings.views import Change
from tests.api.conftest import Headers
from tests.builders import Clock, a_client, an_admin


@pytest.fixture
async def done(confiido: Confiido, ada: Actor, grace: Expert, clock: Clock) -> Change:
    """A completed session of Ada's."""
    return await complete(confiido, ada, grace, "2026-03-03T09:00:00Z")


async def complete(confiido: Confiido, client: Actor, expert: Expert, starts_at: str) -> Change:
    bookings, admin = confiido.bookings, an_admin()
    change = await bookings.book(
        actor=client, expert=expert.id or "", session_type="video", duration=30, starts_at=starts_at
    )
    await bookings.confirm(change.booking_id, change.session_id, actor=admin)
    return await bookings.complete(change.booking_id, change.session_id, actor=admin)


async def post(http: httpx.AsyncClient, headers: dict[str, str], **body: Any) -> httpx.Response:
    return await http.post("/api/reviews", json={"rating": 5} | body, headers=headers)


async def stats(http: httpx.AsyncClient, expert: Expert) -> dict[str, Any]:
    figures: dict[str, Any] = (await http.get(f"/api/reviews/expert/{expert.id}")).json()["data"]["stats"]
    return figures


async def test_a_review_is_read_by_anybody_without_what_is_private(
    http: httpx.AsyncClient, as_: Headers, ada: Actor, grace: Expert, done: Change
) -> None:
    written = await post(http, as_(ada), sessionId=str(done.session_id), rating=4, comment=" Sharp questions ")

    read = await http.get(f"/api/reviews/expert/{grace.expert_user_id}")

    assert written.status_code == 201
    assert written.json()["data"]["review"]["sessionId"] == str(done.session_id)
    (review,) = read.json()["data"]["reviews"]
    assert set(review) == {"_id", "expertId", "rating", "comment", "author", "createdAt"}
    assert (review["rating"], review["comment"], review["author"]) == (4, "Sharp questions", "Ada")
    assert read.json()["data"]["stats"] == {"average": 4, "count": 1}
    assert read.json()["data"]["pagination"] == {"page": 1, "limit": 20, "total": 1, "pages": 1}


async def test_of_racing_reviews_of_one_session_one_is_kept(
    http: httpx.AsyncClient, as_: Headers, ada: Actor, grace: Expert, done: Change
) -> None:
    answers = await asyncio.gather(
        *(post(http, as_(ada), sessionId=str(done.session_id), rating=1 + n % 5) for n in range(20))
    )

    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 19
    assert {answer.json().get("code") for answer in answers} == {None, "already_reviewed"}
    winner = next(answer for answer in answers if answer.status_code == 201)
    assert await stats(http, grace) == {"average": winner.json()["data"]["review"]["rating"], "count": 1}


async def test_the_figures_are_exact_to_two_decimals(
    http: httpx.AsyncClient, as_: Headers, confiido: Confiido, grace: Expert
) -> None:
    assert await stats(http, grace) == {"average": 0, "count": 0}
    for hour, rating in ((9, 5), (11, 4), (13, 4)):
        client = a_client()
        change = await complete(confiido, client, grace, f"2026-03-04T{hour:02}:00:00Z")
        await post(http, as_(client), sessionId=str(change.session_id), rating=rating)

    assert await stats(http, grace) == {"average": 4.33, "count": 3}
    pages = [(await http.get(f"/api/reviews/expert/{grace.id}?limit=2&page={page}")).json()["data"] for page in (1, 2)]
    assert [[review["rating"] for review in page["reviews"]] for page in pages] == [[4, 4], [5]]
    assert pages[0]["pagination"].pop("nextCursor")
    assert [page["pagination"] for page in pages] == [
        {"page": number, "limit": 2, "total": 3, "pages": 2} for number in (1, 2)
    ]


async def test_a_hidden_review_is_neither_listed_nor_counted_until_it_is_shown_again(
    http: httpx.AsyncClient, as_: Headers, ada: Actor, grace: Expert, done: Change
) -> None:
    review = (await post(http, as_(ada), sessionId=str(done.session_id))).json()["data"]["review"]
    path, admin = f"/api/admin/reviews/{review['_id']}/hide", as_(an_admin())

    hidden = await http.put(path, json={"hidden": True, "reason": "names a third person"}, headers=admin)
    again = await http.put(path, json={"hidden": True, "reason": "twice"}, headers=admin)

    assert (hidden.status_code, again.status_code) == (200, 200)
    assert [entry["action"] for entry in again.json()["data"]["review"]["history"]] == ["hide"]
    assert await stats(http, grace) == {"average": 0, "count": 0}
    assert (await http.get(f"/api/reviews/expert/{grace.id}")).json()["data"]["reviews"] == []
    assert (await post(http, as_(ada), sessionId=str(done.session_id))).json()["code"] == "already_reviewed"

    shown = await http.put(path, json={"hidden": False, "reason": "a mistake"}, headers=admin)

    assert shown.status_code == 200
    assert await stats(http, grace) == {"average": 5, "count": 1}


@pytest.mark.parametrize(
    "body",
    [
        {"rating": 0},
        {"rating": 6},
        {"rating": 4.5},
        {"rating": "5"},
        {"rating": True},
        {"rating": None},
        {"rating": {"$gt": 0}},
        {"rating": 10**30},
        {"comment": "x" * 501},
        {"comment": "a\0b"},
        {"comment": 5},
        {"comment": {"$ne": 1}},
        {"sessionId": {"$ne": None}},
        {"sessionId": "x"},
        {"sessionId": None},
        {"sessionId": None, "bookingId": {"$ne": None}},
        {"sessionId": None, "booking_id": True},
        {"sessionId": None, "booking_id": ""},
    ],
)
async def test_a_hostile_review_is_refused_and_nothing_is_kept(
    http: httpx.AsyncClient, as_: Headers, confiido: Confiido, ada: Actor, done: Change, body: dict[str, Any]
) -> None:
    answer = await post(http, as_(ada), **{"sessionId": str(done.session_id)} | body)

    assert answer.status_code == 422
    assert await confiido.store.count("count", "reviews", {}) == 0


async def test_operators_in_a_comment_stay_text(
    http: httpx.AsyncClient, as_: Headers, ada: Actor, done: Change
) -> None:
    answer = await post(http, as_(ada), sessionId=str(done.session_id), comment="$price")

    assert answer.json()["data"]["review"]["comment"] == "$price"


async def test_a_session_is_reviewed_only_when_it_is_completed_and_only_by_its_client(
    http: httpx.AsyncClient, as_: Headers, confiido: Confiido, ada: Actor, grace: Expert
) -> None:
    change = await confiido.bookings.book(
        actor=ada, expert=grace.id or "", session_type="video", duration=30, starts_at="2026-03-03T09:00:00Z"
    )

    early = await post(http, as_(ada), sessionId=str(change.session_id))
    foreign = await post(http, as_(a_client()), sessionId=str(change.session_id))
    nowhere = await post(http, as_(ada), sessionId=str(ObjectId()))

    assert (early.status_code, early.json()["code"], early.json()["details"]) == (
        409, "not_completed", {"status": "pending"},
    )  # fmt: skip
    assert (foreign.status_code, nowhere.status_code) == (404, 404)


async def test_a_booking_alone_names_its_one_completed_session_without_a_review(
    http: httpx.AsyncClient, as_: Headers, confiido: Confiido, ada: Actor, grace: Expert, done: Change
) -> None:
    booking = str(done.booking_id)
    other = await complete(confiido, ada, grace, "2026-03-04T09:00:00Z")

    ambiguous = await post(http, as_(ada), bookingId=booking)
    await post(http, as_(ada), sessionId=str(done.session_id))
    meant = await post(http, as_(ada), booking_id=booking)
    foreign = await post(http, as_(a_client()), bookingId=booking)

    assert (ambiguous.status_code, ambiguous.json()["code"]) == (422, "session_required")
    assert set(ambiguous.json()["details"]["sessionIds"]) == {str(done.session_id), str(other.session_id)}
    assert meant.json()["data"]["review"]["sessionId"] == str(other.session_id)
    assert foreign.status_code == 404


@pytest.mark.parametrize(("old", "said"), [("bookings:17", 17), ("bookings:17", "17"), ("a-uuid", "a-uuid")])
async def test_an_id_of_before_a_migration_names_its_session(
    http: httpx.AsyncClient, as_: Headers, confiido: Confiido, ada: Actor, done: Change, old: str, said: object
) -> None:
    entry = {"_id": old, "kind": "session", "sessionId": done.session_id, "bookingId": done.booking_id}
    await confiido.store.insert("insert", "legacy_ids", entry | {"clientId": ada.id})

    foreign = await post(http, as_(a_client()), booking_id=said)
    own = await post(http, as_(ada), booking_id=said)

    assert foreign.status_code == 404
    assert own.json()["data"]["review"]["sessionId"] == str(done.session_id)


async def test_an_archived_session_can_be_reviewed(
    http: httpx.AsyncClient, as_: Headers, confiido: Confiido, ada: Actor, done: Change, clock: Clock
) -> None:
    clock.advance(days=800)
    await confiido.chores.archive_history()

    answer = await post(http, as_(ada), bookingId=str(done.booking_id))

    assert answer.json()["data"]["review"]["sessionId"] == str(done.session_id)


async def test_a_repeated_review_gives_the_first_answer_again_though_the_process_died_between(
    http: httpx.AsyncClient, as_: Headers, confiido: Confiido, ada: Actor, done: Change
) -> None:
    headers = as_(ada, idempotency_key="k1")
    first = await post(http, headers, sessionId=str(done.session_id))
    await confiido.store.run(
        "forget", lambda: confiido.store.collection("idempotency_keys").delete_many({})
    )  # as if the answer had never been kept

    again = await post(http, headers, sessionId=str(done.session_id))

    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json()["data"] == again.json()["data"]


async def test_nobody_but_an_administrator_hides_and_only_with_a_reason(
    http: httpx.AsyncClient, as_: Headers, confiido: Confiido
) -> None:
    path, admin = f"/api/admin/reviews/{ObjectId()}/hide", as_(an_admin())

    absent = await http.put(path, json={"hidden": True, "reason": "x"}, headers=admin)
    odd = await http.put("/api/admin/reviews/reviews:9/hide", json={"hidden": True, "reason": "x"}, headers=admin)
    silent = [
        await http.put(path, json=body, headers=admin)
        for body in ({"hidden": True}, {"hidden": True, "reason": " "}, {"hidden": "yes", "reason": "x"}, {})
    ]

    assert (absent.status_code, absent.json()["code"], odd.status_code) == (404, "review_not_found", 404)
    assert [answer.status_code for answer in silent] == [422] * 4


async def test_an_unknown_expert_has_no_reviews(http: httpx.AsyncClient) -> None:
    answers = [await http.get(f"/api/reviews/expert/{name}") for name in (ObjectId(), "0000", "$ne", "x" * 65)]

    assert [answer.status_code for answer in answers] == [404, 404, 404, 422]
    assert [(await http.get(f"/api/reviews/expert/{ObjectId()}?page={page}")).status_code for page in ("0", "x")] == [
        422, 422,
    ]  # fmt: skip


async def test_pages_by_cursor_neither_skip_nor_repeat_what_is_written_meanwhile(
    http: httpx.AsyncClient, confiido: Confiido, grace: Expert, clock: Clock
) -> None:
    async def reviews(*ids: ObjectId | str) -> None:
        written = [{"_id": key, "expertId": grace.id, "rating": 5, "createdAt": clock.now} for key in ids]
        await confiido.store.collection("reviews").insert_many(written)

    address = f"/api/reviews/expert/{grace.id}"
    old = [ObjectId(), ObjectId(), "an old id", "another-old-id"]
    await reviews(*old)
    clock.advance(minutes=1)

    seen, cursor = [], None
    for _ in old:
        asked = {"limit": "1"} | ({"cursor": cursor} if cursor else {})
        data = (await http.get(address, params=asked)).json()["data"]
        seen += [review["_id"] for review in data["reviews"]]
        cursor = data["pagination"].get("nextCursor")
        await reviews(ObjectId())
    wrong = [await http.get(address, params={"cursor": text}) for text in ("x", "zz-1", "1" * 13 + "-1")]

    assert sorted(seen) == sorted(map(str, old))
    assert cursor is None
    assert [answer.status_code for answer in wrong] == [422, 422, 422]


async def test_a_review_is_told_once_however_often_it_is_sent(
    http: httpx.AsyncClient, confiido: Confiido, as_: Headers, ada: Actor, grace: Expert, done: Change
) -> None:
    for rating in (4, 5):
        await post(http, as_(ada), sessionId=str(done.session_id), rating=rating)

    await confiido.chores.once()

    (event,) = await confiido.store.find("read", "events", {"type": "review.written"})
    assert (event["clientId"], event["sessionId"]) == (ada.id, done.session_id)
    assert event["data"] == {"bookingId": done.booking_id, "expertId": grace.id, "rating": 4}
    assert event["seq"] > 0
