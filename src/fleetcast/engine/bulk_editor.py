"""The loop that goes on with changes of many leads or devices, a step of each in turn.

Separate from the planner and the sweeper: their work keeps messages going, this is what people have time for. Two may
run; whoever finds a change locked or moved on goes to the next.
"""

import asyncio

import structlog

from fleetcast.engine.supervisor import Beat
from fleetcast.engine.waiting import pause
from fleetcast.errors import Unavailable
from fleetcast.runtime import Runtime
from fleetcast.services.bulk_work import take_a_step
from fleetcast.store import bulk_edits

log = structlog.get_logger()

TICK = 0.5
"""Seconds between looks while nothing is to be done."""


class BulkEditor:
    """One loop."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self.steps = 0
        """Taken since the start."""

    async def run(self, stop: asyncio.Event, beat: Beat = lambda: None) -> None:
        """Go on until `stop` is set; a step that has begun is finished first."""
        while not stop.is_set():
            beat()
            try:
                if not await self.run_once(beat):
                    await pause(stop, TICK)
            except Unavailable as error:
                log.warning("changes of many wait for the database", error=str(error))
                await pause(stop, TICK)

    async def run_once(self, beat: Beat = lambda: None) -> bool:
        """A step of every change that has not ended; whether there was one."""
        async with self._runtime.db.connection() as connection:
            running = await bulk_edits.running(connection)
        for edit_id in running:
            beat()
            await take_a_step(self._runtime, edit_id)
            self.steps += 1
        return bool(running)
