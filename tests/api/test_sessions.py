"""The sales workflow over HTTP, item by item of CHECKLIST 2.1 (1.9 to 1.13, 1.17), and its dialect (SPEC 4)."""

from datetime import timedelta
from typing import Any

import httpx
import pytest
from bson import ObjectId
from icalendar import Calendar

from confiido_booking import Actor, Confiido, Expert
from confiido_booking.bookings.dialects import SALES_WORDS
from tests.api.conftest import Headers
from tests.builders import Clock, a_client, a_service, an_admin, an_expert, make_expert
from tests.laws.check import check_laws

TOMORROW = {"scheduledDate": "2026-03-03", "startTime": "12:30"}
KIND = {"sessionType": "video", "duration": 30}


def asked(expert: Expert, **further: object) -> dict[str, object]:
    return {"expertId": str(expert.user_id), **KIND, **TOMORROW, **further}


async def session_of(answer: httpx.Response, status: int = 200) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    body = answer.json()
    assert body["success"] is True
    session: dict[str, Any] = body["data"]["session"]
    return session


class Door:
    """The routes as one caller after the other uses them."""

    def __init__(self, http: httpx.AsyncClient, as_: Headers) -> None:
        self.http, self.as_ = http, as_

    async def post(self, actor: Actor, path: str, body: dict[str, object], **headers: str) -> httpx.Response:
        return await self.http.post(f"/api/sessions{path}", json=body, headers=self.as_(actor, **headers))

    async def put(self, actor: Actor, session: dict[str, Any], step: str, **body: object) -> httpx.Response:
        path = f"/api/sessions/{session['sessionId']}/{step}"
        return await self.http.put(path, json=body, headers=self.as_(actor))

    async def get(self, actor: Actor, path: str = "") -> httpx.Response:
        return await self.http.get(f"/api/sessions{path}", headers=self.as_(actor))


@pytest.fixture
def door(http: httpx.AsyncClient, as_: Headers) -> Door:
    return Door(http, as_)


async def test_1_9_a_client_requests_a_session(door: Door, ada: Actor, grace: Expert) -> None:
    session = await session_of(await door.post(ada, "/request", asked(grace, notes="My thesis")), 201)

    assert (session["status"], session["sessionStatus"]) == ("request", "requested")
    assert session["expertId"] == str(grace.id)
    assert (session["scheduledDate"], session["startTime"], session["endTime"]) == ("2026-03-03", "12:30", "13:00")
    assert session["clientId"] == str(ada.id)
    assert session["clientEmail"] == "ada@example.org"
    assert (session["paid"], session["price"]) == (False, 0)
    assert session["allowedActions"] == ["cancel", "patch"]
    assert "quote" not in session


@pytest.mark.parametrize("source", ["social media", "phone", "walk-in"])
async def test_1_9_staff_requests_for_somebody_found_or_made_by_email(
    door: Door, grace: Expert, source: str, confiido: Confiido
) -> None:
    admin = an_admin()
    body = {"clientEmail": " Zoe@Example.org", "clientName": "Zoe", "clientPhone": "+91 98765 43210", "source": source}

    first = await session_of(await door.post(admin, "/request", body), 201)
    second = await session_of(await door.post(a_service(), "/request", {"clientEmail": "zoe@example.ORG"}), 201)

    assert first["clientId"] == second["clientId"]
    assert (first["source"], first["createdBy"]["role"]) == (source, "admin")
    assert {"startsAt", "duration", "sessionType", "expertId"}.isdisjoint(first)
    assert await confiido.store.collection("users").count_documents({}) == 1


async def test_1_9_nobody_requests_for_somebody_else(door: Door, ada: Actor, grace: Expert, confiido: Confiido) -> None:
    for_bo = await door.post(ada, "/request", asked(grace, clientId=str(a_client().id)))
    by_expert = await door.post(an_expert(grace), "/request", {"clientEmail": "zoe@example.org"})
    for_nobody = await door.post(an_admin(), "/request", {})

    assert [for_bo.status_code, by_expert.status_code, for_nobody.status_code] == [403, 403, 422]
    assert for_nobody.json()["code"] == "client_required"
    assert await confiido.store.collection("users").count_documents({}) == 0


