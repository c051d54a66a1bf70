"""The sender: owns shards, claims what is due, and lets it go through the device's transport.

The path of a message through this process: a hint (or the look into SQL) puts it into its device's lane (`intake`);
when the lane's delay has passed and a permit is free it is claimed together with everything else that is due (T2,
committed); its attempt runs; the result is committed with others (T3). There is no task per device: one loop serves
all lanes, and a task exists only while an attempt waits for its answer.
"""

import asyncio
from collections.abc import Mapping
from random import Random

import structlog

from fleetcast import failpoints
from fleetcast.domain.device import TransportKind
from fleetcast.domain.identifiers import Phone, WorkspaceId
from fleetcast.domain.message import MessageStatus, Outcome, Reason
from fleetcast.engine.attempts import Attempts, Contents, Ended
from fleetcast.engine.counters import SenderCounters
from fleetcast.engine.depths import Depths
from fleetcast.engine.intake import Intake
from fleetcast.engine.lanes import Lane, Lanes, Start
from fleetcast.engine.leases import Leases
from fleetcast.engine.pairings import Pairings
from fleetcast.engine.presence import process_name
from fleetcast.engine.results import Mark, Results
from fleetcast.engine.roster import Roster
from fleetcast.engine.spool import Spool
from fleetcast.engine.supervisor import Beat
from fleetcast.engine.waiting import either, pause
from fleetcast.errors import Unavailable
from fleetcast.queue.hints import HintReader
from fleetcast.runtime import Runtime
from fleetcast.services.suppressions import suppress
from fleetcast.store import shards, transitions
from fleetcast.store.connection import Connection, Line
from fleetcast.store.transitions import Claim, Claimed, OtherResult
from fleetcast.transports.base import Transport

log = structlog.get_logger()

BATCH = 500
PERMITS = 1_000
"""Attempts that may be under way at once in one process."""
WORTHWHILE = 128
"""Attempts that are claimed at once; what falls due meanwhile makes the next claim."""
GATHER_SECONDS = 0.004
"""How long fewer wait for company; part of a paced message's lateness."""
DRAIN_SECONDS = 10.0


