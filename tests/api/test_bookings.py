"""Booking and reading over HTTP, with the frontend's own requests (FRONTEND 2.1-2.3, 2.7)."""

import httpx

from confiido_booking.actors import Actor
from confiido_booking.client import Confiido
from confiido_booking.experts.models import Expert
from tests.api.conftest import Headers, wish
from tests.builders import Clock, a_client, a_service, an_admin, an_expert


async def test_a_booking_answers_what_the_frontend_reads(
    http: httpx.AsyncClient, as_: Headers, ada: Actor, grace: Expert
) -> None:
    answer = await http.post("/api/bookings", json=wish(grace), headers=as_(ada))

    assert answer.status_code == 201
    body = answer.json()
    session = body["data"]["session"]
    assert body["success"] is True
    assert body["message"] == "Session booked successfully"
    assert body["data"]["booking"]["clientId"] == str(ada.id)
    assert body["data"]["booking"]["totalSpent"] == 20
    assert session["_id"] == session["sessionId"]
    assert session["expertId"] == str(grace.id)
    assert session["scheduledDate"] == "2026-03-03"
    assert (session["startTime"], session["endTime"]) == ("12:30", "13:00")
    assert session["startsAt"] == "2026-03-03T07:00:00.000Z"
    assert session["timeoutAt"] == "2026-03-02T09:30:00.000Z"
    assert session["status"] == "pending"
    assert session["price"] == 20
    assert session["allowedActions"] == ["cancel", "patch", "pay"]
    assert answer.headers["etag"] == '"1"'


async def test_what_the_protocol_needs_never_leaves_the_server(
    http: httpx.AsyncClient, as_: Headers, ada: Actor, grace: Expert
) -> None:
    answer = await http.post("/api/bookings", json=wish(grace), headers=as_(ada, idempotency_key="k1"))

    assert answer.status_code == 201
    for word in ("claimId", "requestKey", "abandonedClaims", "revision_id", '"key"', "null"):
        assert word not in answer.text


async def test_a_taken_slot_answers_409_with_free_starts_and_nothing_about_the_other(
    http: httpx.AsyncClient, as_: Headers, ada: Actor, grace: Expert
) -> None:
    await http.post("/api/bookings", json=wish(grace), headers=as_(ada))

    answer = await http.post("/api/bookings", json=wish(grace), headers=as_(a_client(email="eve@example.org")))

    assert answer.status_code == 409
    assert answer.json()["code"] == "slot_taken"
    assert answer.json()["error"] == "This time slot is already booked"
    assert len(answer.json()["details"]["nextStarts"]) == 3
    assert "ada" not in answer.text


async def test_an_admin_books_for_a_client_and_the_session_is_confirmed(
    http: httpx.AsyncClient, as_: Headers, ada: Actor, grace: Expert
) -> None:
    for_ada = wish(grace, clientId=str(ada.id), clientEmail="ada@example.org", clientName="Ada Lovelace")

    answer = await http.post("/api/bookings", json=for_ada, headers=as_(an_admin()))

    assert answer.status_code == 201
    assert answer.json()["data"]["session"]["status"] == "confirmed"
    assert answer.json()["data"]["booking"]["clientId"] == str(ada.id)


async def test_a_client_cannot_set_the_price(http: httpx.AsyncClient, as_: Headers, ada: Actor, grace: Expert) -> None:
    answer = await http.post("/api/bookings", json=wish(grace, price=1, currency="JPY"), headers=as_(ada))

    assert answer.json()["data"]["session"]["price"] == 20
    assert answer.json()["data"]["session"]["currency"] == "INR"


async def test_return_minimal_leaves_the_sessions_out(
    http: httpx.AsyncClient, as_: Headers, ada: Actor, grace: Expert
) -> None:
    answer = await http.post("/api/bookings", json=wish(grace), headers=as_(ada, prefer="return=minimal"))

    assert "sessions" not in answer.json()["data"]["booking"]
    assert answer.json()["data"]["booking"]["totalSessions"] == 1
    assert answer.headers["preference-applied"] == "return=minimal"


