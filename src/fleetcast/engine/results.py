"""Results: what became of attempts, committed in groups.

A batch is repeated until the database takes it; repeating is harmless, because the guard of T3 matches a row once and
what it refuses is kept as evidence. While results wait, the sender claims nothing new. What cannot be committed before
the process must end goes into the spool.
"""

import asyncio

import structlog

from fleetcast import failpoints
from fleetcast.engine.attempts import Ended
from fleetcast.engine.spool import Spool
from fleetcast.engine.supervisor import Beat
from fleetcast.engine.waiting import either, pause
from fleetcast.errors import Unavailable
from fleetcast.store import transitions
from fleetcast.store.connection import Connection, Database, Line
from fleetcast.store.transitions import OtherResult, SentResult

log = structlog.get_logger()

Mark = tuple[int, int]
"""How many results of each kind there were: those that a transport accepted, and all others."""

BATCH = 500
WORTHWHILE = 128
"""Results that are committed at once; what comes meanwhile makes the next batch."""
GATHER_SECONDS = 0.01
"""How long fewer wait for company."""
SPOOL_AFTER_SECONDS = 300.0


class Results:
    """The results of one sender."""

    def __init__(self, db: Database, spool: Spool) -> None:
        self._db = db
        self._spool = spool
        self._sent: list[SentResult] = []
        self._other: list[OtherResult] = []
        self._paced: set[int] = set()
        self._ready = asyncio.Event()
        self.stuck = False
        """The database does not take results now: claim nothing."""
        self._taken: Mark = (0, 0)
        self._done: Mark = (0, 0)
        self._moved = asyncio.Event()
        """Set for a moment whenever results are done."""
        self.committed = 0
        """Results that the database has."""
        self.commits = 0
        """Group commits that took them."""
        self.resumed = 0
        """How often a commit came through again after the database had not taken one."""

    def __len__(self) -> int:
        return len(self._sent) + len(self._other)

    def put(self, ended: Ended, device: int, *, paced: bool) -> None:
        """Add a result; `paced`: the device's last send is worth a write."""
        if paced:
            self._paced.add(device)
        sent, other = self._taken
        if isinstance(ended.result, SentResult):
            self._sent.append(ended.result)
            self._taken = sent + 1, other
        else:
            self._other.append(ended.result)
            self._taken = sent, other + 1
        self._ready.set()

    @property
    def taken(self) -> Mark:
        """All results so far."""
        return self._taken

    def has(self, mark: Mark) -> bool:
        """Whether all results up to there are committed, or given up."""
        return self._done[0] >= mark[0] and self._done[1] >= mark[1]

    async def settled(self, mark: Mark) -> None:
        """Wait until all results up to there are committed, or given up."""
        while not self.has(mark):
            await self._moved.wait()

    def _did(self, sent: int, other: int) -> None:
        self._done = self._done[0] + sent, self._done[1] + other
        self._moved.set()
        self._moved.clear()

    async def run(self, stop: asyncio.Event, beat: Beat) -> None:
        """Commit until stopped, then commit or spool the rest."""
        line = Line(self._db, hot=True, application="fleetcast results")
        loop = asyncio.get_running_loop()
        failing_since: float | None = None
        try:
            while not (stop.is_set() and not len(self)):
                beat()
                if not len(self):
                    self._ready.clear()
                    await either(self._ready, stop, 1.0)
                    continue
                if len(self) < WORTHWHILE and not stop.is_set():
                    await pause(stop, GATHER_SECONDS)
                try:
                    await self._commit(line)
                    self.resumed += self.stuck
                    self.stuck, failing_since = False, None
                except Unavailable as error:
                    failing_since = failing_since or loop.time()
                    self.stuck = True
                    log.warning("results wait for the database", waiting=len(self), error=str(error))
                    if stop.is_set() or loop.time() - failing_since > SPOOL_AFTER_SECONDS:
                        self._give_up()
                        continue
                    await pause(stop, 0.5)
        finally:
            await line.close()

    async def _commit(self, line: Line) -> None:
        await failpoints.passing(failpoints.Point.RESULTS_TAKEN)
        sent, other = self._sent[:BATCH], self._other[:BATCH]
        paced = frozenset(self._paced)
        if sent:

            async def write_sent(connection: Connection) -> int:
                matched = await transitions.record_sent(connection, sent, paced)
                await failpoints.passing(failpoints.Point.RESULTS_COMMITTED)
                return matched

            matched = await line.run(write_sent)
            del self._sent[: len(sent)]
            self.committed += len(sent)
            self.commits += 1
            self._did(len(sent), 0)
            if matched < len(sent):
                log.info("late results kept as evidence", results=len(sent) - matched)
        if other:

            async def write_other(connection: Connection) -> int:
                return await transitions.record_other(connection, other, paced)

            await line.run(write_other)
            del self._other[: len(other)]
            self.committed += len(other)
            self.commits += 1
            self._did(0, len(other))
        if not len(self):
            self._paced.difference_update(paced)

    def _give_up(self) -> None:
        if self._sent:
            self._spool.add(self._sent)
        given_up = len(self._sent), len(self._other)
        self._sent.clear()
        self._other.clear()
        self._did(*given_up)
