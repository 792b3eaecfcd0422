"""Lines, taxes, balances and credit notes, without a database (MONEY, Invoices)."""

from datetime import UTC, date, datetime
from decimal import ROUND_HALF_UP, Decimal

import pytest
from bson import ObjectId
from hypothesis import given
from hypothesis import strategies as st

from confiido_booking import money
from confiido_booking.billing import rules
from confiido_booking.billing.models import (
    Allocation,
    Credit,
    Invoice,
    InvoiceStatus,
    Line,
    Stored,
    Tax,
    TaxMode,
)
from confiido_booking.billing.rules import LineWish, SessionMoney, TaxWish
from confiido_booking.errors import BookingError, Invalid
from confiido_booking.money import DECIMALS, LIMIT, ZERO

NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)
TODAY = date(2026, 3, 2)
CURRENCIES = st.sampled_from(["JPY", "INR", "KWD"])


def tax(rate: str | int, name: str = "GST", mode: TaxMode = TaxMode.INCLUSIVE) -> Tax:
    return Tax(name=name, rate=Decimal(rate), mode=mode)


def a_line(amount: str | int, *taxes: Tax, currency: str = "INR", number: int = 1) -> Line:
    return rules.line(number, "Session", Decimal(amount), taxes, currency)


def an_invoice(*lines: Line, currency: str = "INR", taxes: list[Tax] | None = None, **fields: object) -> Invoice:
    made: dict[str, object] = {"series": "INV", "status": Stored.ISSUED, "currency": currency, "lines": list(lines)}
    return rules.with_sums(Invoice.model_validate({**made, "taxes": taxes or [], **fields}))


def money_of(price: int, paid: int = 0, refunded: int = 0, **fields: object) -> SessionMoney:
    status = str(fields.get("status", "confirmed"))
    due = fields.get("refund_due")
    return SessionMoney(
        status, "pending", Decimal(price), Decimal(paid), Decimal(refunded), None if due is None else Decimal(str(due))
    )


@st.composite
def amounts(draw: st.DrawFn, currency: str) -> Decimal:
    return Decimal(draw(st.integers(0, 10**9))).scaleb(-DECIMALS[currency])


RATES = st.integers(0, 100 * 10**4).map(lambda rate: Decimal(rate).scaleb(-4))


@st.composite
def lines(draw: st.DrawFn) -> tuple[str, list[Tax], Line]:
    currency, mode = draw(CURRENCIES), draw(st.sampled_from(TaxMode))
    taxes = [Tax(name=str(i), rate=rate, mode=mode) for i, rate in enumerate(draw(st.lists(RATES, max_size=4)))]
    quantity = Decimal(draw(st.integers(1, 10**5))).scaleb(-draw(st.integers(0, 4)))
    unit_price = draw(amounts(currency))
    return currency, taxes, rules.line(1, "x", unit_price, taxes, currency, quantity=quantity)


@pytest.mark.parametrize(
    ("currency", "gross", "net", "tax_amount"),
    [
        ("INR", "100", "84.75", "15.25"),  # 84.745…
        ("INR", "1.18", "1.00", "0.18"),
        ("JPY", "500", "424", "76"),  # 423.7…
        ("KWD", "1.250", "1.059", "0.191"),  # 1.0593…
        ("INR", "0.59", "0.50", "0.09"),
        ("INR", "0.01", "0.01", "0"),
    ],
)
def test_tax_inclusive_net_is_gross_over_one_plus_the_rates_rounded_half_up(
    currency: str, gross: str, net: str, tax_amount: str
) -> None:
    line = a_line(gross, tax(18), currency=currency)

    assert (line.net, line.tax, line.total) == (Decimal(net), Decimal(tax_amount), Decimal(gross))


def test_a_half_is_rounded_up_where_the_engine_would_round_to_even() -> None:
    inclusive, exclusive = a_line("0.25", tax(100)), a_line("0.50", tax(5, mode=TaxMode.EXCLUSIVE))

    assert inclusive.net == Decimal("0.13")  # 0.125
    assert exclusive.tax == Decimal("0.03")  # 0.025


def test_tax_exclusive_comes_on_top() -> None:
    line = a_line(500, tax(9, "CGST", TaxMode.EXCLUSIVE), tax(9, "SGST", TaxMode.EXCLUSIVE))

    assert (line.net, line.tax, line.total) == (500, 90, 590)
    assert [each.amount for each in line.taxes] == [45, 45]


def test_several_taxes_of_a_line_are_split_by_largest_remainder() -> None:
    line = a_line(100, tax(9, "CGST"), tax(9, "SGST"))

    assert [each.amount for each in line.taxes] == [Decimal("7.63"), Decimal("7.62")]


