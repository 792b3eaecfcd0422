"""``python -m bench``: measure SPEC 11 on a real server, print the table and write ``docs/benchmarks.md``."""

import argparse
import asyncio
import sys
from uuid import uuid4

from bench import claiming, commands, history, lists, races, report, server
from bench.marketplace import Likeness
from bench.report import DOCUMENT, Findings
from confiido_booking import Confiido
from confiido_booking.database.embedded import EmbeddedEngine


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, help="rounds of commands, each with its own ratio (7)")
    parser.add_argument("--repeats", type=int, default=12, help="times each command is taken in a round (12)")
    parser.add_argument("--quick", action="store_true", help="a tenth of the work, and no document is written")
    arguments = parser.parse_args()
    try:
        findings = asyncio.run(_measure(arguments.rounds, arguments.repeats, quick=arguments.quick))
    except server.NoServer as error:
        sys.exit(str(error))
    text = report.document(findings)
    print(text)
    if not arguments.quick:
        before = DOCUMENT.read_text()
        for heading in report.SECTIONS:
            if (section := report.section_of(before, heading)) is not None:
                text = report.replaced(text, heading, section)
        DOCUMENT.write_text(text)


async def _measure(rounds: int, repeats: int, *, quick: bool) -> Findings:
    name = f"confiido_bench_{uuid4().hex[:8]}"
    uri = server.with_database(server.database_server(), name)
    part = 10 if quick else 1
    if quick:
        rounds, repeats = 2, 3
    async with Confiido.connect(uri) as confiido:
        try:
            await confiido.ensure_indexes()
            like = await Likeness.taken(confiido)
            with server.serving(uri) as served:
                _say("commands")
                times, sent = await commands.compare(confiido, like, served, rounds=rounds, repeats=repeats)
                _say("races")
                raced = [
                    await races.by_library(confiido, rounds=races.ROUNDS // part),
                    await races.by_http(confiido, served, rounds=races.ROUNDS // part),
                ]
                _say("a full calendar")
                claimed = await claiming.measure(confiido, repeats=100 // part)
                _say("history")
                plain, old = await history.measure(
                    confiido, like, rounds=rounds, repeats=repeats, sessions=history.HISTORY // part
                )
                _say("100,000 sessions")
                there = await lists.build(confiido, like, clients=lists.CLIENTS // part)
                listed = await lists.measure(confiido, there, served, count=60 // part)
            machine = await server.machine(confiido.store)
        finally:
            await confiido.store.client.drop_database(name)
    _say("the embedded engine")
    embedded = await _embedded(repeats=20 // part)
    return Findings(machine, report.load(), times, sent, raced, claimed, plain, old, listed, embedded)


async def _embedded(*, repeats: int) -> dict[str, float]:
    """Milliseconds of the library's commands on the engine of ``make run``, which is for demonstrations."""
    with EmbeddedEngine() as engine:
        async with Confiido.connect(server.with_database(engine.uri, "confiido_bench")) as confiido:
            await confiido.ensure_indexes()
            like = await Likeness.taken(confiido)
            return await commands.alone(confiido, like, repeats=repeats)


def _say(part: str) -> None:
    print(f"Measuring: {part}", file=sys.stderr)


if __name__ == "__main__":
    main()
