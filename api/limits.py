"""How often one caller may ask: a sliding window of a minute per token, or per address where there is no token.

The counters live in the process: with several workers each holds its own.
"""

import math
import time

from limits import RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from starlette.types import ASGIApp, Receive, Scope, Send

from confiido_booking.actors import Actor
from confiido_booking.errors import TooManyRequests


class RateLimit:
    """ASGI, inside ``Identity``. Only ``/api/`` is limited: health and metrics must answer when it matters."""

    def __init__(self, app: ASGIApp, per_minute: int) -> None:
        self.app = app
        self._limit = RateLimitItemPerMinute(per_minute)
        self._windows = SlidingWindowCounterRateLimiter(MemoryStorage())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].startswith("/api/"):
            key = _key(scope)
            if not await self._windows.hit(self._limit, key):
                window = await self._windows.get_window_stats(self._limit, key)
                raise TooManyRequests(max(1, math.ceil(window.reset_time - time.time())))
        await self.app(scope, receive, send)


def _key(scope: Scope) -> str:
    caller = scope["state"].get("caller")
    if isinstance(caller, Actor):
        return f"{caller.role}:{caller.id}"
    client = scope.get("client")
    return f"address:{client[0] if client else 'unknown'}"
