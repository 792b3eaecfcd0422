"""Service sessions over HTTP: made, moved, cancelled; and what a client may see of the others (ROUTES; L10)."""

from typing import Any

import httpx
import pytest
from bson import ObjectId

from confiido_booking import Actor, Confiido, Expert
from tests.api.conftest import Headers
from tests.api.test_services import YOGA
from tests.builders import a_client, an_admin, an_expert

PATH = "/api/v1/service-sessions"
FIRST = "2026-03-16T18:00:00+01:00"


@pytest.fixture
async def service(http: httpx.AsyncClient, as_: Headers, grace: Expert) -> str:
    made = await http.post("/api/v1/services", json=YOGA, headers=as_(an_expert(grace)))
    return str(made.json()["data"]["service"]["id"])


@pytest.fixture
async def event(http: httpx.AsyncClient, as_: Headers, grace: Expert, service: str) -> dict[str, Any]:
    body = {"service_id": service, "starts_at": FIRST, "timezone": "Europe/Berlin"}
    made = await http.post(PATH, json=body, headers=as_(an_expert(grace)))
    (event,) = made.json()["data"]["service_sessions"]
    return dict(event)


async def test_an_expert_makes_a_course_by_a_rule(http: httpx.AsyncClient, as_: Headers, grace: Expert) -> None:
    own = as_(an_expert(grace))
    course = await http.post("/api/v1/services", json=YOGA | {"service_type": "course"}, headers=own)
    body = {
        "service_id": course.json()["data"]["service"]["id"],
        "starts_at": FIRST,
        "rrule": "FREQ=WEEKLY;COUNT=3",
        "timezone": "Europe/Berlin",
    }

    made = await http.post(f"{PATH}/", json=body, headers=own)

    events = made.json()["data"]["service_sessions"]
    assert made.status_code == 201
    assert [event["start_time"] for event in events] == [
        "2026-03-16T17:00:00.000Z",
        "2026-03-23T17:00:00.000Z",
        "2026-03-30T16:00:00.000Z",
    ]
    assert [(event["sequence_number"], event["session_type"]) for event in events] == [
        (number, "course_session") for number in (1, 2, 3)
    ]


async def test_an_event_has_seed_004s_names(event: dict[str, Any], service: str, grace: Expert) -> None:
    assert event == {
        "id": event["id"],
        "service_session_id": event["id"],
        "service_id": service,
        "service_version": 1,
        "expert_id": str(grace.id),
        "session_type": "workshop",
        "visibility": "public",
        "title": "Yoga",
        "status": "scheduled",
        "start_time": "2026-03-16T17:00:00.000Z",
        "end_time": "2026-03-16T18:00:00.000Z",
        "timezone": "Europe/Berlin",
        "max_participants": 25,
        "current_participants": 0,
        "attendee_count": 0,
        "attendees": [],
    }


async def test_a_client_sees_the_own_entry_and_the_true_count(
    http: httpx.AsyncClient, as_: Headers, confiido: Confiido, grace: Expert, ada: Actor, event: dict[str, Any]
) -> None:
    for client in (ada, a_client(email="bo@example.org", name="Bo")):
        await confiido.workshops.take_seat(ObjectId(event["id"]), actor=client)

    seen = {}
    for name, actor in (("client", ada), ("stranger", a_client()), ("expert", an_expert(grace)), ("admin", an_admin())):
        answers = [await http.get(path, headers=as_(actor)) for path in (f"{PATH}/{event['id']}", PATH)]
        one, listed = answers[0].json()["data"]["service_session"], answers[1].json()["data"]["service_sessions"][0]
        seen[name] = (one["attendee_count"], len(one["attendees"]), len(listed["attendees"]))
        assert name in ("expert", "admin") or "bo@example.org" not in answers[0].text + answers[1].text

    assert seen == {"client": (2, 1, 1), "stranger": (2, 0, 0), "expert": (2, 2, 2), "admin": (2, 2, 2)}


