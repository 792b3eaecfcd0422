"""``confiido serve`` as a newcomer meets it: a demo marketplace, ready tokens, a first request, nothing lost (L8)."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest


@dataclass(frozen=True)
class Server:
    process: subprocess.Popen[str]
    base: str
    printed: Path

    @property
    def first_request(self) -> str:
        return next(line for line in self.printed.read_text().splitlines() if line.startswith("curl "))


def a_free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
    return port


@contextmanager
def serving(folder: Path, *options: str) -> Iterator[Server]:
    port = a_free_port()
    printed = folder / f"printed.{port}"
    command = [sys.executable, "-c", "from confiido_booking.cli import main; main()", "serve", "--port", str(port)]
    with (
        printed.open("w") as output,
        subprocess.Popen(
            [*command, *options],
            env={**os.environ, "CONFIIDO_DATA_DIR": str(folder / "data"), "TMPDIR": str(folder)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process,
    ):
        server = Server(process, f"http://127.0.0.1:{port}", printed)
        try:
            wait_until_ready(server)
            yield server
        finally:
            process.terminate()


def wait_until_ready(server: Server) -> None:
    for _ in range(300):
        try:
            if httpx.get(f"{server.base}/health/ready").is_success:
                return
        except httpx.TransportError:
            pass
        if server.process.poll() is not None:
            break
        time.sleep(0.1)
    pytest.fail(f"serve did not become ready:\n{server.printed.read_text()}")


def sessions_of_the_demo_client(server: Server, authorization: str) -> list[str]:
    answer = httpx.get(f"{server.base}/api/bookings/user?limit=100", headers={"Authorization": authorization})
    return [session["sessionId"] for booking in answer.json()["data"]["bookings"] for session in booking["sessions"]]


def test_the_printed_curl_books_and_a_killed_server_comes_back_with_the_booking_and_the_token(tmp_path: Path) -> None:
    with serving(tmp_path, "--demo", "--with-worker") as server:
        booked = subprocess.run(["bash", "-c", server.first_request], capture_output=True, text=True, check=True)
        authorization = server.first_request.partition("Authorization: ")[2].partition("'")[0]
        before = sessions_of_the_demo_client(server, authorization)
        server.process.send_signal(signal.SIGKILL)

    with serving(tmp_path, "--demo") as server:
        after = sessions_of_the_demo_client(server, authorization)
        announced = server.printed.read_text()

    assert '"message":"Session booked successfully"' in booked.stdout
    assert len(before) == 3
    assert sorted(after) == sorted(before)
    assert "the embedded engine" in announced


def test_several_processes_serve_one_database_and_end_with_a_killed_parent(tmp_path: Path) -> None:
    with serving(tmp_path, "--workers", "2") as server:
        answered = [httpx.get(f"{server.base}/health/ready").status_code for _ in range(6)]
        server.process.send_signal(signal.SIGKILL)
        server.process.wait()
        deadline = time.monotonic() + 10
        while answers(server) and time.monotonic() < deadline:
            time.sleep(0.1)
        still = answers(server)

    assert answered == [200] * 6
    assert not still


def answers(server: Server) -> bool:
    try:
        httpx.get(f"{server.base}/health/live", timeout=1)
    except httpx.TransportError:
        return False
    return True