async def test_the_clients_list_is_populated_and_counts_sessions(
    http: httpx.AsyncClient, as_: Headers, ada: Actor, grace: Expert
) -> None:
    for day in ("03", "04", "05"):
        await http.post("/api/bookings", json=wish(grace, scheduledDate=f"2026-03-{day}"), headers=as_(ada))

    answer = await http.get("/api/bookings/user?page=1&limit=2", headers=as_(ada))

    data = answer.json()["data"]
    session = data["bookings"][0]["sessions"][0]
    assert answer.status_code == 200
    assert len(data["bookings"][0]["sessions"]) == 2
    assert "_position" not in answer.text
    assert data["bookings"][0]["clientId"]["firstName"] == "Ada"
    assert session["expertId"]["_id"] == str(grace.id)
    assert session["expertId"]["userId"]["firstName"] == "Grace"
    assert session["expertId"]["user_id"] == grace.expert_user_id
    assert data["stats"] == {
        "total": 3, "paid": 0, "pending": 3, "failed": 0, "refunded": 0, "totalSpent": 0, "received": {"INR": 0},
    }  # fmt: skip
    assert {name: data["pagination"][name] for name in ("page", "limit", "total", "pages")} == {
        "page": 1, "limit": 2, "total": 3, "pages": 2,
    }  # fmt: skip

    rest = await http.get(
        "/api/bookings/user", params={"limit": 2, "cursor": data["pagination"]["nextCursor"]}, headers=as_(ada)
    )
    assert len(rest.json()["data"]["bookings"][0]["sessions"]) == 1
    assert "nextCursor" not in rest.json()["data"]["pagination"]


async def test_an_expert_sees_the_own_sessions_and_no_sums_of_the_client(
    http: httpx.AsyncClient, as_: Headers, ada: Actor, grace: Expert
) -> None:
    booked = (await http.post("/api/bookings", json=wish(grace), headers=as_(ada))).json()["data"]

    listed = await http.get(f"/api/bookings/mentor/{grace.expert_user_id}", headers=as_(an_expert(grace)))
    read = await http.get(f"/api/bookings/{booked['booking']['_id']}", headers=as_(an_expert(grace)))

    stats = listed.json()["data"]["stats"]
    assert listed.json()["data"]["bookings"][0]["clientId"]["email"] == "ada@example.org"
    assert (stats["totalSessions"], stats["pendingSessions"], stats["totalBookings"]) == (1, 1, 1)
    assert len(read.json()["data"]["booking"]["sessions"]) == 1
    for word in ("totalSpent", "totals", "archived"):
        assert word not in read.json()["data"]["booking"]
        assert word not in listed.json()["data"]["bookings"][0]


async def test_nobody_else_sees_an_experts_list(
    http: httpx.AsyncClient, as_: Headers, ada: Actor, grace: Expert
) -> None:
    stranger = Actor.expert(an_admin().id or ada.id, user_id="0001")  # type: ignore[arg-type]

    answers = [
        await http.get(f"/api/bookings/mentor/{number}", headers=as_(actor))
        for actor in (ada, stranger)
        for number in (grace.expert_user_id, "9999")
    ]

    assert [answer.status_code for answer in answers] == [403] * 4
    assert {answer.json()["error"] for answer in answers} == {"Not authorized to view this mentor's bookings"}


async def test_a_strangers_booking_does_not_exist(
    http: httpx.AsyncClient, as_: Headers, ada: Actor, grace: Expert
) -> None:
    booked = (await http.post("/api/bookings", json=wish(grace), headers=as_(ada))).json()["data"]
    booking_id, session_id = booked["booking"]["_id"], booked["session"]["sessionId"]
    eve = as_(a_client())

    answers = [
        await http.get(f"/api/bookings/{booking_id}", headers=eve),
        await http.get(f"/api/bookings/{booking_id}/sessions/{session_id}", headers=eve),
        await http.get(f"/api/sessions/{session_id}", headers=eve),
        await http.put(f"/api/bookings/{booking_id}/cancel", json={"sessionId": session_id}, headers=eve),
    ]

    assert [answer.status_code for answer in answers] == [404] * 4


