"""Who may call what: every route by every caller, in one table (L10; SPEC 4, 8; DEFECTS 16-24).

A route that the table does not list fails. Each cell is a real request with a body that is right for somebody; what
is refused changes nothing, and nobody is told what is not theirs.
"""

from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts

from api.app import create_app
from confiido_booking import Actor, Confiido
from tests.api.conftest import Headers, http_client
from tests.api.marketplace import CALLERS, open_marketplace, raw, seen_too_much
from tests.builders import Clock, make_expert

SESSION = {"sessionId": "{sessionId}"}
WHEN = {"startsAt": "2026-03-10T09:00:00Z"}
HOURS = {
    "dateRange": {"startDate": "2020-01-01", "endDate": "2020-02-01"},
    "timeSlots": [{"dayOfWeek": 2, "startTime": "09:00", "endTime": "12:00"}],
}
PROFILE = {"name": "Lin", "sessionTypes": [{"sessionType": "video", "duration": 30, "price": 20, "currency": "INR"}]}
BOOKED = {"expertId": "{grace}", "sessionType": "video", "duration": 30, **WHEN}
BLOCK = {"startsAt": "2026-03-11T09:00:00Z", "endsAt": "2026-03-11T12:00:00Z"}
SALES = "/api/sessions/{sessionId}"
ASKED = {"expertId": "{grace}", **WHEN}
OFFERED = {"expertId": "{grace}", "sessionType": "video", "duration": 30, "amount": 20}
OF_SESSION = "/api/bookings/{bookingId}/sessions/{sessionId}"
INVOICE = "/api/invoices/{invoice}"
STANDALONE = {
    "clientId": "{ada}",
    "client": {"name": "Ada", "email": "ada@example.org"},
    "lines": [{"description": "Workbook", "unitPrice": 20}],
}
ORDER = "/api/v1/orders/{order}"
EVENT = "/api/v1/service-sessions/{event}"
SERVICE = {
    "service_type": "individual",
    "name": "Advice",
    "price_cents": 2000,
    "duration_minutes": 30,
    "primary_practitioner": "{grace}",
}
RETURNED = {"razorpay_order_id": "order_1", "razorpay_payment_id": "pay_1", "razorpay_signature": "0"}
OF_GRACE = "?expertId={grace}"
ANYBODY = (200,) * 6


@dataclass(frozen=True)
class Row:
    """One route. ``statuses``: client, other client, expert, other expert, admin, service; nobody is 401.

    ``path`` is the request's, where the route's own with the marketplace's ids in its braces does not do.
    """

    route: str
    statuses: tuple[int, ...]
    body: dict[str, Any] | None = None
    path: str | None = None
    state: str = "pending"
    nobody: int = 401


