"""planning_seconds, planning_ratio, planning_writer_p99_ms: a million leads become rows, and others can still write."""

import asyncio
import time
from collections.abc import Awaitable
from statistics import median

from bench import statements
from bench.figures import judge
from bench.outcome import Order, Outcome
from bench.seeding import Fleet, launch, make_fleet, plan
from bench.stage import Stage, stage
from bench.writer import Writer
from fleetcast.cli.session import runner
from fleetcast.domain.identifiers import CampaignId
from fleetcast.domain.pacing import Pace
from fleetcast.runtime import Runtime, open_runtime
from fleetcast.store.leads import LEAD_VARIABLES_SQL

LONGEST = 600.0
"""Seconds until one round is given up."""

# What the planner makes, without its guards, chunks, cursor, counts and order. $1 campaign.
_BARE = f"""
INSERT INTO broadcast_messages (workspace_id, device_id, campaign_id, lead_id, content_id, not_before, expires_at,
  created_at, shard_id, priority, shared, recipient, dedupe_key, variables)
SELECT l.workspace_id, l.device_id, c.id, l.id, c.content_id, c.started_at, c.expires_at,
  c.started_at, l.device_id % 64, 3, false, l.phone, 'c:' || c.id || ':' || l.phone, {LEAD_VARIABLES_SQL}
FROM leads l, campaigns c WHERE c.id = $1"""

_EMPTY = (
    "TRUNCATE broadcast_messages",
    "TRUNCATE campaign_tallies",
    "UPDATE campaigns SET plan_cursor = 0, planned_at = NULL",
    "VACUUM (ANALYZE) broadcast_messages",
    "VACUUM (ANALYZE) inbox",
    "VACUUM (ANALYZE) campaigns",
    "CHECKPOINT",
)


def run(order: Order) -> Outcome:
    """Bare INSERT..SELECT and planner in turn, some rounds of each."""
    more = statements.settings(order.statements) | {"shared_buffers": order.scale.shared_buffers}
    with stage(more) as play:
        outcome = runner(_run(play, order))
    outcome.postgres_settings, outcome.servers = play.postgres_settings, play.versions
    return outcome


async def _run(play: Stage, order: Order) -> Outcome:
    scale, tell = order.scale, order.tell
    bare: list[float] = []
    planner: list[float] = []
    async with open_runtime(play.settings) as runtime:
        tell(f"{scale.planning_rows:,} leads on {scale.devices:,} devices ...")
        workspace = await make_fleet(runtime, Fleet(scale.devices, scale.planning_rows, Pace(0, 0), order.seed))
        campaign = await launch(runtime, workspace)
        beside_bare, beside_planner = Writer(runtime, workspace), Writer(runtime, workspace)
        for number in range(1, scale.planning_rounds + 1):
            bare.append(await _round(runtime, scale.planning_rows, _insert(runtime, campaign), beside_bare))
            await statements.reset(runtime, order.statements)
            planner.append(await _round(runtime, scale.planning_rows, plan(runtime), beside_planner))
            tell(f"round {number}: bare {bare[-1]:.2f} s, planner {planner[-1]:.2f} s")
        by_statement = await statements.read(runtime, order.statements, scale.planning_rows)
    return Outcome(
        [
            judge("planning_seconds", median(planner)),
            judge("planning_ratio", median(planner) / median(bare)),
            judge("planning_writer_p99_ms", beside_planner.p99),
        ],
        {
            "rows": scale.planning_rows,
            "planner_s": [round(s, 2) for s in planner],
            "bare_s": [round(s, 2) for s in bare],
            "us_a_row": round(median(planner) / scale.planning_rows * 1e6, 1),
            "writer_beside_planner_ms": beside_planner.spread(),
            "writer_beside_bare_ms": beside_bare.spread(),
        }
        | ({"statements": by_statement} if order.statements else {}),
    )


async def _insert(runtime: Runtime, campaign: CampaignId) -> None:
    async with runtime.db.connection() as connection:
        await connection.execute(_BARE, campaign, timeout=LONGEST)


async def _round(runtime: Runtime, rows: int, work: Awaitable[None], writer: Writer) -> float:
    """Seconds for this work on an empty table, with the writer beside it."""
    async with runtime.db.connection() as connection:
        for statement in _EMPTY:
            await connection.execute(statement, timeout=LONGEST)
    async with writer.beside():
        begun = time.perf_counter()
        async with asyncio.timeout(LONGEST):
            await work
        taken = time.perf_counter() - begun
    async with runtime.db.connection() as connection:
        made = await connection.fetchval("SELECT count(*) FROM broadcast_messages WHERE status = 'pending'")
    if made != rows:
        raise RuntimeError(f"{made} rows were made of {rows} leads")
    return taken
