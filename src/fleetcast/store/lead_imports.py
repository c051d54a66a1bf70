"""Imports of leads: their rows, their staging tables, and who is at one.

Whoever works on an import holds an advisory lock on its id for the length of a connection. It goes away with the
connection, however the process ends, so that an import whose lock is free can be gone on with.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import asyncpg

from fleetcast.domain.identifiers import DeviceId, WorkspaceId
from fleetcast.domain.lead_imports import IMPORT_TRANSITIONS, ImportStatus, LeadImport
from fleetcast.errors import Problem
from fleetcast.store.connection import Connection, Row

_LOCK = 7_215_304  # with the import's id; any number that is ours alone in this database
_LOCK_SECONDS = 3

_SELECT = f"""
SELECT i.id, i.device_id, d.name AS device, i.filename, i.status::text, i.size, i.bytes_read, i.position, i.accepted,
  i.rejected, i.started_at, i.updated_at, i.finished_at, i.actor, i.sha256, i.options, i.attribute_keys, i.problems,
  i.report, EXISTS (
    SELECT FROM pg_locks k JOIN pg_database b ON b.oid = k.database
    WHERE b.datname = current_database() AND k.locktype = 'advisory' AND k.classid = {_LOCK}
      AND k.objid = i.id::int AND k.granted) AS running
FROM lead_imports i JOIN devices d ON d.workspace_id = i.workspace_id AND d.id = i.device_id
WHERE i.workspace_id = $1"""

_SELECT_BRIEFLY = _SELECT.replace("i.problems", "'[]'::jsonb AS problems")


def staging_table(import_id: int) -> str:
    """The name of an import's staging table."""
    return f"lead_staging_{import_id:d}"


def _import(row: Row) -> LeadImport:
    return LeadImport(
        id=row["id"],
        device_id=DeviceId(row["device_id"]),
        device=row["device"],
        filename=row["filename"],
        status=ImportStatus(row["status"]),
        running=row["running"],
        size=row["size"],
        bytes_read=row["bytes_read"],
        position=row["position"],
        accepted=row["accepted"],
        rejected=row["rejected"],
        started_at=row["started_at"],
        updated_at=row["updated_at"],
        finished_at=row["finished_at"],
        actor=row["actor"],
        sha256=row["sha256"],
        options=row["options"],
        attribute_keys=tuple(row["attribute_keys"]),
        problems=tuple(Problem(**problem) for problem in row["problems"]),
        report=row["report"],
    )


async def start(
    connection: Connection,
    workspace_id: WorkspaceId,
    device_id: DeviceId,
    *,
    filename: str,
    size: int,
    sha256: str,
    options: Mapping[str, Any],
    actor: str,
) -> int:
    """Note a new import and make its staging table, in the caller's transaction. Returns its id."""
    made: int = await connection.fetchval(
        """INSERT INTO lead_imports (workspace_id, device_id, filename, size, sha256, options, actor)
        VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING id""",
        workspace_id,
        device_id,
        filename,
        size,
        sha256,
        options,
        actor,
    )
    # The import analyses it when it is full; cleaning would only be in its way.
    await connection.execute(
        f"CREATE TABLE {staging_table(made)} () INHERITS (lead_staging) WITH (autovacuum_enabled = false)"
    )
    return made


async def lock(connection: Connection, import_id: int) -> bool:
    """Whether this connection now is the one that works on the import; holds until it is closed.

    Waits a moment: the server takes as long to notice that a killed process is gone.
    """
    try:
        async with connection.transaction():
            await connection.execute(f"SET LOCAL lock_timeout = '{_LOCK_SECONDS}s'")
            await connection.execute("SELECT pg_advisory_lock($1, $2::int)", _LOCK, import_id)
    except asyncpg.LockNotAvailableError:
        return False
    return True


async def get(connection: Connection, workspace_id: WorkspaceId, import_id: int) -> LeadImport | None:
    """One import of the workspace."""
    row = await connection.fetchrow(f"{_SELECT} AND i.id = $2", workspace_id, import_id)
    return _import(row) if row else None


