"""Razorpay: orders that a frontend's checkout pays, by Razorpay's own library (docs/decisions/0030).

The library is synchronous and prints to standard output where the network fails, so its calls run in a thread, over a
session that turns every such failure into an exception of ours before the library sees it.
"""

import asyncio
import hashlib
from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

import razorpay  # type: ignore[import-untyped]
import requests
from bson import ObjectId
from razorpay.errors import (  # type: ignore[import-untyped]
    BadRequestError,
    GatewayError,
    ServerError,
    SignatureVerificationError,
)

from confiido_booking.errors import Invalid, InvalidSignature, MalformedEvent, PaymentNotVerified
from confiido_booking.ledger.models import DisputeState, EntryState
from confiido_booking.ledger.providers import RefundAnswer
from confiido_booking.payments import payload
from confiido_booking.payments.amounts import RAZORPAY
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

NAME = "Razorpay"
_REFUNDS = {"processed": EntryState.SETTLED, "failed": EntryState.FAILED}
_DISPUTES = {"won": DisputeState.WON, "lost": DisputeState.LOST}
_TEMPORARY = {401, 403, 409, 429}  # a wrong key is the operator's to mend, not the caller's


class _NoAnswer(Exception):
    """Nothing that the library could read came back."""


class _Session(requests.Session):
    """The library's way out. Raises _NoAnswer for whatever is not Razorpay's own yes or no."""

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        try:
            answer = super().send(request, **options)
            said = answer.json()
        except (requests.RequestException, ValueError) as error:
            raise _NoAnswer from error
        refused = isinstance(said, dict) and isinstance(said.get("error"), dict)
        if answer.status_code >= 500 or answer.status_code in _TEMPORARY or not (answer.ok or refused):
            raise _NoAnswer
        return answer


class Razorpay:
    """A payment is captured by Razorpay itself as soon as it is authorised: that is what is asked of each order."""

    def __init__(self, settings: Settings) -> None:
        key_id, secret, webhook = (
            settings.razorpay_key_id,
            settings.razorpay_key_secret,
            settings.razorpay_webhook_secret,
        )
        self._auth = (key_id, secret.get_secret_value()) if key_id and secret else None
        self._webhook_secret = webhook.get_secret_value() if webhook else None
        self._address = {"base_url": settings.razorpay_base_url.rstrip("/")} if settings.razorpay_base_url else {}

    async def open(self, wanted: Wanted) -> Checkout:
        asked = {
            "amount": RAZORPAY.of(wanted.amount, wanted.currency),
            "currency": wanted.currency,
            "receipt": wanted.receipt,
            "notes": dict(wanted.notes),
            "payment_capture": 1,
        }
        order = await self._call(lambda client: client.order.create(asked, timeout=TIMEOUT_SECONDS))
        order_id = order.get("id")
        if not isinstance(order_id, str) or order.get("amount") != asked["amount"]:
            raise unavailable(NAME)
        return self._checkout(order_id, wanted, order.get("created_at"), order.get("status"))

    async def again(self, order_id: str, wanted: Wanted, opened_at: datetime) -> Checkout:
        """From what is known here: an order does not lapse, nor change."""
        return self._checkout(order_id, wanted, int(opened_at.timestamp()), "created")

    def _checkout(self, order_id: str, wanted: Wanted, created_at: object, status: object) -> Checkout:
        key_id, _ = self._credentials()
        fields = {
            "id": order_id,
            "entity": "order",
            "amount": RAZORPAY.of(wanted.amount, wanted.currency),
            "currency": wanted.currency,
            "receipt": wanted.receipt,
            "status": status,
            "created_at": created_at,
            "key_id": key_id,
        }
        return Checkout(order_id, fields)

    async def verify(self, returned: Mapping[str, str]) -> Returned:
        """``razorpay_order_id``, ``razorpay_payment_id`` and their ``razorpay_signature``; asks nobody."""
        client = self._client()
        try:
            client.utility.verify_payment_signature(dict(returned))
        except (SignatureVerificationError, KeyError, TypeError, UnicodeError):
            raise PaymentNotVerified("The payment's signature is not Razorpay's") from None
        return Returned(returned["razorpay_order_id"], returned["razorpay_payment_id"])

    @property
    def name(self) -> str:
        return ProviderName.RAZORPAY.value

    async def refund(
        self, *, refund_id: ObjectId, provider_payment_id: str, amount: Decimal, currency: str
    ) -> RefundAnswer:
        try:
            asked = {"amount": RAZORPAY.of(amount, currency), "notes": {"refund_id": str(refund_id)}}
            refund = await self._call(
                lambda client: client.payment.refund(
                    provider_payment_id,
                    asked,
                    headers={"X-Refund-Idempotency": str(refund_id)},
                    timeout=TIMEOUT_SECONDS,
                )
            )
        except Invalid as refusal:
            return RefundAnswer(state=EntryState.FAILED, reason=refusal.code)
        their_id = refund.get("id")
        if not isinstance(their_id, str):
            raise unavailable(NAME)
        return RefundAnswer(state=_refund_state(refund), provider_refund_id=their_id)

    async def close(self) -> None:
        return

    def told(self, raw: bytes, headers: Mapping[str, str], now: datetime) -> Told:
        if self._webhook_secret is None:
            raise not_configured("The secret of Razorpay's webhooks")
        try:
            razorpay.Utility().verify_webhook_signature(
                raw.decode(), headers.get("x-razorpay-signature", ""), self._webhook_secret
            )
        except (SignatureVerificationError, TypeError, UnicodeError):
            raise InvalidSignature() from None
        event = payload.parsed(raw)
        kind = payload.word(event, "event")
        if kind is None:
            raise MalformedEvent("The event has no event")
        return Told(event_id=_event_id(raw, headers), type=kind, facts=tuple(_facts(kind, event)))

    async def _call(self, ask: Callable[[Any], Any]) -> Part:
        client = self._client()
        try:
            async with asyncio.timeout(2 * TIMEOUT_SECONDS):
                answer = await asyncio.to_thread(ask, client)
        except BadRequestError as error:
            raise Invalid("Razorpay does not accept this payment", code="provider_refused") from error
        except (_NoAnswer, GatewayError, ServerError, TimeoutError) as error:
            raise unavailable(NAME) from error
        if not isinstance(answer, dict):
            raise unavailable(NAME)
        return answer

    def _client(self) -> Any:
        """A client of its own for each call: its session is not made for several threads."""
        return razorpay.Client(session=_Session(), auth=self._credentials(), **self._address)

    def _credentials(self) -> tuple[str, str]:
        if self._auth is None:
            raise not_configured(NAME)
        return self._auth


