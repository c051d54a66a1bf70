"""Messages in doubt: with what is needed to ask or to wait (reference, transport, age), or for a person to decide."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from fleetcast.domain.device import NAMELESS
from fleetcast.domain.identifiers import CampaignId, MessageId, WorkspaceId
from fleetcast.domain.message import MessageStatus
from fleetcast.store.connection import Connection
from fleetcast.store.transition_statements import HELD

IN_DOUBT = """
SELECT b.id, b.attempts, b.crashes, a.reference, d.transport,
  extract(epoch FROM fleetcast_now() - b.in_doubt_since)::float8 AS age
FROM broadcast_messages b JOIN devices d ON d.id = b.device_id
  LEFT JOIN message_attempts a ON a.message_id = b.id AND a.attempt = b.attempts
WHERE b.in_doubt_since IS NOT NULL AND b.status = 'in_doubt' AND b.id > $1 ORDER BY b.id LIMIT $2"""

# Receipts of linked devices carry no reference of ours. $1 devices, $2 who confirmed, $3 ids, $4 instants. What was
# typed on the phone is none of ours; an attempt that began after the receipt is not what it is for (WhatsApp tells
# whole seconds, by its own clock); of two doubts at once nobody knows which it is.
ECHOES = """
SELECT u.device_id, u.provider_id FROM unnest($1::bigint[], $2::text[]) AS u (device_id, provider_id)
JOIN inbox i ON i.device_id = u.device_id AND i.event_id = 'echo-' || u.provider_id"""
CONFIRMED_BY = f"""
SELECT u.device_id, u.provider_id, min(b.id) AS id, min(b.attempts) AS attempt
FROM unnest($1::bigint[], $2::text[], $3::text[], $4::timestamptz[]) AS u (device_id, sender, provider_id, at)
JOIN devices d ON d.id = u.device_id AND d.transport = '{NAMELESS}'
JOIN broadcast_messages b ON b.in_doubt_since IS NOT NULL AND b.status = 'in_doubt' AND b.device_id = u.device_id
  AND b.recipient = u.sender
JOIN message_attempts a ON a.message_id = b.id AND a.attempt = b.attempts AND a.started_at < u.at + interval '5 seconds'
GROUP BY u.device_id, u.provider_id HAVING count(DISTINCT b.id) = 1"""

HOLDING = f"""
SELECT min(o.id) FROM broadcast_messages b JOIN devices d ON d.id = b.device_id
JOIN broadcast_messages o ON o.in_doubt_since IS NOT NULL AND o.device_id = b.device_id AND o.recipient = b.recipient
WHERE b.id = $1 AND {HELD.format(m="b")}"""

CAMPAIGNS_OF = """
SELECT DISTINCT campaign_id FROM broadcast_messages
WHERE workspace_id = $1 AND id = ANY ($2::bigint[]) AND campaign_id IS NOT NULL ORDER BY campaign_id"""
LOCKED = """
SELECT id, attempts, campaign_id, device_id, status::text FROM broadcast_messages
WHERE workspace_id = $1 AND id = ANY ($2::bigint[]) ORDER BY id FOR UPDATE"""


@dataclass(frozen=True, slots=True)
class Undecided:
    """A message about which a person decides, locked."""

    id: int
    attempts: int
    campaign_id: int | None
    device_id: int
    status: MessageStatus


@dataclass(frozen=True, slots=True)
class Doubt:
    """A message of which nobody knows whether it left. `age` in seconds."""

    id: int
    attempt: int
    crashes: int
    reference: str
    transport: str
    age: float


async def in_doubt(connection: Connection, after: int, limit: int) -> list[Doubt]:
    """Open doubts by id, those after `after`."""
    return [Doubt(*row) for row in await connection.fetch(IN_DOUBT, after, limit)]


async def echoes(connection: Connection, pairs: Sequence[tuple[int, str]]) -> set[tuple[int, str]]:
    """Those (device, provider id) that were typed on the device's own phone."""
    rows = await connection.fetch(ECHOES, [p[0] for p in pairs], [p[1] for p in pairs])
    return {(row["device_id"], row["provider_id"]) for row in rows}


async def confirmed_by(
    connection: Connection, receipts: Sequence[tuple[int, str, str, datetime]]
) -> dict[tuple[int, str], tuple[int, int]]:
    """(device, provider id) → the one open doubt, with its attempt, that such a receipt settles: one of the person for
    whom it was, on the device from which it may have left.
    """
    if not receipts:
        return {}
    columns = [list(column) for column in zip(*receipts, strict=True)]
    rows = await connection.fetch(CONFIRMED_BY, *columns)
    return {(r["device_id"], r["provider_id"]): (r["id"], r["attempt"]) for r in rows}


async def holding(connection: Connection, message: MessageId) -> MessageId | None:
    """The message in doubt for which this one waits, if it does."""
    found: int | None = await connection.fetchval(HOLDING, message)
    return None if found is None else MessageId(found)


async def lock(connection: Connection, messages: Sequence[int]) -> None:
    """Lock messages of any workspace in the order in which everybody does."""
    await connection.execute(
        "SELECT FROM broadcast_messages WHERE id = ANY ($1::bigint[]) ORDER BY id FOR UPDATE", messages
    )


async def campaigns_of(connection: Connection, workspace_id: WorkspaceId, messages: Sequence[int]) -> list[CampaignId]:
    """The campaigns of these messages, in the order of their numbers."""
    return [CampaignId(r["campaign_id"]) for r in await connection.fetch(CAMPAIGNS_OF, workspace_id, messages)]


async def locked(connection: Connection, workspace_id: WorkspaceId, messages: Sequence[int]) -> list[Undecided]:
    """Those of these messages that are the workspace's, their rows locked until the transaction ends."""
    rows = await connection.fetch(LOCKED, workspace_id, messages)
    return [
        Undecided(r["id"], r["attempts"], r["campaign_id"], r["device_id"], MessageStatus(r["status"])) for r in rows
    ]
