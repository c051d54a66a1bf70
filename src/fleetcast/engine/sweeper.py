"""The sweeper: what nobody else finishes. Orphans of lost senders, rows whose campaign or device is over, completion.

Each duty is one step that can be run alone and repeated; a step moves rows in chunks, so it stalls nobody. Several
sweepers may run: every move is guarded.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta

import structlog

from fleetcast import failpoints
from fleetcast.engine.supervisor import Beat
from fleetcast.engine.waiting import pause
from fleetcast.errors import Unavailable
from fleetcast.queue.nudges import SWEEPER, listening
from fleetcast.runtime import Runtime
from fleetcast.services.pairing import expire_pairings
from fleetcast.store import linked_sessions, shards, sweeping, transitions
from fleetcast.store.connection import Connection
from fleetcast.store.sweeping import CampaignState
from fleetcast.store.transitions import CHUNK

log = structlog.get_logger()

TICK_SECONDS = 1.0
NO_SENDER = "no sender is at work on the machine that has its session"
ABANDONED_SECONDS = 30.0
"""After so long without an owner a shard's queued rows go back to pending."""
FOLD_ROWS = 200
STRAYS_WITHIN = timedelta(minutes=2)
"""How long after a device went away its rows are looked through for strays."""
STOPPED_WITHIN = timedelta(hours=26)
"""How long after a stop word an attempt that was under way may come back: the longest window of doubt, and a little."""
STOPPED_ROUNDS = 30
"""Every so many rounds they are looked for: it costs a key for each new suppression and campaign, and is no hurry."""
SINGLE_ROUNDS = 5
"""Every so many rounds messages without a campaign are looked for whose time is over: it costs a key for each device,
and nobody can claim them meanwhile."""

Move = Callable[[Connection, int], Awaitable[int]]


class Sweeper:
    """One sweeper. `grace`: seconds after a lost lease, by transport."""

    def __init__(self, runtime: Runtime, grace: Mapping[str, float]) -> None:
        self._runtime = runtime
        self._grace = dict(grace)
        self._requeued: frozenset[int] = frozenset()
        self.rounds = 0
        """Rounds that came to their end."""
        self.orphans = 0
        """Rows that lost senders had left in `sending`, found and put in doubt."""
        self.dropped_nudges = 0
        """Messages in the sweepers' channel that were no nudges."""

    async def run(self, stop: asyncio.Event, beat: Beat) -> None:
        """Sweep every second, and at once when a campaign changed."""
        async with listening(self._runtime.redis, self._runtime.keys, SWEEPER) as ears:
            while not stop.is_set():
                beat()
                try:
                    await self.run_once(beat)
                except Unavailable as error:
                    log.warning("sweeping waits for the database", error=str(error))
                    await pause(stop, 1.0)
                await ears.next(timeout=TICK_SECONDS)
                self.dropped_nudges = ears.dropped

    async def run_once(self, beat: Beat = lambda: None) -> None:
        """Every duty once."""
        for duty in (self.recover_orphans, self.requeue_abandoned, self.requeue_strays, self._expire_pairings):
            beat()
            await duty()
        for device in await self._ask(sweeping.removed_devices):
            beat()
            skipped = await self._drain(transitions.skip_removed, device, beat)
            if skipped:
                log.info("messages of a removed device skipped", device_id=device, messages=skipped)
        if self.rounds % SINGLE_ROUNDS == 0:
            beat()
            await self._drain(_expire_single, 0, beat)
        for campaign in await self._ask(sweeping.campaigns):
            beat()
            await self._settle(campaign, beat)
        async with self._runtime.db.transaction() as connection:
            await sweeping.fold_tallies(connection, FOLD_ROWS)
            if self.rounds % STOPPED_ROUNDS == 0:
                await transitions.skip_stopped(connection, STOPPED_WITHIN)
        self.rounds += 1

    async def recover_orphans(self) -> int:
        """T5: rows in `sending` whose owner is superseded or gone beyond grace are in doubt now."""
        async with self._runtime.db.transaction() as connection:
            epochs = await shards.to_recover(connection, min(self._grace.values(), default=10.0))
            if not epochs:
                return 0
            found = await transitions.orphaned(connection, list(epochs), self._grace)
            if found:
                await failpoints.passing(failpoints.Point.SWEEPER_ORPHANED)
            await shards.recovered(connection, epochs)
        self.orphans += len(found)
        if found:
            log.warning("senders were lost in mid-attempt", messages=len(found))
        return len(found)

    async def requeue_abandoned(self) -> int:
        """T4: rows queued for shards that nobody owns any more. Once per loss of an owner.

        Linked devices there are offline until somebody opens their sessions again, which tells their state.
        """
        async with self._runtime.db.connection() as connection:
            alone = frozenset(await shards.abandoned(connection, ABANDONED_SECONDS))
        moved = 0
        self._requeued &= alone
        for shard in sorted(alone - self._requeued):
            async with self._runtime.db.transaction() as connection:
                moved += await transitions.requeue_shards(connection, [shard])
                await linked_sessions.nobody_holds(connection, shard, NO_SENDER)
            self._requeued |= {shard}
        return moved

    async def requeue_strays(self) -> int:
        """T4: rows that were being queued while their device went away, so that its own T4 could not see them."""
        async with self._runtime.db.transaction() as connection:
            return await transitions.requeue_strays(connection, STRAYS_WITHIN)

    async def _expire_pairings(self) -> int:
        return await expire_pairings(self._runtime)

    async def _settle(self, campaign: CampaignState, beat: Beat) -> None:
        if campaign.status == "cancelled":
            if campaign.waiting:
                await self._drain(transitions.cancel_campaign, campaign.id, beat)
            elif not campaign.under_way:
                async with self._runtime.db.transaction() as connection:
                    await sweeping.close_cancelled(connection, campaign.id)
            return
        if campaign.status == "paused" and campaign.queued:
            await self._drain(_requeue, campaign.id, beat)
        if campaign.expired and campaign.waiting and campaign.planned:
            await self._drain(transitions.expire_campaign, campaign.id, beat)
        elif campaign.skips_offline and campaign.waiting and campaign.status == "running":
            await self._drain(transitions.skip_offline, campaign.id, beat)
        elif campaign.status == "running" and campaign.planned and not campaign.waiting and not campaign.under_way:
            async with self._runtime.db.transaction() as connection:
                if await sweeping.finish(connection, campaign.id):
                    log.info("campaign finished", campaign_id=campaign.id)

    async def _drain(self, move: Move, subject: int, beat: Beat) -> int:
        total = 0
        while True:
            beat()
            async with self._runtime.db.transaction() as connection:
                moved = await move(connection, subject)
            total += moved
            if moved < CHUNK:
                return total

    async def _ask(self, question: Callable[[Connection], Awaitable[list]]) -> list:  # type: ignore[type-arg]
        async with self._runtime.db.connection() as connection:
            return await question(connection)


async def _expire_single(connection: Connection, _: int) -> int:
    return await transitions.expire_single(connection)


async def _requeue(connection: Connection, campaign_id: int) -> int:
    return await transitions.requeue_campaign(connection, campaign_id, CHUNK)
