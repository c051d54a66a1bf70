"""Reading messages for people: lists and the story of one. Nothing here changes a message.

Lists never scan the queue's hot indexes and end at a time limit: an old open read costs the senders dearly.
"""

import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

import asyncpg

from fleetcast.domain.identifiers import CampaignId, DeviceId, MessageId, Phone, SequenceId, WorkspaceId
from fleetcast.domain.message import Delivery, MessageStatus, Reason
from fleetcast.errors import Unavailable
from fleetcast.store import message_ages
from fleetcast.store.connection import Connection, Row

LIST_SECONDS = 10
NEAR = 50_000
"""Numbers below the first that a page of the newest walks over, whomever they belong to."""
LOOK = 2_000
"""Messages of a campaign that a page with a filter looks at: by number they lie all over the table."""
FEW = 500_000
"""Messages of a workspace that are found quicker by their keys than among those of everybody."""


@dataclass(frozen=True, slots=True)
class MessageRow:
    """A message as lists show it."""

    id: MessageId
    recipient: Phone
    device_id: DeviceId
    device: str
    campaign_id: CampaignId | None
    campaign: str | None
    sequence_id: SequenceId | None
    sequence: str | None
    status: MessageStatus
    delivery: Delivery
    reason: str | None
    attempts: int
    created_at: datetime
    not_before: datetime
    expires_at: datetime | None
    queued_at: datetime | None
    claimed_at: datetime | None
    sent_at: datetime | None
    in_doubt_since: datetime | None
    delivered_at: datetime | None
    read_at: datetime | None
    ended_at: datetime | None
    provider_id: str | None
    resolution: str | None
    dedupe_key: str


@dataclass(frozen=True, slots=True)
class AttemptRow:
    """One attempt to send a message."""

    attempt: int
    sender: str
    reference: str
    lease_epoch: int
    drawn_gap_ms: int
    started_at: datetime
    finished_at: datetime | None
    outcome: str | None
    code: str | None
    detail: str | None


@dataclass(frozen=True, slots=True)
class EvidenceRow:
    """An inbound event that speaks of a message."""

    occurred_at: datetime
    received_at: datetime
    kind: str
    effect: str | None
    detail: str | None


class Listed(NamedTuple):
    """A page of messages."""

    messages: list[MessageRow]
    reached: str | None = None
    """Where looking for them ended although there may be more; None: it did not, or there was no room for more."""


class Wanted(NamedTuple):
    """Which messages a list shows; None: any."""

    device_id: DeviceId | None = None
    status: MessageStatus | None = None
    campaign_id: CampaignId | None = None
    since: datetime | None = None
    """Made then or later; a campaign's messages have the time of its start."""
    until: datetime | None = None
    """Made before then."""
    reason: Reason | None = None


_SELECT = """
SELECT b.id, b.recipient, b.device_id, d.name AS device, b.campaign_id, c.title AS campaign, b.sequence_id,
  q.name AS sequence, b.status::text, b.delivery::text, b.reason, b.attempts,
  b.created_at, b.not_before, b.expires_at, b.queued_at, b.claimed_at,
  b.sent_at, b.in_doubt_since, b.delivered_at, b.read_at, b.ended_at, b.provider_id, b.resolution, b.dedupe_key
FROM broadcast_messages b JOIN devices d ON d.id = b.device_id LEFT JOIN campaigns c ON c.id = b.campaign_id
  LEFT JOIN sequences q ON q.id = b.sequence_id"""

_FILTER = """b.workspace_id = $1 AND ($2::bigint IS NULL OR b.device_id = $2)
  AND ($3::text IS NULL OR b.status = $3::message_status) AND ($4::bigint IS NULL OR b.campaign_id = $4)
  AND ($5::timestamptz IS NULL OR b.created_at >= $5) AND ($6::timestamptz IS NULL OR b.created_at < $6)
  AND ($7::text IS NULL OR b.reason = $7)"""

