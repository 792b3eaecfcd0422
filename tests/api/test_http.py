"""What every answer has in common: envelope, headers, limits, health, logs, metrics (SPEC 8, 10)."""

import logging

import httpx
import pytest
import structlog
from fastapi import FastAPI

from api.app import create_app
from confiido_booking.actors import Actor
from confiido_booking.client import Confiido
from confiido_booking.errors import Unavailable
from confiido_booking.experts.models import Expert
from tests.api.conftest import Headers, http_client, wish
from tests.builders import a_client, an_admin


async def test_an_unknown_route_and_a_wrong_method_answer_in_the_envelope(http: httpx.AsyncClient) -> None:
    unknown, wrong = await http.get("/api/nope"), await http.delete("/api/bookings")

    assert (unknown.status_code, unknown.json()["code"]) == (404, "not_found")
    assert (wrong.status_code, wrong.json()["code"]) == (405, "method_not_allowed")
    assert "allow" in wrong.headers
    assert not unknown.json()["success"]


async def test_a_trailing_slash_changes_nothing(http: httpx.AsyncClient, as_: Headers, ada: Actor) -> None:
    with_slash = await http.get("/api/bookings/", headers=as_(ada))
    without = await http.get("/api/bookings", headers=as_(ada))

    assert (with_slash.status_code, with_slash.content) == (200, without.content)


async def test_a_sane_request_id_comes_back_and_another_is_replaced(http: httpx.AsyncClient) -> None:
    ids = [
        (await http.get("/health/live", headers={"X-Request-ID": given})).headers["x-request-id"]
        for given in ("trace-42", "a b", "x" * 65)
    ]

    assert ids[0] == "trace-42"
    assert all(len(made) == 16 for made in ids[1:])


async def test_answers_are_not_kept_by_browsers_or_guessed_at(
    http: httpx.AsyncClient, as_: Headers, ada: Actor
) -> None:
    headers = (await http.get("/api/bookings", headers=as_(ada))).headers

    assert headers["cache-control"] == "no-store"
    assert headers["x-content-type-options"] == "nosniff"


async def test_ready_says_whether_the_store_answers(http: httpx.AsyncClient, confiido: Confiido) -> None:
    up = await http.get("/health/ready")

    async def down(step: str) -> None:
        raise Unavailable()

    confiido.store.hook = down
    gone, alive = await http.get("/health/ready"), await http.get("/health/live")

    assert (up.status_code, gone.status_code, alive.status_code) == (200, 503, 200)
    assert gone.json()["error"] == "Service temporarily unavailable"


async def test_metrics_count_by_route_template(http: httpx.AsyncClient, as_: Headers, ada: Actor) -> None:
    await http.get(f"/api/bookings/{ada.id}", headers=as_(ada))

    text = (await http.get("/metrics")).text

    line = 'confiido_http_requests_total{method="GET",route="/api/bookings/{bookingId}",status="404"}'
    assert line in text
    assert str(ada.id) not in text
    assert "confiido_http_request_seconds_bucket" in text


async def test_a_log_line_says_what_happened_and_nothing_about_the_person(
    http: httpx.AsyncClient, as_: Headers, ada: Actor, grace: Expert
) -> None:
    with structlog.testing.capture_logs() as lines:
        answer = await http.post("/api/bookings", json=wish(grace), headers=as_(ada, x_request_id="r1"))

    assert answer.status_code == 201
    line = lines[-1]
    told = {name: line[name] for name in ("event", "method", "route", "status", "request_id", "role")}
    assert told == {
        "event": "request", "method": "POST", "route": "/api/bookings", "status": 201, "request_id": "r1",
        "role": "client",
    }  # fmt: skip
    assert "ada" not in str(lines)
    assert str(ada.id) not in str(lines)


