"""HISTORY 3: each of the 21 irregularities, named after its row, and the decisions of HISTORY 5 and 6."""

from datetime import UTC, datetime, timedelta

import pytest
from bson import Decimal128, ObjectId

from tests.migration.harness import AS_OF, CLIENT, CREATED, EXPERT, becomes, flat, inner, nested

FUTURE = datetime(2026, 3, 9, tzinfo=UTC)
ADA = {"_id": CLIENT, "user_id": "9062", "email": "ada@example.org", "firstName": "Ada", "lastName": "L"}
GRACE = {"_id": ObjectId(), "user_id": "1534", "email": "grace@example.org", "firstName": "Grace"}
PROFILE = {"_id": EXPERT, "userId": GRACE["_id"]}


def test_01_missing_people_are_filled_in_from_users_and_experts() -> None:
    document = flat(clientUserId=None, clientEmail=None, expertUserId=None, expertEmail=None)

    found = becomes(document, users=[ADA, GRACE], experts=[PROFILE])

    booking = found.clients[0].booking
    assert (booking["clientUserId"], booking["clientEmail"], booking["clientName"]) == ("9062", ADA["email"], "Ada L")
    assert (found.session["expertUserId"], found.session["expertEmail"]) == ("1534", "grace@example.org")
    assert "people_filled_in" in found.flags_of()


def test_01_a_client_who_cannot_be_known_is_quarantined_and_never_invented() -> None:
    found = becomes(flat(clientId=None, clientEmail=None))

    assert found.reason == "client_unknown"
    assert found.quarantine[0][1]["price"] == 750


def test_01_a_client_known_only_by_email_migrates_and_two_spellings_are_one_client() -> None:
    found = becomes(
        flat(clientId=None, clientEmail="Ada@Example.org "),
        flat(clientId=None, clientEmail="ada@example.org", scheduledDate=datetime(2025, 9, 13, tzinfo=UTC)),
    )

    assert len(found.clients) == 1
    assert len(found.sessions) == 2
    assert "client_by_email" in found.flags_of()


def test_01_a_session_with_no_trace_of_an_expert_is_quarantined() -> None:
    assert becomes(flat(expertId=None, expertUserId="0000", expertEmail=None)).reason == "expert_unknown"


@pytest.mark.parametrize("number", ["0000", "kJ3mQ0xT7uVbY1zR5wNpL8sDfGhA", "12345"])
def test_02_a_shared_or_foreign_number_is_never_used_as_a_key(number: str) -> None:
    other = ObjectId()

    found = becomes(flat(clientUserId=number), flat(clientUserId=number, clientId=other))

    assert {client.id for client in found.clients} == {CLIENT, other}
    assert all("clientUserId" not in client.booking for client in found.clients)
    assert "shared_number" in found.flags_of()


@pytest.mark.parametrize(
    ("stored", "code"), [("USD", "USD"), ("inr", "INR"), ("₹", "INR"), ("Rs.", "INR"), ("€", "EUR"), ("KWD", "KWD")]
)
def test_03_a_currency_is_kept_and_only_its_spelling_is_mended(stored: str, code: str) -> None:
    assert becomes(flat(currency=stored)).session["currency"] == code


def test_03_currencies_are_never_added_together() -> None:
    found = becomes(flat(currency="USD", price=25), flat(createdAt=CREATED + timedelta(days=1)))

    booking = found.clients[0].booking
    assert booking["currency"] == "USD"  # HISTORY 6: that of the earliest session by booking time
    assert booking["totalSpent"] == Decimal128("25.00")
    assert booking["totals"]["INR"]["booked"] == Decimal128("750.00")
    assert "currency_other" in found.flags_of()


def test_03_an_unknown_currency_is_quarantined() -> None:
    assert becomes(flat(currency="XXQ")).reason == "currency_unknown"


def test_03_a_bare_dollar_is_quarantined_unless_a_parameter_says_which() -> None:
    assert becomes(flat(currency="$")).reason == "currency_ambiguous"
    assert becomes(flat(currency="$"), dollar="CAD").session["currency"] == "CAD"


def test_03_no_currency_is_the_parameters() -> None:
    found = becomes(flat(currency=None), currency="EUR")

    assert found.session["currency"] == "EUR"
    assert "currency_assumed" in found.flags_of()


