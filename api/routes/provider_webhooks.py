"""Where payment providers tell what happened: raw bytes of any media type, believed by their signature alone."""

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field
from starlette.requests import Request

from api import body
from api.door import library
from api.envelope import Answer
from api.schemas import Refusal, refusals
from confiido_booking.payments.provider import ProviderName

api = APIRouter(prefix="/api/webhooks", tags=["Webhooks"])

_ANY_BYTES: dict[str, Any] = {
    "requestBody": {
        "description": "The event as the provider signed it",
        "required": True,
        "content": {"*/*": {"schema": {"type": "string", "format": "binary"}}},
    }
}
_UNSIGNED: dict[int | str, dict[str, Any]] = {
    400: {"model": Refusal, "description": "`invalid_signature`, or `malformed_event`: signed, but not to be read"}
}


class Received(BaseModel):
    received: bool = Field(examples=[True])


DESCRIBED: dict[str, Any] = {
    "response_model": Received,
    "responses": _UNSIGNED | refusals(413, 429, 500, 503),
    "openapi_extra": _ANY_BYTES,
}


@api.post("/razorpay", **DESCRIBED, summary="An event of Razorpay's, by its X-Razorpay-Signature")
async def from_razorpay(request: Request) -> Answer:
    """Answered with 200 once it is stored; also for replays, and for types that concern nobody here."""
    return await _received(request, ProviderName.RAZORPAY)


@api.post("/stripe", **DESCRIBED, summary="An event of Stripe's, by its Stripe-Signature")
async def from_stripe(request: Request) -> Answer:
    """Answered with 200 once it is stored; also for replays, and for types that concern nobody here."""
    return await _received(request, ProviderName.STRIPE)


async def _received(request: Request, provider: ProviderName) -> Answer:
    confiido = library(request)
    raw = await body.received(request, confiido.settings.max_body_bytes)
    await confiido.payments.receive(provider, raw, request.headers)
    return Answer({"received": True})
