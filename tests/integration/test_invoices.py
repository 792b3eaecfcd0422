"""Invoices by the library: MONEY's rules, each with a test named after it."""

from datetime import date, timedelta
from decimal import Decimal

import pytest
from bson import ObjectId

from confiido_booking import Actor, BookingError, Confiido, Expert
from confiido_booking.billing.models import InvoiceStatus, Party, TaxMode
from confiido_booking.billing.reading import InvoiceFilter, Statement
from confiido_booking.billing.rules import LineWish, TaxWish
from confiido_booking.bookings.archive import Archive
from confiido_booking.bookings.views import Change
from tests.builders import MONDAY, Clock, a_client, a_service, an_admin, an_expert, make_expert, offer

GST = TaxWish("GST", 18)
ADMIN = an_admin()
WORKBOOK = LineWish("Workbook", 2, 250)


@pytest.fixture
async def grace(confiido: Confiido) -> Expert:
    kinds = [offer(price=100), offer(session_type="chat", price=30, currency="USD"), offer(duration=60, price=0)]
    return await make_expert(confiido, session_types=kinds, payment="later")


async def booked(
    confiido: Confiido, client: Actor, expert: Expert, *, hour: int = 1, confirmed: bool = True, **wish: object
) -> Change:
    change = await confiido.bookings.book(
        actor=client,
        expert=expert.id or "",
        starts_at=MONDAY + timedelta(hours=hour),
        **{"session_type": "video", "duration": 30, **wish},  # type: ignore[arg-type]
    )
    if confirmed:
        return await confiido.bookings.confirm(change.booking_id, change.session_id, actor=ADMIN)
    return change


async def invoiced(confiido: Confiido, *changes: Change, **terms: object) -> Statement:
    ids = [change.session_id for change in changes]
    return await confiido.invoices.of_sessions(actor=ADMIN, session_ids=ids, **terms)  # type: ignore[arg-type]


async def standalone(confiido: Confiido, **terms: object) -> Statement:
    wish: dict[str, object] = {"currency": "INR", "lines": [WORKBOOK], "client": Party(name="Bo"), **terms}
    return await confiido.invoices.standalone(actor=ADMIN, **wish)  # type: ignore[arg-type]


async def raw_session(confiido: Confiido, change: Change) -> dict[str, object]:
    return (await confiido.bookings.find_session(change.session_id, actor=ADMIN)).raw_session


async def refused(command: object) -> str:
    with pytest.raises(BookingError) as refusal:
        await command  # type: ignore[misc]
    return refusal.value.code


async def test_an_invoice_of_a_session_bills_its_price_with_the_tax_in_it(confiido: Confiido, grace: Expert) -> None:
    ada = a_client()
    session = await booked(confiido, ada, grace)

    stated = await invoiced(confiido, session, taxes=[GST])

    invoice, stored = stated.invoice, await raw_session(confiido, session)
    assert (invoice.number, stated.balance.status) == ("INV-2026-000001", InvoiceStatus.ISSUED)
    assert (invoice.subtotal, invoice.tax, invoice.total) == (Decimal("84.75"), Decimal("15.25"), 100)
    assert (invoice.client.name, invoice.client.email, invoice.client_id) == ("Ada", "ada@example.org", ada.id)
    assert stored["invoiceIds"] == [invoice.id]
    assert stored["invoiceAmount"].to_decimal() == 100  # type: ignore[attr-defined]
    assert stored["invoicedAt"] == MONDAY


async def test_an_invoiced_session_is_listed_as_invoiced_and_not_again_invoiceable(
    confiido: Confiido, grace: Expert
) -> None:
    session = await booked(confiido, a_client(), grace)
    await invoiced(confiido, session)

    entry = await confiido.store.collection("service_sessions").find_one({"listing.sessionId": session.session_id})
    report = await confiido.doctor.examine()

    assert entry is not None
    assert entry["listing"]["invoiced"] is True
    assert report.is_sound


