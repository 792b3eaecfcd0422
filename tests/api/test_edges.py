"""Where requests meet an edge: a key that is older than its answer, an instant out of range, what is not theirs."""

import base64
import json

import httpx
import pytest
from bson import ObjectId

from confiido_booking import Actor, Confiido, Expert
from confiido_booking.bookings.views import ClientRef
from confiido_booking.database.store import Document, Store
from tests.api.conftest import Headers, wish
from tests.builders import a_client, an_admin, an_expert, make_expert

WEEK = [{"dayOfWeek": day, "startTime": "09:00", "endTime": "17:00", "isAvailable": True} for day in range(7)]
LAST_MOMENT = "9999-12-31T23:59:59-23:59"  # in UTC it lies in no year there is
MEETING = "https://meet.example.org/grace"


async def booked(http: httpx.AsyncClient, expert: Expert, headers: dict[str, str], **overrides: object) -> Document:
    """``data`` of the answer."""
    answer = await http.post("/api/bookings", json=wish(expert, **overrides), headers=headers)
    assert answer.status_code == 201, answer.text
    data: Document = answer.json()["data"]
    return data


def path_of(data: Document) -> str:
    return f"/api/bookings/{data['booking']['_id']}/sessions/{data['session']['sessionId']}"


async def test_a_key_whose_answer_is_forgotten_books_anew_for_another_body(
    http: httpx.AsyncClient, as_: Headers, store: Store, ada: Actor, grace: Expert
) -> None:
    headers = as_(ada, idempotency_key="k")
    first = await booked(http, grace, headers)
    await store.collection("idempotency_keys").delete_many({})

    other = await booked(http, grace, headers, startTime="15:00")
    await store.collection("idempotency_keys").delete_many({})
    same = await booked(http, grace, headers)

    assert other["session"]["sessionId"] != first["session"]["sessionId"]
    assert same["session"]["sessionId"] == first["session"]["sessionId"]


async def test_an_answer_that_says_to_try_again_frees_the_key(
    http: httpx.AsyncClient, as_: Headers, store: Store, ada: Actor, grace: Expert
) -> None:
    headers = as_(ada, idempotency_key="k")
    await booked(http, grace, as_(ada), startTime="09:00")

    async def is_fenced(step: str) -> None:
        if step == "push":
            calendar = await store.collection("calendars").find_one({"_id": grace.id})
            claims = [claim["claimId"] for claim in (calendar or {})["busy"]]
            fence = {"$addToSet": {"abandonedClaims": {"$each": claims}}}
            await store.collection("bookings").update_one({"clientId": ada.id}, fence)

    store.hook = is_fenced
    refused = await http.post("/api/bookings", json=wish(grace), headers=headers)
    store.hook = None
    again = await http.post("/api/bookings", json=wish(grace), headers=headers)

    assert (refused.status_code, refused.json()["code"], refused.headers["retry-after"]) == (409, "try_again", "1")
    assert again.status_code == 201


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00+00:00", "9999-12-31T23:59:59+00:00", LAST_MOMENT])
async def test_a_cursor_out_of_range_is_refused(moment: str, http: httpx.AsyncClient, as_: Headers, ada: Actor) -> None:
    cursor = base64.urlsafe_b64encode(json.dumps([moment, str(ObjectId())]).encode()).decode().rstrip("=")

    answers = [
        await http.get("/api/bookings", params={"cursor": cursor, "sort": sort}, headers=as_(ada))
        for sort in ("startsAt", "-startsAt", "createdTime")
    ]

    assert [answer.status_code for answer in answers] == [422] * 3


async def test_a_period_made_out_of_range_is_refused(http: httpx.AsyncClient, as_: Headers, grace: Expert) -> None:
    period = {"timeSlots": WEEK, "createdAt": LAST_MOMENT}

    answer = await http.post("/api/availability", json=period, headers=as_(an_expert(grace)))

    assert answer.status_code == 422


@pytest.mark.parametrize("claim", ["name", "email"])
async def test_a_token_with_half_a_letter_in_it_is_refused(claim: str, http: httpx.AsyncClient, as_: Headers) -> None:
    who = Actor.client(ObjectId(), user_id="0001", **{claim: "ada\ud800@example.org"})

    answer = await http.get("/api/bookings", headers=as_(who))

    assert answer.status_code == 401


async def test_two_periods_with_one_id_are_refused(http: httpx.AsyncClient, as_: Headers, grace: Expert) -> None:
    one = str(ObjectId())
    years = [{"startDate": f"{year}-01-01", "endDate": f"{year}-12-31"} for year in (2026, 2027)]
    periods = [{"_id": one, "dateRange": year, "timeSlots": WEEK} for year in years]

    answer = await http.put(
        f"/api/admin/experts/{grace.id}", json={"availability": {"periods": periods}}, headers=as_(an_admin())
    )

    assert answer.status_code == 422


async def test_an_expert_who_is_somebodys_client_sees_those_sessions(
    http: httpx.AsyncClient, as_: Headers, confiido: Confiido, grace: Expert
) -> None:
    ken = await make_expert(confiido, name="Ken")
    assert grace.user_id is not None
    made = await confiido.bookings.book(
        actor=an_admin(),
        client=ClientRef(client_id=grace.user_id),
        expert=ken.id or "",
        session_type="video",
        duration=30,
        starts_at="2026-03-03T10:00:00Z",
    )

    answer = await http.get("/api/bookings/user", headers=as_(an_expert(grace)))

    (shown,) = answer.json()["data"]["bookings"]
    assert [session["sessionId"] for session in shown["sessions"]] == [str(made.session_id)]


