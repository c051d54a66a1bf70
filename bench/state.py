"""The state of a large install: workspaces that have been sending for months, written straight into the tables.

Separate from `seeding`, whose workspaces are about to send. Nothing here was ever sent, so no planner and no sender
can have made it; what they would have left is written by set: rows in every status, attempts, receipts, replies,
tallies, suppressions, imports, sequences and audit entries. The guards of the life cycle stand aside while the rows are
born, and what they guard is asked of the result: every invariant holds in it.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from bench import state_statements as sql
from bench.outcome import Tell
from bench.scale import Large
from bench.seeding import settle
from bench.state_sequences import make_sequences
from fleetcast.domain.identifiers import CampaignId, WorkspaceId
from fleetcast.runtime import Runtime
from fleetcast.services.workspaces import create_workspace
from fleetcast.store.connection import Connection

PATIENCE = 3_600.0
"""Seconds for one statement."""
SMALL_WORKSPACES = 3
"""Beside the large one; each with a fiftieth of its devices."""
MONTHS_DAYS = 85
"""How far back it goes; less than anything is kept for, or retention would be at work while something is measured."""
TABLES = (
    "devices",
    "leads",
    "suppressions",
    "campaigns",
    "campaign_tallies",
    "broadcast_messages",
    "message_attempts",
    "inbox",
    "audit",
    "lead_imports",
    "enrolments",
    "sequence_sums",
)
_REBUILT = ("broadcast_messages", "leads")
"""Tables whose indexes are made once all their rows are there."""


@dataclass(frozen=True, slots=True)
class LargeState:
    """What was made, as far as somebody asks for it by name."""

    workspace: WorkspaceId
    largest_campaign: CampaignId
    others: tuple[WorkspaceId, ...]


async def make_state(runtime: Runtime, large: Large, seed: int, tell: Tell) -> LargeState:
    """Make it all; tables are vacuumed and their statistics up to date afterwards."""
    workspace = await create_workspace(runtime, "Large", time_zone="Asia/Kuala_Lumpur", region="MY")
    others = [
        await create_workspace(runtime, f"Small {n}", time_zone="Europe/Berlin", region="DE")
        for n in range(1, SMALL_WORKSPACES + 1)
    ]
    small = Large(max(2, large.devices // 50), max(20, large.leads // 100), max(60, large.messages // 200), 4)
    async with _rebuilding(runtime, tell) as connection:
        for made, size in ((workspace, large), *((other, small) for other in others)):
            tell(f"{made.name}: {size.devices:,} devices, {size.leads:,} leads, {size.messages:,} messages ...")
            await _fill(connection, made.id, size, seed, tell if size is large else lambda _: None)
    async with runtime.db.connection() as connection:
        tell("statistics ...")
        await settle(connection, *TABLES)
        largest = await connection.fetchval(
            "SELECT min(id) FROM campaigns WHERE workspace_id = $1 AND status = 'finished'", workspace.id
        )
    return LargeState(workspace.id, CampaignId(largest), tuple(other.id for other in others))


@asynccontextmanager
async def _rebuilding(runtime: Runtime, tell: Tell) -> AsyncIterator[Connection]:
    """A connection on which no trigger fires and no foreign key is asked, while the large tables have no index but
    their keys; all are back, and made anew, at the end.
    """
    async with runtime.db.connection() as connection:
        definitions = [row["indexdef"] for row in await connection.fetch(sql.INDEXES, list(_REBUILT))]
        for row in await connection.fetch(sql.INDEXES, list(_REBUILT)):
            await connection.execute(f"DROP INDEX {row['indexname']}")
        await connection.execute("SET session_replication_role = replica; SET synchronous_commit = off")
        await connection.execute("SET maintenance_work_mem = '512MB'; SET work_mem = '64MB'; SET jit = off")
        try:
            yield connection
            for definition in definitions:
                tell(definition.split(" USING ")[0].removeprefix("CREATE ").lower() + " ...")
                await connection.execute(definition, timeout=PATIENCE)
        finally:
            await connection.execute("RESET ALL")


async def _fill(connection: Connection, workspace: WorkspaceId, large: Large, seed: int, tell: Tell) -> None:
    await connection.execute(sql.DEVICES, workspace, large.devices, seed)
    await connection.execute(sql.LEADS, workspace, large.leads, seed, timeout=PATIENCE)
    first = await connection.fetchval("SELECT min(id) FROM leads WHERE workspace_id = $1", workspace)
    await connection.execute(sql.SUPPRESSIONS, workspace, MONTHS_DAYS, timeout=PATIENCE)
    await connection.execute("UPDATE workspaces SET attribute_keys = $2 WHERE id = $1", workspace, sql.ATTRIBUTES)
    await connection.execute("ANALYZE leads, devices, suppressions", timeout=PATIENCE)
    campaigns = await connection.fetch(sql.CAMPAIGNS, workspace, large.campaigns, MONTHS_DAYS, large.others)
    for place, row in enumerate(campaigns):
        size = large.leads if place == 0 else large.others
        offset = 0 if size >= large.leads else place * size % (large.leads - size)
        made = await connection.execute(
            sql.MESSAGES,
            workspace,
            row["id"],
            first + offset,
            first + offset + size - 1,
            row["gap"],
            row["lively"],
            timeout=PATIENCE,
        )
        if place % 50 == 0:
            tell(f"campaign {place + 1} of {len(campaigns)}: {made.split()[-1]} messages ...")
    await connection.execute(sql.SINGLE, workspace, max(2, large.leads // 500), timeout=PATIENCE)
    tell("attempts, tallies, receipts ...")
    low = await connection.fetchval(sql.FIRST_MESSAGE, workspace)
    for statement in (sql.ATTEMPTS, sql.TALLIES, sql.RECEIPTS, sql.REPLIES):
        await connection.execute(statement, workspace, low, timeout=PATIENCE)
    await connection.execute(sql.IMPORTS, workspace, MONTHS_DAYS, timeout=PATIENCE)
    await connection.execute(sql.AUDIT, workspace, MONTHS_DAYS, max(10, large.leads // 50), timeout=PATIENCE)
    await make_sequences(connection, workspace, tell, PATIENCE)
    await connection.execute(sql.SHARDS)