async def test_several_sessions_of_one_client_stand_on_one_invoice(confiido: Confiido, grace: Expert) -> None:
    ada = a_client()
    sessions = [await booked(confiido, ada, grace, hour=hour) for hour in (1, 2, 3)]

    stated = await invoiced(confiido, *sessions, taxes=[TaxWish("CGST", 9), TaxWish("SGST", 9)])

    assert [line.session_id for line in stated.invoice.lines] == [session.session_id for session in sessions]
    assert stated.invoice.total == 300
    assert [total.amount for total in stated.invoice.tax_totals] == [Decimal("22.89"), Decimal("22.86")]
    assert {tuple((await raw_session(confiido, each))["invoiceIds"]) for each in sessions} == {(stated.invoice.id,)}  # type: ignore[arg-type]


async def test_sessions_of_two_currencies_are_mixed_currency(confiido: Confiido, grace: Expert) -> None:
    ada = a_client()
    rupees = await booked(confiido, ada, grace)
    dollars = await booked(confiido, ada, grace, hour=2, session_type="chat")

    assert await refused(invoiced(confiido, rupees, dollars)) == "mixed_currency"
    assert (await raw_session(confiido, rupees)).get("invoiceIds", []) == []


async def test_sessions_of_two_clients_are_refused(confiido: Confiido, grace: Expert) -> None:
    one = await booked(confiido, a_client(), grace)
    other = await booked(confiido, a_client(), grace, hour=2)

    assert await refused(invoiced(confiido, one, other)) == "mixed_clients"


async def test_a_session_stands_on_at_most_one_live_invoice(confiido: Confiido, grace: Expert) -> None:
    ada = a_client()
    one, other = await booked(confiido, ada, grace), await booked(confiido, ada, grace, hour=2)
    await invoiced(confiido, one)

    assert await refused(invoiced(confiido, one)) == "already_invoiced"
    assert await refused(invoiced(confiido, other, one)) == "already_invoiced"
    assert (await raw_session(confiido, other)).get("invoiceIds", []) == []
    assert (await confiido.invoices.list(actor=ADMIN)).total == 1


@pytest.mark.parametrize("status", ["pending", "cancelled"])
async def test_only_confirmed_completed_and_no_show_are_invoiceable(
    confiido: Confiido, grace: Expert, status: str
) -> None:
    session = await booked(confiido, a_client(), grace, confirmed=False)
    if status == "cancelled":
        await confiido.bookings.cancel(session.booking_id, session.session_id, actor=ADMIN)

    assert await refused(invoiced(confiido, session)) == "not_invoiceable"


@pytest.mark.parametrize("ending", ["complete", "no_show"])
async def test_completed_and_no_show_are_invoiceable(
    confiido: Confiido, grace: Expert, clock: Clock, ending: str
) -> None:
    session = await booked(confiido, a_client(), grace)
    clock.advance(hours=2)
    await getattr(confiido.bookings, ending)(session.booking_id, session.session_id, actor=ADMIN)

    stated = await invoiced(confiido, session)

    assert stated.invoice.number == "INV-2026-000001"


async def test_an_exclusive_tax_on_a_session_is_refused(confiido: Confiido, grace: Expert) -> None:
    session = await booked(confiido, a_client(), grace)

    assert await refused(invoiced(confiido, session, taxes=[TaxWish("GST", 18, TaxMode.EXCLUSIVE)])) == "invalid_tax"


async def test_a_free_session_is_paid_at_once(confiido: Confiido, grace: Expert) -> None:
    session = await booked(confiido, a_client(), grace, duration=60)

    assert (await invoiced(confiido, session)).balance.status is InvoiceStatus.PAID


