"""Money that changes hands without a provider: cash, a bank transfer, whatever an admin marks as paid."""

from collections.abc import Mapping
from datetime import datetime
from typing import Never

from confiido_booking.errors import Invalid, InvalidSignature, PaymentNotVerified
from confiido_booking.payments.provider import (
    Checkout,
    RefundMade,
    RefundState,
    RefundWanted,
    Returned,
    Told,
    Wanted,
)


class Manual:
    """A refund counts as paid back when it is recorded: whoever records it hands the money over."""

    async def open(self, wanted: Wanted) -> Checkout:
        self._refuse()

    async def again(self, order_id: str, wanted: Wanted, opened_at: datetime) -> Checkout | None:
        self._refuse()

    async def verify(self, returned: Mapping[str, str]) -> Returned:
        raise PaymentNotVerified()

    def told(self, raw: bytes, headers: Mapping[str, str], now: datetime) -> Told:
        raise InvalidSignature()

    async def refund(self, wanted: RefundWanted) -> RefundMade:
        return RefundMade(None, RefundState.SETTLED)

    async def close(self) -> None:
        return

    def _refuse(self) -> Never:
        raise Invalid("A manual payment has no checkout; an admin records it", code="provider_refused")