# Of one campaign: in the order of its keys, which lie side by side in the index. $8 first key not wanted, $9 its end.
_OF_CAMPAIGN = f"{_SELECT} WHERE {_FILTER} AND b.dedupe_key > $8 AND b.dedupe_key < $9 ORDER BY b.dedupe_key LIMIT $10"

# The same of one device: a look-up for each of its leads. $9 is not needed.
_OF_CAMPAIGN_AND_DEVICE = f"""{_SELECT} JOIN leads l ON b.dedupe_key = 'c:' || $4::bigint || ':' || l.phone
WHERE {_FILTER} AND l.workspace_id = $1 AND l.device_id = $2 AND l.phone > $8 ORDER BY l.phone LIMIT $9"""

_KEY = """SELECT dedupe_key FROM broadcast_messages WHERE dedupe_key > $1 AND dedupe_key < $2
ORDER BY dedupe_key OFFSET $3 LIMIT 1"""

# Of one person: a look-up per campaign, and the single sends and the steps of each enrolment, whose keys lie side by
# side.
_OF_PERSON = f"""{_SELECT} WHERE {_FILTER} AND b.recipient = $8 AND b.id < $9 AND b.id IN (
  SELECT m.id FROM campaigns o JOIN broadcast_messages m ON m.dedupe_key = 'c:' || o.id || ':' || $8
  WHERE o.workspace_id = $1
  UNION ALL
  SELECT m.id FROM broadcast_messages m
  WHERE m.dedupe_key > 'm:' || $1::bigint || ':' || $8 || ':' AND m.dedupe_key < 'm:' || $1::bigint || ':' || $8 || ';'
  UNION ALL
  SELECT m.id FROM enrolments e JOIN broadcast_messages m
    ON m.dedupe_key > 's:' || e.id || ':' AND m.dedupe_key < 's:' || e.id || ';'
  WHERE e.workspace_id = $1 AND e.recipient = $8)
ORDER BY b.id DESC LIMIT $10"""

_IN_DOUBT = f"""{_SELECT} WHERE b.workspace_id = $1 AND b.in_doubt_since IS NOT NULL AND b.status = 'in_doubt'
  AND b.id > $2 AND ($4::bigint IS NULL OR b.device_id = $4) ORDER BY b.id LIMIT $3"""

_NEWEST = f"{_SELECT} WHERE {_FILTER} AND b.id < $8 AND b.id > $9 ORDER BY b.id DESC LIMIT $10"

_LATEST = _NEWEST.replace("ORDER BY", "AND b.status NOT IN ('pending', 'queued', 'sending') ORDER BY")

# The same for a workspace whose messages lie far apart: only its own are looked at.
_OWN = f"""{_SELECT} WHERE {_FILTER} AND b.id < $8 AND b.id > $9 AND b.id IN (
  SELECT m.id FROM campaigns o JOIN broadcast_messages m
    ON m.dedupe_key > 'c:' || o.id || ':' AND m.dedupe_key < 'c:' || o.id || ';'
  WHERE o.workspace_id = $1 AND ($4::bigint IS NULL OR o.id = $4)
  UNION ALL
  SELECT m.id FROM broadcast_messages m
  WHERE m.dedupe_key > 'm:' || $1::bigint || ':' AND m.dedupe_key < 'm:' || $1::bigint || ';'
  UNION ALL
  SELECT m.id FROM enrolments e JOIN broadcast_messages m
    ON m.dedupe_key > 's:' || e.id || ':' AND m.dedupe_key < 's:' || e.id || ';'
  WHERE e.workspace_id = $1 AND $4::bigint IS NULL)
ORDER BY b.id DESC LIMIT $10"""

# What a device sends next: what is under way and in its window, then what waits, as far as its campaigns run.
_WAITING_OF = """p.device_id = $2 AND p.is_open AND p.status IN ('pending', 'queued', 'sending')
    ORDER BY p.priority, p.not_before, p.id LIMIT $3"""
