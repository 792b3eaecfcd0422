"""Money of sessions over HTTP: paid, refunded, what a cancellation gives back, and the entries of it all (MONEY)."""

from typing import Annotated, Any

from fastapi import Path
from pydantic import BaseModel, Field

from api import render
from api.answers import etag
from api.door import Asking, Caller, Writing, WritingSession, router
from api.envelope import Answer, success
from api.routes.invoices import Number
from api.routes.sessions import SalesSession, shown_session
from api.schemas import READS, SESSION_WRITES, SHOWN, WRITES, Asked, Succeeded, WireId, refusals
from confiido_booking import times
from confiido_booking.bookings.models import CancellationTier
from confiido_booking.bookings.views import Change
from confiido_booking.database.documents import to_mongo
from confiido_booking.ids import Id
from confiido_booking.ledger.models import Allocation, Entry, EntryKind, EntryState, Target
from confiido_booking.money import Money

api = router("Payments", "/api/sessions")
administration = router("Payments", "/api/admin/payments")

SessionNamed = Annotated[WireId, Path(alias="id")]
_HIDDEN = ("key", "dueAt", "requestKey", "parts", "returned")
_STAFF_ONLY = ("actor", "history", "reference", "reason")


class PaidAsked(Asked):
    amount: Number | None = Field(None, description="Default: all that is outstanding", examples=[20])
    currency: str | None = Field(None, max_length=10, description="Default: the session's", examples=["INR"])
    payment_method: str | None = Field(None, max_length=50, examples=["bank"])
    reference: str | None = Field(None, max_length=500, examples=["UTR 4711"])
    paid_at: str | None = Field(None, max_length=40, examples=["2025-08-29T07:00:00Z"])


class RefundAsked(Asked):
    amount: Number | None = Field(
        None, description="Default, of a cancelled session: what is still due back", examples=[20]
    )
    reason: str = Field(min_length=1, max_length=500, examples=["The expert was late"])


class RefundDueAsked(Asked):
    amount: Number = Field(description="What shall go back in all", examples=[10])
    reason: str = Field(min_length=1, max_length=500, examples=["Agreed on the telephone"])


class PaymentView(BaseModel):
    """An entry of the ledger. Staff also see `actor`, `reference`, `reason` and `history`."""

    model_config = SHOWN

    payment_id: Id
    kind: EntryKind
    state: EntryState
    provider: str = Field(examples=["manual", "razorpay", "stripe", "opening"])
    provider_order_id: str | None = None
    provider_payment_id: str | None = None
    provider_refund_id: str | None = None
    provider_dispute_id: str | None = None
    method: str | None = None
    amount: Money
    currency: str
    client_id: Id | None = None
    booking_id: Id | None = None
    target: Target | None = Field(None, description="What it is for")
    allocations: list[Allocation] = Field(description="Where the money went: they sum to the amount")
    refers: Id | None = Field(None, description="Of a refund or chargeback: the payment it takes back")
    dispute: str | None = Field(None, examples=["open", "won", "lost"])
    created_at: str
    paid_at: str | None = None
    applied_at: str | None = None
    actor: dict[str, Any] | None = None
    reference: str | None = None
    reason: str | None = None
    history: list[dict[str, Any]] | None = None


class SessionPaid(BaseModel):
    session: SalesSession
    payment: PaymentView


class SessionRefunded(BaseModel):
    session: SalesSession
    refund: PaymentView
    refunds: list[PaymentView] = Field(description="One for each payment by which money goes back")


class OneSession(BaseModel):
    session: SalesSession


class PaymentList(BaseModel):
    payments: list[PaymentView]


class PaymentRefunded(BaseModel):
    refund: PaymentView
    refunds: list[PaymentView]


class CancellationView(BaseModel):
    """What cancelling would do now. `until`: up to when this answer holds."""

    model_config = SHOWN

    allowed: bool
    refund_amount: Money
    fee: Money
    currency: str
    tier: CancellationTier | None = None
    until: str | None = None


def entry(caller: Caller, stored: Entry) -> render.Wire:
    """An entry as this caller may see it."""
    hidden = _HIDDEN if caller.actor.is_staff else (*_HIDDEN, *_STAFF_ONLY)
    wire = {name: value for name, value in to_mongo(stored).items() if name not in (*hidden, "_id")}
    return {"paymentId": stored.id, **wire}


