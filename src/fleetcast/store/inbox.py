"""What came in: receipts, replies, and evidence that waits for its message.

A receipt that finds its message is applied and needs no row. One that comes too early, and every result that a guard
refused, waits here until it can be matched or its time is over; replies stay. An event's id is unique per device, so
repeating one changes nothing. Retention deletes what was dealt with long ago.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from fleetcast.store.connection import Connection
from fleetcast.store.transition_statements import CLOCK

# $1 devices, $2 provider ids, $3 kinds (delivered or read), $4 instants. Returns every pair that has a message.
RECEIPTS = """
WITH u AS MATERIALIZED (
  SELECT device_id, provider_id, max(kind)::message_delivery AS delivery, min(at) AS delivered_at,
    min(at) FILTER (WHERE kind = 'read') AS read_at
  FROM unnest($1::bigint[], $2::text[], $3::text[], $4::timestamptz[]) AS r (device_id, provider_id, kind, at)
  GROUP BY 1, 2),
pick AS (
  SELECT b.id, b.delivery AS before, u.device_id, u.provider_id, u.delivery, u.delivered_at, u.read_at
  FROM u JOIN broadcast_messages b ON b.device_id = u.device_id AND b.provider_id = u.provider_id
  ORDER BY b.id FOR UPDATE OF b),
moved AS (
  UPDATE broadcast_messages b
  SET delivery = pick.delivery, delivered_at = coalesce(b.delivered_at, pick.delivered_at),
    read_at = coalesce(b.read_at, pick.read_at)
  FROM pick WHERE b.id = pick.id AND pick.delivery > pick.before
  RETURNING b.campaign_id, pick.before, b.delivery AS after),
tally AS (
  INSERT INTO campaign_tallies (campaign_id, counter, n)
  SELECT campaign_id, 'delivered', count(*) FROM moved WHERE before = 'none' AND campaign_id IS NOT NULL GROUP BY 1
  UNION ALL
  SELECT campaign_id, 'read', count(*) FROM moved WHERE after = 'read' AND campaign_id IS NOT NULL GROUP BY 1)
SELECT device_id, provider_id FROM pick"""

KEEP = """
INSERT INTO inbox (workspace_id, device_id, occurred_at, processed_at, kind, event_id, provider_id, reference, sender,
  body, effect)
SELECT d.workspace_id, d.id, e.at, CASE WHEN e.effect IS NOT NULL THEN fleetcast_now() END, e.kind, e.event_id,
  e.provider_id, e.reference, e.sender, e.body, e.effect
