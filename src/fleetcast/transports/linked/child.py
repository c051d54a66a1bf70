"""The child: holds the sessions of up to 200 devices, and does for its parent what only the library can do.

It ends at once when its parent is gone, and when its parent says nothing for long: one that stands still has lost its
leases by then, and whoever has the devices now must find their files free.
"""

import asyncio
import itertools
import os
from contextlib import suppress
from random import Random
from typing import Any

from fleetcast.clock import Clock
from fleetcast.domain.identifiers import DeviceId
from fleetcast.transports.linked import linking
from fleetcast.transports.linked.gate import Gate
from fleetcast.transports.linked.linking import Linking
from fleetcast.transports.linked.protocol import (
    VERSION,
    Confirm,
    Doing,
    Done,
    Drop,
    GiveUp,
    Hello,
    Hold,
    Link,
    LogOut,
    Ping,
    Refused,
    Send,
    Stop,
    Told,
    Verdict,
    Wire,
)
from fleetcast.transports.linked.sending import Sending, Underway
from fleetcast.transports.linked.session import Session, Surroundings

SILENCE = 20.0
"""Seconds without a word from the parent, which speaks every few, after which the child ends."""
NOT_HELD = "the device's session is not open"


class Child:
    """Does what the parent says."""

    def __init__(self, wire: Wire, clock: Clock, random: Random) -> None:
        self._wire = wire
        self._clock = clock
        began = f"{clock.now().timestamp():.6f}-{os.getpid()}"
        self._around = Surroundings(Gate(), self._tell, self._doing, clock, random, itertools.count(1), began)
        self._sessions: dict[DeviceId, tuple[Session, Sending]] = {}
        self._sends: dict[int, Underway] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._heard = clock.monotonic()

    async def serve(self) -> None:
        """Until the parent is gone, or says that it is over."""
        self._own(self._watch(), "watch")
        self._wire.write(Hello(VERSION))
        while (read := await self._wire.read()) is not None:
            self._heard = self._clock.monotonic()
            frame, data = read
            if isinstance(frame, Stop):
                await asyncio.gather(*(session.close() for session, _ in self._sessions.values()))
                return
            self._do(frame, data)

    def _do(self, frame: Any, data: bytes | None) -> None:
        match frame:
            case Hold():
                self._hold(frame)
            case Drop():
                self._own(self._drop(frame), f"drop {frame.device}")
            case Send():
                self._own(self._send(frame, data), f"send for {frame.device}")
            case GiveUp():
                if (under_way := self._sends.get(frame.number)) is not None:
                    under_way.given_up.set()
            case Confirm():
                held = self._sessions.get(frame.device)
                if held is not None and held[0].hearing is not None:
                    held[0].hearing.confirm(frame.events)
            case Link():
                self._own(Linking(frame, self._around).run(), f"link {frame.device}")
            case LogOut():
                self._own(self._log_out(frame), f"log out {frame.device}")
            case Ping():
                self._wire.write(Done(frame.number))

    # sessions

    def _hold(self, hold: Hold) -> None:
        held = self._sessions.get(hold.device)
        if held is not None:
            if held[0].is_closing:
                self._own(self._hold_after(held[0], hold), f"hold {hold.device} again")
            return
        session = Session(hold, self._around)
        self._sessions[hold.device] = session, Sending(session, self._wire, self._clock)
        self._own(session.run(), f"session of {hold.device}")

    async def _hold_after(self, session: Session, hold: Hold) -> None:
        """It is wanted again while it is just being closed."""
        await session.closed.wait()
        if (held := self._sessions.get(hold.device)) is not None and held[0] is session:
            del self._sessions[hold.device]
        self._hold(hold)

    async def _drop(self, drop: Drop) -> None:
        held = self._sessions.get(drop.device)
        if held is not None:
            await held[0].close()
            if self._sessions.get(drop.device) is held:
                del self._sessions[drop.device]
        self._wire.write(Done(drop.number))

    async def _log_out(self, order: LogOut) -> None:
        try:
            async with asyncio.timeout(order.seconds):
                problem = await linking.log_out(order.session, order.proxy, self._around)
        except TimeoutError:
            problem = "WhatsApp did not answer in time"
        self._wire.write(Done(order.number, problem))

    # messages

    async def _send(self, order: Send, data: bytes | None) -> None:
        held = self._sessions.get(order.device)
        if held is None:
            self._wire.write(Refused(order.number, Verdict.NOT_OPEN, "not_open", NOT_HELD))
            return
        under_way = self._sends[order.number] = Underway(order, asyncio.Event())
        try:
            answer = await held[1].send(under_way, data, self._keep)
        finally:
            del self._sends[order.number]
        if answer is not None:
            self._wire.write(answer)

    # to the parent

    def _tell(self, told: Told) -> None:
        self._wire.write(told)

    async def _doing(self, device: DeviceId | None) -> bool:
        self._wire.write(Doing(device))
        return await self._wire.left()

    # tasks

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            if self._clock.monotonic() - self._heard > SILENCE:
                end(3)

    def _own(self, work: Any, name: str) -> None:
        self._keep(asyncio.create_task(work, name=name))

    def _keep(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.add(task)
        task.add_done_callback(self._over)

    def _over(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            asyncio.get_running_loop().call_exception_handler(
                {"message": f"unforeseen in {task.get_name()}", "exception": error, "task": task}
            )


def end(code: int) -> None:
    """End now: threads of the library never do, and the interpreter would wait for them."""
    with suppress(OSError):
        os.fsync(2)
    os._exit(code)
