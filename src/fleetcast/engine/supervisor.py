"""The supervisor: the only place that starts tasks. Each has an owner, a name, a stop path and a heartbeat.

A loop that ends or raises before it was told to stops its whole process: a process that has lost one of its loops
must not look alive. Its parent starts it again. On SIGTERM or SIGINT the loops are told to stop, stage by stage, and
get a bounded time for it.
"""

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import structlog

log = structlog.get_logger()

Beat = Callable[[], None]
"""Called by a loop at each turn; a loop that stands still is seen by its age."""
Loop = Callable[[asyncio.Event, Beat], Awaitable[None]]

STOP_SECONDS = 15.0


@dataclass(slots=True)
class _Part:
    name: str
    loop: Loop
    stage: int
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    beaten_at: float = 0.0
    task: asyncio.Task[None] | None = None

    def beat(self) -> None:
        self.beaten_at = time.monotonic()


class Supervisor:
    """Runs named loops until one fails or a stop is asked for."""

    def __init__(self, process: str) -> None:
        self.process = process
        self._parts: list[_Part] = []
        self._stopping = asyncio.Event()

    def add(self, name: str, loop: Loop, *, stage: int = 0) -> None:
        """A loop to run. The loops of the highest stage stop first, together; then those of the next."""
        self._parts.append(_Part(name, loop, stage))

    def ages(self) -> dict[str, float]:
        """Seconds since each loop last moved."""
        now = time.monotonic()
        return {part.name: now - part.beaten_at for part in self._parts if part.task is not None}

    def stop(self) -> None:
        """Ask all loops to stop. Idempotent."""
        self._stopping.set()

    async def run(self, stop: asyncio.Event | None = None) -> None:
        """Run until stopped: by SIGTERM or SIGINT, or by `stop` alone where it is given.

        Raises the first failure of a loop.
        """
        if stop is not None:
            self._stopping = stop
        signals = (signal.SIGTERM, signal.SIGINT) if stop is None else ()
        running = asyncio.get_running_loop()
        for number in signals:
            running.add_signal_handler(number, self.stop)
        for part in self._parts:
            part.beat()
            part.task = asyncio.create_task(part.loop(part.stop, part.beat), name=part.name)  # type: ignore[arg-type]
        tasks = [part.task for part in self._parts if part.task is not None]
        asked = asyncio.create_task(self._stopping.wait(), name="stop asked")
        try:
            await asyncio.wait([*tasks, asked], return_when=asyncio.FIRST_COMPLETED)
            early = [t for t in tasks if t.done()] if not self._stopping.is_set() else []
            for task in early:
                log.error("a loop ended by itself", process=self.process, loop=task.get_name())
        finally:
            asked.cancel()
            await self._stop_all()
            for number in signals:
                running.remove_signal_handler(number)
        for task in early:
            task.result()
            raise RuntimeError(f"loop {task.get_name()} of {self.process} ended by itself")
        for task in tasks:
            if not task.cancelled() and task.exception() is not None:
                log.error("a loop failed while stopping", loop=task.get_name(), error=repr(task.exception()))

    async def _stop_all(self) -> None:
        for stage in sorted({part.stage for part in self._parts}, reverse=True):
            parts = [part for part in self._parts if part.stage == stage]
            for part in parts:
                part.stop.set()
            tasks = [part.task for part in parts if part.task is not None]
            if not tasks:
                continue
            _, late = await asyncio.wait(tasks, timeout=STOP_SECONDS)
            for task in late:
                log.warning("a loop did not stop in time", loop=task.get_name(), seconds=STOP_SECONDS)
                task.cancel()
            if late:
                await asyncio.wait(late)
