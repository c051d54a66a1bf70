"""The children: devices fill one after the other, a child that stands still is killed, and what dies is noticed.

Separate from the transport, which knows devices and what is wanted of them; here it only counts how many fit.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Mapping
from random import Random
from typing import Any

import structlog

from fleetcast.domain.identifiers import DeviceId
from fleetcast.transports.base import Inbound
from fleetcast.transports.linked.process import ChildProcess

log = structlog.get_logger()

PER_CHILD = 200
"""Devices: a crash costs so many a few seconds, and a child costs 44 MB before its first device."""
PING_SECONDS = 5.0
STANDS_STILL = 20.0
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 30.0
"""Seconds before the devices of a dead child are opened again, doubling with each death of the last minute."""
DEATHS_COUNT_FOR = 60.0
SUSPICIOUS = 3
"""A device that was being worked on at so many deaths in a row is held in a child of its own."""


class Tasks:
    """Tasks with an owner: all end with it."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def start(self, work: Coroutine[Any, Any, Any], name: str) -> "asyncio.Task[Any]":
        """Begin one. An error that nobody foresaw is logged."""
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._over)
        return task

    def _over(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("linked devices: unforeseen", task=task.get_name(), exc_info=error)

    async def end(self) -> None:
        """Cancel what is left."""
        tasks = [task for task in self._tasks if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


class Fleet:
    """All children that hold sessions."""

    def __init__(
        self,
        environment: Mapping[str, str],
        per_child: int,
        random: Random,
        tasks: Tasks,
        told: Callable[[ChildProcess, Inbound, bool], None],
        lost: Callable[[set[DeviceId], float], None],
    ) -> None:
        self._environment = environment
        self._per_child = per_child
        self._random = random
        self._tasks = tasks
        self._told = told
        self._lost = lost
        self._made = 0
        self._deaths: deque[float] = deque()
        self._suspicions: Counter[DeviceId] = Counter()
        self._stopping = False
        self.children: list[ChildProcess] = []

    def keeps_killing(self, device: DeviceId) -> bool:
        """Whether the device was being worked on whenever its child died lately."""
        return self._suspicions[device] >= SUSPICIOUS

    async def place(self, device: DeviceId) -> ChildProcess:
        """A child that holds the device from now on. Raises Unavailable."""
        alone = self.keeps_killing(device)
        child = None if alone else self._with_room()
        if child is None:
            child = self._new(1 if alone else self._per_child)
        child.devices.add(device)
        try:
            await child.ready()
        except BaseException:
            child.devices.discard(device)
            raise
        return child

    async def any_child(self) -> ChildProcess:
        """A child for something that takes a moment. Raises Unavailable."""
        child = self._with_room() or (self.children[0] if self.children else self._new(self._per_child))
        await child.ready()
        return child

    def _with_room(self) -> ChildProcess | None:
        return next((c for c in self.children if len(c.devices) < c.room and not c.gone.is_set()), None)

    def _new(self, room: int) -> ChildProcess:
        self._made += 1
        child = ChildProcess(self._made, room, self._environment, self._told, self._gone)
        self.children.append(child)
        self._tasks.start(child.run(), f"linked child {child.number}")
        return child

    def _gone(self, child: ChildProcess) -> None:
        if child in self.children:
            self.children.remove(child)
        if self._stopping:
            return
        now = asyncio.get_running_loop().time()
        while self._deaths and self._deaths[0] < now - DEATHS_COUNT_FOR:
            self._deaths.popleft()
        self._deaths.append(now)
        suspects = child.suspects
        for device in child.devices:
            self._suspicions[device] = self._suspicions[device] + 1 if device in suspects else 0
        log.error(
            "a process for linked devices ended", child=child.number, how=child.how_it_ended, devices=len(child.devices)
        )
        for device in suspects:
            if self.keeps_killing(device):
                log.error("a device keeps ending the process that holds it; it is held alone", device_id=device)
        pause = min(FIRST_PAUSE * 2 ** (len(self._deaths) - 1), LONGEST_PAUSE)
        self._lost(set(child.devices), pause * self._random.uniform(0.5, 1.0))

    async def watch(self) -> None:
        """Have every child answer; kill one that does not. It hears from us by it, too."""
        while True:
            await asyncio.sleep(PING_SECONDS)
            for child in [c for c in self.children if c.is_ready]:
                self._tasks.start(self._look_after(child), f"look after linked child {child.number}")

    async def _look_after(self, child: ChildProcess) -> None:
        if not await child.answers(STANDS_STILL) and not child.gone.is_set():
            log.error("a process for linked devices stands still: it is ended", child=child.number)
            child.kill()

    async def answers(self, timeout: float) -> bool:
        """Whether all children do."""
        return all(await asyncio.gather(*(child.answers(timeout) for child in self.children if child.is_ready)))

    async def stop(self) -> None:
        """End all children in order."""
        self._stopping = True
        children = list(self.children)
        for child in children:
            child.fail_sends()
            child.stop()
        await asyncio.gather(*(child.stopped() for child in children))
