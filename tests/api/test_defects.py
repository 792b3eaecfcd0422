"""What the older backend did wrong, done right: one test for each item of its list that concerns us, by its number.

Items that another file holds: 1, 2 and 4 over two processes in ``test_races_http.py``; 11 in ``test_dst_and_money.py``;
16 in ``test_auth.py`` and ``test_hostile.py``; 18 to 21 for every route in ``test_access.py``; 31 also in
``test_hostile.py``.
"""

import asyncio
import time
from collections import Counter
from typing import Any

import httpx
import pytest
from bson import Decimal128, ObjectId
from fastapi import FastAPI

from confiido_booking import Actor, Confiido, Expert
from tests.api.conftest import Headers, wish
from tests.builders import Clock, a_client, a_service, an_admin, an_expert, make_expert
from tests.laws.check import check_laws

Data = dict[str, Any]


class Door:
    """The application, as somebody calls it."""

    def __init__(self, http: httpx.AsyncClient, as_: Headers) -> None:
        self.http, self.as_ = http, as_

    async def post(self, path: str, body: object, who: Actor) -> httpx.Response:
        return await self.http.post(path, json=body, headers=self.as_(who))

    async def put(self, path: str, body: object, who: Actor) -> httpx.Response:
        return await self.http.put(path, json=body, headers=self.as_(who))

    async def get(self, path: str, who: Actor) -> httpx.Response:
        return await self.http.get(path, headers=self.as_(who))

    async def book(self, who: Actor, expert: Expert, **overrides: object) -> httpx.Response:
        return await self.post("/api/bookings", wish(expert, **overrides), who)

    async def booked(self, who: Actor, expert: Expert, **overrides: object) -> tuple[str, str]:
        """The ids of a booking and of a new session in it."""
        answer = await self.book(who, expert, **overrides)
        assert answer.status_code == 201, answer.text
        data = answer.json()["data"]
        return data["booking"]["_id"], data["session"]["sessionId"]

    async def command(self, name: str, ids: tuple[str, str], who: Actor, **body: object) -> httpx.Response:
        return await self.put(f"/api/bookings/{ids[0]}/{name}", {"sessionId": ids[1], **body}, who)

    async def move(self, ids: tuple[str, str], who: Actor, start: str) -> httpx.Response:
        path = f"/api/bookings/{ids[0]}/sessions/{ids[1]}/reschedule"
        return await self.put(path, {"scheduledDate": "2026-03-03", "startTime": start}, who)

    async def session(self, ids: tuple[str, str]) -> Data:
        read: Data = (await self.get(f"/api/bookings/{ids[0]}/sessions/{ids[1]}", an_admin())).json()["data"]["session"]
        return read


@pytest.fixture
def door(http: httpx.AsyncClient, as_: Headers) -> Door:
    return Door(http, as_)


def outcome(answer: httpx.Response) -> tuple[int, str | None]:
    return answer.status_code, answer.json().get("code")


async def test_two_clients_never_get_one_slot(door: Door, grace: Expert, confiido: Confiido) -> None:  # 1
    for hour in range(9, 14):
        pair = await asyncio.gather(*(door.book(a_client(), grace, startTime=f"{hour:02}:00") for _ in range(2)))

        assert Counter(map(outcome, pair)) == {(201, None): 1, (409, "slot_taken"): 1}
    await check_laws(confiido, settled=False)


async def test_a_reschedule_that_races_a_booking_takes_the_time_or_leaves_it(
    door: Door, grace: Expert, ada: Actor, confiido: Confiido
) -> None:  # 1
    ids = await door.booked(ada, grace)

    answers = await asyncio.gather(
        door.move(ids, an_expert(grace), "15:00"), door.book(a_client(), grace, startTime="15:15")
    )

    assert Counter(answer.is_success for answer in answers) == {True: 1, False: 1}
    await check_laws(confiido, settled=False)


async def test_who_finds_no_document_because_a_rival_is_making_it_books_all_the_same(
    door: Door, grace: Expert, ada: Actor, confiido: Confiido
) -> None:  # 2
    rival = Confiido.over(
        type(confiido.store)(confiido.store.client, confiido.store.name), confiido.settings, confiido.clock
    )
    met = []

    async def rival_comes_first(step: str) -> None:
        if step == "read booking" and not met:
            met.append(step)
            await rival.bookings.book(
                actor=ada, expert=grace.id or "", session_type="chat", duration=30, starts_at="2026-03-05T09:00:00Z"
            )

    confiido.store.hook = rival_comes_first
    answer = await door.book(ada, grace)

    assert met
    assert answer.status_code == 201, answer.text
    assert answer.json()["data"]["booking"]["totalSessions"] == 2
    await check_laws(confiido, settled=False)


