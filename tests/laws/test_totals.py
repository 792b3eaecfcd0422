"""L2: the totals are defined once and hold in three places: Python, the update pipeline and the pre-save hook.

Any mix of sessions in every state, of three currencies with 0, 2 and 3 decimals, with archived sums, gives the same
sums by all of them. The engine computes many documents of an example at once.
"""

from decimal import Decimal
from typing import Any

from bson import Decimal128, ObjectId
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from confiido_booking import Confiido
from confiido_booking.bookings import totals
from confiido_booking.bookings.models import Booking
from confiido_booking.bookings.statuses import PaymentStatus, SessionStatus
from confiido_booking.database.store import Document

DECIMALS = {"JPY": 0, "INR": 2, "KWD": 3}


def amounts(code: str) -> st.SearchStrategy[Decimal128]:
    return st.integers(0, 10**9).map(lambda units: Decimal128(Decimal(units).scaleb(-DECIMALS[code])))


@st.composite
def sessions(draw: st.DrawFn) -> Document:
    code = draw(st.sampled_from(sorted(DECIMALS)))
    session: Document = {
        "sessionId": ObjectId(),
        "sessionType": "video",
        "duration": 30,
        "status": draw(st.sampled_from(SessionStatus)).value,
        "paymentStatus": draw(st.sampled_from(PaymentStatus)).value,
        "currency": code,
        "price": draw(amounts(code)),
    }
    for name in ("paidAmount", "refundAmount", "refundDue"):
        if draw(st.booleans()):
            session[name] = draw(amounts(code))
    return session


@st.composite
def bookings(draw: st.DrawFn) -> Document:
    archived = {
        code: {name: draw(amounts(code)) for name in totals.SUMS}
        for code in draw(st.sets(st.sampled_from(sorted(DECIMALS))))
    }
    return {
        "_id": ObjectId(),
        "clientId": ObjectId(),
        "currency": draw(st.sampled_from(sorted(DECIMALS))),
        "sessions": draw(st.lists(sessions(), max_size=6)),
        "archived": {"sessions": len(archived), "sums": archived},
    }


def exact(stored: Any) -> dict[str, dict[str, Decimal]]:
    return {code: {name: value.to_decimal() for name, value in sums.items()} for code, sums in stored.items()}


@given(batch=st.lists(bookings(), min_size=1, max_size=25))
@settings(
    max_examples=15,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
async def test_python_pipeline_and_hook_agree(confiido: Confiido, batch: list[Document]) -> None:
    collection = confiido.store.collection("bookings")
    await collection.delete_many({})
    await collection.insert_many(batch)

    await collection.update_many({}, totals.stages())

    stored = {document["_id"]: document async for document in collection.find()}
    for booking in batch:
        expected = totals.of(map(totals.line, booking["sessions"]), booking["archived"]["sums"])
        spent = expected.get(booking["currency"], {}).get("booked", Decimal(0))
        count = len(booking["sessions"]) + booking["archived"]["sessions"]
        document = stored[booking["_id"]]
        assert exact(document["totals"]) == expected
        assert (document["totalSpent"].to_decimal(), document["totalSessions"]) == (spent, count)
        hooked = Booking.model_validate(booking)
        hooked.recompute_totals()
        assert {code: sums.model_dump() for code, sums in hooked.totals.items()} == expected
        assert (hooked.total_spent, hooked.total_sessions) == (spent, count)
