"""Wall clocks and money over HTTP and back: what is sent is what is kept, to the minute and to the last decimal."""

import json
from decimal import Decimal
from typing import Any

import httpx
import pytest

from confiido_booking import Actor, Confiido
from tests.api.conftest import Headers, wish
from tests.builders import a_client, an_admin, make_expert, offer

DST = [
    # zone, day, start, minutes; UTC start, local end
    ("Europe/Berlin", "2026-03-29", "01:30", 60, "2026-03-29T00:30:00.000Z", "03:30"),  # over the skipped hour
    ("Europe/Berlin", "2026-03-29", "03:00", 30, "2026-03-29T01:00:00.000Z", "03:30"),  # right after it
    ("Europe/Berlin", "2026-10-25", "02:30", 60, "2026-10-25T00:30:00.000Z", "02:30"),  # the first of two
    ("Europe/Berlin", "2026-10-25", "01:30", 120, "2026-10-24T23:30:00.000Z", "02:30"),
    ("America/New_York", "2026-03-08", "01:59", 5, "2026-03-08T06:59:00.000Z", "03:04"),
    ("America/New_York", "2026-11-01", "01:00", 60, "2026-11-01T05:00:00.000Z", "01:00"),
    ("Australia/Lord_Howe", "2026-04-05", "01:45", 30, "2026-04-04T14:45:00.000Z", "01:45"),  # half an hour back
    ("Australia/Lord_Howe", "2026-10-04", "01:45", 30, "2026-10-03T15:15:00.000Z", "02:45"),  # half an hour on
    ("Asia/Kolkata", "2026-12-31", "23:30", 60, "2026-12-31T18:00:00.000Z", "00:30"),  # across midnight and the year
]
SKIPPED = [
    ("Europe/Berlin", "2026-03-29", "02:30"),
    ("America/New_York", "2026-03-08", "02:00"),
    ("Australia/Lord_Howe", "2026-10-04", "02:15"),
]


def anything(duration: int) -> list[dict[str, object]]:
    return [offer(duration=duration)]


@pytest.mark.parametrize(("zone", "day", "start", "minutes", "starts_at", "end"), DST)
async def test_a_wall_time_is_kept_as_it_was_meant(
    zone: str, day: str, start: str, minutes: int, starts_at: str, end: str,
    http: httpx.AsyncClient, as_: Headers, ada: Actor, confiido: Confiido,
) -> None:  # fmt: skip
    expert = await make_expert(confiido, timezone=zone, session_types=anything(minutes))

    answer = await http.post(
        "/api/bookings", json=wish(expert, scheduledDate=day, startTime=start, duration=minutes), headers=as_(ada)
    )
    session = answer.json()["data"]["session"]
    read = await http.get(f"/api/sessions/{session['sessionId']}", headers=as_(ada))
    again = await http.post(
        "/api/bookings", json=wish(expert, startsAt=starts_at, duration=minutes), headers=as_(a_client())
    )

    for shown in (session, read.json()["data"]["session"]):
        assert (shown["startsAt"], shown["scheduledDate"]) == (starts_at, day)
        assert (shown["startTime"], shown["endTime"], shown["timezone"]) == (start, end, zone)
    assert (again.status_code, again.json()["code"]) == (409, "slot_taken")


@pytest.mark.parametrize(("zone", "day", "start"), SKIPPED)
async def test_a_wall_time_that_the_clock_skips_is_refused(
    zone: str, day: str, start: str, http: httpx.AsyncClient, as_: Headers, ada: Actor, confiido: Confiido
) -> None:
    expert = await make_expert(confiido, timezone=zone)
    asked = {"scheduledDate": day, "startTime": start}

    booked = await http.post("/api/bookings", json=wish(expert, **asked), headers=as_(ada))
    session = (await http.post("/api/bookings", json=wish(expert), headers=as_(ada))).json()["data"]
    where = f"/api/bookings/{session['booking']['_id']}/sessions/{session['session']['sessionId']}"
    moved = await http.put(f"{where}/reschedule", json=asked, headers=as_(an_admin()))

    for answer in (booked, moved):
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_time")
        assert answer.json()["errors"][0]["path"] == "startTime"


async def test_a_session_across_midnight_takes_the_minutes_of_both_days(
    http: httpx.AsyncClient, as_: Headers, confiido: Confiido
) -> None:
    expert = await make_expert(confiido)
    late = wish(expert, startTime="23:30", duration=60)

    answers = [
        await http.post("/api/bookings", json=each, headers=as_(a_client()))
        for each in (
            late,
            late,
            wish(expert, scheduledDate="2026-03-04", startTime="00:00"),
            wish(expert, scheduledDate="2026-03-04", startTime="00:30"),
            wish(expert, startTime="23:00"),
        )
    ]

    assert [answer.status_code for answer in answers] == [201, 409, 409, 201, 201]


async def test_the_slots_of_a_day_that_the_clock_changes_are_those_that_can_be_booked(
    http: httpx.AsyncClient, as_: Headers, ada: Actor, confiido: Confiido
) -> None:
    always = [{"dayOfWeek": 0, "startTime": "00:00", "endTime": "24:00"}]
    counted = {}

    for zone, day in (
        ("Europe/Berlin", "2026-03-29"),
        ("Europe/Berlin", "2026-10-25"),
        ("Australia/Lord_Howe", "2026-04-05"),
    ):
        expert = await make_expert(confiido, timezone=zone, availability={"periods": [{"timeSlots": always}]})
        path = f"/api/availability/userid/{expert.expert_user_id}/consecutive-slots/{day}/30"
        slots = (await http.get(path, headers=as_(ada))).json()["data"]["consecutiveSlots"]
        counted[zone, day] = len(slots)
        doubled = [slot for slot in slots if slot["startTime"] == "02:30" and zone == "Europe/Berlin"]
        for slot in [slots[0], slots[-1], *doubled]:
            booked = await http.post(
                "/api/bookings", json=wish(expert, startsAt=slot["startsAt"]), headers=as_(a_client())
            )
            assert booked.status_code == 201, slot

    whole_day = 24 * 4 - 1  # a wall time that comes twice is offered once: it means the first
    assert list(counted.values()) == [whole_day - 4, whole_day, whole_day]


