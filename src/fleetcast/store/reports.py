"""Figures for reports: why messages failed, how single sends fare, and a campaign device by device.

What tallies know costs nothing. The others count messages, side by side in the index of keys, and end at a time limit:
see `store.messages.time_limit`.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from fleetcast.domain.identifiers import CampaignId, DeviceId, WorkspaceId
from fleetcast.store.connection import Connection, Row


class Standing(NamedTuple):
    """So many messages stand like this. `reason` is None where a status has none."""

    status: str
    reason: str | None
    n: int
    delivered: int
    read: int


class DeviceStanding(NamedTuple):
    """The same of one device's part of a campaign."""

    device_id: DeviceId
    device: str
    standing: Standing


class Failure(NamedTuple):
    """So many messages of campaigns failed or were skipped for a reason."""

    status: str
    reason: str
    n: int


class SlowDevice(NamedTuple):
    """One device's part of a campaign, and how long it still takes."""

    device_id: int
    device: str
    planned: int
    sent: int
    waiting: int
    failed: int
    skipped: int
    last_at: datetime | None
    """When it sent last."""
    seconds: float
    """Until it is through, at its mean pace, if it can send."""
    is_ready: bool
    devices: int
    """How many take part in all."""


_STANDING = """b.status::text, CASE WHEN b.status IN ('failed', 'skipped') THEN b.reason END AS reason, count(*) AS n,
  count(*) FILTER (WHERE b.delivery <> 'none') AS delivered, count(*) FILTER (WHERE b.delivery = 'read') AS read"""

_SINGLE = f"""
SELECT {_STANDING} FROM broadcast_messages b
WHERE b.workspace_id = $1 AND b.dedupe_key > 'm:' || $1::bigint || ':' AND b.dedupe_key < 'm:' || $1::bigint || ';'
  AND ($2::bigint IS NULL OR b.device_id = $2)
GROUP BY 1, 2"""

_BY_DEVICE = f"""
SELECT b.device_id, d.name AS device, {_STANDING}
FROM broadcast_messages b JOIN devices d ON d.id = b.device_id
WHERE b.workspace_id = $1 AND b.dedupe_key > 'c:' || $2::bigint || ':' AND b.dedupe_key < 'c:' || $2::bigint || ';'
GROUP BY b.device_id, d.name, b.status, 4 ORDER BY d.name, b.device_id"""

_SLOWEST = """
WITH parts AS MATERIALIZED (
  SELECT b.device_id, count(*) AS planned, count(*) FILTER (WHERE b.status = 'sent') AS sent,
    count(*) FILTER (WHERE b.status IN ('pending', 'queued', 'sending')) AS waiting,
    count(*) FILTER (WHERE b.status = 'failed') AS failed, count(*) FILTER (WHERE b.status = 'skipped') AS skipped,
    max(b.sent_at) AS last_at
  FROM broadcast_messages b
  WHERE b.workspace_id = $1 AND b.dedupe_key > 'c:' || $2::bigint || ':' AND b.dedupe_key < 'c:' || $2::bigint || ';'
  GROUP BY b.device_id)
SELECT d.id AS device_id, d.name AS device, p.planned, p.sent, p.waiting, p.failed, p.skipped, p.last_at,
  p.waiting * coalesce($3::float8, (d.min_delay + d.max_delay) / 2.0)::float8 AS seconds, d.is_ready,
  count(*) OVER () AS devices
FROM parts p JOIN devices d ON d.id = p.device_id
ORDER BY 9 DESC, p.failed DESC, d.name, d.id LIMIT $4"""

_FAILURES = """
SELECT t.counter, t.reason, sum(t.n)::bigint AS n
FROM campaigns c JOIN campaign_tallies t ON t.campaign_id = c.id
WHERE c.workspace_id = $1 AND ($2::bigint IS NULL OR c.id = $2) AND t.counter IN ('failed', 'skipped')
GROUP BY t.counter, t.reason HAVING sum(t.n) <> 0 ORDER BY n DESC, t.counter, t.reason"""


def _standing(row: Row) -> Standing:
    return Standing(row["status"], row["reason"], row["n"], row["delivered"], row["read"])


async def single_sends(
    connection: Connection, workspace_id: WorkspaceId, device_id: DeviceId | None = None
) -> list[Standing]:
    """How the messages stand that belong to no campaign, as far as they are kept."""
    return [_standing(r) for r in await connection.fetch(_SINGLE, workspace_id, device_id)]


async def by_device(connection: Connection, workspace_id: WorkspaceId, campaign_id: CampaignId) -> list[DeviceStanding]:
    """How a campaign's messages stand, device by device, as far as they are kept."""
    rows = await connection.fetch(_BY_DEVICE, workspace_id, campaign_id)
    return [DeviceStanding(DeviceId(r["device_id"]), r["device"], _standing(r)) for r in rows]


async def slowest(
    connection: Connection, workspace_id: WorkspaceId, campaign_id: CampaignId, gap: float | None, limit: int
) -> list[SlowDevice]:
    """The devices of a campaign that are through last, then those with most failures. `gap`: seconds between two of its
    messages; None: each device's own.
    """
    rows = await connection.fetch(_SLOWEST, workspace_id, campaign_id, gap, limit)
    return [SlowDevice(**dict(row)) for row in rows]


async def failures(
    connection: Connection, workspace_id: WorkspaceId, campaign_id: CampaignId | None = None
) -> Sequence[Failure]:
    """Why messages of campaigns failed or were skipped, the most frequent first; of one campaign or of all."""
    rows = await connection.fetch(_FAILURES, workspace_id, campaign_id)
    return [Failure(r["counter"], r["reason"] or "", r["n"]) for r in rows]
