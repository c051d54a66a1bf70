"""Made-up workspaces: devices, leads and a campaign, by SQL, the same for the same seed."""

from dataclasses import dataclass

from fleetcast.domain.identifiers import CampaignId, WorkspaceId
from fleetcast.domain.pacing import Pace
from fleetcast.engine.planner import Planner
from fleetcast.runtime import Runtime
from fleetcast.services.campaign_actions import launch_campaign, pause_campaign
from fleetcast.services.campaigns import create_campaign
from fleetcast.services.workspaces import create_workspace
from fleetcast.store.connection import Connection

ACTOR = "bench"
BODY = "Hello {{ name }}, your order {{ order_no }} is ready to be collected. Reply STOP and we will not write again."
STRANGERS = 10_000
"""People on the suppression list, none of whom is a lead: the guards look into an index that is not empty."""

_DEVICES = """
INSERT INTO devices (workspace_id, name, transport, state, shard_id, min_delay, max_delay)
SELECT $1, 'Shop ' || i, 'simulator', $2::device_state, i % 64, $4, $5 FROM generate_series(1, $3::int) i"""

# Odd times a number, modulo 2^32, never repeats: every lead is another person. Which device a lead belongs to is drawn,
# so devices differ in how many they have, and neighbours in the table belong to different ones.
_LEADS = """
INSERT INTO leads (workspace_id, device_id, phone, name, niches, attributes)
SELECT $1, d.ids[1 + CASE WHEN $4 THEN i % d.n ELSE (hashint8extended(i, $3) & 9223372036854775807) % d.n END],
  '+60' || (1000000000 + ((i * 2654435761) & 4294967295)), 'Customer ' || i,
  CASE i % 3 WHEN 0 THEN ARRAY['beauty'] ELSE ARRAY['fitness', 'retail'] END,
  jsonb_build_object('order_no', 'A-' || i)
FROM generate_series(1::bigint, $2::bigint) i,
  (SELECT array_agg(id ORDER BY id) AS ids, count(*) AS n FROM devices WHERE workspace_id = $1) d"""

_SUPPRESSIONS = """
INSERT INTO suppressions (workspace_id, recipient, effective_at, source)
SELECT $1, '+61' || (400000000 + i), fleetcast_now(), 'import' FROM generate_series(1, $2::int) i"""


@dataclass(frozen=True, slots=True)
class Fleet:
    """How many devices and leads a made-up workspace has."""

    devices: int
    leads: int
    pace: Pace
    seed: int
    state: str = "online"
    even: bool = False
    """Whether every device has the same number of leads; else it is drawn."""
    name: str = "Bench"
    """Of the workspace."""


async def make_fleet(runtime: Runtime, fleet: Fleet) -> WorkspaceId:
    """A workspace with devices and leads; statistics are up to date afterwards."""
    workspace = await create_workspace(runtime, fleet.name, time_zone="Asia/Kuala_Lumpur", region="MY")
    async with runtime.db.connection() as connection:
        await connection.execute(
            _DEVICES, workspace.id, fleet.state, fleet.devices, fleet.pace.min_delay, fleet.pace.max_delay, timeout=300
        )
        await connection.execute(_LEADS, workspace.id, fleet.leads, fleet.seed, fleet.even, timeout=1200)
        await connection.execute(_SUPPRESSIONS, workspace.id, STRANGERS, timeout=60)
        await connection.execute("UPDATE workspaces SET attribute_keys = '{order_no}' WHERE id = $1", workspace.id)
        await settle(connection, "leads", "devices", "suppressions")
    return workspace.id


async def settle(connection: Connection, *tables: str) -> None:
    """Vacuum, statistics and a checkpoint: what would otherwise happen at a random moment of the measurement."""
    for table in tables:
        await connection.execute(f"VACUUM (ANALYZE) {table}", timeout=600)
    await connection.execute("CHECKPOINT", timeout=600)


async def launch(runtime: Runtime, workspace: WorkspaceId, title: str = "Bench") -> CampaignId:
    """A campaign to all leads, running and not planned yet."""
    campaign = await create_campaign(runtime, workspace, {"title": title, "body": BODY, "schedule": "now"}, actor=ACTOR)
    await launch_campaign(runtime, workspace, campaign.id, actor=ACTOR)
    return campaign.id


async def plan(runtime: Runtime) -> None:
    """Let the planner work until nothing is left to plan."""
    planner = Planner(runtime)
    while await planner.run_once():
        pass


async def plan_and_hold(runtime: Runtime, workspace: WorkspaceId) -> CampaignId:
    """A campaign whose rows are all planned and wait for `resume_campaign`, on a freshly vacuumed table."""
    campaign = await launch(runtime, workspace)
    await plan(runtime)
    await hold(runtime, workspace, campaign)
    return campaign


async def hold(runtime: Runtime, workspace: WorkspaceId, campaign: CampaignId) -> None:
    """Pause a planned campaign; its table is freshly vacuumed afterwards."""
    await pause_campaign(runtime, workspace, campaign, actor=ACTOR)
    async with runtime.db.connection() as connection:
        await settle(connection, "broadcast_messages", "campaigns")