async def recent(connection: Connection, workspace_id: WorkspaceId, *, limit: int) -> list[LeadImport]:
    """The latest imports of the workspace, the newest first."""
    rows = await connection.fetch(f"{_SELECT} ORDER BY i.id DESC LIMIT $2", workspace_id, limit)
    return [_import(row) for row in rows]


async def page(
    connection: Connection,
    workspace_id: WorkspaceId,
    *,
    device_id: DeviceId | None,
    status: ImportStatus | None,
    before: int,
    limit: int,
) -> list[LeadImport]:
    """Imports with lower ids than `before`, the newest first, without their rejected rows."""
    rows = await connection.fetch(
        f"""{_SELECT_BRIEFLY} AND i.id < $2 AND ($3::bigint IS NULL OR i.device_id = $3)
          AND ($4::text IS NULL OR i.status::text = $4)
        ORDER BY i.id DESC LIMIT $5""",
        workspace_id,
        before,
        device_id,
        status,
        limit,
    )
    return [_import(row) for row in rows]


async def unfinished(
    connection: Connection,
    workspace_id: WorkspaceId,
    device_id: DeviceId,
    sha256: str,
    options: Mapping[str, Any],
) -> LeadImport | None:
    """The latest unfinished import of the same file into the device, read in the same way."""
    row = await connection.fetchrow(
        f"""{_SELECT} AND i.device_id = $2 AND i.sha256 = $3 AND i.options = $4 AND i.status IN ('staging', 'merging')
        ORDER BY i.id DESC LIMIT 1""",
        workspace_id,
        device_id,
        sha256,
        options,
    )
    return _import(row) if row else None


async def left_behind(connection: Connection, age: timedelta) -> list[int]:
    """Ids of unfinished imports, of any workspace, that nobody went on with for so long."""
    rows = await connection.fetch(
        """SELECT id FROM lead_imports
        WHERE status IN ('staging', 'merging') AND updated_at < fleetcast_now() - $1::interval""",
        age,
    )
    return [row["id"] for row in rows]


async def advance(
    connection: Connection,
    import_id: int,
    *,
    position: int,
    bytes_read: int,
    accepted: int,
    rejected: int,
    attribute_keys: Sequence[str],
    problems: Sequence[Problem],
) -> None:
    """Note how far the file is read, in the transaction that stages these rows. `problems` are the new ones.

    The commit does not wait for the disk: what a crash takes from staging, it takes together with this note.
    """
    await connection.execute("SET LOCAL synchronous_commit = off")
    await connection.execute(
        """UPDATE lead_imports SET position = $2, bytes_read = $3, accepted = $4, rejected = $5, attribute_keys = $6,
          problems = problems || $7::jsonb, updated_at = fleetcast_now()
        WHERE id = $1""",
        import_id,
        position,
        bytes_read,
        accepted,
        rejected,
        attribute_keys,
        [{"line": p.line, "column": p.column, "reason": p.reason} for p in problems],
    )


async def change_status(
    connection: Connection, import_id: int, status: ImportStatus, report: Mapping[str, Any] | None = None
) -> bool:
    """Move an import on; at its end its staging table goes, in the same transaction. False when it may not."""
    before = [origin.value for origin, following in IMPORT_TRANSITIONS.items() if status in following]
    ended = not IMPORT_TRANSITIONS[status]
    found: int | None = await connection.fetchval(
        """UPDATE lead_imports SET status = $2::text::lead_import_status, report = $4, updated_at = fleetcast_now(),
          finished_at = CASE WHEN $5 THEN fleetcast_now() END
        WHERE id = $1 AND status::text = ANY ($3::text[]) RETURNING 1""",
        import_id,
        status.value,
        before,
        report,
        ended,
    )
    if found and ended:
        await connection.execute(f"DROP TABLE IF EXISTS {staging_table(import_id)}")
    return found is not None
