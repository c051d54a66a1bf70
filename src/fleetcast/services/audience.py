"""Whom a campaign would reach if it started now, and what the first of them would read."""

from dataclasses import dataclass
from zoneinfo import ZoneInfo

from fleetcast.domain.content import ContentError, Template
from fleetcast.domain.identifiers import CampaignId, WorkspaceId
from fleetcast.errors import NotFound
from fleetcast.runtime import Runtime
from fleetcast.services.campaigns import mean_gap
from fleetcast.store import audience, campaigns, contents, devices, overview, workspaces

__all__ = ["AudiencePreview", "preview_audience"]


@dataclass(frozen=True, slots=True)
class AudiencePreview:
    """An audience in numbers; they count people, not leads."""

    recipients: int
    """Exactly the messages that planning would make now."""
    lacking: int
    """Of the recipients: those who lack a variable that the text needs; they will be skipped."""
    suppressed: int
    """Left out: on the suppression list."""
    refused: int
    """Left out: they refused consent."""
    by_device: dict[str, int]
    """Recipients by the device's name, the fullest first."""
    seconds: float | None
    """Until the slowest device is through at its mean pace; None: nobody is reached."""
    sample: str | None
    """What the first recipient would read."""
    sample_problem: str | None
    """Why there is no sample."""


async def preview_audience(runtime: Runtime, workspace_id: WorkspaceId, campaign_id: CampaignId) -> AudiencePreview:
    """Count the audience by the planner's own rule and render the first text. Raises NotFound, Unavailable."""
    async with runtime.db.transaction() as connection:
        campaign = await campaigns.get(connection, workspace_id, campaign_id)
        workspace = await workspaces.by_id(connection, workspace_id)
        if campaign is None or workspace is None:
            raise NotFound(f"There is no campaign {campaign_id} in this workspace.")
        content = await contents.get(connection, workspace_id, campaign.content_id)
        assert content is not None
        found = await audience.count(connection, workspace_id, campaign.audience, content.required_variables)
        every = {d.id: d for d in await devices.of_workspace(connection, workspace_id)}
        now = await overview.now(connection)
        variables = None
        if found.sample is not None:
            variables = await audience.variables_of(connection, workspace_id, found.sample)
    counts = sorted(
        ((every[d], n) for d, n in found.by_device.items() if d in every), key=lambda pair: (-pair[1], pair[0].name)
    )
    sample = problem = None
    if variables is None:
        problem = "Nobody is reached." if not found.recipients else "Every recipient lacks a variable of the text."
    else:
        try:
            sample = Template.parse(content.body).render(variables, now.astimezone(ZoneInfo(workspace.time_zone)))
        except ContentError as error:
            problem = str(error)
    return AudiencePreview(
        recipients=found.recipients,
        lacking=found.lacking,
        suppressed=found.suppressed,
        refused=found.refused,
        by_device={device.name: n for device, n in counts},
        seconds=max((n * mean_gap(campaign, device) for device, n in counts), default=None),
        sample=sample,
        sample_problem=problem,
    )