_NEXT = f"""
WITH front AS (
  (SELECT p.id FROM broadcast_messages p WHERE p.campaign_id IS NULL AND {_WAITING_OF})
  UNION ALL
  (SELECT r.id FROM campaigns o CROSS JOIN LATERAL (
     SELECT p.id FROM broadcast_messages p WHERE p.campaign_id = o.id AND {_WAITING_OF}) r
   WHERE o.workspace_id = $1 AND o.status = 'running'))
{_SELECT} WHERE b.workspace_id = $1 AND b.id IN (SELECT id FROM front)
ORDER BY array_position('{{sending,queued,pending}}'::text[], b.status::text), b.priority, b.not_before, b.id
LIMIT $3"""

# Of sequences, people and messages together: who is enrolled is gone through, too.
_PLANNED = """
SELECT sum(n)::bigint FROM (
  SELECT coalesce(sum(t.n), 0) AS n FROM campaigns c JOIN campaign_tallies t ON t.campaign_id = c.id
  WHERE c.workspace_id = $1 AND c.retired_at IS NULL AND t.counter NOT IN ('delivered', 'read')
  UNION ALL
  SELECT coalesce(sum(s.n), 0) FROM sequences q JOIN sequence_sums s ON s.sequence_id = q.id AND s.device_id = 0
  WHERE q.workspace_id = $1 AND s.counter NOT IN ('delivered', 'read', 'replied')) z"""


def _message(row: Row) -> MessageRow:
    facts = dict(row)
    facts["status"], facts["delivery"] = MessageStatus(row["status"]), Delivery(row["delivery"])
    return MessageRow(**facts)


@contextlib.asynccontextmanager
async def time_limit(
    connection: Connection, limit: int = LIST_SECONDS, *, narrow: str = "campaign"
) -> AsyncIterator[None]:
    """Bound what the block asks to `limit` seconds a statement. Needs a transaction. Raises Unavailable past it."""
    await connection.execute(f"SET LOCAL statement_timeout = '{limit}s'")
    try:
        yield
    except asyncpg.QueryCanceledError:
        raise Unavailable(f"The list took longer than {limit} s; narrow it, best by {narrow}.") from None


async def of_campaign(
    connection: Connection, workspace_id: WorkspaceId, campaign_id: CampaignId, wanted: Wanted, after: str, limit: int
) -> Listed:
    """A campaign's messages by recipient, those after the recipient `after` ('' for the first page)."""
    if wanted.device_id is not None:
        rows = await connection.fetch(_OF_CAMPAIGN_AND_DEVICE, workspace_id, *wanted, after, limit)
        return Listed([_message(r) for r in rows])
    start, end = f"c:{campaign_id}:{after}", f"c:{campaign_id};"
    bound = None
    if any(narrowed is not None for narrowed in (wanted.status, wanted.since, wanted.until, wanted.reason)):
        bound = await connection.fetchval(_KEY, start, end, LOOK - 1)
    behind = end if bound is None else f"{bound}!"  # no number goes on with a sign that sorts before digits
    rows = await connection.fetch(_OF_CAMPAIGN, workspace_id, *wanted, start, behind, limit)
    reached = bound.rsplit(":", 1)[1] if bound is not None and len(rows) < limit else None
    return Listed([_message(r) for r in rows], reached)


async def of_person(
    connection: Connection, workspace_id: WorkspaceId, recipient: Phone, wanted: Wanted, before: int, limit: int
) -> list[MessageRow]:
    """A person's messages, newest first, those with an id below `before`."""
    rows = await connection.fetch(_OF_PERSON, workspace_id, *wanted, recipient, before, limit)
    return [_message(r) for r in rows]


async def newest(connection: Connection, workspace_id: WorkspaceId, wanted: Wanted, before: int, limit: int) -> Listed:
    """The workspace's messages, newest first, those with an id below `before`.

    There is no index by workspace, device or status. Whoever sends now finds theirs near the top; of a workspace that
    has rested while others sent, the few that it has are found by their keys. Of a large one a page looks no further
    than `NEAR`, and says where it stopped.
    """
    low, high = await message_ages.bounds(connection, workspace_id, wanted.since, wanted.until)
    top = min(before, high, 1 + await message_ages.last(connection))
    near = max(low, top - NEAR)
    rows = await connection.fetch(_NEWEST, workspace_id, *wanted, top, near, limit)
    reached = None
    if len(rows) < limit and near > low:
        planned: int = await connection.fetchval(_PLANNED, workspace_id)
        if planned <= FEW:
            rows = await connection.fetch(_OWN, workspace_id, *wanted, top, low, limit)
        else:
            reached = str(near + 1)
    return Listed([_message(r) for r in rows], reached)


