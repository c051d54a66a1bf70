"""What the first page and `fleetcast status` show: bounded reads of campaigns, their tallies and the devices.

Separate from the modules of those nouns because these statements run once a second while somebody looks: they never
touch a message row but for a short peek into the open rows of the listed devices, and they never return more than a
page.
"""

from dataclasses import dataclass
from datetime import datetime

from fleetcast.domain.campaign import CampaignStatus
from fleetcast.domain.device import DeviceState, TransportKind
from fleetcast.domain.identifiers import CampaignId, DeviceId, WorkspaceId
from fleetcast.store.connection import Connection, Row


@dataclass(frozen=True, slots=True)
class CampaignRow:
    """A campaign without its counts."""

    id: CampaignId
    title: str
    status: CampaignStatus
    starts_at: datetime | None
    launched_at: datetime | None
    planned_at: datetime | None
    paused_at: datetime | None
    ended_at: datetime | None
    paused_reason: str | None


@dataclass(frozen=True, slots=True)
class TallyRow:
    """The sum of one counter of one campaign; `reason` is None where the counter has none."""

    campaign_id: CampaignId
    counter: str
    reason: str | None
    n: int


@dataclass(frozen=True, slots=True)
class DeviceCountRow:
    """How many devices share a state."""

    state: DeviceState
    transport: TransportKind
    paused: bool
    n: int
    sending: int
    """Of them, with an attempt that ended within the last minute."""


@dataclass(frozen=True, slots=True)
class DeviceRow:
    """A device as a card shows it."""

    id: DeviceId
    name: str
    phone: str | None
    transport: TransportKind
    state: DeviceState
    state_reason: str
    restricted_until: datetime | None
    paused: bool
    paused_reason: str | None
    last_send_at: datetime | None
    waiting: int
    """Open messages, counted no further than one beyond the peek."""


_CAMPAIGN = "id, title, status::text, starts_at, launched_at, planned_at, paused_at, ended_at, paused_reason"


def _campaign(row: Row) -> CampaignRow:
    return CampaignRow(CampaignId(row["id"]), row["title"], CampaignStatus(row["status"]), *row[3:])


async def workspace_names(connection: Connection, limit: int) -> list[tuple[WorkspaceId, str]]:
    """The first workspaces, oldest first."""
    rows = await connection.fetch("SELECT id, name FROM workspaces ORDER BY id LIMIT $1", limit)
    return [(WorkspaceId(r["id"]), r["name"]) for r in rows]


async def now(connection: Connection) -> datetime:
    """The database's instant: what every age on the page is counted from."""
    value: datetime = await connection.fetchval("SELECT fleetcast_now()")
    return value


async def campaign_counts(connection: Connection, workspace_id: WorkspaceId) -> dict[CampaignStatus, int]:
    """How many campaigns have each status; a status without one is absent."""
    rows = await connection.fetch(
        "SELECT status::text, count(*) AS n FROM campaigns WHERE workspace_id = $1 GROUP BY status", workspace_id
    )
    return {CampaignStatus(r["status"]): r["n"] for r in rows}


async def active_campaigns(connection: Connection, workspace_id: WorkspaceId, limit: int) -> list[CampaignRow]:
    """Running and paused campaigns, newest first; were there more than `limit`, the running ones stay."""
    rows = await connection.fetch(
        f"""SELECT * FROM (SELECT {_CAMPAIGN} FROM campaigns
              WHERE workspace_id = $1 AND status IN ('running', 'paused')
              ORDER BY status = 'running' DESC, id DESC LIMIT $2) listed
            ORDER BY id DESC""",
        workspace_id,
        limit,
    )
    return [_campaign(r) for r in rows]


async def scheduled_campaigns(connection: Connection, workspace_id: WorkspaceId, limit: int) -> list[CampaignRow]:
    """The next campaigns to start, the soonest first."""
    rows = await connection.fetch(
        f"SELECT {_CAMPAIGN} FROM campaigns WHERE workspace_id = $1 AND status = 'scheduled' "
        "ORDER BY starts_at, id LIMIT $2",
        workspace_id,
        limit,
    )
    return [_campaign(r) for r in rows]


async def resting_campaigns(connection: Connection, workspace_id: WorkspaceId, limit: int) -> list[CampaignRow]:
    """The newest drafts and ended campaigns."""
    rows = await connection.fetch(
        f"SELECT {_CAMPAIGN} FROM campaigns WHERE workspace_id = $1 AND status IN ('draft', 'finished', 'cancelled') "
        "ORDER BY id DESC LIMIT $2",
        workspace_id,
        limit,
    )
    return [_campaign(r) for r in rows]


