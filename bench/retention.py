"""retention_writer_p99_ms: a million old messages are deleted, and others hardly notice.

Part of growth, where a campaign with all its messages and attempts has just been sent.
"""

import asyncio
import time
from dataclasses import dataclass

from bench.writer import Writer
from fleetcast.domain.identifiers import CampaignId, WorkspaceId
from fleetcast.engine.retention import Retention
from fleetcast.engine.sweeper import Sweeper
from fleetcast.runtime import Runtime

_OLD = "UPDATE campaigns SET ended_at = ended_at - interval '1 year' WHERE id = $1 AND status = 'finished' RETURNING id"
_LEFT = "SELECT (SELECT count(*) FROM broadcast_messages) + (SELECT count(*) FROM message_attempts)"


@dataclass(frozen=True, slots=True)
class Deleting:
    """What one round measured."""

    rows: int
    seconds: float
    beside: Writer

    def details(self) -> dict[str, object]:
        """As it stands in the report."""
        return {
            "retention_rows_per_s": round(self.rows / self.seconds),
            "retention_s": round(self.seconds, 1),
            "writer_beside_retention_ms": self.beside.spread(),
        }


async def delete_everything(
    runtime: Runtime, workspace: WorkspaceId, campaign: CampaignId, rows: int, seconds: float
) -> Deleting:
    """Let the sent campaign finish and grow old, and retention delete its messages, as it always does.

    Raises RuntimeError when anything is left, TimeoutError past `seconds`.
    """
    await Sweeper(runtime, {}).run_once()
    async with runtime.db.connection() as connection:
        if await connection.fetchval(_OLD, campaign) is None:
            raise RuntimeError("the campaign did not finish")
    writer = Writer(runtime, workspace)
    async with asyncio.timeout(seconds), writer.beside():
        begun = time.perf_counter()
        await Retention(runtime).run_once(asyncio.Event())
        taken = time.perf_counter() - begun
    async with runtime.db.connection() as connection:
        left = await connection.fetchval(_LEFT)
    if left:
        raise RuntimeError(f"{left} rows of messages and attempts are left of {rows} messages")
    return Deleting(rows, taken, writer)
