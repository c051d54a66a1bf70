"""Campaigns: what was wanted, where it stands, and its counts.

A status changes only by compare-and-set (`move`), so of any number of simultaneous wishes exactly one is granted.
Rows of messages are planned in `store.planning` and moved in `store.transitions`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from fleetcast.domain.campaign import CampaignStatus, NicheMatch, TargetStatus, WhenOffline
from fleetcast.domain.identifiers import CampaignId, ContentId, DeviceId, WorkspaceId
from fleetcast.store.audience import Audience
from fleetcast.store.connection import Connection, Row
from fleetcast.store.wishes import Writable


@dataclass(frozen=True, slots=True)
class Campaign:
    """One campaign."""

    id: CampaignId
    workspace_id: WorkspaceId
    title: str
    status: CampaignStatus
    content_id: ContentId
    niches: tuple[str, ...]
    niche_match: NicheMatch
    target_status: TargetStatus
    device_ids: tuple[DeviceId, ...] | None
    """None: all devices of the workspace."""
    takes_newcomers: bool
    """Whether a device added after the start takes part; only with all devices."""
    min_delay: float | None
    """Seconds between two sends of a device; None: the device's own pace."""
    max_delay: float | None
    schedule_local: datetime | None
    """What the person chose, by the clock on the wall of `schedule_zone`; None: now."""
    schedule_zone: str | None
    starts_at: datetime | None
    deadline_after: timedelta
    """From the start."""
    expires_at: datetime | None
    when_offline: WhenOffline
    plan_cursor: int
    newest_device_id: int | None
    replan: bool
    """Content or audience changed while paused; what was never attempted is being made anew."""
    created_at: datetime
    launched_at: datetime | None
    started_at: datetime | None
    planned_at: datetime | None
    paused_at: datetime | None
    ended_at: datetime | None
    retiring_at: datetime | None
    """Since when its messages are being deleted, having been kept long enough; its counts stay."""
    paused_reason: str | None

    @property
    def audience(self) -> Audience:
        """Whom it is for; once started, without the devices that came later."""
        newest = self.newest_device_id if self.device_ids is None else None
        return Audience(self.niches, self.niche_match, self.target_status, self.device_ids, newest)


@dataclass(frozen=True, slots=True)
class Counts:
    """Where a campaign's messages are. They add up: `planned` is the sum of `by_status`."""

    by_status: dict[str, int]
    by_reason: dict[str, dict[str, int]]
    """status → reason → count, for failed and skipped."""
    delivered: int
    """Reported as delivered by the recipient's phone. `sent` only means that WhatsApp took the message."""
    read: int

    @property
    def planned(self) -> int:
        """All messages of the campaign."""
        return sum(self.by_status.values())


COLUMNS = """c.id, c.workspace_id, c.title, c.status::text, c.content_id, c.niches, c.niche_match, c.target_status,
  CASE WHEN NOT c.all_devices THEN ARRAY(
    SELECT x.device_id FROM campaign_devices x WHERE x.campaign_id = c.id ORDER BY x.device_id) END AS device_ids,
  c.takes_newcomers, c.min_delay::text::float8 AS min_delay, c.max_delay::text::float8 AS max_delay,
  c.schedule_local, c.schedule_zone, c.starts_at, c.deadline_after, c.expires_at, c.when_offline, c.plan_cursor,
  c.newest_device_id, c.replan, c.created_at, c.launched_at, c.started_at, c.planned_at, c.paused_at, c.ended_at,
  c.retiring_at, c.paused_reason"""
# A `real` through text keeps 0.1 a 0.1.


def read(row: Row) -> Campaign:
    """A row of COLUMNS as a value."""
    return Campaign(
        id=CampaignId(row["id"]),
        workspace_id=WorkspaceId(row["workspace_id"]),
        title=row["title"],
        status=CampaignStatus(row["status"]),
        content_id=ContentId(row["content_id"]),
        niches=tuple(row["niches"]),
        niche_match=NicheMatch(row["niche_match"]),
        target_status=TargetStatus(row["target_status"]),
        device_ids=None if row["device_ids"] is None else tuple(DeviceId(d) for d in row["device_ids"]),
        takes_newcomers=row["takes_newcomers"],
        min_delay=row["min_delay"],
        max_delay=row["max_delay"],
        schedule_local=row["schedule_local"],
        schedule_zone=row["schedule_zone"],
        starts_at=row["starts_at"],
        deadline_after=row["deadline_after"],
        expires_at=row["expires_at"],
        when_offline=WhenOffline(row["when_offline"]),
        plan_cursor=row["plan_cursor"],
        newest_device_id=row["newest_device_id"],
        replan=row["replan"],
        created_at=row["created_at"],
        launched_at=row["launched_at"],
        started_at=row["started_at"],
        planned_at=row["planned_at"],
        paused_at=row["paused_at"],
        ended_at=row["ended_at"],
        retiring_at=row["retiring_at"],
        paused_reason=row["paused_reason"],
    )


