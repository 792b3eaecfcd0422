"""One signed POST to an address that somebody else chose (Standard Webhooks).

The name is resolved once, every address it has is checked, and the connection goes to one of those: what it resolves to
a moment later does not matter. No redirect is followed, no proxy is used, and of the answer only its status is read.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from time import perf_counter
from urllib.parse import urlsplit

import httpx
from standardwebhooks.webhooks import Webhook

TIMEOUT_SECONDS = 10.0
_ENOUGH = 64 * 1024  # bytes of an answer after which the connection is closed
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_NOWHERE = (ipaddress.ip_network("::/96"), ipaddress.ip_network("fec0::/10"))  # given up, and once for sites' own use


class Refused(Exception):
    """The address is loopback, private, or none at all."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """``status`` where there was an answer; ``error`` says what there was instead."""

    milliseconds: int
    status: int | None = None
    error: str | None = None

    @property
    def delivered(self) -> bool:
        return self.status is not None and 200 <= self.status < 300


async def post(
    url: str,
    body: str,
    *,
    message_id: str,
    secret: str,
    at: datetime,
    allow_private: bool,
) -> Outcome:
    """Send ``body`` once. Never raises for what the other side does."""
    begun = perf_counter()

    def outcome(status: int | None = None, error: str | None = None) -> Outcome:
        return Outcome(round((perf_counter() - begun) * 1000), status, error)

    headers = {
        "content-type": "application/json",
        "user-agent": "confiido-booking",
        "webhook-id": message_id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": Webhook(secret).sign(message_id, at, body),
    }
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            target = await _resolved(url, allow_private=allow_private)
            return outcome(await _send(target, headers, body.encode()))
    except Refused as refused:
        return outcome(error=str(refused))
    except TimeoutError:
        return outcome(error="no answer in time")
    except (httpx.HTTPError, httpx.InvalidURL, OSError, UnicodeError) as error:
        return outcome(error=type(error).__name__)


async def check_target(url: str, *, allow_private: bool) -> None:
    """Raises Refused where it is no name, or one that has an address that is not public; one that has none yet may get
    one."""
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            await _resolved(url, allow_private=allow_private)
    except (UnicodeError, httpx.InvalidURL):
        raise Refused("the address is none") from None
    except (OSError, TimeoutError):
        return


@dataclass(frozen=True, slots=True)
class _Target:
    urls: Sequence[httpx.URL]  # with each address in place of the name
    host: str
    name: str


async def _resolved(url: str, *, allow_private: bool) -> _Target:
    parts = urlsplit(url)
    if not parts.hostname:
        raise Refused("the address names no host")
    port = parts.port or (443 if parts.scheme == "https" else 80)
    found = await asyncio.get_running_loop().getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    if not allow_private and not all_public(addresses):
        raise Refused("the address is not public")
    urls = [httpx.URL(url).copy_with(host=address) for address in addresses]
    return _Target(urls, parts.netloc, parts.hostname)


def all_public(addresses: Sequence[str]) -> bool:
    return bool(addresses) and all(_is_public(address) for address in addresses)


def _is_public(text: str) -> bool:
    address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        if any(address in network for network in _NOWHERE):
            return False
        if address in _NAT64:
            return _is_public(str(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)))
        if address.ipv4_mapped is not None:
            return _is_public(str(address.ipv4_mapped))
    return address.is_global and not address.is_multicast


async def _send(target: _Target, headers: dict[str, str], body: bytes) -> int:
    async with httpx.AsyncClient(trust_env=False, follow_redirects=False, timeout=TIMEOUT_SECONDS) as client:
        for place, url in enumerate(target.urls, 1):
            try:
                return await _send_to(client, url, target, headers, body)
            except httpx.ConnectError:  # the next address then
                if place == len(target.urls):
                    raise
    raise Refused("the address leads nowhere")


async def _send_to(
    client: httpx.AsyncClient, url: httpx.URL, target: _Target, headers: dict[str, str], body: bytes
) -> int:
    named = {**headers, "host": target.host}
    secured = {"sni_hostname": target.name}  # the certificate must be the name's, not the address's
    async with client.stream("POST", url, content=body, headers=named, extensions=secured) as answer:
        read = 0
        async for chunk in answer.aiter_raw():
            read += len(chunk)
            if read > _ENOUGH:
                break
        return answer.status_code
