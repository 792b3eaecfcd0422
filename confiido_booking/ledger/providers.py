"""What the ledger asks of those who move the money."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol

from bson import ObjectId

from confiido_booking.ledger.models import EntryState


@dataclass(frozen=True, slots=True, kw_only=True)
class RefundAnswer:
    """What a provider said to a refund: ``settled``, ``pending`` (it will tell later), or ``failed`` for good."""

    state: EntryState
    provider_refund_id: str | None = None
    reason: str | None = None


class Provider(Protocol):
    """Who moves the money, as the ledger needs them. ``manual`` and ``opening`` need nobody."""

    @property
    def name(self) -> str: ...

    async def refund(
        self, *, refund_id: ObjectId, provider_payment_id: str, amount: Decimal, currency: str
    ) -> RefundAnswer:
        """Pay back. ``refund_id`` is the idempotency key: asked again with it, nothing more is paid.

        Raises:
            Unavailable: nobody knows whether it was done; the ledger asks again later.
        """
        ...