async def test_only_staff_make_invoices_and_only_admins_change_them(confiido: Confiido, grace: Expert) -> None:
    ada = a_client()
    session = await booked(confiido, ada, grace)
    by = confiido.invoices.of_sessions

    for actor in (ada, await confiido.experts.identify(an_expert(grace))):
        assert await refused(by(actor=actor, session_ids=[session.session_id])) == "not_allowed"
    stated = await by(actor=a_service(), session_ids=[session.session_id])
    assert await refused(confiido.invoices.void(stated.invoice.id, actor=a_service())) == "not_allowed"
    assert await refused(confiido.invoices.void(stated.invoice.id, actor=ada)) == "not_allowed"
    assert await refused(confiido.invoices.void(stated.invoice.id, actor=a_client())) == "invoice_not_found"


async def test_drafts_have_no_number_and_get_one_when_issued(confiido: Confiido, grace: Expert) -> None:
    session = await booked(confiido, a_client(), grace)
    draft = await invoiced(confiido, session, issue=False)

    issued = await confiido.invoices.issue(draft.invoice.id, actor=ADMIN)

    assert (draft.invoice.number, draft.balance.status) == (None, InvoiceStatus.DRAFT)
    assert (issued.invoice.number, issued.balance.status) == ("INV-2026-000001", InvoiceStatus.ISSUED)
    assert await refused(confiido.invoices.issue(draft.invoice.id, actor=ADMIN)) == "already_issued"


async def test_a_draft_whose_session_was_cancelled_is_not_issued(confiido: Confiido, grace: Expert) -> None:
    session = await booked(confiido, a_client(), grace)
    draft = await invoiced(confiido, session, issue=False)
    await confiido.bookings.cancel(session.booking_id, session.session_id, actor=ADMIN)

    assert await refused(confiido.invoices.issue(draft.invoice.id, actor=ADMIN)) == "needs_correction"


async def test_the_year_of_a_number_is_the_operators(confiido: Confiido, clock: Clock) -> None:
    clock.now = MONDAY.replace(year=2026, month=12, day=31, hour=18, minute=29)
    before = await standalone(confiido)
    clock.advance(minutes=1)  # midnight in Kolkata
    after = await standalone(confiido)

    assert [each.invoice.number for each in (before, after)] == ["INV-2026-000001", "INV-2027-000001"]


async def test_credit_notes_have_a_series_of_their_own(confiido: Confiido) -> None:
    first = await standalone(confiido)
    note, _ = await confiido.invoices.credit(first.invoice.id, actor=ADMIN, reason="Wrong price")
    second = await standalone(confiido)

    assert [each.invoice.number for each in (first, note, second)] == [
        "INV-2026-000001",
        "CN-2026-000001",
        "INV-2026-000002",
    ]


async def test_a_standalone_invoice_takes_exclusive_taxes(confiido: Confiido) -> None:
    stated = await standalone(confiido, taxes=[TaxWish("GST", 18, TaxMode.EXCLUSIVE)])

    assert (stated.invoice.subtotal, stated.invoice.tax, stated.invoice.total) == (500, 90, 590)


async def test_a_standalone_invoice_of_a_known_client_is_theirs_to_see(confiido: Confiido, grace: Expert) -> None:
    ada = a_client()
    await booked(confiido, ada, grace)

    stated = await standalone(confiido, client=None, client_id=ada.id)
    seen = await confiido.invoices.list(actor=ada)

    assert stated.invoice.client.name == "Ada"
    assert [each.invoice.id for each in seen.statements] == [stated.invoice.id]
    assert (await confiido.invoices.list(actor=a_client())).total == 0
    assert await refused(standalone(confiido, client=None, client_id=ObjectId())) == "client_not_found"
    assert await refused(standalone(confiido, client=None)) == "client_required"


async def test_a_client_sees_no_draft(confiido: Confiido, grace: Expert) -> None:
    ada = a_client()
    session = await booked(confiido, ada, grace)
    draft = await invoiced(confiido, session, issue=False)

    assert (await confiido.invoices.list(actor=ada)).total == 0
    assert await refused(confiido.invoices.get(draft.invoice.id, actor=ada)) == "invoice_not_found"


