"""What every command needs: its settings, an event loop, the library connected, and one way to refuse."""

import asyncio
import logging
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager, nullcontext
from typing import NoReturn

import typer
from pydantic import ValidationError

from confiido_booking.client import Confiido
from confiido_booking.database.embedded import FILE_NAME, embedded_uri, running
from confiido_booking.errors import Unavailable
from confiido_booking.settings import Settings

log = logging.getLogger("confiido.worker")


def refuse(sentence: str) -> NoReturn:
    typer.echo(f"confiido: {sentence}", err=True)
    sys.exit(2)


def run[T](command: Callable[[], Coroutine[None, None, T]]) -> T:
    """Run a command's coroutine, on uvloop where it is installed; Ctrl-C is an ordinary end."""
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


def read_settings() -> Settings:
    """The settings; a wrong one ends the command with a sentence that does not repeat its value."""
    try:
        return Settings()
    except ValidationError as error:
        refuse("; ".join(_sentence(dict(wrong)) for wrong in error.errors(include_url=False, include_input=False)))


def variable(field: str) -> str:
    """What a setting is called in the environment."""
    about = Settings.model_fields.get(field)
    if about is None:
        return field
    return about.validation_alias if isinstance(about.validation_alias, str) else f"CONFIIDO_{field.upper()}"


def _sentence(wrong: Mapping[str, object]) -> str:
    message = str(wrong["msg"]).removeprefix("Value error, ")
    where = wrong["loc"]
    return f"{variable(str(where[0]))}: {message}" if isinstance(where, tuple) and where else message


@asynccontextmanager
async def connected(settings: Settings, *, to_what_is_there: bool = False) -> AsyncIterator[Confiido]:
    """The library on MONGODB_URI, else on the embedded engine: the one that runs, or one for this command.

    ``to_what_is_there``: for a command that only looks, which in a folder without data is in the wrong one.
    """
    given, file = settings.mongodb_uri, settings.data_dir / FILE_NAME
    if to_what_is_there and given is None and not file.exists() and running(file) is None:
        where = settings.data_dir.absolute()
        refuse(f"There is no data in {where}; go where it is, or set MONGODB_URI or CONFIIDO_DATA_DIR")
    with nullcontext(given.get_secret_value()) if given else embedded_uri(file) as uri:
        async with Confiido.connect(uri, settings=settings) as confiido:
            await confiido.ping()
            yield confiido


async def work(confiido: Confiido) -> None:
    """The worker's chores until cancelled, whatever happens to the store meanwhile."""
    while True:
        try:
            await confiido.chores.forever()
        except Unavailable as error:
            log.warning("%s; trying again", error)
        except Exception:
            log.exception("The chores stopped short; trying again")
        await asyncio.sleep(confiido.settings.worker_interval_seconds)
