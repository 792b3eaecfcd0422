"""Stripe: one PaymentIntent for each attempt, by Stripe's own library over an asynchronous client.

A PaymentIntent is Stripe's order and payment in one: both ids are its own.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import stripe
from bson import ObjectId

from confiido_booking.errors import Invalid, InvalidSignature, MalformedEvent, PaymentNotVerified
from confiido_booking.ledger.models import DisputeState, EntryState
from confiido_booking.ledger.providers import RefundAnswer
from confiido_booking.payments import payload
from confiido_booking.payments.amounts import STRIPE
from confiido_booking.payments.payload import Part
from confiido_booking.payments.provider import (
    TIMEOUT_SECONDS,
    Captured,
    Checkout,
    Disputed,
    Fact,
    Failed,
    ProviderName,
    Refunded,
    Returned,
    Told,
    Wanted,
    not_configured,
    unavailable,
)
from confiido_booking.settings import Settings

NAME = "Stripe"
TOLERANCE = timedelta(minutes=5)  # how old a signed webhook may be, as Stripe's library has it
_REFUNDS = {"succeeded": EntryState.SETTLED, "failed": EntryState.FAILED, "canceled": EntryState.FAILED}
_DISPUTES = {"won": DisputeState.WON, "warning_closed": DisputeState.WON, "lost": DisputeState.LOST}
_REFUSALS = (stripe.InvalidRequestError, stripe.CardError)


class Stripe:
    def __init__(self, settings: Settings) -> None:
        key, webhook = settings.stripe_secret_key, settings.stripe_webhook_secret
        self._key = key.get_secret_value() if key else None
        self._webhook_secret = webhook.get_secret_value() if webhook else None
        self._base_url = settings.stripe_base_url.rstrip("/") if settings.stripe_base_url else None
        self._opened: tuple[stripe.StripeClient, stripe.HTTPXClient] | None = None

    async def open(self, wanted: Wanted) -> Checkout:
        units = STRIPE.of(wanted.amount, wanted.currency)
        intent = await self._call(
            lambda client: client.v1.payment_intents.create_async(
                {
                    "amount": units,
                    "currency": wanted.currency.lower(),
                    "automatic_payment_methods": {"enabled": True},
                    "metadata": dict(wanted.notes),
                },
                {"idempotency_key": wanted.key},
            )
        )
        return _checkout(intent, units)

    async def again(self, order_id: str, wanted: Wanted, opened_at: datetime) -> Checkout | None:
        """Asked of Stripe: the client's secret of an intent is not kept here."""
        intent = await self._call(lambda client: client.v1.payment_intents.retrieve_async(order_id))
        return (
            None if intent.get("status") == "canceled" else _checkout(intent, STRIPE.of(wanted.amount, wanted.currency))
        )

    async def verify(self, returned: Mapping[str, str]) -> Returned:
        """``payment_intent``, the id in the address that Stripe returns to; Stripe is asked whether it is paid."""
        try:
            asked = payload.identifier(returned, "payment_intent")
            intent = await self._call(lambda client: client.v1.payment_intents.retrieve_async(asked))
        except (MalformedEvent, Invalid):
            raise PaymentNotVerified("Stripe knows of no such payment") from None
        if intent.get("id") != asked or intent.get("status") != "succeeded":
            raise PaymentNotVerified("Stripe knows of no such payment")
        return Returned(asked, asked)

    @property
    def name(self) -> str:
        return ProviderName.STRIPE.value

    async def refund(
        self, *, refund_id: ObjectId, provider_payment_id: str, amount: Decimal, currency: str
    ) -> RefundAnswer:
        try:
            units = STRIPE.of(amount, currency)
            refund = await self._call(
                lambda client: client.v1.refunds.create_async(
                    {
                        "payment_intent": provider_payment_id,
                        "amount": units,
                        "metadata": {"refund_id": str(refund_id)},
                    },
                    {"idempotency_key": str(refund_id)},
                )
            )
        except Invalid as refusal:
            return RefundAnswer(state=EntryState.FAILED, reason=refusal.code)
        their_id = refund.get("id")
        if not isinstance(their_id, str):
            raise unavailable(NAME)
        return RefundAnswer(state=_refund_state(refund), provider_refund_id=their_id)

    async def close(self) -> None:
        if self._opened is not None:
            _, http = self._opened
            self._opened = None
            await http.close_async()  # type: ignore[no-untyped-call]

    def told(self, raw: bytes, headers: Mapping[str, str], now: datetime) -> Told:
        if self._webhook_secret is None:
            raise not_configured("The secret of Stripe's webhooks")
        header = headers.get("stripe-signature")
        try:
            stripe.WebhookSignature.verify_header(raw, header, self._webhook_secret)
            signed_at = _signed_at(header or "")
        except (stripe.SignatureVerificationError, ValueError, TypeError):
            raise InvalidSignature() from None
        if signed_at < (now - TOLERANCE).timestamp():
            raise InvalidSignature("The signature is too old")
        event = payload.parsed(raw)
        kind = payload.word(event, "type")
        if kind is None:
            raise MalformedEvent("The event has no type")
        return Told(event_id=payload.identifier(event, "id"), type=kind, facts=tuple(_facts(kind, event)))

    async def _call(self, ask: Callable[[stripe.StripeClient], Awaitable[Any]]) -> Part:
        try:
            async with asyncio.timeout(2 * TIMEOUT_SECONDS):
                answer = await ask(self._client())
        except _REFUSALS as error:
            raise Invalid("Stripe does not accept this payment", code="provider_refused") from error
        except (stripe.StripeError, TimeoutError, AttributeError) as error:  # it trips over an error that is no object
            raise unavailable(NAME) from error
        if not isinstance(answer, stripe.StripeObject):
            raise unavailable(NAME)
        return answer.to_dict()

    def _client(self) -> stripe.StripeClient:
        if self._key is None:
            raise not_configured(NAME)
        if self._opened is None:
            http = stripe.HTTPXClient(timeout=TIMEOUT_SECONDS)
            client = stripe.StripeClient(
                self._key,
                base_addresses={"api": self._base_url} if self._base_url else None,
                http_client=http,
                max_network_retries=0,
            )
            self._opened = client, http
        return self._opened[0]


