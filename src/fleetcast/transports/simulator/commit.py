"""Group commit: many answers wait for one fsync, and no answer leaves before what it rests on is on disk.

Separate from the ledger, which is plain file work, and from the server, which must not be able to forget the rule: an
answer is handed in together with its line (or without, when it rests on an earlier one) and leaves after the group.
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from fleetcast.transports.simulator.ledger import Ledger, Record


class GroupCommit:
    """Writes records in groups on a thread of its own, one group at a time, then calls what waited for them."""

    def __init__(self, ledger: Ledger, on_failure: Callable[[BaseException], None]) -> None:
        self._ledger = ledger
        self._on_failure = on_failure
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ledger")
        self._lines: list[bytes] = []
        self._waiting: list[Callable[[], None]] = []
        self._busy = False
        self._idle = asyncio.Event()
        self._idle.set()
        self.groups = 0
        """How many groups were written."""

    def add(self, record: Record | None, then: Callable[[], None]) -> None:
        """Call `then` once `record`, and everything handed in before, is on disk."""
        if record is not None:
            self._ledger.note(record)
            self._lines.append(record.line())
        self._waiting.append(then)
        if not self._busy:
            self._busy = True
            self._idle.clear()
            asyncio.get_running_loop().call_soon(self._next_group)

    def _next_group(self) -> None:
        lines, waiting = self._lines, self._waiting
        self._lines, self._waiting = [], []
        if lines:
            self.groups += 1
            written = asyncio.get_running_loop().run_in_executor(self._thread, self._ledger.write, lines)
            written.add_done_callback(lambda done: self._written(done, waiting))
        else:
            self._release(waiting)

    def _written(self, done: "asyncio.Future[None]", waiting: Sequence[Callable[[], None]]) -> None:
        error = done.exception()
        if error is not None:
            self._on_failure(error)  # the file's end is unknown now: nobody is answered any more
            return
        self._release(waiting)

    def _release(self, waiting: Sequence[Callable[[], None]]) -> None:
        for then in waiting:
            then()
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._next_group)
        else:
            self._busy = False
            self._idle.set()

    async def close(self) -> None:
        """Wait until everything handed in is written and answered."""
        await self._idle.wait()
        self._thread.shutdown()
