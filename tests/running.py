"""A running Fleetcast: simulator, sender and scheduler around one fresh database. Used by tests of several folders."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from fleetcast.domain.campaign import CampaignStatus
from fleetcast.domain.identifiers import CampaignId
from fleetcast.engine.processes import run_scheduler, run_sender
from fleetcast.runtime import Runtime
from fleetcast.services.campaigns import CampaignReport, show_campaign
from fleetcast.services.devices import Device, add_device
from fleetcast.services.lead_import import import_leads
from fleetcast.services.lead_report import ImportReport
from fleetcast.services.ledger_check import LedgerCheck, check_ledger
from fleetcast.services.workspaces import Workspace, create_workspace
from fleetcast.transports.simulator.launch import SimulatorProcess

PATIENCE = 30.0
"""Seconds until a test gives up waiting."""


@dataclass(frozen=True, slots=True)
class Fleet:
    """What a person with one workspace has before them."""

    runtime: Runtime
    workspace: Workspace
    folder: Path
    ledger: Path

    async def device(self, name: str = "Shop one", *, delay: float = 0.0) -> Device:
        """A simulated device that waits `delay` seconds between messages."""
        return await add_device(
            self.runtime, self.workspace.id, name, min_delay=delay, max_delay=delay, actor="a person"
        )

    async def leads(self, device: Device, text: str, *, dry_run: bool = False) -> ImportReport:
        """Import a file with this text."""
        path = self.folder / "leads.csv"
        path.write_text(text, encoding="utf-8")
        return await import_leads(self.runtime, self.workspace.id, device.id, path, dry_run=dry_run)

    async def show(self, campaign: CampaignId) -> CampaignReport:
        """Where a campaign stands."""
        return await show_campaign(self.runtime, self.workspace.id, campaign)

    async def count(self, campaign: CampaignId, *statuses: str) -> int:
        """How many of a campaign's messages have one of these statuses."""
        by_status = (await self.show(campaign)).counts.by_status
        return sum(by_status.get(status, 0) for status in statuses)

    async def has_finished(self, campaign: CampaignId) -> bool:
        """Whether every message is settled."""
        return (await self.show(campaign)).campaign.status is CampaignStatus.FINISHED

    async def judge(self) -> LedgerCheck:
        """What the simulator's ledger says about all that was sent."""
        return await check_ledger(self.runtime, self.ledger)


async def until(condition: Callable[[], Awaitable[bool]], seconds: float | None = None) -> None:
    """Wait for something to be so, at most so many seconds. Looking takes at most a fifth of the time."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(PATIENCE if seconds is None else seconds):
        while True:  # what is waited for happens in other processes
            begun = loop.time()
            if await condition():
                return
            await asyncio.sleep(max(0.02, 4 * (loop.time() - begun)))


@asynccontextmanager
async def running_fleet(runtime: Runtime, folder: Path) -> AsyncIterator[Fleet]:
    """Everything running, nothing in it but a workspace."""
    ledger, stop = folder / "ledger.jsonl", asyncio.Event()
    workspace = await create_workspace(runtime, "My shop", time_zone="Asia/Kuala_Lumpur", region="MY")
    async with SimulatorProcess(runtime.simulator_socket, ledger, latency_ms=(1, 5)):
        parts = [
            asyncio.create_task(run_scheduler(runtime, stop=stop), name="scheduler"),
            asyncio.create_task(run_sender(runtime, stop=stop), name="sender"),
        ]
        try:
            yield Fleet(runtime, workspace, folder, ledger)
        finally:
            stop.set()
            await asyncio.gather(*parts)
