"""``confiido serve`` as processes of its own, on a database that the test names."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from confiido_booking import Actor, Settings
from confiido_booking.tokens import mint
from tests.conftest import SECRET

COMMAND = [sys.executable, "-c", "from confiido_booking.cli import main; main()", "serve"]


@dataclass(frozen=True)
class Server:
    process: subprocess.Popen[bytes]
    port: int
    log: Path

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def wait_until_ready(self, seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                if httpx.get(f"{self.base}/health/ready", timeout=10).is_success:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.1)
        pytest.fail(f"serve did not become ready:\n{self.log.read_text()[-3000:]}")


def a_free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
    return port


@contextmanager
def serving(
    folder: Path, uri: str, *, port: int | None = None, further: Mapping[str, str] | None = None
) -> Iterator[Server]:
    """A server over the database of ``uri``, ready; ended with the block, killed if it must be.

    ``further``: more of its environment."""
    port = port or a_free_port()
    log = folder / f"server.{port}.log"
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("CONFIIDO_")},
        "MONGODB_URI": uri,
        "CONFIIDO_JWT_SECRET": SECRET,
        "CONFIIDO_DATA_DIR": str(folder),
        "CONFIIDO_LOG_LEVEL": "warning",
        **(further or {}),
    }
    with (
        log.open("ab") as output,
        subprocess.Popen(
            [*COMMAND, "--port", str(port)], env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        ) as process,
    ):
        server = Server(process, port, log)
        try:
            server.wait_until_ready()
            yield server
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


def token(actor: Actor) -> dict[str, str]:
    """The headers by which such a server knows the actor."""
    settings = Settings.model_validate({"env": "test", "jwt_secret": SECRET})
    return {"Authorization": f"Bearer {mint(actor, settings=settings, lasts=timedelta(hours=1))}"}
