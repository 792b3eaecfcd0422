"""One tolerant layer between what old systems wrote and exact types.

Every coercion is counted by name, so that ``plan`` can show them. Nothing is guessed: what has no single meaning
raises :class:`Refusal` with a stable reason code, and the record goes to the quarantine.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from bson import Decimal128, ObjectId
from bson.datetime_ms import DatetimeMS
from bson.errors import BSONError

from confiido_booking.bookings.statuses import PaymentStatus
from confiido_booking.money import DECIMALS, LIMIT, rounded
from confiido_booking.times import MAX_DURATION, milliseconds

_CLOCK = re.compile(r"\s*(\d{1,2})[:.](\d{2})(?::\d{2}(?:\.\d+)?)?\s*([ap]\.?m\.?)?\s*", re.IGNORECASE | re.ASCII)
_NUMBER = re.compile(r"[-+]?\d{1,15}(?:\.\d{1,20})?(?:[eE][-+]?\d{1,2})?", re.ASCII)
_THOUSANDS = re.compile(r"\d{1,3}(?:,\d{2,3})+(?:\.\d+)?", re.ASCII)
_LETTERS = re.compile(r"[^a-z0-9]+")
_SYMBOLS = {"₹": "INR", "rs": "INR", "rs.": "INR", "re": "INR", "€": "EUR", "£": "GBP", "us$": "USD", "c$": "CAD"}
_SYMBOLS |= {"a$": "AUD", "ca$": "CAD", "au$": "AUD", "rupees": "INR", "rupee": "INR"}
_EARLIEST, _LATEST = datetime(1971, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TRUE, _FALSE = frozenset({"true", "yes", "y", "t", "1"}), frozenset({"false", "no", "n", "f", "0"})
_PAYMENT = {
    "pending": PaymentStatus.PENDING,
    "unpaid": PaymentStatus.PENDING,
    "paid": PaymentStatus.PAID,
    "completed": PaymentStatus.PAID,
    "success": PaymentStatus.PAID,
    "succeeded": PaymentStatus.PAID,
    "captured": PaymentStatus.PAID,
    "failed": PaymentStatus.FAILED,
    "refunded": PaymentStatus.REFUNDED,
    "partiallypaid": PaymentStatus.PARTIALLY_PAID,
    "partiallyrefunded": PaymentStatus.PARTIALLY_REFUNDED,
    "notrequired": PaymentStatus.NOT_REQUIRED,
    "free": PaymentStatus.NOT_REQUIRED,
}


class Refusal(Exception):
    """A record that cannot be understood. ``reason`` is stable and goes to ``migration_quarantine``."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


def folded(word: str) -> str:
    """``No_Show`` → ``noshow``: case, blanks and punctuation do not matter in a word of state."""
    return _LETTERS.sub("", word.casefold())


