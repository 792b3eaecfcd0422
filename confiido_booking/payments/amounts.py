"""Amounts as providers write them: integers of a currency's minor unit, each provider with its own exceptions.

A provider's table is what it says of itself (docs/payments.md names the pages), not ISO 4217.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from confiido_booking.errors import FieldError, Invalid
from confiido_booking.money import DECIMALS, LIMIT


class NotAnAmount(ValueError):
    """What a provider wrote is no amount of the currency. Never leaves the library."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MinorUnits:
    """How one provider writes amounts. ``places``: decimals where they differ from the currency's own; ``steps``: the
    number an amount must be a multiple of, where it is not 1."""

    places: Mapping[str, int] = field(default_factory=dict)
    steps: Mapping[str, int] = field(default_factory=dict)

    def of(self, amount: Decimal, currency: str) -> int:
        """``Decimal("1.250")`` KWD → ``1250``.

        Raises:
            Invalid: ``amount_not_chargeable``: zero, or an amount the provider has no number for.
        """
        units = amount.scaleb(self._places(currency))
        if units <= 0 or units != int(units) or int(units) % self.steps.get(currency, 1):
            unit = Decimal(self.steps.get(currency, 1)).scaleb(-self._places(currency))
            message = f"must be a multiple of {unit:f} {currency} to be paid through this provider"
            raise Invalid(f"amount {message}", code="amount_not_chargeable", errors=[FieldError("amount", message)])
        return int(units)

    def read(self, units: object, currency: object) -> tuple[Decimal, str]:
        """``1250, "kwd"`` → ``Decimal("1.250"), "KWD"``. Raises NotAnAmount for anything else than an amount."""
        code = currency.upper() if isinstance(currency, str) else ""
        if code not in DECIMALS or not isinstance(units, int) or isinstance(units, bool) or units < 0:
            raise NotAnAmount("neither an amount nor a currency")
        own = Decimal(1).scaleb(-DECIMALS[code])
        amount = Decimal(units).scaleb(-self._places(code))
        if amount >= LIMIT or amount != amount.quantize(own):
            raise NotAnAmount(f"no amount of {code}")
        return amount.quantize(own), code

    def _places(self, currency: str) -> int:
        return self.places.get(currency, DECIMALS[currency])


_THREE_DECIMALS = [code for code, places in DECIMALS.items() if places == 3]
# The card networks round to two decimals, so both want the last of three digits to be 0.
RAZORPAY = MinorUnits(steps=dict.fromkeys(_THREE_DECIMALS, 10))
# ISK and UGX are written with two decimals that must be 00; MGA without any.
STRIPE = MinorUnits(
    places={"ISK": 2, "UGX": 2, "MGA": 0}, steps=dict.fromkeys(_THREE_DECIMALS, 10) | {"ISK": 100, "UGX": 100}
)
