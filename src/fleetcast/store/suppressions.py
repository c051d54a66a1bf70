"""The people a workspace must not write to.

Planning asks this table under the shared form of `LOCK`, a suppression takes it alone: whoever plans either sees the
new row or has finished before the person's waiting rows are looked for. A claim asks once more.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from fleetcast.domain.identifiers import Phone, WorkspaceId
from fleetcast.store.connection import Connection, Row

LOCK = 7_215_302
"""First key of the advisory lock; the second is the workspace."""


@dataclass(frozen=True, slots=True)
class Suppression:
    """One person on the list."""

    recipient: Phone
    effective_at: datetime
    """No attempt to this person starts after it."""
    created_at: datetime
    source: str
    note: str


def _suppression(row: Row) -> Suppression:
    return Suppression(Phone(row["recipient"]), row["effective_at"], row["created_at"], row["source"], row["note"])


async def lock(connection: Connection, workspace_id: WorkspaceId) -> None:
    """Wait for plans under way and keep new ones out until the transaction ends."""
    await connection.execute("SELECT pg_advisory_xact_lock($1, $2::int)", LOCK, workspace_id)


async def insert(
    connection: Connection, workspace_id: WorkspaceId, phones: Sequence[Phone], source: str, note: str
) -> list[Phone]:
    """Put people on the list; returns those who were not there. Of others nothing changes, not even the note."""
    rows = await connection.fetch(
        """
        INSERT INTO suppressions (workspace_id, recipient, effective_at, source, note)
        SELECT $1, phone, fleetcast_now(), $3, $4 FROM unnest($2::text[]) AS p (phone)
        ON CONFLICT DO NOTHING RETURNING recipient""",
        workspace_id,
        phones,
        source,
        note,
    )
    return [Phone(r["recipient"]) for r in rows]


async def take_effect(connection: Connection, workspace_id: WorkspaceId, phones: Sequence[Phone]) -> None:
    """Write when the suppression holds. The last statement of it: its time is read once every lock is held."""
    await connection.execute(
        "UPDATE suppressions SET effective_at = fleetcast_now() "
        "WHERE workspace_id = $1 AND recipient = ANY ($2::text[])",
        workspace_id,
        phones,
    )


async def delete(connection: Connection, workspace_id: WorkspaceId, phone: Phone) -> Suppression | None:
    """Take a person off the list; returns the entry that was there."""
    row = await connection.fetchrow(
        "DELETE FROM suppressions WHERE workspace_id = $1 AND recipient = $2 RETURNING *", workspace_id, phone
    )
    return _suppression(row) if row else None


async def one(connection: Connection, workspace_id: WorkspaceId, phone: Phone) -> Suppression | None:
    """The entry of a person, if there is one."""
    row = await connection.fetchrow(
        "SELECT * FROM suppressions WHERE workspace_id = $1 AND recipient = $2", workspace_id, phone
    )
    return _suppression(row) if row else None


async def page(connection: Connection, workspace_id: WorkspaceId, after: str, limit: int) -> list[Suppression]:
    """At most `limit` entries by number, those after the number `after` ('' for the first page)."""
    rows = await connection.fetch(
        "SELECT * FROM suppressions WHERE workspace_id = $1 AND recipient > $2 ORDER BY recipient LIMIT $3",
        workspace_id,
        after,
        limit,
    )
    return [_suppression(r) for r in rows]
