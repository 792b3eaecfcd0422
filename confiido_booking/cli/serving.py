"""``confiido serve``: an engine where none is named, a secret where none is set, then one process or several."""

import asyncio
import os
import signal
import socket
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext
from multiprocessing import parent_process
from multiprocessing.process import BaseProcess
from threading import Thread
from typing import TypedDict

import typer
import uvicorn
from pymongo.uri_parser import parse_uri
from starlette.types import ASGIApp

from api.app import create_app
from api.observability import configure_logs
from confiido_booking import demo, tokens
from confiido_booking.cli.running import connected, read_settings, refuse, run, work
from confiido_booking.client import Confiido
from confiido_booking.database.embedded import FILE_NAME, EmbeddedEngine
from confiido_booking.settings import Settings


class _Options(TypedDict):
    host: str
    port: int
    access_log: bool
    log_config: None
    server_header: bool
    proxy_headers: bool


def serve(*, host: str, port: int, processes: int, with_demo: bool, with_worker: bool) -> None:
    """Serve until a signal ends it. The worker's chores can be done beside one process only."""
    read_settings()
    _check_port(host, port)
    behind_proxy = "FORWARDED_ALLOW_IPS" in os.environ  # uvicorn's own setting: whose X-Forwarded-For is believed
    options = _Options(
        host=host, port=port, access_log=False, log_config=None, server_header=False, proxy_headers=behind_proxy
    )
    with _engine_and_secret() as settings:
        configure_logs(settings.log_level)
        if processes == 1:
            run(lambda: _serve_here(settings, options, with_demo=with_demo, with_worker=with_worker))
        else:
            run(lambda: _prepare(settings, options, with_demo=with_demo))
            with tempfile.TemporaryDirectory(prefix="confiido-metrics-") as figures:
                os.environ["PROMETHEUS_MULTIPROC_DIR"] = figures
                uvicorn.run(f"{__name__}:app_of_a_process", factory=True, workers=processes, **options)


def app_of_a_process() -> ASGIApp:
    """What each of several processes runs: the application, which ends when its parent does, also by SIGKILL."""

    def end_with(parent: BaseProcess) -> None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)

    if parent := parent_process():
        Thread(target=end_with, args=(parent,), daemon=True).start()
    return create_app()


async def _serve_here(settings: Settings, options: _Options, *, with_demo: bool, with_worker: bool) -> None:
    async with _prepared(settings, options, with_demo=with_demo) as confiido:
        server = uvicorn.Server(uvicorn.Config(create_app(confiido, settings), **options))
        chores = asyncio.create_task(work(confiido)) if with_worker else None
        await server.serve()
        if chores:
            chores.cancel()


async def _prepare(settings: Settings, options: _Options, *, with_demo: bool) -> None:
    async with _prepared(settings, options, with_demo=with_demo):
        pass


@asynccontextmanager
async def _prepared(settings: Settings, options: _Options, *, with_demo: bool) -> AsyncIterator[Confiido]:
    async with connected(settings) as confiido:
        await confiido.ensure_indexes()
        if with_demo:
            typer.echo(demo.introduction(await demo.seed(confiido), settings, f"http://127.0.0.1:{options['port']}"))
        yield confiido


def _check_port(host: str, port: int) -> None:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        socket.create_server((host, port), family=family).close()
    except OSError as error:
        refuse(f"Cannot listen on {host}:{port}: {os.strerror(error.errno) if error.errno else error}")


@contextmanager
def _engine_and_secret() -> Iterator[Settings]:
    """The settings with a server and a secret, also in the environment, where processes made later find them."""
    settings = read_settings()
    engine = EmbeddedEngine(settings.data_dir / FILE_NAME) if settings.mongodb_uri is None else None
    with engine or nullcontext():
        if engine:
            os.environ |= {"MONGODB_URI": engine.uri, "CONFIIDO_EMBEDDED": "1"}
            typer.echo(f"Data: the embedded engine, in {engine.file} (for development; set MONGODB_URI for a server)")
        elif settings.mongodb_uri:
            typer.echo(f"Data: {_server_name(settings.mongodb_uri.get_secret_value())}")
        if not settings.jwt_secret and not settings.jwks_url:
            os.environ["CONFIIDO_JWT_SECRET"] = tokens.development_secret(settings.data_dir)
            typer.echo(f"Tokens: signed with this folder's own secret, in {settings.data_dir / 'jwt-secret'}")
        yield read_settings()


def _server_name(uri: str) -> str:
    """Host, port and database; never the credentials."""
    parts = parse_uri(uri, validate=False)
    hosts = ",".join(f"{host}:{port}" if port else host for host, port in parts["nodelist"])
    return f"{hosts}, database {parts.get('database') or 'confiido'}"