ROWS = [
    # Bookings
    Row("POST /api/bookings", (201, 201, 403, 403, 201, 201), BOOKED | {"clientId": "{ada}"}),
    Row("GET /api/bookings", ANYBODY),
    Row("GET /api/bookings/user", ANYBODY),
    Row("GET /api/bookings/mentor/{user_id}", (403, 403, 200, 403, 200, 200), path="/api/bookings/mentor/{number}"),
    Row(
        "GET /api/bookings/pricing",
        ANYBODY, path="/api/bookings/pricing?expertId={grace}&sessionType=video&duration=30",
    ),
    Row("GET /api/bookings/{bookingId}", (200, 404, 200, 200, 200, 200), path="/api/bookings/{bookingId}"),
    Row("GET /api/bookings/{bookingId}", (404, 200, 404, 200, 200, 200), path="/api/bookings/{bos_booking}"),
    Row("GET /api/bookings/{bookingId}/sessions/{sessionId}", (200, 404, 200, 404, 200, 200), path=OF_SESSION),
    Row(
        "PATCH /api/bookings/{bookingId}/sessions/{sessionId}",
        (200, 404, 200, 404, 200, 200), {"notes": "Bring tea"}, OF_SESSION,
    ),
    Row(
        "PATCH /api/bookings/{bookingId}/sessions/{sessionId}",
        (403, 403, 200, 404, 200, 200), {"expertNotes": "Likes tea"}, OF_SESSION,
    ),
    Row(
        "PATCH /api/bookings/{bookingId}/sessions/{sessionId}",
        (403, 403, 403, 403, 200, 200), {"internalNotes": "Pays late"}, OF_SESSION,
    ),
    Row(
        "PATCH /api/bookings/{bookingId}/sessions/{sessionId}",
        (403, 403, 403, 403, 403, 403), {"price": 1}, OF_SESSION,
    ),
    # Session commands
    Row("PUT /api/bookings/{bookingId}/confirm", (403, 404, 200, 404, 200, 200), SESSION),
    Row("PUT /api/bookings/{bookingId}/complete", (403, 404, 200, 404, 200, 200), SESSION, state="confirmed"),
    Row("PUT /api/bookings/{bookingId}/no-show", (403, 404, 200, 404, 200, 403), SESSION, state="started"),
    Row("PUT /api/bookings/{bookingId}/cancel", (200, 404, 200, 404, 200, 403), SESSION, state="confirmed"),
    Row(
        "PUT /api/bookings/{bookingId}/undo",
        (403, 404, 200, 404, 200, 403), SESSION | {"reason": "late"}, state="no-show",
    ),
    Row(
        "PUT /api/bookings/{bookingId}/undo",
        (403, 404, 403, 404, 200, 403), SESSION | {"reason": "late"}, state="completed",
    ),
    Row("PUT /api/bookings/{bookingId}/complete-payment", (402, 404, 403, 404, 200, 200), SESSION),
    Row(
        "PUT /api/bookings/{bookingId}/cancel-expired-session",
        (200, 404, 200, 404, 200, 200), SESSION, state="lapsed",
    ),
    Row(
        "POST /api/bookings/timeout/sync",
        ANYBODY, {"timeouts": [{"bookingId": "{bookingId}", "sessionId": "{sessionId}"}]}, state="lapsed",
    ),
    Row("POST /api/bookings/timeout/status", ANYBODY, {"sessionIds": ["{sessionId}", "{with_ken}", "{bos_session}"]}),
    # Rescheduling
    Row(
        "PUT /api/bookings/{bookingId}/sessions/{sessionId}/reschedule",
        (403, 404, 200, 404, 200, 403), WHEN, f"{OF_SESSION}/reschedule",
    ),
    Row(
        "POST /api/bookings/{bookingId}/sessions/{sessionId}/reschedule-request",
        (200, 404, 403, 404, 403, 403), WHEN, f"{OF_SESSION}/reschedule-request", "confirmed",
    ),
    Row(
        "POST /api/bookings/{bookingId}/sessions/{sessionId}/reschedule-request/respond",
        (403, 404, 200, 404, 200, 403), {"action": "approve"}, f"{OF_SESSION}/reschedule-request/respond", "requested",
    ),
    # Sessions
    Row("GET /api/sessions", ANYBODY),
    Row("GET /api/sessions/{id}", (200, 404, 200, 404, 200, 200), path=SALES),
    Row("GET /api/sessions/{id}.ics", (200, 404, 200, 404, 200, 200), path=f"{SALES}.ics"),
    Row("GET /api/sessions/overview", (403, 403, 200, 200, 200, 200)),
    Row("POST /api/sessions/request", (201, 201, 403, 403, 422, 422), ASKED),
    Row("POST /api/sessions/request", (201, 403, 403, 403, 201, 201), ASKED | {"clientId": "{ada}"}),
    Row("POST /api/sessions/quote", (403, 403, 201, 403, 201, 403), OFFERED | {"clientEmail": "new@example.org"}),
    Row("POST /api/sessions/quote", (403, 403, 201, 403, 201, 403), OFFERED | {"clientId": "{ada}"}),
    Row("POST /api/sessions/quote", (403, 403, 404, 403, 201, 403), OFFERED | {"clientId": "{bo}"}),
    Row("POST /api/sessions/quote", (403, 403, 200, 404, 200, 403), SESSION | {"amount": 20}, state="asked"),
    Row("POST /api/sessions/booking", (403, 403, 403, 403, 201, 201), BOOKED | {"clientId": "{ada}"}),
    Row("PUT /api/sessions/{id}/book", (403, 404, 403, 404, 200, 403), {}, f"{SALES}/book", "asked"),
    Row("PUT /api/sessions/{id}/book", (403, 404, 403, 404, 200, 403), {}, f"{SALES}/book", "quoted"),
    Row("PUT /api/sessions/{id}/accept", (200, 404, 403, 404, 403, 403), {}, f"{SALES}/accept", "quoted"),
    Row("PUT /api/sessions/{id}/decline", (403, 404, 200, 404, 200, 403), {}, f"{SALES}/decline", "asked"),
    Row("PUT /api/sessions/{id}/decline", (200, 404, 403, 404, 200, 403), {}, f"{SALES}/decline", "quoted"),
    Row("PUT /api/sessions/{id}/cancel", (200, 404, 200, 404, 200, 403), {}, f"{SALES}/cancel", "confirmed"),
    Row("PUT /api/sessions/{id}/complete", (403, 404, 200, 404, 200, 200), {}, f"{SALES}/complete", "confirmed"),
    Row("PUT /api/sessions/{id}/reschedule", (403, 404, 200, 404, 200, 403), WHEN, f"{SALES}/reschedule"),
    # Payments
    Row("PUT /api/sessions/{id}/paid", (403, 404, 403, 404, 200, 200), {"amount": 5}, "/api/sessions/{sessionId}/paid"),
    Row(
        "POST /api/sessions/{id}/refund",
        (403, 404, 403, 404, 201, 201), {"amount": 5, "reason": "late"}, "/api/sessions/{sessionId}/refund", "paid",
    ),
    Row(
        "PUT /api/sessions/{id}/refund-due",
        (403, 404, 403, 404, 200, 403),
        {"amount": 5, "reason": "late"}, "/api/sessions/{sessionId}/refund-due", "cancelled",
    ),
    Row(
        "GET /api/sessions/{id}/payments",
        (200, 404, 403, 404, 200, 200), None, "/api/sessions/{sessionId}/payments", "paid",
    ),
    Row(
        "GET /api/sessions/{id}/cancellation",
        (200, 404, 200, 404, 200, 200), path="/api/sessions/{sessionId}/cancellation",
    ),
    Row(
        "POST /api/admin/payments/{id}/refund",
        (403, 403, 403, 403, 201, 403), {"reason": "late"}, "/api/admin/payments/{payment}/refund", "paid",
    ),
    # Payments: of providers that are not configured here, so whoever may ask is told so
    Row("POST /api/payments", (503, 404, 403, 404, 503, 403), {"provider": "razorpay", "sessionId": "{sessionId}"}),
    Row(
        "POST /api/payments/create-razorpay-order",
        (503, 404, 403, 404, 503, 403), {"amount": 20, "notes": {"payment_id": "{sessionId}"}},
    ),
    Row("POST /api/payments/verify-razorpay-payment", (503, 503, 403, 403, 403, 403), RETURNED),
    Row("POST /api/payments/verify-stripe-payment", (503, 503, 403, 403, 403, 403), {"payment_intent": "pi_1"}),
    Row("GET /api/admin/payments", (403, 403, 403, 403, 200, 403), state="invoiced"),
    Row("GET /api/transactions/user", (200, 200, 403, 403, 403, 403)),
    Row("POST /api/webhooks/razorpay", (503,) * 6, {}, nobody=503),
    Row("POST /api/webhooks/stripe", (503,) * 6, {}, nobody=503),
    # Invoices
    Row(
        "POST /api/sessions/{id}/invoice",
        (403, 404, 403, 404, 201, 201), {}, "/api/sessions/{sessionId}/invoice", "confirmed",
    ),
    Row("POST /api/invoices", (403, 403, 403, 403, 201, 201), {"sessionIds": ["{sessionId}"]}, state="confirmed"),
    Row("POST /api/invoices/standalone", (403, 403, 403, 403, 201, 201), STANDALONE, state="invoiced"),
    Row("GET /api/invoices", (200, 200, 403, 403, 200, 200), state="invoiced"),
    Row("GET /api/invoices/{id}", (200, 404, 404, 404, 200, 200), path=INVOICE, state="invoiced"),
    Row("GET /api/invoices/{id}/pdf", (200, 404, 404, 404, 200, 200), path=f"{INVOICE}/pdf", state="invoiced"),
    Row("PUT /api/invoices/{id}", (403, 404, 404, 404, 200, 403), {"internalNotes": "late"}, INVOICE, "invoiced"),
    Row(
        "POST /api/invoices/{id}/void",
        (403, 404, 404, 404, 200, 403), {"reason": "a mistake"}, f"{INVOICE}/void", "invoiced",
    ),
    Row(
        "POST /api/invoices/{id}/credit-note",
        (403, 404, 404, 404, 201, 403), {"reason": "a mistake"}, f"{INVOICE}/credit-note", "invoiced",
    ),
    # Reviews
    Row("POST /api/reviews", (201, 404, 403, 403, 403, 403), SESSION | {"rating": 5}, state="completed"),
    Row("POST /api/reviews", (409, 404, 403, 403, 403, 403), SESSION | {"rating": 5}, state="confirmed"),
    Row("GET /api/reviews/expert/{id}", ANYBODY, path="/api/reviews/expert/{grace}", nobody=200),
    Row(
        "PUT /api/admin/reviews/{id}/hide",
        (403, 403, 403, 403, 200, 403), {"hidden": True, "reason": "rude"},
        "/api/admin/reviews/{sessionId}/hide", "reviewed",
    ),
    # Services
    Row("GET /api/v1/services", ANYBODY, nobody=200),
    Row("GET /api/v1/services/{id}", ANYBODY, path="/api/v1/services/{service}", nobody=200),
    Row("POST /api/v1/services", (403, 403, 201, 403, 201, 201), SERVICE),
    Row("PUT /api/v1/services/{id}", (403, 403, 200, 403, 200, 200), {"price_cents": 1}, "/api/v1/services/{service}"),
    Row("DELETE /api/v1/services/{id}", (403, 403, 200, 403, 200, 200), path="/api/v1/services/{service}"),
    # Service sessions
    Row(
        "POST /api/v1/service-sessions",
        (403, 403, 201, 403, 201, 201), {"service_id": "{service}", "times": ["2026-03-20T09:00:00Z"]},
    ),
    Row("GET /api/v1/service-sessions", ANYBODY),
    Row("GET /api/v1/service-sessions/{id}", ANYBODY, path=EVENT),
    Row("PATCH /api/v1/service-sessions/{id}", (403, 403, 200, 403, 200, 200), {"max_participants": 30}, EVENT),
    Row("POST /api/v1/service-sessions/{id}/cancel", (403, 403, 200, 403, 200, 200), {}, f"{EVENT}/cancel"),
    Row("POST /api/v1/service-sessions/{id}/start", (403, 403, 200, 403, 200, 200), {}, f"{EVENT}/start"),
    Row("POST /api/v1/service-sessions/{id}/complete", (403, 403, 409, 403, 409, 409), {}, f"{EVENT}/complete"),
    # Attendance: without video rooms
    Row("GET /api/v1/service-sessions/{id}/attendance", (403, 403, 200, 403, 200, 200), path=f"{EVENT}/attendance"),
    Row("POST /api/v1/service-sessions/{id}/check-in", (403, 403, 404, 403, 404, 404),
        {"session_id": "{sessionId}"}, f"{EVENT}/check-in"),
    Row("POST /api/v1/service-sessions/{id}/token", (403, 403, 503, 403, 403, 403), path=f"{EVENT}/token"),
    Row("GET /api/v1/services/{id}/completion", (200, 200, 200, 403, 200, 200),
        path="/api/v1/services/{service}/completion"),
    Row("GET /api/v1/services/{id}/completion", (200, 403, 200, 403, 200, 200),
        path="/api/v1/services/{service}/completion?client_id={ada}"),
    Row("POST /api/webhooks/livekit", (503,) * 6, {}, nobody=503),
    # Calendar
    Row("POST /api/v1/calendar/feed", (201, 201, 201, 201, 403, 403)),
    Row("DELETE /api/v1/calendar/feed", (404, 404, 404, 404, 403, 403)),
    Row("GET /api/feeds/{secret}.ics", (404,) * 6, path="/api/feeds/guessed.ics", nobody=404),
    Row("GET /api/v1/service-sessions/{id}.ics", ANYBODY, path=f"{EVENT}.ics"),
    Row("GET /api/v1/calendar", ANYBODY),
    # Orders
    Row(
        "POST /api/v1/orders",
        (201, 201, 403, 403, 422, 422), {"service_id": "{service}", "service_session_id": "{event}"},
    ),
    Row(
        "POST /api/v1/orders",
        (201, 403, 403, 403, 201, 201),
        {"service_id": "{service}", "service_session_id": "{event}", "client_id": "{ada}"},
    ),
    Row("GET /api/v1/orders", (200, 200, 403, 403, 200, 200), state="ordered"),
    Row("GET /api/v1/orders/{id}", (200, 404, 404, 404, 200, 200), path=ORDER, state="ordered"),
    Row(
        "GET /api/v1/orders/{id}/cancellation",
        (200, 404, 404, 404, 200, 200), path=f"{ORDER}/cancellation", state="ordered",
    ),
    Row("POST /api/v1/orders/{id}/cancel", (200, 404, 404, 404, 200, 403), {}, f"{ORDER}/cancel", "ordered"),
    Row("PUT /api/v1/orders/{id}/paid", (403, 404, 404, 404, 200, 200), {}, f"{ORDER}/paid", "ordered"),
    Row("GET /api/v1/bookings", ANYBODY, state="ordered"),
    Row(
        "PUT /api/v1/bookings/{id}/schedule",
        (200, 404, 403, 404, 200, 403),
        {"starts_at": "2026-03-20T09:00:00Z"}, "/api/v1/bookings/{draft}/schedule", "purchased",
    ),
    # Availability
    Row(
        "GET /api/availability/userid/{user_id}/slots/{date}",
        ANYBODY, path="/api/availability/userid/{number}/slots/2026-03-03",
    ),
    Row(
        "GET /api/availability/userid/{user_id}/consecutive-slots/{date}/{duration}",
        ANYBODY, path="/api/availability/userid/{number}/consecutive-slots/2026-03-03/30?excludeSessionId={sessionId}",
    ),
    Row("GET /api/availability", (403, 403, 200, 403, 200, 200), path=f"/api/availability{OF_GRACE}"),
    Row("POST /api/availability", (403, 403, 409, 403, 409, 409), {"timeSlots": []}, f"/api/availability{OF_GRACE}"),
    Row(
        "PUT /api/availability/{periodId}",
        (403, 403, 200, 403, 200, 200), HOURS, f"/api/availability/{{periodId}}{OF_GRACE}",
    ),
    Row(
        "DELETE /api/availability/{periodId}",
        (403, 403, 200, 403, 200, 200), path=f"/api/availability/{{periodId}}{OF_GRACE}",
    ),
    Row("DELETE /api/availability/{periodId}", (403, 403, 200, 404, 403, 403)),
    Row(
        "POST /api/availability/exceptions",
        (403, 403, 201, 403, 201, 201), {"date": "2026-05-01"}, f"/api/availability/exceptions{OF_GRACE}",
    ),
    Row(
        "DELETE /api/availability/exceptions/{exceptionId}",
        (403, 403, 200, 403, 200, 200), path=f"/api/availability/exceptions/{{exceptionId}}{OF_GRACE}",
    ),
    Row("GET /api/availability/blocks", (403, 403, 200, 403, 200, 200), path=f"/api/availability/blocks{OF_GRACE}"),
    Row(
        "POST /api/availability/blocks",
        (403, 403, 201, 403, 201, 201), BLOCK, f"/api/availability/blocks{OF_GRACE}",
    ),
    Row(
        "DELETE /api/availability/blocks/{blockId}",
        (403, 403, 200, 403, 200, 200), path=f"/api/availability/blocks/{{blockId}}{OF_GRACE}",
    ),
    # Experts
    Row("GET /api/users/experts", ANYBODY),
    Row("GET /api/experts/me", (403, 403, 200, 200, 403, 403)),
    Row("PUT /api/experts/me", (403, 403, 200, 200, 403, 403), {"name": "Grace H"}),
    Row("PUT /api/experts/me", (403, 403, 403, 403, 403, 403), {"userId": "{bo}"}),
    Row("POST /api/admin/experts", (403, 403, 403, 403, 201, 201), PROFILE | {"userId": "{nobody}"}),
    Row(
        "PUT /api/admin/experts/{expertId}",
        (403, 403, 403, 403, 200, 200), {"title": "Mentor"}, "/api/admin/experts/{grace}",
    ),
    # Messages: without a mail server
    Row(
        "POST /api/sessions/{id}/email",
        (403, 403, 403, 403, 503, 403), {"subject": "Hello", "text": "Tomorrow!"}, "/api/sessions/{sessionId}/email",
    ),
    # Events
    Row("GET /api/admin/events", (403, 403, 403, 403, 200, 403), path="/api/admin/events?after=0&limit=2"),
    Row("GET /api/admin/webhooks", (403, 403, 403, 403, 200, 403)),
    Row(
        "POST /api/admin/webhooks",
        (403, 403, 403, 403, 201, 403), {"url": "https://203.0.114.7/told", "events": ["*"]},
    ),
    Row("DELETE /api/admin/webhooks/{id}", (403, 403, 403, 403, 404, 403), path="/api/admin/webhooks/{ada}"),
    Row(
        "GET /api/admin/webhooks/{id}/deliveries",
        (403, 403, 403, 403, 404, 403), path="/api/admin/webhooks/{ada}/deliveries",
    ),
    Row(
        "POST /api/admin/webhooks/deliveries/{id}/replay",
        (403, 403, 403, 403, 404, 403), {}, "/api/admin/webhooks/deliveries/{ada}/replay",
    ),
    # Clients
    Row(
        "POST /api/admin/clients/{id}/merge",
        (403, 403, 403, 403, 200, 403), {"from": "{bo}"}, "/api/admin/clients/{ada}/merge",
    ),
    # Operations
    *(Row(f"GET {path}", ANYBODY, nobody=200) for path in ("/health/live", "/health/ready", "/metrics")),
    *(
        Row(f"GET {path}", ANYBODY, nobody=200)
        for path in ("/openapi.json", "/docs", "/docs/oauth2-redirect", "/redoc")
    ),
]  # fmt: skip


