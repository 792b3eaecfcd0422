"""How a plan and a verification are shown: a table on the terminal, and one self-contained HTML page."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape

from rich.console import Console
from rich.table import Column, Table

from confiido_booking.migration.plan import Finding, Plan
from confiido_booking.migration.verify import Verified

Row = Sequence[object]
_ERAS = {
    "A": "flat, the oldest: no user ids or e-mails",
    "B": "flat, with user ids and e-mails, prices as INR",
    "C": "nested, no deadlines",
    "D": "nested, with deadlines and final amounts",
    "E": "nested, with createdTime",
    "F": "nested, with rescheduling",
    "H": "the flat half of a hybrid document",
    "exported": "written by export: taken as it stands",
    "unreadable": "no record at all",
}


def show_plan(plan: Plan, console: Console) -> None:
    console.print(f"[bold]{plan.source}[/] by the profile [bold]{plan.profile}[/]\n")
    for title, columns, rows in _sections(plan):
        if rows:
            _table(title, columns, rows, console)


def show_verified(verified: Verified, console: Console) -> None:
    rows: list[Row] = [
        ("sessions read", verified.read),
        ("found in the target", verified.found),
        ("quarantined", verified.quarantined),
        ("matched with the other table", verified.matched),
        ("clients compared", verified.clients),
        ("old ids and references followed", verified.ids),
        ("changed in the new system since", verified.changed),
        ("references that led nowhere before", verified.dangling),
    ]
    _table("Sessions", ("", "count"), rows, console)
    currencies = sorted(verified.price_in | verified.price_out)
    money = [(code, verified.price_in.get(code, 0), verified.price_out.get(code, 0)) for code in currencies]
    _table("Σ price", ("currency", "in", "out"), money, console)
    if verified.reasons:
        _table("Quarantine", ("reason", "records"), list(verified.reasons.most_common()), console)
    if verified.differences:
        rows = [(item.kind, item.subject, item.sentence) for item in verified.differences[:50]]
        _table(f"{verified.count_of_differences} differences", ("kind", "what", "difference"), rows, console)
    console.print("[green]Verified: nothing is missing[/]" if verified.is_sound else "[red]Not sound[/]")


def _table(title: str, columns: Sequence[str], rows: Iterable[Row], console: Console) -> None:
    table = Table(
        *(Column(name, overflow="fold") for name in columns), title=title, title_justify="left", title_style="bold"
    )
    for row in rows:
        table.add_row(*(f"{value:,}" if isinstance(value, int) else str(value) for value in row))
    console.print(table)


def _sections(plan: Plan) -> list[tuple[str, Sequence[str], list[Row]]]:
    becomes: list[Row] = [
        ("sessions in the source", plan.read),
        ("become sessions", plan.sessions),
        ("go to the quarantine", plan.quarantined),
        ("are rows of two tables for one session", plan.matched),
        ("clients, one document each", plan.clients),
        ("clients whose documents merge", plan.clients_merged),
        ("sessions straight to the archive", plan.archived),
        ("double bookings of an expert", plan.double_bookings),
        ("of them still to come: settle these", plan.double_bookings_to_come),
        ("near-duplicates: same client, expert and start", plan.near_duplicates),
        ("references that lead nowhere", plan.dangling),
    ]
    doubles: list[Row] = [
        (f"{item.starts_at}\n{'to come' if item.to_come else 'past'}", item.expert, f"{item.stands}\n{item.session}")
        for item in plan.doubles[:30]
    ]
    return [
        ("Assumptions", ("assumption", "value"), list(plan.assumptions.items())),
        ("Tables", ("table", "records"), list(plan.tables.items())),
        (
            "Sessions by era",
            ("era", "sessions", "shape"),
            [(e, n, _ERAS.get(e, "table")) for e, n in plan.eras.items()],
        ),
        ("What becomes of them", ("", "count"), becomes),
        ("Statuses they will have", ("status", "sessions"), list(plan.statuses.most_common())),
        ("Σ price", ("currency", "amount"), list(plan.price.items())),
        ("Irregularities", _FINDING, _findings(plan.irregularities)),
        ("Quarantine", _FINDING, _findings(plan.refusals)),
        ("Coercions", ("coercion", "values"), list(plan.coercions.items())),
        ("Large clients", ("client", "sessions"), list(plan.large_clients)),
        ("Double bookings", ("start", "expert", "stands, and below it the conflict"), doubles),
    ]


_FINDING = ("no.", "rule", "cases", "what is done")


def _findings(findings: Sequence[Finding]) -> list[Row]:
    return [(str(finding.number), finding.name, finding.cases, finding.sentence) for finding in findings]


def html(plan: Plan) -> str:
    """The plan as one page that needs nothing else."""
    figures = (
        (plan.read, "sessions read"),
        (plan.sessions, "will be migrated"),
        (plan.quarantined, "quarantined"),
        (plan.clients, "clients"),
        (plan.double_bookings_to_come, "double bookings to settle"),
    )
    cards = "".join(f"<li><b>{count:,}</b>{escape(what)}</li>" for count, what in figures)
    share = 100 * plan.sessions / plan.read if plan.read else 100
    sections = "".join(_section(*section) for section in _sections(plan) if section[2])
    return _PAGE.format(
        source=escape(plan.source), profile=escape(plan.profile), cards=cards, sections=sections, share=f"{share:.2f}"
    )


def _section(title: str, columns: Sequence[str], rows: Iterable[Row]) -> str:
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    return (
        f"<section><h2>{escape(title)}</h2><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></section>"
    )


def _cell(value: object) -> str:
    if isinstance(value, int):
        return f'<td class="number">{value:,}</td>'
    return f"<td>{escape(str(value))}</td>"


def as_table(title: str, values: Mapping[str, object], console: Console) -> None:
    """A small table of names and values."""
    _table(title, ("", ""), list(values.items()), console)


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Migration plan</title><style>
:root {{ color-scheme: light dark; --ink: #1b2330; --dim: #5c6778; --line: #dde3ea; --paper: #fff; --ground: #f4f6f9;
  --accent: #1f6feb; }}
@media (prefers-color-scheme: dark) {{ :root {{ --ink: #e6eaf0; --dim: #9aa6b6; --line: #2c3440; --paper: #171c23;
  --ground: #0f1318; --accent: #6ea8fe; }} }}
* {{ box-sizing: border-box }}
td {{ white-space: pre-line }}
body {{ margin: 0; background: var(--ground); color: var(--ink); font: 15px/1.5 system-ui, sans-serif }}
main {{ max-width: 1080px; margin: 0 auto; padding: 32px 20px 64px }}
h1 {{ font-size: 26px; margin: 0 }} h1 + p {{ color: var(--dim); margin: 4px 0 24px; overflow-wrap: anywhere }}
h2 {{ font-size: 16px; margin: 0; padding: 14px 18px }}
ul {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 12px; padding: 0;
  margin: 0 0 12px; list-style: none }}
li {{ background: var(--paper); border: 1px solid var(--line); border-radius: 10px; padding: 14px 18px;
  color: var(--dim) }}
li b {{ display: block; font-size: 24px; color: var(--ink); font-variant-numeric: tabular-nums }}
.bar {{ height: 8px; border-radius: 4px; background: var(--line); overflow: hidden; margin-bottom: 24px }}
.bar i {{ display: block; height: 100%; background: var(--accent) }}
section {{ background: var(--paper); border: 1px solid var(--line); border-radius: 10px; margin-bottom: 18px;
  overflow-x: auto }}
table {{ border-collapse: collapse; width: 100% }}
th, td {{ text-align: left; padding: 7px 18px; border-top: 1px solid var(--line); vertical-align: top }}
th {{ color: var(--dim); font-weight: 600; font-size: 13px }}
.number {{ text-align: right; font-variant-numeric: tabular-nums; width: 1% }}
</style></head><body><main>
<h1>Migration plan</h1><p>{source}, by the profile {profile}. Nothing has been written.</p>
<ul>{cards}</ul><div class="bar" title="{share} % migrate"><i style="width:{share}%"></i></div>
{sections}
</main></body></html>
"""
