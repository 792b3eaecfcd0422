"""The ``confiido`` command: run the service, look after its data, try it out (SPEC 10).

Exit codes: 0 done, 1 ``doctor`` found something that is not sound, 2 refused, with one sentence on standard error.
"""

import asyncio
import logging
import os
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, nullcontext, suppress
from datetime import timedelta
from importlib.metadata import version as installed_version
from typing import Annotated, NoReturn, TypedDict

try:
    import typer
    from rich.console import Console
    from rich.table import Table
except ModuleNotFoundError as error:
    sys.exit(f"The confiido command needs confiido-booking[cli] ({error.name} is missing)")
from pydantic import SecretStr, ValidationError
from pymongo.uri_parser import parse_uri

from confiido_booking import tokens
from confiido_booking.actors import Actor, Role
from confiido_booking.client import Confiido
from confiido_booking.database.embedded import FILE_NAME, EmbeddedEngine, EngineRefused, embedded_uri
from confiido_booking.demo import Demo, seed
from confiido_booking.errors import BookingError, Unavailable
from confiido_booking.ids import object_id
from confiido_booking.settings import Settings

app = typer.Typer(
    help="Confiido Booking: the booking backend for expert marketplaces.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
log = logging.getLogger("confiido.worker")
DEMO_TOKENS_LAST = timedelta(days=30)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; what the library refuses becomes one sentence and exit code 2."""
    try:
        app(arguments)
    except (BookingError, EngineRefused, OSError) as error:
        _refuse(str(error))


class _UvicornOptions(TypedDict):
    access_log: bool
    log_config: None
    server_header: bool


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
        import uvicorn

        from api.app import create_app
        from api.observability import configure_logs
    except ModuleNotFoundError as error:
        _refuse(f"Serving needs confiido-booking[api] ({error.name} is missing)")
    if with_worker and workers > 1:
        _refuse("--with-worker goes with one process; run `confiido worker` beside several")
    options = _UvicornOptions(access_log=False, log_config=None, server_header=False)  # api/observability.py logs
    _read_settings()
    _check_port(host, port)
    with _served_engine() as settings:
        configure_logs(settings.log_level)
        if workers == 1:

            async def serve_here() -> None:
                async with _prepared(settings, demo=demo, port=port) as confiido:
                    api = create_app(confiido, settings)
                    chores = asyncio.create_task(_work(confiido)) if with_worker else None
                    await uvicorn.Server(uvicorn.Config(api, host=host, port=port, **options)).serve()
                    if chores:
                        chores.cancel()

            _run(serve_here)
        else:

            async def prepare() -> None:
                async with _prepared(settings, demo=demo, port=port):
                    pass

            _run(prepare)
            with tempfile.TemporaryDirectory(prefix="confiido-metrics-") as figures:
                os.environ["PROMETHEUS_MULTIPROC_DIR"] = figures
                uvicorn.run("api.app:create_app", factory=True, host=host, port=port, workers=workers, **options)


@app.command()
def worker(
    once: Annotated[bool, typer.Option("--once", help="Do all that is due, then exit.")] = False,
) -> None:
    """Expire holds, complete and archive old sessions, release abandoned claims; any number may run."""
    settings = _read_settings()

    async def run() -> None:
        async with _connected(settings) as confiido:
            if once:
                done = await confiido.chores.once()
                typer.echo(", ".join(f"{count} {name}" for name, count in done.items()))
            else:
                typer.echo(f"The worker looks every {settings.worker_interval_seconds:g} s for what is due")
                await _work(confiido)

    logging.basicConfig(level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s %(message)s")
    _run(run)


@app.command()
def doctor(
    repair: Annotated[bool, typer.Option("--repair", help="Mend what can be mended.")] = False,
) -> None:
    """Check every law of the data; exit 0 when all is sound, 1 when not."""
    settings = _read_settings()

    async def run() -> bool:
        async with _connected(settings) as confiido:
            report = await (confiido.doctor.repair() if repair else confiido.doctor.examine())
            for finding in report.findings:
                typer.echo(f"{finding.kind} {finding.subject}: {finding.sentence}")
            verdict = "All is sound" if report.is_sound else f"{len(report.findings)} not sound"
            typer.echo(
                f"{verdict}: {report.bookings} bookings, {report.sessions} sessions; "
                f"{report.repaired} mended, {report.due} lapsed holds to be swept"
            )
            return report.is_sound

    if not _run(run):
        raise typer.Exit(1)


@app.command()
def token(
    role: Annotated[Role, typer.Option(help="client, expert, admin or service.")],
    sub: Annotated[str, typer.Option(help="The user's _id, 24 hexadecimal digits.")],
    user_id: Annotated[str | None, typer.Option(help="The user's 4-digit number.")] = None,
    email: Annotated[str | None, typer.Option()] = None,
    name: Annotated[str | None, typer.Option()] = None,
    hours: Annotated[float, typer.Option(min=0, max=24 * 365, help="How long the token is good.")] = 24,
) -> None:
    """Mint a bearer token for development, with CONFIIDO_JWT_SECRET or the data folder's own secret."""
    if role not in (Role.CLIENT, Role.EXPERT, Role.ADMIN, Role.SERVICE):
        _refuse("--role must be client, expert, admin or service")
    actor = Actor(role=role, id=object_id(sub, field="--sub"), user_id=user_id, email=email, name=name)
    typer.echo(tokens.mint(actor, settings=_read_settings(), lasts=timedelta(hours=hours)))


@app.command()
def demo(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Where the printed request goes.")] = 8000,
) -> None:
    """Seed a small demo marketplace, once, and print tokens and a first request."""
    settings = _read_settings()
    if settings.env == "production":
        _refuse("The demo marketplace is not for production")

    async def run() -> None:
        async with _connected(settings) as confiido:
            await confiido.ensure_indexes()
            _show_demo(await seed(confiido), settings, port)

    _run(run)


@app.command()
def indexes() -> None:
    """Create the indexes that are missing."""
    settings = _read_settings()

    async def run() -> None:
        async with _connected(settings) as confiido:
            for name in await confiido.ensure_indexes():
                typer.echo(name)

    _run(run)


@app.command("settings")
def show_settings() -> None:
    """List every setting: what it is called in the environment, its default, its value now."""
    settings = _read_settings()
    table = Table("Setting", "Default", "Now", "What it does")
    for field, about in Settings.model_fields.items():
        value = getattr(settings, field)
        now = "(set)" if isinstance(value, SecretStr) else _shown(value)
        table.add_row(_variable(field), _shown(about.default), now, about.description or "")
    Console().print(table)


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(installed_version("confiido-booking"))


def _refuse(sentence: str) -> NoReturn:
    typer.echo(f"confiido: {sentence}", err=True)
    sys.exit(2)


def _run[T](command: Callable[[], Coroutine[None, None, T]]) -> T:
    try:
        import uvloop
    except ModuleNotFoundError:
        factory = None
    else:
        factory = uvloop.new_event_loop
    try:
        return asyncio.run(command(), loop_factory=factory)
    except KeyboardInterrupt:
        raise typer.Exit(0) from None


def _read_settings() -> Settings:
    try:
        return Settings()
    except ValidationError as error:
        _refuse("; ".join(_sentence(dict(wrong)) for wrong in error.errors(include_url=False, include_input=False)))


def _sentence(wrong: Mapping[str, object]) -> str:
    message = str(wrong["msg"]).removeprefix("Value error, ")
    where = wrong["loc"]
    return f"{_variable(str(where[0]))}: {message}" if isinstance(where, tuple) and where else message


def _variable(field: str) -> str:
    about = Settings.model_fields.get(field)
    if about is None or isinstance(about.validation_alias, str):
        return field if about is None else str(about.validation_alias)
    return f"CONFIIDO_{field.upper()}"


def _shown(value: object) -> str:
    if value is None:
        return ""
    return f"{value:g}" if isinstance(value, float) else str(value)


def _check_port(host: str, port: int) -> None:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        socket.create_server((host, port), family=family).close()
    except OSError as error:
        _refuse(f"Cannot listen on {host}:{port}: {os.strerror(error.errno) if error.errno else error}")


@contextmanager
def _served_engine() -> Iterator[Settings]:
    """The settings with a server and a secret, also in the environment, where processes made later find them."""
    settings = _read_settings()
    engine = EmbeddedEngine(settings.data_dir / FILE_NAME) if settings.mongodb_uri is None else None
    with engine or nullcontext():
        if engine:
            os.environ |= {"MONGODB_URI": engine.uri, "CONFIIDO_EMBEDDED": "1"}
        if not settings.jwt_secret and not settings.jwks_url:
            os.environ["CONFIIDO_JWT_SECRET"] = tokens.development_secret(settings.data_dir)
            typer.echo(f"Tokens are signed with the development secret in {settings.data_dir / 'jwt-secret'}")
        if engine:
            typer.echo(f"Data: the embedded engine, in {engine.file} (for development; set MONGODB_URI for a server)")
        elif settings.mongodb_uri:
            typer.echo(f"Data: {_server_name(settings.mongodb_uri.get_secret_value())}")
        yield _read_settings()


def _server_name(uri: str) -> str:
    """Host, port and database; never the credentials."""
    parts = parse_uri(uri, validate=False)
    hosts = ",".join(f"{host}:{port}" if port else host for host, port in parts["nodelist"])
    return f"{hosts}, database {parts.get('database') or 'confiido'}"


@asynccontextmanager
async def _connected(settings: Settings) -> AsyncIterator[Confiido]:
    """The library on MONGODB_URI, else on the embedded engine: the one that runs, or one for this command."""
    given = settings.mongodb_uri
    with nullcontext(given.get_secret_value()) if given else embedded_uri(settings.data_dir / FILE_NAME) as uri:
        async with Confiido.connect(uri, settings=settings) as confiido:
            await confiido.ping()
            yield confiido


@asynccontextmanager
async def _prepared(settings: Settings, *, demo: bool, port: int) -> AsyncIterator[Confiido]:
    async with _connected(settings) as confiido:
        await confiido.ensure_indexes()
        if demo:
            _show_demo(await seed(confiido), settings, port)
        yield confiido


async def _work(confiido: Confiido) -> None:
    """The worker's chores until cancelled, whatever happens to the store meanwhile."""
    while True:
        try:
            await confiido.chores.forever()
        except Unavailable as error:
            log.warning("%s; trying again", error)
        except Exception:
            log.exception("The chores stopped short; trying again")
        await asyncio.sleep(confiido.settings.worker_interval_seconds)


def _show_demo(demo: Demo, settings: Settings, port: int) -> None:
    def mint(actor: Actor) -> str:
        return tokens.mint(actor, settings=settings, lasts=DEMO_TOKENS_LAST)

    client = mint(demo.client)
    body = (
        f'{{"expertId": "{demo.expert.expert_user_id}", "sessionType": "{demo.session_type}", '
        f'"duration": {demo.duration}, "startsAt": "{demo.starts_at:%Y-%m-%dT%H:%M:%SZ}"}}'
    )
    lines = [
        "",
        f"Client  {demo.client.name}: {client}",
        f"Expert  {demo.expert.name}: {mint(demo.expert_actor)}",
        f"Admin   {mint(demo.admin)}",
        "",
        f"Book {demo.expert.name} (expertId {demo.expert.id}, number {demo.expert.expert_user_id}):",
        "",
        f"curl -sS -X POST http://127.0.0.1:{port}/api/bookings -H 'Authorization: Bearer {client}' "
        f"-H 'Content-Type: application/json' -d '{body}'",
        "",
        f"All routes: http://127.0.0.1:{port}/docs",
        "",
    ]
    with suppress(BrokenPipeError):
        typer.echo("\n".join(lines))
