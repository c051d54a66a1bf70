"""A sender as the model drives it: leases, lanes and claims one step at a time, by the functions the real one calls.

It keeps to the same rules: one attempt at a time per device, the drawn gap in between, a lane with an orphan stays
closed. What it knows may be old: epochs of leases it has lost meanwhile, hints of rows that are long gone.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from fleetcast.domain.identifiers import Phone, WorkspaceId
from fleetcast.engine.attempts import Attempts, Contents, Ended
from fleetcast.engine.spool import Spool
from fleetcast.queue.hints import HintReader
from fleetcast.runtime import Runtime
from fleetcast.services.suppressions import suppress
from fleetcast.store import shards, transitions
from fleetcast.store.connection import Connection
from fleetcast.store.identity import note_node
from fleetcast.store.shards import LaneRow
from fleetcast.store.transitions import Claim, Claimed, OtherResult, SentResult
from tests.models.world import Flight, World

LEASE_SECONDS = 250.0
NODE = "node"


class Steady(Random):
    """No jitter: a retry is due after its plain delay."""

    def uniform(self, a: float, b: float) -> float:
        return (a + b) / 2


@dataclass(eq=False)
class Open:
    """An attempt whose answer has not come."""

    claimed: Claimed
    task: "asyncio.Task[Ended]"
    flight: Flight | None


@dataclass
class Sender:
    """One process."""

    name: str
    runtime: Runtime
    world: World
    install: str
    contents: Contents
    spool_folder: Path
    epochs: dict[int, int] = field(default_factory=dict)
    known: list[tuple[int, int]] = field(default_factory=list)
    """(device, message) of every hint it ever had, newest last."""
    orphans: dict[int, set[int]] = field(default_factory=dict)
    """Device → messages that an earlier owner left in `sending`."""
    open: dict[int, Open] = field(default_factory=dict)
    """Device → its attempt."""
    results: list[tuple[Claimed, Ended]] = field(default_factory=list)
    """Not reported yet, oldest first."""
    reported: list[SentResult | OtherResult] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.reader = HintReader(self.runtime.redis, self.runtime.keys)
        self.attempts = Attempts(self.contents, self.install, 30.0, Steady(0))
        self.spool = Spool(self.spool_folder, self.name)

    async def lease(self, connection: Connection, most: int) -> dict[int, int]:
        """Renew what is held and take up to `most` shards; a new owner adopts what the old one left."""
        await note_node(connection, NODE, NODE)
        held = (await shards.turn(connection, self.name, NODE, LEASE_SECONDS)).held
        gained = await shards.acquire(connection, self.name, None, LEASE_SECONDS, most)
        self.epochs = held | gained
        self.reader.own(sorted(self.epochs))
        if gained:
            await self.spool.replay(connection)
            for device, messages in (await shards.orphans(connection, list(gained))).items():
                self.orphans.setdefault(device, set()).update(messages)
        return gained

    async def read_hints(self) -> None:
        """What Redis says, as far as it is there."""
        for hint in await self.reader.read(wait=0.001) or []:
            self.learn([(hint.device, message) for message, _ in hint.rows])

    async def look(self, connection: Connection) -> None:
        """What SQL says."""
        lanes = await shards.lanes(connection, list(self.epochs))
        for device, rows in await shards.queued(connection, [lane.id for lane in lanes]):
            self.learn([(device, message) for message, _ in rows])

    def learn(self, rows: list[tuple[int, int]]) -> None:
        self.known = [k for k in self.known if k not in rows] + rows

    async def free(self, connection: Connection) -> dict[int, LaneRow]:
        """The lanes of its shards in which an attempt may start now."""
        left = await shards.still_sending(connection, [m for ms in self.orphans.values() for m in ms])
        self.orphans = {d: kept for d, ms in self.orphans.items() if (kept := ms & left)}
        busy = {*self.open, *self.orphans, *(claimed.device for claimed, _ in self.results)}
        lanes = await shards.lanes(connection, list(self.epochs))
        return {
            lane.id: lane
            for lane in lanes
            if lane.id not in busy and (lane.rested is None or lane.rested >= lane.max_delay)
        }

    async def claim(self, connection: Connection, message: int, lane: LaneRow) -> list[Claimed]:
        """T2 for one message."""
        campaign = await connection.fetchval("SELECT campaign_id FROM broadcast_messages WHERE id = $1", message)
        claim = Claim(message, lane.shard, lane.id, campaign or 0, round(lane.max_delay * 1000))
        return await transitions.claim(connection, [claim], self.epochs, self.name, self.install)

    async def begin(self, claimed: Claimed) -> None:
        """Send what was claimed; returns when it is on its way, or when its attempt has ended without that."""
        received_at = asyncio.get_running_loop().time()
        seen = len(self.world.flights)
        task = asyncio.create_task(self.attempts.run(self.world, claimed, received_at))
        while not task.done() and len(self.world.flights) == seen:  # noqa: ASYNC110 - it goes on by itself, step by step
            await asyncio.sleep(0)
        if task.done():
            self.results.append((claimed, task.result()))
        else:
            self.open[claimed.device] = Open(claimed, task, self.world.flights[-1])

    async def finish(self, device: int, how: str) -> Ended:
        """The provider's answer to the attempt of this device."""
        ongoing = self.open.pop(device)
        assert ongoing.flight is not None
        self.world.answer(ongoing.flight, how)
        ended = await ongoing.task
        self.results.append((ongoing.claimed, ended))
        return ended

    async def report(self, connection: Connection) -> tuple[Claimed, Ended]:
        """Commit the oldest result."""
        claimed, ended = self.results.pop(0)
        await record(connection, [ended.result], [claimed.device])
        self.reported.append(ended.result)
        if ended.suppress:
            async with self.runtime.db.transaction() as own:
                await suppress(own, WorkspaceId(claimed.workspace), Phone(claimed.recipient), "provider")
        return claimed, ended

    def keep_in_spool(self) -> None:
        """The database does not take results and the process must end: acceptances go to disk, the rest is dropped."""
        accepted = [ended.result for _, ended in self.results if isinstance(ended.result, SentResult)]
        if accepted:
            self.spool.add(accepted)
        self.results.clear()

    async def die(self) -> None:
        """Without a word; what was under way may still arrive."""
        for ongoing in self.open.values():
            ongoing.task.cancel()
        await asyncio.gather(*(o.task for o in self.open.values()), return_exceptions=True)
        self.open.clear()


async def record(connection: Connection, results: Sequence[SentResult | OtherResult], paced: Sequence[int]) -> int:
    """T3; how many rows matched."""
    sent = [r for r in results if isinstance(r, SentResult)]
    other = [r for r in results if isinstance(r, OtherResult)]
    matched = await transitions.record_sent(connection, sent, paced) if sent else 0
    return matched + (await transitions.record_other(connection, other, paced) if other else 0)
