"""The birth of a campaign's messages (T0): set-based, in chunks that stall no other writer.

Each function is one short transaction's work. The cursor moves after the rows before it are committed, and a row's
dedupe key is unique, so a crash, a second planner or a cursor set back to 0 can only repeat what changes nothing.
Who is chosen is said in `store.audience`; nothing here adds a condition to it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from fleetcast.domain.identifiers import CampaignId, DeviceId, WorkspaceId
from fleetcast.domain.message import PRIORITY_CAMPAIGN
from fleetcast.store import transitions
from fleetcast.store.audience import ADDRESSED, KEYED, PREFERENCE, SHARE_SUPPRESSIONS, WRITABLE, missing
from fleetcast.store.campaigns import CLEAR_UNATTEMPTED, COLUMNS, SPREAD_DEADLINE, START, Campaign, read
from fleetcast.store.connection import Connection
from fleetcast.store.leads import LEAD_VARIABLES_SQL

CHUNK = 5_000
"""Leads or rows looked at in one transaction: some tens of milliseconds."""
SIDE_BY_SIDE = 2
"""Windows of a campaign that are planned at the same time: one backend keeps one core busy."""

_OF_WORKSPACE = "l.workspace_id = $1"
_OF_DEVICE = "l.workspace_id = $1 AND l.device_id = ${}"


def _windows(whose: str) -> str:
    """$2 the last lead before the windows, $3 how many leads at most, $4 leads of a window."""
    return f"""
WITH ahead AS MATERIALIZED (SELECT l.id FROM leads l WHERE {whose} AND l.id > $2 ORDER BY l.id LIMIT $3)
SELECT max(id) AS upto, count(*) AS n
FROM (SELECT id, row_number() OVER (ORDER BY id) - 1 AS place FROM ahead) a GROUP BY place / $4::bigint ORDER BY 1"""


def _plan(whose: str) -> str:
    """T0 for a window of leads. $7 campaign, $8 last lead before the window, $9 its last one, $10 content, $11 the
    campaign's start, $12 its deadline, $13 required variables; $1 to $6 are the audience's.
    """
    return f"""
WITH looked AS MATERIALIZED (SELECT l.* FROM leads l WHERE {whose} AND l.id > $8 AND l.id <= $9),
matching AS MATERIALIZED (
  SELECT l.id, l.device_id, l.phone, l.shared, d.shard_id, {LEAD_VARIABLES_SQL} AS variables
  FROM looked l, devices d WHERE {ADDRESSED} AND {WRITABLE}),
chosen AS (
  SELECT best.* FROM (SELECT DISTINCT phone FROM matching WHERE shared) person CROSS JOIN LATERAL (
    SELECT l.id, l.device_id, l.phone, true, d.shard_id, {LEAD_VARIABLES_SQL}
    FROM leads l, devices d WHERE l.phone = person.phone AND {ADDRESSED} AND {WRITABLE}
    ORDER BY {PREFERENCE} LIMIT 1) best),
made AS (
  INSERT INTO broadcast_messages (workspace_id, device_id, campaign_id, lead_id, content_id, not_before, expires_at,
    created_at, shard_id, priority, shared, recipient, dedupe_key, variables)
  SELECT $1, r.device_id, $7::bigint, r.id, $10::bigint, $11::timestamptz, $12::timestamptz, $11,
    r.shard_id, {PRIORITY_CAMPAIGN}, r.shared, r.phone, 'c:' || $7::bigint || ':' || r.phone, r.variables
  FROM (SELECT * FROM matching WHERE NOT shared UNION ALL SELECT * FROM chosen) r
  ORDER BY r.shared, CASE WHEN r.shared THEN r.phone END, r.device_id, r.id -- one person in two windows: no deadlock
  ON CONFLICT (dedupe_key) DO NOTHING RETURNING id, device_id, variables),
tally AS (
  INSERT INTO campaign_tallies (campaign_id, counter, n)
  SELECT $7::bigint, 'pending', count(*) FROM made HAVING count(*) > 0)
