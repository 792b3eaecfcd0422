"""The document of figures, ``docs/benchmarks.md``."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import history, lists, races
from bench.bare import Recording
from bench.commands import OPERATIONS
from bench.lists import Listed
from bench.races import Race
from bench.timing import Times

DOCUMENT = Path(__file__).parents[1] / "docs" / "benchmarks.md"
LIBRARY, HTTP = 1.5, 2.5

_HEAD = """# Benchmarks

Written by `make bench`; the targets are SPEC 11's. Client, API and database were processes of their own on

    {machine}

which did other work meanwhile (load {load}): the ratios are the figures, the milliseconds only their scale.

`make bench` takes about five minutes. It measures the server of `MONGODB_URI`, in a database of its own that it drops
at the end; where that is not set it starts the server of the development set-up. `make bench ARGS=--quick` does a
tenth of the work and writes nothing.
"""

_COMMANDS = """
## Commands, at 50 sessions in the document

The bare driver sends what the library sends: its calls are recorded once, and sent again with other ids (same filters,
pipelines, projections, and side by side what was side by side). Driver, library and HTTP take turns, each on its own
client and expert; a ratio is the median of {rounds} rounds, in brackets the lowest and highest round. HTTP is
`confiido serve` in one process on loopback and a kept connection. Every way brings the client's whole document back.

| Operation | Commands (side by side) | Bare driver ms | Library ms | Ratio ≤ 1.5 | HTTP ms | Ratio ≤ 2.5 | Met |
|---|---|---|---|---|---|---|---|
"""


SECTIONS = (
    "## Migration",
    "## A migration killed three times",
    "## Webhooks of payment providers",
    "## From a request to a paid invoice",
)  # written by commands of their own


def load() -> str:
    """Averages of runnable processes, over the last 1, 5 and 15 minutes."""
    return " ".join(f"{average:.1f}" for average in os.getloadavg())


def replaced(text: str, heading: str, section: str) -> str:
    """The document with this section in the place of the one of that heading, else at its end."""
    before, found, rest = text.partition(f"\n{heading}\n")
    _, more, after = rest.partition("\n## ")
    head = before if found else text.rstrip("\n") + "\n"
    return f"{head}\n{heading}\n\n{section}\n{more}{after}"


def section_of(text: str, heading: str) -> str | None:
    """What stands under that heading."""
    _, found, rest = text.partition(f"\n{heading}\n")
    return rest.partition("\n## ")[0].strip("\n") if found else None


@dataclass(frozen=True, slots=True)
class Findings:
    machine: str
    load: str  # averages of runnable processes, over the last 1, 5 and 15 minutes
    times: Mapping[str, Mapping[str, Times]]
    sent: Mapping[str, Recording]
    races: Sequence[Race]
    claims: Mapping[int, float]
    plain: Mapping[str, Times]
    old: Mapping[str, Times]
    lists: Sequence[Listed]
    embedded: Mapping[str, float]


def document(findings: Findings) -> str:
    """All figures, each beside its target and whether it was met."""
    rounds = len(findings.times["bare"]["book"].rounds)
    parts = [
        _HEAD.format(machine=findings.machine, load=findings.load),
        _COMMANDS.format(rounds=rounds),
        *(_command(operation, findings) for operation in OPERATIONS),
        _history(findings),
        _lists(findings.lists),
        _races(findings.races),
        _claims(findings.claims),
        _embedded(findings.embedded),
    ]
    return "".join(parts)


def _command(operation: str, findings: Findings) -> str:
    bare, library, http = (findings.times[way][operation] for way in ("bare", "library", "http"))
    ours, theirs = library.over(bare), http.over(bare)
    met = _met(ours.median <= LIBRARY and theirs.median <= HTTP)
    stages = "+".join(str(len(stage)) for stage in findings.sent[operation].stages)
    ratios = [f"{ratio.median:.2f} ({ratio.lowest:.2f} to {ratio.highest:.2f})" for ratio in (ours, theirs)]
    cells = [operation, stages, _ms(bare), _ms(library), ratios[0], _ms(http), ratios[1], met]
    return _row(cells)


def _history(findings: Findings) -> str:
    text = f"""
## Flat: {history.HISTORY:,} sessions of history against none

Old finished sessions lie in `booking_archive`, their sums in the document; both documents hold 50 sessions.

| Operation | Without ms | With ms | Ratio ≤ {history.TARGET} | Met |
|---|---|---|---|---|
"""
    for operation, plain in findings.plain.items():
        old = findings.old[operation]
        ratio = old.over(plain)
        shown = f"{ratio.median:.2f} ({ratio.lowest:.2f} to {ratio.highest:.2f})"
        text += _row([operation, _ms(plain), _ms(old), shown, _met(ratio.median <= history.TARGET)])
    return text


def _lists(listed: Sequence[Listed]) -> str:
    text = f"""
## Lists of 50 among 100,000 sessions

2,000 clients, 200 experts; an administrator asks, every list another. Totals and stats of more than 5,000 sessions are
at most 30 s old; who asks when they are older waits for the count of all (the slowest twentieth over HTTP).

| List by | Way | p50 ms ≤ {lists.TARGET_MS:.0f} | p95 ms | Met |
|---|---|---|---|---|
"""
    for each in listed:
        text += _row([each.kind, each.way, f"{each.p50:.1f}", f"{each.p95:.1f}", _met(each.p50 <= lists.TARGET_MS)])
    return text


def _races(raced: Sequence[Race]) -> str:
    text = f"""
## {races.CALLERS} racing bookings of one slot

| Way | Rounds | One winner, {races.CALLERS - 1} refusals | Median s | Worst s < {races.TARGET_SECONDS:.0f} | Met |
|---|---|---|---|---|---|
"""
    for race in raced:
        met = _met(race.right == race.rounds and race.worst < races.TARGET_SECONDS)
        shown = [race.way, str(race.rounds), str(race.right), f"{race.median:.2f}", f"{race.worst:.2f}", met]
        text += _row(shown)
    return text


def _claims(claims: Mapping[int, float]) -> str:
    shown = ", ".join(f"{taken:.1f} ms with {size}" for size, taken in claims.items())
    return f"""
## The guard of an expert's minutes

A claim that succeeds takes {shown} busy entries in the calendar.
"""


def _embedded(times: Mapping[str, float]) -> str:
    shown = ", ".join(f"{operation} {taken:.0f}" for operation, taken in times.items())
    return f"""
## The embedded engine of `make run`

For demonstrations; milliseconds by the library at 5 sessions in the document: {shown}.
"""


def _ms(times: Times) -> str:
    low, high = times.quartiles
    return f"{times.milliseconds:.1f} ({low:.1f} to {high:.1f})"


def _met(met: bool) -> str:
    return "yes" if met else "**no**"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |\n"
