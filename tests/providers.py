"""A payment provider on loopback: Razorpay's and Stripe's endpoints, as far as the library calls them, and the webhooks
they would send, signed as they sign them."""

import hashlib
import hmac
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import Any
from urllib.parse import parse_qsl

from bson import ObjectId
from pydantic import SecretStr

from confiido_booking import Settings

KEY_ID, KEY_SECRET, RAZORPAY_WEBHOOK = "rzp_test_key", "razorpay key secret", "razorpay webhook secret"
STRIPE_KEY, STRIPE_WEBHOOK = "sk_test_stand_in", "whsec_stand_in"

Webhook = tuple[bytes, dict[str, str]]


def with_providers(settings: Settings, base_url: str) -> Settings:
    """The same settings, with both providers at this address."""
    return settings.model_copy(
        update={
            "razorpay_key_id": KEY_ID,
            "razorpay_key_secret": SecretStr(KEY_SECRET),
            "razorpay_webhook_secret": SecretStr(RAZORPAY_WEBHOOK),
            "razorpay_base_url": base_url,
            "stripe_secret_key": SecretStr(STRIPE_KEY),
            "stripe_webhook_secret": SecretStr(STRIPE_WEBHOOK),
            "stripe_base_url": base_url,
        }
    )


def environment(base_url: str) -> dict[str, str]:
    """The same for a process of its own."""
    return {
        "CONFIIDO_RAZORPAY_KEY_ID": KEY_ID,
        "CONFIIDO_RAZORPAY_KEY_SECRET": KEY_SECRET,
        "CONFIIDO_RAZORPAY_WEBHOOK_SECRET": RAZORPAY_WEBHOOK,
        "CONFIIDO_RAZORPAY_BASE_URL": base_url,
        "CONFIIDO_STRIPE_SECRET_KEY": STRIPE_KEY,
        "CONFIIDO_STRIPE_WEBHOOK_SECRET": STRIPE_WEBHOOK,
        "CONFIIDO_STRIPE_BASE_URL": base_url,
        "CONFIIDO_LIVEKIT_URL": "wss://rooms.example.org",
        "CONFIIDO_LIVEKIT_API_KEY": "APIconfiido",
        "CONFIIDO_LIVEKIT_API_SECRET": "a secret that LiveKit and we share, long enough",
    }


@dataclass
class StandIn:
    """What the provider knows. ``says`` takes the place of its next answers: a status and a body."""

    base_url: str = ""
    orders: dict[str, dict[str, Any]] = field(default_factory=dict)
    intents: dict[str, dict[str, Any]] = field(default_factory=dict)
    refunds: dict[str, dict[str, Any]] = field(default_factory=dict)
    by_key: dict[str, dict[str, Any]] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    says: list[tuple[int, bytes]] = field(default_factory=list)
    hangs: float = 0
    refund_status: str = "processed"
    _numbers: Iterator[int] = field(default_factory=lambda: count(1))
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, method: str, path: str, headers: Any, body: bytes) -> tuple[int, bytes]:
        with self._lock:
            self.asked.append((method, path))
            if self.hangs:
                time.sleep(self.hangs)
            if self.says:
                return self.says.pop(0)
            key = headers.get("Idempotency-Key") or headers.get("X-Refund-Idempotency")
            if key and key in self.by_key:
                return 200, json.dumps(self.by_key[key]).encode()
            made = self._made(method, path, headers, body)
            if made is None:
                return 404, b'{"error": {"code": "BAD_REQUEST_ERROR", "description": "no such thing", "type": "x"}}'
            if key:
                self.by_key[key] = made
            return 200, json.dumps(made).encode()

    def _made(self, method: str, path: str, headers: Any, body: bytes) -> dict[str, Any] | None:
        if path == "/v1/orders":
            return self._order(json.loads(body))
        if path.startswith("/v1/payments/") and path.endswith("/refund"):
            return self._refund(path.split("/")[3], json.loads(body))
        if path == "/v1/payment_intents":
            return self._intent(dict(parse_qsl(body.decode())))
        if path.startswith("/v1/payment_intents/"):
            return self.intents.get(path.rpartition("/")[2])
        if path == "/v1/refunds":
            return self._stripe_refund(dict(parse_qsl(body.decode())))
        return None

    def _order(self, asked: dict[str, Any]) -> dict[str, Any]:
        made = {
            "id": f"order_{next(self._numbers):08d}",
            "entity": "order",
            "amount": asked["amount"],
            "amount_paid": 0,
            "currency": asked["currency"],
            "receipt": asked["receipt"],
            "status": "created",
            "notes": asked["notes"],
            "created_at": 1772442000,
        }
        return self.orders.setdefault(made["id"], made)

    def _refund(self, payment_id: str, asked: dict[str, Any]) -> dict[str, Any]:
        made = {
            "id": f"rfnd_{next(self._numbers):08d}",
            "entity": "refund",
            "amount": asked["amount"],
            "currency": "INR",
            "payment_id": payment_id,
            "notes": asked.get("notes", []),
            "status": self.refund_status,
        }
        return self.refunds.setdefault(made["id"], made)

    def _intent(self, asked: dict[str, str]) -> dict[str, Any]:
        number = next(self._numbers)
        made = {
            "id": f"pi_{number:08d}",
            "object": "payment_intent",
            "amount": int(asked["amount"]),
            "amount_received": 0,
            "currency": asked["currency"],
            "client_secret": f"pi_{number:08d}_secret",
            "status": "requires_payment_method",
            "payment_method_types": ["card"],
            "created": 1772442000,
        }
        return self.intents.setdefault(made["id"], made)

    def _stripe_refund(self, asked: dict[str, str]) -> dict[str, Any]:
        made = {
            "id": f"re_{next(self._numbers):08d}",
            "object": "refund",
            "amount": int(asked["amount"]),
            "currency": self.intents[asked["payment_intent"]]["currency"],
            "payment_intent": asked["payment_intent"],
            "metadata": {"refund_id": asked["metadata[refund_id]"]},
            "status": "succeeded" if self.refund_status == "processed" else self.refund_status,
        }
        return self.refunds.setdefault(made["id"], made)


