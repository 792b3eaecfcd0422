"""Paying by a provider (FRONTEND 2.14), and all that the ledger holds for an admin."""

from typing import Annotated, Literal

from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field

from api.door import Asking, Caller, Writer, Writing, router
from api.envelope import Answer, success
from api.routes.invoices import Number
from api.routes.queries import moment, word
from api.routes.session_payments import PaymentView, entry
from api.schemas import READS, SHOWN, WRITES, Asked, Pagination, Succeeded, refusals
from confiido_booking import money
from confiido_booking.errors import FieldError, Invalid
from confiido_booking.ids import Id
from confiido_booking.ledger.models import Entry, EntryKind, EntryState, Place
from confiido_booking.money import Money
from confiido_booking.payments.listing import PaymentFilter
from confiido_booking.payments.provider import ProviderName
from confiido_booking.settings import Settings

api = router("Payments", "/api/payments")
administration = router("Administration", "/api/admin/payments")


Word = Annotated[str, Field(min_length=1, max_length=200)]


class PaymentAsked(Asked):
    """One of `sessionId`, `orderId`, `invoiceId`."""

    provider: ProviderName
    session_id: Id | None = None
    order_id: Id | None = None
    invoice_id: Id | None = None

    def target(self) -> tuple[Place, Id]:
        named = {Place.SESSION: self.session_id, Place.ORDER: self.order_id, Place.INVOICE: self.invoice_id}
        given = [(to, one) for to, one in named.items() if one is not None]
        if len(given) != 1:
            message = "name one of sessionId, orderId, invoiceId"
            raise Invalid(f"A payment must {message}", errors=[FieldError("sessionId", message)])
        return given[0]


class RazorpayNotes(Asked):
    payment_id: Id = Field(alias="payment_id", description="The session's id, or the order's")


class RazorpayOrderAsked(Asked):
    amount: Number = Field(description="Major units: what is outstanding", examples=[20])
    currency: str | None = Field(None, max_length=10, examples=["INR"])
    receipt: str | None = Field(None, min_length=1, max_length=40)
    notes: RazorpayNotes


class RazorpayReturned(Asked):
    razorpay_order_id: Word = Field(alias="razorpay_order_id")
    razorpay_payment_id: Word = Field(alias="razorpay_payment_id")
    razorpay_signature: Word = Field(alias="razorpay_signature")


class StripeReturned(Asked):
    payment_intent: Word = Field(alias="payment_intent", description="As in the address that Stripe returns to")


class LedgerEntry(PaymentView):
    """`unplaced`: how much of it is on no session and no invoice, and has not gone back."""

    unplaced: Money | None = None


class OpenedPayment(BaseModel):
    payment: PaymentView
    checkout: dict[str, object] = Field(
        description="The provider's own fields, minor units",
        examples=[{"id": "order_DaZlswtdcn9UNV", "amount": 2000, "currency": "INR", "key_id": "rzp_live_…"}],
    )


class RazorpayOrder(BaseModel):
    """As Razorpay has it: `amount` in minor units."""

    id: str = Field(examples=["order_DaZlswtdcn9UNV"])
    amount: int = Field(examples=[2000])
    currency: str
    receipt: str
    status: str = Field(examples=["created"])
    created_at: int
    key_id: str


class VerifiedPayment(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True)

    order_id: str
    payment_id: str
    transaction_id: Id
    verified: Literal[True]


class PaymentList(BaseModel):
    payments: list[LedgerEntry]
    pagination: Pagination


class PaymentQuery(BaseModel):
    """``from`` and ``to``: when the entry was made, an instant with an offset or a whole day in the operator's zone."""

    model_config = SHOWN

    page: int = Field(1, ge=1, le=10_000)
    limit: int = Field(20, ge=1, le=100)
    cursor: str | None = Field(None, max_length=200, description="`nextCursor` of the page before")
    state: str | None = Field(None, max_length=50, examples=["captured"])
    unplaced: bool = Field(False, description="true: only money that is on no session and no invoice")
    from_: str | None = Field(None, alias="from", max_length=40, examples=["2025-08-01"])
    to: str | None = Field(None, max_length=40, examples=["2025-08-31"])

    def filter(self, settings: Settings) -> PaymentFilter:
        named = word(self.state, "state", [state.value for state in EntryState])
        return PaymentFilter(
            state=EntryState(named) if named else None,
            unplaced=self.unplaced,
            from_=moment(self.from_, "from", settings.timezone),
            to=moment(self.to, "to", settings.timezone, whole_day=True),
        )


