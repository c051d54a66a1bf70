"""Imports as others see them: which there were, how far they are, and discarding one that nobody will go on with."""

from datetime import timedelta

from fleetcast.domain.identifiers import DeviceId, WorkspaceId
from fleetcast.domain.lead_imports import UNFINISHED, ImportStatus, LeadImport
from fleetcast.errors import Conflict, NotFound
from fleetcast.runtime import Runtime
from fleetcast.services import paging
from fleetcast.store import audit, lead_imports
from fleetcast.store.lead_merge import importing

SHOWN = 50
KEPT_FOR = timedelta(days=7)
"""How long an unfinished import waits for somebody who goes on with it."""
_NONE = "There is no import {} in this workspace."


async def list_imports(runtime: Runtime, workspace_id: WorkspaceId, *, limit: int = SHOWN) -> list[LeadImport]:
    """The latest imports of the workspace, the newest first."""
    async with runtime.db.connection() as connection:
        return await lead_imports.recent(connection, workspace_id, limit=limit)


async def page_of_imports(
    runtime: Runtime,
    workspace_id: WorkspaceId,
    *,
    device_id: DeviceId | None = None,
    status: ImportStatus | None = None,
    after: str | None = None,
    limit: int = SHOWN,
) -> tuple[list[LeadImport], str | None]:
    """Imports, the newest first and without their rejected rows, and where the next page begins.

    Raises InvalidInput for an `after` of another list.
    """
    async with runtime.db.connection() as connection:
        found = await lead_imports.page(
            connection,
            workspace_id,
            device_id=device_id,
            status=status,
            before=paging.position(after, paging.LAST_ID),
            limit=limit + 1,
        )
    return paging.cut(found, limit, lambda each: each.id)


async def get_import(
    runtime: Runtime, workspace_id: WorkspaceId, import_id: int, *, device_id: DeviceId | None = None
) -> LeadImport:
    """One import of the workspace; with `device_id` of that device only. Raises NotFound."""
    async with runtime.db.connection() as connection:
        found = await lead_imports.get(connection, workspace_id, import_id)
    if found is None or device_id not in (None, found.device_id):
        raise NotFound(_NONE.format(import_id))
    return found


async def known_import(runtime: Runtime, workspace_id: WorkspaceId, import_id: int) -> LeadImport:
    """An unfinished import. Raises NotFound when it is not in this workspace, Conflict when it has ended."""
    found = await get_import(runtime, workspace_id, import_id)
    if found.status not in UNFINISHED:
        raise Conflict(f"Import {import_id} has ended ({found.status}); there is nothing left of it to go on with.")
    return found


async def discard_import(
    runtime: Runtime, workspace_id: WorkspaceId, import_id: int, *, actor: str = "system"
) -> LeadImport:
    """Give an unfinished import up and remove its rows. Returns it as it was.

    Raises NotFound when it is not in this workspace, Conflict when it has ended or a process is at it.
    """
    found = await known_import(runtime, workspace_id, import_id)
    async with importing(runtime.db) as connection:
        if not await lead_imports.lock(connection, import_id):
            raise Conflict(f"A process is working on import {import_id}; stop that process first.")
        async with connection.transaction():
            if not await lead_imports.change_status(connection, import_id, ImportStatus.ABANDONED):
                raise Conflict(f"Import {import_id} has ended meanwhile.")
            facts = {"file": found.filename, "accepted": found.accepted}
            await audit.record(connection, workspace_id, actor, "leads.import.discard", found.device, before=facts)
    return found


async def fail_import(runtime: Runtime, workspace_id: WorkspaceId, import_id: int, reason: str) -> None:
    """End an unfinished import that cannot go on; one that has ended, or that a process is at, is left alone."""
    found = await get_import(runtime, workspace_id, import_id)
    async with importing(runtime.db) as connection:
        if await lead_imports.lock(connection, found.id):
            async with connection.transaction():
                await lead_imports.change_status(connection, found.id, ImportStatus.FAILED, {"error": reason})


async def abandon_left_behind(runtime: Runtime) -> None:
    """Give up unfinished imports that nobody went on with for `KEPT_FOR`."""
    async with runtime.db.connection() as connection:
        old = await lead_imports.left_behind(connection, KEPT_FOR)
    for import_id in old:
        async with importing(runtime.db) as connection:
            if await lead_imports.lock(connection, import_id):
                async with connection.transaction():
                    await lead_imports.change_status(connection, import_id, ImportStatus.ABANDONED)
