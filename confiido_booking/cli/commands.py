"""The commands, each a few lines over the library."""

import logging
from collections.abc import Sequence
from datetime import timedelta
from importlib.metadata import version as installed_version
from re import fullmatch
from typing import Annotated

import typer
from pydantic import SecretStr
from rich.console import Console
from rich.table import Table

from confiido_booking import demo as marketplace
from confiido_booking import tokens
from confiido_booking.actors import Actor, Role
from confiido_booking.cli.migrate import app as migrate
from confiido_booking.cli.reconcile import reconcile
from confiido_booking.cli.running import connected, read_settings, refuse, run, variable, work
from confiido_booking.database.embedded import EngineRefused
from confiido_booking.errors import BookingError
from confiido_booking.ids import object_id
from confiido_booking.settings import Settings

app = typer.Typer(
    help="Confiido Booking: the booking backend for expert marketplaces.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(migrate, name="migrate")
app.command()(reconcile)
_ROLES = (Role.CLIENT, Role.EXPERT, Role.ADMIN, Role.SERVICE)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; what the library refuses becomes one sentence and exit code 2."""
    try:
        app(arguments)
    except (BookingError, EngineRefused, OSError) as error:
        refuse(str(error))


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8000,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Processes that answer requests.")] = 1,
    demo: Annotated[bool, typer.Option("--demo", help="Seed the demo marketplace and print tokens.")] = False,
    with_worker: Annotated[bool, typer.Option("--with-worker", help="Also do the worker's chores.")] = False,
) -> None:
    """Serve the HTTP API; without MONGODB_URI on an embedded engine of its own."""
    try:
        from confiido_booking.cli import serving
    except ModuleNotFoundError as error:
        refuse(f"Serving needs confiido-booking[api] ({error.name} is missing)")
    if with_worker and workers > 1:
        refuse("--with-worker goes with one process; run `confiido worker` beside several")
    if demo:
        _refuse_in_production(read_settings())
    serving.serve(host=host, port=port, processes=workers, with_demo=demo, with_worker=with_worker)


@app.command()
def worker(
    once: Annotated[bool, typer.Option("--once", help="Do all that is due, then exit.")] = False,
) -> None:
    """Expire holds, complete and archive old sessions, release abandoned claims; any number may run."""
    settings = read_settings()
    logging.basicConfig(level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s %(message)s")

    async def command() -> None:
        async with connected(settings) as confiido:
            if once:
                done = await confiido.chores.once()
                typer.echo(", ".join(f"{count} {name}" for name, count in done.items()))
            else:
                typer.echo(f"The worker looks every {settings.worker_interval_seconds:g} s for what is due")
                await work(confiido)

    run(command)


@app.command()
def doctor(
    repair: Annotated[bool, typer.Option("--repair", help="Mend what can be mended.")] = False,
) -> None:
    """Check every law of the data; exit 0 when all is sound, 1 when not."""
    settings = read_settings()

    async def command() -> bool:
        async with connected(settings, to_what_is_there=True) as confiido:
            report = await (confiido.doctor.repair() if repair else confiido.doctor.examine())
            for finding in report.findings:
                typer.echo(f"{finding.kind} {finding.subject}: {finding.sentence}")
            verdict = "All is sound" if report.is_sound else f"{len(report.findings)} not sound"
            typer.echo(
                f"{verdict}: {report.bookings} bookings, {report.sessions} sessions; "
                f"{report.repaired} mended, {report.due} lapsed holds to be swept"
            )
            return report.is_sound

    if not run(command):
        raise typer.Exit(1)


@app.command()
def token(
    role: Annotated[Role, typer.Option(help="client, expert, admin or service.")],
    sub: Annotated[str, typer.Option(help="The user's _id, 24 hexadecimal digits.")],
    user_id: Annotated[str | None, typer.Option(help="The user's 4-digit number.")] = None,
    email: Annotated[str | None, typer.Option()] = None,
    name: Annotated[str | None, typer.Option()] = None,
    email_verified: Annotated[
        bool, typer.Option("--email-verified", help="The address is known to be theirs.")
    ] = False,
    hours: Annotated[float, typer.Option(min=0, max=24 * 365, help="How long the token is good.")] = 24,
) -> None:
    """Mint a bearer token for development, with CONFIIDO_JWT_SECRET or the data folder's own secret."""
    if role not in _ROLES:
        refuse("--role must be client, expert, admin or service")
    if user_id is not None and not fullmatch("[0-9]{4}", user_id):
        refuse("--user-id must be 4 digits")
    subject = object_id(sub, field="--sub")
    actor = Actor(role=role, id=subject, user_id=user_id, email=email, name=name, email_verified=email_verified)
    typer.echo(tokens.mint(actor, settings=read_settings(), lasts=timedelta(hours=hours)))


@app.command()
def demo(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Where the printed request goes.")] = 8000,
) -> None:
    """Seed a small demo marketplace, once, and print tokens and a first request."""
    settings = read_settings()
    _refuse_in_production(settings)

    async def command() -> None:
        async with connected(settings) as confiido:
            await confiido.ensure_indexes()
            made = await marketplace.seed(confiido)
            typer.echo(marketplace.introduction(made, settings, f"http://127.0.0.1:{port}"))

    run(command)


@app.command()
def indexes() -> None:
    """Create the indexes that are missing."""
    settings = read_settings()

    async def command() -> None:
        async with connected(settings) as confiido:
            for name in await confiido.ensure_indexes():
                typer.echo(name)

    run(command)


@app.command("settings")
def show_settings() -> None:
    """List every setting: what it is called in the environment, its default, its value now."""
    settings = read_settings()
    table = Table()
    table.add_column("Setting", no_wrap=True)
    for heading in ("Default", "Now", "What it does"):
        table.add_column(heading, overflow="fold")
    for field, about in Settings.model_fields.items():
        value = getattr(settings, field)
        now = "(set)" if isinstance(value, SecretStr) else _shown(value)
        table.add_row(variable(field), _shown(about.default), now, about.description or "")
    Console().print(table)


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(installed_version("confiido-booking"))


def _refuse_in_production(settings: Settings) -> None:
    if settings.env == "production":
        refuse("The demo marketplace is not for production")


def _shown(value: object) -> str:
    if value is None:
        return ""
    return f"{value:g}" if isinstance(value, float) else str(value)
