"""Presence: how a process says every two seconds that it is there, which of its loops stand still, what it measures.

Its row in `processes` is all that others see of it: no process but `web` has a port. Separate from the supervisor,
which needs no database, and from the loops, which only count. At a clean stop the row goes; a process that failed or
was killed leaves it behind, and it grows old.
"""

import asyncio
import os
import resource
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

import structlog

from fleetcast.embedded.data_directory import node_id
from fleetcast.engine.supervisor import Beat, Supervisor
from fleetcast.engine.waiting import pause
from fleetcast.errors import Unavailable
from fleetcast.runtime import Runtime
from fleetcast.store import identity, processes

log = structlog.get_logger()

BEAT_SECONDS = 2.0
STANDS_STILL_SECONDS = 30.0
"""A loop that has not moved for so long stands still. Loops move every second or few; none of their statements takes
more than some seconds, since large work goes in chunks; and one that gets no connection knows it after ten. Twice a
lease: whatever it was to do, the fleet has felt it."""
PATIENCE_SECONDS = 120.0
"""After so long it will not move by itself any more, and the process ends."""
FORGET_SECONDS = 600.0
TELL_SECONDS = 5.0
"""How long telling or signing off may take: a server that does not answer must not hold up the stop."""
_LAST = -1
"""The stage of the supervisor in which the presence stops: it tells of the stop to its end."""

Figures = Callable[[], dict[str, float]]


def process_name() -> str:
    """A name no other process has had: host, pid and four random characters."""
    return f"{socket.gethostname()}:{os.getpid()}:{os.urandom(2).hex()}"


class Presence:
    """The row of one process in `processes`, kept by one more loop of its supervisor, which stops after all others.

    `figures` is asked at each beat; a name may end in `:` and a label (see `web.exposition`, which knows them all).
    """

    def __init__(
        self, runtime: Runtime, loops: Supervisor, kind: str, name: str | None = None, figures: Figures = dict
    ) -> None:
        self.name = name or process_name()
        self._db = runtime.db
        self._loops = loops
        self._kind = kind
        self._node = node_id(runtime.settings.data)
        self._figures = figures
        self._bound = max(STANDS_STILL_SECONDS, runtime.settings.lease_seconds)  # leases are renewed five times in it
        self._usage = Usage()
        loops.add("presence", self.run, stage=_LAST)

    async def run(self, stop: asyncio.Event, beat: Beat) -> None:
        """Tell until stopped."""
        noted = False
        while not stop.is_set():
            beat()
            try:
                async with asyncio.timeout(TELL_SECONDS):
                    if not noted:
                        async with self._db.connection() as connection:
                            await identity.note_node(connection, self._node, socket.gethostname())
                        noted = True
                    await self.tell()
            except (Unavailable, TimeoutError) as error:
                log.warning("presence waits for the database", error=str(error))
            await pause(stop, BEAT_SECONDS)
        if self._loops.stopping:
            await self._leave()

    async def tell(self) -> None:
        """Write the row once. Raises Unavailable."""
        ages = self._loops.ages()
        stuck = sorted(name for name, age in ages.items() if age > self._bound)
        figures = {f"age:{name}": round(age, 3) for name, age in ages.items()} | self._usage.figures() | self._figures()
        async with self._db.connection() as connection:
            await processes.beat(connection, self.name, self._kind, self._node, stuck, figures)
            await processes.forget(connection, FORGET_SECONDS)

    async def _leave(self) -> None:
        try:
            async with asyncio.timeout(TELL_SECONDS), self._db.connection() as connection:
                await processes.leave(connection, self.name)
        except (Unavailable, TimeoutError) as error:
            log.warning("the process could not sign off; it is forgotten in time", error=str(error))


class Usage:
    """What this process uses of the machine."""

    def __init__(self) -> None:
        self._at, self._cpu = time.monotonic(), time.process_time()

    def figures(self) -> dict[str, float]:
        """`busy`: share of one CPU core used since the last call. `memory`: bytes in use now."""
        at, cpu = time.monotonic(), time.process_time()
        busy = (cpu - self._cpu) / (at - self._at) if at > self._at else 0.0
        self._at, self._cpu = at, cpu
        return {"busy": round(busy, 4), "memory": float(_memory_bytes())}


def _memory_bytes() -> int:
    """Resident memory; where the system does not tell it, the most there ever was (macOS: in bytes)."""
    pages = Path("/proc/self/statm")
    if sys.platform == "linux" and pages.exists():
        return int(pages.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
