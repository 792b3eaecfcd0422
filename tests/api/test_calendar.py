"""A calendar over HTTP (ROUTES; seed 4.12)."""

import httpx
import pytest

from confiido_booking import Actor, Confiido, Expert
from tests.api.conftest import Headers
from tests.builders import a_client, an_expert
from tests.integration.test_workshops import SIX, held, offered, seated

PATH = "/api/v1/calendar/"


async def test_an_event_has_seed_004s_names(
    http: httpx.AsyncClient, as_: Headers, confiido: Confiido, grace: Expert, ada: Actor
) -> None:
    event = await held(confiido, await offered(confiido, grace), SIX)
    seat = await seated(confiido, event, ada)
    await seated(confiido, event, a_client(email="bo@example.org"))

    answer = await http.get(PATH, headers=as_(ada))
    all_of_it = await http.get(PATH, headers=as_(an_expert(grace)))

    assert answer.json()["data"]["events"] == [
        {
            "service_session_id": str(event["_id"]),
            "title": "Yoga",
            "session_type": "workshop",
            "start_time": "2026-03-03T18:00:00.000Z",
            "end_time": "2026-03-03T19:00:00.000Z",
            "timezone": "Asia/Kolkata",
            "status": "scheduled",
            "attendees": [
                {
                    "session_id": str(seat.session_id),
                    "client_id": str(ada.id),
                    "name": "Ada",
                    "email": "ada@example.org",
                    "status": "pending_payment",
                }
            ],
            "attendee_count": 2,
        }
    ]
    assert "bo@example.org" not in answer.text
    assert len(all_of_it.json()["data"]["events"][0]["attendees"]) == 2


@pytest.mark.parametrize(
    "query",
    ["from=soon", "to=2026-03-01", "to=2027-03-04", "expert_id=x", "from=2026-03-01T00:00:00", "client_id[$ne]=1&to=x"],
)
async def test_a_span_that_cannot_be_is_refused(http: httpx.AsyncClient, as_: Headers, ada: Actor, query: str) -> None:
    assert (await http.get(f"{PATH}?{query}", headers=as_(ada))).status_code == 422


async def test_a_whole_year_can_be_asked_for(http: httpx.AsyncClient, as_: Headers, ada: Actor) -> None:
    assert (await http.get(f"{PATH}?from=2026-01-01&to=2026-12-31", headers=as_(ada))).status_code == 200