async def test_a_session_that_was_paid_makes_its_invoice_paid(confiido: Confiido, grace: Expert) -> None:
    session = await booked(confiido, a_client(), grace)
    stated = await invoiced(confiido, session)

    await confiido.bookings.complete_payment(session.booking_id, session.session_id, actor=ADMIN)

    now = await confiido.invoices.get(stated.invoice.id, actor=ADMIN)
    assert (now.balance.status, now.balance.paid, now.balance.outstanding) == (InvoiceStatus.PAID, 100, 0)


async def test_marking_an_invoice_paid_pays_its_sessions(confiido: Confiido, grace: Expert) -> None:
    ada = a_client()
    sessions = [await booked(confiido, ada, grace, hour=hour) for hour in (1, 2)]
    await confiido.bookings.complete_payment(sessions[0].booking_id, sessions[0].session_id, actor=ADMIN)
    stated = await invoiced(confiido, *sessions)

    paid = await confiido.invoices.mark_paid(stated.invoice.id, actor=ADMIN, method="bank", reference="UTR 1")

    other = await raw_session(confiido, sessions[1])
    assert stated.balance.status is InvoiceStatus.PARTIALLY_PAID
    assert (paid.balance.status, paid.balance.outstanding) == (InvoiceStatus.PAID, 0)
    assert (other["paymentStatus"], other["paymentMethod"]) == ("paid", "bank")
    assert await refused(confiido.invoices.mark_paid(stated.invoice.id, actor=ADMIN)) == "already_paid"


async def test_a_part_of_an_invoice_is_paid_in_proportion(confiido: Confiido, grace: Expert) -> None:
    ada = a_client()
    sessions = [await booked(confiido, ada, grace, hour=hour) for hour in (1, 2)]
    stated = await invoiced(confiido, *sessions)

    paid = await confiido.invoices.mark_paid(stated.invoice.id, actor=ADMIN, amount=Decimal("50.01"))

    stored = [await raw_session(confiido, each) for each in sessions]
    assert [str(each["paidAmount"]) for each in stored] == ["25.01", "25.00"]
    assert {each["paymentStatus"] for each in stored} == {"partially_paid"}
    assert (paid.balance.status, paid.balance.outstanding) == (InvoiceStatus.PARTIALLY_PAID, Decimal("149.99"))
    assert await refused(confiido.invoices.mark_paid(stated.invoice.id, actor=ADMIN, amount=150)) == "overpayment"


async def test_a_standalone_invoice_is_paid_by_its_allocations(confiido: Confiido) -> None:
    stated = await standalone(confiido, lines=[WORKBOOK, LineWish("Postage", 1, 40)])

    paid = await confiido.invoices.mark_paid(stated.invoice.id, actor=ADMIN)

    assert [allocation.amount for allocation in paid.invoice.allocations] == [500, 40]
    assert paid.balance.status is InvoiceStatus.PAID


async def test_marking_paid_again_under_one_key_pays_once(confiido: Confiido) -> None:
    stated = await standalone(confiido)
    half = {"actor": ADMIN, "amount": 250, "request_key": "k"}

    await confiido.invoices.mark_paid(stated.invoice.id, **half)  # type: ignore[arg-type]
    again = await confiido.invoices.mark_paid(stated.invoice.id, **half)  # type: ignore[arg-type]

    assert (again.balance.paid, again.balance.outstanding) == (250, 250)


async def test_overdue_comes_first_and_by_the_operators_day(confiido: Confiido, clock: Clock) -> None:
    stated = await standalone(confiido, due_date=date(2026, 3, 2))
    await confiido.invoices.mark_paid(stated.invoice.id, actor=ADMIN, amount=1)
    clock.now = MONDAY.replace(hour=18, minute=29)
    on_the_day = await confiido.invoices.get(stated.invoice.id, actor=ADMIN)
    clock.advance(minutes=1)
    after_it = await confiido.invoices.get(stated.invoice.id, actor=ADMIN)

    assert on_the_day.balance.status is InvoiceStatus.PARTIALLY_PAID
    assert after_it.balance.status is InvoiceStatus.OVERDUE


