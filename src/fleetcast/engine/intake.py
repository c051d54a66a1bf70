"""The intake of a sender: how it learns which rows stand in its devices' windows, and tells where there is room.

Hints are the fast way in and may be lost at any time; looks into SQL are the sure one. Nothing here decides what is
sent: that is the claim's guard.
"""

import asyncio
from collections.abc import Iterable, Sequence
from functools import partial

import structlog

from fleetcast import failpoints
from fleetcast.domain.message import ANSWERS
from fleetcast.domain.pacing import Pace
from fleetcast.engine.lanes import Lanes
from fleetcast.engine.leases import Leases
from fleetcast.engine.roster import ORDERED_WITHIN, Roster
from fleetcast.engine.supervisor import Beat
from fleetcast.engine.waiting import either, pause
from fleetcast.errors import Unavailable
from fleetcast.queue.hints import HintReader
from fleetcast.queue.nudges import SENDERS, listening
from fleetcast.runtime import Runtime
from fleetcast.store import shards
from fleetcast.store.connection import Connection, Line

log = structlog.get_logger()

ORDERS_SECONDS = 1.0
"""How often devices are looked at that were paused, resumed, removed or given another pace."""
REREAD_SECONDS = ORDERED_WITHIN
REREAD_SHARE = 10
"""A look that takes long comes less often: at most one part in so many of the time is spent on it."""
LOOK_LANES = 1_000
"""Devices looked at in one statement."""


