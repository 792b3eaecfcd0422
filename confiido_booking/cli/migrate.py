"""``confiido migrate``: plan, apply, verify, rollback, status, export.

Exit codes: 0 done and sound, 1 ``verify`` found a difference, 2 a wrong call, an empty source, or a refusal, with one
sentence.
"""

import json
import os
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import typer
from bson import ObjectId
from pydantic import SecretStr
from pymongo.errors import ConfigurationError, InvalidURI
from pymongo.uri_parser import parse_uri
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from confiido_booking.cli.running import connected, read_settings, refuse
from confiido_booking.cli.running import run as run_
from confiido_booking.client import DEFAULT_DATABASE, Confiido
from confiido_booking.errors import Invalid
from confiido_booking.ids import object_id
from confiido_booking.migration import report
from confiido_booking.migration.apply import apply as apply_run
from confiido_booking.migration.export import export as export_rows
from confiido_booking.migration.export import export_all
from confiido_booking.migration.intake import Progress as Watch
from confiido_booking.migration.options import MissingPrice, Options, StalePending
from confiido_booking.migration.plan import plan as make_plan
from confiido_booking.migration.profile import PARAMETERS, Profile
from confiido_booking.migration.profile import load as load_profile
from confiido_booking.migration.rollback import rollback as undo_run
from confiido_booking.migration.runs import Run, Runs
from confiido_booking.migration.sources import Source, open_source
from confiido_booking.migration.verify import verify as verify_run
from confiido_booking.times import parse_instant, utc_now

app = typer.Typer(
    help="Bring old bookings in: flat documents of every era, mixed dumps, CSV, SQL tables.", no_args_is_help=True
)