async def test_an_invoice_is_due_some_days_after_its_issue(confiido: Confiido) -> None:
    stated = await standalone(confiido)

    assert stated.invoice.due_date is not None
    assert stated.invoice.due_date.date() == date(2026, 3, 16)


async def test_an_issued_invoice_is_immutable_but_for_notes_among_staff(confiido: Confiido) -> None:
    stated = await standalone(confiido)
    amend = confiido.invoices.amend

    noted = await amend(stated.invoice.id, actor=ADMIN, internal_notes="Called")

    assert noted.invoice.internal_notes == "Called"
    assert await refused(amend(stated.invoice.id, actor=ADMIN, due_date=date(2026, 5, 1))) == "immutable"


async def test_void_frees_the_sessions_and_keeps_the_number(confiido: Confiido, grace: Expert) -> None:
    session = await booked(confiido, a_client(), grace)
    first = await invoiced(confiido, session)

    void = await confiido.invoices.void(first.invoice.id, actor=ADMIN, reason="Wrong client")
    second = await invoiced(confiido, session)

    assert (void.balance.status, void.invoice.number) == (InvoiceStatus.VOID, "INV-2026-000001")
    assert second.invoice.number == "INV-2026-000002"
    assert (await raw_session(confiido, session))["invoiceIds"] == [second.invoice.id]
    assert await refused(confiido.invoices.void(first.invoice.id, actor=ADMIN)) == "invoice_void"
    assert (await confiido.doctor.examine()).is_sound


async def test_void_only_while_unpaid(confiido: Confiido, grace: Expert) -> None:
    session = await booked(confiido, a_client(), grace)
    stated = await invoiced(confiido, session)
    await confiido.bookings.complete_payment(session.booking_id, session.session_id, actor=ADMIN)

    assert await refused(confiido.invoices.void(stated.invoice.id, actor=ADMIN)) == "already_paid"


async def test_a_whole_credit_note_frees_the_sessions(confiido: Confiido, grace: Expert) -> None:
    session = await booked(confiido, a_client(), grace)
    stated = await invoiced(confiido, session, taxes=[GST])

    note, credited = await confiido.invoices.credit(stated.invoice.id, actor=ADMIN, reason="Wrong tax")
    again = await invoiced(confiido, session)

    assert (note.invoice.total, note.invoice.tax, note.invoice.refers) == (100, Decimal("15.25"), stated.invoice.id)
    assert (credited.balance.status, credited.balance.outstanding) == (InvoiceStatus.PAID, 0)
    assert again.invoice.number == "INV-2026-000002"


async def test_credit_of_lines_lowers_what_is_due_and_ends_exactly_at_the_total(confiido: Confiido) -> None:
    stated = await standalone(confiido, lines=[LineWish("Course", 1, 100)], taxes=[GST, TaxWish("Cess", 1)])
    credit = confiido.invoices.credit

    first, after = await credit(stated.invoice.id, actor=ADMIN, reason="x", lines=[(1, Decimal("33.33"))])
    second, _ = await credit(stated.invoice.id, actor=ADMIN, reason="x", lines=[(1, Decimal("33.33"))])
    last, done = await credit(stated.invoice.id, actor=ADMIN, reason="x")

    notes = [each.invoice for each in (first, second, last)]
    assert after.balance.outstanding == Decimal("66.67")
    assert sum(note.total for note in notes) == 100
    assert sum(note.tax for note in notes) == stated.invoice.tax
    assert done.balance.outstanding == 0
    assert await refused(credit(stated.invoice.id, actor=ADMIN, reason="x")) == "already_credited"


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        ([(2, None)], "invalid_lines"),
        ([(1, 501)], "overcredit"),
        ([(1, 0)], "invalid_amount"),
        ([], "invalid_lines"),
    ],
)
async def test_more_than_is_left_is_not_credited(
    confiido: Confiido, lines: list[tuple[int, int | None]], code: str
) -> None:
    stated = await standalone(confiido)

    assert await refused(confiido.invoices.credit(stated.invoice.id, actor=ADMIN, reason="x", lines=lines)) == code