async def test_1_10_an_admin_quotes_a_request(door: Door, ada: Actor, grace: Expert) -> None:
    request = await session_of(await door.post(ada, "/request", asked(grace)), 201)
    add_ons = [{"name": "Recording", "price": 5.5}, {"name": "Homework", "price": 10, "minutes": 15}]
    terms = {"amount": 30, "addOns": add_ons, "expiresAt": "2026-03-02T20:00:00Z", "text": "As we said"}

    answer = await door.post(an_admin(), "/quote", {"sessionId": request["sessionId"], **terms})
    session = await session_of(answer)

    assert (session["sessionId"], session["status"]) == (request["sessionId"], "quoted")
    assert "quoteBytes" not in session
    quote = session["quote"]
    assert (quote["amount"], quote["total"], quote["expired"], quote["text"]) == (30, 45.5, False, "As we said")
    assert quote["expiresAt"] == "2026-03-02T20:00:00.000Z"
    assert quote["addOns"] == [
        {"name": "Recording", "price": 5.5, "minutes": 0},
        {"name": "Homework", "price": 10, "minutes": 15},
    ]
    assert (session["quoteAmount"], session["price"]) == (45.5, 0)
    assert answer.headers["etag"] == '"2"'


async def test_1_10_an_offer_without_a_request_is_a_new_session(door: Door, grace: Expert, ada: Actor) -> None:
    body = {"clientEmail": "ada@example.org", "expertId": str(grace.id), **KIND, "amount": 30, **TOMORROW}

    by_admin = await session_of(await door.post(an_admin(), "/quote", body), 201)
    del body["expertId"]
    by_expert = await session_of(await door.post(an_expert(grace), "/quote", body), 201)
    incomplete = await door.post(an_admin(), "/quote", {"clientEmail": "ada@example.org", "amount": 30})

    assert [by_admin["status"], by_expert["status"]] == ["quoted", "quoted"]
    assert by_expert["expertId"] == str(grace.id)
    assert incomplete.status_code == 422
    assert [error["path"] for error in incomplete.json()["errors"]] == ["sessionType", "duration", "expertId"]


async def test_1_10_a_new_quote_replaces_the_old_one_and_both_are_told(door: Door, ada: Actor, grace: Expert) -> None:
    request = await session_of(await door.post(ada, "/request", asked(grace)), 201)
    named = {"sessionId": request["sessionId"]}
    old = await session_of(await door.post(an_admin(), "/quote", named | {"amount": 30}))
    new = await session_of(await door.post(an_expert(grace), "/quote", named | {"amount": 20}))

    late = await door.put(ada, request, "accept", quoteId=old["quote"]["quoteId"])
    accepted = await session_of(await door.put(ada, request, "accept", quoteId=new["quote"]["quoteId"]))

    assert [quote["total"] for quote in new["quotes"]] == [30, 20]
    assert [entry["quoteId"] for entry in new["history"][1:]] == [quote["quoteId"] for quote in new["quotes"]]
    assert (late.status_code, late.json()["code"]) == (409, "quote_replaced")
    assert late.json()["details"]["quoteId"] == new["quote"]["quoteId"]
    assert (accepted["status"], accepted["sessionStatus"], accepted["price"]) == ("booked", "pending", 20)
    assert accepted["timeoutAt"] == "2026-03-02T09:30:00.000Z"


async def test_1_11_an_admin_books_directly(door: Door, grace: Expert, confiido: Confiido) -> None:
    who = {"clientEmail": "zoe@example.org", "clientName": "Zoe"}

    at_offer = await session_of(await door.post(an_admin(), "/booking", asked(grace, **who, source="walk-in")), 201)
    later = asked(grace, **who, startTime="14:00", price=12.5, currency="EUR")
    at_price = await session_of(await door.post(a_service(), "/booking", later), 201)
    taken = await door.post(an_admin(), "/booking", asked(grace, clientEmail="bo@example.org"))

    assert (at_offer["status"], at_offer["sessionStatus"], at_offer["price"]) == ("booked", "confirmed", 20)
    assert (at_price["price"], at_price["currency"]) == (12.5, "EUR")
    assert (taken.status_code, taken.json()["code"]) == (409, "slot_taken")
    assert len(taken.json()["details"]["nextStarts"]) == 3
    await check_laws(confiido)


