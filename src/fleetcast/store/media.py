"""Pictures and documents, stored once a workspace under the hash of their bytes."""

from fleetcast.domain.identifiers import WorkspaceId
from fleetcast.domain.media import Medium, StoredMedia
from fleetcast.store.connection import Connection

_FACTS = "sha256, mime, filename, size, width, height"


async def put(connection: Connection, workspace_id: WorkspaceId, medium: Medium) -> StoredMedia:
    """Store a medium, or find the same bytes: what is stored keeps the name and type it first came with."""
    held = await find(connection, workspace_id, medium.sha256)
    if held is not None:
        return held  # spares sending megabytes for nothing
    await connection.execute(
        "INSERT INTO media (workspace_id, sha256, mime, filename, size, width, height, data) "
        "VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (workspace_id, sha256) DO NOTHING",
        workspace_id,
        medium.sha256,
        medium.mime,
        medium.filename,
        medium.size,
        medium.width,
        medium.height,
        medium.data,
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


async def get(connection: Connection, workspace_id: WorkspaceId, sha256: str) -> Medium | None:
    """A medium with its bytes; None when this workspace has none of that hash."""
    row = await connection.fetchrow(
        "SELECT data, mime, filename, sha256, width, height FROM media WHERE workspace_id = $1 AND sha256 = $2",
        workspace_id,
        sha256,
    )
    return None if row is None else Medium(**dict(row))
