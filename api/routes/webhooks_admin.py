"""Outgoing webhooks, as administrators keep them (ROUTES; docs/events.md says how a receiver verifies)."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from fastapi import Path, Query
from pydantic import BaseModel, Field

from api.door import Asking, Writing, router
from api.envelope import Answer, success
from api.schemas import READS, SHOWN, WRITES, Asked, Reply, Succeeded, WireId, refusals
from confiido_booking.events.log import MAX_SEQ
from confiido_booking.events.webhooks import MOST_LISTED

api = router("Administration", "/api/admin/webhooks")
WebhookId = Annotated[WireId, Path(alias="id")]


class WebhookAsked(Asked):
    url: str = Field(max_length=2000, examples=["https://example.org/confiido"])
    events: list[str] = Field(
        max_length=100,
        description="Types of events, families as `session.*`, or `*`",
        examples=[["session.confirmed", "payment.*"]],
    )


class ShownWebhook(BaseModel):
    model_config = SHOWN

    id: WireId
    url: str
    events: list[str]
    created_at: str


class CreatedWebhook(BaseModel):
    webhook: ShownWebhook
    secret: str = Field(description="Shown this once", examples=["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"])


class ShownWebhooks(BaseModel):
    webhooks: list[ShownWebhook]


class Attempt(BaseModel):
    model_config = SHOWN

    at: str
    duration_ms: int
    status: int | None = None
    error: str | None = None


class ShownDelivery(BaseModel):
    """``dead``: given up after three days; it can be replayed."""

    model_config = SHOWN

    id: WireId
    webhook_id: WireId
    event_id: WireId
    seq: int
    type: str
    state: Literal["pending", "delivered", "dead"]
    attempts: int
    next_attempt_at: str | None = None
    delivered_at: str | None = None
    log: list[Attempt] = Field(description="The latest attempts, at most 20")


class OneDelivery(BaseModel):
    delivery: ShownDelivery


class ShownDeliveries(BaseModel):
    model_config = SHOWN

    deliveries: list[ShownDelivery]
    next_cursor: int | None = Field(None, description="The `before` of the next request; absent on the last page")


@api.post(
    "", status_code=201, response_model=Succeeded[CreatedWebhook], responses=WRITES, summary="Tell an address of events"
)
async def create_webhook(writer: Writing, asked: WebhookAsked) -> Answer:
    """From now on. Each request is signed by Standard Webhooks with the secret that only this answer has."""
    made = await writer.confiido.webhooks.create(actor=writer.actor, url=asked.url, events=asked.events)
    return success({"webhook": _webhook(made), "secret": made["secret"]}, "Webhook created successfully", status=201)


@api.get("", response_model=Succeeded[ShownWebhooks], responses=READS | refusals(403), summary="The webhooks")
async def list_webhooks(caller: Asking) -> Answer:
    webhooks = await caller.confiido.webhooks.all(actor=caller.actor)
    return success({"webhooks": [_webhook(webhook) for webhook in webhooks]})


@api.delete("/{id}", response_model=Reply, responses=WRITES, summary="End a webhook")
async def delete_webhook(writer: Writing, webhook_id: WebhookId) -> Answer:
    """What it was still to be told is told no more, and the log of its deliveries goes with it."""
    await writer.confiido.webhooks.delete(webhook_id, actor=writer.actor)
    return success(message="Webhook deleted successfully")


@api.get(
    "/{id}/deliveries",
    response_model=Succeeded[ShownDeliveries],
    responses=READS | refusals(403),
    summary="What a webhook was told, and how it answered",
)
async def list_deliveries(
    caller: Asking,
    webhook_id: WebhookId,
    state: Literal["pending", "delivered", "dead"] | None = None,
    before: Annotated[int | None, Query(ge=1, le=MAX_SEQ, description="`nextCursor` of the page before")] = None,
    limit: Annotated[int, Query(ge=1, le=MOST_LISTED)] = 50,
) -> Answer:
    """The latest first."""
    found = await caller.confiido.webhooks.deliveries(
        webhook_id, actor=caller.actor, state=state, before=before, limit=limit
    )
    more = {"nextCursor": found[-1]["seq"]} if len(found) == limit else {}
    return success({"deliveries": [_delivery(delivery) for delivery in found], **more})


@api.post(
    "/deliveries/{id}/replay",
    response_model=Succeeded[OneDelivery],
    responses=WRITES,
    summary="Deliver once more",
)
async def replay_delivery(writer: Writing, delivery_id: WebhookId) -> Answer:
    delivery = await writer.confiido.webhooks.replay(delivery_id, actor=writer.actor)
    return success({"delivery": _delivery(delivery)}, "It will be delivered once more")


def _webhook(webhook: Mapping[str, Any]) -> dict[str, Any]:
    return {"id": webhook["_id"], **{name: webhook[name] for name in ("url", "events", "createdAt")}}


def _delivery(delivery: Mapping[str, Any]) -> dict[str, Any]:
    names = ("webhookId", "eventId", "seq", "type", "state", "attempts", "deliveredAt", "log")
    due = {"nextAttemptAt": delivery["nextAttemptAt"]} if delivery["state"] == "pending" else {}
    return {"id": delivery["_id"], **{name: delivery[name] for name in names if name in delivery}, **due}