async def test_1_12_every_session_has_one_word_and_the_counts_are_those_of_the_tabs(
    door: Door, ada: Actor, grace: Expert, confiido: Confiido, clock: Clock
) -> None:
    await one_of_each_word(door, ada, grace, confiido, clock)

    whole = (await door.get(an_admin(), "?limit=100")).json()["data"]
    found = {
        word: (await door.get(an_admin(), f"?status={word}")).json()["data"] for word in SALES_WORDS if word != "draft"
    }

    ids = [session["sessionId"] for data in found.values() for session in data["sessions"]]
    assert sorted(ids) == sorted(session["sessionId"] for session in whole["sessions"])
    assert whole["counts"] == {"draft": 0} | {word: data["pagination"]["total"] for word, data in found.items()}
    assert all(whole["counts"][word] >= 1 for word in found)
    for word, data in found.items():
        assert {session["status"] for session in data["sessions"]} == {word}
        assert data["counts"] == whole["counts"]


async def one_of_each_word(door: Door, ada: Actor, grace: Expert, confiido: Confiido, clock: Clock) -> None:
    """A session of Ada's in every state that a word covers, lapsed and free ones among them."""
    admin, mentor = an_admin(), an_expert(grace)
    free = await make_expert(confiido, session_types=[{**as_input(KIND), "price": 0, "currency": "INR"}])
    times = iter(f"2026-03-{day:02}" for day in range(3, 30))

    async def booked(expert: Expert = grace) -> dict[str, Any]:
        body = asked(expert, scheduledDate=next(times), clientId=str(ada.id))
        return await session_of(await door.post(admin, "/booking", body), 201)

    await door.post(ada, "/request", asked(grace))
    cancelled = await session_of(await door.post(ada, "/request", asked(grace)), 201)
    await door.put(mentor, cancelled, "decline")
    quoted = await session_of(await door.post(ada, "/request", asked(grace)), 201)
    await door.post(mentor, "/quote", {"sessionId": quoted["sessionId"], "amount": 20})
    await booked()
    await booked(free)
    ids = {}
    for name in ("paid", "invoiced", "completed", "no-show", "invoiced and cancelled"):
        session = await booked()
        ids[name] = found = await confiido.bookings.find_session(_id(session), actor=admin)
        if name == "paid":
            await confiido.bookings.complete_payment(found.booking_id, found.session_id, actor=admin)
        elif "invoiced" in name:
            await confiido.invoices.of_sessions(actor=admin, session_ids=[found.session_id])
    await confiido.bookings.cancel(
        ids["invoiced and cancelled"].booking_id, ids["invoiced and cancelled"].session_id, actor=admin
    )
    await door.http.post("/api/bookings", json=asked(grace, scheduledDate=next(times)), headers=door.as_(ada))  # lapses
    clock.now = clock.now + timedelta(days=20)
    await confiido.bookings.complete(ids["completed"].booking_id, ids["completed"].session_id, actor=admin)
    await confiido.bookings.no_show(ids["no-show"].booking_id, ids["no-show"].session_id, actor=admin)


def as_input(kind: dict[str, object]) -> dict[str, object]:
    return {"session_type": kind["sessionType"], "duration": kind["duration"]}


def _id(session: dict[str, Any]) -> ObjectId:
    return ObjectId(session["sessionId"])


async def test_1_12_counts_follow_the_filters_but_for_the_status(
    door: Door, ada: Actor, grace: Expert, confiido: Confiido
) -> None:
    ken = await make_expert(confiido)
    for expert, source in ((grace, "phone"), (grace, "website"), (ken, "phone")):
        await door.post(ada, "/request", asked(expert, source=source))

    of_grace = (await door.get(an_admin(), f"?expertId={grace.id}&status=quoted")).json()["data"]
    by_phone = (await door.get(ada, "?source=phone")).json()["data"]

    assert (of_grace["sessions"], of_grace["counts"]["request"]) == ([], 2)
    assert by_phone["counts"]["request"] == by_phone["pagination"]["total"] == 2


async def test_1_12_admins_see_all_and_others_the_own(door: Door, ada: Actor, grace: Expert) -> None:
    await door.post(ada, "/request", {"notes": "Anybody"})
    await door.post(ada, "/request", asked(grace))
    await door.post(a_client(), "/request", asked(grace))

    totals = [
        (await door.get(who)).json()["data"]["pagination"]["total"]
        for who in (an_admin(), a_service(), an_expert(grace), ada, a_client())
    ]

    assert totals == [3, 3, 2, 2, 0]