COLUMN_TYPES = {
    "title": "text",
    "content_id": "bigint",
    "niches": "text[]",
    "niche_match": "text",
    "target_status": "text",
    "all_devices": "boolean",
    "takes_newcomers": "boolean",
    "min_delay": "real",
    "max_delay": "real",
    "schedule_local": "timestamp",
    "schedule_zone": "text",
    "starts_at": "timestamptz",
    "deadline_after": "interval",
    "when_offline": "text",
}
"""The columns a person's wish may write; the names are checked against this list before they enter a statement."""


_WRITABLE = Writable("campaigns", COLUMN_TYPES)


async def insert(connection: Connection, workspace_id: WorkspaceId, values: Mapping[str, Any]) -> CampaignId:
    """A new draft with the given columns; what is not given has its default."""
    return CampaignId(await _WRITABLE.insert(connection, workspace_id, values))


async def update(
    connection: Connection, workspace_id: WorkspaceId, campaign_id: CampaignId, values: Mapping[str, Any]
) -> None:
    """Write the given columns and no other: what an edit does not mention stays as it is."""
    await _WRITABLE.update(connection, workspace_id, campaign_id, values)


async def set_devices(
    connection: Connection, workspace_id: WorkspaceId, campaign_id: CampaignId, device_ids: Sequence[DeviceId]
) -> None:
    """The campaign's own list of devices, instead of what it had."""
    await connection.execute("DELETE FROM campaign_devices WHERE campaign_id = $1", campaign_id)
    await connection.execute(
        "INSERT INTO campaign_devices (workspace_id, campaign_id, device_id) SELECT $1, $2, unnest($3::bigint[])",
        workspace_id,
        campaign_id,
        list(device_ids),
    )


async def get(connection: Connection, workspace_id: WorkspaceId, campaign_id: CampaignId) -> Campaign | None:
    """The campaign, or None when this workspace has none with that id."""
    row = await connection.fetchrow(
        f"SELECT {COLUMNS} FROM campaigns c WHERE c.workspace_id = $1 AND c.id = $2",
        workspace_id,
        campaign_id,
    )
    return read(row) if row else None


async def locked(connection: Connection, workspace_id: WorkspaceId, campaign_id: CampaignId) -> Campaign | None:
    """The campaign, its row locked until the transaction ends: what is read is what is changed."""
    row = await connection.fetchrow(
        f"SELECT {COLUMNS} FROM campaigns c WHERE c.workspace_id = $1 AND c.id = $2 FOR NO KEY UPDATE",
        workspace_id,
        campaign_id,
    )
    return read(row) if row else None


async def by_title(connection: Connection, workspace_id: WorkspaceId, title: str) -> list[Campaign]:
    """Campaigns of that title, newest first; capitals make no difference."""
    rows = await connection.fetch(
        f"SELECT {COLUMNS} FROM campaigns c WHERE c.workspace_id = $1 AND lower(c.title) = lower($2) "
        "ORDER BY c.id DESC",
        workspace_id,
        title,
    )
    return [read(r) for r in rows]


async def page(
    connection: Connection, workspace_id: WorkspaceId, status: CampaignStatus | None, before: int, limit: int
) -> list[Campaign]:
    """Campaigns, newest first, those with an id below `before`; in one status or in any."""
    rows = await connection.fetch(
        f"SELECT {COLUMNS} FROM campaigns c WHERE c.workspace_id = $1 AND c.id < $3 "
        "AND ($2::text IS NULL OR c.status::text = $2) ORDER BY c.id DESC LIMIT $4",
        workspace_id,
        status,
        before,
        limit,
    )
    return [read(r) for r in rows]


START = """started_at = fleetcast_now(), expires_at = fleetcast_now() + deadline_after,
  plan_cursor = 0, planned_at = NULL, replan = false,
  newest_device_id = (SELECT coalesce(max(d.id), 0) FROM devices d WHERE d.workspace_id = campaigns.workspace_id)"""
"""What a start freezes, whether a person's launch or the planner at the scheduled time starts it."""

_MOVES = {
    "launch": f"status = 'running', launched_at = fleetcast_now(), {START}",
    "schedule": "status = 'scheduled', launched_at = fleetcast_now()",
    "withdraw": "status = 'draft', launched_at = NULL",
    "pause": "status = 'paused', paused_at = fleetcast_now()",
    "resume": "status = 'running', paused_at = NULL",
    # `ended_at` stays empty: the sweeper looks for it, cancels the waiting rows, and sets it when none is left.
    "cancel": "status = 'cancelled', replan = false",
    "reopen": "status = 'running', ended_at = NULL",
}


async def move(
    connection: Connection,
    workspace_id: WorkspaceId,
    campaign_id: CampaignId,
    before: CampaignStatus,
    step: str,
    reason: str | None = None,
) -> bool:
    """Take a step (a key of the table above) if the campaign is still in `before`. False: somebody else was first.

    `reason` is kept with a pause.
    """
    done = await connection.fetchval(
        f"UPDATE campaigns SET {_MOVES[step]}, paused_reason = $4 "
        "WHERE workspace_id = $1 AND id = $2 AND status = $3::text::campaign_status RETURNING true",
        workspace_id,
        campaign_id,
        before.value,
        reason,
    )
    return bool(done)


