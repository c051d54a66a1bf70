"""Linking devices to phones, parent side: each in a child of its own, begun again when that dies, until it is over."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random

from fleetcast.clock import Clock
from fleetcast.domain.identifiers import DeviceId
from fleetcast.errors import Unavailable
from fleetcast.transports.base import Inbound, Paired, PairingCode, PairingEnded, PairingOrder
from fleetcast.transports.linked.files import DeviceFiles
from fleetcast.transports.linked.fleet import Tasks
from fleetcast.transports.linked.process import ChildProcess
from fleetcast.transports.linked.protocol import Link

AGAIN_SECONDS = 0.3
"""Before a pairing whose process died is begun anew; drawn between half of it and all."""

STARTS = 3
"""Processes that do not start in a row, after which nothing comes of the order."""


@dataclass(frozen=True, slots=True)
class CodeTimes:
    """How long codes are shown, as WhatsApp takes them."""

    first_seconds: float = 60.0
    code_seconds: float = 20.0
    codes: int = 12
    patience: float = 175.0
    """Seconds in all; the order itself is over a little later."""


@dataclass(slots=True, eq=False)
class _UnderWay:
    order: PairingOrder
    task: "asyncio.Task[None] | None" = None
    child: ChildProcess | None = None
    is_over: bool = False


class Pairings:
    """All pairings of one transport."""

    def __init__(
        self,
        folder: Path,
        environment: Mapping[str, str],
        random: Random,
        tasks: Tasks,
        clock: Clock,
        told: Callable[[Inbound], None],
    ) -> None:
        self._clock = clock
        self._folder = folder
        self._environment = environment
        self._random = random
        self._tasks = tasks
        self._told = told
        self._under_way: dict[DeviceId, _UnderWay] = {}
        self.times = CodeTimes()

    @property
    def processes(self) -> list[ChildProcess]:
        """Those that link a device now."""
        return [under_way.child for under_way in self._under_way.values() if under_way.child is not None]

    def is_under_way(self, order: PairingOrder) -> bool:
        """Whether this very order is carried out just now."""
        under_way = self._under_way.get(order.device)
        return under_way is not None and under_way.order.number == order.number

    def begin(self, order: PairingOrder, proxy: str | None) -> None:
        """Show codes."""
        under_way = self._under_way[order.device] = _UnderWay(order)
        under_way.task = self._tasks.start(self._run(under_way, proxy), f"link device {order.device}")

    async def stop(self, device: DeviceId) -> None:
        """Show none any more; nothing is said about it. Idempotent."""
        under_way = self._under_way.pop(device, None)
        if under_way is None:
            return
        under_way.is_over = True
        if under_way.child is not None:
            under_way.child.kill()
            await under_way.child.gone.wait()
        if under_way.task is not None:
            under_way.task.cancel()
            await asyncio.wait([under_way.task])
        DeviceFiles(self._folder, device).forget_fresh()

    async def stop_all(self) -> None:
        """Show none of any device."""
        for device in list(self._under_way):
            await self.stop(device)

    async def _run(self, under_way: _UnderWay, proxy: str | None) -> None:
        order, times = under_way.order, self.times
        loop = asyncio.get_running_loop()
        ends, failures = loop.time() + times.patience, 0
        session = str(DeviceFiles(self._folder, order.device).session)
        while not under_way.is_over:

            def told(_: ChildProcess, event: Inbound, __: bool) -> None:
                self._heard(under_way, event)

            child = under_way.child = ChildProcess(0, 1, self._environment, told, lambda _: None)
            running = self._tasks.start(child.run(), f"process that links device {order.device}")
            try:
                await child.ready()
                failures = 0
                child.write(
                    Link(
                        order.device,
                        order.number,
                        order.phone,
                        session,
                        proxy,
                        times.first_seconds,
                        times.code_seconds,
                        times.codes,
                        max(1.0, ends - loop.time()),
                    )
                )
                while not child.gone.is_set() and await child.answers(5.0):
                    await self._rest(child)
            except Unavailable as error:
                failures += 1
                if failures >= STARTS:
                    self._heard(under_way, self._does_not_start(order, str(error)))
            finally:
                child.kill()
                await asyncio.wait([running])
            if not under_way.is_over:
                await asyncio.sleep(AGAIN_SECONDS * self._random.uniform(0.5, 1.0))

    def _does_not_start(self, order: PairingOrder, why: str) -> PairingEnded:
        now = self._clock.now()
        name = f"pairing-ended-{order.device}-{now.timestamp():.6f}"
        return PairingEnded(name, order.device, order.number, why[:300], now)

    async def _rest(self, child: ChildProcess) -> None:
        """Until it is gone, or has to hear from us again."""
        try:
            async with asyncio.timeout(5.0):
                await child.gone.wait()
        except TimeoutError:
            pass

    def _heard(self, under_way: _UnderWay, event: Inbound) -> None:
        if under_way.is_over or self._under_way.get(under_way.order.device) is not under_way:
            return
        if isinstance(event, Paired | PairingEnded):
            under_way.is_over = True
            del self._under_way[under_way.order.device]
            if under_way.child is not None:
                under_way.child.kill()
        if isinstance(event, Paired | PairingEnded | PairingCode):
            self._told(event)
