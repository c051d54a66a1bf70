"""The sender: owns shards, claims what is due, and lets it go through the device's transport.

The path of a message through this process: a hint (or the look into SQL) puts it into its device's lane; when the
lane's delay has passed and a permit is free it is claimed together with everything else that is due (T2, committed);
its attempt runs; the result is committed with others (T3). There is no task per device: one loop serves all lanes,
and a task exists only while an attempt waits for its answer.
"""

import asyncio
import gc
import os
import socket
from collections.abc import Container, Iterable, Mapping, Sequence
from functools import partial
from random import Random

import structlog

from fleetcast import failpoints
from fleetcast.domain.device import TransportKind
from fleetcast.domain.identifiers import DeviceId, Phone, WorkspaceId
from fleetcast.domain.message import MessageStatus, Outcome, Reason
from fleetcast.domain.pacing import Pace
from fleetcast.engine.attempts import Attempts, Contents, Ended
from fleetcast.engine.lanes import Lane, Lanes, Start
from fleetcast.engine.leases import Leases
from fleetcast.engine.results import Results
from fleetcast.engine.spool import Spool
from fleetcast.engine.supervisor import Beat
from fleetcast.engine.waiting import either, pause
from fleetcast.errors import Unavailable
from fleetcast.queue.hints import HintReader
from fleetcast.queue.nudges import SENDERS, listening
from fleetcast.runtime import Runtime
from fleetcast.services.suppressions import suppress
from fleetcast.store import shards, transitions
from fleetcast.store.connection import Connection, Line
from fleetcast.store.shards import LaneRow
from fleetcast.store.transitions import Claim, Claimed, OtherResult
from fleetcast.transports.base import DeviceHandle, Transport

log = structlog.get_logger()

BATCH = 500
PERMITS = 1_000
"""Attempts that may be under way at once in one process."""
WORTHWHILE = 128
"""Attempts that are claimed at once; what falls due meanwhile makes the next claim."""
GATHER_SECONDS = 0.004
"""How long fewer wait for company; part of a paced message's lateness."""
REREAD_SECONDS = 10.0
REREAD_SHARE = 10
"""A look that takes long comes less often: at most one part in so many of the time is spent on it."""
LOOK_LANES = 1_000
"""Devices looked at in one statement."""
DRAIN_SECONDS = 10.0


def sender_name() -> str:
    """A name no other process has had: host, pid and four random characters."""
    return f"{socket.gethostname()}:{os.getpid()}:{os.urandom(2).hex()}"