def routes(app: FastAPI) -> set[str]:
    return {
        f"{method} {route.path}"
        for route in iter_route_contexts(app.routes)
        for method in (route.methods or set()) - {"HEAD"}
    }


def test_the_table_lists_every_route_there_is(app: FastAPI) -> None:
    assert {row.route for row in ROWS} == routes(app)


@pytest.mark.parametrize("state", sorted({row.state for row in ROWS}))
async def test_everybody_gets_what_is_theirs_and_nothing_else(
    state: str, confiido: Confiido, clock: Clock, as_: Headers
) -> None:
    market = await open_marketplace(confiido, clock, state)
    expected, got, told, changed = {}, {}, [], []

    async with http_client(create_app(confiido)) as http:
        for row in (row for row in ROWS if row.state == state):
            method, route = row.route.split()
            path, body = market.filled(row.path or route), market.filled(row.body)
            for caller, status in zip(CALLERS, (row.nobody, *row.statuses), strict=True):
                actor = market.callers[caller]
                answer = await http.request(method, path, json=body, headers=as_(actor) if actor else {})
                expected[row.route, str(row.body), caller] = status
                got[row.route, str(row.body), caller] = answer.status_code
                told += [f"{caller} by {row.route}: {thing}" for thing in seen_too_much(market, caller, answer)]
                if method != "GET" and answer.is_success:
                    await market.again()
                elif method != "GET" and await raw(confiido) != market.begins:
                    changed.append(f"{caller} by {row.route}")
        if await raw(confiido) != market.begins:
            changed.append("somebody by a GET")

    assert got == expected
    assert told == []
    assert changed == []


