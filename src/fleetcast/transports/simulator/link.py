"""One connection to the simulator, client side: hello, requests with their answers, and frames nobody asked for.

Separate from the transport, which owns one link after another, and from the control client, which needs nothing else.
"""

import asyncio
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Self

from fleetcast.errors import Unavailable
from fleetcast.transports.simulator.protocol import VERSION, BrokenFrame, Frame, Lines, Outgoing, socket_path

HELLO_SECONDS = 5.0


class NoAnswer(Exception):
    """A request ended without its answer. `left` says whether the simulator may have got it."""

    def __init__(self, why: str, *, left: bool) -> None:
        super().__init__(why)
        self.why = why
        self.left = left


class Link(Lines):
    """A connection. `told` gets the frames that answer nothing; `lost` is called once, when the connection ends."""

    def __init__(self, told: Callable[[Frame], None], lost: Callable[[], None]) -> None:
        super().__init__()
        self._told = told
        self._lost = lost
        self._numbers = itertools.count(1)
        self._asked: dict[int, tuple[asyncio.Future[Frame], Outgoing]] = {}
        self._hello: asyncio.Future[Frame] = asyncio.get_running_loop().create_future()
        self.closed = asyncio.Event()

    @classmethod
    async def connect(cls, socket: Path, told: Callable[[Frame], None], lost: Callable[[], None]) -> Self:
        """Connect and say hello. Raises OSError where nobody listens, Unavailable for another version or no hello."""
        path = socket_path(socket)
        _, link = await asyncio.get_running_loop().create_unix_connection(lambda: cls(told, lost), path)
        try:
            async with asyncio.timeout(HELLO_SECONDS):
                link.write({"t": "hello", "version": VERSION})
                await link._hello
        except BaseException as error:
            link.hang_up()
            if isinstance(error, TimeoutError):
                raise Unavailable(f"The simulator on {socket} took the connection but does not answer.") from error
            if isinstance(error, NoAnswer):
                raise ConnectionResetError(error.why) from error
            raise
        return link

    def frame_received(self, frame: Frame) -> None:
        """An answer, the hello, or something that was not asked for."""
        number = frame.get("id")
        if number is not None:
            asked = self._asked.get(number)
            if asked is not None and not asked[0].done():
                asked[0].set_result(frame)
        elif not self._hello.done():
            if frame["t"] == "hello" and frame.get("version") == VERSION:
                self._hello.set_result(frame)
            else:
                problem = f"the simulator answers in another way: {frame.get('detail', frame['t'])}"
                self._hello.set_exception(
                    Unavailable(f"Fleetcast and the simulator do not understand each other: {problem}")
                )
        elif frame["t"] == "error":
            raise BrokenFrame(str(frame.get("detail")))
        else:
            self._told(frame)

    def connection_lost(self, exc: Exception | None) -> None:
        """Every open request ends without its answer."""
        super().connection_lost(exc)
        for future, outgoing in self._asked.values():
            if not future.done():
                future.set_exception(NoAnswer("the connection to the simulator was lost", left=outgoing.left))
        if not self._hello.done():
            self._hello.set_exception(NoAnswer("the simulator closed the connection", left=True))
            self._hello.exception()  # nobody may be waiting for it
        self.closed.set()
        self._lost()

    async def end(self) -> None:
        """Close; within a second, whether the simulator reads what is still on its way or not."""
        self.hang_up()
        try:
            async with asyncio.timeout(1.0):
                await self.closed.wait()
        except TimeoutError:
            self.abort()
            await self.closed.wait()

    async def ask(self, frame: Frame, timeout: float) -> Frame:
        """Send a request and wait for its answer, at most `timeout` seconds. Raises NoAnswer.

        A request that had not left when it ended, however it ended, never leaves.
        """
        if self.closed.is_set():
            raise NoAnswer("the connection to the simulator was lost", left=False)
        loop = asyncio.get_running_loop()
        number = next(self._numbers)
        future: asyncio.Future[Frame] = loop.create_future()
        outgoing = self.write(frame | {"id": number})
        self._asked[number] = (future, outgoing)
        timer = loop.call_later(timeout, _expire, future, outgoing)
        try:
            return await future
        finally:
            timer.cancel()
            del self._asked[number]
            outgoing.withdrawn = not outgoing.left


def _expire(future: "asyncio.Future[Frame]", outgoing: Outgoing) -> None:
    if not future.done():
        outgoing.withdrawn = not outgoing.left
        future.set_exception(NoAnswer("no answer in time", left=outgoing.left))
