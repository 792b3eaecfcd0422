"""``--rate``: a run that leaves the database room for its customers."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field


@dataclass(slots=True)
class Pace:
    """No more than ``rate`` a second, counted from the start; without a rate it never waits."""

    rate: float | None = None
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    _started: float = field(init=False)

    def __post_init__(self) -> None:
        self._started = self.clock()

    async def keep(self, done: int) -> None:
        """Wait until so many may be done."""
        if self.rate:
            ahead = done / self.rate - (self.clock() - self._started)
            if ahead > 0:
                await self.sleep(ahead)
