"""What a session costs and what was paid for it: HISTORY 3 to 6."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import Any

from bson import Decimal128

from confiido_booking.bookings.statuses import PaymentStatus
from confiido_booking.migration.coercions import Coercions, Refusal
from confiido_booking.migration.options import Options
from confiido_booking.migration.profile import StatusRule
from confiido_booking.migration.sources import storable
from confiido_booking.money import ZERO

Facts = Mapping[str, Any]
P = PaymentStatus
_HUNDRED = Decimal(100)


@dataclass(frozen=True, slots=True)
class Amounts:
    """The rules of money under one run's options. ``flags`` and ``kept`` take what a rule touched."""

    options: Options
    coercions: Coercions

    def price(self, facts: Facts, flags: list[str], kept: dict[str, Any]) -> tuple[Decimal, str, Decimal | None]:
        """HISTORY 3 to 5. The amount, its currency, and what the whole order cost where the record says so."""
        currency = self.coercions.currency(facts.get("currency"))
        if currency is None:
            flags.append("currency_assumed")
            currency = self.options.currency
        elif currency != self.options.currency:
            flags.append("currency_other")
        total = self.coercions.money(facts.get("orderTotal"), currency)
        parsed = self.coercions.money(facts.get("price"), currency)
        if parsed is None:
            if self.options.missing_price == "quarantine" and total is None:
                raise Refusal("price_missing")
            if total is None:
                flags.append("price_missing_as_zero")
            return ZERO.quantize(Decimal("0.01")), currency, total[0] if total else None
        price, changed = parsed
        if changed:
            flags.append("price_rounded")
            kept["price"] = storable(facts["price"])
        if currency == "INR" and 0 < price < _HUNDRED:
            flags.append("price_suspicious")
        return price, currency, total[0] if total else None

    def payment(
        self, facts: Facts, rule: StatusRule, price: Decimal, currency: str, flags: list[str]
    ) -> tuple[PaymentStatus, Decimal, Decimal]:
        """HISTORY 6: paid is finalAmount where stored, else the price; invoiced is not paid."""
        coercions = self.coercions
        payment = coercions.payment(facts.get("paymentStatus"))
        if payment is None:
            is_paid = coercions.flag(facts.get("paid")) or facts.get("paidAt") is not None
            payment = P.PAID if is_paid else P(rule.payment) if rule.payment else P.PENDING
        amounts = [coercions.money(facts.get(name), currency, "amount") for name in ("paidAmount", "finalAmount")]
        stored = next((amount[0] for amount in amounts if amount is not None), None)
        refund = coercions.money(facts.get("refundAmount"), currency, "amount")
        if price == 0 and not stored and payment in (P.PENDING, P.PAID):
            return P.NOT_REQUIRED, ZERO, refund[0] if refund else ZERO
        paid = stored if stored is not None else price
        if payment not in (P.PAID, P.REFUNDED, P.PARTIALLY_REFUNDED, P.PARTIALLY_PAID):
            return payment, ZERO, refund[0] if refund else ZERO
        if payment is P.REFUNDED and not (refund and refund[0]):
            flags.append("refund_assumed")
            return payment, paid, paid
        return payment, paid, refund[0] if refund else ZERO

    def add_ons(self, facts: Facts, currency: str, kept: dict[str, Any]) -> list[dict[str, Any]]:
        given = self.coercions.json(facts.get("addOns"))
        if not isinstance(given, list):
            if given is not None:
                kept["addOns"] = storable(given)
            return []
        found = []
        for entry in given:
            amount = (
                self.coercions.money(entry.get("price"), currency, "amount") if isinstance(entry, Mapping) else None
            )
            name = self.coercions.text(entry.get("name")) if isinstance(entry, Mapping) else None
            if amount is None or name is None:
                kept["addOns"] = storable(given)
                return []
            found.append({"name": name, "price": exact(amount[0]), "minutes": 0})
        return found


def exact(amount: Decimal) -> Decimal128:
    """As the store keeps it."""
    return _exact(str(amount))  # not by the number itself: 25 and 25.00 are equal, and stored differently


@lru_cache(maxsize=4096)
def _exact(digits: str) -> Decimal128:
    """Few prices, many sessions."""
    return Decimal128(digits)
