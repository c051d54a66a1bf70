"""Live figures for open pages: one sampler in a process, any number of browsers.

The sampler looks at most once a second, only at workspaces somebody has open, renders once, and leaves the newest frame
in each watcher's single slot. A browser that reads slowly therefore misses frames and never holds anything up; what it
is sent is the difference between the newest frame and what it already has.

There is at most one look at a workspace at a time: whoever asks meanwhile shares the next one, so a hundred people who
reload cost the database as much as one. Nobody is shown a look that began before they asked.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import structlog

from fleetcast.domain.identifiers import WorkspaceId
from fleetcast.errors import FleetcastError, Unavailable
from fleetcast.runtime import Runtime
from fleetcast.services.overview import Meter, Overview, overview

log = structlog.get_logger()

INTERVAL = 1.0
"""Seconds between two looks."""
LIFETIME = 600.0
"""Seconds until a stream ends and the browser connects anew; a forgotten tab holds nothing for ever."""
SIGN_OF_LIFE = 5.0
"""Seconds without a change after which a page is told that the figures are still current."""
PATIENCE = 10.0
"""Seconds one look may take."""


@dataclass(frozen=True, slots=True)
class Frame:
    """What a page should show now; `trouble` instead of sections when it cannot be known."""

    sections: dict[str, str]
    trouble: str | None = None


@dataclass(frozen=True, slots=True)
class Update:
    """What one browser is told: changed sections, a trouble, or (neither) that all is as it was."""

    changed: dict[str, str]
    trouble: str | None = None


class Watcher:
    """One browser's slot: holds the newest frame and nothing older."""

    def __init__(self) -> None:
        self._frame: Frame | None = None
        self._news = asyncio.Event()
        self._closed = False

    def put(self, frame: Frame) -> None:
        """Replace whatever was there."""
        self._frame = frame
        self._news.set()

    def close(self) -> None:
        """End the stream."""
        self._closed = True
        self._news.set()

    async def updates(self, lifetime: float) -> AsyncIterator[Update]:
        """Differences as they come, and a sign of life now and then, for `lifetime` seconds or until closed."""
        loop = asyncio.get_running_loop()
        end = loop.time() + lifetime
        quiet_since = loop.time()
        known: dict[str, str] = {}
        troubled = False
        while not self._closed and loop.time() < end:
            try:
                async with asyncio.timeout_at(min(end, quiet_since + SIGN_OF_LIFE)):
                    await self._news.wait()
            except TimeoutError:
                quiet_since = loop.time()
                if self._frame is not None and loop.time() < end:
                    yield Update({}, self._frame.trouble)
                continue
            self._news.clear()
            if self._closed or self._frame is None:
                continue
            frame = self._frame
            changed = {k: v for k, v in frame.sections.items() if known.get(k) != v}
            if changed or frame.trouble or troubled:
                known |= changed
                troubled = frame.trouble is not None
                quiet_since = loop.time()
                yield Update(changed, frame.trouble)


@dataclass(slots=True)
class _Sight:
    """What this process remembers of a workspace: its rates, and how the newest look ended."""

    meter: Meter = field(default_factory=Meter)
    looking: asyncio.Lock = field(default_factory=asyncio.Lock)
    begun: int = 0
    """Looks that have begun."""
    ended: int = 0
    """Which of them was the last that came to an end."""
    seen: Overview | FleetcastError | None = None
    """What that one found. An error is an outcome too: those who wait for a lost database must not find out one after
    the other."""


class Live:
    """The sampler and its watchers. `run` is a task of whoever made it; `close` ends it and every stream."""

    def __init__(self, runtime: Runtime, render: Callable[[Overview], dict[str, str]]) -> None:
        self._runtime = runtime
        self._render = render
        self._watchers: dict[WorkspaceId, set[Watcher]] = {}
        self._sights: dict[WorkspaceId, _Sight] = {}
        self._wanted = asyncio.Event()
        self._closed = asyncio.Event()

    @property
    def watched(self) -> int:
        """Open streams."""
        return sum(len(w) for w in self._watchers.values())

    async def look(self, workspace_id: WorkspaceId) -> Overview:
        """A look that begins after this call, with this process's memory of rates; shared with others who ask.

        Raises what `overview` raises, and Unavailable when the look takes too long.
        """
        self._forget()
        sight = self._sights.setdefault(workspace_id, _Sight())
        asked = sight.begun
        async with sight.looking:
            if sight.seen is None or sight.ended <= asked:
                sight.begun = number = sight.begun + 1
                sight.seen = await self._outcome(workspace_id, sight.meter)
                sight.ended = number
            if isinstance(sight.seen, FleetcastError):
                raise sight.seen
            return sight.seen

    async def _outcome(self, workspace_id: WorkspaceId, meter: Meter) -> Overview | FleetcastError:
        try:
            async with asyncio.timeout(PATIENCE):
                return await overview(self._runtime, workspace_id, meter)
        except FleetcastError as error:
            return error
        except TimeoutError:
            return Unavailable("The database is too slow to answer.")

    @contextmanager
    def watching(self, workspace_id: WorkspaceId) -> Iterator[Watcher]:
        """Be told about a workspace while the block runs."""
        watcher = Watcher()
        if self._closed.is_set():
            watcher.close()
        self._watchers.setdefault(workspace_id, set()).add(watcher)
        self._wanted.set()
        try:
            yield watcher
        finally:
            left = self._watchers[workspace_id]
            left.discard(watcher)
            if not left:
                del self._watchers[workspace_id]
            if not self._watchers and not self._closed.is_set():
                self._wanted.clear()

    def close(self) -> None:
        """End the sampler and every stream. May be called twice."""
        self._closed.set()
        self._wanted.set()
        for watchers in self._watchers.values():
            for watcher in watchers:
                watcher.close()

    async def run(self) -> None:
        """Look while somebody watches, until closed."""
        while not self._closed.is_set():
            await self._wanted.wait()
            began = self._runtime.clock.monotonic()
            for workspace_id in list(self._watchers):
                frame = await self._frame(workspace_id)
                for watcher in self._watchers.get(workspace_id, ()):
                    watcher.put(frame)
            pause = max(0.05, INTERVAL - (self._runtime.clock.monotonic() - began))
            try:
                async with asyncio.timeout(pause):
                    await self._closed.wait()
            except TimeoutError:
                continue

    async def _frame(self, workspace_id: WorkspaceId) -> Frame:
        try:
            return Frame(self._render(await self.look(workspace_id)))
        except FleetcastError as error:
            return Frame({}, str(error))
        except Exception:
            log.exception("the live figures could not be made", workspace=workspace_id)
            return Frame({}, "The figures could not be made; the log says why.")

    def _forget(self) -> None:
        """Drop memories nobody has used for a minute; their looks would be too old to tell a rate."""
        now = self._runtime.clock.monotonic()
        for workspace_id, sight in list(self._sights.items()):
            if workspace_id not in self._watchers and not sight.looking.locked() and now - sight.meter.last > 60:
                del self._sights[workspace_id]