async def test_of_holds_only_the_own_are_told_and_swept(confiido: Confiido, clock: Clock, as_: Headers) -> None:
    market = await open_marketplace(confiido, clock, "lapsed")
    named = market.filled({"sessionIds": ["{sessionId}", "{with_ken}", "{bos_session}"]})
    timeouts = market.filled({"timeouts": [{"bookingId": "{bookingId}", "sessionId": "{sessionId}"}]})
    told, swept = {}, {}

    async with http_client(create_app(confiido)) as http:
        for caller, actor in market.callers.items():
            if actor is None:
                continue
            status = await http.post("/api/bookings/timeout/status", json=named, headers=as_(actor))
            told[caller] = {each["sessionId"] for each in status.json()["data"]["sessionStatuses"]}
            sync = await http.post("/api/bookings/timeout/sync", json=timeouts, headers=as_(actor))
            swept[caller] = len(sync.json()["data"]["expiredSessions"])
            await market.again()

    adas, kens, bos = (market.ids[name] for name in ("sessionId", "with_ken", "bos_session"))
    assert told == {
        "client": {adas, kens},
        "other client": {bos},
        "expert": {adas},
        "other expert": {kens, bos},
        "admin": {adas, kens, bos},
        "service": {adas, kens, bos},
    }
    assert swept == {"client": 1, "other client": 0, "expert": 1, "other expert": 0, "admin": 1, "service": 1}