class Sender:
    """One sender process."""

    def __init__(
        self, runtime: Runtime, transports: Mapping[TransportKind, Transport], install: str, node: str, random: Random
    ) -> None:
        self.name = process_name()
        self._counters = SenderCounters()
        self._runtime = runtime
        self._install = install
        self._lanes = Lanes(random)
        self._depths = Depths(self._lanes)
        self._uncertain: dict[int, list[Start]] = {}
        self._attempts = Attempts(Contents(runtime.db), install, runtime.settings.send_seconds, random)
        spool = Spool(runtime.settings.data / "spool", self.name.replace(":", "-"))
        self.results = Results(runtime.db, spool)
        self.leases = Leases(runtime.db, self.name, node, runtime.settings.lease_seconds, self)
        self._hints = HintReader(runtime.redis, runtime.keys)
        self.roster = Roster(runtime.db, self._lanes, transports, spool)
        self.intake = Intake(runtime, self.roster, self.leases, self._hints)
        self.pairings = Pairings(runtime, self.roster, transports)
        self._last_result: dict[int, Mark] = {}
        """Shard that is being given back → the results that there were when its last attempt had ended."""
        self._due = self.roster.due
        self._under_way: dict[int, asyncio.Task[None]] = {}

    def figures(self) -> dict[str, float]:
        """What this sender measures of itself, by name."""
        due = self._lanes.next_due()
        now = asyncio.get_running_loop().time()
        return (
            self._counters.figures()
            | self._depths.figures(self.leases.epochs, now)
            | {
                "results": self.results.committed,
                "result_commits": self.results.commits,
                "resumes:results": self.results.resumed,
                "under_way": len(self._under_way),
                "leases_held": len(self.leases.epochs),
                "dropped:hints": self._hints.dropped + self.intake.strange_hints,
                "dropped:nudges": self.intake.dropped_nudges,
                "overdue": 0.0 if due is None else max(0.0, round(now - due, 3)),
            }
        )

    # -- shards: what leases are told to do with them

    async def gained(self, shards: set[int]) -> None:
        """Take over the devices of these shards. Raises Unavailable."""
        self._hints.own(sorted(self.leases.epochs.keys() | shards))
        self._counters.spool_resumed += await self.roster.adopt(shards)
        self._counters.leases_gained += len(shards)
        self.intake.look_again()

    async def leaving(self, shards: set[int]) -> None:
        """Start nothing more for the devices of these shards."""
        self.roster.leave(shards)
        self._hints.own(sorted(self.leases.epochs))

    def is_busy(self, shard: int) -> bool:
        """Whether a device of this leaving shard has an attempt under way, or its result is not committed."""
        if self.roster.is_busy(shard):
            return True
        return not self.results.has(self._last_result.setdefault(shard, self.results.taken))

    async def lost(self, shards: set[int]) -> None:
        """Let the devices of these shards go."""
        await self.roster.lose(shards)
        self._counters.leases_lost += len(shards)
        for shard in shards:
            self._last_result.pop(shard, None)
        self._hints.own(sorted(self.leases.epochs))

    def session_lost(self, device: int) -> None:
        """A device's session was opened elsewhere. If the device is still ours, it is opened here again, at once; else
        whoever has it keeps it, and our lease loop is about to find out.
        """
        self.roster.session_lost(device)
        if self.leases.hold(asyncio.get_running_loop().time()):
            self.intake.look_again()

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
        claims = [Claim(s.message, s.lane.shard, s.lane.id, s.campaign, round(s.gap * 1000)) for s in mine]

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
        self._counters.claims += len(claimed)
        self._counters.claim_commits += bool(claimed)
        for row in claimed:
            lane = lane_of.pop(row.id)
            self._counters.lateness.note(received_at - lane.due)
            self._begin(row, lane, received_at)
        self._counters.claims_refused += len(lane_of)
        for lane in lane_of.values():  # a stale or wrong hint, a pause, a stop word, a fence: the guard said no
            self._lanes.refused(lane)
        if held := [message for message, lane in lane_of.items() if self.roster.is_nameless(lane)]:
            await self._make_room(line, held)

    async def _make_room(self, line: Line, refused: list[int]) -> None:
        """Of what the guard refused, rows whose person has a message in doubt leave their window to others."""

        async def give_back(connection: Connection) -> int:
            return await transitions.requeue_held(connection, refused)

        try:
            await line.run(give_back)
        except Unavailable as error:  # refused again after the next look
            log.warning("rows that are held back stay in their windows", error=str(error))

    async def _recover_claims(self, line: Line) -> bool:
        """Claims that may have been committed although no answer came: nothing of them left, so they are given back."""
        starts = {s.message: s for batch in self._uncertain.values() for s in batch}
        epochs = list(self._uncertain)

        async def look(connection: Connection) -> tuple[float, list[tuple[int, int, int]]]:
            committed = await shards.uncertain_claims(connection, list(starts), epochs)
            return await shards.unix_now(connection), committed

        try:
            now, committed = await line.run(look)
        except Unavailable:
            return False
        self._uncertain.clear()
        self._counters.claims_resumed += 1
        for message, attempt, epoch in committed:
            self._give_back(message, attempt, epoch, now, "claim_unanswered", starts[message].lane)
        for start in starts.values():  # in the table it was an attempt, if a sweeper was quicker than we
            self._rest_as_if_sent(start.message, start.lane)
        return True

    def _give_back(self, message: int, attempt: int, epoch: int, now: float, code: str, lane: Lane) -> None:
        """A claim that is committed and of which certainly nothing left. `now`: database time in Unix seconds."""
        after, reason = MessageStatus.PENDING, Reason.RELEASED
        result = OtherResult(message, attempt, epoch, after, reason, Outcome.NOT_SENT, code, now)
        self.results.put(Ended(result), lane.id, paced=lane.pace.max_delay > 0)

    def _rest_as_if_sent(self, message: int, lane: Lane) -> None:
        lane.missed = True
        resting = self._rest(lane, asyncio.get_running_loop().time())
        task = self._under_way[message] = asyncio.get_running_loop().create_task(resting, name="rest")
        task.add_done_callback(lambda _: self._under_way.pop(message, None))

    async def _rest(self, lane: Lane, over: float) -> None:
        """The device rests since `over`. A nameless one begins nothing before the table says how the attempt ended:
        only there does the next claim see whether its person has another one open.
        """
        if self.roster.is_nameless(lane):
            await self.results.settled(self.results.taken)
        self._lanes.finished(lane, over)
        self._due.set()

    def _begin(self, row: Claimed, lane: Lane, received_at: float) -> None:
        transport = self.roster.transport_of(lane)
        if transport is None:  # the lease, or the session alone, was lost while the claim was on its way
            self._give_back(row.id, row.attempt, row.epoch, row.now, "session_lost", lane)
            self._rest_as_if_sent(row.id, lane)  # in the table it was an attempt
            return
        attempt = self._run(transport, row, lane, received_at)
        self._under_way[row.id] = asyncio.get_running_loop().create_task(attempt, name="attempt")

    async def _run(self, transport: Transport, row: Claimed, lane: Lane, received_at: float) -> None:
        ends = False
        try:
            ended = await self._attempts.run(transport, row, received_at)
        except asyncio.CancelledError:  # the process must end: the answer may still come, but not to us
            ended, ends = self._attempts.unanswered(row, received_at), True
        over = asyncio.get_running_loop().time()
        self.results.put(ended, lane.id, paced=lane.pace.max_delay > 0)
        try:
            if not ends:
                await self._rest(lane, over)
            if ended.session_lost:
                self.session_lost(lane.id)
            if ended.suppress:
                await self._suppress(WorkspaceId(row.workspace), Phone(row.recipient))
        finally:
            del self._under_way[row.id]

    async def _suppress(self, workspace: WorkspaceId, person: Phone) -> None:
        """What the provider said once it will not say again: tried until the database takes it."""
        while True:
            try:
                async with self._runtime.db.transaction() as connection:
                    await suppress(connection, workspace, person, "provider", "refused at WhatsApp")
                return
            except Unavailable as error:
                log.warning("a suppression waits for the database", error=str(error))
                await asyncio.sleep(0.5)

    async def _drain(self) -> None:
        """After the last claim: wait a bounded time for answers; what has none is in doubt."""
        if self._under_way:
            _, late = await asyncio.wait(self._under_way.values(), timeout=DRAIN_SECONDS)
            for task in late:
                task.cancel()
            if late:
                log.warning("attempts without an answer at the stop", attempts=len(late))
                await asyncio.wait(late)
