"""Everything that happens later, on one heap with one timer: answers, receipts, replies, disconnects.

No task and no timer per message or device; 30,000 idle devices cost nothing. Things due within the same tick happen
in the order of their times.
"""

import asyncio
import heapq
import itertools
from collections.abc import Callable

TICK = 0.002
"""Seconds between two looks at the heap at least: sub-millisecond timers would make the loop spin."""


class Schedule:
    """A heap of calls. Times are seconds from now; the loop's monotonic clock decides."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._timer: asyncio.TimerHandle | None = None
        self._wakes_at = 0.0

    def __len__(self) -> int:
        return len(self._heap)

    def after(self, seconds: float, call: Callable[[], None]) -> None:
        """Call in `seconds`; zero or less means now, before this returns."""
        if seconds <= 0:
            call()
            return
        loop = asyncio.get_running_loop()
        due = loop.time() + seconds
        heapq.heappush(self._heap, (due, next(self._order), call))
        if self._timer is None or due < self._wakes_at:
            self._arm(loop, due)

    def _arm(self, loop: asyncio.AbstractEventLoop, due: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._wakes_at = max(due, loop.time() + TICK)
        self._timer = loop.call_at(self._wakes_at, self._run)

    def _run(self) -> None:
        self._timer = None
        loop = asyncio.get_running_loop()
        now = loop.time()
        while self._heap and self._heap[0][0] <= now:
            heapq.heappop(self._heap)[2]()
        if self._heap:
            self._arm(loop, self._heap[0][0])

    def close(self) -> None:
        """Forget everything that was to come."""
        self._heap.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