@pytest.mark.parametrize(("spelling", "total"), [("Request", 1), ("REQUESTED", 1), ("booked", 0), ("canceled", 0)])
async def test_1_12_spelling_and_case_of_a_word_do_not_matter(
    door: Door, ada: Actor, grace: Expert, spelling: str, total: int
) -> None:
    await door.post(ada, "/request", asked(grace))

    answer = await door.get(ada, f"?status={spelling}")
    unknown = await door.get(ada, "?status=dreamt")

    assert answer.json()["data"]["pagination"]["total"] == total
    assert unknown.status_code == 422


async def test_1_13_an_admin_books_a_request_with_what_was_still_open(
    door: Door, ada: Actor, grace: Expert, confiido: Confiido
) -> None:
    request = await session_of(await door.post(ada, "/request", {"notes": "Anybody, any time"}), 201)

    incomplete = await door.put(an_admin(), request, "book", expertId=str(grace.id))
    booked = await session_of(await door.put(an_admin(), request, "book", **asked(grace), price=15))
    again = await door.put(an_admin(), request, "book")

    assert (incomplete.status_code, incomplete.json()["code"]) == (422, "incomplete")
    assert {error["path"] for error in incomplete.json()["errors"]} == {"sessionType", "duration", "startsAt"}
    assert (booked["status"], booked["sessionStatus"], booked["price"]) == ("booked", "confirmed", 15)
    assert (again.status_code, again.json()["details"]) == (409, {"status": "confirmed"})
    await check_laws(confiido)


async def test_1_13_a_quote_is_booked_at_its_total(door: Door, ada: Actor, grace: Expert, clock: Clock) -> None:
    request = await session_of(await door.post(ada, "/request", asked(grace)), 201)
    extra = [{"name": "Homework", "price": 10, "minutes": 15}]
    terms = {"amount": 30, "addOns": extra, "expiresAt": "2026-03-02T10:00:00Z"}
    await door.post(an_admin(), "/quote", {"sessionId": request["sessionId"], **terms})
    clock.advance(hours=2)

    shown = await session_of(await door.get(ada, f"/{request['sessionId']}"))
    expired = await door.put(ada, request, "accept")
    booked = await session_of(await door.put(an_admin(), request, "book"))

    assert shown["quote"]["expired"] is True
    assert "accept" not in shown["allowedActions"]
    assert (expired.status_code, expired.json()["code"]) == (409, "quote_expired")
    assert (booked["price"], booked["duration"], booked["endTime"]) == (40, 45, "13:15")


async def test_allowed_actions_are_those_that_the_routes_allow(door: Door, ada: Actor, grace: Expert) -> None:
    request = await session_of(await door.post(ada, "/request", asked(grace)), 201)

    of_request = await _actions(door, request, ada, grace)
    await door.post(an_admin(), "/quote", {"sessionId": request["sessionId"], "amount": 30})
    of_quote = await _actions(door, request, ada, grace)

    assert of_request == {
        "client": ["cancel", "patch"],
        "expert": ["cancel", "decline", "patch", "quote"],
        "admin": ["book", "cancel", "decline", "patch", "quote"],
        "service": ["patch"],
    }
    assert of_quote == {
        "client": ["accept", "cancel", "decline", "patch"],
        "expert": ["cancel", "patch", "quote"],
        "admin": ["book", "cancel", "decline", "patch", "quote"],
        "service": ["patch"],
    }


async def _actions(door: Door, session: dict[str, Any], ada: Actor, grace: Expert) -> dict[str, list[str]]:
    """What each of them could do to it."""
    path = f"/{session['sessionId']}"
    callers = (ada, an_expert(grace), an_admin(), a_service())
    return {who.role: (await session_of(await door.get(who, path)))["allowedActions"] for who in callers}


async def test_a_cancellation_says_what_is_due_back(door: Door, ada: Actor, confiido: Confiido, clock: Clock) -> None:
    tiers = {"tiers": [{"hoursBefore": 24, "refundPercent": 50}]}
    ken = await make_expert(confiido, cancellation_policy=tiers)
    booked = await session_of(await door.post(an_admin(), "/booking", asked(ken, clientId=str(ada.id))), 201)
    found = await confiido.bookings.find_session(_id(booked), actor=ada)
    await confiido.bookings.complete_payment(found.booking_id, found.session_id, actor=an_admin())
    clock.now = clock.now - timedelta(hours=3)  # just more than a day before

    answer = await door.put(ada, booked, "cancel", reason="I am ill")

    assert answer.json()["data"]["refund"] == {"due": 10, "fee": 10, "currency": "INR"}
    assert (await session_of(answer))["status"] == "cancelled"


