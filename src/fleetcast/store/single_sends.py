"""The birth of a message to one person (T0), which belongs to no campaign, and how such messages are found again.

Separate from planning, which makes rows by the thousand out of leads. A row made here goes the same way as every other.
Its key is `m:{workspace}:{phone}:{mark}`: unique, so that a request that is repeated makes no second row, and in its
order one person's messages lie side by side in the index that every message has anyway.
"""

from datetime import timedelta

from fleetcast.domain.identifiers import ContentId, DeviceId, MessageId, Phone, WorkspaceId
from fleetcast.domain.message import ANSWER_WITHIN, PRIORITY_REPLY, PRIORITY_SINGLE
from fleetcast.store.connection import Connection

_WROTE = """EXISTS (SELECT 1 FROM inbox i WHERE i.workspace_id = {d}.workspace_id AND i.sender = {sender}
    AND i.device_id = {d}.id AND i.kind = 'reply' AND i.occurred_at > fleetcast_now() - {within}::interval)"""

_INSERT = f"""
INSERT INTO broadcast_messages (workspace_id, device_id, lead_id, content_id, not_before, expires_at, created_at,
  shard_id, priority, shared, recipient, dedupe_key, variables)
SELECT d.workspace_id, d.id, l.id, $4, clock.now, clock.now + $5::interval, clock.now, d.shard_id,
  CASE WHEN $5::interval <= $7::interval AND {_WROTE.format(d="d", sender="$3", within="$7")}
    THEN {PRIORITY_REPLY} ELSE {PRIORITY_SINGLE} END,
  coalesce(l.shared, false), $3, $6, '{{}}'
FROM (SELECT fleetcast_now() AS now) clock, devices d LEFT JOIN leads l ON l.device_id = d.id AND l.phone = $3
WHERE d.workspace_id = $1 AND d.id = $2 AND d.deleted_at IS NULL
ON CONFLICT (dedupe_key) DO NOTHING RETURNING id"""


def dedupe_key(workspace_id: WorkspaceId, recipient: Phone, mark: str) -> str:
    """The key of a message; `mark` tells one request from another, in letters and digits."""
    return f"m:{workspace_id}:{recipient}:{mark}"


async def insert(
    connection: Connection,
    workspace_id: WorkspaceId,
    device_id: DeviceId,
    recipient: Phone,
    content_id: ContentId,
    *,
    expires_after: timedelta,
    key: str,
) -> MessageId | None:
    """A message that is due at once, of the device's lead with that phone if there is one. To somebody who wrote to the
    device lately, and not to wait for longer, it is an answer: it goes first, and also while WhatsApp lets the device
    begin nothing new.

    None when the key is taken, or the device is not there (any more).
    """
    made: int | None = await connection.fetchval(
        _INSERT, workspace_id, device_id, recipient, content_id, expires_after, key, ANSWER_WITHIN
    )
    return None if made is None else MessageId(made)


async def wrote_lately(connection: Connection, workspace_id: WorkspaceId, device_id: DeviceId, person: Phone) -> bool:
    """Whether this person wrote to the device so lately that a message to them is an answer."""
    asked = (
        f"SELECT {_WROTE.format(d='d', sender='$3', within='$4')} FROM devices d WHERE workspace_id = $1 AND id = $2"
    )
    return bool(await connection.fetchval(asked, workspace_id, device_id, person, ANSWER_WITHIN))


async def by_key(connection: Connection, workspace_id: WorkspaceId, key: str) -> tuple[MessageId, ContentId] | None:
    """The message of that key and what it says."""
    row = await connection.fetchrow(
        "SELECT id, content_id FROM broadcast_messages WHERE dedupe_key = $2 AND workspace_id = $1", workspace_id, key
    )
    return None if row is None else (MessageId(row["id"]), ContentId(row["content_id"]))
