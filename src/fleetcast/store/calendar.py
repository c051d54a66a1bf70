"""Campaigns by time: those that started or are to start between two instants, and drafts that have no time yet.

Separate from `campaigns`, whose lists go by number: this is the only use of the index by time.
"""

from datetime import datetime

from fleetcast.domain.identifiers import WorkspaceId
from fleetcast.store.campaigns import COLUMNS, Campaign, read
from fleetcast.store.connection import Connection

_AT = "coalesce(c.started_at, c.starts_at)"


async def between(
    connection: Connection, workspace_id: WorkspaceId, start: datetime, end: datetime, limit: int
) -> list[Campaign]:
    """Campaigns whose start, made or planned, is in [start, end), the earliest first."""
    rows = await connection.fetch(
        f"SELECT {COLUMNS} FROM campaigns c WHERE c.workspace_id = $1 AND {_AT} >= $2 AND {_AT} < $3 "
        f"ORDER BY {_AT}, c.id LIMIT $4",
        workspace_id,
        start,
        end,
        limit,
    )
    return [read(r) for r in rows]


async def undated(connection: Connection, workspace_id: WorkspaceId, limit: int) -> list[Campaign]:
    """Drafts without a time, the newest first."""
    rows = await connection.fetch(
        f"SELECT {COLUMNS} FROM campaigns c WHERE c.workspace_id = $1 AND {_AT} IS NULL AND c.status = 'draft' "
        "ORDER BY c.id DESC LIMIT $2",
        workspace_id,
        limit,
    )
    return [read(r) for r in rows]