SPREAD_DEADLINE, CLEAR_UNATTEMPTED = -2, -1
"""Values of `plan_cursor` before the walk over the leads: the planner first writes a new deadline to the rows, or
deletes those never attempted. From 0 on it is the last lead that was looked at."""


async def plan_anew(connection: Connection, workspace_id: WorkspaceId, campaign_id: CampaignId) -> None:
    """Have what was never attempted deleted and planned again, newcomers of until now as ordinary devices.

    The campaign must have a new content by then, if only a copy: it tells the old rows from the new ones.
    """
    await connection.execute("DELETE FROM campaign_newcomers WHERE campaign_id = $1", campaign_id)
    await connection.execute(
        """
        UPDATE campaigns SET replan = true, planned_at = NULL,
          plan_cursor = CASE WHEN plan_cursor = $4 THEN $4 ELSE $3 END,
          newest_device_id = CASE WHEN takes_newcomers THEN (
            SELECT coalesce(max(d.id), 0) FROM devices d WHERE d.workspace_id = $1) ELSE newest_device_id END
        WHERE workspace_id = $1 AND id = $2""",
        workspace_id,
        campaign_id,
        CLEAR_UNATTEMPTED,
        SPREAD_DEADLINE,
    )


async def renew_deadline(connection: Connection, workspace_id: WorkspaceId, campaign_id: CampaignId) -> None:
    """Set when a started campaign ends, from its `deadline_after`, and have its open rows follow."""
    await connection.execute(
        "UPDATE campaigns SET plan_cursor = $3, expires_at = started_at + deadline_after "
        "WHERE workspace_id = $1 AND id = $2",
        workspace_id,
        campaign_id,
        SPREAD_DEADLINE,
    )


async def extend_deadline(connection: Connection, workspace_id: WorkspaceId, campaign_id: CampaignId) -> None:
    """Give a retry as much time as the campaign had from its start; a later deadline stays. Its open rows follow."""
    await connection.execute(
        """
        UPDATE campaigns SET plan_cursor = $3, expires_at = greatest(expires_at, fleetcast_now() + deadline_after)
        WHERE workspace_id = $1 AND id = $2""",
        workspace_id,
        campaign_id,
        SPREAD_DEADLINE,
    )


async def counts(connection: Connection, campaign_ids: Sequence[CampaignId]) -> dict[CampaignId, Counts]:
    """The counts of these campaigns, from their tallies."""
    rows = await connection.fetch(
        "SELECT campaign_id, counter, coalesce(reason, '') AS reason, sum(n)::bigint AS n FROM campaign_tallies "
        "WHERE campaign_id = ANY ($1::bigint[]) GROUP BY 1, 2, 3 HAVING sum(n) <> 0",
        campaign_ids,
    )
    found = {i: Counts({}, {}, 0, 0) for i in campaign_ids}
    reported: dict[CampaignId, dict[str, int]] = {i: {} for i in campaign_ids}
    for row in rows:
        campaign_id, counter, n = CampaignId(row["campaign_id"]), row["counter"], row["n"]
        if counter in ("delivered", "read"):
            reported[campaign_id][counter] = n
            continue
        mine = found[campaign_id]
        mine.by_status[counter] = mine.by_status.get(counter, 0) + n
        if row["reason"]:
            mine.by_reason.setdefault(counter, {})[row["reason"]] = n
    return {
        i: Counts(c.by_status, c.by_reason, reported[i].get("delivered", 0), reported[i].get("read", 0))
        for i, c in found.items()
    }


async def waiting_by_device(
    connection: Connection, workspace_id: WorkspaceId, campaign_id: CampaignId
) -> dict[DeviceId, int]:
    """How many open messages each device still has."""
    rows = await connection.fetch(
        """
        SELECT d.id, m.n FROM devices d CROSS JOIN LATERAL (
          SELECT count(*) AS n FROM broadcast_messages b
          WHERE b.device_id = d.id AND b.campaign_id = $2 AND b.is_open) m
        WHERE d.workspace_id = $1 AND m.n > 0""",
        workspace_id,
        campaign_id,
    )
    return {DeviceId(r["id"]): r["n"] for r in rows}


async def active_devices(connection: Connection, workspace_id: WorkspaceId, campaign: Campaign) -> list[DeviceId]:
    """The devices that take part, removed ones left out."""
    rows = await connection.fetch(
        "SELECT id FROM devices WHERE workspace_id = $1 AND deleted_at IS NULL "
        "AND ($2::bigint[] IS NULL OR id = ANY ($2::bigint[])) ORDER BY id",
        workspace_id,
        None if campaign.device_ids is None else list(campaign.device_ids),
    )
    return [DeviceId(r["id"]) for r in rows]
