"""What an enemy or a broken program sends: refused in the envelope, nothing echoed, nothing changed (SPEC 8).

The one body reader has its own tests in ``test_body.py``, tokens in ``test_auth.py``; here the whole way is walked,
with the store compared before and after.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import jwt
import pytest
from bson import ObjectId
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from api.app import create_app
from confiido_booking import Confiido
from tests.api.conftest import Headers, http_client
from tests.api.marketplace import Marketplace, open_marketplace, raw
from tests.builders import Clock
from tests.conftest import SECRET

MARK = "zqxj"  # stands in every hostile text, and in no answer
OPERATORS: list[Any] = [
    {"$ne": None},
    {"$gt": ""},
    {"$where": f"sleep(1) || '{MARK}'"},
    {"$regex": f".*{MARK}"},
    {"$in": [MARK]},
    {"$literal": MARK},
]
WRONG_TYPES: list[Any] = [[], [MARK], {}, {MARK: MARK}, True, 1.5, -1, 2**63 - 1]
TEXTS: list[Any] = [f"\0{MARK}", f"\ud800{MARK}", MARK * 262_144]
SALES = "/api/sessions/{sessionId}"
BOOKING, SESSION = "/api/bookings/{bookingId}", "/api/bookings/{bookingId}/sessions/{sessionId}"
WRITES: list[tuple[str, str, dict[str, Any]]] = [
    (
        "POST", "/api/bookings",
        {
            "expertId": "{grace}", "sessionType": "video", "duration": 30, "scheduledDate": "2026-03-10",
            "startTime": "12:30", "timezone": "Asia/Kolkata", "notes": "n", "source": "s", "referralSource": "r",
            "clientId": "{ada}", "clientUserId": "9062", "clientEmail": "a@example.org", "clientName": "A", "price": 20,
            "currency": "INR", "force": True, "reason": "r",
        },
    ),
    (
        "POST", "/api/bookings",
        {
            "expertId": "{grace}", "sessionType": "video", "duration": 30, "startsAt": "2026-03-10T09:00:00Z",
            "clientId": "{ada}",
        },
    ),
    (
        "POST", "/api/sessions/request",
        {
            "expertId": "{grace}", "sessionType": "video", "duration": 30, "scheduledDate": "2026-03-10",
            "startTime": "12:30", "timezone": "Asia/Kolkata", "location": "l", "notes": "n", "source": "s",
            "referralSource": "r", "clientId": "{ada}", "clientEmail": "a@example.org", "clientName": "A",
            "clientPhone": "+91", "serviceId": "{service}",
        },
    ),
    (
        "POST", "/api/sessions/quote",
        {
            "clientId": "{ada}", "expertId": "{grace}", "sessionType": "video", "duration": 30, "amount": 20,
            "startsAt": "2026-03-10T09:00:00Z", "currency": "INR", "expiresAt": "2026-03-09T09:00:00Z", "text": "t",
            "addOns": [{"name": "a", "price": 5, "minutes": 5}], "notes": "n", "source": "s",
        },
    ),
    (
        "POST", "/api/sessions/booking",
        {
            "clientId": "{ada}", "expertId": "{grace}", "sessionType": "video", "duration": 30, "price": 20,
            "startsAt": "2026-03-10T09:00:00Z", "currency": "INR", "force": True, "reason": "r", "source": "s",
        },
    ),
    ("PUT", f"{SALES}/cancel", {"reason": "r"}),
    ("PUT", f"{SALES}/reschedule", {"startsAt": "2026-03-10T09:00:00Z", "reason": "r"}),
    ("PUT", f"{BOOKING}/confirm", {"sessionId": "{sessionId}"}),
    ("PUT", f"{BOOKING}/cancel", {"sessionId": "{sessionId}", "reason": "r"}),
    ("PUT", f"{BOOKING}/undo", {"sessionId": "{sessionId}", "reason": "r"}),
    ("PUT", f"{BOOKING}/complete-payment", {"sessionId": "{sessionId}", "paymentMethod": "cash"}),
    ("POST", "/api/bookings/timeout/sync", {"timeouts": [{"bookingId": "{bookingId}", "sessionId": "{sessionId}"}]}),
    ("POST", "/api/bookings/timeout/status", {"sessionIds": ["{sessionId}"]}),
    (
        "PATCH", SESSION,
        {
            "notes": "n", "expertNotes": "e", "internalNotes": "i", "meetingLink": "m", "location": "l", "source": "s",
            "customFields": {"a": "b"},
        },
    ),
    (
        "PUT", f"{SESSION}/reschedule",
        {"scheduledDate": "2026-03-10", "startTime": "12:30", "timezone": "UTC", "reason": "r"},
    ),
    ("PUT", f"{SESSION}/reschedule", {"startsAt": "2026-03-10T09:00:00Z"}),
    ("POST", f"{SESSION}/reschedule-request/respond", {"action": "reject", "mentorNote": "m"}),
    (
        "POST", "/api/availability?expertId={grace}",
        {
            "dateRange": {"startDate": "2020-01-01", "endDate": "2020-02-01"},
            "timeSlots": [{"dayOfWeek": 2, "startTime": "09:00", "endTime": "12:00", "isAvailable": True}],
            "notes": "n", "isActive": True,
        },
    ),
    (
        "POST", "/api/availability/exceptions?expertId={grace}",
        {"date": "2026-05-01", "hours": [{"startTime": "09:00", "endTime": "10:00"}], "reason": "r"},
    ),
    (
        "POST", "/api/availability/blocks?expertId={grace}",
        {"startsAt": "2026-03-11T09:00:00Z", "endsAt": "2026-03-11T12:00:00Z", "reason": "r"},
    ),
    (
        "PUT", "/api/admin/experts/{grace}",
        {
            "userId": "{nobody}", "expertUserId": "4711", "email": "x@example.org", "name": "n", "title": "t",
            "company": "c", "description": "d", "expertise": ["x"], "timezone": "UTC", "bufferBefore": 0,
            "bufferAfter": 0, "minNotice": 0, "horizon": 365, "payment": "later", "meetingLink": "m", "isActive": True,
            "sessionTypes": [{"sessionType": "video", "duration": 30, "price": 20, "currency": "INR", "title": "t"}],
            "cancellationPolicy": {"tiers": [{"hoursBefore": 1, "refundPercent": 50}], "clientUntilHoursBefore": 1},
        },
    ),
]  # fmt: skip
LISTS = ("/api/bookings", "/api/bookings/user", "/api/bookings/mentor/{number}", "/api/sessions")
PATHS = (
    ("GET", "/api/bookings/{0}"),
    ("GET", "/api/bookings/{bookingId}/sessions/{0}"),
    ("GET", "/api/bookings/mentor/{0}"),
    ("GET", "/api/sessions/{0}"),
    ("GET", "/api/sessions/{0}.ics"),
    ("PUT", "/api/sessions/{0}/accept"),
    ("GET", "/api/availability/userid/{0}/slots/2026-03-03"),
    ("GET", "/api/availability/userid/{number}/slots/{0}"),
    ("GET", "/api/availability/userid/{number}/consecutive-slots/2026-03-03/{0}"),
    ("DELETE", "/api/availability/{0}"),
    ("DELETE", "/api/availability/blocks/{0}"),
)


@pytest.fixture
async def market(confiido: Confiido, clock: Clock) -> Marketplace:
    return await open_marketplace(confiido, clock)


@pytest.fixture
def admin(market: Marketplace, as_: Headers) -> dict[str, str]:
    actor = market.callers["admin"]
    assert actor is not None
    return {**as_(actor), "content-type": "application/json"}


def ill(answer: httpx.Response, *, statuses: set[int] | None = None) -> str | None:
    """What is wrong with a refusal, or None."""
    if not (answer.status_code in statuses if statuses else 400 <= answer.status_code < 500):
        return f"status {answer.status_code}: {answer.text[:200]}"
    if MARK in answer.text:
        return f"echoes: {answer.text[:200]}"
    body = answer.json()
    if body["success"] is not False or not isinstance(body["error"], str) or not body["error"] or not body["code"]:
        return f"no envelope: {answer.text[:200]}"
    for wrong in body.get("errors", []):
        if set(wrong) != {"type", "msg", "path", "location"} or not all(
            isinstance(text, str) for text in wrong.values()
        ):
            return f"no field error: {answer.text[:200]}"
    return None


def places(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The path of every value inside, those of objects and lists included."""
    if path:
        yield path
    if isinstance(value, dict | list):
        for name, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(item, (*path, name))