async def next_of_device(
    connection: Connection, workspace_id: WorkspaceId, device_id: DeviceId, limit: int
) -> list[MessageRow]:
    """What the device sends next, about in its order: paused campaigns have no part in it."""
    return [_message(r) for r in await connection.fetch(_NEXT, workspace_id, device_id, limit)]


async def latest_of_device(
    connection: Connection, workspace_id: WorkspaceId, device_id: DeviceId, limit: int
) -> list[MessageRow]:
    """The device's newest messages that wait no more, among the newest of everybody: a page cannot look at all."""
    top = 1 + await message_ages.last(connection)
    rows = await connection.fetch(_LATEST, workspace_id, *Wanted(device_id), top, top - NEAR, limit)
    return [_message(r) for r in rows]


async def in_doubt(
    connection: Connection, workspace_id: WorkspaceId, after: int, limit: int, device_id: DeviceId | None = None
) -> list[MessageRow]:
    """The workspace's messages in doubt by id, those after `after`; of one device or of all."""
    return [_message(r) for r in await connection.fetch(_IN_DOUBT, workspace_id, after, limit, device_id)]


async def one(connection: Connection, workspace_id: WorkspaceId, message_id: MessageId) -> MessageRow | None:
    """One message of the workspace."""
    row = await connection.fetchrow(f"{_SELECT} WHERE b.workspace_id = $1 AND b.id = $2", workspace_id, message_id)
    return _message(row) if row else None


async def names(
    connection: Connection, workspace_id: WorkspaceId, message_ids: Sequence[MessageId]
) -> dict[MessageId, str]:
    """What the recipients of these messages are called, as far as they are leads and it is known."""
    rows = await connection.fetch(
        "SELECT b.id, l.name FROM broadcast_messages b JOIN leads l ON l.id = b.lead_id "
        "WHERE b.workspace_id = $1 AND b.id = ANY ($2::bigint[]) AND l.name <> ''",
        workspace_id,
        list(message_ids),
    )
    return {MessageId(r["id"]): r["name"] for r in rows}


async def attempts(connection: Connection, workspace_id: WorkspaceId, message_id: MessageId) -> list[AttemptRow]:
    """All attempts of a message, in their order."""
    rows = await connection.fetch(
        """
        SELECT a.attempt, a.sender, a.reference, a.lease_epoch, a.drawn_gap_ms, a.started_at, a.finished_at, a.outcome,
          a.code, a.detail
        FROM message_attempts a JOIN broadcast_messages b ON b.id = a.message_id
        WHERE b.workspace_id = $1 AND a.message_id = $2 ORDER BY a.attempt""",
        workspace_id,
        message_id,
    )
    return [AttemptRow(**dict(r)) for r in rows]


async def evidence(connection: Connection, workspace_id: WorkspaceId, message_id: MessageId) -> list[EvidenceRow]:
    """Inbound events that name the message by the provider's id or by one of our references; at most 100."""
    rows = await connection.fetch(
        """
        SELECT i.occurred_at, i.received_at, i.kind, i.effect, i.detail
        FROM broadcast_messages b JOIN inbox i ON i.device_id = b.device_id AND i.workspace_id = b.workspace_id
        WHERE b.workspace_id = $1 AND b.id = $2 AND (i.provider_id = b.provider_id
          OR i.reference IN (SELECT a.reference FROM message_attempts a WHERE a.message_id = b.id))
        ORDER BY i.occurred_at, i.id LIMIT 100""",
        workspace_id,
        message_id,
    )
    return [EvidenceRow(**dict(r)) for r in rows]