SELECT ARRAY(SELECT DISTINCT device_id FROM made) AS devices, (SELECT count(*) FROM made) AS n,
  ARRAY(SELECT id FROM made WHERE {missing("variables", "$13::text[]")}) AS lacking"""


_WINDOWS, _WINDOWS_OF_DEVICE = _windows(_OF_WORKSPACE), _windows(_OF_DEVICE.format(5))
_PLAN, _PLAN_OF_DEVICE = _plan(_OF_WORKSPACE), _plan(_OF_DEVICE.format(14))

_UNPLANNED = """(c.status = 'running' AND (c.planned_at IS NULL OR c.plan_cursor < 0)
    OR c.status = 'paused' AND (c.replan OR c.plan_cursor < 0))"""


@dataclass(frozen=True, slots=True)
class Windows:
    """The next leads of a walk, in parts that are planned side by side. The walk has come to `ends[0]`."""

    ends: tuple[int, ...]
    """Lead ids: a window is what lies behind one of them, up to and with the next."""
    is_last: bool
    """No lead follows."""

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return pairwise(self.ends)


@dataclass(frozen=True, slots=True)
class Newcomer:
    """A device that joined after the start of a campaign that takes it, with leads not yet planned."""

    workspace_id: WorkspaceId
    campaign_id: CampaignId
    device_id: DeviceId
    leads_version: int


class Planned(NamedTuple):
    """What a window gave: rows that are new, and the devices they are of."""

    rows: int
    devices: list[DeviceId]


async def start_due(connection: Connection) -> list[CampaignId]:
    """Start the scheduled campaigns whose time has come; two planners never start one twice."""
    rows = await connection.fetch(
        f"""
        UPDATE campaigns SET status = 'running', {START} WHERE status = 'scheduled' AND id IN (
          SELECT id FROM campaigns WHERE status = 'scheduled' AND starts_at <= fleetcast_now() FOR UPDATE SKIP LOCKED)
        RETURNING id"""
    )
    return [CampaignId(r["id"]) for r in rows]


async def unplanned(connection: Connection) -> list[CampaignId]:
    """Campaigns of all workspaces that wait for the planner."""
    rows = await connection.fetch(f"SELECT c.id FROM campaigns c WHERE {_UNPLANNED} ORDER BY c.id")
    return [CampaignId(r["id"]) for r in rows]


async def take(connection: Connection, campaign_id: CampaignId) -> Campaign | None:
    """Lock the campaign for one chunk; None when it needs no planning any more or another planner has it."""
    row = await connection.fetchrow(
        f"SELECT {COLUMNS} FROM campaigns c WHERE c.id = $1 AND {_UNPLANNED} FOR NO KEY UPDATE SKIP LOCKED",
        campaign_id,
    )
    return read(row) if row else None


async def windows(
    connection: Connection, workspace_id: WorkspaceId, after: int, device_id: DeviceId | None = None
) -> Windows:
    """What to plan next behind the lead `after`: leads of the workspace, or of one of its devices."""
    await connection.execute(KEYED)
    most = SIDE_BY_SIDE * CHUNK
    if device_id is None:
        rows = await connection.fetch(_WINDOWS, workspace_id, after, most, CHUNK)
    else:
        rows = await connection.fetch(_WINDOWS_OF_DEVICE, workspace_id, after, most, CHUNK, device_id)
    return Windows((after, *(r["upto"] for r in rows)), is_last=sum(r["n"] for r in rows) < most)


async def plan_window(
    connection: Connection, campaign: Campaign, after: int, upto: int, device_id: DeviceId | None = None
) -> Planned:
    """Plan the leads behind `after` up to `upto`, of one device or of all.

    A transaction of its own, while another one holds the campaign by `take`: no edit comes in between.
    """
    await connection.execute(KEYED)
    await connection.execute(SHARE_SUPPRESSIONS, campaign.workspace_id)
    required = await connection.fetchval("SELECT required_variables FROM contents WHERE id = $1", campaign.content_id)
    audience = campaign.audience.arguments()
    if device_id is not None:
        audience = (*audience[:-2], [device_id], None)
    row = await connection.fetchrow(
        _PLAN if device_id is None else _PLAN_OF_DEVICE,
        campaign.workspace_id,
        *audience,
        campaign.id,
        after,
        upto,
        campaign.content_id,
        campaign.started_at,
        campaign.expires_at,
        required,
        *(() if device_id is None else (device_id,)),
    )
    assert row is not None
    if row["lacking"]:
        await transitions.skip_missing_variable(connection, row["lacking"])
    return Planned(row["n"], [DeviceId(d) for d in row["devices"]])


async def advance(connection: Connection, campaign_id: CampaignId, planned: Windows) -> None:
    """Note that these windows of a campaign are committed; after the last of them the campaign is planned."""
    await connection.execute(
        """UPDATE campaigns SET plan_cursor = $2, replan = replan AND NOT $3,
          planned_at = CASE WHEN $3 THEN fleetcast_now() ELSE planned_at END WHERE id = $1""",
        campaign_id,
        planned.ends[-1],
        planned.is_last,
    )


_WALK = """SELECT b.id, b.dedupe_key FROM broadcast_messages b
  WHERE b.dedupe_key > $2 AND b.dedupe_key < 'c:' || $1::bigint || ';'"""

_CLEAR = f"""
WITH looked AS MATERIALIZED ({_WALK} ORDER BY b.dedupe_key LIMIT $3),
gone AS (
  DELETE FROM broadcast_messages b USING looked
  WHERE b.id = looked.id AND b.attempts = 0 AND b.content_id <> $4
    AND (b.status = 'pending' OR b.status = 'skipped' AND b.reason = 'missing_variable')
  RETURNING b.status, CASE WHEN b.status = 'skipped' THEN b.reason END AS reason),
