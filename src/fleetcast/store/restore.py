"""What is asked and changed across all workspaces after a restore from a backup."""

from dataclasses import dataclass

from fleetcast.store.connection import Connection

_UNDERWAY = """
SELECT c.id, c.title, w.id, w.name, coalesce((SELECT sum(n) FROM campaign_tallies t
  WHERE t.campaign_id = c.id AND t.counter IN ('pending', 'queued')), 0)::bigint
FROM campaigns c JOIN workspaces w ON w.id = c.workspace_id
WHERE c.status::text = $1 AND (c.status <> 'scheduled' OR c.starts_at <= fleetcast_now()) ORDER BY c.id"""


@dataclass(frozen=True, slots=True)
class Underway:
    """A campaign of any workspace that sends, or was to start."""

    id: int
    title: str
    workspace_id: int
    workspace: str
    waiting: int
    """Messages that are pending or queued."""


async def underway(connection: Connection, status: str) -> list[Underway]:
    """The campaigns of all workspaces that are 'running', or 'scheduled' for a time that has passed."""
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