class Coercions:
    """The coercions of one run. None means missing; each other answer has the exact type."""

    def __init__(self, zone: ZoneInfo, *, dollar: str | None = None) -> None:
        self.zone = zone
        self.dollar = dollar
        self.counts: Counter[str] = Counter()

    def plain(self, value: Any) -> Any:
        """The value without its wrapping: extended JSON, empty text, the driver's own numbers."""
        if isinstance(value, str):
            return value if value.strip() else None
        if isinstance(value, Decimal128):
            return value.to_decimal()
        if isinstance(value, dict):
            if len(value) == 0:
                return None
            if len(value) == 1 and (unwrap := _EXTENDED.get(next(iter(value)))):
                self.counts["extended_json"] += 1
                try:
                    return unwrap(next(iter(value.values())))
                except (ValueError, TypeError, ArithmeticError, BSONError):
                    raise Refusal("extended_json_broken") from None
        return value

    def object_id(self, value: Any) -> ObjectId | None:
        """An ObjectId, or None for what is none: the caller decides what a foreign key means."""
        if isinstance(value, ObjectId):
            return value
        try:
            value = self.plain(value)
        except Refusal:
            return None
        if isinstance(value, Mapping) and "_id" in value:  # a populated reference
            self.counts["populated_reference"] += 1
            return self.object_id(value["_id"])
        if isinstance(value, str) and len(value.strip()) == 24 and ObjectId.is_valid(value.strip()):
            self.counts["object_id_from_text"] += 1
            return ObjectId(value.strip())
        return value if isinstance(value, ObjectId) else None

    def key(self, value: Any) -> str | None:
        """A foreign key (number, text, UUID) as text."""
        value = self.plain(value)
        if value is None or isinstance(value, bool | Mapping | list):
            return None
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        return str(value).strip()

    def text(self, value: Any) -> str | None:
        """A text as it stands, never cut; a number becomes its digits."""
        if value is None:
            return None
        if isinstance(value, str):
            return value if value.strip() else None
        value = self.plain(value)
        if value is None or isinstance(value, Mapping | list):
            return None
        if isinstance(value, str):
            return value
        self.counts["text_from_other"] += 1
        return str(value)

    def flag(self, value: Any) -> bool | None:
        if isinstance(value, bool):
            return value
        value = self.plain(value)
        if value is None:
            return None
        word = str(value).strip().casefold()
        if word in _TRUE or word in _FALSE:
            self.counts["flag_from_text"] += 1
            return word in _TRUE
        raise Refusal("flag_unknown", word[:40])

    def number(self, value: Any, reason: str) -> Decimal | None:
        """An exact number; a double means its shortest decimal."""
        if isinstance(value, bool):
            raise Refusal(reason, "a boolean")
        if isinstance(value, int):
            return Decimal(value)
        if isinstance(value, float):
            value = Decimal(repr(value))
        value = self.plain(value)
        if value is None:
            return None
        if isinstance(value, float):
            value = Decimal(repr(value))
        if isinstance(value, str):
            digits = value.strip()
            if _THOUSANDS.fullmatch(digits):
                digits = digits.replace(",", "")
            if not _NUMBER.fullmatch(digits):
                raise Refusal(reason, value[:40])
            self.counts["number_from_text"] += 1
            try:
                value = Decimal(digits)
            except InvalidOperation:
                raise Refusal(reason, value[:40]) from None
        if isinstance(value, int):
            value = Decimal(value)
        if not isinstance(value, Decimal) or not value.is_finite():
            raise Refusal(reason, type(value).__name__)
        return value

    def money(self, value: Any, currency: str, field: str = "price") -> tuple[Decimal, bool] | None:
        """The amount rounded to its currency's decimals, and whether that changed it (HISTORY 6)."""
        if value is None:
            return None
        number = self.number(value, f"{field}_invalid")
        if number is None:
            return None
        if not 0 <= number < LIMIT:
            raise Refusal(f"{field}_invalid", "negative or enormous")
        exact = rounded(number, currency)
        return exact, exact != number

    def currency(self, value: Any) -> str | None:
        if isinstance(value, str) and value in DECIMALS:
            return value
        text = self.text(value)
        if text is None:
            return None
        code = text.strip().upper()
        if code in DECIMALS:
            if code != value:
                self.counts["currency_spelling"] += 1
            return code
        if text.strip() == "$":
            if self.dollar is None:
                raise Refusal("currency_ambiguous", "$ names several; --dollar says which")
            self.counts["currency_symbol"] += 1
            return self.dollar
        if (known := _SYMBOLS.get(text.strip().casefold())) is not None:
            self.counts["currency_symbol"] += 1
            return known
        raise Refusal("currency_unknown", text[:20])

    def minutes(self, value: Any) -> int | None:
        if type(value) is int:
            whole = value
        else:
            if isinstance(value, timedelta):
                value = value.total_seconds() / 60
            number = self.number(value, "duration_invalid")
            if number is None:
                return None
            if number != number.to_integral_value():
                raise Refusal("duration_invalid", str(number))
            whole = int(number)
        if not 1 <= whole <= MAX_DURATION:
            raise Refusal("duration_invalid", str(whole))
        return whole

    def moment(self, value: Any, reason: str = "time_invalid", *, zone: ZoneInfo | None = None) -> datetime | None:
        """An instant: a Date, ISO 8601, or milliseconds since 1970. One without an offset is of ``zone``, else UTC."""
        if value is None:
            return None
        if not isinstance(value, datetime):
            value = self.plain(value)
            if value is None:
                return None
            value = self._instant(value, reason)
        if value.tzinfo is None:
            value = value.replace(tzinfo=zone or UTC)
        if not _EARLIEST <= value < _LATEST:
            raise Refusal(reason, "out of range")
        return milliseconds(value)

    def _instant(self, value: Any, reason: str) -> datetime:
        if isinstance(value, datetime):
            return value
        if isinstance(value, DatetimeMS):
            value = int(value)
        if isinstance(value, date):
            return datetime.combine(value, time(), tzinfo=UTC)
        if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
            if not 1e11 <= value < 1e13:
                raise Refusal(reason, "no milliseconds since 1970")
            self.counts["moment_from_epoch"] += 1
            return _EPOCH + timedelta(milliseconds=int(value))
        if isinstance(value, str):
            if value.strip().isdigit() and len(value.strip()) in (12, 13):
                return self._instant(int(value), reason)
            self.counts["moment_from_text"] += 1
            try:
                return datetime.fromisoformat(value.strip())
            except ValueError:
                raise Refusal(reason, value[:40]) from None
        raise Refusal(reason, type(value).__name__)

    def day(self, value: Any) -> tuple[date, str | None] | None:
        """The calendar day of a session, and the name of the rule where the value carried a time (HISTORY 9)."""
        if isinstance(value, str) and len(value.strip()) == 10:
            try:
                return date.fromisoformat(value.strip()), None
            except ValueError:
                raise Refusal("date_invalid", value) from None
        if isinstance(value, date) and not isinstance(value, datetime):
            return value, None
        instant = self.moment(value, "date_invalid")
        if instant is None:
            return None
        if instant.hour == instant.minute == instant.second == instant.microsecond == 0:
            return instant.date(), None
        local = instant.astimezone(self.zone)
        if local.hour == local.minute == local.second == local.microsecond == 0:
            return local.date(), "date_is_local_midnight"
        return instant.date(), "date_with_time"

    def clock(self, value: Any) -> tuple[time, bool] | None:
        """A wall time, and whether it was written other than ``HH:MM`` (HISTORY 6)."""
        if isinstance(value, datetime):
            value = value.time()
        if isinstance(value, time):
            return value.replace(second=0, microsecond=0, tzinfo=None), False
        if isinstance(value, timedelta):
            value = str(value)
        text = self.text(value)
        if text is None:
            return None
        match = _CLOCK.fullmatch(text)
        if match is None:
            raise Refusal("time_invalid", text[:40])
        hour, minute, half = int(match[1]), int(match[2]), (match[3] or "").casefold().replace(".", "")
        if half:
            if not 1 <= hour <= 12:
                raise Refusal("time_invalid", text[:40])
            self.counts["clock_of_12_hours"] += 1
            hour = hour % 12 + (12 if half == "pm" else 0)
        if hour > 23 or minute > 59:
            raise Refusal("time_invalid", text[:40])
        return time(hour, minute), len(match[1]) == 1 and not half

    def payment(self, value: Any) -> PaymentStatus | None:
        if isinstance(value, bool):
            self.counts["payment_from_flag"] += 1
            return PaymentStatus.PAID if value else PaymentStatus.PENDING
        text = self.text(value)
        if text is None:
            return None
        word = folded(text)
        if word in ("true", "false"):
            return self.payment(word == "true")
        if word not in _PAYMENT:
            raise Refusal("payment_status_unknown", text[:40])
        if _PAYMENT[word].value != text:
            self.counts["payment_spelling"] += 1
        return _PAYMENT[word]

    def email(self, value: Any) -> str | None:
        """As written, trimmed; compared by :func:`same_email`."""
        text = self.text(value)
        return text.strip() if text else None

    def json(self, value: Any) -> Any:
        """What a JSON column holds; a text of JSON is read."""
        if isinstance(value, str) and value.strip()[:1] in ("{", "["):
            try:
                return json.loads(value, parse_float=Decimal)
            except ValueError:
                raise Refusal("json_broken") from None
        return value


def same_email(email: str) -> str:
    """The form in which two addresses are compared: trimmed, lower case."""
    return email.strip().casefold()


def _date_of(value: Any) -> Any:
    if isinstance(value, Mapping) and "$numberLong" in value:
        return int(value["$numberLong"])
    return value


_EXTENDED: dict[str, Callable[[Any], Any]] = {
    "$oid": ObjectId,
    "$date": _date_of,
    "$numberDecimal": Decimal,
    "$numberLong": int,
    "$numberInt": int,
    "$numberDouble": float,
    "$uuid": UUID,
}


def cents(value: Any, currency: str) -> Any:
    """``price_cents``: the amount in the currency's own smallest unit."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    try:
        number = value.to_decimal() if isinstance(value, Decimal128) else Decimal(str(value))
        return number.scaleb(-DECIMALS[currency])
    except InvalidOperation:
        raise Refusal("price_invalid", str(value)[:40]) from None