def test_04_a_profile_price_below_100_rupees_is_kept_and_flagged() -> None:
    found = becomes(flat(price=49.99))

    assert found.session["price"] == Decimal128("49.99")
    assert "price_suspicious" in found.flags_of()


@pytest.mark.parametrize(
    ("stored", "exact"),
    [("25.00", "25.00"), (Decimal128("33.3"), "33.30"), (24.999999, "25.00"), ("1,250.50", "1250.50"), (20, "20.00")],
)
def test_05_a_price_of_any_shape_becomes_exact(stored: object, exact: str) -> None:
    assert becomes(flat(price=stored)).session["price"] == Decimal128(exact)


def test_05_a_rounded_price_is_flagged_and_the_original_kept() -> None:
    found = becomes(flat(price=24.999999))

    assert "price_rounded" in found.flags_of()
    assert found.session["legacy"]["fields"]["price"] == 24.999999


@pytest.mark.parametrize("stored", [None, ""])
def test_05_no_price_is_quarantined_or_zero_as_a_parameter_says(stored: object) -> None:
    document = flat()
    document["price"] = stored

    assert becomes(document).reason == "price_missing"
    zero = becomes(document, missing_price="zero")
    assert zero.session["price"] == Decimal128("0.00")
    assert "price_missing_as_zero" in zero.flags_of()


@pytest.mark.parametrize("stored", ["free", -5, True, float("nan"), 1e15])
def test_05_what_is_no_price_is_quarantined(stored: object) -> None:
    assert becomes(flat(price=stored)).reason == "price_invalid"


def test_06_one_digit_hours_are_padded_and_compared_as_times() -> None:
    found = becomes(flat(startTime="9:30", endTime="10:30"))

    assert (found.session["startTime"], found.session["endTime"]) == ("09:30", "10:30")
    assert "one_digit_hour" in found.flags_of()
    assert "end_disagrees" not in found.flags_of()


def test_06_a_12_hour_clock_is_understood_and_nonsense_is_not() -> None:
    assert becomes(flat(startTime="9:30 PM", endTime=None)).session["startTime"] == "21:30"
    assert becomes(flat(startTime="12:05 am", endTime=None)).session["startTime"] == "00:05"
    assert becomes(flat(startTime="25:00", endTime=None)).reason == "time_invalid"
    assert becomes(flat(startTime="13:00 PM", endTime=None)).reason == "time_invalid"


def test_07_a_session_across_midnight_ends_on_the_next_day() -> None:
    found = becomes(flat(startTime="23:30", endTime="00:30"))

    assert found.session["endsAt"] - found.session["startsAt"] == timedelta(hours=1)
    assert found.session["endsAt"] == datetime(2025, 9, 12, 19, 0, tzinfo=UTC)
    assert "across_midnight" in found.flags_of()
    assert "end_disagrees" not in found.flags_of()


def test_08_the_duration_wins_over_an_end_that_disagrees() -> None:
    found = becomes(flat(endTime="12:45"))

    assert found.session["endTime"] == "11:00"
    assert "end_disagrees" in found.flags_of()
    assert found.session["legacy"]["fields"]["endTime"] == "12:45"


def test_08_a_duration_as_text_too_short_or_missing() -> None:
    assert becomes(flat(duration="30", endTime=None)).session["duration"] == 30
    assert "duration_short" in becomes(flat(duration=10, endTime=None)).flags_of()
    assert becomes(flat(duration=None, endTime="11:30")).session["duration"] == 90
    assert becomes(flat(duration=None, endTime=None)).reason == "duration_missing"
    assert becomes(flat(duration="an hour", endTime=None)).reason == "duration_invalid"
    assert becomes(flat(duration=0, endTime=None)).reason == "duration_invalid"


@pytest.mark.parametrize(
    "stored",
    [
        datetime(2025, 9, 12, tzinfo=UTC),
        "2025-09-12",
        "2025-09-12T00:00:00.000+00:00",
        1757635200000,
        datetime(2025, 9, 11, 18, 30, tzinfo=UTC),
        "2025-09-12T05:30:00+05:30",
        {"$date": "2025-09-12T00:00:00Z"},
        {"$date": {"$numberLong": "1757635200000"}},
    ],
)
def test_09_a_date_of_any_shape_is_one_calendar_day(stored: object) -> None:
    assert becomes(flat(scheduledDate=stored)).session["scheduledDate"] == datetime(2025, 9, 12, tzinfo=UTC)


