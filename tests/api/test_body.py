"""The one body reader, under everything a caller may send (SPEC 8)."""

import json
from collections.abc import AsyncIterator
from decimal import Decimal

import httpx
import pytest

from api.body import BodyTooLarge, parse
from confiido_booking.actors import Actor
from confiido_booking.errors import Invalid, Malformed
from confiido_booking.experts.models import Expert
from tests.api.conftest import Headers, wish


def test_numbers_are_exact_decimals() -> None:
    document = parse(b'{"price": 24.9999999999999999999, "count": 7, "zero": -0}')

    assert document == {"price": Decimal("24.9999999999999999999"), "count": 7, "zero": 0}
    assert isinstance(document["count"], int)


@pytest.mark.parametrize(
    "raw",
    [b"", b"{", b"{'a': 1}", b'{"a": 01}', b"\xff\xfe", b'{"a": "\xed\xa0\x80"}', b'{"a": "\x00"}', b"\xef\xbb\xbf{}"],
)
def test_what_is_not_json_is_malformed(raw: bytes) -> None:
    with pytest.raises(Malformed):
        parse(raw)


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b'{"a": NaN}', "number_out_of_range"),
        (b'{"a": -Infinity}', "number_out_of_range"),
        (b'{"a": 1e999}', "number_out_of_range"),
        (b'{"a": 1e-999}', "number_out_of_range"),
        (b'{"a": 1e99999999999999999999999}', "number_out_of_range"),
        (b'{"a": 0.%s}' % (b"3" * 60), "number_out_of_range"),
        (b'{"a": 9223372036854775808}', "number_out_of_range"),
        (b'{"a": %s}' % (b"9" * 5000), "number_out_of_range"),
        (b'{"a": "\\ud800"}', "invalid_text"),
        (b'{"a": ["\\u0000"]}', "invalid_text"),
        (b'{"\\u0000": 1}', "invalid_text"),
        (b'{"a": 1, "a": 2}', "duplicate_key"),
        (b"[]", "invalid_body"),
        (b"null", "invalid_body"),
        (b'"text"', "invalid_body"),
        (b'{"a": ' + b"[" * 40 + b"]" * 40 + b"}", "too_deep"),
        (b"[" * 200_000, "too_deep"),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "too_deep"),
    ],
)
def test_json_that_could_not_be_kept_is_invalid(raw: bytes, code: str) -> None:
    with pytest.raises(Invalid) as refused:
        parse(raw)

    assert refused.value.code == code


def test_a_surrogate_pair_is_an_ordinary_character() -> None:
    assert parse(b'{"a": "\\ud83d\\ude00"}') == {"a": "\U0001f600"}


async def test_a_body_over_the_limit_is_413_announced_or_not(
    http: httpx.AsyncClient, as_: Headers, ada: Actor, grace: Expert
) -> None:
    large = json.dumps(wish(grace, notes="x" * 1_100_000)).encode()

    async def in_chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(large), 65536):
            yield large[start : start + 65536]

    headers = {**as_(ada), "Content-Type": "application/json"}
    announced = await http.post("/api/bookings", content=large, headers=headers)
    chunked = await http.post("/api/bookings", content=in_chunks(), headers=headers)

    for answer in (announced, chunked):
        assert (answer.status_code, answer.json()["code"]) == (413, BodyTooLarge.code)


@pytest.mark.parametrize(
    "content_type",
    [None, "text/plain", "application/x-www-form-urlencoded", "application/json; charset=utf-16", "json", "\xff"],
)
async def test_another_content_type_is_415(
    http: httpx.AsyncClient, as_: Headers, ada: Actor, content_type: str | None
) -> None:
    headers = [(name.encode(), value.encode()) for name, value in as_(ada).items()]
    if content_type is not None:
        headers.append((b"content-type", content_type.encode("latin-1")))

    answer = await http.post("/api/bookings", content=b"{}", headers=headers)

    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")


