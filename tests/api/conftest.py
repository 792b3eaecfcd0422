"""A client for the application in this process, and tokens for whoever calls."""

from collections.abc import AsyncIterator, Callable
from datetime import timedelta

import httpx
import pytest
from fastapi import FastAPI

from api.app import create_app
from confiido_booking.actors import Actor
from confiido_booking.client import Confiido
from confiido_booking.experts.models import Expert
from confiido_booking.settings import Settings
from confiido_booking.tokens import mint
from tests.builders import a_client, make_expert

Headers = Callable[..., dict[str, str]]


@pytest.fixture
def app(confiido: Confiido) -> FastAPI:
    return create_app(confiido)


@pytest.fixture
async def http(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with http_client(app) as client:
        yield client


def http_client(app: FastAPI) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test")


@pytest.fixture
def as_(settings: Settings) -> Headers:
    """``headers=as_(actor, if_match='"3"')``: the actor's token, and further headers."""

    def headers(actor: Actor, **further: str) -> dict[str, str]:
        token = mint(actor, settings=settings, lasts=timedelta(hours=1))
        return {
            "Authorization": f"Bearer {token}",
            **{name.replace("_", "-"): value for name, value in further.items()},
        }

    return headers


@pytest.fixture
def ada() -> Actor:
    """A client."""
    return a_client()


@pytest.fixture
async def grace(confiido: Confiido) -> Expert:
    """An expert who can be booked at any time."""
    return await make_expert(confiido)


def wish(expert: Expert, **overrides: object) -> dict[str, object]:
    """What the frontend sends to book half an hour of video tomorrow at 12:30."""
    return {
        "expertId": str(expert.user_id),
        "sessionType": "video",
        "duration": 30,
        "scheduledDate": "2026-03-03",
        "startTime": "12:30",
        "notes": "Service: Resume Review",
        **overrides,
    }