def test_09_indian_midnight_and_a_time_of_day_are_flagged() -> None:
    midnight = becomes(flat(scheduledDate=datetime(2025, 9, 11, 18, 30, tzinfo=UTC)))
    afternoon = becomes(flat(scheduledDate=datetime(2025, 9, 11, 18, 31, tzinfo=UTC)))

    assert "date_is_local_midnight" in midnight.flags_of()
    assert "date_with_time" in afternoon.flags_of()
    assert afternoon.session["scheduledDate"] == datetime(2025, 9, 11, tzinfo=UTC)


def test_09_what_is_no_date_is_quarantined() -> None:
    assert becomes(flat(scheduledDate="soon")).reason == "date_invalid"
    assert becomes(flat(scheduledDate=None)).reason == "date_missing"
    assert becomes(flat(startTime=None, endTime=None)).reason == "time_missing"


def test_10_wall_times_are_of_the_zone_that_is_a_parameter() -> None:
    assert becomes(flat()).session["startsAt"] == datetime(2025, 9, 12, 4, 30, tzinfo=UTC)
    assert becomes(flat(), timezone="Europe/Berlin").session["startsAt"] == datetime(2025, 9, 12, 8, 0, tzinfo=UTC)


def test_10_a_wall_time_that_the_clock_skipped_is_quarantined() -> None:
    skipped = flat(scheduledDate="2026-03-29", startTime="02:30", endTime="03:30")

    assert becomes(skipped, timezone="Europe/Berlin").reason == "time_skipped"


def test_11_a_double_booking_is_kept_and_the_one_booked_first_stands() -> None:
    late = flat(clientId=ObjectId(), startTime="10:30", endTime="11:30", createdAt=CREATED + timedelta(days=1))
    early = flat()

    found = becomes(late, early)

    flags = {session["sessionId"]: session["legacy"]["flags"] for session in found.sessions}
    assert "conflict" in flags[late["_id"]]
    assert "conflict" not in flags[early["_id"]]


def test_11_a_double_booking_to_come_claims_no_minutes_and_is_exempt() -> None:
    common = {"status": "confirmed", "scheduledDate": FUTURE}
    early = flat(**common)
    late = flat(**common, clientId=ObjectId(), createdAt=CREATED + timedelta(days=1))

    found = becomes(early, late)

    by_id = {session["sessionId"]: session for session in found.sessions}
    assert by_id[late["_id"]]["conflict"] is True
    assert "conflict" not in by_id[early["_id"]]
    assert [claim.session_id for client in found.clients for claim in client.claims] == [early["_id"]]


def test_11_a_clients_own_overlap_is_kept_and_marked() -> None:
    found = becomes(
        flat(status="confirmed", scheduledDate=FUTURE),
        flat(status="confirmed", scheduledDate=FUTURE, expertId=ObjectId(), expertEmail="b@example.org"),
    )

    assert sum("client_overlap" in session["legacy"]["flags"] for session in found.sessions) == 1


def test_12_a_session_booked_after_its_time_is_imported_as_it_is() -> None:
    found = becomes(flat(createdAt=datetime(2025, 9, 20, tzinfo=UTC)))

    assert found.session["status"] == "completed"
    assert "booked_after_start" in found.flags_of()


def test_13_a_double_click_is_reported_and_not_deleted() -> None:
    found = becomes(flat(), flat())

    assert len(found.sessions) == 2


def test_13_a_flat_document_that_is_nested_already_is_one_session() -> None:
    document = flat()

    found = becomes(document, nested(inner(sessionId=document["_id"], status="confirmed")))

    assert found.session["sessionId"] == document["_id"]
    assert found.session["status"] == "confirmed"  # the nested one is the newer state
    assert [reason for reason, _ in found.quarantine] == ["duplicate"]
    assert found.read == 2


