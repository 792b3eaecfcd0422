"""A session's life over HTTP, with the frontend's own requests (FRONTEND 2.4-2.6, 2.8-2.10, 3)."""

from typing import Any

import httpx
import pytest

from api.app import create_app
from confiido_booking.actors import Actor
from confiido_booking.client import Confiido
from confiido_booking.experts.models import Expert
from tests.api.conftest import Headers, http_client, wish
from tests.builders import Clock, a_client, a_service, an_admin, an_expert, make_expert

Booked = dict[str, Any]


async def booked(
    http: httpx.AsyncClient, as_: Headers, client: Actor, expert: Expert, **overrides: object
) -> tuple[str, Booked]:
    """The path of a fresh booking, and its session."""
    answer = await http.post("/api/bookings", json=wish(expert, **overrides), headers=as_(client))
    assert answer.status_code == 201, answer.text
    data = answer.json()["data"]
    return f"/api/bookings/{data['booking']['_id']}", data["session"]


async def test_the_expert_confirms_and_completes(
    http: httpx.AsyncClient, as_: Headers, ada: Actor, grace: Expert
) -> None:
    path, session = await booked(http, as_, ada, grace)
    named, mentor = {"sessionId": session["sessionId"]}, as_(an_expert(grace))

    confirmed = await http.put(f"{path}/confirm", json=named, headers=mentor)
    completed = await http.put(f"{path}/complete", json=named, headers=mentor)

    assert confirmed.json()["message"] == "Session confirmed successfully"
    assert confirmed.json()["data"]["session"]["status"] == "confirmed"
    assert completed.json()["message"] == "Session marked as completed"
    assert completed.json()["data"]["session"]["status"] == "completed"
    assert confirmed.headers["etag"] != completed.headers["etag"]


async def test_a_refused_transition_tells_the_status(
    http: httpx.AsyncClient, as_: Headers, ada: Actor, grace: Expert
) -> None:
    path, session = await booked(http, as_, ada, grace)
    named = {"sessionId": session["sessionId"]}

    answer = await http.put(f"{path}/complete", json=named, headers=as_(an_expert(grace)))

    assert answer.status_code == 409
    assert answer.json()["details"] == {"status": "pending"}
    assert answer.json()["error"]


async def test_a_client_may_not_confirm_and_another_expert_sees_nothing(
    http: httpx.AsyncClient, as_: Headers, ada: Actor, grace: Expert, confiido: Confiido
) -> None:
    path, session = await booked(http, as_, ada, grace)
    named, other = {"sessionId": session["sessionId"]}, an_expert(await make_expert(confiido))

    own = await http.put(f"{path}/confirm", json=named, headers=as_(ada))
    foreign = await http.put(f"{path}/confirm", json=named, headers=as_(other))

    assert (own.status_code, own.json()["error"]) == (403, "Not authorized to confirm this session")
    assert foreign.status_code == 404


async def test_a_client_cancels_with_a_reason(http: httpx.AsyncClient, as_: Headers, ada: Actor, grace: Expert) -> None:
    path, session = await booked(http, as_, ada, grace)
    asked = {"sessionId": session["sessionId"], "reason": "I am ill"}

    answer = await http.put(f"{path}/cancel", json=asked, headers=as_(ada))
    again = await http.post("/api/bookings", json=wish(grace), headers=as_(a_client()))

    cancelled = answer.json()["data"]["session"]
    assert answer.json()["message"] == "Session cancelled successfully"
    assert (cancelled["status"], cancelled["cancelledBy"], cancelled["cancellationReason"]) == (
        "cancelled",
        "client",
        "I am ill",
    )
    assert answer.json()["data"]["booking"]["totalSpent"] == 0
    assert again.status_code == 201


async def test_a_no_show_is_marked_after_the_start_and_undone(
    http: httpx.AsyncClient, as_: Headers, ada: Actor, grace: Expert, clock: Clock
) -> None:
    path, session = await booked(http, as_, ada, grace)
    named, mentor = {"sessionId": session["sessionId"]}, as_(an_expert(grace))
    await http.put(f"{path}/confirm", json=named, headers=mentor)

    early = await http.put(f"{path}/no-show", json=named, headers=mentor)
    clock.advance(days=1)
    marked = await http.put(f"{path}/no-show", json=named, headers=mentor)
    undone = await http.put(f"{path}/undo", json={**named, "reason": "came late"}, headers=mentor)

    assert (early.status_code, marked.status_code, undone.status_code) == (409, 200, 200)
    assert undone.json()["data"]["session"]["status"] == "confirmed"


