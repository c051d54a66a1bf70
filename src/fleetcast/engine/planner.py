"""The planner: starts what is due and turns audiences into pending rows, a few windows of each campaign in turn.

Everything it must know survives in the campaigns' rows; what it keeps in memory is only how far a repeatable walk has
come. Two may run: each round locks its campaign, and whoever finds it locked goes on to the next. The windows of a
round are planned side by side; the cursor passes them when all are committed.
"""

import asyncio

import structlog

from fleetcast import failpoints
from fleetcast.domain.identifiers import CampaignId, DeviceId
from fleetcast.engine.supervisor import Beat
from fleetcast.engine.waiting import work_off
from fleetcast.queue.nudges import PLANNER, Ears, listening
from fleetcast.runtime import Runtime
from fleetcast.store import planning
from fleetcast.store.campaigns import Campaign
from fleetcast.store.planning import Newcomer, Planned, Windows

log = structlog.get_logger()

TICK = 1.0
"""Seconds between looks without a nudge; a scheduled start is late by at most this."""


class Planner:
    """One planner loop."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        # A stage is named by what started it, so a position is never taken over into another stage.
        self._reworked: dict[tuple[CampaignId, object], str] = {}
        self._walked: dict[Newcomer, int] = {}
        self.planned = 0
        """Rows planned and committed."""
        self._ears: Ears | None = None

    @property
    def dropped_nudges(self) -> int:
        """Messages in the planners' channel that were no nudges."""
        return 0 if self._ears is None else self._ears.dropped

    async def run(self, stop: asyncio.Event, beat: Beat = lambda: None) -> None:
        """Plan until `stop` is set; a round that has begun is finished first."""
        async with listening(self._runtime.redis, self._runtime.keys, PLANNER) as ears:
            self._ears = ears
            await work_off(ears, stop, beat, self.run_once, idle=TICK, what="planning waits")

    async def run_once(self, beat: Beat = lambda: None) -> bool:
        """One round: start what is due, some windows of each campaign and newcomer. Whether anything was to do."""
        async with self._runtime.db.transaction() as connection:
            started = await planning.start_due(connection)
            campaigns = await planning.unplanned(connection)
            newcomers = await planning.newcomers(connection)
        if started:
            await self._runtime.nudges.campaigns(*started)
        waiting = set(campaigns)
        self._reworked = {k: v for k, v in self._reworked.items() if k[0] in waiting}
        self._walked = {n: self._walked[n] for n in newcomers if n in self._walked}
        done = bool(started)
        for campaign_id in campaigns:
            beat()
            done = await self._plan(campaign_id) or done
        for newcomer in newcomers:
            beat()
            done = await self._take_in(newcomer) or done
        return done

    async def _plan(self, campaign_id: CampaignId) -> bool:
        devices: list[DeviceId] = []
        through = False
        async with self._runtime.db.transaction() as connection:
            campaign = await planning.take(connection, campaign_id)
            if campaign is None:
                return False
            stage = (campaign_id, (campaign.plan_cursor, campaign.content_id, campaign.expires_at))
            if campaign.plan_cursor < 0:
                position = await planning.rework_chunk(connection, campaign, self._reworked.get(stage))
            else:
                windows = await planning.windows(connection, campaign.workspace_id, campaign.plan_cursor)
                devices = await self._side_by_side(campaign, windows)
                await failpoints.passing(failpoints.Point.PLANNER_WINDOWS)
                await planning.advance(connection, campaign_id, windows)
                through = windows.is_last
        if campaign.plan_cursor < 0:
            # Only now, after the commit: a chunk that was rolled back is done again.
            self._reworked.pop(stage, None)
            if position is not None:
                self._reworked[stage] = position
        if devices:
            await self._runtime.nudges.work(devices)
        if through:
            await self._runtime.nudges.campaigns(campaign_id)
        return True

    async def _take_in(self, newcomer: Newcomer) -> bool:
        async with self._runtime.db.transaction() as connection:
            campaign = await planning.take_for(connection, newcomer)
            if campaign is None:
                return False
            after = self._walked.get(newcomer, 0)
            windows = await planning.windows(connection, campaign.workspace_id, after, newcomer.device_id)
            devices = await self._side_by_side(campaign, windows, newcomer.device_id)
            if windows.is_last:
                await planning.taken_in(connection, newcomer)
        self._walked[newcomer] = windows.ends[-1]
        if devices:
            await self._runtime.nudges.work(devices)
        return True

    async def _side_by_side(
        self, campaign: Campaign, windows: Windows, device_id: DeviceId | None = None
    ) -> list[DeviceId]:
        """Plan windows, each in a transaction of its own; returns the devices that got rows."""

        async def plan(after: int, upto: int) -> Planned:
            async with self._runtime.db.transaction() as connection:
                return await planning.plan_window(connection, campaign, after, upto, device_id)

        # All are waited for, whatever becomes of one: the campaign stays locked until the last has ended.
        found = await asyncio.gather(*(plan(*window) for window in windows), return_exceptions=True)
        devices: list[DeviceId] = []
        for outcome in found:
            if isinstance(outcome, BaseException):
                raise outcome
            devices += outcome.devices
            self.planned += outcome.rows
        return sorted(set(devices))
