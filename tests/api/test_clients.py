"""Clients over HTTP: who a token acts as, and merging (ROUTES; MONEY, "Who the client is")."""

from dataclasses import replace

import httpx
import pytest
from bson import ObjectId

from confiido_booking import Actor, Confiido, Expert
from confiido_booking.settings import Settings
from tests.api.conftest import Headers, wish
from tests.builders import a_client, an_admin, an_expert


async def by_address(http: httpx.AsyncClient, as_: Headers, expert: Expert, **overrides: object) -> dict[str, str]:
    """What an admin books for ada@example.org: its bookingId, sessionId and clientId."""
    body = wish(expert, clientEmail="ada@example.org", clientName="Ada", **overrides)
    data = (await http.post("/api/bookings", json=body, headers=as_(an_admin()))).json()["data"]
    ids = {"bookingId": data["booking"]["_id"], "clientId": data["booking"]["clientId"]}
    return ids | {"sessionId": data["session"]["sessionId"]}


async def test_at_every_door_a_verified_caller_is_the_client_who_was_booked_for(
    http: httpx.AsyncClient, as_: Headers, grace: Expert
) -> None:
    ids = await by_address(http, as_, grace)
    ada = as_(replace(a_client(email="Ada@example.org"), email_verified=True))

    listed = await http.get("/api/bookings/user", headers=ada)
    read = await http.get(f"/api/bookings/{ids['bookingId']}", headers=ada)
    booked = await http.post("/api/bookings", json=wish(grace, startTime="15:30"), headers=ada)
    cancelled = await http.put(
        f"/api/bookings/{ids['bookingId']}/cancel", json={"sessionId": ids["sessionId"]}, headers=ada
    )

    assert listed.json()["data"]["pagination"]["total"] == 1
    assert read.status_code == 200
    assert booked.json()["data"]["booking"]["_id"] == ids["bookingId"]
    assert booked.json()["data"]["booking"]["totalSessions"] == 2
    assert cancelled.status_code == 200


@pytest.mark.parametrize("claim", [None, False, "true", 1, "yes", {"": True}])
async def test_without_email_verified_nothing_is_linked(
    http: httpx.AsyncClient, as_: Headers, grace: Expert, settings: Settings, claim: object
) -> None:
    import jwt

    assert settings.jwt_secret is not None
    ids = await by_address(http, as_, grace)
    claims = {"sub": str(ObjectId()), "role": "client", "exp": 4_000_000_000, "email": "ada@example.org"}
    if claim is not None:
        claims["email_verified"] = claim  # type: ignore[assignment]
    token = jwt.encode(claims, settings.jwt_secret.get_secret_value(), algorithm="HS256")

    answer = await http.get(f"/api/bookings/{ids['bookingId']}", headers={"Authorization": f"Bearer {token}"})

    assert answer.status_code == 404


async def test_who_takes_over_can_still_not_book_themselves(
    http: httpx.AsyncClient, as_: Headers, grace: Expert
) -> None:
    await by_address(http, as_, grace)
    herself = replace(Actor.client(grace.user_id, email="ada@example.org"), email_verified=True)

    answer = await http.post("/api/bookings", json=wish(grace, startTime="15:30"), headers=as_(herself))

    assert (answer.status_code, answer.json()["code"]) == (422, "self_booking")


async def test_a_merge_answers_the_booking_of_both(
    http: httpx.AsyncClient, as_: Headers, ada: Actor, grace: Expert
) -> None:
    old = await by_address(http, as_, grace)
    await http.post("/api/bookings", json=wish(grace, startTime="15:30"), headers=as_(ada))

    answers = [
        await http.post(f"/api/admin/clients/{ada.id}/merge", json={"from": old["clientId"]}, headers=as_(an_admin()))
        for _ in range(2)
    ]

    for answer in answers:
        booking = answer.json()["data"]["booking"]
        assert (answer.status_code, booking["clientId"], booking["totalSessions"]) == (200, str(ada.id), 2)
        for word in ("mergedFrom", "mergedInto", "leaving", "subjects"):
            assert word not in answer.text
    read = await http.get(f"/api/bookings/{old['bookingId']}/sessions/{old['sessionId']}", headers=as_(ada))
    assert read.status_code == 200
    confirmed = await http.put(
        f"/api/bookings/{old['bookingId']}/complete",
        json={"sessionId": old["sessionId"]},
        headers=as_(an_expert(grace)),
    )
    assert confirmed.json()["data"]["session"]["status"] == "completed"


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("{ada}", {}, 422),
        ("{ada}", {"from": None}, 422),
        ("{ada}", {"from": {"$ne": None}}, 422),
        ("{ada}", {"from": "x"}, 422),
        ("{ada}", {"from": "{ada}"}, 422),
        ("{ada}", {"from": "0" * 24}, 404),
        ("x", {"from": "0" * 24}, 422),
    ],
)
async def test_a_merge_that_makes_no_sense_changes_nothing(
    http: httpx.AsyncClient,
    as_: Headers,
    confiido: Confiido,
    ada: Actor,
    path: str,
    body: dict[str, object],
    status: int,
) -> None:
    filled = {name: str(ada.id) if value == "{ada}" else value for name, value in body.items()}

    answer = await http.post(
        f"/api/admin/clients/{path.format(ada=ada.id)}/merge", json=filled, headers=as_(an_admin())
    )

    assert answer.status_code == status
    assert await confiido.store.count("count", "users", {}) == 0
    assert await confiido.store.count("count", "bookings", {}) == 0