def test_13_one_session_id_in_two_clients_documents_stays_two_sessions() -> None:
    shared = ObjectId()

    found = becomes(
        nested(inner(sessionId=shared)),
        nested(inner(sessionId=shared, scheduledDate="2025-09-14"), clientId=ObjectId()),
    )

    assert len({session["sessionId"] for session in found.sessions}) == 2
    assert any("session_id_reused" in session["legacy"]["flags"] for session in found.sessions)


def test_14_ids_and_dates_as_text_or_extended_json_are_coerced_and_counted() -> None:
    document = flat(
        clientId=str(CLIENT), expertId={"$oid": str(EXPERT)}, createdAt="2025-09-03T10:00:00Z", paymentStatus=True
    )

    found = becomes(document)

    assert found.clients[0].id == CLIENT
    assert found.session["expertId"] == EXPERT
    assert (found.session["paymentStatus"], found.session["createdTime"]) == ("paid", CREATED)
    assert {"object_id_from_text", "extended_json", "moment_from_text", "payment_from_flag"} <= set(found.coercions)


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("Booked", "confirmed"),
        ("CANCELED", "cancelled"),
        ("no_show", "no-show"),
        ("noshow", "no-show"),
        (" Completed ", "completed"),
        ("quoted", "quoted"),
        ("request", "requested"),
        ("Invoiced", "completed"),
    ],
)
def test_15_words_of_state_in_any_spelling(word: str, status: str) -> None:
    assert becomes(flat(status=word)).session["status"] == status


def test_15_an_unknown_word_is_quarantined_and_never_pending() -> None:
    assert becomes(flat(status="zombie")).reason == "status_unknown"
    assert becomes(flat(status=None)).reason == "status_missing"
    assert becomes(flat(paymentStatus="maybe")).reason == "payment_status_unknown"


def test_15_invoiced_is_not_paid_unless_it_says_so() -> None:
    assert becomes(flat(status="invoiced", paymentStatus=None)).session["paymentStatus"] == "pending"
    assert becomes(flat(status="paid", paymentStatus=None)).session["paymentStatus"] == "paid"


def test_16_completed_by_payment_before_it_took_place_is_confirmed() -> None:
    found = becomes(flat(scheduledDate=FUTURE))

    assert found.session["status"] == "confirmed"
    assert "payment_contradiction" in found.flags_of()


def test_16_confirmed_with_a_cancellation_is_kept_and_listed() -> None:
    found = becomes(flat(status="confirmed", cancelledBy="client", cancellationTime=CREATED))

    assert found.session["status"] == "confirmed"
    assert "confirmed_with_cancellation" in found.flags_of()


def test_16_a_pending_session_past_its_deadline_is_an_expired_hold() -> None:
    deadline = CREATED + timedelta(minutes=5)

    found = becomes(
        nested(inner(status="pending", paymentStatus="pending", timeoutAt=deadline, timeoutStatus="active"))
    )

    session = found.session
    assert (session["status"], session["cancelledBy"], session["timeoutStatus"]) == ("cancelled", "system", "expired")
    assert session["cancellationTime"] == deadline
    assert "hold_expired" in found.flags_of()


def test_16_an_old_pending_session_without_a_deadline_is_stale_or_kept() -> None:
    document = flat(status="pending", paymentStatus="pending")

    stale, kept = becomes(document), becomes(document, stale_pending="keep")

    assert (stale.session["status"], stale.session["cancellationReason"]) == ("cancelled", "stale_at_migration")
    assert kept.session["status"] == "pending"


def test_16_a_pending_session_to_come_stays_pending_without_a_hold() -> None:
    session = becomes(flat(status="pending", paymentStatus="pending", scheduledDate=FUTURE)).session

    assert session["status"] == "pending"
    assert "timeoutAt" not in session


def test_16_what_was_paid_is_the_final_amount_where_stored() -> None:
    assert becomes(flat(finalAmount=700)).session["paidAmount"] == Decimal128("700.00")
    assert becomes(flat()).session["paidAmount"] == Decimal128("750.00")
    refunded = becomes(flat(status="cancelled", paymentStatus="refunded")).session
    assert refunded["refundAmount"] == refunded["paidAmount"]


