"""Experts, their hours and their slots over HTTP (FRONTEND 2.11-2.14; SPEC 8)."""

import httpx

from confiido_booking.actors import Actor
from confiido_booking.experts.models import Expert
from tests.api.conftest import Headers, wish
from tests.builders import a_service, an_admin, an_expert, new_number

MORNINGS = {
    "dateRange": {"startDate": "2026-03-01", "endDate": "2026-03-31"},
    "timeSlots": [{"dayOfWeek": 2, "startTime": "9:00", "endTime": "11:00", "isAvailable": True}],
    "notes": "March",
}


async def test_without_hours_the_slot_routes_say_so(
    http: httpx.AsyncClient, as_: Headers, ada: Actor, grace: Expert
) -> None:
    path = f"/api/availability/userid/{grace.expert_user_id}"

    slots = await http.get(f"{path}/slots/2026-03-03", headers=as_(ada))
    consecutive = await http.get(f"{path}/consecutive-slots/2026-03-03/30", headers=as_(ada))

    sentence = "No availability found for this date"
    assert slots.json()["data"] == {"availableSlots": [], "message": sentence}
    assert consecutive.json()["data"] == {"consecutiveSlots": [], "message": sentence}


async def test_slots_have_the_frontends_form_and_booked_ones_are_taken(
    http: httpx.AsyncClient, as_: Headers, ada: Actor, grace: Expert
) -> None:
    await http.post("/api/availability", json=MORNINGS, headers=as_(an_expert(grace)))
    await http.post("/api/bookings", json=wish(grace, startTime="9:30"), headers=as_(ada))
    path = f"/api/availability/userid/{grace.expert_user_id}"

    slots = (await http.get(f"{path}/slots/2026-03-03", headers=as_(ada))).json()["data"]
    fitting = (await http.get(f"{path}/consecutive-slots/2026-03-03/30", headers=as_(ada))).json()["data"]

    assert slots["date"] == "2026-03-03"
    assert slots["availableSlots"][0] == {
        "time": "09:00",
        "displayTime": "9:00 AM",
        "available": True,
        "startsAt": "2026-03-03T03:30:00.000Z",
    }
    assert [slot["time"] for slot in slots["availableSlots"] if not slot["available"]] == ["09:30", "09:45"]
    assert [slot["startTime"] for slot in fitting["consecutiveSlots"]] == ["09:00", "10:00", "10:15", "10:30"]
    assert fitting["consecutiveSlots"][0]["endDisplayTime"] == "9:30 AM"
    assert (fitting["totalSlots"], fitting["availableSlots"], fitting["duration"]) == (7, 4, 30)


async def test_hours_are_kept_replaced_and_removed(http: httpx.AsyncClient, as_: Headers, grace: Expert) -> None:
    mentor = as_(an_expert(grace))

    made = await http.post("/api/availability", json=MORNINGS, headers=mentor)
    period = made.json()["data"]["availability"]["periods"][0]
    listed = await http.get("/api/availability", headers=mentor)
    twice = await http.post("/api/availability", json=MORNINGS, headers=mentor)
    changed = await http.put(f"/api/availability/{period['_id']}", json={**MORNINGS, "notes": "B"}, headers=mentor)
    removed = await http.delete(f"/api/availability/{period['_id']}", headers=mentor)
    again = await http.delete(f"/api/availability/{period['_id']}", headers=mentor)

    assert made.status_code == 201
    assert listed.json()["data"]["availability"] == [period]
    assert period["dateRange"] == {"startDate": "2026-03-01", "endDate": "2026-03-31"}
    assert period["timeSlots"][0]["startTime"] == "09:00"
    assert twice.status_code == 409
    assert changed.json()["data"]["availability"]["periods"][0]["notes"] == "B"
    assert removed.json()["data"]["availability"]["periods"] == []
    assert again.status_code == 404


async def test_exceptions_and_blocks_close_a_time(
    http: httpx.AsyncClient, as_: Headers, ada: Actor, grace: Expert
) -> None:
    mentor = as_(an_expert(grace))
    blocked = {"startsAt": "2026-03-03T12:00:00+05:30", "endsAt": "2026-03-03T13:00:00+05:30", "reason": "Lunch"}

    exception = await http.post("/api/availability/exceptions", json={"date": "2026-03-04"}, headers=mentor)
    block = await http.post("/api/availability/blocks", json=blocked, headers=mentor)
    in_block = await http.post("/api/bookings", json=wish(grace), headers=as_(ada))
    on_closed_day = await http.post("/api/bookings", json=wish(grace, scheduledDate="2026-03-04"), headers=as_(ada))
    listed = (await http.get("/api/availability/blocks", headers=mentor)).json()["data"]["blocks"]
    freed = await http.delete(f"/api/availability/blocks/{listed[0]['_id']}", headers=mentor)
    kept = exception.json()["data"]["availability"]["exceptions"][0]
    opened = await http.delete(f"/api/availability/exceptions/{kept['_id']}", headers=mentor)

    assert (exception.status_code, block.status_code) == (201, 201)
    assert kept["date"] == "2026-03-04"
    assert (in_block.status_code, in_block.json()["code"]) == (409, "slot_taken")
    assert (on_closed_day.status_code, on_closed_day.json()["code"]) == (409, "outside_availability")
    assert listed[0]["startsAt"] == "2026-03-03T06:30:00.000Z"
    assert (freed.status_code, opened.status_code) == (200, 200)
    assert (await http.post("/api/bookings", json=wish(grace), headers=as_(ada))).status_code == 201


