"""``python -m bench.webhooks [--write]``: taking in a provider's webhooks, in documents of 50 sessions."""

import argparse
import asyncio
import hashlib
import hmac
import json
import sys
from datetime import datetime
from functools import partial
from statistics import median
from uuid import uuid4

from pydantic import SecretStr

from bench import commands, report, server
from bench.marketplace import DURATION, Likeness
from bench.timing import seconds
from confiido_booking import Confiido, Settings
from confiido_booking.ledger.models import Place
from confiido_booking.payments.provider import ProviderName

SECRET = "the secret of the bench's webhooks"
HEADING = report.SECTIONS[2]
_TOLD = ("payment.captured", "the same again", "refund.processed")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.webhooks", description=__doc__)
    parser.add_argument("--payments", type=int, default=40, help="payments to take in (40)")
    parser.add_argument("--write", action="store_true", help="write the section into docs/benchmarks.md")
    arguments = parser.parse_args()
    try:
        section = asyncio.run(_measure(arguments.payments))
    except server.NoServer as error:
        sys.exit(str(error))
    print(section)
    if arguments.write:
        report.DOCUMENT.write_text(report.replaced(report.DOCUMENT.read_text(), HEADING, section))


async def _measure(payments: int) -> str:
    name = f"confiido_bench_{uuid4().hex[:8]}"
    settings = Settings().model_copy(update={"razorpay_webhook_secret": SecretStr(SECRET)})
    uri = server.with_database(server.database_server(), name)
    async with Confiido.connect(uri, settings=settings) as confiido:
        try:
            await confiido.ensure_indexes()
            like = await Likeness.taken(confiido)
            scenes = await commands.scenes(confiido, like, payments, sessions=commands.SESSIONS - 1)
            times: dict[str, list[float]] = {told: [] for told in _TOLD}
            sent: dict[str, set[int]] = {told: set() for told in _TOLD}
            for number, scene in enumerate(scenes):
                webhooks = await _webhooks(confiido, scene, number)
                for told, (raw, headers) in zip(_TOLD, webhooks, strict=True):
                    before = confiido.store.commands
                    took, _ = await seconds(partial(confiido.payments.receive, ProviderName.RAZORPAY, raw, headers))
                    times[told].append(took)
                    sent[told].add(confiido.store.commands - before)
        finally:
            await confiido.store.client.drop_database(name)
    return _section(times, sent, payments)


async def _webhooks(confiido: Confiido, scene: commands.Scene, number: int) -> list[tuple[bytes, dict[str, str]]]:
    """Of a session that is booked and to be paid: its capture, that again, and a refund of it."""
    booked = await confiido.bookings.book(
        actor=scene.client,
        expert=scene.expert_id,
        session_type="video",
        duration=DURATION,
        starts_at=scene.starts_at,
    )
    owed = await confiido.ledger.owed(Place.SESSION, booked.session_id, actor=scene.client)
    order, payment = f"order_{number}", f"pay_{number}"
    await confiido.ledger.open(owed, provider=ProviderName.RAZORPAY, provider_order_id=order, actor=scene.client)
    money = {"amount": int(owed.amount * 100), "currency": owed.currency}
    captured = _signed("payment.captured", "payment", {"id": payment, "order_id": order, "method": "upi", **money})
    refund = {"id": f"rfnd_{number}", "payment_id": payment, "status": "processed", **money}
    return [captured, captured, _signed("refund.processed", "refund", refund)]


def _signed(kind: str, name: str, entity: dict[str, object]) -> tuple[bytes, dict[str, str]]:
    event = {"event": kind, "payload": {name: {"entity": entity}}, "created_at": int(datetime.now().timestamp())}
    raw = json.dumps(event).encode()
    return raw, {"x-razorpay-signature": hmac.new(SECRET.encode(), raw, hashlib.sha256).hexdigest()}


def _section(times: dict[str, list[float]], sent: dict[str, set[int]], payments: int) -> str:
    rows = [
        f"| {told} | {' to '.join(map(str, sorted(sent[told])))} | {median(times[told]) * 1000:.1f} |" for told in _TOLD
    ]
    return "\n".join(
        [
            f"Written by `python -m bench.webhooks --write`; the library's `receive`, {payments} payments, load "
            f"{report.load()}.",
            "A capture verifies the signature, stores the event, makes the attempt's entry captured, puts the money on",
            "the session, confirms it, and marks entry and event as done.",
            "",
            "| Webhook | Commands | ms |",
            "|---|---|---|",
            *rows,
        ]
    )


if __name__ == "__main__":
    main()
