"""The supervisor: the only place that starts tasks. Each has an owner, a name, a stop path and a heartbeat.

A loop that ends or raises before it was told to stops its whole process: a process that has lost one of its loops
must not look alive. So does a loop that has stood still for too long, where somebody starts the process anew. On
SIGTERM or SIGINT the loops are told to stop, stage by stage, and get a bounded time for it.
"""

import asyncio
import faulthandler
import math
import signal
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import structlog

log = structlog.get_logger()

Beat = Callable[[], None]
"""Called by a loop at each turn; a loop that stands still is seen by its age."""
Loop = Callable[[asyncio.Event, Beat], Awaitable[None]]

STOP_SECONDS = 15.0
LOOK_SECONDS = 1.0
"""Between two looks at the ages of the loops."""
FROZEN_SECONDS = 5.0
"""A look that comes so late: the whole process stood still (stopped, or without a CPU), and no loop can help it."""
HARD_END_SECONDS = 60.0
"""After its patience a process whose looks have stopped, or that cannot even stop, gets so long; then it ends hard."""


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


class Stuck(RuntimeError):
    """A loop has stood still for so long that only a new process can help."""


class Supervisor:
    """Runs named loops until one fails, stands still, or a stop is asked for.

    `patience`: seconds that a loop may stand still; None where nobody would start the process anew. A process that owns
    its signals is then watched by a thread as well, for code that never gives the others a turn.
    """

    def __init__(self, process: str, *, patience: float | None = None) -> None:
        self.process = process
        self._patience = patience
        self._parts: list[_Part] = []
        self._stopping = asyncio.Event()

    def add(self, name: str, loop: Loop, *, stage: int = 0) -> None:
        """A loop to run. The loops of the highest stage stop first, together; then those of the next."""
        self._parts.append(_Part(name, loop, stage))

    @property
    def stopping(self) -> bool:
        """Whether a stop was asked for. False while loops stop because one of them failed."""
        return self._stopping.is_set()

    def ages(self) -> dict[str, float]:
        """Seconds since each loop last moved. A loop that has ended is left out: it has nothing more to do."""
        now = time.monotonic()
        running = (part for part in self._parts if part.task is not None and not part.task.done())
        return {part.name: now - part.beaten_at for part in running}

    def stop(self) -> None:
        """Ask all loops to stop. Idempotent."""
        self._stopping.set()

    async def run(self, stop: asyncio.Event | None = None) -> None:
        """Run until stopped: by SIGTERM or SIGINT, or by `stop` alone where it is given.

        Raises the first failure of a loop, Stuck when one stood still for too long.
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
        stuck: dict[str, float] = {}
        try:
            stuck = await self._watch([*tasks, asked], to_the_end=stop is None)
            early = [t for t in tasks if t.done()] if not self._stopping.is_set() else []
            for task in early:
                log.error("a loop ended by itself", process=self.process, loop=task.get_name())
        finally:
            asked.cancel()
            await self._stop_all()
            for number in signals:
                running.remove_signal_handler(number)
        if stuck:
            raise Stuck(f"loops of {self.process} stood still: {', '.join(stuck)}")
        for task in early:
            task.result()
            raise RuntimeError(f"loop {task.get_name()} of {self.process} ended by itself")
        for task in tasks:
            if not task.cancelled() and task.exception() is not None:
                log.error("a loop failed while stopping", loop=task.get_name(), error=repr(task.exception()))

    async def _watch(self, tasks: "list[asyncio.Task[Any]]", *, to_the_end: bool) -> dict[str, float]:
        """Wait until one of these tasks ends, or a loop has stood still for too long: those that have, with seconds."""
        while True:
            if to_the_end and self._patience is not None:
                faulthandler.dump_traceback_later(self._patience + HARD_END_SECONDS, exit=True)
            looked_at = time.monotonic()
            done, _ = await asyncio.wait(tasks, timeout=LOOK_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            if done:
                return {}
            if time.monotonic() - looked_at > FROZEN_SECONDS:
                for part in self._parts:
                    part.beat()  # each gets its time anew
                continue
            stuck = {name: age for name, age in self.ages().items() if age > (self._patience or math.inf)}
            for name, age in stuck.items():
                log.error("a loop stands still: the process ends", process=self.process, loop=name, seconds=round(age))
            if stuck:
                return stuck

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