async def test_the_meeting_link_comes_to_the_client_with_the_confirmation(
    http: httpx.AsyncClient, as_: Headers, confiido: Confiido, ada: Actor
) -> None:
    grace = await make_expert(confiido, meeting_link=MEETING)
    data = await booked(http, grace, as_(ada))
    session_id = {"sessionId": data["session"]["sessionId"]}

    before = (await http.get(path_of(data), headers=as_(ada))).json()["data"]["session"]
    for_expert = (await http.get(path_of(data), headers=as_(an_expert(grace)))).json()["data"]["session"]
    await http.put(f"/api/bookings/{data['booking']['_id']}/confirm", json=session_id, headers=as_(an_admin()))
    after = (await http.get(path_of(data), headers=as_(ada))).json()["data"]["session"]

    assert "meetingLink" not in data["session"]
    assert [each.get("meetingLink") for each in (before, for_expert, after)] == [None, MEETING, MEETING]


@pytest.mark.parametrize(
    "link", ["javascript:alert(1)", " javascript:alert(1)", "data:text/html,x", "meet.example.org"]
)
async def test_a_meeting_link_is_a_web_address(
    link: str, http: httpx.AsyncClient, as_: Headers, ada: Actor, grace: Expert
) -> None:
    data = await booked(http, grace, as_(ada))

    answers = [
        await http.patch(path_of(data), json={"meetingLink": link}, headers=as_(an_expert(grace))),
        await http.put(f"/api/admin/experts/{grace.id}", json={"meetingLink": link}, headers=as_(an_admin())),
    ]

    assert [answer.status_code for answer in answers] == [422, 422]


async def test_naming_anothers_session_shows_nothing_of_its_time(
    http: httpx.AsyncClient, as_: Headers, confiido: Confiido, ada: Actor
) -> None:
    grace = await make_expert(confiido, availability={"periods": [{"timeSlots": WEEK}]})
    session_id = (await booked(http, grace, as_(ada)))["session"]["sessionId"]
    path = f"/api/availability/userid/{grace.expert_user_id}/consecutive-slots/2026-03-03/30"

    async def starts(caller: Actor, **params: str) -> list[str]:
        answer = await http.get(path, params=params, headers=as_(caller))
        return [slot["startTime"] for slot in answer.json()["data"]["consecutiveSlots"]]

    eve = a_client()
    assert await starts(eve, excludeSessionId=session_id) == await starts(eve)
    assert "12:30" not in await starts(eve)
    assert "12:30" in await starts(ada, excludeSessionId=session_id)


async def test_a_refusal_lists_at_most_a_hundred_faults(http: httpx.AsyncClient, as_: Headers, grace: Expert) -> None:
    period = {"timeSlots": [{}] * 100}
    profile = {"availability": {"periods": [period] * 50}}

    answers = [
        await http.post("/api/availability", json=period, headers=as_(an_expert(grace))),
        await http.put(f"/api/admin/experts/{grace.id}", json=profile, headers=as_(an_admin())),
    ]

    assert [(answer.status_code, len(answer.json()["errors"])) for answer in answers] == [(422, 100)] * 2


async def test_a_field_that_no_session_has_is_not_echoed(
    http: httpx.AsyncClient, as_: Headers, ada: Actor, grace: Expert
) -> None:
    data = await booked(http, grace, as_(ada))

    answer = await http.patch(path_of(data), json={"<script>zqxj": "x"}, headers=as_(ada))

    assert (answer.status_code, answer.json()["code"]) == (422, "unknown_field")
    assert "zqxj" not in answer.text


async def test_an_expert_searches_among_their_own_clients_alone(
    http: httpx.AsyncClient, as_: Headers, confiido: Confiido, grace: Expert, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("confiido_booking.bookings.reading._MOST_CLIENTS", 2)
    ken = await make_expert(confiido, name="Ken")
    for hour in (10, 11, 12):
        await booked(http, ken, as_(a_client()), startTime=f"{hour}:00")
    await booked(http, ken, as_(a_client(name="Bo", email="bo@example.org")), startTime="14:00")
    own = await booked(http, grace, as_(a_client()))

    answers = [await http.get("/api/bookings", params={"q": q}, headers=as_(an_expert(grace))) for q in ("Ada", "Bo")]

    found = [
        [session["sessionId"] for booking in answer.json()["data"]["bookings"] for session in booking["sessions"]]
        for answer in answers
    ]
    assert found == [[own["session"]["sessionId"]], []]


async def test_a_start_with_seconds_is_stored_to_the_minute(
    http: httpx.AsyncClient, as_: Headers, ada: Actor, grace: Expert
) -> None:
    when = {"startsAt": "2026-03-03T10:00:42.500Z", "scheduledDate": None, "startTime": None}

    session = (await booked(http, grace, as_(ada), **when))["session"]

    assert (session["startsAt"], session["endsAt"]) == ("2026-03-03T10:00:00.000Z", "2026-03-03T10:30:00.000Z")