@pytest.mark.parametrize(
    ("currency", "price", "shown"),
    [
        ("JPY", "1500", 1500),
        ("JPY", "999999999999", 999999999999),
        ("INR", "24.99", 24.99),
        ("INR", "20.00", 20),
        ("INR", "0.01", 0.01),
        ("KWD", "1.255", 1.255),
        ("KWD", "999999999999.999", 999999999999.999),
    ],
)
async def test_a_price_comes_back_to_the_last_decimal(
    currency: str, price: str, shown: float, http: httpx.AsyncClient, as_: Headers, ada: Actor, confiido: Confiido
) -> None:
    created = await create(http, as_(an_admin()), currency, price)
    expert = created.json()["data"]["expert"]
    book = {"expertId": expert["_id"], "sessionType": "video", "duration": 30, "startsAt": "2026-03-10T09:00:00Z"}

    booked = await http.post("/api/bookings", json=book, headers=as_(ada))
    asked = {"expertId": expert["_id"], "sessionType": "video", "duration": 30}
    priced = await http.get("/api/bookings/pricing", params=asked, headers=as_(ada))
    data = booked.json()["data"]
    named = {"sessionId": data["session"]["sessionId"]}
    paid = await http.put(
        f"/api/bookings/{data['booking']['_id']}/complete-payment", json=named, headers=as_(an_admin())
    )

    assert created.status_code == 201
    assert priced.json()["data"] == {"price": shown, "currency": currency}
    assert f'"price":{shown}' in priced.text
    assert (data["session"]["price"], data["session"]["currency"]) == (shown, currency)
    assert (data["booking"]["totalSpent"], data["booking"]["currency"]) == (shown, currency)
    assert paid.json()["data"]["booking"]["totals"][currency] == {
        "booked": shown, "paid": shown, "refunded": 0, "outstanding": 0, "refundable": 0,
    }  # fmt: skip
    stored = await confiido.store.collection("bookings").find_one({})
    assert stored is not None
    assert stored["sessions"][0]["price"].to_decimal() == Decimal(price)
    assert stored["sessions"][0]["paidAmount"].to_decimal() == Decimal(price)


@pytest.mark.parametrize(
    ("currency", "price"),
    [
        ("JPY", "1500.5"),
        ("INR", "24.999"),
        ("INR", "24.9999999999999999999"),
        ("KWD", "1.2555"),
        ("INR", "-0.01"),
        ("INR", "1000000000000"),
        ("INR", '"20"'),
        ("INR", "true"),
        ("XXX", "20"),
        ("inr ₹", "20"),
    ],
)
async def test_a_price_its_currency_does_not_have_is_refused(
    currency: str, price: str, http: httpx.AsyncClient, as_: Headers, confiido: Confiido
) -> None:
    expert = await make_expert(confiido)
    headers = as_(an_admin())
    book = wish(expert, clientId=str(a_client().id), price=0, currency=currency)
    content = json.dumps(book).replace('"price": 0', f'"price": {price}')

    created = await create(http, headers, currency, price)
    booked = await http.post("/api/bookings", content=content, headers={**headers, "Content-Type": "application/json"})

    for answer in (created, booked):
        assert answer.status_code == 422, answer.text
        assert isinstance(answer.json()["error"], str)


async def create(http: httpx.AsyncClient, headers: dict[str, str], currency: str, price: str) -> httpx.Response:
    """An expert with that price, written as it stands."""
    offered: dict[str, Any] = {"sessionType": "video", "duration": 30, "price": 0, "currency": currency}
    profile = {"userId": str(a_client().id), "name": "Lin", "sessionTypes": [offered]}
    content = json.dumps(profile).replace('"price": 0', f'"price": {price}')
    return await http.post(
        "/api/admin/experts", content=content, headers={**headers, "Content-Type": "application/json"}
    )


async def test_sums_of_many_small_amounts_are_exact(
    http: httpx.AsyncClient, as_: Headers, ada: Actor, confiido: Confiido
) -> None:
    types = [offer(price=Decimal("0.10")), offer(duration=60, price=Decimal("0.20"))]
    expert = await make_expert(confiido, session_types=types)

    for hour, duration in ((9, 30), (10, 60), (12, 30)):
        booked = wish(expert, startTime=f"{hour:02}:00", duration=duration)
        answer = await http.post("/api/bookings", json=booked, headers=as_(ada))

    assert '"totalSpent":0.4,' in answer.text


async def test_currencies_are_never_added_up(
    http: httpx.AsyncClient, as_: Headers, ada: Actor, confiido: Confiido
) -> None:
    yen = await make_expert(confiido, session_types=[offer(price=1500, currency="JPY")])
    dinar = await make_expert(confiido, session_types=[offer(price=Decimal("1.255"), currency="KWD")])

    await http.post("/api/bookings", json=wish(yen), headers=as_(ada))
    answer = await http.post("/api/bookings", json=wish(dinar, startTime="15:00"), headers=as_(ada))

    booking = answer.json()["data"]["booking"]
    assert (booking["currency"], booking["totalSpent"]) == ("JPY", 1500)
    assert {code: sums["booked"] for code, sums in booking["totals"].items()} == {"JPY": 1500, "KWD": 1.255}