@api.put("/{id}/paid", response_model=Succeeded[SessionPaid], responses=SESSION_WRITES, summary="Record money received")
async def mark_session_paid(writer: WritingSession, session_id: SessionNamed, asked: PaidAsked) -> Answer:
    """By admin or service. Wholly paid, a pending session is confirmed; a first part restarts its hold."""
    paid = await writer.confiido.ledger.paid(
        session_id,
        actor=writer.actor,
        amount=asked.amount,
        currency=asked.currency,
        method=asked.payment_method,
        reference=asked.reference,
        paid_at=times.parse_instant(asked.paid_at, field="paidAt") if asked.paid_at else None,
        request_key=writer.request_key,
        if_version=writer.if_version,
    )
    data = {"session": shown_session(writer, paid.change), "payment": entry(writer, paid.payment)}
    return success(data, "Payment recorded successfully", headers=_etag(paid.change))


@api.post(
    "/{id}/refund",
    status_code=201,
    response_model=Succeeded[SessionRefunded],
    responses=SESSION_WRITES | refusals(503),
    summary="Pay money back",
)
async def refund_session(writer: WritingSession, session_id: SessionNamed, asked: RefundAsked) -> Answer:
    """By admin or service, never more than was paid. Of a session that is not cancelled it lowers the price."""
    refunded = await writer.confiido.ledger.refund(
        session_id,
        actor=writer.actor,
        amount=asked.amount,
        reason=asked.reason,
        request_key=writer.request_key,
        if_version=writer.if_version,
    )
    refunds = [entry(writer, each) for each in refunded.refunds]
    data = {"session": shown_session(writer, refunded.change), "refund": refunds[0], "refunds": refunds}
    return success(data, "Refund created successfully", status=201, headers=_etag(refunded.change))


@api.put(
    "/{id}/refund-due",
    response_model=Succeeded[OneSession],
    responses=SESSION_WRITES,
    summary="Set what of a cancelled session goes back",
)
async def set_refund_due(writer: WritingSession, session_id: SessionNamed, asked: RefundDueAsked) -> Answer:
    """By admin, instead of what the session's policy says. Moves no money."""
    change = await writer.confiido.ledger.set_refund_due(
        session_id,
        actor=writer.actor,
        amount=asked.amount,
        reason=asked.reason,
        request_key=writer.request_key,
        if_version=writer.if_version,
    )
    return success({"session": shown_session(writer, change)}, "Refund set successfully", headers=_etag(change))


@api.get("/{id}/payments", response_model=Succeeded[PaymentList], responses=READS, summary="A session's entries")
async def session_payments(caller: Asking, session_id: SessionNamed) -> Answer:
    """Payments, refunds and chargebacks, the first first. Not for experts."""
    entries = await caller.confiido.ledger.of_session(session_id, actor=caller.actor)
    return success({"payments": [entry(caller, each) for each in entries]})


@api.get(
    "/{id}/cancellation",
    response_model=Succeeded[CancellationView],
    responses=READS,
    summary="What cancelling would give back",
)
async def preview_cancellation(caller: Asking, session_id: SessionNamed) -> Answer:
    """By the same rule as cancelling itself, for whoever asks: a client's depends on the hours that are left."""
    terms = await caller.confiido.ledger.cancellation(session_id, actor=caller.actor)
    data = {
        "allowed": terms.allowed,
        "refundAmount": terms.refund_amount,
        "fee": terms.fee,
        "currency": terms.currency,
        **({"tier": render.model(terms.tier)} if terms.tier else {}),
        **({"until": terms.until} if terms.until else {}),
    }
    return success(data)


@administration.post(
    "/{id}/refund",
    status_code=201,
    response_model=Succeeded[PaymentRefunded],
    responses=WRITES | refusals(503),
    summary="Pay a payment back",
)
async def refund_payment(writer: Writing, payment_id: SessionNamed, asked: RefundAsked) -> Answer:
    """Without an amount what is unplaced of it, or else all that is left."""
    refunds = await writer.confiido.ledger.refund_payment(
        payment_id, actor=writer.actor, amount=asked.amount, reason=asked.reason, request_key=writer.request_key
    )
    shown = [entry(writer, each) for each in refunds]
    return success({"refund": shown[0], "refunds": shown}, "Refund created successfully", status=201)


def _etag(change: Change) -> dict[str, str]:
    return {"ETag": etag(change.raw_session["version"])}
