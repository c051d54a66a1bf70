"""Use cases of reports: why messages failed, single sends in numbers, a campaign device by device."""

from collections.abc import Iterable
from dataclasses import dataclass

from fleetcast.domain.identifiers import CampaignId, DeviceId, WorkspaceId
from fleetcast.domain.pacing import Pace
from fleetcast.errors import NotFound
from fleetcast.runtime import Runtime
from fleetcast.store import campaigns, messages, reports
from fleetcast.store.campaigns import Counts
from fleetcast.store.reports import Failure, SlowDevice, Standing

__all__ = [
    "DevicePart",
    "Failure",
    "SlowDevice",
    "campaign_by_device",
    "failures",
    "single_send_counts",
    "slowest_devices",
]


@dataclass(frozen=True, slots=True)
class DevicePart:
    """One device's part of a campaign."""

    device_id: DeviceId
    device: str
    counts: Counts


async def failures(runtime: Runtime, workspace_id: WorkspaceId, campaign_id: CampaignId | None = None) -> list[Failure]:
    """Why messages failed or were skipped, the most frequent first: of a campaign, or of everything.

    Messages of campaigns count for ever, single sends for as long as they are kept. Raises NotFound, and Unavailable
    past 10 seconds.
    """
    async with runtime.db.transaction() as connection, messages.time_limit(connection):
        if campaign_id is not None and await campaigns.get(connection, workspace_id, campaign_id) is None:
            raise NotFound(f"There is no campaign {campaign_id} in this workspace.")
        found = {(f.status, f.reason): f.n for f in await reports.failures(connection, workspace_id, campaign_id)}
        if campaign_id is None:
            for s in await reports.single_sends(connection, workspace_id):
                if s.reason is not None:
                    found[s.status, s.reason] = found.get((s.status, s.reason), 0) + s.n
    return sorted((Failure(*kind, n) for kind, n in found.items()), key=lambda f: (-f.n, f.status, f.reason))


async def single_send_counts(runtime: Runtime, workspace_id: WorkspaceId, device_id: DeviceId | None = None) -> Counts:
    """How single sends stand, as far as they are kept; of a device or of all. Raises Unavailable past 10 seconds."""
    async with runtime.db.transaction() as connection, messages.time_limit(connection):
        return _counts(await reports.single_sends(connection, workspace_id, device_id))


async def campaign_by_device(runtime: Runtime, workspace_id: WorkspaceId, campaign_id: CampaignId) -> list[DevicePart]:
    """A campaign device by device, by name; empty once its messages are deleted. Raises NotFound, and Unavailable past
    10 seconds.
    """
    async with runtime.db.transaction() as connection, messages.time_limit(connection):
        if await campaigns.get(connection, workspace_id, campaign_id) is None:
            raise NotFound(f"There is no campaign {campaign_id} in this workspace.")
        rows = await reports.by_device(connection, workspace_id, campaign_id)
    parts: dict[DeviceId, list[Standing]] = {}
    for row in rows:
        parts.setdefault(row.device_id, []).append(row.standing)
    names = {row.device_id: row.device for row in rows}
    return [DevicePart(device_id, names[device_id], _counts(some)) for device_id, some in parts.items()]


async def slowest_devices(
    runtime: Runtime, workspace_id: WorkspaceId, campaign_id: CampaignId, limit: int
) -> list[SlowDevice]:
    """The devices of a campaign that are through last; empty once its messages are deleted.

    Raises NotFound, and Unavailable past 10 seconds.
    """
    async with runtime.db.transaction() as connection, messages.time_limit(connection):
        campaign = await campaigns.get(connection, workspace_id, campaign_id)
        if campaign is None:
            raise NotFound(f"There is no campaign {campaign_id} in this workspace.")
        pace = Pace.from_optional(campaign.min_delay, campaign.max_delay)
        return await reports.slowest(connection, workspace_id, campaign_id, pace.mean if pace else None, limit)


def _counts(standings: Iterable[Standing]) -> Counts:
    by_status: dict[str, int] = {}
    by_reason: dict[str, dict[str, int]] = {}
    delivered = read = 0
    for s in standings:
        by_status[s.status] = by_status.get(s.status, 0) + s.n
        if s.reason is not None:
            reasons = by_reason.setdefault(s.status, {})
            reasons[s.reason] = reasons.get(s.reason, 0) + s.n
        delivered, read = delivered + s.delivered, read + s.read
    return Counts(by_status, by_reason, delivered, read)