SourceOption = Annotated[
    str, typer.Option(help="MongoDB URI, SQLAlchemy URL, a .json, .ndjson or .csv file, or a folder of them.")
]
TargetOption = Annotated[
    str | None, typer.Option(help="MongoDB URI with the database; default: MONGODB_URI, else the embedded engine.")
]
ProfileOption = Annotated[
    str, typer.Option(help="confiido-flat, bookings-sessions, crm, estuary, or the path of your own TOML file.")
]
ZoneOption = Annotated[str | None, typer.Option(help="IANA zone of wall times; default: the setting, Asia/Kolkata.")]
CurrencyOption = Annotated[str | None, typer.Option(help="Currency where none is stored; default: the setting, INR.")]
DollarOption = Annotated[str | None, typer.Option(help="What a bare $ means; unset: such records are quarantined.")]
ExpertOption = Annotated[str | None, typer.Option(help="The expert's _id, for records that name none.")]
StaleOption = Annotated[
    str, typer.Option("--stale-pending", help="cancel or keep what is pending, unpaid, over and had no deadline.")
]
PriceOption = Annotated[str, typer.Option(help="Records without a price: quarantine, or zero.")]
InstantOption = Annotated[str | None, typer.Option(help="The instant that tells past from future; default: now.")]
SetOption = Annotated[list[str] | None, typer.Option("--set", help="NAME=VALUE: a parameter of the profile.")]
ClientOption = Annotated[str | None, typer.Option(help="Only this client's records (the client's _id).")]
LimitOption = Annotated[int | None, typer.Option(min=1, help="Only so many clients.")]
RunOption = Annotated[str | None, typer.Option("--run", help="The run's name; default: a new one, or the newest.")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


@app.command()
def plan(
    source: SourceOption,
    profile: ProfileOption = "confiido-flat",
    timezone: ZoneOption = None,
    currency: CurrencyOption = None,
    dollar: DollarOption = None,
    expert: ExpertOption = None,
    stale_pending: StaleOption = "cancel",
    missing_price: PriceOption = "quarantine",
    as_of: InstantOption = None,
    set_: SetOption = None,
    client: ClientOption = None,
    limit: LimitOption = None,
    target: TargetOption = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the plan as JSON; - is the terminal.")] = None,
    html_file: Annotated[Path | None, typer.Option("--html", help="Write the plan as one HTML page.")] = None,
) -> None:
    """Read everything, write nothing: what would become of each record, and what a person should look at."""
    _writable("--json", json_file)
    _writable("--html", html_file)
    options = _options(
        profile, timezone, currency, dollar, expert, stale_pending, missing_price, as_of, set_, client, limit
    )
    opened, mapped = _opened(source, _in_place(source, target)), _profile(profile, set_)
    with _watched("Planning") as watch:
        made = make_plan(opened, mapped, options, progress=watch)
    if not made.read:
        refuse(_nothing(opened, options))
    text = json.dumps(made.json(), indent=2, ensure_ascii=False)
    if str(json_file) == "-":
        typer.echo(text)
    else:
        report.show_plan(made, Console())
        if json_file is not None:
            json_file.write_text(text + "\n", encoding="utf-8")
    if html_file is not None:
        html_file.write_text(report.html(made), encoding="utf-8")


@app.command()
def apply(
    source: SourceOption,
    target: TargetOption = None,
    profile: ProfileOption = "confiido-flat",
    timezone: ZoneOption = None,
    currency: CurrencyOption = None,
    dollar: DollarOption = None,
    expert: ExpertOption = None,
    stale_pending: StaleOption = "cancel",
    missing_price: PriceOption = "quarantine",
    as_of: InstantOption = None,
    set_: SetOption = None,
    client: ClientOption = None,
    limit: LimitOption = None,
    run: RunOption = None,
    rate: Annotated[float | None, typer.Option(min=0.1, help="At most so many sessions a second.")] = None,
    yes: YesOption = False,
) -> None:
    """Migrate. Kill it anywhere and run it again; a second run changes nothing."""
    options = _options(
        profile, timezone, currency, dollar, expert, stale_pending, missing_price, as_of, set_, client, limit
    )
    in_place = _in_place(source, target)
    opened, mapped = _opened(source, in_place), _profile(profile, set_)
    where = "in place; the originals go to bookings_flat_backup" if in_place else "the source stays as it is"
    _confirm(f"Migrate {opened.name} by the profile {mapped.name} ({where})?", yes)

    async def work() -> None:
        async with _connected(target, to_what_is_there=False) as confiido:
            with _watched("Migrating") as watch:
                done = await apply_run(
                    confiido,
                    opened,
                    mapped,
                    options,
                    now=utc_now(),
                    run_id=run,
                    explicit_instant=as_of is not None,
                    in_place=in_place,
                    rate=rate,
                    progress=watch,
                )
        if not done.run.counts["read"]:
            refuse(_nothing(opened, done.run.options))
        console = Console()
        shown = {name.replace("_", " "): count for name, count in done.counts.items() if count}
        report.as_table(f"Run {done.run.id}", shown, console)
        counts = done.counts
        to_settle = "double bookings still to come, kept and marked: settle them with your clients"
        _listed(console, to_settle, done.conflicts, counts["double_bookings_to_come"])
        _listed(console, "changed in both systems; ours stands", done.changed_in_both, counts["changed_in_both"])
        _listed(console, "references that lead nowhere", done.dangling, counts["dangling"])
        console.print("Nothing was to do" if not done.wrote else "Done; now `confiido migrate verify`")

    run_(work)


@app.command()
def verify(
    source: SourceOption,
    target: TargetOption = None,
    run: RunOption = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the result as JSON.")] = None,
) -> None:
    """Prove it: sessions in = out + quarantined, Σ price per currency, every id. Exit 1 at any difference."""
    _writable("--json", json_file)

    async def work() -> bool:
        async with _connected(target) as confiido:
            named = await Runs(confiido.store).named(run)
            opened = _opened(source, named.in_place)
            mapped = _with_parameters(load_profile(named.options.profile), named.options)
            with _watched("Verifying") as watch:
                result = await verify_run(confiido.store, opened, mapped, named, progress=watch)
        if not result.read:
            refuse(_nothing(opened, named.options))
        report.show_verified(result, Console())
        if json_file is not None:
            shown = {
                "sound": result.is_sound,
                "read": result.read,
                "found": result.found,
                "quarantined": result.quarantined,
                "matched": result.matched,
                "priceIn": {code: str(amount) for code, amount in result.price_in.items()},
                "priceOut": {code: str(amount) for code, amount in result.price_out.items()},
                "reasons": dict(result.reasons),
                "differences": [[item.kind, item.subject, item.sentence] for item in result.differences],
            }
            json_file.write_text(json.dumps(shown, indent=2) + "\n", encoding="utf-8")
        return result.is_sound

    if not run_(work):
        raise typer.Exit(1)


@app.command()
def rollback(
    target: TargetOption = None,
    run: RunOption = None,
    since: Annotated[str, typer.Option("--since", help="What was booked since: keep, or refuse to undo.")] = "keep",
    yes: YesOption = False,
) -> None:
    """Undo a run: the one named, else the newest that wrote anything. What was booked since stays."""
    if since not in ("keep", "refuse"):
        refuse("--since is keep or refuse")

    async def work() -> None:
        async with _connected(target) as confiido:
            named = await Runs(confiido.store).named(run, wrote=True)
            _confirm(f"Undo the run {named.id} of {named.source}?", yes)
            with _watched("Rolling back") as watch:
                done = await undo_run(confiido.store, named, now=utc_now(), refuse=since == "refuse", progress=watch)
        console = Console()
        shown = {name.replace("_", " "): count for name, count in done.counts.items() if count}
        report.as_table(f"Run {named.id} is rolled back", shown or {"nothing": "was there"}, console)
        _listed(console, "changed since, and so kept", done.kept)

    run_(work)


@app.command()
def status(target: TargetOption = None) -> None:
    """The runs of this database, newest first, and how far each came."""

    async def work() -> list[Run]:
        async with _connected(target) as confiido:
            return await Runs(confiido.store).all()

    console = Console()
    runs = run_(work)
    if not runs:
        console.print("There is no run yet")
    for run in runs:
        counts = {name: f"{count:,}" for name, count in run.counts.items() if count}
        about = {"source": run.source, "profile": run.options.profile, "state": run.state.value}
        about["started"] = f"{run.started_at:%Y-%m-%d %H:%M:%S} UTC"
        report.as_table(run.id, {**about, **counts}, console)


@app.command()
def export(
    file: Annotated[
        Path,
        typer.Argument(
            help="The folder to write bookings, users and experts into; an .ndjson file, or - for bookings alone."
        ),
    ],
    target: TargetOption = None,
) -> None:
    """Write the nested data back as flat rows; migrating those again gives the same documents."""
    if file.suffix and not file.is_dir():
        _writable("FILE", file)

    async def work() -> int:
        async with _connected(target) as confiido:
            if file.is_dir() or (not file.suffix and str(file) != "-"):
                file.mkdir(parents=True, exist_ok=True)
                return sum((await export_all(confiido.store, file)).values())
            if str(file) == "-":
                return await export_rows(confiido.store, sys.stdout)
            with file.open("w", encoding="utf-8") as stream:
                return await export_rows(confiido.store, stream)

    typer.echo(f"{run_(work)} rows", err=True)


def _options(
    profile: str,
    timezone: str | None,
    currency: str | None,
    dollar: str | None,
    expert: str | None,
    stale_pending: str,
    missing_price: str,
    as_of: str | None,
    parameters: list[str] | None,
    client: str | None,
    limit: int | None,
) -> Options:
    settings = read_settings()
    stale: StalePending = "keep" if stale_pending == "keep" else "cancel"
    price: MissingPrice = "zero" if missing_price == "zero" else "quarantine"
    if (stale, price) != (stale_pending, missing_price):
        refuse("--stale-pending is cancel or keep, --missing-price is quarantine or zero")
    return Options(
        profile=profile,
        timezone=timezone or settings.timezone,
        currency=(currency or settings.currency).upper(),
        dollar=dollar.upper() if dollar else None,
        expert=_id(expert, "--expert"),
        stale_pending=stale,
        missing_price=price,
        as_of=parse_instant(as_of, field="--as-of") if as_of else utc_now(),
        parameters=_parameters(parameters),
        client=_id(client, "--client"),
        limit=limit,
    )


def _id(text: str | None, field: str) -> ObjectId | None:
    return object_id(text, field=field) if text is not None else None


def _parameters(given: list[str] | None) -> dict[str, str]:
    pairs = [pair.partition("=") for pair in given or []]
    if any(not separator for _, separator, _ in pairs):
        raise Invalid("--set takes NAME=VALUE")
    return {name: value for name, _, value in pairs}


def _profile(name: str, parameters: list[str] | None) -> Profile:
    profile, given = load_profile(name), _parameters(parameters)
    known = {*PARAMETERS, *profile.parameters}
    if unknown := sorted(set(given) - known):
        raise Invalid(f"--set {', '.join(unknown)}: the parameters are {', '.join(sorted(known))}")
    return replace(profile, parameters={**profile.parameters, **given})


def _with_parameters(profile: Profile, options: Options) -> Profile:
    return replace(profile, parameters={**profile.parameters, **options.parameters})


def _opened(source: str, in_place: bool) -> Source:
    try:
        return open_source(source, in_place=in_place)
    except (InvalidURI, ConfigurationError) as error:
        raise Invalid(f"--source: {error}") from None


def _in_place(source: str, target: str | None) -> bool:
    """Whether the source is the very database that is written to."""
    if not source.startswith("mongodb"):
        return False
    given = target or read_settings().mongodb_uri
    if given is None:
        return False
    uri = given if isinstance(given, str) else given.get_secret_value()
    try:
        ours, theirs = (parse_uri(part, validate=False, warn=True) for part in (source, uri))
    except (InvalidURI, ConfigurationError) as error:
        raise Invalid(f"--source or --target: {error}") from None
    return sorted(ours["nodelist"]) == sorted(theirs["nodelist"]) and (
        (ours.get("database") or DEFAULT_DATABASE) == (theirs.get("database") or DEFAULT_DATABASE)
    )


@asynccontextmanager
async def _connected(target: str | None, *, to_what_is_there: bool = True) -> AsyncIterator[Confiido]:
    settings = read_settings()
    if target is not None:
        settings = settings.model_copy(update={"mongodb_uri": SecretStr(target)})
    try:
        async with connected(settings, to_what_is_there=to_what_is_there) as confiido:
            yield confiido
    except (InvalidURI, ConfigurationError) as error:
        raise Invalid(f"--target: {error}") from None


@dataclass(slots=True)
class _Bars:
    """One line for each stage, as the work reports it."""

    progress: Progress
    title: str
    tasks: dict[str, TaskID]

    def __call__(self, stage: str, done: int, total: int | None = None) -> None:
        if stage not in self.tasks:
            self.tasks[stage] = self.progress.add_task(f"{self.title}: {stage}", total=None)
        self.progress.update(self.tasks[stage], completed=done, total=total)


@contextmanager
def _watched(title: str) -> Iterator[Watch]:
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        yield _Bars(progress, title, {})


def _listed(console: Console, what: str, items: Sequence[object], count: int | None = None) -> None:
    """The first of them, and how many there are: ``count`` where not all were kept."""
    if items:
        there = len(items) if count is None else count
        console.print(f"{there:,} {what}:")
        for item in items[:20]:
            console.print(f"  {item}")
        if there > 20:
            console.print(f"  … and {there - 20:,} more")


def _nothing(source: Source, options: Options) -> str:
    whose = f" of the client {options.client}" if options.client is not None else ""
    return f"The source {source.name} holds no documents{whose}"


def _writable(option: str, file: Path | None) -> None:
    """Asked before the work, not told after it."""
    if file is None or str(file) == "-":
        return
    if not file.parent.is_dir():
        refuse(f"{option}: there is no folder {file.parent}")
    if file.is_dir() or not os.access(file if file.exists() else file.parent, os.W_OK):
        refuse(f"{option}: {file} cannot be written")


def _confirm(question: str, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        refuse("This writes; say --yes where nobody can be asked")
    if not typer.confirm(question):
        raise typer.Exit(2)
