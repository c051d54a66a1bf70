"""What is counted of sequences: messages and people by step and device, from a ledger of differences.

Triggers write the ledger with what they count, and nobody counts rows; folding adds entries up and changes no sum.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from fleetcast.domain.identifiers import DeviceId, SequenceId, StepId, WorkspaceId
from fleetcast.store.connection import Connection


@dataclass(frozen=True, slots=True)
class Tally:
    """One sum."""

    sequence_id: SequenceId
    step_id: StepId | None
    """None: before the first step."""
    device_id: DeviceId | None
    """None: of all devices."""
    counter: str
    """A status of messages, `delivered`, `read`; of people `active`, `completed`, `stopped`, `replied`."""
    reason: str | None
    n: int


def _sums(which: str, device: str) -> str:
    """What was folded, and what was not yet. $2 sequences."""
    return f"""
SELECT z.sequence_id, nullif(z.step_id, 0) AS step_id, nullif(z.device_id, 0) AS device_id, z.counter,
  nullif(z.reason, '') AS reason, sum(z.n)::bigint AS n
FROM (
  SELECT s.sequence_id, s.step_id, s.device_id, s.counter, s.reason, s.n FROM sequence_sums s
  WHERE s.sequence_id = ANY ($2::bigint[]) AND s.device_id {which}
  UNION ALL
  SELECT t.sequence_id, coalesce(t.step_id, 0), {device}, t.counter, coalesce(t.reason, ''), t.n
  FROM sequence_tallies t WHERE t.sequence_id = ANY ($2::bigint[])) z
JOIN sequences q ON q.id = z.sequence_id AND q.workspace_id = $1
GROUP BY 1, 2, 3, 4, 5 HAVING sum(z.n) <> 0"""


_BY_STEP, _BY_DEVICE = _sums("= 0", "0"), _sums("> 0", "t.device_id")

_FOLD = """
WITH old AS (DELETE FROM sequence_tallies RETURNING sequence_id, step_id, device_id, counter, reason, n)
INSERT INTO sequence_sums AS s (sequence_id, device_id, step_id, counter, reason, n)
SELECT sequence_id, d.id, coalesce(step_id, 0), counter, coalesce(reason, ''), sum(n)
FROM old CROSS JOIN LATERAL (VALUES (0), (device_id)) AS d (id)
GROUP BY 1, 2, 3, 4, 5 HAVING sum(n) <> 0 ORDER BY 1, 2, 3, 4, 5
ON CONFLICT (sequence_id, device_id, step_id, counter, reason) DO UPDATE SET n = s.n + excluded.n"""
_FOLDABLE = "SELECT count(*) > $1 FROM (SELECT FROM sequence_tallies LIMIT $1 + 1) t"


async def of_sequences(
    connection: Connection, workspace_id: WorkspaceId, sequence_ids: Sequence[SequenceId]
) -> list[Tally]:
    """The sums of these sequences by step."""
    return [Tally(*row) for row in await connection.fetch(_BY_STEP, workspace_id, sequence_ids)]


async def by_device(connection: Connection, workspace_id: WorkspaceId, sequence_id: SequenceId) -> list[Tally]:
    """The sums of a sequence by step and device."""
    return [Tally(*row) for row in await connection.fetch(_BY_DEVICE, workspace_id, [sequence_id])]


async def active_at(
    connection: Connection, workspace_id: WorkspaceId, sequence_id: SequenceId
) -> dict[StepId | None, int]:
    """How many people are at each step: it is due, under way or to come for them."""
    return {
        t.step_id: t.n for t in await of_sequences(connection, workspace_id, [sequence_id]) if t.counter == "active"
    }


async def fold(connection: Connection, rows: int) -> bool:
    """Add up what was written since the last time, if it is more than `rows`. The sums stay the same."""
    if not await connection.fetchval(_FOLDABLE, rows):
        return False
    await connection.execute(_FOLD)
    return True
