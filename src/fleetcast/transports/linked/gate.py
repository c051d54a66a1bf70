"""Who may be inside the library at the same time: one who changes what it holds, or any number of those who look.

The library keeps its clients in maps without a lock. Whoever makes or ends a client writes to them, every other call
looks up its client as it begins; the two at once end the process. So a change waits until the calls that have just
begun are past that moment, and calls wait while a change is under way. Both take turns: a fleet that connects does not
hold up sends for long, and sends do not keep it from connecting.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

LOOK_SECONDS = 0.25
"""After so long a call has found its client, however long it takes from then on."""


class Gate:
    """One library's gate. For one event loop."""

    def __init__(self, look_seconds: float = LOOK_SECONDS) -> None:
        self._look_seconds = look_seconds
        self._looking = 0
        self._changing = False
        self._changes: deque[asyncio.Future[None]] = deque()
        self._calls: deque[asyncio.Future[None]] = deque()

    @asynccontextmanager
    async def change(self) -> AsyncIterator[None]:
        """Alone in the library while the block runs."""
        if self._changing or self._looking or self._changes:
            await self._wait(self._changes)
        else:
            self._changing = True
        try:
            yield
        finally:
            self._changing = False
            self._admit(calls_first=True)

    @asynccontextmanager
    async def call(self) -> AsyncIterator[None]:
        """In the library with others who call. Counts until the block ends, or for as long as looking takes.

        A block that is cancelled counts as long as it may take: a thread of the library cannot be stopped.
        """
        if self._changing or self._changes:
            await self._wait(self._calls)
        else:
            self._looking += 1
        counted = True

        def past() -> None:
            nonlocal counted
            if counted:
                counted = False
                self._looking -= 1
                self._admit(calls_first=False)

        timer = asyncio.get_running_loop().call_later(self._look_seconds, past)
        try:
            yield
        except asyncio.CancelledError:  # only we stop waiting: the call may still be about to look
            raise
        except BaseException:
            timer.cancel()
            past()
            raise
        timer.cancel()
        past()

    async def _wait(self, line: deque["asyncio.Future[None]"]) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        line.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # admitted in the same moment
                if line is self._changes:
                    self._changing = False
                else:
                    self._looking -= 1
            elif turn in line:
                line.remove(turn)
            self._admit(calls_first=False)
            raise

    def _admit(self, *, calls_first: bool) -> None:
        """Let in who may enter now: after a change all who wait to call, else the next change."""
        if self._changing:
            return
        if calls_first or not self._changes:
            while self._calls:
                turn = self._calls.popleft()
                if not turn.done():
                    self._looking += 1
                    turn.set_result(None)
        if not self._looking:
            while self._changes:
                turn = self._changes.popleft()
                if not turn.done():
                    self._changing = True
                    turn.set_result(None)
                    return
            if self._calls:
                self._admit(calls_first=True)