async def test_a_lapsed_hold_is_shown_as_cancelled_and_counts_for_nothing(
    http: httpx.AsyncClient, as_: Headers, ada: Actor, grace: Expert, clock: Clock
) -> None:
    booked = (await http.post("/api/bookings", json=wish(grace), headers=as_(ada))).json()["data"]
    clock.advance(minutes=31)

    read = (await http.get(f"/api/bookings/{booked['booking']['_id']}", headers=as_(ada))).json()["data"]["booking"]

    session = read["sessions"][0]
    assert (session["status"], session["cancelledBy"], session["timeoutStatus"]) == ("cancelled", "system", "expired")
    assert read["totalSpent"] == 0
    assert read["totals"]["INR"]["booked"] == 0
    assert read["totals"]["INR"]["outstanding"] == 0
    assert read["totalSessions"] == 1


async def test_a_page_counts_no_lapsed_hold_that_lies_on_another_page(
    http: httpx.AsyncClient, as_: Headers, confiido: Confiido, clock: Clock, ada: Actor, grace: Expert
) -> None:
    for hour in (10, 11):
        start = f"2026-03-03T{hour}:00:00Z"
        await confiido.bookings.book(
            actor=ada, expert=str(grace.id), session_type="video", duration=30, starts_at=start
        )
    clock.advance(minutes=31)

    answer = await http.get("/api/bookings/user?limit=1", headers=as_(ada))

    (booking,) = answer.json()["data"]["bookings"]
    assert len(booking["sessions"]) == 1
    assert booking["totalSpent"] == 0
    assert booking["totals"]["INR"]["outstanding"] == 0
    assert booking["totalSessions"] == 2
    assert "_lapsed" not in booking


async def test_internal_notes_are_for_staff_and_expert_notes_not_for_clients(
    http: httpx.AsyncClient, as_: Headers, ada: Actor, grace: Expert
) -> None:
    booked = (await http.post("/api/bookings", json=wish(grace), headers=as_(ada))).json()["data"]
    path = f"/api/bookings/{booked['booking']['_id']}/sessions/{booked['session']['sessionId']}"
    notes = {"internalNotes": "pays late", "expertNotes": "prepare the portfolio"}

    patched = await http.patch(path, json=notes, headers=as_(an_admin()))

    assert patched.status_code == 200, patched.text
    seen = {
        name: set(notes) & set((await http.get(path, headers=as_(actor))).json()["data"]["session"])
        for name, actor in (("client", ada), ("expert", an_expert(grace)), ("service", a_service()))
    }
    assert seen == {"client": set(), "expert": {"expertNotes"}, "service": set(notes)}


async def test_a_patch_of_anothers_field_is_403_and_of_an_unknown_one_422(
    http: httpx.AsyncClient, as_: Headers, ada: Actor, grace: Expert
) -> None:
    booked = (await http.post("/api/bookings", json=wish(grace), headers=as_(ada))).json()["data"]
    path = f"/api/bookings/{booked['booking']['_id']}/sessions/{booked['session']['sessionId']}"

    statuses = {
        field: (await http.patch(path, json={field: "x"}, headers=as_(ada))).status_code
        for field in ("notes", "price", "meetingLink", "nonsense", "$set")
    }

    assert statuses == {"notes": 200, "price": 403, "meetingLink": 403, "nonsense": 422, "$set": 422}