def _event_id(raw: bytes, headers: Mapping[str, str]) -> str:
    """Razorpay's id of the event is in a header that nobody signs, so it counts only together with the body."""
    digest = hashlib.sha256(raw).hexdigest()[:32]
    given = payload.optional_identifier(headers, "x-razorpay-event-id")
    return f"{given}:{digest}" if given else digest


def _facts(kind: str, event: Part) -> list[Fact]:
    if kind in ("payment.captured", "order.paid"):
        return [_captured(payload.part(event, "payload", "payment", "entity"), event)]
    if kind == "payment.failed":
        return [_failed(payload.part(event, "payload", "payment", "entity"), event)]
    if kind.startswith("refund."):
        return [_refunded(payload.part(event, "payload", "refund", "entity"), event)]
    if kind.startswith("payment.dispute."):
        return [_disputed(kind, payload.part(event, "payload", "dispute", "entity"), event)]
    return []


def _captured(payment: Part, event: Part) -> Captured:
    amount, currency = payload.money(payment, "amount", RAZORPAY)
    return Captured(
        payment_id=payload.identifier(payment, "id"),
        order_id=payload.optional_identifier(payment, "order_id"),
        amount=amount,
        currency=currency,
        method=payload.word(payment, "method"),
        at=payload.moment(event, "created_at"),
    )


def _failed(payment: Part, event: Part) -> Failed:
    return Failed(
        payment_id=payload.identifier(payment, "id"),
        order_id=payload.optional_identifier(payment, "order_id"),
        at=payload.moment(event, "created_at"),
    )


def _refunded(refund: Part, event: Part) -> Refunded:
    amount, currency = payload.money(refund, "amount", RAZORPAY)
    return Refunded(
        refund_id=payload.identifier(refund, "id"),
        payment_id=payload.identifier(refund, "payment_id"),
        amount=amount,
        currency=currency,
        state=_refund_state(refund),
        key=payload.our_id(refund.get("notes"), "refund_id"),
        at=payload.moment(event, "created_at"),
    )


def _refund_state(refund: Part) -> EntryState:
    return _REFUNDS.get(payload.word(refund, "status") or "", EntryState.PENDING)


def _disputed(kind: str, dispute: Part, event: Part) -> Disputed:
    amount, currency = payload.money(dispute, "amount", RAZORPAY)
    outcome = kind.rpartition(".")[2]
    if outcome == "closed":  # lost only where Razorpay took the money back
        outcome = "lost" if dispute.get("amount_deducted") else "won"
    return Disputed(
        dispute_id=payload.identifier(dispute, "id"),
        payment_id=payload.identifier(dispute, "payment_id"),
        amount=amount,
        currency=currency,
        state=_DISPUTES.get(outcome, DisputeState.OPEN),
        at=payload.moment(event, "created_at"),
    )
