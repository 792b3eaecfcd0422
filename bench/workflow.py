"""``python -m bench.workflow [--write]``: from a request to a paid invoice, in documents of 50 sessions."""

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable
from decimal import Decimal
from statistics import median
from uuid import uuid4

from bson import ObjectId

from bench import commands, report, server
from bench.marketplace import DURATION, Likeness
from bench.timing import seconds
from confiido_booking import Actor, Confiido

HEADING = report.SECTIONS[3]
STEPS = ("request", "quote", "accept", "pay", "invoice")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.workflow", description=__doc__)
    parser.add_argument("--requests", type=int, default=40, help="requests to bring to an invoice (40)")
    parser.add_argument("--write", action="store_true", help="write the section into docs/benchmarks.md")
    arguments = parser.parse_args()
    try:
        section = asyncio.run(_measure(arguments.requests))
    except server.NoServer as error:
        sys.exit(str(error))
    print(section)
    if arguments.write:
        report.DOCUMENT.write_text(report.replaced(report.DOCUMENT.read_text(), HEADING, section))


async def _measure(requests: int) -> str:
    name = f"confiido_bench_{uuid4().hex[:8]}"
    async with Confiido.connect(server.with_database(server.database_server(), name)) as confiido:
        try:
            await confiido.ensure_indexes()
            like = await Likeness.taken(confiido)
            times: dict[str, list[float]] = {step: [] for step in STEPS}
            sent: dict[str, set[int]] = {step: set() for step in STEPS}
            for scene in await commands.scenes(confiido, like, requests, sessions=commands.SESSIONS - 1):
                for step, command in (await _story(confiido, scene)).items():
                    before = confiido.store.commands
                    took, _ = await seconds(command)
                    times[step].append(took)
                    sent[step].add(confiido.store.commands - before)
        finally:
            await confiido.store.client.drop_database(name)
    return _section(times, sent, requests)


async def _story(confiido: Confiido, scene: commands.Scene) -> dict[str, Callable[[], Awaitable[object]]]:
    """The five steps of one session, to be taken in their order."""
    admin, ids = Actor.admin(ObjectId()), list[ObjectId]()

    async def request() -> None:
        change = await confiido.bookings.request(
            actor=scene.client,
            expert=scene.expert_id,
            session_type="video",
            duration=DURATION,
            starts_at=scene.starts_at,
        )
        ids.extend([change.booking_id, change.session_id])

    return {
        "request": request,
        "quote": lambda: confiido.bookings.quote(*ids, actor=admin, amount=Decimal(25)),
        "accept": lambda: confiido.bookings.accept(*ids, actor=scene.client),
        "pay": lambda: confiido.ledger.paid(ids[1], actor=admin),
        "invoice": lambda: confiido.invoices.of_sessions(actor=admin, session_ids=[ids[1]]),
    }


def _section(times: dict[str, list[float]], sent: dict[str, set[int]], requests: int) -> str:
    rows = [
        f"| {step} | {' to '.join(map(str, sorted(sent[step])))} | {median(times[step]) * 1000:.1f} |" for step in STEPS
    ]
    whole = sum(median(took) for took in times.values()) * 1000
    return "\n".join(
        [
            f"Written by `python -m bench.workflow --write`; the library, {requests} requests, load {report.load()}.",
            f"From the request to the issued, paid invoice: {whole:.1f} ms.",
            "",
            "| Step | Commands | ms |",
            "|---|---|---|",
            *rows,
        ]
    )


if __name__ == "__main__":
    main()
