"""A client with a session to pay, and a provider on loopback to pay at."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from bson import ObjectId

from confiido_booking import Actor, Confiido, Expert
from confiido_booking.database.store import Document
from confiido_booking.ledger.models import Entry, Place
from confiido_booking.payments.provider import ProviderName
from confiido_booking.payments.service import Opened
from tests.builders import Clock, a_client, make_expert, offer
from tests.providers import (
    StandIn,
    Webhook,
    razorpay_payment,
    razorpay_says,
    signature,
    stripe_says,
    with_providers,
)

RAZORPAY, STRIPE = ProviderName.RAZORPAY, ProviderName.STRIPE
COLLECTIONS = ("bookings", "calendars", "service_sessions", "payments", "provider_events", "events")


@dataclass
class Paying:
    """``confiido`` knows the provider; ``session_id`` is Ada's, pending, at noon of the next day."""

    confiido: Confiido
    other_side: StandIn
    clock: Clock
    expert: Expert
    ada: Actor
    booking_id: ObjectId
    session_id: ObjectId
    price: Decimal
    currency: str
    kept: dict[str, list[Document]] = field(default_factory=dict)

    @classmethod
    async def begun(
        cls, confiido: Confiido, other_side: StandIn, clock: Clock, *, price: str = "20", currency: str = "INR"
    ) -> "Paying":
        knowing = Confiido.over(confiido.store, with_providers(confiido.settings, other_side.base_url), confiido.clock)
        expert = await make_expert(confiido, session_types=[offer(price=Decimal(price), currency=currency)])
        ada = a_client()
        booked = await knowing.bookings.book(
            actor=ada,
            expert=expert.id or "",
            session_type="video",
            duration=30,
            starts_at=clock.now + timedelta(hours=24),
        )
        return cls(
            knowing, other_side, clock, expert, ada, booked.booking_id, booked.session_id, Decimal(price), currency
        )

    @property
    def minor(self) -> int:
        return int(self.price.scaleb({"JPY": 0, "KWD": 3}.get(self.currency, 2)))

    async def open(self, provider: ProviderName = RAZORPAY, *, actor: Actor | None = None, **claims: Any) -> Opened:
        return await self.confiido.payments.open(
            actor=actor or self.ada, provider=provider, to=Place.SESSION, id=self.session_id, **claims
        )

    async def verify(self, order_id: str, payment_id: str = "pay_1") -> Entry:
        return await self.confiido.payments.verify(
            actor=self.ada, provider=RAZORPAY, returned=self.returned(order_id, payment_id)
        )

    def returned(self, order_id: str, payment_id: str = "pay_1") -> dict[str, str]:
        return {
            "razorpay_order_id": order_id,
            "razorpay_payment_id": payment_id,
            "razorpay_signature": signature(order_id, payment_id),
        }

    def captured(
        self, order_id: str | None, payment_id: str = "pay_1", *, amount: int | None = None, currency: str | None = None
    ) -> Webhook:
        payment = razorpay_payment(
            payment_id, order_id, self.minor if amount is None else amount, currency or self.currency
        )
        return razorpay_says("payment.captured", self.clock.now, event_id=f"evt_{payment_id}", payment=payment)

    def succeeded(self, intent_id: str) -> Webhook:
        return stripe_says(
            "payment_intent.succeeded",
            self.clock.now,
            id=intent_id,
            amount_received=self.minor,
            currency=self.currency.lower(),
            payment_method_types=["card"],
        )

    async def hears(self, webhook: Webhook, provider: ProviderName = RAZORPAY) -> None:
        raw, headers = webhook
        await self.confiido.payments.receive(provider, raw, headers)

    async def session(self) -> Document:
        found = await self.confiido.store.collection("bookings").find_one({"_id": self.booking_id})
        assert found is not None
        session: Document = next(each for each in found["sessions"] if each["sessionId"] == self.session_id)
        return session

    async def entries(self) -> list[Entry]:
        raws = await self.confiido.store.collection("payments").find().sort("createdAt").to_list()
        return [Entry.model_validate(raw) for raw in raws]

    async def keep(self) -> None:
        """Remember everything as it is now."""
        self.kept = {name: await self.confiido.store.collection(name).find().to_list() for name in COLLECTIONS}

    async def again(self) -> None:
        """Everything as it was kept."""
        for name, documents in self.kept.items():
            collection = self.confiido.store.collection(name)
            if await collection.find().to_list() != documents:
                await collection.delete_many({})
                if documents:
                    await collection.insert_many(documents)

    async def books(self) -> Sequence[object]:
        """What the session and the ledger come to, without what tells when and how it came about."""
        session = await self.session()
        entries = [
            (
                each.kind.value,
                each.state.value,
                str(each.amount),
                each.currency,
                [(part.to.value, str(part.amount), part.reason) for part in each.allocations],
                each.applied_at is not None,
            )
            for each in await self.entries()
        ]
        money = (session["status"], session["paymentStatus"], str(session["paidAmount"]), str(session["refundAmount"]))
        return [money, *sorted(entries, key=str)]


def at(moment: datetime) -> int:
    return int(moment.timestamp())
