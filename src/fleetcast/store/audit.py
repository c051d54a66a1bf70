"""The record of what people decided: appended in the same transaction as the decision, never changed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from fleetcast.domain.identifiers import WorkspaceId
from fleetcast.store.connection import Connection

Facts = Mapping[str, Any]
"""What a thing looked like, in values that JSON knows."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One decision."""

    id: int
    at: datetime
    actor: str
    action: str
    subject: str
    before: Facts | None
    after: Facts | None


async def record(
    connection: Connection,
    workspace_id: WorkspaceId | None,
    actor: str,
    action: str,
    subject: str,
    before: Facts | None = None,
    after: Facts | None = None,
) -> None:
    """Append one entry. `actor` is who decided, `action` a verb (`device.pause`), `subject` what it was done to.

    `workspace_id` None is for what concerns the whole installation. Never pass message texts or secrets.
    """
    await connection.execute(
        "INSERT INTO audit (workspace_id, actor, action, subject, before, after) VALUES ($1, $2, $3, $4, $5, $6)",
        workspace_id,
        actor,
        action,
        subject,
        dict(before) if before is not None else None,
        dict(after) if after is not None else None,
    )


async def record_all(
    connection: Connection,
    workspace_id: WorkspaceId,
    actor: str,
    action: str,
    subjects: Sequence[str],
    after: Facts | None = None,
) -> None:
    """Append one entry for each subject of the same decision."""
    await connection.execute(
        "INSERT INTO audit (workspace_id, actor, action, subject, after) "
        "SELECT $1, $2, $3, subject, $5 FROM unnest($4::text[]) AS s (subject)",
        workspace_id,
        actor,
        action,
        subjects,
        dict(after) if after is not None else None,
    )


async def of_installation(connection: Connection, action: str, limit: int) -> list[Entry]:
    """The newest entries about the whole installation whose action begins so. For who runs it, never for a member.

    Entries about people who are a member nowhere stand beside them; they are nobody's to read on a page.
    """
    rows = await connection.fetch(
        "SELECT id, at, actor, action, subject, before, after FROM audit WHERE workspace_id IS NULL "
        "AND starts_with(action, $1) ORDER BY id DESC LIMIT $2",
        action,
        limit,
    )
    return [Entry(**dict(row)) for row in rows]


async def page(
    connection: Connection,
    workspace_id: WorkspaceId,
    before: int,
    limit: int,
    *,
    actor: str | None = None,
    action: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> list[Entry]:
    """Entries of a workspace with an id below `before`, newest first; of an actor, of actions that begin so, in a time.

    A time includes its first instant and not its last.
    """
    rows = await connection.fetch(
        """SELECT id, at, actor, action, subject, before, after FROM audit
        WHERE workspace_id = $1 AND id < $2 AND ($4::text IS NULL OR actor = $4)
          AND ($5::text IS NULL OR starts_with(action, $5)) AND ($6::timestamptz IS NULL OR at >= $6)
          AND ($7::timestamptz IS NULL OR at < $7)
        ORDER BY id DESC LIMIT $3""",
        workspace_id,
        before,
        limit,
        actor,
        action,
        since,
        until,
    )
    return [Entry(**dict(row)) for row in rows]
