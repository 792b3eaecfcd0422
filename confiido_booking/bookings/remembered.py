"""Figures over many sessions, which serve for a while once they are counted (docs/benchmarks.md).

FerretDB visits every session it counts: 35 ms for 60,000 of one status, a second to sum 100,000. Where there are few,
every answer is exact to the moment.
"""

from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

MANY = 5_000  # sessions
FOR = timedelta(seconds=30)
_MOST_KEYS = 1_000


@dataclass(slots=True)
class Remembered:
    """What this process has counted lately of more than :data:`MANY` sessions."""

    _known: dict[Hashable, tuple[datetime, Any]] = field(default_factory=dict)

    async def figure[T](
        self, key: Hashable, now: datetime, count: Callable[[], Awaitable[T]], *, size: Callable[[T], int]
    ) -> T:
        """What ``count`` gives, or gave for this key in the last 30 s where its ``size`` was more than MANY."""
        if key in self._known:
            counted_at, figure = self._known[key]
            if now - counted_at < FOR:
                known: T = figure
                return known
            self._known[key] = now, figure  # who asks while this one counts need not count too
        counted = await count()
        self._known.pop(key, None)
        if size(counted) > MANY:
            if len(self._known) >= _MOST_KEYS:
                self._known.clear()
            self._known[key] = now, counted
        return counted