async def test_sessions_are_completed_and_moved_by_their_own_id(
    door: Door, ada: Actor, grace: Expert, clock: Clock, confiido: Confiido
) -> None:
    booked = await session_of(await door.post(an_admin(), "/booking", asked(grace, clientId=str(ada.id))), 201)

    moved = await session_of(await door.put(an_expert(grace), booked, "reschedule", startsAt="2026-03-04T10:00:00Z"))
    by_client = await door.put(ada, booked, "reschedule", startsAt="2026-03-04T11:00:00Z")
    completed = await session_of(await door.put(an_expert(grace), booked, "complete"))

    assert (moved["sessionId"], moved["startsAt"]) == (booked["sessionId"], "2026-03-04T10:00:00.000Z")
    assert by_client.status_code == 403
    assert completed["status"] == "completed"
    await check_laws(confiido)


async def test_a_repeat_with_its_key_gives_the_first_answer_and_a_stale_tag_is_refused(
    door: Door, ada: Actor, grace: Expert
) -> None:
    key = {"Idempotency_Key": "once"}
    first = await door.post(ada, "/request", asked(grace), **key)
    again = await door.post(ada, "/request", asked(grace), **key)
    other = await door.post(ada, "/request", asked(grace, notes="x"), **key)
    path = f"/api/sessions/{first.json()['data']['session']['sessionId']}/decline"
    stale = await door.http.put(path, json={}, headers=door.as_(an_admin(), If_Match='"7"'))
    fresh = await door.http.put(path, json={}, headers=door.as_(an_admin(), If_Match=first.headers["etag"]))

    assert again.json() == first.json()
    assert other.status_code == 422
    assert (stale.status_code, fresh.status_code) == (412, 200)
    assert (await door.get(ada)).json()["data"]["pagination"]["total"] == 1


async def test_bodies_that_need_nothing_may_be_left_out(door: Door, ada: Actor, grace: Expert) -> None:
    request = await session_of(await door.post(ada, "/request", asked(grace)), 201)

    answer = await door.http.put(f"/api/sessions/{request['sessionId']}/book", headers=door.as_(an_admin()))

    assert (await session_of(answer))["sessionStatus"] == "confirmed"


async def test_1_17_the_overview_has_money_counts_and_what_comes_next(
    door: Door, ada: Actor, grace: Expert, confiido: Confiido, clock: Clock
) -> None:
    admin, mentor = an_admin(), an_expert(grace)
    ken = await make_expert(confiido)
    bookings = [
        await session_of(await door.post(admin, "/booking", asked(expert, clientId=str(ada.id), startTime=at)), 201)
        for expert, at in ((grace, "12:30"), (grace, "14:00"), (ken, "16:00"))
    ]
    first = await confiido.bookings.find_session(_id(bookings[0]), actor=admin)
    await confiido.invoices.of_sessions(actor=admin, session_ids=[first.session_id])
    found = await confiido.bookings.find_session(_id(bookings[1]), actor=admin)
    await confiido.bookings.complete_payment(found.booking_id, found.session_id, actor=admin)
    await door.post(ada, "/request", {"notes": "Anybody"})

    of_all = (await door.get(admin, "/overview")).json()["data"]
    own = (await door.get(mentor, "/overview?from=2026-03-01&to=2026-03-05&currency=inr")).json()["data"]
    later = (await door.get(admin, "/overview?from=2026-03-04")).json()["data"]
    refused = await door.get(ada, "/overview")

    sums = {"booked": 60, "paid": 20, "refunded": 0, "outstanding": 40, "invoiced": 20, "overdue": 0}
    assert of_all["totals"] == {"INR": sums}
    assert {word: count for word, count in of_all["counts"].items() if count} == {
        "request": 1, "booked": 1, "paid": 1, "invoiced": 1,
    }  # fmt: skip
    assert [session["sessionId"] for session in of_all["upcoming"]] == [each["sessionId"] for each in bookings]
    assert own["totals"] == {"INR": sums | {"booked": 40, "outstanding": 20}}
    assert len(own["upcoming"]) == 2
    assert later["upcoming"] == []
    assert refused.status_code == 403