async def test_totals_are_those_of_the_sessions_however_many_book_at_once(
    door: Door, grace: Expert, ada: Actor, confiido: Confiido
) -> None:  # 3
    answers = await asyncio.gather(*(door.book(ada, grace, startTime=f"{hour:02}:00") for hour in range(9, 17)))
    data = answers[0].json()["data"]
    cancelled = await door.command("cancel", (data["booking"]["_id"], data["session"]["sessionId"]), ada)

    assert {answer.status_code for answer in answers} == {201}
    booking = cancelled.json()["data"]["booking"]
    assert (booking["totalSessions"], booking["totalSpent"]) == (8, 7 * 20)
    await check_laws(confiido)


async def test_a_payment_and_the_end_of_a_hold_never_both_happen(
    door: Door, grace: Expert, ada: Actor, clock: Clock, confiido: Confiido
) -> None:  # 4
    ids = await door.booked(ada, grace)
    clock.advance(minutes=31)

    paid, swept = await asyncio.gather(
        door.command("complete-payment", ids, a_service()), door.command("cancel-expired-session", ids, ada)
    )
    session = await door.session(ids)

    assert (paid.status_code, swept.status_code) == (409, 200)
    assert (session["status"], session["paymentStatus"], session["cancelledBy"]) == ("cancelled", "pending", "system")
    await check_laws(confiido)


async def test_reading_writes_nothing_and_undoes_no_command(
    door: Door, grace: Expert, ada: Actor, confiido: Confiido
) -> None:  # 5, 19
    mentor = an_expert(grace)
    sessions = [await door.booked(ada, grace, startTime=f"{hour:02}:00") for hour in (16, 9, 12)]
    before = await confiido.store.collection("bookings").find().to_list()

    reads = [
        await door.get(path, who)
        for path, who in (
            ("/api/bookings/user", ada),
            ("/api/bookings", ada),
            (f"/api/bookings/{sessions[0][0]}", ada),
            (f"/api/bookings/mentor/{grace.expert_user_id}", mentor),
        )
    ]
    after = await confiido.store.collection("bookings").find().to_list()
    racing = [door.command("confirm", ids, mentor) for ids in sessions]
    confirmed = await asyncio.gather(*racing, *(door.get("/api/bookings/user", ada) for _ in range(6)))

    assert {answer.status_code for answer in [*reads, *confirmed]} == {200}
    assert after == before
    assert {(await door.session(ids))["status"] for ids in sessions} == {"confirmed"}


async def test_a_booking_does_not_disturb_a_move_of_the_same_client(
    door: Door, grace: Expert, ada: Actor, confiido: Confiido
) -> None:  # 6
    ids = await door.booked(ada, grace, startTime="09:00")

    answers = await asyncio.gather(
        door.move(ids, an_expert(grace), "15:00"), *(door.book(ada, grace, startTime=f"{hour}:00") for hour in (10, 11))
    )

    assert [answer.status_code for answer in answers] == [200, 201, 201]
    await check_laws(confiido)


async def test_a_late_payment_takes_no_slot_that_was_resold(
    door: Door, grace: Expert, ada: Actor, clock: Clock, confiido: Confiido
) -> None:  # 7
    bo = a_client()
    lapsed = await door.booked(ada, grace)
    clock.advance(minutes=31)
    resold = await door.booked(bo, grace)

    paid = await door.command("complete-payment", resold, a_service())
    late = await door.command("complete-payment", lapsed, a_service())

    assert (paid.status_code, late.status_code) == (200, 409)
    assert late.json()["details"] == {"status": "cancelled"}
    assert ((await door.session(lapsed))["paymentStatus"], (await door.session(resold))["paymentStatus"]) == (
        "pending",
        "paid",
    )
    await check_laws(confiido)


