"""Answers to requests that carry an Idempotency-Key, kept so that the same request again gets the same answer."""

from dataclasses import dataclass
from datetime import datetime

from fleetcast.domain.identifiers import WorkspaceId
from fleetcast.store.connection import Connection

SWEPT = 1_000
"""Old keys that one request clears away at most."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A request that used this key before."""

    fingerprint: bytes
    status: int | None
    """None: it has no answer yet."""
    media_type: str | None
    location: str | None
    body: bytes | None


async def begin(
    connection: Connection, workspace_id: WorkspaceId, actor: str, key: str, fingerprint: bytes, abandoned: float
) -> datetime | None:
    """Take a key; the answer is since when, which later calls must name. None when it was used before.

    One without an answer for `abandoned` seconds can be taken again by the same request; whoever had it before then
    changes nothing any more.
    """
    since: datetime | None = await connection.fetchval(
        """INSERT INTO idempotency_keys AS k (workspace_id, actor, key, fingerprint) VALUES ($1, $2, $3, $4)
        ON CONFLICT (workspace_id, actor, key) DO UPDATE SET started_at = fleetcast_now()
        WHERE k.finished_at IS NULL AND k.fingerprint = excluded.fingerprint
          AND k.started_at < fleetcast_now() - make_interval(secs => $5::float)
        RETURNING started_at""",
        workspace_id,
        actor,
        key,
        fingerprint,
        abandoned,
    )
    return since


async def find(connection: Connection, workspace_id: WorkspaceId, actor: str, key: str) -> Kept | None:
    """What is kept under a key."""
    row = await connection.fetchrow(
        """SELECT fingerprint, status, media_type, location, body FROM idempotency_keys
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
    since: datetime,
    *,
    status: int,
    media_type: str | None,
    location: str | None,
    body: bytes,
    content: bytes,
) -> None:
    """Keep the answer. `content` goes behind the fingerprint: what could be known of the request only at its end."""
    await connection.execute(
        """UPDATE idempotency_keys SET finished_at = fleetcast_now(), status = $5, media_type = $6, location = $7,
          body = $8, fingerprint = fingerprint || $9::bytea
        WHERE workspace_id = $1 AND actor = $2 AND key = $3 AND started_at = $4 AND finished_at IS NULL""",
        workspace_id,
        actor,
        key,
        since,
        status,
        media_type,
        location,
        body,
        content,
    )


async def release(connection: Connection, workspace_id: WorkspaceId, actor: str, key: str, since: datetime) -> None:
    """Nothing was done: the key is free again."""
    await connection.execute(
        """DELETE FROM idempotency_keys
        WHERE workspace_id = $1 AND actor = $2 AND key = $3 AND started_at = $4 AND finished_at IS NULL""",
        workspace_id,
        actor,
        key,
        since,
    )


async def sweep(connection: Connection, hours: int) -> None:
    """Forget keys that are older. Those that another request is just forgetting are left to it."""
    await connection.execute(
        """DELETE FROM idempotency_keys k USING (
          SELECT workspace_id, actor, key FROM idempotency_keys
          WHERE started_at < fleetcast_now() - make_interval(hours => $1)
          ORDER BY started_at LIMIT $2 FOR UPDATE SKIP LOCKED) old
        WHERE (k.workspace_id, k.actor, k.key) = (old.workspace_id, old.actor, old.key)""",
        hours,
        SWEPT,
    )


async def forget_all(connection: Connection) -> None:
    """Forget what was sealed with a key that is lost."""
    await connection.execute("DELETE FROM idempotency_keys")