async def test_a_stale_version_is_refused(http: httpx.AsyncClient, as_: Headers, ada: Actor, grace: Expert) -> None:
    booked = (await http.post("/api/bookings", json=wish(grace), headers=as_(ada))).json()["data"]
    path = f"/api/bookings/{booked['booking']['_id']}/sessions/{booked['session']['sessionId']}"
    etag = (await http.get(path, headers=as_(ada))).headers["etag"]

    statuses = [
        (await http.patch(path, json={"notes": text}, headers=as_(ada, if_match=tag))).status_code
        for text, tag in (("first", etag), ("second", etag), ("other", '"abc"'), ("any", "*"), ("bad", "3"))
    ]

    assert statuses == [200, 412, 412, 200, 422]


async def test_prices_are_told_without_writing_anything(
    http: httpx.AsyncClient, as_: Headers, ada: Actor, grace: Expert
) -> None:
    asked = {"expertId": str(grace.user_id), "sessionType": "video", "duration": "60"}

    answer = await http.get("/api/bookings/pricing", params=asked, headers=as_(ada))
    unknown = await http.get("/api/bookings/pricing", params={**asked, "expertId": str(ada.id)}, headers=as_(ada))

    assert answer.json() == {"success": True, "data": {"price": 35, "currency": "INR"}}
    assert (unknown.status_code, unknown.json()["error"]) == (404, "Mentor not found")


async def test_lists_refuse_what_is_out_of_range(http: httpx.AsyncClient, as_: Headers, ada: Actor) -> None:
    queries = ["limit=0", "limit=101", "page=0", "page=abc", "status=nope", "from=yesterday", "sort=price", "cursor=x"]
    queries += ["expertId=1", "q=%00", "page=99999999999999999999"]

    statuses = {query: (await http.get(f"/api/bookings?{query}", headers=as_(ada))).status_code for query in queries}

    assert statuses == dict.fromkeys(queries, 422)


async def test_sales_words_partition_the_sessions(
    http: httpx.AsyncClient, as_: Headers, ada: Actor, grace: Expert
) -> None:
    await http.post("/api/bookings", json=wish(grace), headers=as_(ada))
    second = await http.post("/api/bookings", json=wish(grace, startTime="14:00"), headers=as_(ada))
    booked = second.json()["data"]
    named = {"sessionId": booked["session"]["sessionId"]}
    await http.put(f"/api/bookings/{booked['booking']['_id']}/complete-payment", json=named, headers=as_(an_admin()))

    words = ("request", "quoted", "draft", "Booked", "paid", "invoiced", "completed", "no_show", "canceled")
    counts = {
        word: (await http.get(f"/api/sessions?status={word}", headers=as_(ada))).json()["data"]["pagination"]["total"]
        for word in words
    }

    assert counts == {**dict.fromkeys(words, 0), "Booked": 1, "paid": 1}
    one = await http.get(f"/api/sessions/{named['sessionId']}", headers=as_(ada))
    assert one.json()["data"]["session"]["status"] == "paid"
    assert one.json()["data"]["session"]["client"]["email"] == "ada@example.org"


async def test_staff_books_by_email_and_the_same_client_is_met_again(
    http: httpx.AsyncClient, as_: Headers, grace: Expert
) -> None:
    named = {"clientName": "Bo", "clientPhone": "+91 98765"}
    first = wish(grace, clientEmail="bo@example.org", **named)
    second = wish(grace, clientEmail=" BO@example.org", startTime="14:30")

    answers = [await http.post("/api/bookings", json=body, headers=as_(an_admin())) for body in (first, second)]

    one, other = (answer.json()["data"]["booking"] for answer in answers)
    assert (other["_id"], other["totalSessions"], other["clientEmail"]) == (one["_id"], 2, "bo@example.org")


async def test_an_address_that_is_none_is_refused(http: httpx.AsyncClient, as_: Headers, grace: Expert) -> None:
    answer = await http.post("/api/bookings", json=wish(grace, clientEmail="bo"), headers=as_(an_admin()))

    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_email")
    assert answer.json()["errors"][0]["path"] == "clientEmail"