@pytest.mark.parametrize("paid", [False, True])
async def test_cancelling_an_invoiced_session_says_needs_correction(
    confiido: Confiido, grace: Expert, paid: bool
) -> None:
    session = await booked(confiido, a_client(), grace)
    stated = await invoiced(confiido, session)
    if paid:
        await confiido.bookings.complete_payment(session.booking_id, session.session_id, actor=ADMIN)
    await confiido.bookings.cancel(session.booking_id, session.session_id, actor=ADMIN)

    now = await confiido.invoices.get(stated.invoice.id, actor=ADMIN)
    _, corrected = await confiido.invoices.credit(stated.invoice.id, actor=ADMIN, reason="Cancelled")

    assert (now.balance.needs_correction, now.invoice.credits) == (True, [])
    assert corrected.balance.needs_correction is False


async def test_lists_sum_per_currency_and_filter_by_what_is_derived(
    confiido: Confiido, grace: Expert, clock: Clock
) -> None:
    ada = a_client()
    one, two = await booked(confiido, ada, grace), await booked(confiido, ada, grace, hour=2, session_type="chat")
    await invoiced(confiido, one)
    await invoiced(confiido, two)
    await confiido.bookings.complete_payment(two.booking_id, two.session_id, actor=ADMIN)
    clock.advance(days=1)
    late = await standalone(confiido, due_date=date(2026, 3, 2))
    await confiido.invoices.credit(late.invoice.id, actor=ADMIN, reason="x", lines=[(1, 100)])

    everything = await confiido.invoices.list(actor=ADMIN)
    statuses = {
        status: (await confiido.invoices.list(actor=ADMIN, filters=InvoiceFilter(status=InvoiceStatus(status)))).total
        for status in ("issued", "paid", "overdue", "partially_paid", "draft", "void")
    }

    assert everything.total == 4
    assert {code: {name: int(value) for name, value in of.items()} for code, of in everything.totals.items()} == {
        "INR": {"issued": 500, "paid": 0, "outstanding": 500, "overdue": 400},
        "USD": {"issued": 30, "paid": 30, "outstanding": 0, "overdue": 0},
    }
    assert statuses == {"issued": 2, "paid": 1, "overdue": 1, "partially_paid": 0, "draft": 0, "void": 0}
    of_one = InvoiceFilter(session_id=one.session_id, client_id=ada.id, to=MONDAY + timedelta(hours=1))
    assert (await confiido.invoices.list(actor=ADMIN, filters=of_one)).total == 1


async def test_pages_follow_one_another_by_cursor(confiido: Confiido) -> None:
    made = [(await standalone(confiido)).invoice.number for _ in range(5)]
    seen: list[str | None] = []
    cursor: str | None = None

    while True:
        page = await confiido.invoices.list(actor=ADMIN, limit=2, cursor=cursor)
        seen += [each.invoice.number for each in page.statements]
        cursor = page.next_cursor
        if cursor is None:
            break

    assert sorted(seen, key=str) == made
    assert await refused(confiido.invoices.list(actor=ADMIN, cursor="nonsense")) == "invalid_input"


async def test_no_cell_of_the_csv_can_be_taken_for_a_formula(confiido: Confiido) -> None:
    await standalone(confiido, client=Party(name='=HYPERLINK("x")', email="@x"))

    text = await confiido.invoices.csv(actor=ADMIN)

    assert '"\'=HYPERLINK(""x"")",\'@x,INR,500.00,0.00,500.00' in text.replace(",0,500", ",0.00,500")


async def test_one_key_makes_one_invoice(confiido: Confiido, grace: Expert) -> None:
    session = await booked(confiido, a_client(), grace)

    first = await invoiced(confiido, session, request_key="k")
    again = await invoiced(confiido, session, request_key="k")

    assert again.invoice.id == first.invoice.id
    assert (await confiido.invoices.list(actor=ADMIN)).total == 1


