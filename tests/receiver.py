"""A receiver of webhooks on loopback, which keeps what it gets and answers as the test says."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass
class Receiver:
    """``answers`` are used up one after the other, then every request gets 204; "silence" is no answer at all."""

    port: int = 0
    answers: list[str] = field(default_factory=list)
    requests: list[tuple[dict[str, str], bytes]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/told?by=confiido"

    @property
    def ids(self) -> list[str]:
        return [headers["webhook-id"] for headers, _ in self.requests]

    async def receive(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        self.requests.append(({**headers, ":path": head[0].split()[1]}, body))
        answer = self.answers.pop(0) if self.answers else "204 No Content\r\n"
        if answer == "silence":
            await reader.read()
        else:
            writer.write(f"HTTP/1.1 {answer}Connection: close\r\n\r\n".encode())
            if "endless" in answer:
                while not writer.is_closing():
                    writer.write(b"x" * 65536)
                    try:
                        await writer.drain()
                    except ConnectionError:
                        break
        writer.close()


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    """A receiver that listens on a free port of 127.0.0.1."""
    receiver = Receiver()
    server = await asyncio.start_server(receiver.receive, "127.0.0.1", 0)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()