def with_value(document: Any, path: tuple[str | int, ...], value: Any) -> Any:
    """A copy with another value there."""
    copy = json.loads(json.dumps(document))
    inner = copy
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    return copy


@pytest.mark.parametrize("values", [OPERATORS, WRONG_TYPES, TEXTS], ids=["operators", "wrong types", "texts"])
async def test_no_field_takes_what_is_not_its_own(
    values: list[Any], market: Marketplace, confiido: Confiido, admin: dict[str, str]
) -> None:
    found = []

    async with http_client(create_app(confiido)) as http:
        for method, path, body in WRITES:
            good = market.filled(body)
            for place in places(good):
                for value in values:
                    if fits(place, value):
                        continue
                    content = json.dumps(with_value(good, place, value))
                    answer = await http.request(method, market.filled(path), content=content, headers=admin)
                    if wrong := ill(answer, statuses={400, 404, 409, 413, 422}):
                        found.append(f"{method} {path} {place} {str(value)[:40]}: {wrong}")

    assert found == []
    assert await raw(confiido) == market.begins


LISTS_THAT_MAY_BE_EMPTY = {
    *("timeouts", "sessionIds", "timeSlots", "hours", "expertise", "tiers", "sessionTypes", "addOns"),
}


def fits(place: tuple[str | int, ...], value: Any) -> bool:
    """What a field may well be given, however odd."""
    name = place[-1]
    return (
        (name in LISTS_THAT_MAY_BE_EMPTY and value == [])
        or (name in ("dateRange", "cancellationPolicy") and isinstance(value, dict))  # unknown names are passed over
        or (name == "customFields" and isinstance(value, dict) and "$" not in str(value))
        or (name == "expertise" and value == [MARK])
        or (name in ("isActive", "isAvailable", "force") and value is True)
        or (place[0] == "customFields" and len(place) == 2 and isinstance(value, bool | int | float))
        or (
            name in ("price", "amount")
            and isinstance(value, int | float)
            and not isinstance(value, bool)
            and 0 <= value < 1e15
        )
        or (name in ("hoursBefore", "refundPercent", "clientUntilHoursBefore") and value == 1.5)
    )


