"""Sessions of linked devices: on which node each is, and the copy that a clean stop left. One node has a session, never
two: whoever wants it locks its row.

Separate from `devices`, whose rows change with every state: a session changes hands a few times in its life.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from fleetcast.domain.identifiers import DeviceId, WorkspaceId
from fleetcast.store.connection import Connection

LOCKED = """
SELECT s.node, n.name, s.handed_over, s.copy FROM linked_sessions s JOIN nodes n ON n.id = s.node
WHERE s.device_id = $1 FOR UPDATE OF s"""
HERE = """
INSERT INTO linked_sessions (device_id, node) VALUES ($1, $2)
ON CONFLICT (device_id) DO UPDATE SET node = excluded.node, handed_over = false,
  since = CASE WHEN linked_sessions.node = excluded.node THEN linked_sessions.since ELSE fleetcast_now() END,
  copy = CASE WHEN $3 THEN linked_sessions.copy END"""
KEEP = """
UPDATE linked_sessions SET copy = $3, copied_at = fleetcast_now(), handed_over = true
WHERE device_id = $1 AND node = $2 RETURNING device_id"""
FORGET = "DELETE FROM linked_sessions WHERE device_id = $1"
# The shard of a linked device belongs to the node that has the session: only its senders lease it.
HOME = """
UPDATE shards SET home_node = $2
WHERE id = (SELECT shard_id FROM devices WHERE id = $1) AND home_node IS NULL"""

NODES = """
SELECT n.id, n.name, n.seen_at, count(s.device_id) AS sessions,
  count(s.device_id) FILTER (WHERE s.handed_over) AS handed_over,
  (SELECT count(*) FROM shards WHERE home_node = n.id) AS shards,
  EXISTS (SELECT FROM processes p WHERE p.node = n.id AND p.kind = 'sender'
    AND p.leasing_at > fleetcast_now() - $1::interval) AS is_there
FROM nodes n LEFT JOIN linked_sessions s ON s.node = n.id GROUP BY n.id ORDER BY n.name, n.id"""
STRANDED = """
SELECT d.id, d.workspace_id, d.name, n.name AS node FROM linked_sessions s
JOIN devices d ON d.id = s.device_id AND d.deleted_at IS NULL JOIN nodes n ON n.id = s.node
WHERE s.node = $1 ORDER BY d.name, d.id LIMIT $2"""
MOVE = "UPDATE shards SET home_node = $2 WHERE home_node = $1 RETURNING id"
LOSE = "DELETE FROM linked_sessions WHERE node = $1 AND NOT handed_over RETURNING device_id"
LOST = """
UPDATE devices SET state = 'logged_out', state_reason = $2, state_since = fleetcast_now(), restricted_until = NULL
WHERE id = ANY ($1::bigint[]) AND deleted_at IS NULL AND state NOT IN ('unpaired', 'pairing', 'logged_out', 'banned')
RETURNING id"""

NOBODY_HOLDS = """
UPDATE devices SET state = 'offline', state_reason = $2, state_since = fleetcast_now()
WHERE shard_id = $1 AND transport = 'linked' AND state IN ('online', 'connecting') AND deleted_at IS NULL"""

PROXY = "SELECT address FROM device_proxies WHERE device_id = $1"
SHOWN_PROXY = "SELECT shown FROM device_proxies WHERE device_id = $1"
SET_PROXY = """
INSERT INTO device_proxies (device_id, shown, address) VALUES ($1, $2, $3)
ON CONFLICT (device_id) DO UPDATE
SET shown = excluded.shown, address = excluded.address, changed_at = fleetcast_now()"""
NO_PROXY = "DELETE FROM device_proxies WHERE device_id = $1"
LOOK_AGAIN = "UPDATE devices SET ordered_at = fleetcast_now() WHERE id = $1"


@dataclass(frozen=True, slots=True)
class SessionRow:
    """Where a session is; its row is locked."""

    node: str
    node_name: str
    handed_over: bool
    """Closed there, and the copy is what it looks like."""
    copy: bytes | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class Node:
    """A machine with its own data directory, and the sessions in it."""

    id: str
    name: str
    seen_at: datetime
    """When a process of it last started."""
    sessions: int
    handed_over: int
    """Of them, those that another node may take."""
    shards: int
    """That only its senders lease."""
    is_there: bool
    """A sender of it is at work."""


@dataclass(frozen=True, slots=True)
class Stranded:
    """A device whose session is on a node."""

    device: DeviceId
    workspace: WorkspaceId
    name: str
    node: str


async def locked(connection: Connection, device: DeviceId) -> SessionRow | None:
    """Where the device's session is, locked until the transaction ends."""
    row = await connection.fetchrow(LOCKED, device)
    return None if row is None else SessionRow(*row)


async def here(connection: Connection, device: DeviceId, node: str, *, keep_copy: bool = False) -> None:
    """The session is on this node from now on, open; a copy is kept only until its file is written."""
    await connection.execute(HERE, device, node, keep_copy)
    await connection.execute(HOME, device, node)


async def keep(connection: Connection, device: DeviceId, node: str, copy: bytes) -> bool:
    """The session is closed on this node and looks like this. False when it is not this node's."""
    return await connection.fetchval(KEEP, device, node, copy) is not None


async def forget(connection: Connection, device: DeviceId) -> None:
    """There is no session any more."""
    await connection.execute(FORGET, device)


async def nodes(connection: Connection, present_within: float) -> list[Node]:
    """All machines that ever took part. One is there whose sender took part in leasing within so many seconds."""
    return [Node(*row) for row in await connection.fetch(NODES, timedelta(seconds=present_within))]


async def stranded(connection: Connection, node: str, limit: int) -> list[Stranded]:
    """Devices whose session is on this node, by name."""
    return [Stranded(*row) for row in await connection.fetch(STRANDED, node, limit)]


async def move(connection: Connection, node: str, to: str | None) -> int:
    """Give a node's shards another home, or none; how many."""
    return len(await connection.fetch(MOVE, node, to))


async def lose(connection: Connection, node: str, reason: str) -> Sequence[DeviceId]:
    """What this node had not handed over is lost: the devices have to be linked anew. Returns them."""
    lost = [row["device_id"] for row in await connection.fetch(LOSE, node)]
    await connection.fetch(LOST, lost, reason)
    return [DeviceId(device) for device in lost]


async def nobody_holds(connection: Connection, shard: int, reason: str) -> None:
    """No sender has this shard: the connections of its linked devices are gone."""
    await connection.execute(NOBODY_HOLDS, shard, reason)


async def proxy(connection: Connection, device: DeviceId) -> bytes | None:
    """The sealed address through which a device connects."""
    found: bytes | None = await connection.fetchval(PROXY, device)
    return found


async def shown_proxy(connection: Connection, device: DeviceId) -> str | None:
    """The same as people may see it."""
    found: str | None = await connection.fetchval(SHOWN_PROXY, device)
    return found


async def set_proxy(connection: Connection, device: DeviceId, shown: str, sealed: bytes) -> None:
    """Have a device connect through this."""
    await connection.execute(SET_PROXY, device, shown, sealed)
    await connection.execute(LOOK_AGAIN, device)


async def no_proxy(connection: Connection, device: DeviceId) -> None:
    """Have a device connect by itself."""
    await connection.execute(NO_PROXY, device)
    await connection.execute(LOOK_AGAIN, device)