FROM unnest($1::bigint[], $2::timestamptz[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
    $9::text[]) AS e (device_id, at, kind, event_id, provider_id, reference, sender, body, effect)
JOIN devices d ON d.id = e.device_id
ON CONFLICT (device_id, event_id) DO NOTHING RETURNING device_id, event_id"""

WAITING = """
SELECT id, device_id, occurred_at, received_at, kind, event_id, provider_id, reference, sender, body
FROM inbox WHERE processed_at IS NULL AND id > $1 ORDER BY id LIMIT $2"""

PROCESSED = """
UPDATE inbox i SET processed_at = fleetcast_now(), effect = u.effect
FROM unnest($1::bigint[], $2::text[]) AS u (id, effect) WHERE i.id = u.id"""

OVERDUE = f"""
WITH {CLOCK}
UPDATE inbox SET processed_at = clock.now, effect = 'orphan: no message was found'
FROM clock WHERE processed_at IS NULL AND received_at < clock.now - $1::interval RETURNING id"""

KNOWN = """
SELECT b.id, b.status, b.provider_id, b.device_id FROM unnest($1::bigint[]) AS u (id)
JOIN broadcast_messages b ON b.id = u.id"""

MESSAGES_OF = """
SELECT b.device_id, b.provider_id, b.id FROM unnest($1::bigint[], $2::text[]) AS u (device_id, provider_id)
JOIN broadcast_messages b ON b.device_id = u.device_id AND b.provider_id = u.provider_id"""

# A sender that stood still tells when it woke, not when the answer came: only whoever still has the lease is believed.
FILL_END = """
UPDATE broadcast_messages b SET finished_at = u.at
FROM unnest($1::bigint[], $2::timestamptz[]) AS u (id, at) JOIN broadcast_messages m ON m.id = u.id
  JOIN devices d ON d.id = m.device_id JOIN shards s ON s.id = d.shard_id
WHERE b.id = m.id AND b.status = 'sent' AND b.finished_at IS NULL
  AND s.epoch = b.lease_epoch AND s.expires_at > fleetcast_now()"""

# What a person said arrived has no provider's name yet; whoever speaks of its attempt later may tell it.
FILL_PROVIDER = """
UPDATE broadcast_messages b SET provider_id = u.provider_id FROM unnest($1::bigint[], $2::text[]) AS u (id, provider_id)
WHERE b.id = u.id AND b.status = 'sent' AND b.provider_id IS NULL RETURNING b.id"""

WORKSPACES = "SELECT id, workspace_id FROM devices WHERE id = ANY ($1::bigint[])"


@dataclass(frozen=True, slots=True)
class Kept:
    """An inbound event as a row. `effect` None: it still waits for its message."""

    device: int
    at: datetime
    kind: str
    event_id: str
    provider_id: str | None = None
    reference: str | None = None
    sender: str | None = None
    body: str | None = None
    effect: str | None = None


@dataclass(frozen=True, slots=True)
class Waiting:
    """A row that is not processed yet."""

    id: int
    device: int
    occurred_at: datetime
    received_at: datetime
    kind: str
    event_id: str
    provider_id: str | None
    reference: str | None
    sender: str | None
    body: str | None


async def apply_receipts(
    connection: Connection, receipts: Sequence[tuple[int, str, str, datetime]]
) -> set[tuple[int, str]]:
    """Delivery grows by these (device, provider id, 'delivered' or 'read', instant). Returns the pairs that matched."""
    if not receipts:
        return set()
    columns = [list(column) for column in zip(*receipts, strict=True)]
    return {(row[0], row[1]) for row in await connection.fetch(RECEIPTS, *columns)}


async def keep(connection: Connection, events: Sequence[Kept]) -> set[tuple[int, str]]:
    """Store events; returns (device, event id) of those that were new."""
    if not events:
        return set()
    rows = await connection.fetch(
        KEEP,
        [e.device for e in events],
        [e.at for e in events],
        [e.kind for e in events],
        [e.event_id for e in events],
        [e.provider_id for e in events],
        [e.reference for e in events],
        [e.sender for e in events],
        [e.body for e in events],
        [e.effect for e in events],
    )
    return {(row[0], row[1]) for row in rows}


async def waiting(connection: Connection, after: int, limit: int) -> list[Waiting]:
    """Rows that wait for their message, by id, those after `after`."""
    return [Waiting(*row) for row in await connection.fetch(WAITING, after, limit)]


async def processed(connection: Connection, effects: dict[int, str]) -> None:
    """Note what processing rows did."""
    await connection.execute(PROCESSED, list(effects), list(effects.values()))


async def overdue(connection: Connection, age: timedelta) -> int:
    """Stop waiting for what is older than `age`; the rows stay as orphans until retention takes them."""
    return len(await connection.fetch(OVERDUE, age))


async def messages_of(connection: Connection, pairs: Sequence[tuple[int, str]]) -> dict[tuple[int, str], int]:
    """(device, provider id) → the message that carries it; pairs without one are left out."""
    if not pairs:
        return {}
    rows = await connection.fetch(MESSAGES_OF, [p[0] for p in pairs], [p[1] for p in pairs])
    return {(row["device_id"], row["provider_id"]): row["id"] for row in rows}


async def known(connection: Connection, messages: Sequence[int]) -> dict[int, tuple[str, str | None]]:
    """Message → (status, provider id)."""
    return {row["id"]: (row["status"], row["provider_id"]) for row in await connection.fetch(KNOWN, messages)}


async def fill_end(connection: Connection, ends: Sequence[tuple[int, datetime]]) -> None:
    """(message, end of its attempt) from answers that came after other evidence had already confirmed the message.

    Left open, an attempt counts as over at its start: its device rested from the evidence on.
    """
    await connection.execute(FILL_END, [e[0] for e in ends], [e[1] for e in ends])


async def fill_provider(connection: Connection, names: Sequence[tuple[int, str]]) -> set[int]:
    """(message, provider id) learnt after a person had said that the message arrived. Returns the messages filled."""
    rows = await connection.fetch(FILL_PROVIDER, [n[0] for n in names], [n[1] for n in names])
    return {row["id"] for row in rows}


async def workspaces_of(connection: Connection, devices: Sequence[int]) -> dict[int, int]:
    """Device → workspace."""
    return {row["id"]: row["workspace_id"] for row in await connection.fetch(WORKSPACES, devices)}