async def test_1_17_what_is_overdue_is_told(
    door: Door, ada: Actor, grace: Expert, confiido: Confiido, clock: Clock
) -> None:
    admin = an_admin()
    booked = await session_of(await door.post(admin, "/booking", asked(grace, clientId=str(ada.id))), 201)
    await door.post(admin, f"/{booked['sessionId']}/invoice", {"dueDate": "2026-03-10"})
    clock.advance(days=10)

    sums = [
        (await door.get(who, "/overview")).json()["data"]["totals"]["INR"]["overdue"]
        for who in (admin, an_expert(grace))
    ]

    assert sums == [20, 20]


async def test_a_session_is_a_file_for_calendars_that_lasts(door: Door, ada: Actor, grace: Expert) -> None:
    open_ = await session_of(await door.post(ada, "/request", {"notes": "Anybody"}), 201)
    booked = await session_of(await door.post(an_admin(), "/booking", asked(grace, clientId=str(ada.id))), 201)

    before = await door.get(ada, f"/{booked['sessionId']}.ics")
    await door.put(an_admin(), booked, "cancel")
    after = await door.get(ada, f"/{booked['sessionId']}.ics")
    without = await door.get(ada, f"/{open_['sessionId']}.ics")
    foreign = await door.get(a_client(), f"/{booked['sessionId']}.ics")

    assert before.headers["content-type"].startswith("text/calendar")
    one, two = (Calendar.from_ical(answer.text).walk("VEVENT")[0] for answer in (before, after))
    assert one["uid"] == two["uid"]
    assert two["sequence"] > one["sequence"]
    assert (one["status"], two["status"]) == ("CONFIRMED", "CANCELLED")
    assert (without.status_code, without.json()["code"]) == (409, "no_time")
    assert foreign.status_code == 404


async def test_no_client_pays_or_prices_their_own_session(door: Door, ada: Actor, grace: Expert) -> None:
    """DEFECTS 17: what a client says of money is passed over or refused."""
    claims: dict[str, object] = {"paymentStatus": "paid", "status": "confirmed", "price": 1, "amount": 1}
    request = await session_of(await door.post(ada, "/request", asked(grace, **claims)), 201)
    own_quote = await door.post(ada, "/quote", {"sessionId": request["sessionId"], "amount": 1})
    await door.post(an_admin(), "/quote", {"sessionId": request["sessionId"], "amount": 30})
    accepted = await session_of(await door.put(ada, request, "accept", **claims))
    steps = {step: await door.put(ada, request, step, **claims) for step in ("paid", "complete", "book")}

    assert (request["sessionStatus"], request["paymentStatus"], request["price"]) == ("requested", "pending", 0)
    assert own_quote.status_code == 403
    assert (accepted["sessionStatus"], accepted["paymentStatus"], accepted["price"]) == ("pending", "pending", 30)
    assert {step: answer.status_code for step, answer in steps.items()} == dict.fromkeys(steps, 403)
    assert (await session_of(await door.get(ada, f"/{request['sessionId']}")))["paid"] is False


async def test_what_was_paid_has_not_taken_place_and_what_is_over_is_not_moved(
    door: Door, ada: Actor, grace: Expert
) -> None:
    """DEFECTS 26."""
    admin, mentor, move = an_admin(), an_expert(grace), {"startsAt": "2026-03-09T09:00:00Z"}
    paid, done, gone = [
        await session_of(await door.post(admin, "/booking", asked(grace, clientId=str(ada.id), startTime=at)), 201)
        for at in ("09:00", "10:00", "11:00")
    ]
    for each in (paid, done):
        await door.put(admin, each, "paid")
    await door.put(mentor, done, "complete")
    await door.put(ada, gone, "cancel")

    after_payment = await session_of(await door.get(ada, f"/{paid['sessionId']}"))
    moves = [await door.put(mentor, each, "reschedule", **move) for each in (done, gone)]
    cancelled = await door.put(ada, paid, "cancel")

    assert (after_payment["status"], after_payment["sessionStatus"]) == ("paid", "confirmed")
    assert [(answer.status_code, answer.json()["details"]["status"]) for answer in moves] == [
        (409, "completed"),
        (409, "cancelled"),
    ]
    assert cancelled.json()["data"]["refund"] == {"due": 20, "fee": 0, "currency": "INR"}


async def test_a_service_that_is_not_there_is_not_requested(door: Door, ada: Actor) -> None:
    answer = await door.post(ada, "/request", {"serviceId": str(ObjectId())})

    assert (answer.status_code, answer.json()["code"]) == (404, "service_not_found")