tally AS (
  INSERT INTO campaign_tallies (campaign_id, counter, reason, n)
  SELECT $1, status::text, reason, -count(*) FROM gone GROUP BY status, reason)
SELECT count(*) AS seen, max(dedupe_key) AS last FROM looked"""

_SPREAD = f"""
WITH looked AS MATERIALIZED ({_WALK} ORDER BY b.dedupe_key LIMIT $3),
moved AS (
  UPDATE broadcast_messages b SET expires_at = $4 FROM looked
  WHERE b.id = looked.id AND b.is_open AND b.expires_at IS DISTINCT FROM $4)
SELECT count(*) AS seen, max(dedupe_key) AS last FROM looked"""


async def rework_chunk(connection: Connection, campaign: Campaign, after: str | None) -> str | None:
    """Do the next rows of the stage before the walk over the leads: write a new deadline, or delete what was never
    attempted. `after` is what the last call for the same stage returned; None when the stage is through.

    A pending row is never attempted as long as it has no attempts; one skipped for a missing variable was not either,
    and may fit the new text. Rows of people who were attempted, opted out or lost their device stay.
    """
    await connection.execute(KEYED)
    clearing = campaign.plan_cursor == CLEAR_UNATTEMPTED
    if clearing and after is None:
        # A top-up that read the campaign as running may have queued rows while it was being paused.
        await transitions.requeue_campaign(connection, campaign.id)
    row = await connection.fetchrow(
        _CLEAR if clearing else _SPREAD,
        campaign.id,
        after or f"c:{campaign.id}:",
        CHUNK,
        campaign.content_id if clearing else campaign.expires_at,
    )
    assert row is not None
    if row["seen"] == CHUNK:
        last: str = row["last"]
        return last
    following = CLEAR_UNATTEMPTED if campaign.plan_cursor == SPREAD_DEADLINE and campaign.replan else 0
    await connection.execute("UPDATE campaigns SET plan_cursor = $2 WHERE id = $1", campaign.id, following)
    return None


async def newcomers(connection: Connection) -> list[Newcomer]:
    """Devices that running campaigns have to take in."""
    rows = await connection.fetch(
        """
        SELECT c.workspace_id, c.id, d.id AS device_id, d.leads_version FROM campaigns c
        JOIN devices d ON d.workspace_id = c.workspace_id AND d.id > c.newest_device_id AND d.deleted_at IS NULL
        LEFT JOIN campaign_newcomers n ON n.campaign_id = c.id AND n.device_id = d.id
        WHERE c.status = 'running' AND c.all_devices AND c.takes_newcomers
          AND c.planned_at IS NOT NULL AND c.plan_cursor >= 0
          AND d.leads_version > coalesce(n.planned_version, 0)
        ORDER BY c.id, d.id"""
    )
    return [Newcomer(WorkspaceId(r[0]), CampaignId(r[1]), DeviceId(r[2]), r[3]) for r in rows]


async def take_for(connection: Connection, newcomer: Newcomer) -> Campaign | None:
    """Lock a newcomer's campaign for one chunk; None when it no longer runs or another planner has it."""
    row = await connection.fetchrow(
        f"SELECT {COLUMNS} FROM campaigns c WHERE c.id = $1 AND c.status = 'running' "
        "AND c.planned_at IS NOT NULL FOR NO KEY UPDATE SKIP LOCKED",
        newcomer.campaign_id,
    )
    return read(row) if row else None


async def taken_in(connection: Connection, newcomer: Newcomer) -> None:
    """Note that all leads that the newcomer had are planned."""
    await connection.execute(
        """
        INSERT INTO campaign_newcomers (campaign_id, device_id, planned_version) VALUES ($1, $2, $3)
        ON CONFLICT (campaign_id, device_id)
        DO UPDATE SET planned_version = greatest(campaign_newcomers.planned_version, excluded.planned_version)""",
        newcomer.campaign_id,
        newcomer.device_id,
        newcomer.leads_version,
    )
