"""Seed 2.15 over HTTP: a frontend reads documents of an old system as it reads any, and its commands work on them."""

from typing import Any

import httpx

from confiido_booking import Actor, Confiido
from confiido_booking.bookings.models import OLD
from confiido_booking.experts.models import Expert
from tests.api.conftest import Headers
from tests.builders import an_admin, an_expert
from tests.migration.harness import flat


async def test_flat_documents_are_listed_read_and_confirmed_and_then_one_document(
    http: httpx.AsyncClient, as_: Headers, confiido: Confiido, ada: Actor, grace: Expert
) -> None:
    coming = {"scheduledDate": "2026-03-10", "status": "pending", "paymentStatus": "pending"}
    old: list[dict[str, Any]] = [
        flat(clientId=ada.id, expertId=grace.id, **coming),
        flat(clientId=ada.id, expertId=grace.id),
    ]
    await confiido.store.collection("bookings").insert_many(old)
    named = str(old[0]["_id"])

    listed = (await http.get("/api/bookings/user", headers=as_(ada))).json()["data"]
    mentors = await http.get(f"/api/bookings/mentor/{grace.expert_user_id}", headers=as_(an_expert(grace)))
    session = await http.get(f"/api/sessions/{named}", headers=as_(ada))
    path = f"/api/bookings/{listed['bookings'][0]['_id']}"
    read = await http.get(path, headers=as_(ada))
    untouched = await confiido.store.count("count", "bookings", OLD)
    confirmed = await http.put(f"{path}/confirm", json={"sessionId": named}, headers=as_(an_expert(grace)))
    again = (await http.get("/api/bookings", headers=as_(an_admin()))).json()["data"]

    assert (listed["pagination"]["total"], listed["stats"]["total"]) == (2, 2)
    assert [s["sessionId"] for s in listed["bookings"][0]["sessions"]] == [str(document["_id"]) for document in old]
    assert mentors.json()["data"]["pagination"]["total"] == 2
    assert session.status_code == 200, session.text
    assert (read.json()["data"]["booking"]["totalSessions"], untouched) == (2, 2)
    assert confirmed.json()["data"]["session"]["status"] == "confirmed", confirmed.text
    assert await confiido.store.count("count", "bookings", OLD) == 0
    assert (again["pagination"]["total"], len(again["bookings"])) == (2, 1)