async def test_sweeps_that_overlap_expire_what_has_lapsed_once_and_nothing_else(
    door: Door, grace: Expert, ada: Actor, clock: Clock, confiido: Confiido
) -> None:  # 8
    confirmed, lapsed = [await door.booked(ada, grace, startTime=start) for start in ("09:00", "11:00")]
    await door.command("confirm", confirmed, an_expert(grace))
    clock.advance(minutes=20)
    live = await door.booked(ada, grace, startTime="13:00")
    clock.advance(minutes=11)

    await asyncio.gather(*(confiido.chores.once() for _ in range(3)))

    statuses = [(await door.session(ids))["status"] for ids in (confirmed, lapsed, live)]
    assert statuses == ["confirmed", "cancelled", "pending"]
    assert len((await door.session(lapsed))["history"]) == 2
    await check_laws(confiido)


async def test_what_the_sync_of_timeouts_says_is_stored(
    door: Door, grace: Expert, ada: Actor, clock: Clock, confiido: Confiido
) -> None:  # 9
    ids = await door.booked(ada, grace)
    clock.advance(minutes=31)

    answer = await door.post(
        "/api/bookings/timeout/sync", {"timeouts": [{"bookingId": ids[0], "sessionId": ids[1]}]}, ada
    )
    stored = await confiido.store.collection("bookings").find_one({})

    assert answer.json()["message"] == "Synced 1 timeouts, 1 sessions expired"
    assert stored is not None
    assert (stored["sessions"][0]["status"], stored["totalSpent"]) == ("cancelled", Decimal128("0"))


async def test_a_time_of_one_digit_is_a_time_like_any_other(door: Door, grace: Expert) -> None:  # 10
    first = await door.book(a_client(), grace, startTime="9:30", duration=60)
    others = [await door.book(a_client(), grace, startTime=start) for start in ("9:30", "09:30", "10:00", "09:15")]

    assert first.json()["data"]["session"]["startTime"] == "09:30"
    assert [outcome(answer) for answer in others] == [(409, "slot_taken")] * 4


async def test_another_spelling_of_the_day_is_the_same_day(door: Door, grace: Expert) -> None:  # 12
    await door.booked(a_client(), grace)

    answers = [
        await door.book(a_client(), grace, scheduledDate=day)
        for day in ("2026-03-03T00:00:01Z", "2026-03-03T00:00:00.000Z", "2026-03-03 12:00:00+05:30")
    ]

    assert [outcome(answer) for answer in answers] == [(409, "slot_taken")] * 3


async def test_the_servers_own_zone_means_nothing(
    door: Door, confiido: Confiido, monkeypatch: pytest.MonkeyPatch
) -> None:  # 13
    starts = set()

    try:
        for zone in ("UTC", "America/Los_Angeles", "Pacific/Kiritimati"):
            monkeypatch.setenv("TZ", zone)
            time.tzset()
            expert = await make_expert(confiido)
            session = (await door.book(a_client(), expert)).json()["data"]["session"]
            starts.add((session["startsAt"], session["scheduledDate"], session["startTime"]))
    finally:
        monkeypatch.undo()
        time.tzset()

    assert starts == {("2026-03-03T07:00:00.000Z", "2026-03-03", "12:30")}


async def test_booking_moving_and_the_list_of_slots_have_one_rule_of_what_is_taken(
    door: Door, ada: Actor, clock: Clock, confiido: Confiido
) -> None:  # 14
    always = [{"dayOfWeek": day, "startTime": "00:00", "endTime": "24:00"} for day in range(7)]
    grace = await make_expert(confiido, availability={"periods": [{"timeSlots": always}]})
    mentor, elsewhere = an_expert(grace), await door.booked(a_client(), grace, startTime="18:00")
    await door.command("confirm", elsewhere, mentor)
    ids = await door.booked(ada, grace)

    async def is_free() -> set[bool]:
        path = f"/api/availability/userid/{grace.expert_user_id}/slots/2026-03-03"
        slots = (await door.get(path, ada)).json()["data"]["availableSlots"]
        moved = await door.move(elsewhere, mentor, "12:30")
        if moved.is_success:
            await door.move(elsewhere, mentor, "18:00")
        booked = await door.book(rival := a_client(), grace)
        if booked.is_success:
            data = booked.json()["data"]
            await door.command("cancel", (data["booking"]["_id"], data["session"]["sessionId"]), rival)
        return {
            next(slot for slot in slots if slot["time"] == "12:30")["available"],
            moved.is_success,
            booked.is_success,
        }

    while_pending = await is_free()
    await door.command("complete-payment", ids, a_service())
    while_paid = await is_free()
    await door.command("cancel", ids, ada)
    once_cancelled = await is_free()
    await door.booked(ada, grace)
    clock.advance(minutes=31)
    once_lapsed = await is_free()

    assert (while_pending, while_paid, once_cancelled, once_lapsed) == ({False}, {False}, {True}, {True})