async def test_an_event_is_moved_edited_and_cancelled(
    http: httpx.AsyncClient, as_: Headers, confiido: Confiido, grace: Expert, ada: Actor, event: dict[str, Any]
) -> None:
    own, path = as_(an_expert(grace)), f"{PATH}/{event['id']}"
    seat = await confiido.workshops.take_seat(ObjectId(event["id"]), actor=ada)

    moved = await http.patch(
        path, json={"starts_at": "2026-03-17T18:00:00+01:00", "title": "Yin", "max_participants": 1}, headers=own
    )
    gone = await http.post(f"{path}/cancel", json={"reason": "Ill"}, headers=own)
    again = await http.post(f"{path}/cancel", headers=own)

    shown = moved.json()["data"]["service_session"]
    assert (shown["start_time"], shown["title"], shown["max_participants"]) == ("2026-03-17T17:00:00.000Z", "Yin", 1)
    ended = gone.json()["data"]["service_session"]
    assert (ended["status"], ended["cancellation_reason"], ended["attendees"]) == ("canceled", "Ill", [])
    assert (again.status_code, again.json()["details"]) == (409, {"status": "canceled"})
    session = (await http.get(f"/api/sessions/{seat.session_id}", headers=as_(ada))).json()["data"]["session"]
    assert (session["status"], session["startsAt"]) == ("cancelled", "2026-03-17T17:00:00.000Z")
    assert not {"claimId", "eventRev"} & session.keys()


async def test_a_key_makes_one_set_of_events(
    http: httpx.AsyncClient, as_: Headers, grace: Expert, service: str
) -> None:
    headers = as_(an_expert(grace), Idempotency_Key="one")
    body = {"service_id": service, "times": [FIRST, "2026-03-17T18:00:00+01:00"]}

    made = [(await http.post(PATH, json=body, headers=headers)).json() for _ in range(2)]

    assert made[0] == made[1]
    listed = (await http.get(PATH, headers=headers)).json()["data"]
    assert listed["pagination"]["total"] == 2


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"service_id": "{service}"},
        {"service_id": {"$ne": None}, "starts_at": FIRST},
        {"service_id": "{service}", "starts_at": "2026-03-16T18:00:00"},
        {"service_id": "{service}", "starts_at": {"$gt": ""}},
        {"service_id": "{service}", "starts_at": FIRST, "timezone": "Mars/Olympus"},
        {"service_id": "{service}", "starts_at": FIRST, "max_participants": 0},
        {"service_id": "{service}", "starts_at": FIRST, "max_participants": True},
        {"service_id": "{service}", "starts_at": FIRST, "max_participants": 1.5},
        {"service_id": "{service}", "starts_at": FIRST, "rrule": "FREQ=SECONDLY;COUNT=3"},
        {"service_id": "{service}", "starts_at": FIRST, "rrule": ["FREQ=DAILY;COUNT=3"]},
        {"service_id": "{service}", "times": "tomorrow"},
        {"service_id": "{service}", "times": [None]},
        {"service_id": "{service}", "times": [FIRST, FIRST]},
        {"service_id": "{service}", "times": [FIRST] * 201},
        {"service_id": "{service}", "starts_at": "2020-01-01T00:00:00Z"},
    ],
)
async def test_hostile_input_makes_nothing(
    http: httpx.AsyncClient, as_: Headers, grace: Expert, service: str, confiido: Confiido, body: dict[str, Any]
) -> None:
    filled = {name: service if value == "{service}" else value for name, value in body.items()}

    answer = await http.post(PATH, json=filled, headers=as_(an_expert(grace)))

    assert answer.status_code == 422
    assert answer.json()["error"]
    assert await confiido.store.count("count", "service_sessions", {}) == 0


@pytest.mark.parametrize(
    "body", [{}, {"max_participants": 0}, {"title": ""}, {"title": " "}, {"starts_at": "soon"}, {"title": "a\0"}]
)
async def test_an_edit_that_cannot_be_changes_nothing(
    http: httpx.AsyncClient, as_: Headers, grace: Expert, event: dict[str, Any], body: dict[str, Any]
) -> None:
    path, own = f"{PATH}/{event['id']}", as_(an_expert(grace))

    answer = await http.patch(path, json=body, headers=own)

    assert answer.status_code in (400, 422)
    assert (await http.get(path, headers=own)).json()["data"]["service_session"] == event


@pytest.mark.parametrize("query", ["when=now", "from=yesterday", "service_id=x", "limit=0", "page=10001"])
async def test_a_list_that_cannot_be_is_refused(http: httpx.AsyncClient, as_: Headers, ada: Actor, query: str) -> None:
    assert (await http.get(f"{PATH}?{query}", headers=as_(ada))).status_code == 422