async def test_no_query_parameter_is_an_operator(
    market: Marketplace, confiido: Confiido, admin: dict[str, str]
) -> None:
    ids = ("expertId", "clientId", "serviceId")
    words = ("status", "paymentStatus", "sessionType", "sort", "from", "to", "cursor")
    hostile = [json.dumps(value) for value in OPERATORS] + [f"%00{MARK}", MARK, "\u0661", "x" * 5000]
    odd = {
        "page": ["0", "-1", "abc", "1e9", "999999999999999999999", "1.5", "", "\u0661\u0662x", "10001"],
        "limit": ["0", "-1", "101", "abc", "1000000000", "NaN"],
        "from": ["2026-03-03T12:00:00", "2026-02-30", "yesterday", "9999-12-31T23:59:59-23:59", "0000-01-01"],
        "to": ["9999-12-31", "0001-01-01"],
        "cursor": ["e30", "eyJhIjoxfQ==", "W10=", "//////", "MA=="],
    }
    asked = [(name, value) for name in (*ids, *words) for value in hostile]
    asked += [(name, value) for name, values in odd.items() for value in values]
    found = []

    async with http_client(create_app(confiido)) as http:
        for path in LISTS[:1] + LISTS[-1:]:
            for name, value in asked:
                raw_query = f"{name}={value}" if "%00" in value else str(httpx.QueryParams({name: value}))
                answer = await http.get(f"{market.filled(path)}?{raw_query}", headers=admin)
                if wrong := ill(answer, statuses={422}):
                    found.append(f"{path} {name}={value[:40]}: {wrong}")
        for name in ("status[$ne]", "clientId[$gt]", "$where"):  # how some servers read objects from a query
            answers = [await http.get(f"/api/bookings{query}", headers=admin) for query in (f"?{name}=x", "")]
            assert answers[0].content == answers[1].content

    assert found == []
    assert await raw(confiido) == market.begins


async def test_a_search_for_an_expression_finds_nothing_and_hangs_nothing(
    market: Marketplace, confiido: Confiido, admin: dict[str, str]
) -> None:
    started = time.monotonic()
    async with http_client(create_app(confiido)) as http:
        answers = [
            await http.get("/api/bookings", params={"q": wanted}, headers=admin)
            for wanted in (
                ".*",
                "^",
                "(a+)+$",
                "[",
                "\\",
                "a{1,9999}",
                '{"$ne": null}',
                "\N{LATIN SMALL LETTER SHARP S}",
            )
        ]

    assert [(answer.status_code, answer.json()["data"]["pagination"]["total"]) for answer in answers] == [(200, 0)] * 8
    assert time.monotonic() - started < 10


