"""What is asked and changed across all workspaces after a restore from a backup."""

from dataclasses import dataclass

from fleetcast.store.connection import Connection

UNSEEN_IDS = 1_000_000_000
"""How far numbers of messages jump: further than any installation gets between two backups."""

_UNDERWAY = """
SELECT * FROM (
  SELECT c.id, c.title, w.id AS workspace_id, w.name, coalesce((SELECT sum(n) FROM campaign_tallies t
      WHERE t.campaign_id = c.id AND t.counter IN ('pending', 'queued')), 0)::bigint AS waiting,
    c.planned_at IS NOT NULL AND c.plan_cursor >= 0 AND NOT c.replan AS planned
  FROM campaigns c JOIN workspaces w ON w.id = c.workspace_id
  WHERE c.status::text = $1 AND (c.status <> 'scheduled' OR c.starts_at <= fleetcast_now())) z
WHERE $1 <> 'paused' OR waiting > 0 OR NOT planned ORDER BY id"""


@dataclass(frozen=True, slots=True)
class Underway:
    """A campaign of any workspace that sends, or was to start."""

    id: int
    title: str
    workspace_id: int
    workspace: str
    waiting: int
    """Messages that are pending or queued."""
    planned: bool
    """Else more messages are to come than wait now."""


async def underway(connection: Connection, status: str) -> list[Underway]:
    """The campaigns of all workspaces that are 'running', 'paused' with something left, or 'scheduled' in the past."""
    return [Underway(*row) for row in await connection.fetch(_UNDERWAY, status)]


async def held(connection: Connection) -> bool:
    """Whether any sender holds a lease now."""
    found: bool = await connection.fetchval(
        "SELECT EXISTS (SELECT FROM shards WHERE owner IS NOT NULL AND expires_at > fleetcast_now())"
    )
    return found


async def supersede(connection: Connection) -> list[int]:
    """End every lease with a new epoch: what any sender of before still has in hand matches nothing any more."""
    rows = await connection.fetch(
        "UPDATE shards SET owner = NULL, epoch = epoch + 1, expires_at = fleetcast_now() RETURNING id"
    )
    return [row["id"] for row in rows]


async def skip_ids(connection: Connection) -> None:
    """Let the next message have a number that none had before the restore.

    References name messages by their number. A provider that has seen one would take the next message of that number
    for a repetition, answer "accepted", and deliver nothing.
    """
    await connection.execute(
        "SELECT setval(s.name, nextval(s.name) + $1) "
        "FROM (SELECT pg_get_serial_sequence('broadcast_messages', 'id') AS name) s",
        UNSEEN_IDS,
    )
