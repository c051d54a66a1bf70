"""Changes of many at once: their rows, and how far each has come.

Whoever works on one locks its row for the length of a chunk and finds the place to go on there, so that two who do meet
nothing twice, and whatever was interrupted goes on. What a chunk does to leads is `bulk_leads`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from fleetcast.domain.bulk_edit import UNDOABLE, BulkEdit, EditAction, EditStatus, Things
from fleetcast.domain.identifiers import WorkspaceId
from fleetcast.store.connection import Connection, Row

_UNDOABLE = ", ".join(f"'{action}'" for action in sorted(UNDOABLE))

_SELECT = f"""
SELECT e.id, e.things, e.action, e.value, e.chosen, e.status::text, e.actor, e.undoes, u.id AS undone_by,
  e.action IN ({_UNDOABLE}) AND e.status <> 'running' AND e.changed > 0 AND e.undoes IS NULL AND u.id IS NULL
    AND e.forgotten_at IS NULL AS can_be_undone,
  e.expected, e.seen, e.changed, e.skipped, e.started_at, e.finished_at
FROM bulk_edits e LEFT JOIN bulk_edits u ON u.undoes = e.id WHERE e.workspace_id = $1"""

FORGET_CHUNK = 5_000
_FORGET = """
WITH over AS (
  SELECT id FROM bulk_edits WHERE finished_at < fleetcast_now() - $1::interval AND forgotten_at IS NULL),
looked AS (
  SELECT c.ctid FROM over JOIN bulk_edit_changes c ON c.edit_id = over.id LIMIT $2),
gone AS (DELETE FROM bulk_edit_changes c USING looked WHERE c.ctid = looked.ctid RETURNING 1),
through AS (
  UPDATE bulk_edits SET forgotten_at = fleetcast_now() WHERE id IN (SELECT id FROM over)
    AND (SELECT count(*) FROM looked) < $2)
SELECT count(*) FROM gone"""


@dataclass(frozen=True, slots=True)
class Work:
    """What is left of one: for who goes on with it."""

    id: int
    workspace_id: WorkspaceId
    things: Things
    action: EditAction
    value: Mapping[str, Any]
    chosen: Mapping[str, Any]
    actor: str
    undoes: int | None
    last_id: int
    """What has a higher id came later."""
    place: tuple[int, int]
    """Device and lead up to which it has come; of devices the second is the device."""


def _edit(row: Row) -> BulkEdit:
    facts = dict(row)
    facts |= {
        "things": Things(row["things"]),
        "action": EditAction(row["action"]),
        "status": EditStatus(row["status"]),
    }
    return BulkEdit(**facts)


async def start(
    connection: Connection,
    workspace_id: WorkspaceId,
    things: Things,
    action: EditAction,
    *,
    value: Mapping[str, Any],
    chosen: Mapping[str, Any],
    last_id: int,
    expected: int,
    actor: str,
    undoes: int | None = None,
) -> int | None:
    """Note a new one; None when what it would take back is being taken back already."""
    made: int | None = await connection.fetchval(
        """INSERT INTO bulk_edits (workspace_id, things, action, value, chosen, last_id, expected, actor, undoes)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (undoes) DO NOTHING RETURNING id""",
        workspace_id,
        things.value,
        action.value,
        dict(value),
        dict(chosen),
        last_id,
        expected,
        actor,
        undoes,
    )
    return made


async def get(connection: Connection, workspace_id: WorkspaceId, edit_id: int) -> BulkEdit | None:
    """One of the workspace."""
    row = await connection.fetchrow(f"{_SELECT} AND e.id = $2", workspace_id, edit_id)
    return _edit(row) if row else None


async def page(
    connection: Connection, workspace_id: WorkspaceId, *, things: Things | None, before: int, limit: int
) -> list[BulkEdit]:
    """Those with lower ids than `before`, the newest first."""
    rows = await connection.fetch(
        f"{_SELECT} AND e.id < $2 AND ($3::text IS NULL OR e.things = $3) ORDER BY e.id DESC LIMIT $4",
        workspace_id,
        before,
        things,
        limit,
    )
    return [_edit(row) for row in rows]


async def running(connection: Connection) -> list[int]:
    """Those of all workspaces that have not ended, the oldest first."""
    return [
        row["id"] for row in await connection.fetch("SELECT id FROM bulk_edits WHERE status = 'running' ORDER BY id")
    ]


_WORK = """SELECT id, workspace_id, things, action, value, chosen, actor, undoes, last_id, cursor_device, cursor_id
FROM bulk_edits WHERE id = $1 AND status = 'running'"""


async def work(connection: Connection, edit_id: int, *, at: tuple[int, int] | None = None) -> Work | None:
    """What is left of one that has not ended. With `at`: locked until the transaction ends, and only if it still
    stands there and nobody else is at it.
    """
    row = await connection.fetchrow(f"{_WORK}{'' if at is None else ' FOR UPDATE SKIP LOCKED'}", edit_id)
    if row is None or at not in (None, (row["cursor_device"], row["cursor_id"])):
        return None
    return Work(
        id=row["id"],
        workspace_id=WorkspaceId(row["workspace_id"]),
        things=Things(row["things"]),
        action=EditAction(row["action"]),
        value=row["value"],
        chosen=row["chosen"],
        actor=row["actor"],
        undoes=row["undoes"],
        last_id=row["last_id"],
        place=(row["cursor_device"], row["cursor_id"]),
    )


async def advance(
    connection: Connection, edit_id: int, place: tuple[int, int], *, seen: int = 0, changed: int = 0, skipped: int = 0
) -> None:
    """Note how far it has come, in the transaction that did it."""
    await connection.execute(
        """UPDATE bulk_edits SET cursor_device = $2, cursor_id = $3, seen = seen + $4, changed = changed + $5,
          skipped = skipped + $6 WHERE id = $1""",
        edit_id,
        *place,
        seen,
        changed,
        skipped,
    )


async def finish(connection: Connection, edit_id: int) -> None:
    """It is through."""
    await connection.execute(
        "UPDATE bulk_edits SET status = 'done', finished_at = fleetcast_now() WHERE id = $1 AND status = 'running'",
        edit_id,
    )


async def stop(connection: Connection, workspace_id: WorkspaceId, edit_id: int) -> bool:
    """End one that is under way; what it did stays. False when it has ended."""
    found = await connection.fetchval(
        """UPDATE bulk_edits SET status = 'stopped', finished_at = fleetcast_now()
        WHERE workspace_id = $1 AND id = $2 AND status = 'running' RETURNING 1""",
        workspace_id,
        edit_id,
    )
    return found is not None


async def forget_changes(connection: Connection, keep: timedelta) -> int:
    """Forget some of what was there before changes that ended longer ago than `keep`; returns how much."""
    gone: int = await connection.fetchval(_FORGET, keep, FORGET_CHUNK)
    return gone