async def test_hours_are_the_experts_own_affair(
    http: httpx.AsyncClient, as_: Headers, ada: Actor, grace: Expert
) -> None:
    by_client = await http.post("/api/availability", json=MORNINGS, headers=as_(ada))
    for_another = await http.post(f"/api/availability?expertId={grace.id}", json=MORNINGS, headers=as_(ada))
    by_staff = await http.post(f"/api/availability?expertId={grace.id}", json=MORNINGS, headers=as_(an_admin()))

    assert (by_client.status_code, for_another.status_code, by_staff.status_code) == (403, 403, 201)


async def test_slot_routes_refuse_wrong_numbers_and_days(
    http: httpx.AsyncClient, as_: Headers, ada: Actor, grace: Expert
) -> None:
    paths = {
        f"/userid/12/slots/2026-03-03": "Invalid user_id format. Must be a 4-digit number.",  # noqa: F541
        f"/userid/{grace.expert_user_id}/slots/yesterday": "Invalid date format",
        f"/userid/{grace.expert_user_id}/slots/9999-12-31": "Invalid date format",
        f"/userid/{grace.expert_user_id}/consecutive-slots/2026-03-03/0": None,
        f"/userid/{grace.expert_user_id}/consecutive-slots/2026-03-03/x": None,
    }

    answers = {path: await http.get(f"/api/availability{path}", headers=as_(ada)) for path in paths}

    assert {answer.status_code for answer in answers.values()} == {422}
    assert all(paths[path] in (None, answer.json()["error"]) for path, answer in answers.items())


async def test_the_directory_names_the_experts_as_the_popup_reads_them(
    http: httpx.AsyncClient, as_: Headers, ada: Actor, grace: Expert
) -> None:
    answer = await http.get("/api/users/experts", headers=as_(ada))

    data = answer.json()["data"]
    entry = data["experts"][0]
    assert data["total"] == 1
    assert (entry["_id"], entry["expertId"]) == (str(grace.user_id), str(grace.id))
    assert (entry["userId"]["firstName"], entry["user_id"]) == ("Grace", grace.expert_user_id)
    assert (entry["isAvailable"], entry["hasAvailability"]) == (True, False)
    assert entry["sessionTypes"][0]["price"] == 20


async def test_an_admin_makes_an_expert_who_then_changes_the_own_profile(
    http: httpx.AsyncClient, as_: Headers, ada: Actor, grace: Expert
) -> None:
    user = Actor.expert(an_admin().id or ada.id, user_id=new_number())  # type: ignore[arg-type]
    profile = {
        "userId": str(user.id),
        "expertUserId": user.user_id,
        "name": "Alan Turing",
        "timezone": "Europe/London",
        "sessionTypes": [{"sessionType": "video", "duration": 45, "price": 24.99, "currency": "GBP"}],
        "cancellationPolicy": {"tiers": [{"hoursBefore": 24, "refundPercent": 50}], "clientUntilHoursBefore": 2},
    }

    made = await http.post("/api/admin/experts", json=profile, headers=as_(a_service()))
    by_client = await http.post("/api/admin/experts", json=profile, headers=as_(ada))
    changed = await http.put("/api/experts/me", json={"bufferAfter": 15}, headers=as_(user))
    own = await http.get("/api/experts/me", headers=as_(user))
    none = await http.get("/api/experts/me", headers=as_(ada))

    expert = made.json()["data"]["expert"]
    assert made.status_code == 201, made.text
    assert expert["sessionTypes"][0]["price"] == 24.99
    assert expert["createdAt"].endswith(".000Z")
    assert (by_client.status_code, none.status_code) == (403, 403)
    assert changed.json()["data"]["expert"]["bufferAfter"] == 15
    assert own.json()["data"]["expert"]["name"] == "Alan Turing"


async def test_a_price_with_too_many_decimals_is_refused(http: httpx.AsyncClient, as_: Headers, grace: Expert) -> None:
    for price, currency in (("24.999", "INR"), ("20.5", "JPY"), ("1.2345", "KWD"), ("-1", "INR"), ("1e300", "INR")):
        offered = f'{{"sessionType": "chat", "duration": 30, "price": {price}, "currency": "{currency}"}}'
        body = f'{{"sessionTypes": [{offered}]}}'
        headers = {**as_(an_admin()), "Content-Type": "application/json"}

        answer = await http.put(f"/api/admin/experts/{grace.id}", content=body, headers=headers)

        assert answer.status_code == 422, f"{price} {currency}"
        assert answer.json()["errors"][0]["path"].startswith("sessionTypes.0.price")
