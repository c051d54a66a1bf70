"""The sequencer: people in sequences get their next step when it is due, and only once the one before has ended.

A loop beside the planner. Everything it must know survives in the enrolments' rows. Two may run: each step locks what
it is about, and whoever finds that locked goes on to the next. What it costs is what is due, has ended, came in or
changed; who is merely enrolled costs nothing.
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

import structlog

from fleetcast.domain.identifiers import SequenceId, WorkspaceId
from fleetcast.engine.supervisor import Beat
from fleetcast.engine.waiting import work_off
from fleetcast.queue.nudges import SEQUENCER, Ears, listening
from fleetcast.runtime import Runtime
from fleetcast.services import sequence_work as work
from fleetcast.store import enrolling, sequence_tallies, sequencing
from fleetcast.store.connection import Connection

log = structlog.get_logger()

T = TypeVar("T")
Chunk = Callable[[], Awaitable[int]]
"""One short transaction; more than 0: there may be more to do."""

TICK = 1.0
"""Seconds between looks without a nudge: so late is a step at most while there is little to do."""
CHUNKS = 20
"""Chunks of one duty in a round, so that a large one leaves room for the others."""
FOLD_ROWS = 2_000


class Sequencer:
    """One sequencer loop."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self.due = 0
        """Steps that became messages, expired or were tried again."""
        self.ends = 0
        """Ends of messages that were followed."""
        self._ears: Ears | None = None

    @property
    def dropped_nudges(self) -> int:
        """Messages in the sequencers' channel that were no nudges."""
        return 0 if self._ears is None else self._ears.dropped

    async def run(self, stop: asyncio.Event, beat: Beat = lambda: None) -> None:
        """Go on until `stop` is set; a step that has begun is finished first."""
        async with listening(self._runtime.redis, self._runtime.keys, SEQUENCER) as ears:
            self._ears = ears
            await work_off(ears, stop, beat, self.run_once, idle=TICK, what="sequences wait")

    async def run_once(self, beat: Beat = lambda: None) -> bool:
        """Every duty, each a bounded number of chunks. Whether anything was to do."""
        runtime = self._runtime
        duties: list[Chunk] = [self._follow, partial(work.clear_stopped, runtime), partial(work.expire, runtime)]
        duties += [partial(work.take_back, runtime, *which) for which in await self._ask(sequencing.recalling)]
        duties += [partial(work.retime, runtime, which) for which in await self._ask(sequencing.retiming)]
        duties += [partial(work.end_archived, runtime, *which) for which in await self._ask(sequencing.ending)]
        duties += [partial(work.hear_news, runtime, which) for which in await self._ask(enrolling.workspaces_with_news)]
        duties += [partial(work.take_run_step, runtime, which) for which in await self._ask(enrolling.runs)]
        done = False
        for duty in duties:
            done = await self._repeat(duty, beat) or done
        # Asked last: who has just come in, or was placed, may be due.
        for which in await self._ask(sequencing.due_sequences):
            done = await self._repeat(partial(self._send, *which), beat) or done
        async with runtime.db.transaction() as connection:
            await sequence_tallies.fold(connection, FOLD_ROWS)
        return done

    async def _follow(self) -> int:
        taken = await work.follow_ends(self._runtime)
        self.ends += taken
        return taken

    async def _send(self, workspace_id: WorkspaceId, sequence_id: SequenceId) -> int:
        sent = await work.send_due(self._runtime, workspace_id, sequence_id)
        self.due += sent
        return sent

    async def _repeat(self, chunk: Chunk, beat: Beat) -> bool:
        for n in range(CHUNKS):
            beat()
            if not await chunk():
                return n > 0
        return True

    async def _ask(self, question: Callable[[Connection], Awaitable[list[T]]]) -> list[T]:
        async with self._runtime.db.connection() as connection:
            return await question(connection)
