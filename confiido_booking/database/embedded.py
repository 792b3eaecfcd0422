"""The embedded engine: a MongoDB wire server in a child process on loopback, its data in one file (DESIGN 4).

For development, demos and tests; ``MONGODB_URI`` names the server for everything else.

    with EmbeddedEngine(Path("data/confiido.db")) as engine:    # None instead of a file: in memory
        async with Confiido.connect(engine.uri) as confiido: ...

Who owns the file holds a lock on ``<file>.lock`` and has written its URI there, so that other commands find the
running engine (:func:`running`, :func:`embedded_uri`). The kernel drops the lock with the process, however it ends.
The child ends when its standard input does: also when its parent was killed.

What was acknowledged survives SIGKILL of the engine (SQLite's write-ahead log, committed before the answer). It is not
synced on every write (``synchronous=NORMAL``), so a power failure may lose the last moments; the file stays sound.
"""

import argparse
import asyncio
import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO

FILE_NAME = "confiido.db"
_TAKEOVER_SECONDS = 3.0  # an engine whose parent has just gone needs a moment to close its file
_GRACE_SECONDS = 5.0
_REFUSED = "refused: "


class EngineRefused(Exception):
    """The engine did not start; the message is a sentence for people."""


class EmbeddedEngine:
    """One engine process. ``file=None`` keeps everything in memory; ``port=0`` picks a free port and keeps it."""

    def __init__(self, file: Path | None = None, *, port: int = 0) -> None:
        self.file = file
        self.uri = ""
        self._port = port
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> str:
        """Start and return the URI; a second start after :meth:`stop` or :meth:`kill` has the same URI.

        Raises:
            EngineRefused: another process owns the file, the port is taken, or mongoeco is not installed.
        """
        command = [sys.executable, "-m", "confiido_booking.database.embedded", "--port", str(self._port)]
        if self.file is not None:
            command += ["--file", str(self.file)]
        self._process = subprocess.Popen(  # noqa: S603 - our own module
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C is for the parent, which then stops this child in its own time
        )
        assert self._process.stdout is not None
        answer = self._process.stdout.readline().strip()
        if not answer.startswith("mongodb://"):
            self.stop()
            raise EngineRefused(answer.removeprefix(_REFUSED) or "The embedded engine ended before it was ready")
        self.uri = answer
        self._port = int(answer.rpartition(":")[2].partition("/")[0])
        return self.uri

    @property
    def pid(self) -> int | None:
        """The engine's process id, while it runs."""
        return self._process.pid if self._process else None

    def stop(self) -> None:
        """Let the engine close its file and wait for it to end."""
        if self._process is None:
            return
        self._close_pipes()
        try:
            self._process.wait(2 * _GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def kill(self) -> None:
        """End the engine as a crash would (SIGKILL)."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._close_pipes()
            self._process = None

    def _close_pipes(self) -> None:
        assert self._process is not None
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def running(file: Path) -> str | None:
    """The URI of the engine that owns ``file``; None when nobody does."""
    try:
        lock = _lock_path(file).open()
    except FileNotFoundError:
        return None
    with lock:
        deadline = time.monotonic() + _TAKEOVER_SECONDS
        while not _try_lock(lock, fcntl.LOCK_SH):
            lock.seek(0)
            if uri := lock.read().strip():
                return uri
            if time.monotonic() > deadline:
                raise EngineRefused(f"{file} is in use by an engine that does not say where it listens")
            time.sleep(0.05)
    return None


@contextmanager
def embedded_uri(file: Path) -> Iterator[str]:
    """The URI of the engine that runs on ``file``, or of one started here and stopped at the end."""
    if uri := running(file):
        yield uri
    else:
        with EmbeddedEngine(file) as engine:
            yield engine.uri


def _lock_path(file: Path) -> Path:
    return file.with_name(file.name + ".lock")


def _try_lock(lock: TextIO, kind: int) -> bool:
    try:
        fcntl.flock(lock, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def _ownership(file: Path) -> Iterator[TextIO]:
    file.parent.mkdir(parents=True, exist_ok=True)
    with _lock_path(file).open("a+") as lock:
        deadline = time.monotonic() + _TAKEOVER_SECONDS
        while not _try_lock(lock, fcntl.LOCK_EX):
            if time.monotonic() > deadline:
                raise EngineRefused(f"{file} is already in use by another engine; stop that one first")
            time.sleep(0.05)
        lock.truncate(0)  # what a killed owner left
        try:
            yield lock
        finally:
            lock.truncate(0)


async def _serve(file: Path | None, port: int, lock: TextIO | None) -> None:
    from mongoeco.engines.memory import MemoryEngine
    from mongoeco.engines.sqlite import SQLiteEngine
    from mongoeco.wire import AsyncMongoEcoProxyServer

    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    engine = SQLiteEngine(str(file), executor_workers=1) if file else MemoryEngine()
    async with AsyncMongoEcoProxyServer(engine=engine, port=port, mongodb_dialect="8.0") as server:
        uri = server.address.uri
        if lock is not None:
            lock.write(uri)
            lock.flush()
        print(uri, flush=True)  # noqa: T201 - the answer the parent waits for
        threading.Thread(target=_watch_parent, args=(loop, ended), daemon=True).start()
        await ended.wait()


def _watch_parent(loop: asyncio.AbstractEventLoop, ended: asyncio.Event) -> None:
    while os.read(0, 4096):
        pass
    loop.call_soon_threadsafe(ended.set)
    time.sleep(_GRACE_SECONDS)
    os._exit(1)


def _main() -> None:
    parser = argparse.ArgumentParser(description="The embedded engine; ends with its standard input.")
    parser.add_argument("--file", type=Path)
    parser.add_argument("--port", type=int, default=0)
    options = parser.parse_args()
    try:
        if options.file is None:
            asyncio.run(_serve(None, options.port, None))
        else:
            with _ownership(options.file) as lock:
                asyncio.run(_serve(options.file, options.port, lock))
    except ModuleNotFoundError as error:
        sys.exit(_refuse(f"The embedded engine needs confiido-booking[embedded] ({error.name} is missing)"))
    except (EngineRefused, OSError) as error:
        sys.exit(_refuse(str(error)))


def _refuse(sentence: str) -> int:
    print(_REFUSED + sentence, flush=True)  # noqa: T201
    return 1


if __name__ == "__main__":
    _main()
