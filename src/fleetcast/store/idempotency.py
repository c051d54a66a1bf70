"""Answers to requests that carry an Idempotency-Key, kept so that the same request again gets the same answer."""

from dataclasses import dataclass

from fleetcast.domain.identifiers import WorkspaceId
from fleetcast.store.connection import Connection


@dataclass(frozen=True, slots=True)
class Kept:
    """A request that used this key before."""

    fingerprint: bytes
    status: int | None
    """None: it has no answer yet."""
    media_type: str | None
    body: bytes | None
    """Sealed, where the answer is a secret."""


async def begin(
    connection: Connection,
    workspace_id: WorkspaceId,
    actor: str,
    key: str,
    fingerprint: bytes,
    abandoned: float,
    *,
    sealed: bool,
) -> bool:
    """Take a key. False when it was used before; one without an answer for `abandoned` seconds can be taken again."""
    taken: int | None = await connection.fetchval(
        """INSERT INTO idempotency_keys AS k (workspace_id, actor, key, fingerprint, sealed)
        VALUES ($1, $2, $3, $4, $6)
        ON CONFLICT (workspace_id, actor, key) DO UPDATE SET started_at = fleetcast_now()
        WHERE k.finished_at IS NULL AND k.fingerprint = excluded.fingerprint
          AND k.started_at < fleetcast_now() - make_interval(secs => $5::float)
        RETURNING 1""",
        workspace_id,
        actor,
        key,
        fingerprint,
        abandoned,
        sealed,
    )
    return taken is not None


async def find(connection: Connection, workspace_id: WorkspaceId, actor: str, key: str) -> Kept | None:
    """What is kept under a key."""
    row = await connection.fetchrow(
        """SELECT fingerprint, status, media_type, body FROM idempotency_keys
        WHERE workspace_id = $1 AND actor = $2 AND key = $3""",
        workspace_id,
        actor,
        key,
    )
    return Kept(**dict(row)) if row else None


async def finish(
    connection: Connection,
    workspace_id: WorkspaceId,
    actor: str,
    key: str,
    status: int,
    media_type: str | None,
    body: bytes,
) -> None:
    """Keep the answer."""
    await connection.execute(
        """UPDATE idempotency_keys SET finished_at = fleetcast_now(), status = $4, media_type = $5, body = $6
        WHERE workspace_id = $1 AND actor = $2 AND key = $3""",
        workspace_id,
        actor,
        key,
        status,
        media_type,
        body,
    )


async def release(connection: Connection, workspace_id: WorkspaceId, actor: str, key: str) -> None:
    """Nothing was done: the key is free again."""
    await connection.execute(
        """DELETE FROM idempotency_keys
        WHERE workspace_id = $1 AND actor = $2 AND key = $3 AND finished_at IS NULL""",
        workspace_id,
        actor,
        key,
    )


async def sweep(connection: Connection, hours: int) -> None:
    """Forget keys that are older."""
    await connection.execute(
        "DELETE FROM idempotency_keys WHERE started_at < fleetcast_now() - make_interval(hours => $1)", hours
    )


async def forget_sealed(connection: Connection) -> None:
    """Forget what was sealed with a key that is lost."""
    await connection.execute("DELETE FROM idempotency_keys WHERE sealed")
