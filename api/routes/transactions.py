"""A client's payments as the frontend's payments page reads them: without the envelope (FRONTEND 2.14)."""

from decimal import Decimal
from typing import Annotated, Literal

from fastapi import Query
from pydantic import BaseModel, Field

from api.answers import received
from api.door import Asking, router
from api.envelope import Answer
from api.routes.queries import word
from api.schemas import READS, SHOWN, refusals
from confiido_booking.database.documents import Instant
from confiido_booking.ids import Id
from confiido_booking.ledger.models import Entry, Place
from confiido_booking.money import Money
from confiido_booking.payments.listing import STATUSES, PaymentPage, TransactionStats, TransactionStatus

api = router("Payments", "/api/transactions")

_NAMES = {Place.ORDER: "Order", Place.INVOICE: "Invoice"}


class TransactionQuery(BaseModel):
    page: int = Field(1, ge=1, le=10_000)
    limit: int = Field(20, ge=1, le=100)
    status: str | None = Field(None, max_length=50, examples=["completed"])
    type: str | None = Field(None, max_length=50, description="Only `booking` finds any", examples=["booking"])


class Transaction(BaseModel):
    model_config = SHOWN

    id: Id = Field(alias="_id")
    transaction_id: str = Field(description="The provider's, or our own where there is none")
    service: str
    type: Literal["booking"]
    amount: Money
    currency: str
    payment_method: str
    status: TransactionStatus
    session_id: Id | None = None
    created_at: Instant


class Stats(BaseModel):
    """Of all the caller's payments. `totalSpent` is money received less refunds."""

    model_config = SHOWN

    total: int
    completed: int
    failed: int
    pending: int
    refunded: int
    total_spent: Money
    received: dict[str, Money] = Field(description="The same, per currency")


class Pages(BaseModel):
    page: int
    limit: int
    total: int
    pages: int


class Transactions(BaseModel):
    transactions: list[Transaction]
    stats: Stats
    pagination: Pages


@api.get(
    "/user",
    response_model=Transactions,
    responses=READS | refusals(403),
    summary="The caller's payments, without envelope",
)
async def own_transactions(asking: Asking, query: Annotated[TransactionQuery, Query()]) -> Answer:
    named = word(query.status, "status", [status.value for status in TransactionStatus])
    page, stats = await asking.confiido.payments.transactions(
        actor=asking.actor,
        status=TransactionStatus(named) if named else None,
        page=query.page,
        limit=query.limit,
    )
    if query.type and query.type.casefold() != "booking":
        page = PaymentPage(entries=[], total=0, page=query.page, limit=query.limit)
    return Answer(
        {
            "transactions": [_shown(entry, page) for entry in page.entries],
            "stats": _stats(stats, asking.confiido.settings.currency),
            "pagination": {"page": page.page, "limit": page.limit, "total": page.total, "pages": page.pages},
        }
    )


def _shown(entry: Entry, page: PaymentPage) -> dict[str, object]:
    target = entry.target
    of_session = {"sessionId": target.id} if target and target.to is Place.SESSION else {}
    title = page.titles.get(target.id, "Session") if of_session and target else None
    return {
        "_id": entry.id,
        "transactionId": entry.provider_payment_id or str(entry.id),
        "service": title or (_NAMES.get(target.to, "Payment") if target else "Payment"),
        "type": "booking",
        "amount": entry.amount,
        "currency": entry.currency,
        "paymentMethod": entry.method or entry.provider,
        "status": STATUSES[entry.state].value,
        **of_session,
        "createdAt": entry.created_at,
    }


def _stats(stats: TransactionStats, currency: str) -> dict[str, object]:
    counts = {status.value: count for status, count in stats.by_status.items()}
    spent: Decimal = received(stats, currency)
    return {"total": stats.total, **counts, "totalSpent": spent, "received": stats.received}
