"""Contents: what a message says. Rows are immutable, so a retry renders to the same bytes; an edit is a new row."""

from collections.abc import Sequence
from dataclasses import dataclass

from fleetcast.domain.identifiers import ContentId, WorkspaceId
from fleetcast.store.connection import Connection


@dataclass(frozen=True, slots=True)
class Content:
    """A text, a medium, or both."""

    id: ContentId
    body: str
    """Liquid."""
    required_variables: tuple[str, ...]
    """Printed without a default: a lead that lacks one is skipped."""
    media_sha256: str | None


async def insert(
    connection: Connection,
    workspace_id: WorkspaceId,
    body: str,
    required_variables: Sequence[str],
    media_sha256: str | None,
) -> ContentId:
    """A new content; `media_sha256` names a row of `media` in the same workspace."""
    content_id: int = await connection.fetchval(
        "INSERT INTO contents (workspace_id, body, required_variables, media_sha256) VALUES ($1, $2, $3, $4) "
        "RETURNING id",
        workspace_id,
        body,
        required_variables,
        media_sha256,
    )
    return ContentId(content_id)


async def get(connection: Connection, workspace_id: WorkspaceId, content_id: ContentId) -> Content | None:
    """The content, or None when this workspace has none with that id."""
    row = await connection.fetchrow(
        "SELECT id, body, required_variables, media_sha256 FROM contents WHERE workspace_id = $1 AND id = $2",
        workspace_id,
        content_id,
    )
    if row is None:
        return None
    return Content(ContentId(row["id"]), row["body"], tuple(row["required_variables"]), row["media_sha256"])


async def delete(connection: Connection, workspace_id: WorkspaceId, content_id: ContentId) -> None:
    """Take back a content that no message and no campaign has come to use."""
    await connection.execute("DELETE FROM contents WHERE workspace_id = $1 AND id = $2", workspace_id, content_id)