def test_17_an_expert_is_found_by_id_then_user_then_email_then_a_number_of_one_only() -> None:
    people = {"users": [ADA, GRACE], "experts": [PROFILE]}

    def found_by(**keys: object) -> object:
        cleared = {"expertId": None, "expertUserId": None, "expertEmail": None}
        return becomes(flat(**{**cleared, **keys}), **people).session.get("expertId")

    assert found_by(expertId=EXPERT) == EXPERT
    assert found_by(expertId=GRACE["_id"]) == EXPERT
    assert found_by(expertId=ObjectId(), expertEmail="Grace@example.org") == EXPERT
    assert found_by(expertUserId="1534") == EXPERT


def test_17_a_number_that_two_experts_share_resolves_nobody() -> None:
    twins = [
        {"_id": ObjectId(), "userId": ObjectId(), "expertUserId": "1534"},
        {"_id": ObjectId(), "userId": ObjectId(), "expertUserId": "1534"},
    ]

    assert becomes(flat(expertId=None, expertEmail=None), experts=twins).reason == "expert_unknown"


def test_17_a_session_whose_expert_is_gone_keeps_the_id_and_says_so() -> None:
    gone = ObjectId()

    found = becomes(flat(expertId=gone, expertEmail="gone@example.org", expertUserId=None), experts=[PROFILE])

    assert found.session["expertId"] == gone
    assert "expert_gone" in found.flags_of()


def test_18_sessions_without_ids_get_the_same_ones_in_any_order() -> None:
    one, other = inner(scheduledDate="2025-09-12"), inner(scheduledDate="2025-09-13")
    for session in (one, other):
        del session["sessionId"], session["_id"]
    document = nested(one, other)

    first = becomes(document)
    second = becomes({**document, "sessions": [other, one]})

    assert {s["sessionId"] for s in first.sessions} == {s["sessionId"] for s in second.sessions}
    assert len(first.sessions) == 2
    assert "session_id_derived" in first.flags_of()


def test_18_an_old_subdocument_id_is_kept_beside_the_session_id() -> None:
    session = inner(sessionId=str(ObjectId()), _id=ObjectId())

    found = becomes(nested(session)).session

    assert found["sessionId"] == ObjectId(session["sessionId"])
    assert found["_id"] == session["_id"]


def test_18_a_shared_created_time_gives_way_to_the_time_in_the_session_id() -> None:
    births = [CREATED, CREATED + timedelta(days=2)]
    sessions = [
        inner(
            sessionId=ObjectId.from_datetime(birth), _id=ObjectId(), createdTime=AS_OF, scheduledDate=f"2025-09-{day}"
        )
        for birth, day in zip(births, (12, 13), strict=True)
    ]

    assert [session["createdTime"] for session in becomes(nested(*sessions)).sessions] == births


def test_19_long_texts_and_odd_emails_are_kept_whole() -> None:
    found = becomes(flat(notes="n" * 1500, cancellationReason="r" * 600, clientEmail="not an address"))

    assert len(found.session["notes"]) == 1500
    assert len(found.session["cancellationReason"]) == 600
    assert {"text_over_limit", "email_odd"} <= set(found.flags_of())


def test_20_a_huge_client_keeps_a_small_document_and_the_rest_lies_in_the_archive() -> None:
    documents = [flat(createdAt=CREATED + timedelta(minutes=n), notes="n" * 1000) for n in range(700)]

    client = becomes(*documents).clients[0]

    assert len(client.live) == 200
    assert len(client.history) == 500
    assert client.booking["totalSessions"] == 700
    assert client.booking["archived"]["sessions"] == 500
    assert client.booking["totals"]["INR"]["paid"] == Decimal128("525000.00")


def test_21_nested_flat_and_hybrid_documents_of_a_client_become_one() -> None:
    hybrid = flat(sessions=[inner(scheduledDate="2025-09-20")], totalSessions=1, scheduledDate="2025-09-19")
    older = nested(inner(sessionId=ObjectId(), scheduledDate="2025-09-21"), createdAt=CREATED - timedelta(days=5))
    newer = nested(inner(sessionId=ObjectId(), scheduledDate="2025-09-22"))

    found = becomes(flat(), hybrid, newer, older)

    assert len(found.clients) == 1
    assert len(found.sessions) == 5
    assert found.clients[0].booking["_id"] == older["_id"]
    assert {entry["_id"] for entry in found.clients[0].legacy_ids} >= {hybrid["_id"], newer["_id"]}
