"""The supervisor: the only place that starts tasks. Each has an owner, a name, a stop path and a heartbeat.

A loop that ends or raises before it was told to stops its whole process: a process that has lost one of its loops
must not look alive. Its parent starts it again. On SIGTERM or SIGINT all loops are told to stop, in the reverse order
of their start, and get a bounded time for it.
"""

import asyncio
import contextlib
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

    def add(self, name: str, loop: Loop) -> None:
        """A loop to run. Loops start in the order of adding and stop in the reverse order."""
        self._parts.append(_Part(name, loop))

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
        for part in reversed(self._parts):
            part.stop.set()
            if part.task is None:
                continue
            _, late = await asyncio.wait([part.task], timeout=STOP_SECONDS)
            if late:
                log.warning("a loop did not stop in time", loop=part.name, seconds=STOP_SECONDS)
                part.task.cancel()
                with contextlib.suppress(asyncio.CancelledError, Exception):
                    await part.task
