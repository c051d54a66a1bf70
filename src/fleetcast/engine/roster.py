"""The roster: the devices of the shards that this sender owns, each with its lane and a session at its transport.

Devices come and go with their shards, and change by orders: a person pauses one, another is removed, a third gets a
new pace. An order is what stands in SQL; a nudge only says where to look, and a look every second finds the rest.
"""

import asyncio
import gc
from collections.abc import Container, Iterable, Mapping

import structlog

from fleetcast import failpoints
from fleetcast.domain.device import NAMELESS, TransportKind
from fleetcast.domain.identifiers import DeviceId, Phone
from fleetcast.domain.pacing import Pace
from fleetcast.engine.lanes import Lane, Lanes
from fleetcast.engine.spool import Spool
from fleetcast.store import shards
from fleetcast.store.connection import Connection, Database
from fleetcast.store.shards import LaneRow
from fleetcast.transports.base import DeviceHandle, Transport

log = structlog.get_logger()

ORDERED_WITHIN = 10.0
"""Seconds after an order in which a look finds it without a nudge; a look at everything comes as often."""


class Roster:
    """The devices of one sender."""

    def __init__(self, db: Database, lanes: Lanes, transports: Mapping[TransportKind, Transport], spool: Spool) -> None:
        self.lanes = lanes
        self.due = asyncio.Event()
        """Set when a lane may have become due."""
        self.ordered = asyncio.Event()
        """Set when something may have been ordered of a device that no lane knows: to link it, or to unlink it."""
        self.owned: set[int] = set()
        """Shards of ours whose orphans are known; until then nothing may open a lane of theirs."""
        self._orphans: dict[int, int] = {}
        """Message an earlier owner left in `sending` → its device."""
        self._db = db
        self._transports = transports
        self._spool = spool
        self._kind_of: dict[int, TransportKind] = {}
        self._ways: dict[int, float | None] = {}
        """Device → since when it connects in the way in which its session was opened."""
        self._leaving: dict[int, list[Lane]] = {}
        """Shard that is being given back → its lanes, which start nothing more."""

    def transport_of(self, lane: Lane) -> Transport | None:
        """Where the device's messages go; None when it is no longer ours."""
        kind = self._kind_of.get(lane.id)
        return None if kind is None else self._transports[kind]

    def is_nameless(self, lane: Lane) -> bool:
        """Whether a device of ours may have one open attempt to a person at most."""
        return self._kind_of.get(lane.id) is NAMELESS

    async def adopt(self, gained: set[int]) -> bool:
        """A new owner first learns what an earlier one left: open attempts, and each device's last send.

        Returns whether there was something in the spool. Raises Unavailable; adopting once more does no harm.
        """
        self.owned -= gained
        for lane in self.lanes.of_shards(gained):  # before anything is awaited: claims go on meanwhile
            self.lanes.block(lane)
        await failpoints.passing(failpoints.Point.LEASE_TAKEN)
        async with self._db.connection() as connection:
            replayed = bool(await self._spool.replay(connection))
            for shard in sorted(gained):
                orphans = await shards.orphans(connection, [shard])
                rows = await shards.lanes(connection, [shard])
                for row in rows:  # whoever had the shard meanwhile, unnoticed by us, also had the sessions
                    self._kind_of.pop(row.id, None)
                await self._open(rows, blocked=orphans.keys())
                for device, messages in orphans.items():  # only now: what is settled opens a lane that is there
                    self._orphans.update(dict.fromkeys(messages, device))
                now = asyncio.get_running_loop().time()
                for row in rows:
                    if row.id not in orphans:  # others may have sent for it since it was ours
                        rested = float("inf") if row.rested is None else row.rested
                        self.lanes.unblock(row.id, now - rested, now)
                self.owned.add(shard)
        gc.freeze()  # lanes stay for as long as the lease: walking over 100,000 of them would hold up every claim
        return replayed

    def leave(self, leaving: set[int]) -> None:
        """Start nothing more for the devices of these shards."""
        self.owned -= leaving
        for shard in leaving:
            self._leaving[shard] = self.lanes.of_shards([shard])
            for lane in self._leaving[shard]:
                self.lanes.close(lane.id)

    def session_lost(self, device: int) -> None:
        """The device's session ended, for it was opened elsewhere: start nothing until a look has opened it anew."""
        lane = self.lanes.get(device)
        if lane is not None and self._kind_of.pop(device, None) is not None:
            self.lanes.block(lane)

    def is_busy(self, shard: int) -> bool:
        """Whether a device of this leaving shard has an attempt under way."""
        return any(lane.is_busy for lane in self._leaving.get(shard, ()))

    async def lose(self, lost: set[int]) -> None:
        """Let the devices of these shards go."""
        self.owned -= lost
        gone = [lane for shard in lost for lane in self._leaving.pop(shard, None) or self.lanes.of_shards([shard])]
        for lane in gone:  # before anything is awaited: claims go on meanwhile
            self.lanes.close(lane.id)
        for lane in gone:
            await self._drop(lane.id)

    async def place(self, rows: Iterable[LaneRow]) -> None:
        """Bring lanes and sessions up to what stands in these rows. Rows of shards that are not ours are left out."""
        await self._open([row for row in rows if row.shard in self.owned])

    async def _open(self, rows: Iterable[LaneRow], blocked: Container[int] = ()) -> None:
        now = asyncio.get_running_loop().time()
        for row in rows:
            kind = TransportKind(row.transport)
            transport = self._transports.get(kind)
            if not row.wants_session or transport is None:
                await self._drop(row.id)
                continue
            ended = now - row.rested if row.rested is not None else float("-inf")
            pace = Pace(row.min_delay, row.max_delay)
            lane = self.lanes.open(row.id, row.shard, pace, ended=ended, ready=row.may_answer, now=now)
            if row.id in blocked:
                self.lanes.block(lane)
            if row.id in self._kind_of and self._ways.get(row.id) != row.way:
                await self._end_session(row.id)
            if row.id not in self._kind_of:
                self._kind_of[row.id] = kind
                self._ways[row.id] = row.way
                phone = None if row.phone is None else Phone(row.phone)
                await transport.open(DeviceHandle(DeviceId(row.id), phone))
                if row.id not in blocked and row.id not in self._orphans.values():
                    self.lanes.unblock(row.id, ended, now)
        self.due.set()

    async def _drop(self, device: int) -> None:
        self.lanes.close(device)
        await self._end_session(device)

    async def _end_session(self, device: int) -> None:
        self._ways.pop(device, None)
        kind = self._kind_of.pop(device, None)
        if kind is not None:
            await self._transports[kind].close(DeviceId(device))

    async def settle_orphans(self, connection: Connection) -> None:
        """Open the lanes whose earlier attempts have been settled meanwhile."""
        asked = dict(self._orphans)  # more may come meanwhile
        if not asked:
            return
        left = await shards.still_sending(connection, list(asked))
        done = {message: device for message, device in asked.items() if message not in left}
        self._orphans = {m: d for m, d in self._orphans.items() if m not in done}
        now = asyncio.get_running_loop().time()
        for device in set(done.values()) - set(self._orphans.values()):
            self.lanes.unblock(device, now, now)
        self.due.set()