def _signed_at(header: str) -> int:
    """The ``t`` that the signature has been found to cover."""
    return next(int(value) for name, _, value in (item.partition("=") for item in header.split(",")) if name == "t")


def _checkout(intent: Part, units: int) -> Checkout:
    intent_id = intent.get("id")
    if not isinstance(intent_id, str) or intent.get("amount") != units:
        raise unavailable(NAME)
    shown = ("id", "object", "amount", "currency", "client_secret", "status", "created")
    return Checkout(intent_id, {name: intent[name] for name in shown if name in intent})


def _facts(kind: str, event: Part) -> list[Fact]:
    thing = payload.part(event, "data", "object")
    at = payload.moment(event, "created")
    if kind == "payment_intent.succeeded":
        return [_captured(thing, at)]
    if kind in ("payment_intent.payment_failed", "payment_intent.canceled"):
        intent_id = payload.identifier(thing, "id")
        return [Failed(payment_id=intent_id, order_id=intent_id, at=at)]
    if kind.startswith("refund.") or kind == "charge.refund.updated":
        return _refunded(thing, at)
    if kind == "charge.refunded":
        listed = thing.get("refunds")
        refunds = listed.get("data") if isinstance(listed, dict) else None
        return [fact for each in refunds or () if isinstance(each, dict) for fact in _refunded(each, at)]
    if kind in ("charge.dispute.created", "charge.dispute.updated", "charge.dispute.closed"):
        return _disputed(thing, at)
    return []


def _captured(intent: Part, at: datetime) -> Captured:
    amount, currency = payload.money(intent, "amount_received", STRIPE)
    methods = intent.get("payment_method_types")
    intent_id = payload.identifier(intent, "id")
    return Captured(
        payment_id=intent_id,
        order_id=intent_id,
        amount=amount,
        currency=currency,
        method=payload.word({"method": methods[0]}, "method") if isinstance(methods, list) and methods else None,
        at=at,
    )


def _refunded(refund: Part, at: datetime) -> list[Fact]:
    """Nothing where it is of a charge without a PaymentIntent: none of ours is."""
    intent_id = payload.optional_identifier(refund, "payment_intent")
    if intent_id is None:
        return []
    amount, currency = payload.money(refund, "amount", STRIPE)
    return [
        Refunded(
            refund_id=payload.identifier(refund, "id"),
            payment_id=intent_id,
            amount=amount,
            currency=currency,
            state=_refund_state(refund),
            key=payload.our_id(refund.get("metadata"), "refund_id"),
            at=at,
        )
    ]


def _refund_state(refund: Part) -> EntryState:
    return _REFUNDS.get(payload.word(refund, "status") or "", EntryState.PENDING)


def _disputed(dispute: Part, at: datetime) -> list[Fact]:
    intent_id = payload.optional_identifier(dispute, "payment_intent")
    if intent_id is None:
        return []
    amount, currency = payload.money(dispute, "amount", STRIPE)
    return [
        Disputed(
            dispute_id=payload.identifier(dispute, "id"),
            payment_id=intent_id,
            amount=amount,
            currency=currency,
            state=_DISPUTES.get(payload.word(dispute, "status") or "", DisputeState.OPEN),
            at=at,
        )
    ]