@api.post(
    "",
    status_code=201,
    response_model=Succeeded[OpenedPayment],
    responses=WRITES,
    summary="Open a payment at a provider",
)
async def open_payment(writer: Writing, asked: PaymentAsked) -> Answer:
    """Over all that is outstanding. While it is open the same one is answered again."""
    to, named = asked.target()
    opened = await writer.confiido.payments.open(actor=writer.actor, provider=asked.provider, to=to, id=named)
    data = {"payment": entry(writer, opened.entry), "checkout": dict(opened.checkout.fields)}
    return success(data, "Payment opened", status=201)


@api.post(
    "/create-razorpay-order",
    response_model=Succeeded[RazorpayOrder],
    responses=WRITES,
    summary="Open a payment at Razorpay, as the frontend asks for it",
)
async def create_razorpay_order(writer: Writing, asked: RazorpayOrderAsked) -> Answer:
    opened = await writer.confiido.payments.open(
        actor=writer.actor,
        provider=ProviderName.RAZORPAY,
        to=None,
        id=asked.notes.payment_id,
        amount=asked.amount,
        currency=money.currency(asked.currency) if asked.currency else None,
        receipt=asked.receipt,
    )
    shown = ("id", "amount", "currency", "receipt", "status", "created_at", "key_id")
    return success({name: opened.checkout.fields[name] for name in shown})


@api.post(
    "/verify-razorpay-payment",
    response_model=Succeeded[VerifiedPayment],
    responses=WRITES | refusals(402),
    summary="Believe a payment that Razorpay signed",
)
async def verify_razorpay_payment(writer: Writing, returned: RazorpayReturned) -> Answer:
    """The session is paid and confirmed by it. Its webhook says the same; one payment counts once."""
    return await _verified(writer, ProviderName.RAZORPAY, returned)


@api.post(
    "/verify-stripe-payment",
    response_model=Succeeded[VerifiedPayment],
    responses=WRITES | refusals(402),
    summary="Ask Stripe whether a payment was made",
)
async def verify_stripe_payment(writer: Writing, returned: StripeReturned) -> Answer:
    """As the other; for when the client is back before Stripe's webhook came."""
    return await _verified(writer, ProviderName.STRIPE, returned)


async def _verified(writer: Writer, provider: ProviderName, returned: Asked) -> Answer:
    verified = await writer.confiido.payments.verify(
        actor=writer.actor, provider=provider, returned=returned.model_dump()
    )
    return success(
        {
            "order_id": verified.provider_order_id,
            "payment_id": verified.provider_payment_id,
            "transaction_id": verified.id,
            "verified": True,
        }
    )


@administration.get(
    "", response_model=Succeeded[PaymentList], responses=READS | refusals(403), summary="All payments and refunds"
)
async def list_payments(asking: Asking, query: Annotated[PaymentQuery, Query()]) -> Answer:
    """Of everybody, the latest first."""
    page = await asking.confiido.payments.list(
        actor=asking.actor,
        filters=query.filter(asking.confiido.settings),
        page=query.page,
        limit=query.limit,
        cursor=query.cursor,
    )
    counts: dict[str, object] = {"page": page.page, "limit": page.limit, "total": page.total, "pages": page.pages}
    if page.next_cursor is not None:
        counts["nextCursor"] = page.next_cursor
    return success({"payments": [_with_unplaced(asking, each) for each in page.entries], "pagination": counts})


def _with_unplaced(asking: Caller, stored: Entry) -> dict[str, object]:
    if stored.kind is not EntryKind.PAYMENT:
        return entry(asking, stored)
    unplaced = sum((part.amount for part in stored.allocations if part.to is Place.UNPLACED), money.ZERO)
    back = sum((part.amount for part in stored.returned), money.ZERO)
    return entry(asking, stored) | ({"unplaced": unplaced - back} if unplaced > back else {})
