"""Keys of the API: made, listed, revoked. A key is shown once; what is stored opens nothing."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from fleetcast.domain.access import KeyId, Scope
from fleetcast.domain.identifiers import DeviceId, WorkspaceId
from fleetcast.errors import InvalidInput, NotFound
from fleetcast.runtime import Runtime
from fleetcast.services import paging
from fleetcast.services.accounts.account_log import as_actor
from fleetcast.services.accounts.tokens import KEY, new_token, token_hash
from fleetcast.services.naming import checked_name
from fleetcast.store import api_keys, audit, devices, overview
from fleetcast.store.api_keys import ApiKey
from fleetcast.store.connection import Connection

__all__ = ["ApiKey", "NewKey", "create_key", "get_key", "list_keys", "revoke_key", "revoke_made_by"]

LONGEST_DAYS = 3_650


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key just made. The token is known here and nowhere else."""

    key: ApiKey
    token: str


async def create_key(
    runtime: Runtime,
    workspace_id: WorkspaceId,
    name: str,
    scopes: Collection[Scope],
    *,
    device_id: DeviceId | None = None,
    days: int | None = None,
    actor: str,
) -> NewKey:
    """Make a key; it ends after so many days, None: never. A key for one device can read and send, not manage.

    Raises InvalidInput for a name that is taken, no scopes, a device that is not of this workspace.
    """
    clean = checked_name(name)
    if not scopes:
        raise InvalidInput("scopes", f"name at least one of {', '.join(Scope)}")
    if device_id is not None and Scope.MANAGE in scopes:
        raise InvalidInput("scopes", "a key for one device cannot manage; leave out manage, or the device")
    if days is not None and not 1 <= days <= LONGEST_DAYS:
        raise InvalidInput("days", f"between 1 and {LONGEST_DAYS:,}, not {days}")
    token = new_token(KEY)
    async with runtime.db.transaction() as connection:
        if device_id is not None and await devices.locked(connection, workspace_id, device_id) is None:
            raise InvalidInput("device_id", f"there is no device {device_id} in this workspace")
        ends: datetime | None = None if days is None else await overview.now(connection) + timedelta(days=days)
        made = await api_keys.insert(
            connection,
            workspace_id,
            clean,
            scopes=scopes,
            device_id=device_id,
            ending=token[-4:],
            created_by=actor,
            token_sha256=token_hash(token),
            expires_at=ends,
        )
        if made is None:
            raise InvalidInput("name", f"a key called '{clean}' already exists; choose another name, or revoke it")
        after = {"id": made.id, "scopes": sorted(scopes), "device_id": device_id, "days": days}
        await audit.record(connection, workspace_id, actor, "key.create", clean, after=after)
    return NewKey(made, token)


async def list_keys(
    runtime: Runtime, workspace_id: WorkspaceId, *, after: str | None = None, limit: int = 1_000
) -> tuple[list[ApiKey], str | None]:
    """Keys of a workspace, newest first, revoked and expired ones too; and where the next page begins."""
    before = paging.position(after, paging.LAST_ID)
    async with runtime.db.connection() as connection:
        found = await api_keys.of_workspace(connection, workspace_id, before, limit + 1)
    return paging.cut(found, limit, lambda k: k.id)


async def get_key(runtime: Runtime, workspace_id: WorkspaceId, key_id: KeyId) -> ApiKey:
    """One key, living or not. Raises NotFound."""
    async with runtime.db.connection() as connection:
        found = await api_keys.by_id(connection, workspace_id, key_id)
    if found is None:
        raise NotFound(f"There is no key {key_id} in this workspace.")
    return found


async def revoke_key(runtime: Runtime, workspace_id: WorkspaceId, key_id: KeyId, *, actor: str) -> ApiKey:
    """End a key at once. Raises NotFound when there is no living key with that id."""
    async with runtime.db.transaction() as connection:
        gone = await api_keys.revoke(connection, workspace_id, key_id)
        if gone is None:
            raise NotFound(f"There is no key {key_id} in this workspace that could be revoked.")
        await audit.record(connection, workspace_id, actor, "key.revoke", gone.name, before={"id": key_id})
    return gone


async def revoke_made_by(connection: Connection, workspace_id: WorkspaceId, email: str, *, actor: str) -> None:
    """End every key that a person made in a workspace, in the caller's transaction."""
    for gone in await api_keys.revoke_made_by(connection, workspace_id, as_actor(email)):
        await audit.record(connection, workspace_id, actor, "key.revoke", gone.name, before={"id": gone.id})
