"""Orders over HTTP (ROUTES, seed 4.10, 4.11): one purchase, all the sessions it gives."""

from typing import Annotated, Any

from fastapi import Path, Query
from pydantic import BaseModel, Field

from api.door import Asking, Writer, Writing, router
from api.envelope import Answer, success
from api.routes import seat_bookings
from api.routes.seat_bookings import SeatBooking
from api.routes.services import SNAKE, PlainPagination
from api.schemas import READS, WRITES, Succeeded, WireId, refusals
from confiido_booking.bookings.views import ClientRef
from confiido_booking.catalog.models import ServiceType
from confiido_booking.catalog.rules import cents, price_of
from confiido_booking.errors import Invalid
from confiido_booking.ids import Id
from confiido_booking.orders.models import OrderStatus
from confiido_booking.orders.reading import OrderFilter, OrderView

api = router("Orders", "/api/v1/orders")

OrderId = Annotated[WireId, Path(alias="id")]


class OrderAsked(BaseModel):
    """`service_session_id` of a workshop, `starts_at` of an individual service; the others need neither."""

    model_config = SNAKE

    service_id: Id
    service_session_id: Id | None = None
    starts_at: str | None = Field(None, max_length=40, examples=["2026-03-16T18:00:00+01:00"])
    timezone: str | None = Field(None, max_length=64, description="Default: the expert's", examples=["Europe/Berlin"])
    client_id: Id | None = Field(None, description="For whom staff buys")
    client_email: str | None = Field(None, max_length=320)
    client_name: str | None = Field(None, max_length=200)
    client_phone: str | None = Field(None, max_length=40)


class OrderCancelled(BaseModel):
    model_config = SNAKE

    session_ids: list[Id] | None = Field(None, max_length=200, description="Default: all that have not started")
    reason: str | None = Field(None, max_length=500)


class OrderPaid(BaseModel):
    """Money that was received for all of it, or a part."""

    model_config = SNAKE

    amount_cents: int | None = Field(None, ge=1, strict=True, description="Default: all that is outstanding")
    payment_method: str | None = Field(None, min_length=1, max_length=50, examples=["cash"])
    reference: str | None = Field(None, min_length=1, max_length=500)


class OrderShown(BaseModel):
    """Money in the currency's minor unit. ``price_cents`` is what was sold."""

    model_config = SNAKE

    id: Id
    reference: str = Field(examples=["CO-7K3M9-QX2TP"])
    status: OrderStatus
    client_id: Id
    service_id: Id | None = None
    service_version: int | None = None
    service_type: ServiceType | None = None
    title: str | None = None
    price_cents: int
    paid_cents: int
    refunded_cents: int
    currency: str
    hold_until: str | None = Field(None, description="Until when what it holds is held unpaid")
    valid_until: str | None = Field(None, description="Until when its drafts can be scheduled")
    created_at: str
    bookings: list[SeatBooking]


class OneOrder(BaseModel):
    order: OrderShown


class Ordered(OneOrder):
    bookings: list[SeatBooking]


class OrderGivenUp(Ordered):
    refund_cents: int = Field(description="What is due back for what was cancelled")


class OrderList(BaseModel):
    orders: list[OrderShown]
    pagination: PlainPagination


class SessionTerms(BaseModel):
    model_config = SNAKE

    id: Id
    allowed: bool
    refund_cents: int
    fee_cents: int


class OrderTerms(BaseModel):
    """What cancelling all that has not begun would give back now."""

    model_config = SNAKE

    allowed: bool
    refund_cents: int
    fee_cents: int
    currency: str
    until: str | None = Field(None, description="Up to when this answer holds")
    code: str | None = Field(None, description="Why it is not allowed", examples=["whole_order_only"])
    bookings: list[SessionTerms]


class OrderQuery(BaseModel):
    model_config = SNAKE

    status: OrderStatus | None = None
    client_id: WireId | None = None
    service_id: WireId | None = None
    page: int = Field(1, ge=1, le=10_000)
    limit: int = Field(20, ge=1, le=100)


@api.post("", status_code=201, response_model=Succeeded[Ordered], responses=WRITES, summary="Buy a service")
async def create_order(writer: Writing, asked: OrderAsked) -> Answer:
    """All that it gives, or nothing. Where payment is due the places are held until `hold_until`."""
    view = await writer.confiido.orders.create(
        asked.service_id,
        actor=writer.actor,
        client=await _client_of(writer, asked),
        service_session_id=asked.service_session_id,
        starts_at=asked.starts_at,
        timezone=asked.timezone,
        request_key=writer.request_key,
    )
    return success(_with_bookings(view), "Order created successfully", status=201)


async def _client_of(writer: Writer, asked: OrderAsked) -> ClientRef | None:
    if asked.client_id is None and asked.client_email is None:
        return None
    if not writer.actor.is_staff:
        return ClientRef(client_id=asked.client_id) if asked.client_id is not None else None
    return await writer.confiido.customers.client_of(
        client_id=asked.client_id, email=asked.client_email, name=asked.client_name, phone=asked.client_phone
    )


