"""Attendance over HTTP, from signed payloads of LiveKit (ROUTES; seed 4.3, 4.14, 4.15)."""

from datetime import timedelta

import httpx
import pytest

from confiido_booking import Actor, Confiido, Expert, Settings
from confiido_booking.database.store import Document
from tests.api.conftest import Headers
from tests.builders import Clock, a_client, an_expert
from tests.conftest import SECRET as TOKENS
from tests.integration.test_attendance import confirmed, meeting
from tests.integration.test_workshops import SIX, held, offered
from tests.rooms import CONFIGURED, signed

HOOK = "/api/webhooks/livekit"
PATH = "/api/v1/service-sessions"


@pytest.fixture
def settings(uri: str) -> Settings:
    return Settings.model_validate({"env": "test", "MONGODB_URI": uri, "jwt_secret": TOKENS, **CONFIGURED})


@pytest.fixture
async def event(confiido: Confiido, grace: Expert) -> Document:
    return await held(confiido, await offered(confiido, grace))


async def test_a_meeting_is_told_by_livekit_and_shown_to_its_expert(
    http: httpx.AsyncClient, as_: Headers, confiido: Confiido, grace: Expert, ada: Actor, event: Document, clock: Clock
) -> None:
    bo, path = a_client(email="bo@example.org"), f"{PATH}/{event['_id']}"
    seat = await confirmed(confiido, event, ada)
    await confirmed(confiido, event, bo)
    clock.now = SIX + timedelta(hours=1)

    for body in meeting(event, ada):
        headers = {"Authorization": signed(body), "Content-Type": "application/webhook+json"}
        assert (await http.post(HOOK, content=body, headers=headers)).json() == {"received": True}
    seen = await http.get(f"{path}/attendance", headers=as_(an_expert(grace)))
    told = await http.get(path, headers=as_(ada))
    rate = await http.get(f"/api/v1/services/{event['serviceId']}/completion", headers=as_(ada))

    assert seen.json()["data"] == {
        "attendees": [
            {
                "session_id": str(seat.session_id),
                "client_id": str(ada.id),
                "joined_at": "2026-03-03T18:05:00.000Z",
                "left_at": "2026-03-03T18:20:00.000Z",
                "duration_seconds": 900,
                "attended": True,
            },
            {**seen.json()["data"]["attendees"][1], "client_id": str(bo.id), "duration_seconds": 0, "attended": False},
        ],
        "no_shows": [str(bo.id)],
    }
    shown = told.json()["data"]["service_session"]
    assert [shown[name] for name in ("status", "actual_start_time", "actual_end_time")] == [
        "completed",
        "2026-03-03T18:02:00.000Z",
        "2026-03-03T19:00:00.000Z",
    ]
    assert rate.json()["data"] == {"completion_rate": 100}


async def test_a_forged_event_is_refused(http: httpx.AsyncClient, ada: Actor, event: Document) -> None:
    body = meeting(event, ada)[0]

    answers = [
        await http.post(HOOK, content=body, headers=headers)
        for headers in ({}, {"Authorization": signed(b"{}")}, {"Authorization": signed(body, secret="x" * 40)})
    ]
    malformed = await http.post(HOOK, content=b"\xff\x00", headers={"Authorization": signed(body)})

    assert [(a.status_code, a.json()["code"]) for a in (*answers, malformed)] == [(400, "invalid_signature")] * 4


async def test_a_token_and_a_check_in(
    http: httpx.AsyncClient, as_: Headers, confiido: Confiido, grace: Expert, ada: Actor, event: Document, clock: Clock
) -> None:
    seat, path = await confirmed(confiido, event, ada), f"{PATH}/{event['_id']}"
    early = await http.post(f"{path}/token", headers=as_(ada))
    clock.now = SIX

    joined = await http.post(f"{path}/token", headers=as_(ada))
    noted = await http.post(
        f"{path}/check-in", json={"session_id": str(seat.session_id)}, headers=as_(an_expert(grace))
    )

    assert (early.status_code, early.json()["code"], set(early.json()["details"])) == (
        409,
        "outside_window",
        {"opensAt", "closesAt"},
    )
    data = joined.json()["data"]
    assert (data["room"], data["url"], data["expires_at"]) == (
        str(event["_id"]),
        "wss://rooms.example.org",
        "2026-03-03T20:00:00.000Z",
    )
    assert noted.json()["data"]["attendee"]["attended"] is True