async def test_json_with_a_suffix_or_a_charset_is_json(http: httpx.AsyncClient, as_: Headers, ada: Actor) -> None:
    kinds = ("application/json; charset=UTF-8", "application/merge-patch+json", "Application/JSON")

    answers = [
        await http.post("/api/bookings", content=b"{}", headers={**as_(ada), "Content-Type": kind}) for kind in kinds
    ]

    assert [answer.status_code for answer in answers] == [422, 422, 422]


async def test_identity_is_asked_before_the_body_is_read(http: httpx.AsyncClient) -> None:
    answer = await http.post("/api/bookings", content=b"{", headers={"Content-Type": "application/json"})

    assert answer.status_code == 401


async def test_field_errors_name_the_fields_and_never_echo_the_values(
    http: httpx.AsyncClient, as_: Headers, ada: Actor, grace: Expert
) -> None:
    wrong = wish(grace, sessionType="s3cret", duration="s3cret", notes=["s3cret"], startTime={"$ne": "s3cret"})

    answer = await http.post("/api/bookings", json=wrong, headers=as_(ada))

    body = answer.json()
    assert answer.status_code == 422
    assert {error["path"] for error in body["errors"]} == {"sessionType", "duration", "notes", "startTime"}
    assert {(error["type"], error["location"]) for error in body["errors"]} == {("field", "body")}
    assert isinstance(body["error"], str)
    assert body["error"]
    assert "s3cret" not in answer.text


async def test_a_missing_session_id_has_the_frontends_sentence(
    http: httpx.AsyncClient, as_: Headers, ada: Actor, grace: Expert
) -> None:
    answer = await http.put(f"/api/bookings/{grace.id}/confirm", json={}, headers=as_(ada))

    assert (answer.status_code, answer.json()["error"]) == (422, "Session ID is required")


@pytest.mark.parametrize("value", [{"$ne": None}, {"$gt": ""}, [], 5, True, "x", "0" * 25, "\N{DIGIT ONE}" * 24 + "z"])
async def test_an_operator_is_no_session_id(
    http: httpx.AsyncClient, as_: Headers, ada: Actor, grace: Expert, value: object
) -> None:
    answer = await http.put(f"/api/bookings/{grace.id}/cancel", json={"sessionId": value}, headers=as_(ada))

    assert answer.status_code == 422


@pytest.mark.parametrize(
    "overrides",
    [
        {"startsAt": "2026-03-03T12:30:00", "scheduledDate": None, "startTime": None},
        {"scheduledDate": "2026-02-30"},
        {"startTime": "25:00"},
        {"startTime": "٠٩:٣٠"},
        {"duration": True},
        {"duration": 30.5},
        {"duration": 1e300},
        {"timezone": "../../etc/passwd"},
        {"sessionType": "telepathy"},
        {"expertId": {"$ne": None}},
        {"notes": "x" * 1001},
    ],
)
async def test_wrong_input_is_422(
    http: httpx.AsyncClient, as_: Headers, ada: Actor, grace: Expert, overrides: dict[str, object]
) -> None:
    answer = await http.post("/api/bookings", json=wish(grace, **overrides), headers=as_(ada))

    assert answer.status_code == 422, answer.text
    assert answer.json()["error"]


async def test_no_body_is_an_empty_one_with_any_media_type_or_none(
    http: httpx.AsyncClient, as_: Headers, ada: Actor
) -> None:
    kinds: list[dict[str, str]] = [{}, {"Content-Type": "text/plain"}, {"Content-Type": "application/json"}]

    answers = [await http.post("/api/bookings", headers={**as_(ada), **kind}) for kind in kinds]
    empty = await http.post("/api/bookings", json={}, headers=as_(ada))

    assert [answer.status_code for answer in answers] == [422, 422, 422]
    assert [answer.json()["errors"] for answer in answers] == [empty.json()["errors"]] * 3
