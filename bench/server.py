"""The processes the bench measures: the database server, and ``confiido serve`` before it."""

import http.client
import json
import os
import platform
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

from confiido_booking import Actor, Settings
from confiido_booking.database.store import Document, Store
from confiido_booking.tokens import mint

_STARTER = Path(__file__).parents[2] / "shared" / "server" / "up"
SECRET = "the secret of a bench that lasts some minutes"


class NoServer(Exception):
    """There is no server to measure; the message is a sentence for people."""


def database_server() -> str:
    """``MONGODB_URI``, or the URI of the server that ``shared/server/up`` starts or finds running."""
    given = os.environ.get("MONGODB_URI")
    if given:
        return given
    if not _STARTER.exists():
        raise NoServer("The bench needs a real server: set MONGODB_URI (the embedded engine is not what SPEC 11 means)")
    print("Starting the server (two minutes on the first call)", file=sys.stderr)
    started = subprocess.run([_STARTER], capture_output=True, text=True, check=False)
    if started.returncode:
        raise NoServer(f"The server did not start: {started.stderr.strip()[-500:]}")
    return started.stdout.strip().splitlines()[-1]


def with_database(uri: str, name: str) -> str:
    return urlsplit(uri)._replace(path=f"/{name}").geturl()


async def machine(store: Store) -> str:
    """What the figures were measured on: cores, memory, processor, versions."""
    build = await store.client.admin.command("buildInfo")
    own = build.get("ferretdb", {}).get("version")
    server = (
        f"FerretDB {own.removeprefix('v')} (as MongoDB {build['version']})" if own else f"MongoDB {build['version']}"
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{os.cpu_count()} cores ({_processor()}), {memory:.0f} GiB, {platform.system()}, "
        f"Python {platform.python_version()}, {server} on loopback"
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


@dataclass(slots=True)
class Http:
    """A caller of the API over one kept connection; the answer's time ends with its last byte."""

    port: int
    token: str
    _connection: http.client.HTTPConnection | None = field(default=None)

    def open(self) -> http.client.HTTPConnection:
        """Connect, where that has not been done."""
        if self._connection is None:
            self._connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
            self._connection.connect()
            self._connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self._connection

    def __call__(self, method: str, path: str, body: Mapping[str, object] | None = None) -> tuple[int, bytes]:
        """Status and body."""
        connection = self.open()
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        connection.request(method, path, json.dumps(body) if body is not None else None, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()

    def timed(self, method: str, path: str, body: Mapping[str, object] | None = None) -> tuple[float, Document]:
        """Seconds, and ``data`` of the success; anything else ends the bench."""
        start = time.perf_counter()
        status, answer = self(method, path, body)
        took = time.perf_counter() - start
        if status >= 300:
            raise RuntimeError(f"{method} {path}: {status} {answer[:300]!r}")
        data: Document = json.loads(answer)["data"]
        return took, data


@dataclass(frozen=True, slots=True)
class Served:
    """A running ``confiido serve``."""

    port: int

    def caller(self, actor: Actor) -> Http:
        return Http(self.port, mint(actor, settings=Settings(jwt_secret=SECRET), lasts=timedelta(hours=2)))


@contextmanager
def serving(uri: str) -> Iterator[Served]:
    """``confiido serve`` on that database, in a process of its own, until the block ends."""
    port = _free_port()
    folder = tempfile.mkdtemp(prefix="confiido-bench-")
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("CONFIIDO_")},
        "MONGODB_URI": uri,
        "CONFIIDO_JWT_SECRET": SECRET,
        "CONFIIDO_DATA_DIR": folder,
    }
    with Path(folder, "log").open("w") as log:
        process = subprocess.Popen(
            [Path(sys.executable).with_name("confiido"), "serve", "--port", str(port)],
            env=environment,
            stdout=log,
            stderr=log,
        )
        try:
            _await_ready(process, port, Path(folder, "log"))
            yield Served(port)
        finally:
            process.terminate()
            process.wait(30)
            shutil.rmtree(folder, ignore_errors=True)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _await_ready(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    for _ in range(300):
        try:
            if Http(port, "")("GET", "/health/ready")[0] == 200:
                return
        except OSError:
            pass
        if process.poll() is not None:
            break
        time.sleep(0.1)
    raise NoServer(f"confiido serve did not start: {log.read_text()[-500:]}")