async def test_who_asks_too_often_is_told_when_to_come_back(
    confiido: Confiido, as_: Headers, ada: Actor, grace: Expert
) -> None:
    settings = confiido.settings.model_copy(update={"rate_limit": 3})
    async with http_client(create_app(confiido, settings)) as http:
        answers = [await http.get("/api/bookings", headers=as_(ada)) for _ in range(4)]
        other = await http.get("/api/bookings", headers=as_(a_client()))
        nobody = [await http.get("/api/bookings") for _ in range(4)]
        health = [await http.get("/health/live") for _ in range(5)]

    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert answers[3].json()["code"] == "rate_limited"
    assert 1 <= int(answers[3].headers["retry-after"]) <= 60
    assert other.status_code == 200
    assert [answer.status_code for answer in nobody] == [401, 401, 401, 429]
    assert {answer.status_code for answer in health} == {200}


async def test_browsers_of_named_origins_may_call_and_read_refusals(confiido: Confiido) -> None:
    settings = confiido.settings.model_copy(update={"cors_origins": "https://app.example.org"})
    async with http_client(create_app(confiido, settings)) as http:
        preflight = await http.options(
            "/api/bookings",
            headers={
                "Origin": "https://app.example.org",
                "Access-Control-Request-Method": "POST",
                "Access-Control-Request-Headers": "authorization,idempotency-key",
            },
        )
        refused = await http.get("/api/bookings", headers={"Origin": "https://app.example.org"})
        foreign = await http.get("/api/bookings", headers={"Origin": "https://evil.example.org"})

    assert preflight.status_code == 200
    assert refused.headers["access-control-allow-origin"] == "https://app.example.org"
    assert "access-control-allow-origin" not in foreign.headers


async def test_start_up_names_the_engine_and_warns_of_trusted_clients(confiido: Confiido) -> None:
    settings = confiido.settings.model_copy(update={"trust_client_payments": True})
    app = create_app(confiido, settings)

    with structlog.testing.capture_logs() as lines:
        async with app.router.lifespan_context(app):
            pass

    assert lines[0]["event"] == "started"
    assert "MONGODB_URI" in lines[0]["engine"]
    assert any("TRUST_CLIENT_PAYMENTS" in line["event"] for line in lines)


@pytest.mark.parametrize("path", ["/api/sessions/%00", "/api/bookings/%ff%fe", "/api/bookings/" + "a" * 5000])
async def test_hostile_paths_are_refused(http: httpx.AsyncClient, as_: Headers, path: str) -> None:
    answer = await http.get(path, headers=as_(an_admin()))

    assert answer.status_code in (404, 422)
    assert answer.json()["success"] is False


# ROUTES: "Without a token".
OPEN_TO_ANYBODY = ("/api/webhooks/", "/api/reviews/expert/", "/api/feeds/")
OPEN_READS = {("get", "/api/v1/services"), ("get", "/api/v1/services/{id}")}


def test_openapi_documents_every_route_with_its_models_and_refusals(app: FastAPI) -> None:
    document = app.openapi()

    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            where = f"{method} {path}"
            assert operation["tags"], where
            assert operation["summary"], where
            if not path.startswith("/api/"):
                continue
            is_open = path.startswith(OPEN_TO_ANYBODY) or (method, path) in OPEN_READS
            assert ("security" in operation) != is_open, where
            assert {"429", "500", "503"} <= set(operation["responses"]), where
            assert "401" in operation["responses"] or is_open, where
            assert "422" in operation["responses"] or path.startswith("/api/webhooks/"), where
            for status, response in operation["responses"].items():
                if path.endswith(("/pdf", ".ics")) and status < "400":
                    continue
                schema = str(response["content"]["application/json"]["schema"])
                assert ("Refusal" in schema) == (status >= "400"), f"{where} {status}"
            if method in ("put", "patch"):
                content = operation["requestBody"]["content"]["application/json"]
                assert content["schema"], where


def test_logs_are_json_lines(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from api import observability

    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", root.handlers[:])
    level = root.level
    try:
        observability.configure_logs("info")
        logging.getLogger("some.library").warning("said something")
    finally:
        root.setLevel(level)
        structlog.reset_defaults()

    assert '"event": "said something"' in capsys.readouterr().err
