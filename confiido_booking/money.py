"""Money: exact decimals with the currency's own number of places (SPEC 7)."""

from collections.abc import Sequence
from decimal import ROUND_HALF_UP, Decimal
from typing import Annotated, Any

from bson import Decimal128
from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

from confiido_booking.errors import FieldError, Invalid

ZERO = Decimal(0)
_SYMBOLS = {"INR": "₹", "USD": "$", "EUR": "€", "GBP": "£", "JPY": "¥"}
LIMIT = Decimal(10) ** 12  # 15 digits in all with three decimals: such a number survives any JSON reader

# ISO 4217 as amended to 2024; every currency not named here has two decimals.
_NO_DECIMALS = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF"
_THREE_DECIMALS = "BHD IQD JOD KWD LYD OMR TND"
_TWO_DECIMALS = (
    "AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF "
    "CHF CNY COP CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL "
    "HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP "
    "MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD "
    "SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD UYU UZS "
    "VED VES WST XCD YER ZAR ZMW ZWG"
)
DECIMALS: dict[str, int] = (
    dict.fromkeys(_NO_DECIMALS.split(), 0)
    | dict.fromkeys(_THREE_DECIMALS.split(), 3)
    | dict.fromkeys(_TWO_DECIMALS.split(), 2)
)


def currency(code: object, *, field: str = "currency") -> str:
    """An ISO 4217 code in capitals. Raises Invalid ``invalid_currency`` for any other."""
    if isinstance(code, str) and code.strip().upper() in DECIMALS:
        return code.strip().upper()
    raise Invalid(
        "currency must be an ISO 4217 code",
        code="invalid_currency",
        errors=[FieldError(field, "must be an ISO 4217 code")],
    )


def amount(value: object, currency_code: str, *, field: str = "amount") -> Decimal:
    """A non-negative amount with no more decimals than its currency has (JPY 0, INR 2, KWD 3).

    Raises:
        Invalid: ``invalid_amount`` for a float, a negative, an enormous or an over-precise number.
    """
    places = DECIMALS[currency_code]
    number = decimal(value)
    if number is None or not number.is_finite() or number < 0 or number >= LIMIT:
        message = "must be a number from 0 to 999,999,999,999"
    elif number != number.quantize(Decimal(1).scaleb(-places)):
        message = f"has more decimals than {currency_code} ({places})"
    else:
        return number.quantize(Decimal(1).scaleb(-places))
    raise Invalid(f"{field} {message}", code="invalid_amount", errors=[FieldError(field, message)])


def decimal(value: object) -> Decimal | None:
    """A Decimal from what Mongo or JSON gave; None for what is no exact number."""
    if isinstance(value, bool):
        return None
    if isinstance(value, Decimal):
        return value
    if isinstance(value, Decimal128):
        return value.to_decimal()
    if isinstance(value, int):
        return Decimal(value)
    return None


def exact(value: object) -> Decimal:
    """The Decimal of an amount as stored, also where an old document holds a double or nothing."""
    if isinstance(value, float):
        return Decimal(repr(value))
    number = decimal(value)
    return ZERO if number is None else number


def rounded(value: Decimal, currency_code: str) -> Decimal:
    """Half up, to the currency's decimals (MONEY: refunds, tax)."""
    return value.quantize(Decimal(1).scaleb(-DECIMALS[currency_code]), rounding=ROUND_HALF_UP)


def split(total: Decimal, weights: Sequence[Decimal], currency_code: str) -> list[Decimal]:
    """Parts of ``total`` in proportion to ``weights``, by largest remainder: they sum to it exactly (L7).

    Ties go to the earlier part; with no weight at all the parts are equal.
    """
    unit = Decimal(1).scaleb(-DECIMALS[currency_code])
    units = int(total / unit)
    scale = sum(weights, ZERO)
    shares = [Decimal(units) * w / scale if scale else Decimal(units) / len(weights) for w in weights]
    floors = [int(share) for share in shares]
    by_remainder = sorted(range(len(shares)), key=lambda i: (floors[i] - shares[i], i))
    for i in by_remainder[: units - sum(floors)]:
        floors[i] += 1
    return [unit * part for part in floors]


def shown(value: Decimal, currency: str) -> str:
    """``₹1,25,000.50``, ``¥1,200``, ``KWD 1.250``: rupees are grouped as in India."""
    sign, size = "-" if value < 0 else "", abs(value)
    figure = f"{size:,.{DECIMALS[currency]}f}"
    if currency == "INR":
        whole, _, decimals = f"{size:.2f}".partition(".")
        head = whole[:-3]
        groups = [head[max(0, end - 2) : end] for end in range(len(head), 0, -2)][::-1]
        figure = f"{','.join([*groups, whole[-3:]])}.{decimals}"
    return f"{sign}{_SYMBOLS[currency]}{figure}" if currency in _SYMBOLS else f"{sign}{currency} {figure}"


def number(value: Decimal | Decimal128) -> int | float:
    """The JSON number of an amount: ``20``, ``24.99``. Exact, because amounts have at most 15 digits."""
    exact = value.to_decimal() if isinstance(value, Decimal128) else value
    return int(exact) if exact == exact.to_integral_value() else float(exact)


def _coerce(value: Any) -> Decimal:
    if isinstance(value, float):  # only where an old document holds a double
        return Decimal(repr(value))
    exact = decimal(value)
    if exact is None:
        raise ValueError("must be a number")
    return exact


Money = Annotated[
    Decimal,
    BeforeValidator(_coerce),
    PlainSerializer(number, when_used="json"),
    WithJsonSchema({"type": "number", "examples": [20, 24.99]}),
]