class Intake:
    """The intake of one sender."""

    def __init__(self, runtime: Runtime, roster: Roster, leases: Leases, hints: HintReader) -> None:
        self._runtime = runtime
        self._roster = roster
        self._lanes: Lanes = roster.lanes
        self._leases = leases
        self._hints = hints
        self._reread = asyncio.Event()
        self.dropped_nudges = 0
        """Messages in the senders' channel that were no nudges."""
        self.strange_hints = 0
        """Hints about devices that are not ours, or are none."""

    def look_again(self) -> None:
        """Have the next look at everything at once."""
        self._reread.set()

    async def follow_nudges(self, stop: asyncio.Event, beat: Beat) -> None:
        """Devices, campaigns and sequences that changed, senders that are to rest: look at them again."""
        async with listening(self._runtime.redis, self._runtime.keys, SENDERS) as ears:
            while not stop.is_set():
                beat()
                told = await ears.next(timeout=1.0)
                self.dropped_nudges = ears.dropped
                if not told:
                    continue
                if told.get("devices"):
                    self._roster.ordered.set()
                if "shares" in told:
                    self._leases.look_again()
                turns = [*told.get("campaigns", []), *(-sequence for sequence in told.get("sequences", []))]
                await self._refresh(told.get("devices", []), turns)

    async def _refresh(self, devices: list[int], turns: list[int]) -> None:
        try:
            async with self._runtime.db.connection() as connection:
                await self._read_paces(connection, [turn for turn in turns if turn in self._lanes.paces])
                if devices:
                    await self._roster.place(await shards.lanes(connection, list(self._roster.owned), devices))
                if new := self._lanes.unread(devices):
                    await self._take_windows(new, await shards.queued(connection, new))
        except Unavailable as error:
            log.warning("changes not read", error=str(error))
            self._reread.set()

    async def read_hints(self, stop: asyncio.Event, beat: Beat) -> None:
        """The fast way in."""
        while not stop.is_set():
            beat()
            hints = await self._hints.read(wait=1.0)
            if hints is None:
                self._lanes.ask_again()
                self._reread.set()
                continue
            if hints:
                await failpoints.passing(failpoints.Point.HINTS_READ)
            await self._offer(hints)

    async def reread(self, stop: asyncio.Event, beat: Beat) -> None:
        """The sure way in: every few seconds, and at once after something was lost or gained.

        A lane that still has rows seldom needs a look: one may have passed it by (a hint that came while its device
        was not ready yet), or been lost without a trace. When it runs dry without having been told of more, it does.
        """
        line = Line(self._runtime.db, hot=True, application="fleetcast reread")
        loop = asyncio.get_running_loop()
        following = loop.time()
        try:
            while not stop.is_set():
                beat()
                await either(self._reread, stop, min(following - loop.time(), ORDERS_SECONDS))
                if stop.is_set() or not self._leases.epochs:
                    await pause(stop, 0.1)
                    continue
                started, asked = loop.time(), self._reread.is_set()
                self._reread.clear()
                try:
                    await line.run(self._roster.settle_orphans)
                    await self._roster.place(await line.run(self._ordered))
                    if asked or started >= following:
                        await self._look(line, beat)
                        following = loop.time() + max(REREAD_SECONDS, REREAD_SHARE * (loop.time() - started))
                except Unavailable as error:
                    log.warning("windows not reread", error=str(error))
                    self._lanes.ask_again()  # what was about to be found is still missed
                    await pause(stop, 1.0)
                    self._reread.set()
        finally:
            await line.close()

    async def _ordered(self, connection: Connection) -> list[shards.LaneRow]:
        return await shards.ordered(connection, list(self._roster.owned), ORDERED_WITHIN)

    async def _look(self, line: Line, beat: Beat) -> None:
        """All devices and windows, a few shards at a time: the claims in between must not wait for a large fleet."""
        await line.run(lambda connection: self._read_paces(connection, list(self._lanes.paces)))
        self._lanes.begin_look()
        owned = sorted(self._roster.owned)
        step = max(1, len(owned) * LOOK_LANES // max(1, len(self._lanes)))
        for n in range(0, len(owned), step):
            beat()
            some = owned[n : n + step]
            await self._roster.place(await line.run(partial(shards.lanes, shards=some)))
            unsure = self._lanes.unsure(some)
            if unsure:
                self._lanes.looked(unsure)
                await self._take_windows(unsure, await line.run(partial(shards.queued, devices=unsure)))

    async def _take_windows(self, devices: Sequence[int], windows: Sequence[tuple[int, list[tuple[int, int]]]]) -> None:
        """All that stands in the windows of these devices."""
        if await self._offer(windows):
            self._lanes.was_read(devices)

    async def _read_paces(self, connection: Connection, turns: list[int]) -> None:
        found = await shards.paces(connection, turns) if turns else {}
        for turn, pace in found.items():  # one that is not there is not remembered: its rows are none either
            self._lanes.paces[turn] = None if pace is None else Pace(*pace)

    async def _offer(self, windows: Sequence[tuple[int, Iterable[tuple[int, int]]]]) -> bool:
        """Rows as (message, turn), by device, for their lanes. False when they could not be taken."""
        unknown = {
            turn for _, rows in windows for _, turn in rows if turn not in (0, ANSWERS)
        } - self._lanes.paces.keys()
        if unknown:
            try:
                async with self._runtime.db.connection() as connection:
                    await self._read_paces(connection, sorted(unknown))
            except Unavailable:
                self._reread.set()
                return False
        now = asyncio.get_running_loop().time()
        strange = [(device, rows) for device, rows in windows if not self._lanes.offer(device, rows, now)]
        if strange and self._leases.epochs:
            await self._refresh([device for device, _ in strange], [])
            for device, rows in strange:
                self.strange_hints += not self._lanes.offer(device, rows, now)
        self._roster.due.set()
        return True

    async def ask(self, stop: asyncio.Event, beat: Beat) -> None:
        """Tell the dispatchers which windows have room."""
        loop = asyncio.get_running_loop()
        wanted_at = loop.time()
        while not stop.is_set():
            beat()
            wanted = self._lanes.asks()
            if wanted:
                wanted_at = loop.time()
                await self._hints.ask(wanted)
            await pause(stop, 0.02 if loop.time() - wanted_at < 1.0 else 0.1)