async def test_a_clients_word_is_no_payment(http: httpx.AsyncClient, as_: Headers, ada: Actor, grace: Expert) -> None:
    path, session = await booked(http, as_, ada, grace)
    paid = {"sessionId": session["sessionId"], "paymentMethod": "online", "loyaltyPointsUsed": 0}

    refused = await http.put(f"{path}/complete-payment", json=paid, headers=as_(ada))
    by_expert = await http.put(f"{path}/complete-payment", json=paid, headers=as_(an_expert(grace)))
    recorded = await http.put(f"{path}/complete-payment", json=paid, headers=as_(a_service()))

    assert (refused.status_code, refused.json()["code"]) == (402, "payment_not_verified")
    assert by_expert.status_code == 403
    assert recorded.json()["message"] == "Payment completed successfully"
    session = recorded.json()["data"]["session"]
    assert (session["status"], session["paymentStatus"], session["paidAmount"]) == ("confirmed", "paid", 20)


async def test_a_trusted_clients_word_is_a_payment(confiido: Confiido, as_: Headers, ada: Actor, grace: Expert) -> None:
    settings = confiido.settings.model_copy(update={"trust_client_payments": True})
    trusting = Confiido.over(confiido.store, settings, confiido.clock)
    async with http_client(create_app(trusting)) as http:
        path, session = await booked(http, as_, ada, grace)
        paid = {"sessionId": session["sessionId"], "paymentMethod": "online", "loyaltyPointsUsed": 0}

        answer = await http.put(f"{path}/complete-payment", json=paid, headers=as_(ada))

    assert answer.status_code == 200
    assert answer.json()["data"]["session"]["status"] == "confirmed"


async def test_an_expired_session_is_cancelled_on_the_timers_word(
    http: httpx.AsyncClient, as_: Headers, ada: Actor, grace: Expert, clock: Clock
) -> None:
    path, session = await booked(http, as_, ada, grace)
    named = {"sessionId": session["sessionId"]}

    early = await http.put(f"{path}/cancel-expired-session", json=named, headers=as_(ada))
    clock.advance(minutes=31)
    late = await http.put(f"{path}/cancel-expired-session", json=named, headers=as_(ada))

    assert (early.status_code, early.json()["error"]) == (409, "Session is not expired or not in pending status")
    assert late.json()["message"] == "Expired session cancelled successfully"
    assert late.json()["data"]["session"]["cancelledBy"] == "system"


async def test_timeouts_are_synced_for_the_own_sessions_only(
    http: httpx.AsyncClient, as_: Headers, ada: Actor, grace: Expert, clock: Clock
) -> None:
    path, session = await booked(http, as_, ada, grace)
    timeout = {"bookingId": path.rsplit("/", 1)[1], "sessionId": session["sessionId"], "timeoutAt": "x"}
    clock.advance(minutes=31)

    foreign = await http.post("/api/bookings/timeout/sync", json={"timeouts": [timeout]}, headers=as_(a_client()))
    own = await http.post("/api/bookings/timeout/sync", json={"timeouts": [timeout]}, headers=as_(ada))
    stored = await http.get(f"{path}/sessions/{session['sessionId']}", headers=as_(ada))

    assert foreign.json()["data"] == {"expiredSessions": []}
    assert own.json()["message"] == "Synced 1 timeouts, 1 sessions expired"
    assert own.json()["data"]["expiredSessions"] == [
        {
            "bookingId": timeout["bookingId"],
            "sessionId": session["sessionId"],
            "status": "cancelled",
            "reason": "The hold expired before it was paid",
        }
    ]
    assert stored.json()["data"]["session"]["version"] == 2


async def test_timeout_status_tells_only_the_owner(
    http: httpx.AsyncClient, as_: Headers, ada: Actor, grace: Expert
) -> None:
    path, session = await booked(http, as_, ada, grace)
    asked = {"sessionIds": [session["sessionId"], str(ada.id)]}

    own = await http.post("/api/bookings/timeout/status", json=asked, headers=as_(ada))
    foreign = await http.post("/api/bookings/timeout/status", json=asked, headers=as_(a_client()))

    assert own.json()["data"]["sessionStatuses"] == [
        {
            "sessionId": session["sessionId"],
            "bookingId": path.rsplit("/", 1)[1],
            "status": "pending",
            "timeoutAt": session["timeoutAt"],
            "timeoutStatus": "active",
        }
    ]
    assert foreign.json()["data"]["sessionStatuses"] == []


