"""The historian: writes down every twenty seconds what was sent, delivered, read and failed since the last time.

Separate from the sweeper, which settles campaigns and may be late without anybody being misled: this loop looks when
the clock shows full twenty seconds, so that what belongs to an hour is written into that hour. Any number may run; one
of them looks at a time.
"""

import asyncio

import structlog

from fleetcast.engine.supervisor import Beat
from fleetcast.engine.waiting import pause
from fleetcast.errors import Unavailable
from fleetcast.runtime import Runtime
from fleetcast.store import history
from fleetcast.store.audience import KEYED

log = structlog.get_logger()

LOOK_SECONDS = 20.0
BEAT_SECONDS = 5.0
TURN = 200
"""Campaigns long over that are looked at beside the others: a late receipt of one waits for its turn."""


class Historian:
    """One loop."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._last = 0
        self.looks = 0
        """Looks that came to their end."""

    async def run(self, stop: asyncio.Event, beat: Beat) -> None:
        """A look at every full twenty seconds of the database's clock."""
        loop = asyncio.get_running_loop()
        following = loop.time()
        while not stop.is_set():
            beat()
            if loop.time() < following:
                await pause(stop, min(BEAT_SECONDS, following - loop.time()))
                continue
            wait = LOOK_SECONDS
            try:
                wait = await self.run_once()
            except Unavailable as error:
                log.warning("the history waits for the database", error=str(error))
            following = loop.time() + wait

    async def run_once(self) -> float:
        """One look; seconds until the next one is due."""
        async with self._runtime.db.transaction() as connection:
            await connection.execute(KEYED)
            look = await history.roll(connection, self._last, TURN)
        if look is None:
            return LOOK_SECONDS
        self._last = look.last
        self.looks += 1
        return LOOK_SECONDS - look.at.timestamp() % LOOK_SECONDS
