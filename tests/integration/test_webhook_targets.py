"""Outgoing webhooks never reach what is not public, unless CONFIIDO_WEBHOOK_ALLOW_PRIVATE says so (SPEC 10)."""

import asyncio
from typing import Any

import pytest

from confiido_booking import Confiido, Invalid
from confiido_booking.events import posting
from confiido_booking.times import utc_now
from tests.builders import an_admin
from tests.receiver import receiving

SECRET = "whsec_" + "A" * 44


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "127.1", "2130706433", "0x7f.1", "0.0.0.0", "[::1]", "[::]", "localhost", "10.0.0.1"),
        *("172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "[fe80::1]", "[fd00::1]", "224.0.0.1"),
        *("[::ffff:127.0.0.1]", "[::ffff:a00:1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "255.255.255.255"),
        *("[::127.0.0.1]", "[fec0::1]"),
    ],
)
async def test_what_is_not_public_is_refused(confiido: Confiido, host: str) -> None:
    with pytest.raises(Invalid) as refusal:
        await confiido.webhooks.create(actor=an_admin(), url=f"https://{host}/", events=["*"])

    assert refusal.value.code == "webhook_target_refused"


@pytest.mark.parametrize("host", ["a..b", ".com", f"{'a' * 64}.com"])
async def test_what_is_no_name_is_refused(confiido: Confiido, host: str) -> None:
    with pytest.raises(Invalid) as refusal:
        await confiido.webhooks.create(actor=an_admin(), url=f"https://{host}/", events=["*"])

    assert refusal.value.code == "webhook_target_refused"


async def test_a_name_that_cannot_be_asked_for_is_a_failed_attempt() -> None:
    outcome = await post("https://a..b/", allow_private=False)

    assert (outcome.delivered, outcome.error) == (False, "UnicodeEncodeError")


async def test_a_public_address_is_taken_and_must_be_https(confiido: Confiido) -> None:
    await confiido.webhooks.create(actor=an_admin(), url="https://203.0.114.7/told", events=["*"])

    with pytest.raises(Invalid) as refusal:
        await confiido.webhooks.create(actor=an_admin(), url="http://203.0.114.7/told", events=["*"])

    assert refusal.value.code == "invalid_url"


async def test_a_name_that_leads_to_a_private_address_only_later_is_refused_when_it_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with receiving() as receiver:
        resolve(monkeypatch, ["127.0.0.1"])

        outcome = await post(f"http://example.org:{receiver.port}/", allow_private=False)

    assert (outcome.delivered, outcome.error, receiver.requests) == (False, "the address is not public", [])


async def test_one_private_address_among_public_ones_refuses_them_all(monkeypatch: pytest.MonkeyPatch) -> None:
    resolve(monkeypatch, ["203.0.114.7", "127.0.0.1"])

    outcome = await post("http://example.org/", allow_private=False)

    assert outcome.error == "the address is not public"


async def test_a_name_is_resolved_once_and_that_address_is_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that rebinds between the check and the connection gains nothing."""
    async with receiving() as receiver:
        asked = resolve(monkeypatch, ["127.0.0.1"])

        outcome = await post(f"http://example.org:{receiver.port}/a", allow_private=True)

    [(headers, _)] = receiver.requests
    assert outcome.status == 204
    assert headers["host"] == f"example.org:{receiver.port}"
    assert [name for name in asked if name == "example.org"] == ["example.org"]


async def test_another_address_is_tried_where_the_first_leads_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    async with receiving() as receiver:
        resolve(monkeypatch, ["::1", "127.0.0.1"])

        outcome = await post(f"http://example.org:{receiver.port}/a", allow_private=True)

    assert (outcome.status, len(receiver.requests)) == (204, 1)


async def test_the_environments_proxy_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async with receiving() as proxy, receiving() as receiver:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("ALL_PROXY", proxy.url)

        await post(receiver.url, allow_private=True)

    assert (len(proxy.requests), len(receiver.requests)) == (0, 1)


async def post(url: str, *, allow_private: bool) -> posting.Outcome:
    return await posting.post(url, "{}", message_id="1", secret=SECRET, at=utc_now(), allow_private=allow_private)


def resolve(monkeypatch: pytest.MonkeyPatch, addresses: list[str]) -> list[str]:
    """Every name has these addresses. Returns the names that are asked for."""
    loop, asked = asyncio.get_running_loop(), list[str]()
    real = loop.getaddrinfo

    async def getaddrinfo(host: str, port: int, **options: Any) -> Any:
        asked.append(host)
        if host != "example.org":
            return await real(host, port, **options)
        return [entry for address in addresses for entry in await real(address, port, **options)]

    monkeypatch.setattr(loop, "getaddrinfo", getaddrinfo)
    return asked
