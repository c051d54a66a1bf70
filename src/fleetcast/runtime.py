"""What a running process stands on: settings, clock, database, Redis. Opened with one `async with`.

Everything above (services, loops, pages, commands) gets this value and nothing global.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from fleetcast.clock import Clock
from fleetcast.errors import ConfigurationError
from fleetcast.queue.client import Client, connect
from fleetcast.queue.keys import Keys
from fleetcast.queue.nudges import Nudges
from fleetcast.settings import Settings
from fleetcast.store.connection import Database

READERS = 2
"""Each may take a processor for some seconds."""


@dataclass(frozen=True, slots=True)
class Runtime:
    """The open connections of one process."""

    settings: Settings
    db: Database
    redis: Client
    keys: Keys
    nudges: Nudges
    clock: Clock = field(default_factory=Clock)
    readers: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(READERS))
    """Places for processes that read videos and audio."""

    @property
    def simulator_socket(self) -> Path:
        """Where the simulator listens."""
        return self.settings.simulator_socket or self.settings.data / "run" / "simulator.sock"


@asynccontextmanager
async def open_runtime(
    settings: Settings, *, pool_size: int = 8, patience: float | None = None
) -> AsyncIterator[Runtime]:
    """Open what the settings name. Both URLs must be set by now: by the person, or by the embedded servers.

    `patience`: seconds that a statement may take; for processes that stay.
    """
    if settings.database_url is None or settings.redis_url is None:
        raise ConfigurationError("DATABASE_URL and REDIS_URL are not set and no embedded servers were started.")
    keys = Keys(settings.redis_prefix)
    redis = connect(settings.redis_url.get_secret_value())
    try:
        async with Database(settings.database_url.get_secret_value(), pool_size=pool_size, patience=patience) as db:
            yield Runtime(settings, db, redis, keys, Nudges(redis, keys))
    finally:
        await redis.aclose()
