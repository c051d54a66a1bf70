"""Rows for pages: what the planner, the senders and the devices would have written."""

from fleetcast.domain.identifiers import CampaignId, DeviceId, WorkspaceId
from fleetcast.store.connection import Database

FIGURES = {
    ("pending", None): 400,
    ("queued", None): 30,
    ("sending", None): 2,
    ("in_doubt", "no_answer"): 3,
    ("sent", None): 500,
    ("failed", "not_on_whatsapp"): 40,
    ("failed", "content_refused"): 5,
    ("skipped", "opt_out"): 20,
    ("delivered", None): 450,
    ("read", None): 210,
}
"""A campaign of 1,000 messages."""


async def add_device(
    db: Database, workspace: WorkspaceId, name: str, *, state: str = "online", reason: str = "", paused: bool = False
) -> DeviceId:
    async with db.connection() as connection:
        made = await connection.fetchval(
            """INSERT INTO devices (workspace_id, name, transport, state, state_reason, shard_id, paused_at)
               VALUES ($1, $2, 'simulator', $3::text::device_state, $4, 0, CASE WHEN $5 THEN fleetcast_now() END)
               RETURNING id""",
            workspace,
            name,
            state,
            reason,
            paused,
        )
    return DeviceId(made)


async def add_campaign(
    db: Database,
    workspace: WorkspaceId,
    title: str,
    *,
    status: str = "running",
    sums: dict[tuple[str, str | None], int] | None = None,
    paused_reason: str | None = None,
) -> CampaignId:
    async with db.transaction() as connection:
        content = await connection.fetchval(
            "INSERT INTO contents (workspace_id, body) VALUES ($1, 'Hello') RETURNING id", workspace
        )
        made = await connection.fetchval(
            """INSERT INTO campaigns (workspace_id, content_id, title, status, paused_reason, launched_at, planned_at)
               VALUES ($1, $2, $3, $4::text::campaign_status, $5, fleetcast_now(), fleetcast_now()) RETURNING id""",
            workspace,
            content,
            title,
            status,
            paused_reason,
        )
    for (counter, reason), n in (sums or {}).items():
        await add_tally(db, CampaignId(made), counter, n, reason)
    return CampaignId(made)


async def add_tally(db: Database, campaign: CampaignId, counter: str, n: int, reason: str | None = None) -> None:
    async with db.connection() as connection:
        await connection.execute(
            "INSERT INTO campaign_tallies (campaign_id, counter, reason, n) VALUES ($1, $2, $3, $4)",
            campaign,
            counter,
            reason,
            n,
        )
