"""``confiido reconcile``: the ledger against a provider's settlement, and against the sessions and invoices."""

import json
from collections import Counter
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Annotated

import typer

from confiido_booking import times
from confiido_booking.cli.running import connected, read_settings, run
from confiido_booking.errors import BookingError
from confiido_booking.payments.reconciliation import Difference

_WIDTHS = (14, 40, 20, 20)


def reconcile(
    file: Annotated[Path, typer.Argument(help="The settlement: CSV as docs/payments.md has it.")],
    from_: Annotated[str | None, typer.Option("--from", help="First day (UTC) that the file tells of.")] = None,
    to: Annotated[str | None, typer.Option("--to", help="Last day (UTC) that the file tells of.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """List every difference between ledger, settlement, sessions and invoices; exit 0 when there is none, 1 when there
    is, 2 when the file cannot be read."""
    first, last = _day(from_, "--from"), _day(to, "--to")
    until = last + timedelta(days=1) - timedelta(milliseconds=1) if last else None
    settings = read_settings()

    async def command() -> int:
        counts: Counter[str] = Counter()
        async with connected(settings, to_what_is_there=True) as confiido:
            with file.open(encoding="utf-8-sig", newline="") as opened:
                try:
                    async for difference in confiido.payments.reconcile(opened, from_=first, to=until):
                        typer.echo(_as_json(difference, counts) if as_json else _as_row(difference, counts))
                        counts[difference.kind] += 1
                except (BookingError, OSError, ValueError) as error:
                    if as_json:
                        typer.echo(_end(counts, as_json=True, error=str(error)))
                    raise
        typer.echo(_end(counts, as_json=as_json))
        return counts.total()

    if run(command):
        raise typer.Exit(1)


def _as_row(difference: Difference, counts: Counter[str]) -> str:
    cells = (difference.kind, difference.subject, difference.here, difference.there)
    row = _columns(*cells, difference.sentence + (f" (line {difference.line})" if difference.line else ""))
    return row if counts else f"{_columns('difference', 'subject', 'ledger', 'other side', 'what')}\n{row}"


def _columns(*cells: str) -> str:
    return "  ".join([*(cell.ljust(width) for cell, width in zip(cells, _WIDTHS, strict=False)), cells[-1]])


def _as_json(difference: Difference, counts: Counter[str]) -> str:
    begin = "," if counts else '{"differences": ['
    return begin + json.dumps(difference.as_json())


def _end(counts: Counter[str], *, as_json: bool, error: str | None = None) -> str:
    """``error``: why there is no more, so that what was printed is no whole comparison, but whole JSON."""
    if as_json:
        begin = "]" if counts else '{"differences": []'
        told = f', "error": {json.dumps(error)}' if error is not None else ""
        return f'{begin}, "total": {counts.total()}, "counts": {json.dumps(counts)}{told}}}'
    told = ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))
    return f"{counts.total()} differences: {told}" if counts else "No difference"


def _day(given: str | None, name: str) -> datetime | None:
    return datetime.combine(times.parse_date(given, field=name), time(), tzinfo=UTC) if given else None
