from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from confiido_booking import Invalid
from confiido_booking.money import DECIMALS
from confiido_booking.payments.amounts import RAZORPAY, STRIPE, MinorUnits, NotAnAmount


@pytest.mark.parametrize(
    ("units", "amount", "currency", "written"),
    [
        (RAZORPAY, "20", "INR", 2000),
        (RAZORPAY, "20.05", "INR", 2005),
        (RAZORPAY, "500", "JPY", 500),
        (RAZORPAY, "1.250", "KWD", 1250),
        (STRIPE, "500", "JPY", 500),
        (STRIPE, "1.250", "KWD", 1250),
        (STRIPE, "5", "ISK", 500),
        (STRIPE, "5", "UGX", 500),
        (STRIPE, "5", "MGA", 5),
        (RAZORPAY, "5", "ISK", 5),
    ],
)
def test_an_amount_is_written_as_the_provider_writes_it(
    units: MinorUnits, amount: str, currency: str, written: int
) -> None:
    assert units.of(Decimal(amount), currency) == written
    assert units.read(written, currency.lower()) == (Decimal(amount), currency)


@pytest.mark.parametrize(
    ("units", "amount", "currency"),
    [
        (RAZORPAY, "1.255", "KWD"),
        (STRIPE, "1.255", "KWD"),
        (STRIPE, "0.001", "BHD"),
        (STRIPE, "5.50", "MGA"),
        (STRIPE, "0", "INR"),
        (RAZORPAY, "0.00", "INR"),
    ],
)
def test_what_the_provider_has_no_number_for_is_refused(units: MinorUnits, amount: str, currency: str) -> None:
    with pytest.raises(Invalid) as refused:
        units.of(Decimal(amount), currency)

    assert refused.value.code == "amount_not_chargeable"


@pytest.mark.parametrize(
    ("units", "currency"),
    [
        (True, "INR"),
        (1.0, "INR"),
        ("100", "INR"),
        (None, "INR"),
        (-1, "INR"),
        (10**15, "INR"),
        (10**400, "INR"),
        (100, "XXX"),
        (100, None),
        (100, 5),
        (150, "ISK"),
    ],
)
def test_what_is_no_amount_is_not_read_as_one(units: object, currency: object) -> None:
    with pytest.raises(NotAnAmount):
        STRIPE.read(units, currency)


@given(
    written=st.integers(0, 10**12),
    currency=st.sampled_from(sorted(DECIMALS)),
    units=st.sampled_from([RAZORPAY, STRIPE]),
)
def test_what_is_read_is_written_back_the_same(written: int, currency: str, units: MinorUnits) -> None:
    try:
        amount, code = units.read(written, currency)
        again = units.of(amount, code)
    except (NotAnAmount, Invalid):
        return

    assert again == written