async def test_no_client_books_the_past_closed_hours_or_two_places_at_once(
    door: Door, grace: Expert, ada: Actor, confiido: Confiido
) -> None:  # 15
    tuesday = {"dayOfWeek": 2, "startTime": "09:00", "endTime": "17:00"}
    other = await make_expert(confiido, availability={"periods": [{"timeSlots": [tuesday]}]})
    await door.booked(ada, grace)

    answers = [
        await door.book(ada, grace, scheduledDate="2001-01-01"),
        await door.book(ada, other, startTime="08:45"),
        await door.book(ada, other, startTime="16:45"),
        await door.book(ada, other, scheduledDate="2026-03-04"),
        await door.book(ada, other, startTime="12:45"),
    ]

    assert [outcome(answer) for answer in answers] == [
        (422, "starts_in_past"),
        (409, "outside_availability"),
        (409, "outside_availability"),
        (409, "outside_availability"),
        (409, "client_busy"),
    ]


async def test_no_word_of_a_client_is_a_payment_or_a_price(door: Door, grace: Expert, ada: Actor) -> None:  # 17
    cheap = await door.book(
        ada, grace, price=0, currency="JPY", paymentStatus="paid", status="confirmed", paidAmount=20
    )
    data = cheap.json()["data"]
    ids = data["booking"]["_id"], data["session"]["sessionId"]
    word = await door.command("complete-payment", ids, ada, loyaltyPointsUsed=0, finalAmount=0, paymentMethod="online")

    assert outcome(word) == (402, "payment_not_verified")
    session = await door.session(ids)
    assert (session["price"], session["currency"], session["status"]) == (20, "INR", "pending")
    assert (session["paymentStatus"], session["paidAmount"]) == ("pending", 0)


async def test_nobody_becomes_an_expert_by_being_booked_or_priced(
    door: Door, ada: Actor, grace: Expert, confiido: Confiido
) -> None:  # 22
    plain = str(a_client().id)

    booked = await door.post("/api/bookings", {**wish(grace), "expertId": plain}, ada)
    priced = await door.get(f"/api/bookings/pricing?expertId={plain}&sessionType=video&duration=30", ada)

    assert [outcome(answer) for answer in (booked, priced)] == [(404, "expert_not_found")] * 2
    assert await confiido.store.collection("experts").count_documents({}) == 1


async def test_a_number_that_many_share_shows_nobody_anothers_sessions(
    door: Door, grace: Expert, confiido: Confiido
) -> None:  # 23
    ada, bo = (Actor.client(ObjectId(), user_id="0000") for _ in range(2))
    kens = [await make_expert(confiido, expert_user_id="0000") for _ in range(2)]
    await door.booked(ada, grace)
    await door.booked(ada, kens[0], startTime="15:00")

    own, foreign = [(await door.get("/api/bookings/user", who)).json()["data"] for who in (ada, bo)]
    as_expert = await door.get("/api/bookings/mentor/0000", an_expert(kens[1]))
    claimed = await door.put("/api/users/profile", {"user_id": ada.user_id}, bo)

    assert (own["pagination"]["total"], foreign["pagination"]["total"]) == (2, 0)
    assert (as_expert.status_code, as_expert.json()["data"]["pagination"]["total"]) == (200, 0)
    assert claimed.status_code == 404


def test_there_is_no_room_to_join_and_no_socket_to_listen_at(app: FastAPI) -> None:  # 24
    assert not [path for path in app.openapi()["paths"] if "socket" in path or "join" in path]


async def test_what_is_paid_is_not_completed_and_what_is_over_is_not_moved(
    door: Door, grace: Expert, ada: Actor
) -> None:  # 26
    mentor = an_expert(grace)
    paid, done, gone = [await door.booked(ada, grace, startTime=start) for start in ("09:00", "10:00", "11:00")]
    await door.command("complete-payment", paid, a_service())
    await door.command("complete-payment", done, a_service())
    await door.command("complete", done, mentor)
    await door.command("cancel", gone, ada)

    status = (await door.session(paid))["status"]
    moves = [await door.move(ids, mentor, "16:00") for ids in (done, gone)]
    cancelled = await door.command("cancel", paid, ada)

    assert status == "confirmed"
    assert [(move.status_code, move.json()["details"]["status"]) for move in moves] == [
        (409, "completed"),
        (409, "cancelled"),
    ]
    assert cancelled.json()["data"]["session"]["refundDue"] == 20