@given(lines())
def test_net_and_tax_are_the_gross_and_the_taxes_the_tax(made: tuple[str, list[Tax], Line]) -> None:
    currency, taxes, line = made
    rate = sum((each.rate for each in taxes), ZERO) / 100
    unit = Decimal(1).scaleb(-DECIMALS[currency])

    assert line.net + line.tax == line.total
    assert sum((each.amount for each in line.taxes), ZERO) == line.tax
    assert all(each.amount >= 0 and each.amount == each.amount.quantize(unit) for each in line.taxes)
    if taxes and taxes[0].mode is TaxMode.INCLUSIVE:
        assert line.net == (line.total / (1 + rate)).quantize(unit, ROUND_HALF_UP)
    else:
        assert line.tax == (line.net * rate).quantize(unit, ROUND_HALF_UP)


@given(
    CURRENCIES.flatmap(lambda code: st.tuples(st.just(code), st.lists(amounts(code), min_size=1, max_size=8))), RATES
)
def test_totals_are_sums_of_lines(given_: tuple[str, list[Decimal]], rate: Decimal) -> None:
    currency, prices = given_
    taxes = [Tax(name="A", rate=rate), Tax(name="B", rate=Decimal("2.5"))]
    made = [rules.line(number, "x", price, taxes, currency) for number, price in enumerate(prices, 1)]

    invoice = an_invoice(*made, currency=currency, taxes=taxes)

    assert invoice.total == sum(prices)
    assert invoice.subtotal + invoice.tax == invoice.total
    assert sum((each.amount for each in invoice.tax_totals), ZERO) == invoice.tax
    assert {each.base for each in invoice.tax_totals} == {invoice.subtotal}


@given(lines(), st.lists(st.fractions(0, 1), min_size=1, max_size=5))
def test_credit_notes_of_parts_take_back_exactly_the_line(
    made: tuple[str, list[Tax], Line], cuts: list[object]
) -> None:
    currency, taxes, line = made
    if not 0 < line.total < LIMIT:  # standalone_lines refuses a larger one
        return
    invoice = an_invoice(line, currency=currency, taxes=taxes)
    unit = Decimal(1).scaleb(-DECIMALS[currency])
    taken = []
    for cut in [*cuts, 1]:
        left = line.total - sum((part.total for part in taken), ZERO)
        part = (left * Decimal(str(float(cut)))).quantize(unit, "ROUND_DOWN")  # type: ignore[arg-type]
        if part:
            (credit,) = rules.credit_parts(invoice, [(1, part)])
            assert credit.net >= 0
            assert min(credit.taxes, default=ZERO) >= 0
            assert credit.net + sum(credit.taxes, ZERO) == credit.total == part
            taken.append(credit)
            invoice.credits.append(Credit(credit_note_id=ObjectId(), at=NOW, lines=[credit]))

    assert sum((part.net for part in taken), ZERO) == line.net
    sums = [sum((part.taxes[i] for part in taken), ZERO) for i in range(len(taxes))]
    assert sums == [each.amount for each in line.taxes]
    assert rules.is_wholly_credited(invoice)


@pytest.mark.parametrize(
    "wish",
    [
        TaxWish("", 18),
        TaxWish("GST", Decimal("18.00001")),
        TaxWish("GST", Decimal("-1")),
        TaxWish("GST", 101),
        TaxWish("GST", Decimal("NaN")),
        TaxWish("GST", 18.0),  # type: ignore[arg-type]
        TaxWish("GST", 18, "sideways"),
        TaxWish("G" * 61, 18),
    ],
)
def test_rates_are_percents_of_at_most_four_decimals(wish: TaxWish) -> None:
    with pytest.raises(Invalid):
        rules.checked_taxes([wish], of_sessions=False)


def test_a_rate_of_four_decimals_is_kept() -> None:
    (kept,) = rules.checked_taxes([TaxWish(" GST ", Decimal("12.3456"))], of_sessions=True)

    assert (kept.name, kept.rate) == ("GST", Decimal("12.3456"))


@pytest.mark.parametrize(
    "wishes",
    [
        [TaxWish("GST", 18), TaxWish("VAT", 5, TaxMode.EXCLUSIVE)],
        [TaxWish("GST", 18), TaxWish("GST", 18)],
        [TaxWish(str(i), i) for i in range(11)],
    ],
)
def test_taxes_that_do_not_go_together_are_refused(wishes: list[TaxWish]) -> None:
    with pytest.raises(Invalid, match="taxes"):
        rules.checked_taxes(wishes, of_sessions=False)


@pytest.mark.parametrize(
    "wish",
    [
        LineWish("", 1, 1),
        LineWish("x", 0, 1),
        LineWish("x", Decimal("-1"), 1),
        LineWish("x", Decimal("0.00001"), 1),
        LineWish("x", Decimal("Infinity"), 1),
        LineWish("x", True, 1),
        LineWish("x", 1, Decimal("0.001")),
        LineWish("x", 1, -1),
        LineWish("x", 10**6, 10**11),
        LineWish("x\0", 1, 1),
    ],
)
def test_a_line_that_is_none_is_refused(wish: LineWish) -> None:
    with pytest.raises(Invalid):
        rules.standalone_lines([wish], [], "INR")


def test_an_invoice_has_at_least_one_line_and_at_most_a_hundred() -> None:
    for count in (0, 101):
        with pytest.raises(Invalid, match="lines"):
            rules.standalone_lines([LineWish("x", 1, 1)] * count, [], "INR")


