"""A small broadcast for tests: real rows, moved by the real transitions under a real lease."""

from dataclasses import dataclass, field
from datetime import timedelta

from fleetcast.domain.device import shard_for
from fleetcast.domain.identifiers import CampaignId, DeviceId, MessageId, Phone, WorkspaceId
from fleetcast.domain.message import MessageStatus, Outcome, Reason
from fleetcast.store import shards, transitions
from fleetcast.store.connection import Connection
from fleetcast.store.transitions import Claim, Claimed, OtherResult, SentResult

SENDER = "sender-1"


@dataclass
class Broadcast:
    """A running campaign over simulated devices. `messages` are in the order of `phones`, devices in turn."""

    workspace: WorkspaceId
    campaign: CampaignId
    devices: list[DeviceId]
    messages: list[MessageId]
    phones: list[Phone]
    epochs: dict[int, int] = field(default_factory=dict)

    async def queue(self, connection: Connection) -> None:
        """T1 for all that is due."""
        await transitions.top_up(connection, self.devices, [100] * len(self.devices))

    async def claim(self, connection: Connection, *messages: MessageId, gap_ms: int = 0) -> list[Claimed]:
        """T2 for these messages."""
        rows = await connection.fetch(
            "SELECT id, shard_id, device_id, campaign_id FROM broadcast_messages WHERE id = ANY ($1::bigint[])",
            list(messages),
        )
        claims = [Claim(r["id"], r["shard_id"], r["device_id"], r["campaign_id"] or 0, gap_ms) for r in rows]
        return await transitions.claim(connection, claims, self.epochs, SENDER, "test")

    async def send(self, connection: Connection, *messages: MessageId, gap_ms: int = 0) -> None:
        """T2 and T3a, one message after the other."""
        for message in messages:
            [claimed] = await self.claim(connection, message, gap_ms=gap_ms)
            result = SentResult(
                claimed.id, claimed.attempt, claimed.epoch, f"provider-{claimed.id}", claimed.now, b"sha"
            )
            assert await transitions.record_sent(connection, [result], self.devices) == 1

    async def end(
        self, connection: Connection, message: MessageId, after: MessageStatus, reason: Reason, outcome: Outcome
    ) -> None:
        """T2 and another end than `sent`."""
        [claimed] = await self.claim(connection, message)
        result = OtherResult(claimed.id, claimed.attempt, claimed.epoch, after, reason, outcome, "code", claimed.now)
        assert await transitions.record_other(connection, [result], self.devices) == 1


async def make_broadcast(
    connection: Connection,
    workspace: WorkspaceId,
    *,
    devices: int = 2,
    people: int = 6,
    phones: list[Phone] | None = None,
) -> Broadcast:
    """Plan one message for each person, on devices that are online and have no pace, under leased shards.

    Without `phones` the campaign has `people` of its own.
    """
    device_ids = []
    for _ in range(devices):
        device_id = await connection.fetchval("SELECT nextval(pg_get_serial_sequence('devices', 'id'))")
        await connection.execute(
            "INSERT INTO devices (id, workspace_id, name, transport, state, shard_id, min_delay, max_delay) "
            "OVERRIDING SYSTEM VALUE VALUES ($1, $2, $3, 'simulator', 'online', $4, 0, 0)",
            device_id,
            workspace,
            f"device {device_id}",
            shard_for(device_id),
        )
        device_ids.append(DeviceId(device_id))
    content = await connection.fetchval(
        "INSERT INTO contents (workspace_id, body) VALUES ($1, 'Hello') RETURNING id", workspace
    )
    campaign = await connection.fetchval(
        "INSERT INTO campaigns (workspace_id, content_id, title, status, planned_at) "
        "VALUES ($1, $2, 'Spring', 'running', fleetcast_now()) RETURNING id",
        workspace,
        content,
    )
    phones = phones or [Phone(f"+601{campaign % 10_000:04d}{i:05d}") for i in range(people)]
    messages = []
    for i, phone in enumerate(phones):
        device = device_ids[i % devices]
        lead = await connection.fetchval(
            "INSERT INTO leads (workspace_id, device_id, phone) VALUES ($1, $2, $3) RETURNING id",
            workspace,
            device,
            phone,
        )
        messages.append(
            await connection.fetchval(
                "INSERT INTO broadcast_messages (workspace_id, device_id, campaign_id, lead_id, content_id, "
                "not_before, expires_at, created_at, shard_id, recipient, dedupe_key, variables) "
                "VALUES ($1, $2, $3, $4, $5, fleetcast_now(), fleetcast_now() + interval '7 days', fleetcast_now(), "
                "$6, $7, 'c:' || $3::bigint || ':' || $7, '{}') RETURNING id",
                workspace,
                device,
                campaign,
                lead,
                content,
                shard_for(device),
                phone,
            )
        )
    await connection.execute(
        "INSERT INTO campaign_tallies (campaign_id, counter, n) VALUES ($1, 'pending', $2)", campaign, len(phones)
    )
    made = Broadcast(workspace, CampaignId(campaign), device_ids, messages, phones)
    await shards.acquire(connection, SENDER, None, 300, 64)
    made.epochs = {r["id"]: r["epoch"] for r in await connection.fetch("SELECT id, epoch FROM shards")}
    return made


async def move_time(connection: Connection, by: timedelta) -> None:
    """Move `fleetcast_now()`; leases are renewed first, as a running sender would."""
    await connection.execute("UPDATE shards SET expires_at = expires_at + $1", by)
    await connection.execute("UPDATE installation SET clock_offset = clock_offset + $1", by)
