"""How often somebody may ask over HTTP, counted in Redis so that all web processes count together.

A lost or emptied Redis lets everybody through: a limit protects the servers from a client that has gone wrong, it is no
guard of anything.
"""

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
_CLOCK = Clock()


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

    def __init__(self, redis: Client, keys: Keys) -> None:
        # Both the address and the client come from the pool, so the scheme says nothing.
        storage = RedisStorage(
            "async+redis://",
            implementation="redispy",
            key_prefix=keys.rate_limits,
            connection_pool=redis.connection_pool,  # type: ignore[arg-type] # the annotation knows plain values only
        )
        self._limiter = SlidingWindowCounterRateLimiter(storage)

    async def spend(self, who: str, limit: int) -> Allowance:
        """Count one request of `who`, who may make `limit` a minute."""
        item = RateLimitItemPerMinute(limit)
        try:
            allowed = await self._limiter.hit(item, who)
            window = await self._limiter.get_window_stats(item, who)
        except (RedisError, OSError, TimeoutError) as error:
            log.warning("requests are not counted", error=type(error).__name__)
            return Allowance(True, limit, limit, 60)
        seconds = window.reset_time - _CLOCK.now().timestamp()
        return Allowance(allowed, limit, max(window.remaining, 0), min(max(round(seconds), 1), 60))
