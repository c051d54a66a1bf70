"""Pictures, videos, audio and documents, stored once a workspace under the hash of their bytes."""

from fleetcast.domain.identifiers import WorkspaceId
from fleetcast.domain.media import Medium, StoredMedia
from fleetcast.store.connection import Connection

_FACTS = "sha256, mime, filename, size, width, height, duration_ms, created_at"
_PLACE = "(extract(epoch FROM created_at) * 1000000)::bigint"
"""Microseconds, which a place in the list is written with."""
LAST_PLACE = 2**53
"""Exact as a floating-point number, and centuries away."""


async def put(connection: Connection, workspace_id: WorkspaceId, medium: Medium) -> StoredMedia:
    """Store a medium, or find the same bytes: what is stored keeps the name and type it first came with."""
    await connection.execute(
        "INSERT INTO media (workspace_id, sha256, mime, filename, size, width, height, data, duration_ms, "
        "thumbnail) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (workspace_id, sha256) DO NOTHING",
        workspace_id,
        medium.sha256,
        medium.mime,
        medium.filename,
        medium.size,
        medium.width,
        medium.height,
        medium.data,
        medium.duration_ms,
        medium.thumbnail,
    )
    stored = await find(connection, workspace_id, medium.sha256)
    assert stored is not None  # either ours or the row that stood in its way, committed by then
    return stored


async def find(connection: Connection, workspace_id: WorkspaceId, sha256: str) -> StoredMedia | None:
    """What is known of a medium, without its bytes; None when this workspace has none of that hash."""
    row = await connection.fetchrow(
        f"SELECT {_FACTS} FROM media WHERE workspace_id = $1 AND sha256 = $2",
        workspace_id,
        sha256,
    )
    return None if row is None else StoredMedia(**dict(row))


async def page(
    connection: Connection, workspace_id: WorkspaceId, before: tuple[int, str] | None, limit: int
) -> list[tuple[StoredMedia, int]]:
    """Media without their bytes, the newest first, each with its place; those behind the place and hash `before`."""
    when, sha256 = before or (LAST_PLACE, "")
    rows = await connection.fetch(
        f"""SELECT {_FACTS}, {_PLACE} AS place FROM media
        WHERE workspace_id = $1
          AND (created_at, sha256) < (timestamptz 'epoch' + $2::float8 * interval '1 microsecond', $3::text)
        ORDER BY created_at DESC, sha256 DESC LIMIT $4""",
        workspace_id,
        when,
        sha256,
        limit,
    )
    found = []
    for row in rows:
        facts = dict(row)
        place: int = facts.pop("place")
        found.append((StoredMedia(**facts), place))
    return found


async def get(connection: Connection, workspace_id: WorkspaceId, sha256: str) -> Medium | None:
    """A medium with its bytes; None when this workspace has none of that hash."""
    row = await connection.fetchrow(
        "SELECT data, mime, filename, sha256, width, height, duration_ms, thumbnail FROM media "
        "WHERE workspace_id = $1 AND sha256 = $2",
        workspace_id,
        sha256,
    )
    return None if row is None else Medium(**dict(row))
