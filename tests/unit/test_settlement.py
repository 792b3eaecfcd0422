"""What a settlement file may hold, and what it may not."""

import io
from contextlib import suppress
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from confiido_booking import Invalid
from confiido_booking.payments.settlement import Row, Statement, Unreadable, read

HEADER = "provider,type,id,payment_id,amount,currency,at"
GOOD = "razorpay,payment,pay_1,,20.00,INR,2026-03-02T09:00:00Z"


def rows(text: str) -> list[Row | Unreadable]:
    return list(read(io.StringIO(text, newline="")))


def test_a_row_is_read_exactly() -> None:
    [row] = rows(f"{HEADER}\n{GOOD}\n")

    assert isinstance(row, Row)
    assert (row.key, row.kind, row.amount, row.currency, row.line) == (
        "razorpay/pay_1",
        "payment",
        Decimal("20.00"),
        "INR",
        2,
    )


def test_columns_may_come_in_any_order_with_others_between() -> None:
    [row] = rows('at,fee,id,currency,amount,type,provider\r\n2026-03-02,"1,5",pi_1,jpy,500,PAYMENT,Stripe\r\n')

    assert isinstance(row, Row)
    assert (row.key, row.amount, row.currency) == ("stripe/pi_1", Decimal(500), "JPY")


@pytest.mark.parametrize(
    "row",
    [
        "paypal,payment,p,,20,INR,2026-03-02",
        "razorpay,gift,p,,20,INR,2026-03-02",
        "razorpay,payment,,,20,INR,2026-03-02",
        "razorpay,payment,=cmd(),,20,INR,2026-03-02",
        "razorpay,payment,p,,-20,INR,2026-03-02",
        "razorpay,payment,p,,20.001,INR,2026-03-02",
        "razorpay,payment,p,,20.5,JPY,2026-03-02",
        "razorpay,payment,p,,1e3,INR,2026-03-02",
        'razorpay,payment,p,,"1,000",INR,2026-03-02',
        "razorpay,payment,p,,NaN,INR,2026-03-02",
        "razorpay,payment,p,,٢٠,INR,2026-03-02",
        "razorpay,payment,p,,99999999999999999999,INR,2026-03-02",
        "razorpay,payment,p,,20,XXX,2026-03-02",
        "razorpay,payment,p,,20,INR,yesterday",
        "razorpay,payment,p,,20,INR,2026-03-02T09:00:00",
        "razorpay,payment,p,,20,INR,",
        "razorpay,payment,p,$(rm),20,INR,2026-03-02",
        "razorpay,payment,p",
        "razorpay,payment,p,,20,INR,2026-03-02,more",
        "razorpay,payment,p\0,,20,INR,2026-03-02",
    ],
)
def test_a_row_that_is_none_is_told_and_the_rest_is_read(row: str) -> None:
    found = rows(f"{HEADER}\n{row}\n{GOOD}\n")

    assert [type(each) for each in found] == [Unreadable, Row]
    assert found[0].line == 2


@pytest.mark.parametrize(
    "text",
    [
        "",
        "id,amount\n1,2\n",
        "just words",
        f'{HEADER}\n"never closed{"," * 200_000}',
        f"{HEADER}\n{'x' * 70_000}\n",
        f'{HEADER}\nrazorpay,payment,"a"b,,1,INR,2026-03-02\n',
    ],
)
def test_a_file_that_is_no_settlement_is_refused(text: str) -> None:
    with pytest.raises(Invalid) as refused:
        rows(text)

    assert refused.value.code == "invalid_settlement"


def test_bytes_that_are_no_text_are_refused() -> None:
    file = io.TextIOWrapper(io.BytesIO(HEADER.encode() + b"\n\xff\xfe\x00\n"), encoding="utf-8", newline="")

    with pytest.raises(Invalid) as refused:
        list(read(file))

    assert refused.value.code == "invalid_settlement"


@given(st.text(max_size=200))
def test_whatever_follows_the_header_is_rows_or_a_refusal(text: str) -> None:
    found = list[Row | Unreadable]()

    with suppress(Invalid):
        found = rows(f"{HEADER}\n{text}")

    assert all(isinstance(each, Unreadable) for each in found)


def test_rows_are_kept_once_and_found_again() -> None:
    [row] = rows(f"{HEADER}\n{GOOD}\n")
    assert isinstance(row, Row)

    with Statement.open() as statement:
        added = [statement.add(row), statement.add(row)]
        again = list(statement.rows())
        period = statement.period()

    assert added == [True, False]
    assert again == [row]
    assert period == (row.at, row.at)
