"""Keys of the API: for one workspace, with scopes, of which only a hash is stored."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from fleetcast.domain.access import KeyId, Scope
from fleetcast.domain.identifiers import DeviceId, WorkspaceId
from fleetcast.store.connection import Connection, Row


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as people see it after it was made."""

    id: KeyId
    workspace_id: WorkspaceId
    name: str
    scopes: frozenset[Scope]
    device_id: DeviceId | None
    ending: str
    created_by: str
    created_at: datetime
    expires_at: datetime | None
    used_at: datetime | None
    revoked_at: datetime | None


_COLUMNS = """id, workspace_id, name, scopes, device_id, ending, created_by, created_at, expires_at, used_at,
  revoked_at"""


def _key(row: Row) -> ApiKey:
    facts = dict(row)
    facts["scopes"] = frozenset(Scope(s) for s in row["scopes"])
    return ApiKey(**facts)


async def insert(
    connection: Connection,
    workspace_id: WorkspaceId,
    name: str,
    *,
    scopes: Collection[Scope],
    device_id: DeviceId | None,
    ending: str,
    created_by: str,
    token_sha256: bytes,
    expires_at: datetime | None,
) -> ApiKey | None:
    """A new key, or None when a living key has this name, capitals aside."""
    row = await connection.fetchrow(
        f"""INSERT INTO api_keys (workspace_id, name, scopes, device_id, ending, created_by, token_sha256, expires_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
        ON CONFLICT (workspace_id, lower(name)) WHERE revoked_at IS NULL DO NOTHING RETURNING {_COLUMNS}""",
        workspace_id,
        name,
        sorted(scopes),
        device_id,
        ending,
        created_by,
        token_sha256,
        expires_at,
    )
    return _key(row) if row else None


async def of_workspace(connection: Connection, workspace_id: WorkspaceId, before: int, limit: int) -> list[ApiKey]:
    """Keys of a workspace, newest first, those with an id below `before`; revoked and expired ones too."""
    rows = await connection.fetch(
        f"SELECT {_COLUMNS} FROM api_keys WHERE workspace_id = $1 AND id < $2 ORDER BY id DESC LIMIT $3",
        workspace_id,
        before,
        limit,
    )
    return [_key(r) for r in rows]


async def revoke(connection: Connection, workspace_id: WorkspaceId, key_id: KeyId) -> ApiKey | None:
    """End a key at once. None when there is no living key with that id."""
    row = await connection.fetchrow(
        f"""UPDATE api_keys SET revoked_at = fleetcast_now()
        WHERE workspace_id = $1 AND id = $2 AND revoked_at IS NULL RETURNING {_COLUMNS}""",
        workspace_id,
        key_id,
    )
    return _key(row) if row else None


async def revoke_made_by(connection: Connection, workspace_id: WorkspaceId, created_by: str) -> list[ApiKey]:
    """End all living keys that somebody made."""
    rows = await connection.fetch(
        f"""UPDATE api_keys SET revoked_at = fleetcast_now()
        WHERE workspace_id = $1 AND created_by = $2 AND revoked_at IS NULL RETURNING {_COLUMNS}""",
        workspace_id,
        created_by,
    )
    return [_key(r) for r in rows]


async def by_id(connection: Connection, workspace_id: WorkspaceId, key_id: KeyId) -> ApiKey | None:
    """A key, living or not."""
    row = await connection.fetchrow(
        f"SELECT {_COLUMNS} FROM api_keys WHERE workspace_id = $1 AND id = $2", workspace_id, key_id
    )
    return _key(row) if row else None


async def by_token(connection: Connection, token_sha256: bytes) -> ApiKey | None:
    """The living key of a token; a key for a device that was removed is none."""
    row = await connection.fetchrow(
        f"""SELECT {_COLUMNS} FROM api_keys k
        WHERE token_sha256 = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > fleetcast_now())
          AND (device_id IS NULL OR EXISTS (
            SELECT 1 FROM devices d WHERE d.id = k.device_id AND d.deleted_at IS NULL))""",
        token_sha256,
    )
    return _key(row) if row else None


async def touch(connection: Connection, key_id: KeyId) -> None:
    """Note that it was used, at most once a minute."""
    await connection.execute(
        """UPDATE api_keys SET used_at = fleetcast_now()
        WHERE id = $1 AND (used_at IS NULL OR used_at < fleetcast_now() - interval '1 minute')""",
        key_id,
    )
