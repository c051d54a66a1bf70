"""Somebody else at the same database: writes one small row after the other, and knows how long each took.

It stands for everybody whom a heavy task must not stall.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from bench.figures import percentile
from fleetcast.domain.identifiers import WorkspaceId
from fleetcast.runtime import Runtime

EVERY = 0.005
"""Seconds between two writes."""

_WRITE = """
INSERT INTO inbox (workspace_id, device_id, occurred_at, kind, event_id)
SELECT $1, $2, fleetcast_now(), 'delivered', gen_random_uuid()::text"""


class Writer:
    """Single-row inserts into the inbox of a workspace with devices."""

    def __init__(self, runtime: Runtime, workspace: WorkspaceId) -> None:
        self._runtime = runtime
        self._workspace = workspace
        self.milliseconds: list[float] = []

    @asynccontextmanager
    async def beside(self) -> AsyncIterator[None]:
        """Write while the block runs."""
        stop, first = asyncio.Event(), asyncio.Event()
        writing = asyncio.create_task(self._run(stop, first), name="writer")
        begun = asyncio.create_task(first.wait(), name="first write")
        try:
            await asyncio.wait((writing, begun), return_when=asyncio.FIRST_COMPLETED)
            yield
        finally:
            begun.cancel()
            stop.set()
            await writing

    async def _run(self, stop: asyncio.Event, first: asyncio.Event) -> None:
        async with self._runtime.db.connection() as connection:
            device = await connection.fetchval("SELECT min(id) FROM devices WHERE workspace_id = $1", self._workspace)
            write = await connection.prepare(_WRITE)
            while not stop.is_set():
                begun = time.perf_counter()
                await write.fetch(self._workspace, device, timeout=60)
                self.milliseconds.append((time.perf_counter() - begun) * 1000)
                first.set()
                await asyncio.sleep(EVERY)

    @property
    def p99(self) -> float:
        """99th percentile of all writes, in milliseconds."""
        return percentile(self.milliseconds, 0.99)

    def spread(self) -> dict[str, float]:
        """For the report."""
        return {
            "writes": len(self.milliseconds),
            "p50": round(percentile(self.milliseconds, 0.5), 2),
            "p99": round(self.p99, 2),
            "max": round(max(self.milliseconds), 1),
        }
