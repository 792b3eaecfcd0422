"""50 racing bookings of one slot: one gets it, 49 hear that it is taken."""

import asyncio
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from itertools import repeat
from statistics import median
from time import perf_counter

from bench import marketplace
from bench.marketplace import DURATION
from bench.server import Http, Served
from confiido_booking import Actor, Confiido
from confiido_booking.errors import SlotTaken

CALLERS, ROUNDS = 50, 30
TARGET_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Race:
    """Rounds of one way: how many had one winner and 49 refusals, and seconds from the start to the last answer."""

    way: str
    rounds: int
    right: int
    median: float
    worst: float


async def by_library(confiido: Confiido, *, rounds: int = ROUNDS) -> Race:
    expert = await confiido.experts.create(actor=Actor.admin(), profile=marketplace.profile(1))
    callers = [marketplace.a_client() for _ in range(CALLERS)]
    assert expert.id is not None
    key = expert.id

    async def book(actor: Actor, number: int) -> int:
        starts_at = confiido.clock() + timedelta(days=1, hours=number)
        try:
            await confiido.bookings.book(
                actor=actor, expert=key, session_type="video", duration=DURATION, starts_at=starts_at
            )
        except SlotTaken:
            return 409
        return 201

    outcomes = []
    for number in range(rounds):
        start = perf_counter()
        answers = await asyncio.gather(*(book(actor, number) for actor in callers))
        outcomes.append((Counter(answers), perf_counter() - start))
    return _race("library", outcomes)


async def by_http(confiido: Confiido, served: Served, *, rounds: int = ROUNDS) -> Race:
    expert = await confiido.experts.create(actor=Actor.admin(), profile=marketplace.profile(2))
    callers = [served.caller(marketplace.a_client()) for _ in range(CALLERS)]
    for caller in callers:
        caller.open()
    outcomes = []
    with ThreadPoolExecutor(CALLERS) as threads:
        for number in range(rounds):
            wish = {
                "expertId": str(expert.id),
                "sessionType": "video",
                "duration": DURATION,
                "startsAt": (confiido.clock() + timedelta(days=1, hours=number)).isoformat(),
            }

            start = perf_counter()
            answers = list(threads.map(_book, callers, repeat(wish)))
            outcomes.append((Counter(answers), perf_counter() - start))
    return _race("HTTP", outcomes)


def _book(caller: Http, wish: Mapping[str, object]) -> int:
    return caller("POST", "/api/bookings", wish)[0]


def _race(way: str, outcomes: list[tuple[Counter[int], float]]) -> Race:
    right = sum(answers == Counter({201: 1, 409: CALLERS - 1}) for answers, _ in outcomes)
    times = [taken for _, taken in outcomes]
    return Race(way, len(outcomes), right, median(times), max(times))
