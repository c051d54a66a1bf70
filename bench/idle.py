"""queued_to_claim_p99_ms: how soon an idle device begins with a row that was just queued."""

import asyncio
from random import Random

from bench.figures import judge, percentile
from bench.outcome import Order, Outcome
from bench.seeding import ACTOR, BODY, Fleet, make_fleet, settle
from bench.sending import until_ready
from bench.stage import Parts, Stage, stage, until
from fleetcast.cli.session import runner
from fleetcast.domain.identifiers import WorkspaceId
from fleetcast.domain.pacing import Pace
from fleetcast.runtime import Runtime, open_runtime
from fleetcast.services.campaign_actions import launch_campaign
from fleetcast.services.campaigns import create_campaign

# Each device has one lead, and each lead a niche of its own.
_GROUPS = """
UPDATE leads SET niches = ARRAY['group ' || (device_id - first.id)]
FROM (SELECT min(id) AS id FROM devices WHERE workspace_id = $1) first WHERE workspace_id = $1"""

_MEASURED = """
SELECT extract(epoch FROM a.started_at - b.queued_at)::float8 * 1000 AS claim,
  extract(epoch FROM b.queued_at - c.started_at)::float8 * 1000 AS queue
FROM broadcast_messages b JOIN message_attempts a ON a.message_id = b.id AND a.attempt = 1
  JOIN campaigns c ON c.id = b.campaign_id"""


def run(order: Order) -> Outcome:
    """Small campaigns, one after the other, each on devices that have never sent."""
    with stage({"shared_buffers": order.scale.shared_buffers}) as play:
        outcome = runner(_run(play, order))
    outcome.postgres_settings, outcome.servers = play.postgres_settings, play.versions
    return outcome


async def _run(play: Stage, order: Order) -> Outcome:
    devices = order.scale.idle_campaigns
    async with open_runtime(play.settings) as runtime:
        workspace = await make_fleet(runtime, Fleet(devices, devices, Pace(10, 30), order.seed, even=True))
        async with runtime.db.connection() as connection:
            await connection.execute(_GROUPS, workspace)
            await settle(connection, "leads")
            with Parts(play, "sender", "scheduler") as parts:
                await until_ready(connection, parts, order.scale.moment)
                order.tell(f"{devices} campaigns of one lead, each on another idle device ...")
                await _launch_all(runtime, workspace, order, parts)
            rows = await connection.fetch(_MEASURED)
    if len(rows) != devices:
        raise RuntimeError(f"{len(rows)} of {devices} rows were sent")
    claims = [float(row["claim"]) for row in rows]
    queues = [float(row["queue"]) for row in rows]
    return Outcome(
        [judge("queued_to_claim_p99_ms", percentile(claims, 0.99))],
        {
            "rows": len(claims),
            "queued_to_claim_ms": {"p50": round(percentile(claims, 0.5), 1), "max": round(max(claims), 1)},
            "launched_to_queued_ms": {
                "p50": round(percentile(queues, 0.5), 1),
                "p99": round(percentile(queues, 0.99), 1),
                "max": round(max(queues), 1),
            },
        },
    )


async def _launch_all(runtime: Runtime, workspace: WorkspaceId, order: Order, parts: Parts) -> None:
    random = Random(order.seed)
    for group in range(order.scale.idle_campaigns):
        campaign = await create_campaign(
            runtime,
            workspace,
            {"title": f"Group {group}", "body": BODY, "niches": [f"group {group}"], "schedule": "now"},
            actor=ACTOR,
        )
        await launch_campaign(runtime, workspace, campaign.id, actor=ACTOR)

        async def sent(wanted: int = group + 1) -> bool:
            async with runtime.db.connection() as connection:
                return bool(await connection.fetchval("SELECT count(*) FROM message_attempts") >= wanted)

        await until(sent, f"the row of group {group} is claimed", seconds=30, every=0.05, parts=parts)
        await asyncio.sleep(order.scale.idle_pause.draw(random))  # no rhythm that a loop's own could fall in with