class Sender:
    """One sender process."""

    def __init__(
        self, runtime: Runtime, transports: Mapping[TransportKind, Transport], install: str, node: str, random: Random
    ) -> None:
        self.name = sender_name()
        self._runtime = runtime
        self._transports = transports
        self._install = install
        self._lanes = Lanes(random)
        self._kind_of: dict[int, TransportKind] = {}
        self._orphans: dict[int, int] = {}
        """Message an earlier owner left in `sending` → its device."""
        self._uncertain: dict[int, list[Start]] = {}
        self._attempts = Attempts(Contents(runtime.db), install, runtime.settings.send_seconds, random)
        self._spool = Spool(runtime.settings.data / "spool", self.name.replace(":", "-"))
        self.results = Results(runtime.db, self._spool)
        self.leases = Leases(runtime.db, self.name, node, runtime.settings.lease_seconds, self._leases_changed)
        self._hints = HintReader(runtime.redis, runtime.keys)
        self._due = asyncio.Event()
        self._reread = asyncio.Event()
        self._under_way: dict[int, asyncio.Task[None]] = {}

    # -- shards and devices

    async def _leases_changed(self, gained: set[int], lost: set[int]) -> None:
        for lane in self._lanes.of_shards(lost - gained):
            self._lanes.close(lane.id)
            await self._transports[self._kind_of.pop(lane.id)].close(DeviceId(lane.id))
        self._hints.own(sorted(self.leases.epochs))
        if gained:
            await self._adopt(sorted(gained))

    async def _adopt(self, gained: list[int]) -> None:
        """A new owner first learns what an earlier one left: open attempts, and each device's last send."""
        await failpoints.passing(failpoints.Point.LEASE_TAKEN)
        async with self._runtime.db.connection() as connection:
            await self._spool.replay(connection)
            for shard in gained:
                orphans = await shards.orphans(connection, [shard])
                for device, messages in orphans.items():
                    self._orphans.update(dict.fromkeys(messages, device))
                await self._place(await shards.lanes(connection, [shard]), blocked=orphans.keys())
        gc.freeze()  # lanes stay for as long as the lease: walking over 100,000 of them would hold up every claim
        self._reread.set()

    async def _place(self, rows: Iterable[LaneRow], blocked: Container[int] = ()) -> None:
        now = asyncio.get_running_loop().time()
        for row in rows:
            kind = TransportKind(row.transport)
            transport = self._transports.get(kind)
            if not row.wants_session or transport is None:
                self._lanes.close(row.id)
                if self._kind_of.pop(row.id, None) is not None and transport is not None:
                    await transport.close(DeviceId(row.id))
                continue
            ended = now - row.rested if row.rested is not None else float("-inf")
            pace = Pace(row.min_delay, row.max_delay)
            lane = self._lanes.open(row.id, row.shard, pace, ended=ended, ready=row.is_ready, now=now)
            lane.blocked = lane.blocked or row.id in blocked
            if row.id not in self._kind_of:
                self._kind_of[row.id] = kind
                phone = None if row.phone is None else Phone(row.phone)
                await transport.open(DeviceHandle(DeviceId(row.id), phone))
        self._due.set()

    async def follow_nudges(self, stop: asyncio.Event, beat: Beat) -> None:
        """Devices and campaigns that changed: look at them again."""
        async with listening(self._runtime.redis, self._runtime.keys, SENDERS) as ears:
            while not stop.is_set():
                beat()
                told = await ears.next(timeout=1.0)
                if not told:
                    continue
                await self._refresh(told.get("devices", []), told.get("campaigns", []))

    async def _refresh(self, devices: list[int], campaigns: list[int]) -> None:
        try:
            async with self._runtime.db.connection() as connection:
                await self._read_paces(connection, [c for c in campaigns if c in self._lanes.paces])
                if devices:
                    await self._place(await shards.lanes(connection, list(self.leases.epochs), devices))
        except Unavailable as error:
            log.warning("changes not read", error=str(error))
            self._reread.set()

    # -- what waits in the windows

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
                wait = following - loop.time()
                await either(self._reread, stop, min(wait, 1.0) if self._orphans else wait)
                if stop.is_set() or not self.leases.epochs:
                    await pause(stop, 0.1)
                    continue
                started, asked = loop.time(), self._reread.is_set()
                self._reread.clear()
                try:
                    await line.run(self._settle_orphans)
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

    async def _look(self, line: Line, beat: Beat) -> None:
        """All devices and windows, a few shards at a time: the claims in between must not wait for a large fleet."""
        await line.run(lambda connection: self._read_paces(connection, list(self._lanes.paces)))
        self._lanes.begin_look()
        owned = sorted(self.leases.epochs)
        step = max(1, len(owned) * LOOK_LANES // max(1, len(self._lanes)))
        for n in range(0, len(owned), step):
            beat()
            some = owned[n : n + step]
            await self._place(await line.run(partial(shards.lanes, shards=some)))
            unsure = self._lanes.unsure(some)
            if unsure:
                self._lanes.looked(unsure)
                await self._offer(await line.run(partial(shards.queued, devices=unsure)))

    async def _read_paces(self, connection: Connection, campaigns: list[int]) -> None:
        found = await shards.paces(connection, campaigns) if campaigns else {}
        for campaign in campaigns:
            pace = found.get(campaign)
            self._lanes.paces[campaign] = None if pace is None else Pace(*pace)

    async def _settle_orphans(self, connection: Connection) -> None:
        if not self._orphans:
            return
        left = await shards.still_sending(connection, list(self._orphans))
        done = {message: device for message, device in self._orphans.items() if message not in left}
        self._orphans = {m: d for m, d in self._orphans.items() if m in left}
        now = asyncio.get_running_loop().time()
        for device in set(done.values()) - set(self._orphans.values()):
            self._lanes.unblock(device, now)
        self._due.set()

    async def _offer(self, windows: Sequence[tuple[int, Iterable[tuple[int, int]]]]) -> None:
        """Rows as (message, campaign), by device, for their lanes."""
        unknown = {campaign for _, rows in windows for _, campaign in rows if campaign} - self._lanes.paces.keys()
        if unknown:
            try:
                async with self._runtime.db.connection() as connection:
                    await self._read_paces(connection, sorted(unknown))
            except Unavailable:
                self._reread.set()
                return
        now = asyncio.get_running_loop().time()
        strange = [(device, rows) for device, rows in windows if not self._lanes.offer(device, rows, now)]
        if strange and self.leases.epochs:
            await self._refresh([device for device, _ in strange], [])
            for device, rows in strange:
                self._lanes.offer(device, rows, now)
        self._due.set()

    async def ask(self, stop: asyncio.Event, beat: Beat) -> None:
        """Tell the dispatchers which windows have room."""
        while not stop.is_set():
            beat()
            wanted = self._lanes.asks()
            if wanted:
                await self._hints.ask(wanted)
            await pause(stop, 0.02 if self._under_way or len(self.results) else 0.1)

    # -- claims and attempts

    async def claim(self, stop: asyncio.Event, beat: Beat) -> None:
        """T2, batch by batch; permits first, so that everything claimed starts at once."""
        line = Line(self._runtime.db, hot=True, application="fleetcast claims")
        loop = asyncio.get_running_loop()
        try:
            while not stop.is_set():
                beat()
                if self._uncertain and not await self._recover_claims(line):
                    await pause(stop, 0.5)
                    continue
                permits = min(BATCH, PERMITS - len(self._under_way))
                may = permits > 0 and not self.results.stuck and self.leases.hold(loop.time())
                next_due = self._lanes.next_due() if may else None
                wait = 1.0 if next_due is None else next_due - loop.time()
                if not may or wait > 0:
                    self._due.clear()
                    await either(self._due, stop, 0.05 if not may else min(1.0, max(0.001, wait)))
                    continue
                starts = self._lanes.pop_due(loop.time(), permits)
                if len(starts) < min(WORTHWHILE, permits):
                    await pause(stop, GATHER_SECONDS)
                    starts += self._lanes.pop_due(loop.time(), permits - len(starts))
                if stop.is_set():
                    break
                await self._claim_batch(line, starts)
        finally:
            await line.close()
            await self._drain()

    async def _claim_batch(self, line: Line, starts: list[Start]) -> None:
        epochs = self.leases.epochs
        mine = [s for s in starts if s.lane.shard in epochs]
        for start in starts:
            if start.lane.shard not in epochs:
                self._lanes.refused(start.lane)
        claims = [Claim(s.message, s.lane.shard, round(s.gap * 1000)) for s in mine]

        async def t2(connection: Connection) -> list[Claimed]:
            rows = await transitions.claim(connection, claims, epochs, self.name, self._install)
            if rows:
                await failpoints.passing(failpoints.Point.CLAIM_COMMITTED)
            return rows

        try:
            claimed = await line.run(t2) if claims else []
        except Unavailable as error:
            log.warning("claims wait for the database", error=str(error))
            for start in mine:
                self._uncertain.setdefault(epochs[start.lane.shard], []).append(start)
            return
        received_at = asyncio.get_running_loop().time()
        lane_of = {s.message: s.lane for s in mine}
        for row in claimed:
            self._begin(row, lane_of.pop(row.id), received_at)
        for lane in lane_of.values():  # a stale hint, a pause, a stop word, a fence: the guard said no
            self._lanes.refused(lane)

    async def _recover_claims(self, line: Line) -> bool:
        """Claims that may have been committed although no answer came: nothing of them left, so they are given back."""
        starts = {s.message: s for batch in self._uncertain.values() for s in batch}
        epochs = list(self._uncertain)

        async def look(connection: Connection) -> list[tuple[int, int, int]]:
            return await shards.uncertain_claims(connection, list(starts), epochs)

        try:
            committed = await line.run(look)
        except Unavailable:
            return False
        self._uncertain.clear()
        async with self._runtime.db.connection() as connection:
            now = await shards.unix_now(connection)
        for message, attempt, epoch in committed:
            result = OtherResult(
                message,
                attempt,
                epoch,
                MessageStatus.PENDING,
                Reason.RELEASED,
                Outcome.NOT_SENT,
                "claim_unanswered",
                now,
            )
            self.results.put(Ended(result), starts[message].lane.id, paced=False)
        for start in starts.values():
            self._lanes.refused(start.lane)
        return True

    def _begin(self, row: Claimed, lane: Lane, received_at: float) -> None:
        transport = self._transports[self._kind_of[lane.id]]
        attempt = self._run(transport, row, lane, received_at)
        self._under_way[row.id] = asyncio.get_running_loop().create_task(attempt, name="attempt")

    async def _run(self, transport: Transport, row: Claimed, lane: Lane, received_at: float) -> None:
        try:
            ended = await self._attempts.run(transport, row, received_at)
        except asyncio.CancelledError:  # the process must end: the answer may still come, but not to us
            ended = self._attempts.unanswered(row, received_at)
        del self._under_way[row.id]
        self._lanes.finished(lane, asyncio.get_running_loop().time())
        self.results.put(ended, lane.id, paced=lane.pace.max_delay > 0)
        self._due.set()
        if ended.suppress:
            async with self._runtime.db.transaction() as connection:
                await suppress(
                    connection, WorkspaceId(row.workspace), Phone(row.recipient), "provider", "refused at WhatsApp"
                )

    async def _drain(self) -> None:
        """After the last claim: wait a bounded time for answers; what has none is in doubt."""
        if self._under_way:
            _, late = await asyncio.wait(self._under_way.values(), timeout=DRAIN_SECONDS)
            for task in late:
                task.cancel()
            if late:
                log.warning("attempts without an answer at the stop", attempts=len(late))
                await asyncio.wait(late)
