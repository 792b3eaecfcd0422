"""For any mixture of old documents: in = out + quarantined, Σ price in = out, and every reason is a known one."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from bson import Decimal128, ObjectId
from hypothesis import given, settings
from hypothesis import strategies as st

from confiido_booking.bookings import totals
from confiido_booking.bookings.models import Session
from confiido_booking.database.documents import to_mongo
from confiido_booking.migration.rules import FLAGS, REASONS
from confiido_booking.migration.samples import IRREGULARITIES, Samples
from tests.migration.harness import becomes

ids = st.sampled_from([ObjectId(f"68b5000000000000000000{n:02d}") for n in range(8)])
rubbish: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=12),
    st.datetimes(timezones=st.just(UTC)),
    st.decimals(allow_nan=True).map(str),
    ids,
    ids.map(str),
    st.sampled_from(
        [
            {"$oid": "x"},
            {"$date": "soon"},
            {"$numberDecimal": "1.5"},
            {},
            [],
            [1],
            {"a": {"b": 1}},
            Decimal128("NaN"),
            Decimal128("7.125"),
            "9:30",
            "2025-09-12",
            "Confirmed",
            "INR",
        ]
    ),
)
FIELDS = [
    "_id",
    "clientId",
    "clientUserId",
    "clientEmail",
    "expertId",
    "expertUserId",
    "expertEmail",
    "sessionType",
    "duration",
    "scheduledDate",
    "startTime",
    "endTime",
    "status",
    "price",
    "currency",
    "paymentStatus",
    "finalAmount",
    "refundAmount",
    "notes",
    "createdAt",
    "updatedAt",
    "createdTime",
    "timeoutAt",
    "timeoutStatus",
    "cancelledBy",
    "cancellationTime",
    "rescheduleRequest",
    "rescheduleHistory",
    "sessions",
    "sessionId",
]


@st.composite
def dumps(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Sample documents, some spoilt by a known irregularity, some by rubbish in any field."""
    samples = Samples(seed=draw(st.integers(0, 10_000)), irregular=0.5, experts_count=3)
    documents = list(samples.documents(draw(st.integers(1, 8))))
    for document in documents:
        for name in draw(st.lists(st.sampled_from(FIELDS), max_size=3)):
            document[name] = draw(rubbish)
        for session in document["sessions"] if isinstance(document.get("sessions"), list) else []:
            if isinstance(session, dict):
                for name in draw(st.lists(st.sampled_from(FIELDS), max_size=2)):
                    session[name] = draw(rubbish)
    return documents


@settings(max_examples=60, deadline=None)
@given(dumps())
def test_nothing_is_lost_whatever_is_in_the_dump(documents: list[dict[str, Any]]) -> None:
    found = becomes(*documents)

    assert found.read == len(found.sessions) + len(found.quarantine)
    assert {reason for reason, _ in found.quarantine} <= set(REASONS)
    assert len({session["sessionId"] for session in found.sessions}) == len(found.sessions)
    assert len({client.id for client in found.clients}) == len(found.clients)
    for client in found.clients:
        for session in client.sessions:
            assert set(session["legacy"]["flags"]) <= set(FLAGS)
            assert to_mongo(Session.model_validate(session)).items() <= session.items()
        computed = totals.of(map(totals.line, client.sessions))
        assert to_mongo(computed) == client.booking["totals"]


@settings(max_examples=20, deadline=None)
@given(dumps())
def test_the_same_dump_gives_the_same_documents(documents: list[dict[str, Any]]) -> None:
    one, other = becomes(*documents), becomes(*documents)

    assert [client.booking for client in one.clients] == [client.booking for client in other.clients]
    assert one.quarantine == other.quarantine or str(one.quarantine) == str(other.quarantine)


def test_every_known_irregularity_migrates_or_says_why_not() -> None:
    samples = Samples(seed=2, irregular=1.0)
    documents = list(samples.documents(4 * len(IRREGULARITIES)))

    found = becomes(*documents, users=list(samples.users(len(documents))), experts=list(samples.experts()))

    assert found.read == len(found.sessions) + len(found.quarantine)
    assert {"currency_unknown", "price_missing", "status_unknown"} <= {reason for reason, _ in found.quarantine}
    assert {"across_midnight", "conflict", "expert_gone", "session_id_derived"} <= {
        flag for session in found.sessions for flag in session["legacy"]["flags"]
    }


def test_no_price_changes_on_the_way() -> None:
    samples = Samples(seed=9, irregular=0)
    documents = list(samples.documents(300))
    expected: dict[str, Decimal] = {}
    for document in documents:
        parts = [*document.get("sessions", []), *([document] if "price" in document else [])]
        for part in parts:
            expected[part["currency"]] = expected.get(part["currency"], Decimal(0)) + Decimal(str(part["price"]))

    found = becomes(*documents)

    actual: dict[str, Decimal] = {}
    for session in found.sessions:
        currency = session["currency"]
        actual[currency] = actual.get(currency, Decimal(0)) + session["price"].to_decimal()
    assert actual == expected
    assert found.quarantine == []
    assert min(session["createdTime"] for session in found.sessions) >= datetime(2025, 8, 9, tzinfo=UTC)