async def test_a_cancelled_session_says_who_ended_it_and_is_no_failed_payment(
    door: Door, grace: Expert, ada: Actor, clock: Clock
) -> None:  # 27
    cancelled, lapsed = [await door.booked(ada, grace, startTime=start) for start in ("09:00", "10:00")]
    await door.command("cancel", cancelled, ada)
    clock.advance(minutes=31)
    await door.command("cancel-expired-session", lapsed, ada)

    told = [await door.session(ids) for ids in (cancelled, lapsed)]

    assert [(s["cancelledBy"], s["timeoutStatus"], s["paymentStatus"]) for s in told] == [
        ("client", "completed", "pending"),
        ("system", "expired", "pending"),
    ]


async def test_a_time_that_was_asked_for_and_sold_since_is_not_approved(
    door: Door, grace: Expert, ada: Actor, confiido: Confiido
) -> None:  # 28
    ids = await door.booked(ada, grace)
    await door.command("confirm", ids, an_expert(grace))
    where = f"/api/bookings/{ids[0]}/sessions/{ids[1]}/reschedule-request"
    asked = await door.post(where, {"scheduledDate": "2026-03-03", "startTime": "15:00"}, ada)
    sold = await door.book(a_client(), grace, startTime="15:00")

    approved = await door.post(f"{where}/respond", {"action": "approve"}, an_expert(grace))

    assert (asked.status_code, sold.status_code) == (200, 201)
    assert outcome(approved) == (409, "slot_taken")
    assert (await door.session(ids))["startTime"] == "12:30"
    await check_laws(confiido)


async def test_an_odd_old_session_does_not_block_its_client(
    door: Door, grace: Expert, ada: Actor, confiido: Confiido
) -> None:  # 29
    ids = await door.booked(ada, grace)
    odd = {
        "sessionId": ObjectId(),
        "expertId": grace.id,
        "status": "cancelled",
        "sessionType": "telepathy",
        "duration": 7,
        "price": 12.5,
        "currency": "USD",
        "paymentStatus": "unheard of",
        "scheduledDate": "some day",
        "startTime": "9:30",
    }
    await confiido.store.collection("bookings").update_one({}, {"$push": {"sessions": odd}})

    confirmed = await door.command("confirm", ids, an_expert(grace))
    booked = await door.book(ada, grace, startTime="15:00")
    cancelled = await door.command("cancel", ids, ada)

    assert [answer.status_code for answer in (confirmed, booked, cancelled)] == [200, 201, 200]


async def test_pages_and_filters_count_sessions(door: Door, grace: Expert, ada: Actor) -> None:  # 31
    ids = [await door.booked(ada, grace, startTime=f"{hour:02}:00") for hour in range(9, 14)]
    await door.command("cancel", ids[0], ada)

    pages = [(await door.get(f"/api/bookings/user?page={page}&limit=2", ada)).json()["data"] for page in (1, 2, 3, 4)]
    cancelled = (await door.get("/api/bookings/user?status=cancelled", ada)).json()["data"]
    refused = [
        await door.get(f"/api/bookings/user?{query}", ada)
        for query in ("page=0", "limit=abc", "limit=0", "limit=1000000000", "limit=101")
    ]

    assert [sum(len(booking["sessions"]) for booking in page["bookings"]) for page in pages] == [2, 2, 1, 0]
    assert (pages[0]["pagination"]["total"], pages[0]["pagination"]["pages"]) == (5, 3)
    seen = [session["sessionId"] for page in pages for booking in page["bookings"] for session in booking["sessions"]]
    assert sorted(seen) == sorted(session for _, session in ids)
    assert [s["sessionId"] for booking in cancelled["bookings"] for s in booking["sessions"]] == [ids[0][1]]
    assert {answer.status_code for answer in refused} == {422}


async def test_a_duration_in_quotes_is_the_number_it_says(door: Door, grace: Expert, ada: Actor) -> None:  # 37
    answer = await door.book(ada, grace, duration="30")

    assert answer.status_code == 201, answer.text
    assert answer.json()["data"]["session"]["duration"] == 30
