"""What the page of monitoring asks every two seconds: the shards with their owners and devices, and the server itself.

Separate from `gauges`, whose figures Prometheus keeps and which know no shard, and from `shards`, whose statements
lock. For who runs the installation: nothing here is of one workspace.
"""

from dataclasses import dataclass
from datetime import datetime

from fleetcast.store.connection import Connection

SHARDS = """
WITH clock AS MATERIALIZED (SELECT fleetcast_now() AS now)
SELECT s.id, CASE WHEN s.expires_at > clock.now THEN s.owner END AS owner, s.epoch,
  CASE WHEN s.expires_at > clock.now THEN extract(epoch FROM s.expires_at - clock.now)::float8 ELSE 0 END AS left_for,
  n.name AS home, coalesce(d.devices, 0) AS devices, coalesce(d.ready, 0) AS ready
FROM clock, shards s
LEFT JOIN nodes n ON n.id = s.home_node
LEFT JOIN (
  SELECT shard_id, count(*) AS devices, count(*) FILTER (WHERE is_ready) AS ready
  FROM devices WHERE deleted_at IS NULL GROUP BY shard_id) d ON d.shard_id = s.id
ORDER BY s.id"""

SERVER = """
SELECT current_setting('server_version') AS version, fleetcast_now() AS now,
  (SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()) AS connections,
  current_setting('max_connections')::int AS most_connections, pg_database_size(current_database()) AS bytes,
  (SELECT coalesce(max(extract(epoch FROM fleetcast_now() - n.clock_offset - xact_start)), 0)::float8
   FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()) AS oldest_transaction
FROM installation n"""

NODES = "SELECT id, name FROM nodes"


@dataclass(frozen=True, slots=True)
class Shard:
    """One shard as it is owned now."""

    id: int
    owner: str | None
    """The sender whose lease holds; None: its devices send nothing."""
    epoch: int
    """How often it has changed hands."""
    seconds_left: float
    """Until the lease ends, if it is not renewed."""
    home: str | None
    """The machine whose senders alone may own it."""
    devices: int
    ready: int


@dataclass(frozen=True, slots=True)
class Server:
    """PostgreSQL itself."""

    version: str
    now: datetime
    connections: int
    """To this database, as far as its user may see them."""
    most_connections: int
    bytes: int
    oldest_transaction: float
    """Seconds; one that is old keeps what was deleted from being cleaned up."""


async def shards(connection: Connection) -> list[Shard]:
    """All shards, in order."""
    return [Shard(*row) for row in await connection.fetch(SHARDS)]


async def server(connection: Connection) -> Server:
    """How the server does."""
    row = await connection.fetchrow(SERVER)
    assert row is not None
    return Server(*row)


async def nodes(connection: Connection) -> dict[str, str]:
    """The machines that ever took part: id → name."""
    return {row["id"]: row["name"] for row in await connection.fetch(NODES)}