@api.get("", response_model=Succeeded[OrderList], responses=READS | refusals(403), summary="Orders, the latest first")
async def list_orders(caller: Asking, query: Annotated[OrderQuery, Query()]) -> Answer:
    """A client's own; all for staff."""
    wanted = OrderFilter(status=query.status, client_id=query.client_id, service_id=query.service_id)
    found = await caller.confiido.orders.list(actor=caller.actor, filters=wanted, page=query.page, limit=query.limit)
    counts = {"page": found.page, "limit": found.limit, "total": found.total, "pages": found.pages}
    return success({"orders": [wire(view) for view in found.orders], "pagination": counts})


@api.get("/{id}", response_model=Succeeded[OneOrder], responses=READS, summary="One order with its bookings")
async def read_order(caller: Asking, order_id: OrderId) -> Answer:
    return success({"order": wire(await caller.confiido.orders.get(order_id, actor=caller.actor))})


@api.get(
    "/{id}/cancellation", response_model=Succeeded[OrderTerms], responses=READS, summary="What cancelling gives back"
)
async def order_cancellation(caller: Asking, order_id: OrderId) -> Answer:
    """Each session by its own start and share; what has begun stays."""
    terms = await caller.confiido.orders.cancellation(order_id, actor=caller.actor)
    code = terms.currency
    data = {
        "allowed": terms.allowed,
        "refund_cents": cents(terms.refund_amount, code),
        "fee_cents": cents(terms.fee, code),
        "currency": code,
        **({"until": terms.until} if terms.until else {}),
        **({"code": terms.refusal.code} if terms.refusal else {}),
        "bookings": [
            {
                "id": session_id,
                "allowed": each.allowed,
                "refund_cents": cents(each.refund_amount, code),
                "fee_cents": cents(each.fee, code),
            }
            for session_id, each in terms.sessions.items()
        ],
    }
    return success(data)


@api.post(
    "/{id}/cancel", response_model=Succeeded[OrderGivenUp], responses=WRITES, summary="Cancel an order, or a part"
)
async def cancel_order(writer: Writing, order_id: OrderId, asked: OrderCancelled | None = None) -> Answer:
    """In one update. What is due back is paid back by an administrator, or by the worker."""
    asked = asked or OrderCancelled()
    done = await writer.confiido.orders.cancel(
        order_id,
        actor=writer.actor,
        session_ids=asked.session_ids,
        reason=asked.reason,
        request_key=writer.request_key,
    )
    refund = cents(done.refund_due, done.order.order.currency)
    return success({**_with_bookings(done.order), "refund_cents": refund}, "Order cancelled successfully")


@api.put("/{id}/paid", response_model=Succeeded[Ordered], responses=WRITES, summary="Money was received for an order")
async def order_paid(writer: Writing, order_id: OrderId, asked: OrderPaid | None = None) -> Answer:
    """Admin, service. It goes to the sessions in proportion to what each owes; wholly paid, they are confirmed."""
    asked = asked or OrderPaid()
    found = await writer.confiido.orders.get(order_id, actor=writer.actor)
    amount = None
    if asked.amount_cents is not None:
        try:
            amount = price_of(asked.amount_cents, found.order.currency, field="amount_cents")
        except ArithmeticError:
            raise Invalid("amount_cents is out of range", code="invalid_amount") from None
    view = await writer.confiido.orders.pay(
        order_id,
        actor=writer.actor,
        amount=amount,
        method=asked.payment_method,
        reference=asked.reference,
        request_key=writer.request_key,
    )
    return success(_with_bookings(view), "Payment recorded successfully")


def wire(view: OrderView) -> dict[str, Any]:
    """An order as the wire has it, with what follows from its sessions at this moment."""
    order, standing = view.order, view.standing
    known = {
        "service_id": order.service_id,
        "service_version": order.service_version,
        "service_type": order.service_type,
        "title": order.title,
        "hold_until": standing.held_until if view.status is OrderStatus.PENDING_PAYMENT else None,
        "valid_until": order.valid_until,
    }
    return {
        "id": order.id,
        "reference": order.reference,
        "status": view.status.value,
        "client_id": order.client_id,
        **{name: value for name, value in known.items() if value is not None},
        "price_cents": cents(order.price, order.currency),
        "paid_cents": cents(standing.paid, order.currency),
        "refunded_cents": cents(standing.refunded, order.currency),
        "currency": order.currency,
        "created_at": order.created_at,
        "bookings": [seat_bookings.wire(each, order.client_id, view.now) for each in view.raw_sessions],
    }


def _with_bookings(view: OrderView) -> dict[str, Any]:
    shown = wire(view)
    return {"order": shown, "bookings": shown["bookings"]}