@pytest.mark.parametrize(
    "hostile",
    [
        '{"$ne": null}',
        "$where",
        f"{MARK}%00",
        "..%2f..%2fetc",
        "%ff%fe",
        "a" * 5000,
        "[]",
        "\u0661" * 4,
        "1e3",
        "-30",
        "30.5",
    ],
)
async def test_no_part_of_a_path_is_more_than_an_id(
    hostile: str, market: Marketplace, confiido: Confiido, admin: dict[str, str]
) -> None:
    found = []

    async with http_client(create_app(confiido)) as http:
        for method, template in PATHS:
            path = template.replace("{bookingId}", market.ids["bookingId"]).replace("{number}", market.ids["number"])
            answer = await http.request(method, path.replace("{0}", hostile), headers=admin)
            if wrong := ill(answer, statuses={404, 422}):
                found.append(f"{method} {template}: {wrong}")

    assert found == []
    assert await raw(confiido) == market.begins


async def test_no_body_is_too_large_too_deep_or_no_json(
    market: Marketplace, confiido: Confiido, admin: dict[str, str]
) -> None:
    good = json.dumps(market.filled(WRITES[1][2])).encode()
    too_large = good[:-1] + b', "notes": "' + b"x" * (1024 * 1024 + 1 - len(good) - 12 - 1) + b'"}'
    assert len(too_large) == 1024 * 1024 + 1

    async def in_chunks(content: bytes) -> AsyncIterator[bytes]:
        for start in range(0, len(content), 100_000):
            yield content[start : start + 100_000]

    cases: list[tuple[int, Any]] = [
        (413, too_large),
        (413, in_chunks(too_large)),
        (422, too_large[:-3] + b'"}'),  # 1 MiB to the byte, its notes too long
        (422, good[:-1] + b', "x": ' + b"[" * 5000 + b"]" * 5000 + b"}"),
        (422, good[:-1] + b', "x": ' + b'{"a":' * 5000 + b"1" + b"}" * 5000 + b"}"),
        (422, good.replace(b"30", b"NaN")),
        (422, good.replace(b"30", b"1e999")),
        (422, good.replace(b"30", b"9" * 400)),
        (422, good.replace(b'"video"', b'"\\ud800"')),
        (422, good[:-1] + b', "duration": 60}'),
        (400, good[:-1]),
        (400, good + b"x"),
        (400, b"\xff\xfe" + good),
        (422, b""),  # as an empty object
        (422, b"[" + good + b"]"),
        (422, b"null"),
    ]

    async with http_client(create_app(confiido)) as http:
        answers = [(status, await http.post("/api/bookings", content=each, headers=admin)) for status, each in cases]

    assert [ill(answer, statuses={status}) for status, answer in answers] == [None] * len(cases)
    assert await raw(confiido) == market.begins


async def test_no_time_is_guessed(market: Marketplace, confiido: Confiido, admin: dict[str, str]) -> None:
    wish = market.filled({"expertId": "{grace}", "sessionType": "video", "duration": 30, "clientId": "{ada}"})
    whens: list[dict[str, Any]] = [
        {"startsAt": "2026-03-10T09:00:00"},
        {"startsAt": "2026-03-10"},
        {"startsAt": "2026-W11-2T09:00:00Z"},
        {"startsAt": 1773133200},
        {"startsAt": "9999-12-31T23:59:59Z"},
        {"startsAt": "0001-01-01T00:00:00+14:00"},
        {"startsAt": "2026-03-10T09:00:00+99:99"},
        {"scheduledDate": "2026-03-10"},
        {"startTime": "09:00"},
        {},
        {"scheduledDate": "2026-13-01", "startTime": "09:00"},
        {"scheduledDate": "2026-03-10", "startTime": "24:00"},
        {"scheduledDate": "2026-03-10", "startTime": "9:5"},
        {"scheduledDate": "2026-03-10", "startTime": "09:00", "timezone": "Mars/Olympus"},
        {"scheduledDate": "2026-03-10", "startTime": "09:00", "timezone": "../UTC"},
    ]

    async with http_client(create_app(confiido)) as http:
        answers = [await http.post("/api/bookings", json={**wish, **when}, headers=admin) for when in whens]

    assert [ill(answer, statuses={422}) for answer in answers] == [None] * len(whens)
    assert await raw(confiido) == market.begins


