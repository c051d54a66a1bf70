"""planning_seconds, planning_ratio, planning_writer_p99_ms: a million leads become rows, and others can still write."""

import asyncio
import time
from collections.abc import Awaitable
from statistics import median

from bench import statements
from bench.figures import judge, percentile
from bench.outcome import Order, Outcome
from bench.seeding import Fleet, launch, make_fleet, plan
from bench.stage import Stage, stage
from fleetcast.cli.session import runner
from fleetcast.domain.identifiers import CampaignId, WorkspaceId
from fleetcast.domain.pacing import Pace
from fleetcast.runtime import Runtime, open_runtime
from fleetcast.store.leads import LEAD_VARIABLES_SQL

WRITE_EVERY = 0.005
"""Seconds between two writes of the other connection."""
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

_WRITE = """
INSERT INTO inbox (workspace_id, device_id, occurred_at, kind, event_id)
SELECT $1, min(id), fleetcast_now(), 'delivered', gen_random_uuid()::text FROM devices WHERE id = $2"""


class Writer:
    """Somebody else who writes one row after the other, and how long each took."""

    def __init__(self, runtime: Runtime, workspace: WorkspaceId) -> None:
        self._runtime = runtime
        self._workspace = workspace
        self.milliseconds: list[float] = []

    async def run(self, stop: asyncio.Event) -> None:
        """Write until `stop`."""
        async with self._runtime.db.connection() as connection:
            device = await connection.fetchval("SELECT min(id) FROM devices WHERE workspace_id = $1", self._workspace)
            write = await connection.prepare(_WRITE)
            while not stop.is_set():
                begun = time.perf_counter()
                await write.fetch(self._workspace, device, timeout=60)
                self.milliseconds.append((time.perf_counter() - begun) * 1000)
                await asyncio.sleep(WRITE_EVERY)


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
            judge("planning_writer_p99_ms", percentile(beside_planner.milliseconds, 0.99)),
        ],
        {
            "rows": scale.planning_rows,
            "planner_s": [round(s, 2) for s in planner],
            "bare_s": [round(s, 2) for s in bare],
            "us_a_row": round(median(planner) / scale.planning_rows * 1e6, 1),
            "writer_beside_planner_ms": _spread(beside_planner.milliseconds),
            "writer_beside_bare_ms": _spread(beside_bare.milliseconds),
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
    stop = asyncio.Event()
    writing = asyncio.create_task(writer.run(stop), name="writer")
    try:
        await asyncio.sleep(0.1)
        begun = time.perf_counter()
        async with asyncio.timeout(LONGEST):
            await work
        taken = time.perf_counter() - begun
    finally:
        stop.set()
        await writing
    async with runtime.db.connection() as connection:
        made = await connection.fetchval("SELECT count(*) FROM broadcast_messages WHERE status = 'pending'")
    if made != rows:
        raise RuntimeError(f"{made} rows were made of {rows} leads")
    return taken


def _spread(milliseconds: list[float]) -> dict[str, float]:
    return {
        "writes": len(milliseconds),
        "p50": round(percentile(milliseconds, 0.5), 2),
        "p99": round(percentile(milliseconds, 0.99), 2),
        "max": round(max(milliseconds), 1),
    }
