"""What a sweep looks for: campaigns that are over, removed devices, tallies to fold.

Moving the rows themselves is `store.transitions`.
"""

from dataclasses import dataclass

from fleetcast.store.connection import Connection

# Campaigns with open rows that their state or time no longer allows, or that may be finished. Sums come from tallies.
CAMPAIGNS = """
SELECT c.id, c.status::text, c.planned_at IS NOT NULL AND NOT c.replan AS planned,
  c.when_offline = 'skip' AS skips_offline, c.expires_at <= fleetcast_now() AS expired,
  coalesce(t.queued, 0)::bigint AS queued, coalesce(t.waiting, 0)::bigint AS waiting,
  coalesce(t.under_way, 0)::bigint AS under_way
FROM campaigns c LEFT JOIN LATERAL (
  SELECT sum(n) FILTER (WHERE counter IN ('pending', 'queued')) AS waiting,
    sum(n) FILTER (WHERE counter = 'queued') AS queued,
    sum(n) FILTER (WHERE counter IN ('sending', 'in_doubt')) AS under_way
  FROM campaign_tallies WHERE campaign_id = c.id) t ON true
WHERE c.status IN ('running', 'paused') OR (c.status = 'cancelled' AND c.ended_at IS NULL) ORDER BY c.id"""

LOCK = "SELECT id FROM campaigns WHERE id = $1 AND status = 'running' FOR NO KEY UPDATE"
FINISH = """
UPDATE campaigns SET status = 'finished', ended_at = fleetcast_now()
WHERE id = $1 AND status = 'running' AND planned_at IS NOT NULL AND NOT replan AND (
  SELECT coalesce(sum(n), 0) FROM campaign_tallies
  WHERE campaign_id = $1 AND counter IN ('pending', 'queued', 'sending', 'in_doubt')) = 0 RETURNING id"""
CLOSE_CANCELLED = "UPDATE campaigns SET ended_at = fleetcast_now() WHERE id = $1 AND status = 'cancelled'"

REMOVED_DEVICES = """
SELECT d.id FROM devices d WHERE d.deleted_at IS NOT NULL
  AND EXISTS (SELECT 1 FROM broadcast_messages b WHERE b.device_id = d.id AND b.is_open) ORDER BY d.id"""

FOLDABLE = "SELECT campaign_id FROM campaign_tallies GROUP BY campaign_id HAVING count(*) > $1"
FOLD = """
WITH old AS (DELETE FROM campaign_tallies WHERE campaign_id = $1 RETURNING counter, reason, n)
INSERT INTO campaign_tallies (campaign_id, counter, reason, n)
SELECT $1, counter, reason, sum(n) FROM old GROUP BY counter, reason HAVING sum(n) <> 0"""


@dataclass(frozen=True, slots=True)
class CampaignState:
    """A campaign as the sweep sees it: `waiting` rows are pending or queued, `under_way` sending or in doubt."""

    id: int
    status: str
    planned: bool
    skips_offline: bool
    expired: bool | None
    queued: int
    waiting: int
    under_way: int


async def campaigns(connection: Connection) -> list[CampaignState]:
    """Every campaign that a sweep may have to settle."""
    return [CampaignState(*row) for row in await connection.fetch(CAMPAIGNS)]


async def finish(connection: Connection, campaign_id: int) -> bool:
    """running → finished, if it still is, its plan is complete and nothing is open.

    The row is locked first and the tallies are summed again under the lock, which planning and retries take too: rows
    that either adds are seen, or find the campaign finished and open it again.
    """
    await connection.execute(LOCK, campaign_id)
    return await connection.fetchval(FINISH, campaign_id) is not None


async def close_cancelled(connection: Connection, campaign_id: int) -> None:
    """Nothing of a cancelled campaign is open any more."""
    await connection.execute(CLOSE_CANCELLED, campaign_id)


async def removed_devices(connection: Connection) -> list[int]:
    """Removed devices that still have open rows."""
    return [row["id"] for row in await connection.fetch(REMOVED_DEVICES)]


async def fold_tallies(connection: Connection, rows: int) -> int:
    """Fold the tallies of campaigns with more than `rows` of them; the sums stay the same. Returns the campaigns."""
    found = [row["campaign_id"] for row in await connection.fetch(FOLDABLE, rows)]
    for campaign in found:
        await connection.execute(FOLD, campaign)
    return len(found)
