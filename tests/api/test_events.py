"""GET /api/admin/events: what happened, resumable by its cursor (ROUTES)."""

import httpx
import pytest

from confiido_booking import Actor, Confiido, Expert
from tests.api.conftest import Headers, wish
from tests.builders import a_service, an_admin


async def test_an_administrator_follows_the_log_by_its_cursor(
    http: httpx.AsyncClient, confiido: Confiido, as_: Headers, ada: Actor, grace: Expert
) -> None:
    booked = (await http.post("/api/bookings", json=wish(grace), headers=as_(ada))).json()["data"]
    path, body = f"/api/bookings/{booked['booking']['_id']}", {"sessionId": booked["session"]["sessionId"]}
    await http.put(f"{path}/confirm", json=body, headers=as_(an_admin()))
    await confiido.chores.once()

    first = (await http.get("/api/admin/events?limit=1", headers=as_(an_admin()))).json()["data"]
    second = (await http.get("/api/admin/events?after=1", headers=as_(an_admin()))).json()["data"]
    third = (await http.get("/api/admin/events?after=2", headers=as_(an_admin()))).json()["data"]

    [event] = first["events"]
    assert first["nextCursor"] == 1
    assert set(event) == {"id", "seq", "type", "at", "actor", "clientId", "sessionId", "data"}
    assert (event["seq"], event["type"], event["at"]) == (1, "session.booked", "2026-03-02T09:00:00.000Z")
    assert event["actor"] == {"role": "client", "id": str(ada.id)}
    assert (event["clientId"], event["sessionId"]) == (str(ada.id), body["sessionId"])
    assert event["data"]["startsAt"] == "2026-03-03T07:00:00.000Z"
    assert [event["type"] for event in second["events"]] == ["session.confirmed"]
    assert third == {"events": [], "nextCursor": 2}


@pytest.mark.parametrize(
    "query", ["after=-1", "after=x", "limit=0", "limit=501", "after=99999999999999999999", "limit="]
)
async def test_a_query_out_of_range_is_refused(http: httpx.AsyncClient, as_: Headers, query: str) -> None:
    answer = await http.get(f"/api/admin/events?{query}", headers=as_(an_admin()))

    assert answer.status_code == 422


async def test_nobody_but_an_administrator_reads_it(http: httpx.AsyncClient, as_: Headers, ada: Actor) -> None:
    for actor in (ada, a_service()):
        assert (await http.get("/api/admin/events", headers=as_(actor))).status_code == 403


async def test_no_answer_has_anything_of_the_outbox(
    http: httpx.AsyncClient, as_: Headers, ada: Actor, grace: Expert
) -> None:
    booked = await http.post("/api/bookings", json=wish(grace), headers=as_(ada))
    booking = booked.json()["data"]["booking"]["_id"]
    answers = [
        booked,
        *[await http.get(path, headers=as_(ada)) for path in ("/api/bookings", f"/api/bookings/{booking}")],
    ]

    assert all("outbox" not in answer.text and "eventsDelivered" not in answer.text for answer in answers)