async def test_a_missing_list_of_timeouts_has_the_frontends_sentence(
    http: httpx.AsyncClient, as_: Headers, ada: Actor
) -> None:
    answer = await http.post("/api/bookings/timeout/sync", json={}, headers=as_(ada))

    assert (answer.status_code, answer.json()["error"]) == (422, "Timeouts array is required")


async def test_the_client_asks_and_the_expert_approves_another_time(
    http: httpx.AsyncClient, as_: Headers, ada: Actor, grace: Expert
) -> None:
    path, session = await booked(http, as_, ada, grace)
    where, mentor = f"{path}/sessions/{session['sessionId']}", as_(an_expert(grace))
    await http.put(f"{path}/confirm", json={"sessionId": session["sessionId"]}, headers=mentor)
    other_time = {"scheduledDate": "2026-03-04", "startTime": "9:30", "reason": ""}

    asked = await http.post(f"{where}/reschedule-request", json=other_time, headers=as_(ada))
    twice = await http.post(f"{where}/reschedule-request", json=other_time, headers=as_(ada))
    approve = {"action": "approve", "mentorNote": "Fine with me"}
    approved = await http.post(f"{where}/reschedule-request/respond", json=approve, headers=mentor)

    request = asked.json()["data"]["session"]["rescheduleRequest"]
    assert asked.json()["message"] == "Reschedule request sent to mentor"
    assert (request["status"], request["requestedBy"], request["requestedDate"], request["requestedStartTime"]) == (
        "pending",
        "client",
        "2026-03-04",
        "09:30",
    )
    assert twice.status_code == 409
    assert twice.json()["error"] == "There is already a pending reschedule request for this session"
    assert approved.json()["message"] == "Session rescheduled successfully"
    moved = approved.json()["data"]["session"]
    assert (moved["sessionId"], moved["scheduledDate"], moved["startTime"]) == (
        session["sessionId"],
        "2026-03-04",
        "09:30",
    )


async def test_the_expert_rejects_or_moves_by_the_own_word(
    http: httpx.AsyncClient, as_: Headers, ada: Actor, grace: Expert
) -> None:
    path, session = await booked(http, as_, ada, grace)
    where, mentor = f"{path}/sessions/{session['sessionId']}", as_(an_expert(grace))
    await http.put(f"{path}/confirm", json={"sessionId": session["sessionId"]}, headers=mentor)
    other_time = {"scheduledDate": "2026-03-04", "startTime": "14:00"}
    await http.post(f"{where}/reschedule-request", json=other_time, headers=as_(ada))

    rejected = await http.post(f"{where}/reschedule-request/respond", json={"action": "reject"}, headers=mentor)
    moved = await http.put(f"{where}/reschedule", json=other_time, headers=mentor)
    by_client = await http.put(f"{where}/reschedule", json=other_time, headers=as_(ada))
    nonsense = await http.post(f"{where}/reschedule-request/respond", json={"action": "maybe"}, headers=mentor)

    assert rejected.json()["message"] == "Reschedule request rejected"
    assert moved.json()["message"] == "Session rescheduled successfully"
    assert len(moved.json()["data"]["session"]["rescheduleHistory"]) == 1
    assert (by_client.status_code, nonsense.status_code) == (403, 422)


@pytest.mark.parametrize("action", ["confirm", "complete", "cancel", "complete-payment", "no-show"])
async def test_a_booking_that_is_not_there_is_404(
    http: httpx.AsyncClient, as_: Headers, grace: Expert, action: str
) -> None:
    named = {"sessionId": str(grace.id)}

    answer = await http.put(f"/api/bookings/{grace.id}/{action}", json=named, headers=as_(an_admin()))

    assert (answer.status_code, answer.json()["error"]) == (404, "Booking not found")


async def test_a_migrated_session_answers_to_its_older_id(
    http: httpx.AsyncClient, as_: Headers, ada: Actor, grace: Expert, confiido: Confiido
) -> None:
    path, session = await booked(http, as_, ada, grace)
    older = an_admin().id
    await confiido.store.update("give an older id", "bookings", {}, {"$set": {"sessions.0._id": older}})

    read = await http.get(f"{path}/sessions/{older}", headers=as_(ada))
    confirmed = await http.put(f"{path}/confirm", json={"sessionId": str(older)}, headers=as_(an_expert(grace)))

    assert read.json()["data"]["session"]["_id"] == str(older)
    assert confirmed.status_code == 200
    assert confirmed.json()["data"]["session"]["sessionId"] == session["sessionId"]