@contextmanager
def stand_in() -> Iterator[StandIn]:
    """A provider on a port of its own, until the block ends."""
    provider = StandIn()

    class Answering(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer()

        def do_POST(self) -> None:
            self._answer()

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, said = provider.answer(self.command, self.path.partition("?")[0], self.headers, body)
            with suppress(ConnectionError):  # whoever asked may have given up
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(said)))
                self.end_headers()
                self.wfile.write(said)

        def log_message(self, format: str, *args: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
    provider.base_url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield provider
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def signature(order_id: str, payment_id: str, secret: str = KEY_SECRET) -> str:
    """What Razorpay's checkout gives the browser."""
    return hmac.new(secret.encode(), f"{order_id}|{payment_id}".encode(), hashlib.sha256).hexdigest()


def signed(raw: bytes, secret: str = RAZORPAY_WEBHOOK) -> str:
    """What Razorpay signs a webhook with."""
    return hmac.new(secret.encode(), raw, hashlib.sha256).hexdigest()


def razorpay_says(
    kind: str,
    at: datetime,
    *,
    event_id: str | None = None,
    secret: str = RAZORPAY_WEBHOOK,
    change: Callable[[dict[str, Any]], object] | None = None,
    **entities: dict[str, Any],
) -> Webhook:
    """A webhook of Razorpay's: ``razorpay_says("payment.captured", now, payment={…})``."""
    event: dict[str, Any] = {
        "entity": "event",
        "account_id": "acc_1",
        "event": kind,
        "contains": list(entities),
        "payload": {name: {"entity": {"entity": name, **entity}} for name, entity in entities.items()},
        "created_at": int(at.timestamp()),
    }
    if change is not None:
        change(event)
    raw = json.dumps(event).encode()
    return raw, {"x-razorpay-signature": signed(raw, secret), "x-razorpay-event-id": event_id or f"evt_{ObjectId()}"}


def stripe_says(
    kind: str,
    at: datetime,
    *,
    event_id: str | None = None,
    secret: str = STRIPE_WEBHOOK,
    change: Callable[[dict[str, Any]], object] | None = None,
    **thing: object,
) -> Webhook:
    """A webhook of Stripe's: ``stripe_says("payment_intent.succeeded", now, id="pi_1", …)``."""
    event: dict[str, Any] = {
        "id": event_id or f"evt_{ObjectId()}",
        "object": "event",
        "type": kind,
        "created": int(at.timestamp()),
        "data": {"object": thing},
    }
    if change is not None:
        change(event)
    raw = json.dumps(event).encode()
    stamp = int(at.timestamp())
    signed = hmac.new(secret.encode(), f"{stamp}.".encode() + raw, hashlib.sha256).hexdigest()
    return raw, {"stripe-signature": f"t={stamp},v1={signed}"}


def razorpay_payment(payment_id: str, order_id: str | None, amount: int, currency: str = "INR") -> dict[str, Any]:
    return {
        "id": payment_id,
        "order_id": order_id,
        "amount": amount,
        "currency": currency,
        "method": "upi",
        "status": "captured",
        "email": "ada@example.org",
    }


def razorpay_refund(
    refund_id: str, payment_id: str, amount: int, *, status: str = "processed", key: str | None = None
) -> dict[str, Any]:
    return {
        "id": refund_id,
        "payment_id": payment_id,
        "amount": amount,
        "currency": "INR",
        "status": status,
        "notes": {"refund_id": key} if key else [],
    }


def razorpay_dispute(dispute_id: str, payment_id: str, amount: int, **further: object) -> dict[str, Any]:
    return {"id": dispute_id, "payment_id": payment_id, "amount": amount, "currency": "INR", **further}
