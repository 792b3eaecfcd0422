"""What tests of money need: sessions in any state, a provider that does as it is told, the sums of what is there."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from bson import ObjectId

from confiido_booking import Actor, BookingError, Confiido, Expert
from confiido_booking.bookings.views import Change
from confiido_booking.client import Confiido as Library
from confiido_booking.database.store import Document
from confiido_booking.errors import Unavailable
from confiido_booking.ledger.models import Entry, EntryState, Place
from confiido_booking.ledger.providers import RefundAnswer
from tests.builders import a_client, a_service, an_admin, make_expert, offer

ADMIN = an_admin()
SERVICE = a_service()


@dataclass
class Bank:
    """A provider that pays back at once, later, never, or does not answer. ``paid_back``: what it did, once each."""

    name: str = "bank"
    answers: str = "settled"
    asked: list[ObjectId] = field(default_factory=list)
    paid_back: dict[ObjectId, Decimal] = field(default_factory=dict)

    async def refund(
        self, *, refund_id: ObjectId, provider_payment_id: str, amount: Decimal, currency: str
    ) -> RefundAnswer:
        self.asked.append(refund_id)
        if self.answers == "silent":
            raise Unavailable("The bank does not answer", code="provider_unavailable")
        if self.answers == "failed":
            return RefundAnswer(state=EntryState.FAILED, reason="account closed")
        self.paid_back[refund_id] = amount
        state = EntryState.PENDING if self.answers == "pending" else EntryState.SETTLED
        return RefundAnswer(state=state, provider_refund_id=f"rf_{refund_id}")


def with_bank(confiido: Confiido, bank: Bank) -> Confiido:
    """The same library, with this provider."""
    return Library.over(confiido.store, confiido.settings, confiido.clock, providers={bank.name: bank})


async def an_expert_of(
    confiido: Confiido, price: Decimal | int | str = 100, currency: str = "INR", **more: object
) -> Expert:
    return await make_expert(confiido, session_types=[offer(price=Decimal(price), currency=currency)], **more)


async def booked(
    confiido: Confiido, expert: Expert, *, client: Actor | None = None, by: Actor | None = None, hours: float = 24
) -> Change:
    """A pending session of a client, in so many hours."""
    assert expert.id is not None
    return await confiido.bookings.book(
        actor=client or a_client(),
        expert=expert.id,
        session_type="video",
        duration=30,
        starts_at=confiido.clock() + timedelta(hours=hours),
    )


async def in_state(confiido: Confiido, change: Change, **fields: object) -> None:
    """Give a session a state that no command leads to yet."""
    named = {f"sessions.$.{name}": value for name, value in fields.items()}
    await confiido.store.collection("bookings").update_one(
        {"_id": change.booking_id, "sessions.sessionId": change.session_id}, {"$set": named}
    )


async def stored(confiido: Confiido, change: Change) -> Document:
    """The session as it is stored, in its booking or in the archive."""
    booking = await confiido.store.collection("bookings").find_one({"_id": change.booking_id})
    assert booking is not None
    for session in booking["sessions"]:
        if session["sessionId"] == change.session_id:
            found: Document = session
            return found
    kept = await confiido.store.collection("booking_archive").find_one({"_id": change.session_id})
    assert kept is not None
    session = kept["session"]
    return dict(session)


async def money_of(confiido: Confiido, change: Change) -> tuple[str, str, str, str]:
    """(status, paymentStatus, paid, refunded)."""
    session = await stored(confiido, change)
    return session["status"], session["paymentStatus"], str(session["paidAmount"]), str(session["refundAmount"])


async def entries_of(confiido: Confiido) -> list[Entry]:
    return await confiido.ledger.entries.find({})


async def refused(command: Any) -> str:
    """The code of the refusal."""
    try:
        await command
    except BookingError as refusal:
        return refusal.code
    raise AssertionError("it was not refused")


async def captured(
    confiido: Confiido,
    change: Change,
    payment: str = "pay_1",
    *,
    amount: Decimal | int | str | None = None,
    currency: str = "INR",
    attempt: Decimal | int | str | None = None,
    at: datetime | None = None,
) -> Entry:
    """A provider's verified payment of a session, by an attempt that was opened for it."""
    order = f"order_{payment}"
    if await confiido.ledger.by_order("bank", order) is None:
        owed = await confiido.ledger.owed(Place.SESSION, change.session_id, actor=ADMIN)
        if attempt is not None:
            owed = type(owed)(
                target=owed.target,
                amount=Decimal(attempt),
                currency=owed.currency,
                client_id=owed.client_id,
                booking_id=owed.booking_id,
            )
        await confiido.ledger.open(owed, provider="bank", provider_order_id=order, actor=ADMIN)
    known = await confiido.ledger.by_order("bank", order)
    assert known is not None
    return await confiido.ledger.captured(
        provider="bank",
        provider_payment_id=payment,
        provider_order_id=order,
        amount=known.amount if amount is None else Decimal(amount),
        currency=currency,
        at=at,
    )


async def broken_money(confiido: Confiido) -> list[str]:
    """L7, added up by hand from the raw collections: nothing of the ledger's own rules is used."""
    store, wrong = confiido.store, list[str]()
    bookings = await store.collection("bookings").find().to_list()
    present = {session["sessionId"] for booking in bookings for session in booking["sessions"]}
    copies = [copy for copy in await store.collection("booking_archive").find().to_list() if copy["_id"] not in present]
    sessions = [session for booking in bookings for session in booking["sessions"]]
    sessions += [copy["session"] for copy in copies]
    into: Counter[Any] = Counter()
    back: Counter[Any] = Counter()
    gone: Counter[Any] = Counter()
    amounts = {}
    for entry in await store.collection("payments").find().to_list():
        amount = entry["amount"].to_decimal()
        if entry["kind"] == "payment":
            amounts[entry["_id"]] = amount
        if "appliedAt" not in entry:
            continue
        if sum(part["amount"].to_decimal() for part in entry["allocations"]) != amount:
            wrong.append(f"the allocations of {entry['_id']} do not sum to {amount}")
        for part in entry["allocations"]:
            if part["to"] == "session":
                sums = into if entry["kind"] == "payment" else back
                sums[part["id"]] += part["amount"].to_decimal()
        if entry["kind"] == "refund" and "refers" in entry:
            told = [part for part in entry["allocations"] if part.get("reason") != "exceeds_payment"]
            gone[entry["refers"]] += sum(part["amount"].to_decimal() for part in told)
    for session in sessions:
        paid, refunded = (session[name].to_decimal() for name in ("paidAmount", "refundAmount"))
        if into[session["sessionId"]] != paid:
            wrong.append(f"{session['sessionId']} was paid {paid}, its entries say {into[session['sessionId']]}")
        if back[session["sessionId"]] != refunded:
            wrong.append(
                f"{session['sessionId']} was refunded {refunded}, its entries say {back[session['sessionId']]}"
            )
        if refunded > paid:
            wrong.append(f"{session['sessionId']} was refunded {refunded} of {paid}")
    for payment, amount in gone.items():
        if amount > amounts.get(payment, 0):
            wrong.append(f"of the payment {payment} {amount} went back")
    return wrong