async def test_lists_hold_the_own_sessions_and_their_sums(confiido: Confiido, clock: Clock, as_: Headers) -> None:
    market = await open_marketplace(confiido, clock)
    counted = {}

    async with http_client(create_app(confiido)) as http:
        for caller, actor in market.callers.items():
            if actor is None:
                continue
            for path in (
                "/api/bookings",
                "/api/sessions",
                "/api/bookings?clientId={ada}",
                "/api/bookings?expertId={grace}",
            ):
                data = (await http.get(market.filled(path), headers=as_(actor))).json()["data"]
                counted[caller, path] = data["pagination"]["total"]
                assert data["stats"]["total"] <= counted[caller, "/api/bookings"]

    everything, of_ada, of_grace = "/api/bookings", "/api/bookings?clientId={ada}", "/api/bookings?expertId={grace}"
    for caller, total, adas, graces in (
        ("client", 2, 2, 1),
        ("other client", 1, 0, 0),
        ("expert", 1, 1, 1),
        ("other expert", 2, 1, 0),
        ("admin", 3, 2, 1),
        ("service", 3, 2, 1),
    ):
        seen = [counted[caller, path] for path in (everything, "/api/sessions", of_ada, of_grace)]
        assert seen == [total, total, adas, graces], caller


async def test_an_expert_without_a_session_or_without_a_profile_sees_nothing_of_a_client(
    confiido: Confiido, clock: Clock, as_: Headers
) -> None:
    market = await open_marketplace(confiido, clock)
    stranger = await make_expert(confiido)
    callers = [Actor.expert(stranger.user_id), Actor.expert(market.callers["client"].id)]  # type: ignore[union-attr]
    paths = ("/api/bookings/{bookingId}", "/api/bookings/{bookingId}/sessions/{sessionId}", "/api/sessions/{sessionId}")

    async with http_client(create_app(confiido)) as http:
        answers = [await http.get(market.filled(path), headers=as_(caller)) for caller in callers for path in paths]
        lists = [await http.get("/api/bookings", headers=as_(caller)) for caller in callers]

    assert [answer.status_code for answer in answers] == [404] * 6
    assert [answer.json()["data"]["pagination"]["total"] for answer in lists] == [0, 0]