def test_a_sessions_line_is_paid_by_its_own_net_money() -> None:
    session = ObjectId()
    line = rules.line(1, "x", Decimal(100), [], "INR", session_id=session)

    state = rules.balance(an_invoice(line), {session: money_of(100, 80, 30)}, TODAY)

    assert (state.status, state.paid, state.outstanding) == (InvoiceStatus.PARTIALLY_PAID, 50, 50)


@pytest.mark.parametrize(
    ("session", "wrong"),
    [
        (money_of(100), False),
        (money_of(100, 100), False),
        (money_of(70, 100, 30), True),  # refunded: the price went down
        (money_of(100, 100, 100), False),  # charged back: owed again
        (money_of(100, status="cancelled"), True),
        (money_of(100, 100, status="cancelled", refund_due=0), False),  # cancelled too late: all is kept
        (money_of(100, 100, status="cancelled", refund_due=50), True),
        (money_of(100, 100, 100, status="cancelled"), True),
    ],
)
def test_it_needs_correction_where_a_line_bills_more_than_its_session_is_worth(
    session: SessionMoney, wrong: bool
) -> None:
    known = ObjectId()
    line = rules.line(1, "x", Decimal(100), [], "INR", session_id=known)

    assert rules.balance(an_invoice(line), {known: session}, TODAY).needs_correction is wrong


@pytest.mark.parametrize(
    ("paid", "due_on", "status"),
    [
        (0, 3, InvoiceStatus.ISSUED),
        (0, 2, InvoiceStatus.ISSUED),
        (0, 1, InvoiceStatus.OVERDUE),
        (1, 3, InvoiceStatus.PARTIALLY_PAID),
        (1, 1, InvoiceStatus.OVERDUE),
        (100, 1, InvoiceStatus.PAID),
    ],
)
def test_overdue_is_first_in_precedence_and_paid_is_never_overdue(
    paid: int, due_on: int, status: InvoiceStatus
) -> None:
    entry = Allocation(payment_id="p", amount=Decimal(paid), at=NOW)
    invoice = an_invoice(a_line(100), due_date=datetime(2026, 3, due_on, tzinfo=UTC), allocations=[entry])

    assert rules.balance(invoice, {}, TODAY).status is status


def test_money_beyond_what_is_due_since_a_credit_note_is_overpaid() -> None:
    invoice = an_invoice(a_line(100), allocations=[Allocation(payment_id="p", amount=Decimal(100), at=NOW)])
    parts = rules.credit_parts(invoice, [(1, 30)])
    invoice.credits.append(Credit(credit_note_id=ObjectId(), at=NOW, lines=parts))

    state = rules.balance(invoice, {}, TODAY)

    assert (state.status, state.paid, state.outstanding, state.overpaid) == (InvoiceStatus.PAID, 70, 0, 30)


@given(
    st.lists(st.integers(1, 1000), min_size=1, max_size=6).flatmap(
        lambda prices: st.tuples(st.just(prices), st.integers(1, sum(prices)))
    )
)
def test_a_payment_is_split_in_proportion_and_never_beyond_a_line(given_: tuple[list[int], int]) -> None:
    prices, amount = given_
    made = [a_line(price, currency="JPY", number=number) for number, price in enumerate(prices, 1)]
    invoice = an_invoice(*made, currency="JPY")

    parts = rules.shares(invoice, rules.balance(invoice, {}, TODAY), Decimal(amount))

    assert sum(part.amount for part in parts) == amount
    assert all(0 < part.amount <= prices[part.line - 1] for part in parts)


@pytest.mark.parametrize(
    ("amount", "code"), [(101, "overpayment"), (0, "invalid_amount"), (Decimal("0.001"), "invalid_amount")]
)
def test_a_payment_of_a_wrong_amount_is_refused(amount: Decimal, code: str) -> None:
    invoice = an_invoice(a_line(100))

    with pytest.raises(BookingError) as refusal:
        rules.shares(invoice, rules.balance(invoice, {}, TODAY), Decimal(amount))

    assert refusal.value.code == code


def test_a_number_has_series_year_and_six_digits() -> None:
    assert rules.number("INV", 2026, 1) == "INV-2026-000001"
    assert rules.number("CN", 2026, 1_234_567) == "CN-2026-1234567"


@pytest.mark.parametrize(
    ("value", "currency", "text"),
    [
        ("125000.5", "INR", "₹1,25,000.50"),
        ("-100000", "INR", "-₹1,00,000.00"),
        ("999", "INR", "₹999.00"),
        ("12345678.9", "INR", "₹1,23,45,678.90"),
        ("1200", "JPY", "¥1,200"),
        ("1234.5", "KWD", "KWD 1,234.500"),
        ("0", "USD", "$0.00"),
    ],
)
def test_amounts_are_printed_as_their_readers_write_them(value: str, currency: str, text: str) -> None:
    assert money.shown(Decimal(value), currency) == text
