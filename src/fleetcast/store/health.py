"""What the installation as a whole looks like from the database: version, time, shards, devices, what waits."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from fleetcast.store.connection import Connection


@dataclass(frozen=True, slots=True)
class Health:
    """One look at the whole."""

    postgres_version: str
    schema: str
    """Revision of the last migration; '' before the first."""
    database_bytes: int
    now: datetime
    """The database's own time, without the offset."""
    clock_offset: timedelta
    shards: int
    shards_leased: int
    senders: int
    devices: int
    devices_ready: int
    devices_paused: int
    campaigns_running: int
    inbox_waiting: int
    oldest_waiting: datetime | None
    """When the oldest event came in that is not processed yet."""


async def schema_version(connection: Connection) -> str:
    """Revision of the last migration of this database, '' if there was none."""
    if await connection.fetchval("SELECT to_regclass('alembic_version')") is None:
        return ""
    return str(await connection.fetchval("SELECT version_num FROM alembic_version") or "")


async def look(connection: Connection) -> Health:
    """Ask once for everything; cheap on a large database."""
    row = await connection.fetchrow(
        """
        SELECT current_setting('server_version') AS postgres_version,
          pg_database_size(current_database()) AS database_bytes,
          fleetcast_now() - n.clock_offset AS now, n.clock_offset,
          s.shards, s.shards_leased, s.senders, d.devices, d.devices_ready, d.devices_paused,
          (SELECT count(*) FROM campaigns WHERE status = 'running') AS campaigns_running,
          i.inbox_waiting, i.oldest_waiting
        FROM installation n,
          (SELECT count(*) AS shards, count(*) FILTER (WHERE leased) AS shards_leased,
             count(DISTINCT owner) FILTER (WHERE leased) AS senders
           FROM (SELECT owner, owner IS NOT NULL AND expires_at > fleetcast_now() AS leased FROM shards) x) s,
          (SELECT count(*) AS devices, count(*) FILTER (WHERE is_ready) AS devices_ready,
             count(*) FILTER (WHERE paused_at IS NOT NULL) AS devices_paused
           FROM devices WHERE deleted_at IS NULL) d,
          (SELECT count(*) AS inbox_waiting, min(received_at) AS oldest_waiting
           FROM inbox WHERE processed_at IS NULL) i"""
    )
    assert row is not None
    return Health(schema=await schema_version(connection), **dict(row))


async def key_check(connection: Connection, mine: bytes) -> bytes:
    """By what the key of sealed secrets is recognised; `mine` becomes it when no key was used yet."""
    known: bytes | None = await connection.fetchval("SELECT key_check FROM installation")
    if known is None:
        known = await connection.fetchval(
            "UPDATE installation SET key_check = coalesce(key_check, $1) RETURNING key_check", mine
        )
    assert known is not None
    return known


async def replace_key_check(connection: Connection, mine: bytes) -> None:
    """Another key takes the place of the one that was used."""
    await connection.execute("UPDATE installation SET key_check = $1", mine)