async def test_what_is_not_there_and_what_is_not_theirs_answer_alike(
    confiido: Confiido, clock: Clock, as_: Headers
) -> None:
    market = await open_marketplace(confiido, clock)
    foreign = as_(market.callers["other client"])  # type: ignore[arg-type]
    pairs = [("{bookingId}", "{sessionId}"), ("{nobody}", "{nobody}")]
    calls = [
        (method, market.filled(path), body)
        for booking, session in pairs
        for method, path, body in (
            ("GET", f"/api/bookings/{booking}", None),
            ("GET", f"/api/bookings/{booking}/sessions/{session}", None),
            ("GET", f"/api/sessions/{session}", None),
            ("PUT", f"/api/bookings/{booking}/cancel", {"sessionId": market.filled(session)}),
            ("PUT", f"/api/bookings/{booking}/confirm", {"sessionId": market.filled(session)}),
            ("PUT", f"/api/bookings/{booking}/complete-payment", {"sessionId": market.filled(session)}),
            ("PATCH", f"/api/bookings/{booking}/sessions/{session}", {"notes": "x"}),
        )
    ]

    async with http_client(create_app(confiido)) as http:
        answers = [await _answer(http, method, path, body, foreign) for method, path, body in calls]

    half = len(answers) // 2
    assert answers[:half] == answers[half:]
    assert {status for status, _ in answers} == {404}


async def _answer(
    http: httpx.AsyncClient, method: str, path: str, body: object, headers: dict[str, str]
) -> tuple[int, bytes]:
    answer = await http.request(method, path, json=body, headers=headers)
    return answer.status_code, answer.content
