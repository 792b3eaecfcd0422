"""The world of ``world.py`` as a fixture."""

import pytest

from confiido_booking import Confiido
from tests.builders import Clock
from tests.concurrency.world import Builder, World, build_world


@pytest.fixture
def world(confiido: Confiido, clock: Clock) -> Builder:
    """``await world("confirmed")``: Ada has a confirmed session at noon."""

    async def build(start: str) -> World:
        return await build_world(confiido, clock, start)

    return build
