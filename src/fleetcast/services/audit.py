"""The audit log, read: who decided what, when, and what it looked like before and after."""

from datetime import datetime

from fleetcast.domain.identifiers import WorkspaceId
from fleetcast.runtime import Runtime
from fleetcast.services import paging
from fleetcast.store import audit
from fleetcast.store.audit import Entry

__all__ = ["Entry", "list_entries"]


async def list_entries(
    runtime: Runtime,
    workspace_id: WorkspaceId,
    *,
    actor: str | None = None,
    action: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    after: str | None = None,
    limit: int = 100,
) -> tuple[list[Entry], str | None]:
    """Entries of a workspace, newest first, and where the next page begins.

    `action` is a whole one or how it begins (`device.`); `since` belongs to the time that is asked for, `until` does
    not.
    """
    before = paging.position(after, paging.LAST_ID)
    async with runtime.db.connection() as connection:
        found = await audit.page(
            connection, workspace_id, before, limit + 1, actor=actor, action=action, since=since, until=until
        )
    return paging.cut(found, limit, lambda e: e.id)