async def campaign(connection: Connection, workspace_id: WorkspaceId, campaign_id: CampaignId) -> CampaignRow | None:
    """One campaign of the workspace, or None."""
    row = await connection.fetchrow(
        f"SELECT {_CAMPAIGN} FROM campaigns WHERE workspace_id = $1 AND id = $2",
        workspace_id,
        campaign_id,
    )
    return _campaign(row) if row else None


async def tallies(connection: Connection, workspace_id: WorkspaceId, campaign_ids: list[CampaignId]) -> list[TallyRow]:
    """The counters of these campaigns of the workspace; sums of zero are left out."""
    rows = await connection.fetch(
        """SELECT t.campaign_id, t.counter, t.reason, sum(t.n)::bigint AS n
           FROM campaigns c JOIN campaign_tallies t ON t.campaign_id = c.id
           WHERE c.workspace_id = $1 AND c.id = ANY ($2::bigint[])
           GROUP BY t.campaign_id, t.counter, t.reason HAVING sum(t.n) <> 0""",
        workspace_id,
        campaign_ids,
    )
    return [TallyRow(CampaignId(r["campaign_id"]), r["counter"], r["reason"], r["n"]) for r in rows]


async def device_counts(connection: Connection, workspace_id: WorkspaceId) -> list[DeviceCountRow]:
    """The devices by state, transport and pause."""
    rows = await connection.fetch(
        """WITH clock AS MATERIALIZED (SELECT fleetcast_now() AS now)
           SELECT state::text, transport, paused_at IS NOT NULL AS paused, count(*) AS n,
             count(*) FILTER (WHERE last_send_at > clock.now - interval '1 minute') AS sending
           FROM devices, clock WHERE workspace_id = $1 AND deleted_at IS NULL GROUP BY 1, 2, 3""",
        workspace_id,
    )
    return [
        DeviceCountRow(DeviceState(r["state"]), TransportKind(r["transport"]), r["paused"], r["n"], r["sending"])
        for r in rows
    ]


async def devices(connection: Connection, workspace_id: WorkspaceId, limit: int, peek: int) -> list[DeviceRow]:
    """The first devices in the order they were added: an order that a change of state does not disturb."""
    rows = await connection.fetch(
        """SELECT d.id, d.name, d.phone, d.transport, d.state::text, d.state_reason, d.restricted_until,
             d.paused_at IS NOT NULL AS paused, d.paused_reason, d.last_send_at, open.n
           FROM (SELECT * FROM devices WHERE workspace_id = $1 AND deleted_at IS NULL ORDER BY id LIMIT $2) d
           CROSS JOIN LATERAL (SELECT count(*) AS n FROM (
             SELECT FROM broadcast_messages m WHERE m.device_id = d.id AND m.is_open LIMIT $3) peek) open
           ORDER BY d.id""",
        workspace_id,
        limit,
        peek + 1,
    )
    return [
        DeviceRow(
            id=DeviceId(r["id"]),
            name=r["name"],
            phone=r["phone"],
            transport=TransportKind(r["transport"]),
            state=DeviceState(r["state"]),
            state_reason=r["state_reason"],
            restricted_until=r["restricted_until"],
            paused=r["paused"],
            paused_reason=r["paused_reason"],
            last_send_at=r["last_send_at"],
            waiting=r["n"],
        )
        for r in rows
    ]


async def single_in_doubt(connection: Connection, workspace_id: WorkspaceId) -> int:
    """How many messages without a campaign are in doubt."""
    value: int = await connection.fetchval(
        "SELECT count(*) FROM broadcast_messages WHERE workspace_id = $1 AND campaign_id IS NULL "
        "AND in_doubt_since IS NOT NULL AND status = 'in_doubt'",
        workspace_id,
    )
    return value


async def names_in_state(
    connection: Connection, workspace_id: WorkspaceId, states: list[DeviceState], limit: int
) -> dict[DeviceState, list[str]]:
    """A few names of devices in each of these states, the first added first."""
    rows = await connection.fetch(
        """SELECT wanted.state::text, d.name FROM unnest($2::text[]::device_state[]) wanted (state)
           CROSS JOIN LATERAL (SELECT id, name FROM devices WHERE workspace_id = $1 AND state = wanted.state
             AND deleted_at IS NULL ORDER BY id LIMIT $3) d
           ORDER BY d.id""",
        workspace_id,
        [s.value for s in states],
        limit,
    )
    found: dict[DeviceState, list[str]] = {}
    for row in rows:
        found.setdefault(DeviceState(row["state"]), []).append(row["name"])
    return found


async def has_leads(connection: Connection, workspace_id: WorkspaceId) -> bool:
    """Whether the workspace has any lead."""
    value: bool = await connection.fetchval(
        "SELECT EXISTS (SELECT FROM leads WHERE workspace_id = $1 AND deleted_at IS NULL)", workspace_id
    )
    return value
