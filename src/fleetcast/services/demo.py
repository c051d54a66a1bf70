"""The demonstration: a workspace with simulated devices, leads from the example file, and one campaign.

What it makes is found again by name, so that a demo that was killed goes on where it stopped when it is started again.
"""

import csv
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import fleetcast
from fleetcast.domain.campaign import CampaignStatus
from fleetcast.domain.identifiers import CampaignId
from fleetcast.domain.pacing import Pace
from fleetcast.errors import ConfigurationError, NotFound
from fleetcast.runtime import Runtime
from fleetcast.services.campaign_actions import launch_campaign
from fleetcast.services.campaigns import create_campaign, find_campaign, list_campaigns
from fleetcast.services.devices import Device, add_device, find_device
from fleetcast.services.lead_import import import_leads
from fleetcast.services.workspaces import Workspace, create_workspace, find_workspace

WORKSPACE = "Demo"
TITLE = "Spring greetings"
ACTOR = "demo"
BODY = """Hello {{ name }}, spring has come to {{ city }}.
{% if order_no != "" %}Your order {{ order_no }} is ready to be collected.
{% endif %}Reply STOP and we will not write again."""

EXAMPLE = Path(fleetcast.__file__).parents[2] / "examples" / "leads.csv"

_OPEN = (CampaignStatus.SCHEDULED, CampaignStatus.RUNNING, CampaignStatus.PAUSED)


@dataclass(frozen=True, slots=True)
class DemoPlan:
    """How large a demonstration is."""

    devices: int
    leads: int
    pace: Pace


@dataclass(frozen=True, slots=True)
class Demo:
    """What a demonstration runs on. `resumed`: an earlier one had not come to its end."""

    workspace: Workspace
    campaign: CampaignId
    resumed: bool


async def start_demo(runtime: Runtime, plan: DemoPlan, tell: Callable[[str], None]) -> Demo:
    """Make what is missing and launch a campaign, or go on with the one that is under way. Repeatable."""
    workspace = await demo_workspace(runtime)
    for campaign, _ in await list_campaigns(runtime, workspace.id):
        if campaign.status in _OPEN and campaign.title.startswith(TITLE):
            tell(f"Going on with the campaign '{campaign.title}'.")
            return Demo(workspace, campaign.id, resumed=True)
    devices = [await _device(runtime, workspace, f"Demo {n + 1:02}", plan.pace) for n in range(plan.devices)]
    tell(f"{len(devices)} simulated devices are ready.")
    added, rejected = await _import(runtime, workspace, devices, plan.leads)
    tell(f"{added:,} leads from {EXAMPLE.name}, {rejected:,} rows rejected.")
    campaign = await create_campaign(
        runtime,
        workspace.id,
        {"title": await _title(runtime, workspace), "body": BODY, "schedule": "now"},
        actor=ACTOR,
    )
    await launch_campaign(runtime, workspace.id, campaign.id, actor=ACTOR)
    tell(f"The campaign '{campaign.title}' is launched.")
    return Demo(workspace, campaign.id, resumed=False)


async def demo_workspace(runtime: Runtime) -> Workspace:
    """The workspace of demonstrations, made if there is none."""
    with suppress(NotFound):
        return await find_workspace(runtime, WORKSPACE)
    return await create_workspace(runtime, WORKSPACE, time_zone="Asia/Kuala_Lumpur", region="MY")


async def _device(runtime: Runtime, workspace: Workspace, name: str, pace: Pace) -> Device:
    with suppress(NotFound):
        return await find_device(runtime, workspace.id, name)
    return await add_device(
        runtime, workspace.id, name, min_delay=pace.min_delay, max_delay=pace.max_delay, actor=ACTOR
    )


async def _title(runtime: Runtime, workspace: Workspace) -> str:
    for n in range(1, 10_000):
        title = TITLE if n == 1 else f"{TITLE} {n}"
        with suppress(NotFound):
            await find_campaign(runtime, workspace.id, title)
            continue
        return title
    raise ConfigurationError("This data directory has had 10,000 demonstrations; name another with FLEETCAST_DATA.")


async def _import(runtime: Runtime, workspace: Workspace, devices: list[Device], leads: int) -> tuple[int, int]:
    """Deal the example's rows to the devices like cards; each device gets a file of its own."""
    if not EXAMPLE.is_file():
        raise ConfigurationError(
            f"The example file {EXAMPLE} is not there: the demo runs from a checkout of the project."
        )
    with EXAMPLE.open(newline="", encoding="utf-8") as file:
        header, *rows = islice(csv.reader(file), leads + 1)
    added = rejected = 0
    with tempfile.TemporaryDirectory(prefix="demo-", dir=runtime.settings.data) as folder:
        for n, device in enumerate(devices):
            path = Path(folder) / f"{n}.csv"
            with path.open("w", newline="", encoding="utf-8") as part:
                csv.writer(part).writerows([header, *rows[n :: len(devices)]])
            report = await import_leads(runtime, workspace.id, device.id, path, consent_source="invented for the demo")
            added += report.added
            rejected += report.rejected
    return added, rejected