@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")  # HS512 by our secret
async def test_no_forged_token_opens_any_door(market: Marketplace, confiido: Confiido) -> None:
    ada, admin = market.ids["ada"], str(ObjectId())
    good = {"sub": admin, "role": "admin", "exp": int(time.time()) + 600, "aud": "booking", "iss": "https://id"}
    settings = confiido.settings.model_copy(update={"jwt_audience": "booking", "jwt_issuer": "https://id"})
    signed = jwt.encode(good, SECRET, algorithm="HS256")
    head, claims, signature = signed.split(".")
    keys = rsa.generate_private_key(public_exponent=65537, key_size=2048), ec.generate_private_key(ec.SECP256R1())
    forged = [
        f"x_{ada}",
        f"mock_{ada}",
        ada,
        f"{head}.{claims}.",
        f"{head}.{claims}.{signature[::-1]}",
        jwt.encode(good, None, algorithm="none"),
        jwt.encode(good, "another secret, just as long as ours is", algorithm="HS256"),
        jwt.encode(good, SECRET, algorithm="HS512"),
        jwt.encode(good, keys[0], algorithm="RS256"),
        jwt.encode(good, keys[1], algorithm="ES256"),
        jwt.encode({**good, "exp": int(time.time()) - 1}, SECRET, algorithm="HS256"),
        jwt.encode({**good, "exp": None}, SECRET, algorithm="HS256"),
        jwt.encode({**good, "aud": "another"}, SECRET, algorithm="HS256"),
        jwt.encode({**good, "iss": "https://evil"}, SECRET, algorithm="HS256"),
        jwt.encode({name: good[name] for name in ("sub", "role", "exp")}, SECRET, algorithm="HS256"),
        jwt.encode({**good, "role": "system"}, SECRET, algorithm="HS256"),
        jwt.encode({**good, "role": {"$ne": None}}, SECRET, algorithm="HS256"),
        jwt.encode(good, SECRET, algorithm="HS256", headers={"crit": ["b64"], "b64": False}),
        "\xff\xfe",
        ".".join("a" * 3),
    ]

    async with http_client(create_app(confiido, settings)) as http:
        opened = await http.get("/api/bookings", headers={"Authorization": f"Bearer {signed}"})
        answers = [
            await http.put(
                market.filled("/api/bookings/{bookingId}/confirm"),
                json=market.filled({"sessionId": "{sessionId}"}),
                headers=[(b"authorization", f"Bearer {each}".encode("latin-1"))],
            )
            for each in forged
        ]

    assert opened.status_code == 200
    assert [ill(answer, statuses={401}) for answer in answers] == [None] * len(forged)
    assert await raw(confiido) == market.begins


async def test_no_header_breaks_anything(market: Marketplace, confiido: Confiido, admin: dict[str, str]) -> None:
    named = json.dumps(market.filled({"sessionId": "{sessionId}"}))
    path = market.filled("/api/bookings/{bookingId}/confirm")
    refused = [("if-match", "W/x"), ("if-match", '"1", "2"'), ("if-match", '"999999999999"'), ("if-match", "x" * 5000)]
    refused += [("idempotency-key", "x" * 256), ("idempotency-key", "a b"), ("content-type", "text/plain")]
    harmless = [("prefer", "\x7f" * 500), ("x-request-id", f"{MARK}\xff"), ("accept", "text/html"), ("host", MARK)]

    async with http_client(create_app(confiido)) as http:
        answers = [
            await http.put(path, content=named, headers={**admin, name: value.encode("latin-1")})  # type: ignore[dict-item]
            for name, value in refused
        ]
        kept = await raw(confiido)
        calm = [
            await http.get("/api/bookings", headers={**admin, name: value.encode("latin-1")})  # type: ignore[dict-item]
            for name, value in harmless
        ]

    assert [ill(answer, statuses={412, 415, 422}) for answer in answers] == [None] * len(refused)
    assert kept == market.begins
    assert {answer.status_code for answer in calm} == {200}


async def test_a_caller_who_sends_slowly_or_leaves_blocks_nobody(
    market: Marketplace, confiido: Confiido, admin: dict[str, str]
) -> None:
    async def half_a_body() -> AsyncIterator[bytes]:
        yield b'{"expertId": '
        await asyncio.sleep(60)

    async with http_client(create_app(confiido)) as http:
        slow = asyncio.create_task(http.post("/api/bookings", content=half_a_body(), headers=admin))
        answer = await asyncio.wait_for(http.get("/api/bookings", headers=admin), 10)
        slow.cancel()
        await asyncio.gather(slow, return_exceptions=True)

    assert answer.status_code == 200
    assert await raw(confiido) == market.begins