async def test_an_archived_session_pays_its_invoice_still(confiido: Confiido, grace: Expert, clock: Clock) -> None:
    ada = a_client()
    session = await booked(confiido, ada, grace)
    stated = await invoiced(confiido, session)
    await confiido.bookings.complete_payment(session.booking_id, session.session_id, actor=ADMIN)
    clock.advance(days=2)
    await confiido.bookings.complete(session.booking_id, session.session_id, actor=ADMIN)
    assert ada.id is not None
    await Archive(confiido.store).client(ada.id, now=clock(), older_than=timedelta(0))

    one = await confiido.invoices.get(stated.invoice.id, actor=ADMIN)
    page = await confiido.invoices.list(actor=ADMIN)

    assert one.balance.status is InvoiceStatus.PAID
    assert page.statements[0].balance.status is InvoiceStatus.PAID


async def test_the_seller_is_the_one_of_the_day_of_issue(confiido: Confiido) -> None:
    stated = await standalone(confiido)

    assert stated.invoice.seller.name == "Confiido"


async def told(confiido: Confiido, *types: str) -> list[tuple[str, object]]:
    """The events of these types, in their order: (type, amount)."""
    await confiido.events.collect()
    events = await confiido.store.collection("events").find({"type": {"$in": list(types)}}).sort("seq", 1).to_list()
    return [(event["type"], event["data"].get("amount") and event["data"]["amount"].to_decimal()) for event in events]


async def test_a_standalone_invoice_tells_of_each_payment_and_once_that_it_is_paid(confiido: Confiido) -> None:
    stated = await standalone(confiido)

    await confiido.invoices.mark_paid(stated.invoice.id, actor=ADMIN, amount=200)
    in_part = await told(confiido, "payment.received", "invoice.paid")
    await confiido.invoices.mark_paid(stated.invoice.id, actor=ADMIN)
    again = await refused(confiido.invoices.mark_paid(stated.invoice.id, actor=ADMIN))

    assert (in_part, again) == ([("payment.received", 200)], "already_paid")
    assert await told(confiido, "payment.received", "invoice.paid") == [
        ("payment.received", 200),
        ("payment.received", 300),
        ("invoice.paid", None),
    ]


async def test_an_invoice_is_told_as_paid_when_the_last_of_its_sessions_is(confiido: Confiido, grace: Expert) -> None:
    ada = a_client()
    one, other = await booked(confiido, ada, grace), await booked(confiido, ada, grace, hour=2)
    await invoiced(confiido, one, other)

    await confiido.ledger.paid(one.session_id, actor=ADMIN)
    before = await told(confiido, "invoice.paid")
    await confiido.ledger.paid(other.session_id, actor=ADMIN)
    await confiido.doctor.repair()

    assert (before, await told(confiido, "invoice.paid")) == ([], [("invoice.paid", None)])


async def test_an_invoice_of_what_was_paid_before_is_told_as_paid(confiido: Confiido, grace: Expert) -> None:
    session = await booked(confiido, a_client(), grace)
    await confiido.ledger.paid(session.session_id, actor=ADMIN)

    await invoiced(confiido, session)

    assert await told(confiido, "invoice.issued", "invoice.paid") == [("invoice.issued", None), ("invoice.paid", None)]


async def test_an_invoice_that_is_owed_again_and_paid_again_is_told_as_paid_again(confiido: Confiido) -> None:
    stated = await standalone(confiido)
    paid = await confiido.invoices.mark_paid(stated.invoice.id, actor=ADMIN)
    [entry] = await confiido.ledger.entries.find({})

    await confiido.ledger.refund_payment(entry.id, actor=ADMIN, reason="A mistake")
    await confiido.invoices.mark_paid(stated.invoice.id, actor=ADMIN)

    assert paid.balance.status is InvoiceStatus.PAID
    assert await told(confiido, "payment.received", "payment.refunded", "invoice.paid") == [
        ("payment.received", 500),
        ("invoice.paid", None),
        ("payment.refunded", -500),
        ("payment.received", 500),
        ("invoice.paid", None),
    ]
