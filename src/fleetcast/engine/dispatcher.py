"""The dispatcher: keeps each device's window filled from its due rows (T1), in fair turns.

It is driven by events: senders ask when a window has fallen to half, nudges say that a device may have new rows. A
recount in SQL every few seconds is the net for whatever was lost, and finds rows whose time has come. Workspaces take
turns, one device each, and a statement serves a few dozen devices, so that a workspace with a million rows delays
another's ten by one statement. Any number of dispatchers may run: T1's guard gives each row to one of them.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Sequence
from functools import partial

import structlog

from fleetcast import failpoints
from fleetcast.domain.message import ANSWERS
from fleetcast.domain.pacing import Pace, window_for
from fleetcast.engine.supervisor import Beat
from fleetcast.engine.waiting import either, pause
from fleetcast.errors import Unavailable
from fleetcast.queue.hints import Hint, HintWriter
from fleetcast.queue.nudges import DISPATCHER, listening
from fleetcast.runtime import Runtime
from fleetcast.store import shards, transitions
from fleetcast.store.connection import Connection, Line

log = structlog.get_logger()

RECOUNT_SECONDS = 5.0
RECOUNT_SHARE = 10
"""A recount that takes long comes less often: at most one part in so many of the time is spent on it."""
RECOUNT_PATIENCE = 30.0
"""Seconds it may take: one statement looks at the whole fleet."""
SERVED_SECONDS = 4.0
"""A device that was given rows so recently is left out of a recount; the next one looks at it again."""
DEVICES_PER_STATEMENT = 40
ROWS_PER_STATEMENT = 1_000


class Turns:
    """Devices that want rows, one of each workspace in turn. Pure."""

    def __init__(self) -> None:
        self._room: dict[int, int] = {}
        self._turn: OrderedDict[int, deque[int]] = OrderedDict()

    def __bool__(self) -> bool:
        return bool(self._turn)

    def want(self, workspace: int, device: int, room: int) -> None:
        """This device has room for so many rows; a later word replaces an earlier one."""
        if room <= 0:
            return
        if device not in self._room:
            self._turn.setdefault(workspace, deque()).append(device)
        self._room[device] = room

    def take(self) -> tuple[list[int], list[int]]:
        """The devices of the next statement and the room of each."""
        devices: list[int] = []
        rooms: list[int] = []
        while self._turn and len(devices) < DEVICES_PER_STATEMENT and sum(rooms) < ROWS_PER_STATEMENT:
            workspace, waiting = self._turn.popitem(last=False)
            device = waiting.popleft()
            if waiting:
                self._turn[workspace] = waiting
            devices.append(device)
            rooms.append(self._room.pop(device))
        return devices, rooms


class Dispatcher:
    """One dispatcher. `run` until `stop` is set."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._turns = Turns()
        self._wake = asyncio.Event()
        self._workspace_of: dict[int, int] = {}
        self._satisfied: set[int] = set()
        """Devices whose window was filled: their sender asks again, so nudges about them are needless."""
        self._given_at: dict[int, float] = {}
        """When a device was last given rows: one that was served a moment ago needs no recount."""
        self._nudged: set[int] = set()
        self._nudge = asyncio.Event()
        self._hints = HintWriter(runtime.redis, runtime.keys)
        self.queued = 0
        """Rows put into windows."""
        self.statements = 0
        """Statements that put them there, or found none."""
        self.dropped_nudges = 0
        """Messages in the dispatchers' channel that were no nudges."""

    @property
    def dropped_asks(self) -> int:
        """Asks that could not be read."""
        return self._hints.dropped

    async def fill(self, stop: asyncio.Event, beat: Beat) -> None:
        """T1, statement by statement, and the hints after each commit."""
        line = Line(self._runtime.db, hot=True, application="fleetcast dispatcher")
        try:
            while not stop.is_set():
                beat()
                if not self._turns:
                    self._wake.clear()
                    await either(self._wake, stop, RECOUNT_SECONDS)
                    continue
                devices, rooms = self._turns.take()
                try:
                    rows = await line.run(partial(_top_up, devices=devices, rooms=rooms))
                except Unavailable as error:
                    log.warning("dispatching waits for the database", error=str(error))
                    await pause(stop, 1.0)
                    continue
                self.statements += 1
                self.queued += len(rows)
                await self._hint(devices, rooms, rows)
        finally:
            await line.close()

    async def _hint(self, devices: Sequence[int], rooms: Sequence[int], rows: Sequence[transitions.Queued]) -> None:
        given: dict[int, list[tuple[int, int]]] = {}
        shard_of: dict[int, int] = {}
        for row in rows:
            given.setdefault(row.device, []).append((row.id, row.campaign))
            shard_of[row.device] = row.shard
        for device, room in zip(devices, rooms, strict=True):
            if len(given.get(device, ())) < room:
                self._satisfied.discard(device)
            else:
                self._satisfied.add(device)
        now = asyncio.get_running_loop().time()
        by_shard: dict[int, list[Hint]] = {}
        for device, ids in given.items():
            by_shard.setdefault(shard_of[device], []).append(Hint(device, tuple(sorted(ids, key=_campaigns_last))))
            self._given_at[device] = now
        if by_shard:
            await self._hints.write(by_shard)

    async def listen_to_senders(self, stop: asyncio.Event, beat: Beat) -> None:
        """Asks: the fast way round, without a look into SQL."""
        while not stop.is_set():
            beat()
            asked = await self._hints.asks(wait=1.0)
            unknown = [d for d in asked if d not in self._workspace_of]
            if unknown:
                self._nudged.update(unknown)
                self._nudge.set()
            for device, room in asked.items():
                if device in self._workspace_of:
                    self._turns.want(self._workspace_of[device], device, room)
            self._wake.set()

    async def listen_to_nudges(self, stop: asyncio.Event, beat: Beat) -> None:
        """Nudges: new rows were planned, or a device or campaign may go again."""
        async with listening(self._runtime.redis, self._runtime.keys, DISPATCHER) as ears:
            while not stop.is_set():
                beat()
                told = await ears.next(timeout=1.0)
                self.dropped_nudges = ears.dropped
                if told:
                    self._nudged.update(d for d in told.get("devices", ()) if d not in self._satisfied)
                    self._nudged.update(told.get("urgent", ()))
                    self._nudge.set()

    async def recount(self, stop: asyncio.Event, beat: Beat) -> None:
        """Look into SQL: at once for nudged devices, every few seconds for all."""
        line = Line(self._runtime.db, hot=True, application="fleetcast recount", patience=RECOUNT_PATIENCE)
        loop = asyncio.get_running_loop()
        whole = loop.time()
        try:
            while not stop.is_set():
                beat()
                await either(self._nudge, stop, max(0.0, min(whole - loop.time(), 1.0)))
                self._nudge.clear()
                everything = loop.time() >= whole
                nudged, self._nudged = self._nudged, set()
                started = loop.time()
                if not everything and not nudged:
                    continue
                try:
                    await self._look(line, None if everything else sorted(nudged))
                except Unavailable as error:
                    log.warning("recount waits for the database", error=str(error))
                    self._nudged |= nudged
                    await pause(stop, 1.0)
                    continue
                if everything:
                    whole = loop.time() + max(RECOUNT_SECONDS, RECOUNT_SHARE * (loop.time() - started))
        finally:
            await line.close()

    async def _look(self, line: Line, devices: list[int] | None) -> None:
        before = asyncio.get_running_loop().time() - SERVED_SECONDS
        self._given_at = {d: at for d, at in self._given_at.items() if at > before}
        served = list(self._given_at) if devices is None else ()

        async def ask(connection: Connection) -> list[shards.Room]:
            return await shards.room(connection, devices, without=served)

        for found in await line.run(ask):
            self._workspace_of[found.device] = found.workspace
            window = window_for(Pace(found.min_delay, found.max_delay))
            self._turns.want(found.workspace, found.device, found.room(window))
        self._wake.set()


async def _top_up(connection: Connection, devices: list[int], rooms: list[int]) -> list[transitions.Queued]:
    rows = await transitions.top_up(connection, devices, rooms)
    if rows:
        await failpoints.passing(failpoints.Point.DISPATCHER_QUEUED)
    return rows


def _campaigns_last(row: tuple[int, int]) -> tuple[bool, bool]:
    turn = row[1]
    return turn > 0, turn < 0 and turn != ANSWERS
