"""Feeds to subscribe to, read by another library than the one that wrote them (RFC 5545; ROUTES)."""

from datetime import timedelta
from urllib.parse import urlsplit

import httpx
import vobject

from confiido_booking import Actor, Confiido, Expert
from tests.api.conftest import Headers
from tests.builders import Clock, a_client, an_admin, an_expert
from tests.integration.test_workshops import SIX, held, offered, seated

FEED = "/api/v1/calendar/feed"


async def opened(http: httpx.AsyncClient, headers: dict[str, str]) -> str:
    made = await http.post(FEED, headers=headers)
    assert made.status_code == 201
    return urlsplit(made.json()["data"]["url"]).path


async def test_a_feed_follows_its_sessions_and_has_nobody_elses(
    http: httpx.AsyncClient, as_: Headers, confiido: Confiido, grace: Expert, ada: Actor, clock: Clock
) -> None:
    event = await held(confiido, await offered(confiido, grace), timezone="Europe/Berlin")
    own, other = await seated(confiido, event, ada), await seated(confiido, event, a_client(email="bo@example.org"))
    path, experts = await opened(http, as_(ada)), await opened(http, as_(an_expert(grace)))

    first = await http.get(path)
    await confiido.workshops.edit(event["_id"], actor=an_admin(), starts_at=SIX + timedelta(days=1))
    moved = await http.get(path)
    await confiido.workshops.cancel(event["_id"], actor=an_admin())
    gone, of_expert = await http.get(path), await http.get(experts)
    one = await http.get(f"/api/v1/service-sessions/{event['_id']}.ics", headers=as_(ada))

    read = [vobject.readOne(answer.text) for answer in (first, moved, gone)]
    assert {calendar.vevent.uid.value for calendar in read} == {f"{own.session_id}@confiido-booking"}
    numbers = [int(calendar.vevent.sequence.value) for calendar in read]
    assert numbers == sorted(set(numbers))
    assert [calendar.vevent.status.value for calendar in read] == ["TENTATIVE", "TENTATIVE", "CANCELLED"]
    assert [calendar.vevent.dtstart.value for calendar in read] == [SIX] + [SIX + timedelta(days=1)] * 2
    assert read[0].vtimezone.tzid.value == "Europe/Berlin"
    assert first.headers["content-type"].startswith("text/calendar")
    for answer in (first, moved, gone):
        assert str(other.session_id) not in answer.text
        assert "bo@example.org" not in answer.text
    assert vobject.readOne(of_expert.text).vevent.uid.value == f"{event['_id']}@confiido-booking"
    assert vobject.readOne(one.text).vevent.status.value == "CANCELLED"


async def test_an_unchanged_feed_is_not_sent_again(
    http: httpx.AsyncClient, as_: Headers, confiido: Confiido, grace: Expert, ada: Actor, clock: Clock
) -> None:
    event = await held(confiido, await offered(confiido, grace))
    path = await opened(http, as_(ada))
    tag = (await http.get(path)).headers["etag"]
    clock.advance(minutes=1)

    same = await http.get(path, headers={"If-None-Match": f'"other", W/{tag}'})
    await seated(confiido, event, ada)
    changed = await http.get(path, headers={"If-None-Match": tag})

    assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", tag)
    assert changed.status_code == 200


async def test_an_address_is_revoked_and_its_secret_is_stored_nowhere(
    http: httpx.AsyncClient, as_: Headers, confiido: Confiido, ada: Actor
) -> None:
    first, second = await opened(http, as_(ada)), await opened(http, as_(ada))
    [kept] = await confiido.store.find("read", "feeds", {})

    before = [(await http.get(path)).status_code for path in (first, second)]
    deleted = [(await http.delete(FEED, headers=as_(ada))).status_code for _ in range(2)]

    assert before == [404, 200]
    assert deleted == [200, 404]
    assert (await http.get(second)).status_code == 404
    assert second.rsplit("/", 1)[1].removesuffix(".ics") not in str(kept)
