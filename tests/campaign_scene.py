"""A workspace with devices and leads for tests of campaigns, written straight into the tables."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from fleetcast.domain.identifiers import CampaignId, DeviceId, LeadId, WorkspaceId
from fleetcast.engine.planner import Planner
from fleetcast.runtime import Runtime
from fleetcast.services.campaign_actions import launch_campaign
from fleetcast.services.campaigns import Campaign, CampaignFields, create_campaign, show_campaign
from fleetcast.store.connection import Row

ACTOR = "test"


@dataclass(slots=True)
class Scene:
    """What a test of campaigns stands on."""

    runtime: Runtime
    workspace: WorkspaceId
    devices: list[DeviceId] = field(default_factory=list)

    async def fetch(self, query: str, *arguments: object) -> list[Row]:
        async with self.runtime.db.connection() as connection:
            return list(await connection.fetch(query, *arguments))

    async def value(self, query: str, *arguments: object) -> Any:
        async with self.runtime.db.connection() as connection:
            return await connection.fetchval(query, *arguments)

    async def execute(self, statement: str, *arguments: object) -> None:
        async with self.runtime.db.connection() as connection:
            await connection.execute(statement, *arguments)

    async def add_device(self, name: str | None = None, *, state: str = "online") -> DeviceId:
        made = await self.value(
            "INSERT INTO devices (workspace_id, name, transport, state, shard_id) "
            "VALUES ($1, $2, 'simulator', $3::text::device_state, $4) RETURNING id",
            self.workspace,
            name or f"device {len(self.devices) + 1}",
            state,
            len(self.devices) % 64,
        )
        self.devices.append(DeviceId(made))
        return DeviceId(made)

    async def add_lead(
        self,
        device: DeviceId,
        phone: str,
        *,
        niches: Sequence[str] = (),
        status: str = "prospect",
        consent: str = "unknown",
        name: str = "",
        attributes: dict[str, str | None] | None = None,
    ) -> LeadId:
        async with self.runtime.db.transaction() as connection:
            made = await connection.fetchval(
                "INSERT INTO leads (workspace_id, device_id, phone, niches, target_status, consent, name, attributes) "
                "VALUES ($1, $2, $3, $4, $5::text::lead_status, $6::text::lead_consent, $7, $8) RETURNING id",
                self.workspace,
                device,
                phone,
                list(niches),
                status,
                consent,
                name,
                attributes or {},
            )
            await connection.execute(
                "UPDATE leads SET shared = true WHERE workspace_id = $1 AND phone = $2 AND "
                "(SELECT count(*) FROM leads WHERE workspace_id = $1 AND phone = $2) > 1",
                self.workspace,
                phone,
            )
            await connection.execute("UPDATE devices SET leads_version = leads_version + 1 WHERE id = $1", device)
        return LeadId(made)

    async def add_leads(self, device: DeviceId, count: int, *, first: int = 0) -> None:
        """Leads that differ by nothing but their numbers, +60120000000 and so on from `first`."""
        await self.execute(
            "INSERT INTO leads (workspace_id, device_id, phone, name) "
            "SELECT $1, $2, '+6012' || lpad(i::text, 7, '0'), 'Lead ' || i FROM generate_series($3::int, $4::int) i",
            self.workspace,
            device,
            first,
            first + count - 1,
        )
        await self.execute("UPDATE devices SET leads_version = leads_version + 1 WHERE id = $1", device)

    async def suppress(self, phone: str) -> None:
        await self.execute(
            "INSERT INTO suppressions (workspace_id, recipient, effective_at, source) "
            "VALUES ($1, $2, fleetcast_now(), 'person')",
            self.workspace,
            phone,
        )

    async def draft(self, **fields: Any) -> CampaignId:
        given: CampaignFields = {"title": "Sale", "body": "Hello {{ name | default: 'friend' }}", **fields}  # type: ignore[typeddict-item]
        return (await create_campaign(self.runtime, self.workspace, given, actor=ACTOR)).id

    async def launch(self, campaign_id: CampaignId) -> Campaign:
        return await launch_campaign(self.runtime, self.workspace, campaign_id, actor=ACTOR)

    async def launched(self, **fields: Any) -> CampaignId:
        """A campaign that was launched and planned to the end."""
        campaign_id = await self.draft(**fields)
        await self.launch(campaign_id)
        await self.plan()
        return campaign_id

    async def plan(self, planner: Planner | None = None) -> None:
        """Let a planner work until it has nothing to do."""
        planner = planner or Planner(self.runtime)
        for _ in range(500):
            if not await planner.run_once():
                return
        raise AssertionError("the planner does not come to an end")

    async def rows(self, campaign_id: CampaignId) -> list[Row]:
        return await self.fetch("SELECT * FROM broadcast_messages WHERE campaign_id = $1 ORDER BY id", campaign_id)

    async def recipients(self, campaign_id: CampaignId) -> list[str]:
        return sorted(r["recipient"] for r in await self.rows(campaign_id))

    async def check_counts(self, campaign_id: CampaignId) -> None:
        """Invariant 1: planned = sum over all statuses = distinct recipients, and the tallies say what the rows say."""
        report = await show_campaign(self.runtime, self.workspace, campaign_id)
        rows = await self.rows(campaign_id)
        truth: dict[str, int] = {}
        for row in rows:
            truth[row["status"]] = truth.get(row["status"], 0) + 1
        assert report.counts.by_status == truth
        assert report.counts.planned == len(rows) == len({r["recipient"] for r in rows})

    async def force(self, campaign_id: CampaignId, recipients: Iterable[str], *steps: str) -> None:
        """Walk rows through statuses by plain updates that keep the tallies, as the engine would."""
        for step in steps:
            async with self.runtime.db.transaction() as connection:
                await connection.execute(
                    """
                    WITH pick AS (SELECT id, status FROM broadcast_messages
                                  WHERE campaign_id = $1 AND recipient = ANY ($2::text[])),
                    moved AS (
                      UPDATE broadcast_messages b SET status = $3::text::message_status,
                        attempts = b.attempts + ($3 = 'sending')::int,
                        sent_at = CASE WHEN $3 = 'sent' THEN fleetcast_now() ELSE b.sent_at END,
                        reason = CASE WHEN $3 = 'failed' THEN 'recipient_refused' END
                      FROM pick WHERE b.id = pick.id RETURNING pick.status AS before, b.status AS after, b.reason)
                    INSERT INTO campaign_tallies (campaign_id, counter, reason, n)
                    SELECT $1, before::text, NULL, -count(*) FROM moved GROUP BY before
                    UNION ALL SELECT $1, after::text, reason, count(*) FROM moved GROUP BY after, reason""",
                    campaign_id,
                    list(recipients),
                    step,
                )
