"""How often somebody may ask over HTTP, counted in Redis so that all web processes count together.

A lost or emptied Redis lets everybody through: a limit protects the servers from a client that has gone wrong, it is no
guard of anything. Nobody waits for a Redis that does not answer, either.
"""

import asyncio
import math
from dataclasses import dataclass

import structlog
from limits import RateLimitItemPerMinute
from limits.aio.storage import RedisStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from redis.exceptions import RedisError

from fleetcast.clock import Clock
from fleetcast.queue.client import Client
from fleetcast.queue.keys import Keys

log = structlog.get_logger()

PATIENCE = 1.0
"""Seconds that a request waits to be counted."""
REST = 10.0
"""Seconds in which nobody is counted after Redis did not answer: one request waits for it, not every one."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """What somebody has left."""

    allowed: bool
    limit: int
    """Requests a minute."""
    remaining: int
    reset: int
    """Seconds until there is more."""


class RateLimits:
    """The counts of one installation."""

    def __init__(self, redis: Client, keys: Keys, clock: Clock | None = None) -> None:
        # Both the address and the client come from the pool, so the scheme says nothing.
        storage = RedisStorage(
            "async+redis://",
            implementation="redispy",
            key_prefix=keys.rate_limits,
            connection_pool=redis.connection_pool,  # type: ignore[arg-type] # the annotation knows plain values only
        )
        self._limiter = SlidingWindowCounterRateLimiter(storage)
        self._clock = clock or Clock()
        self._rests_until = -math.inf

    async def spend(self, who: str, limit: int) -> Allowance:
        """Count one request of `who`, who may make `limit` a minute."""
        item = RateLimitItemPerMinute(limit)
        if self._clock.monotonic() < self._rests_until:
            return Allowance(True, limit, limit, 60)
        try:
            async with asyncio.timeout(PATIENCE):
                allowed = await self._limiter.hit(item, who)
                window = await self._limiter.get_window_stats(item, who)
        except (RedisError, OSError, TimeoutError) as error:
            self._rests_until = self._clock.monotonic() + REST
            log.warning("requests are not counted", error=type(error).__name__, seconds=REST)
            return Allowance(True, limit, limit, 60)
        seconds = window.reset_time - self._clock.now().timestamp()
        return Allowance(allowed, limit, max(window.remaining, 0), min(max(math.ceil(seconds), 1), 60))
