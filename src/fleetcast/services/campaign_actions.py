"""What sets a campaign in motion, holds it, ends it or brings it back: one transaction and one audit entry each.

A status moves by compare-and-set on the campaign's locked row, so of any number of simultaneous launches one wins and
the others are told. Nudges go out after the commit.
"""

from collections.abc import Sequence

from fleetcast.domain.campaign import CampaignStatus
from fleetcast.domain.content import Template, check_variables
from fleetcast.domain.identifiers import CampaignId, DeviceId, MessageId, WorkspaceId
from fleetcast.errors import Conflict, InvalidInput, InvalidInputs, NotFound
from fleetcast.runtime import Runtime
from fleetcast.store import audience, audit, campaigns, contents, devices, messages, overview, transitions, workspaces
from fleetcast.store.campaigns import Campaign
from fleetcast.store.connection import Connection

__all__ = [
    "cancel_campaign",
    "launch_campaign",
    "pause_campaign",
    "resume_campaign",
    "retry_campaign",
    "retry_unconfirmed",
    "withdraw_campaign",
]

_S = CampaignStatus


async def launch_campaign(
    runtime: Runtime, workspace_id: WorkspaceId, campaign_id: CampaignId, *, actor: str
) -> Campaign:
    """Start a draft now, or schedule it if it has a time. Its rows are planned by the planner.

    Raises Conflict unless it is a draft; InvalidInputs for a start in the past, no devices, no leads that match, or a
    text with variables that no lead has.
    """
    async with runtime.db.transaction() as connection:
        campaign = await _locked(connection, workspace_id, campaign_id)
        if campaign.status is not _S.DRAFT:
            raise Conflict(f"Campaign '{campaign.title}' is already {campaign.status}.")
        await _check_launch(connection, campaign)
        after = await _move(
            connection, campaign, "launch" if campaign.starts_at is None else "schedule", actor, "campaign.launch"
        )
    await runtime.nudges.plan(campaign_id)
    await runtime.nudges.campaigns(campaign_id)
    return after


async def withdraw_campaign(
    runtime: Runtime, workspace_id: WorkspaceId, campaign_id: CampaignId, *, actor: str
) -> Campaign:
    """Take a planned start back: the campaign is a draft again. Raises Conflict unless it is scheduled."""
    async with runtime.db.transaction() as connection:
        campaign = await _locked(connection, workspace_id, campaign_id)
        _only(campaign, {_S.SCHEDULED}, "only a planned start can be taken back")
        return await _move(connection, campaign, "withdraw", actor)


async def pause_campaign(
    runtime: Runtime,
    workspace_id: WorkspaceId,
    campaign_id: CampaignId,
    *,
    actor: str,
    reason: str | None = None,
) -> Campaign:
    """Hold a running campaign: what was queued goes back, and what is being sent at this moment ends by itself.

    Raises Conflict unless it is running.
    """
    async with runtime.db.transaction() as connection:
        campaign = await _locked(connection, workspace_id, campaign_id)
        _only(campaign, {_S.RUNNING}, "only a running campaign can be paused")
        after = await _move(connection, campaign, "pause", actor, reason=reason)
        await transitions.requeue_campaign(connection, campaign_id)
    await runtime.nudges.campaigns(campaign_id)
    return after


async def resume_campaign(
    runtime: Runtime, workspace_id: WorkspaceId, campaign_id: CampaignId, *, actor: str
) -> Campaign:
    """Let a paused campaign go on. Raises Conflict unless it is paused, and while an edit is still being planned."""
    async with runtime.db.transaction() as connection:
        campaign = await _locked(connection, workspace_id, campaign_id)
        _only(campaign, {_S.PAUSED}, "only a paused campaign can be resumed")
        if campaign.replan:
            raise Conflict(
                f"Campaign '{campaign.title}' is still being planned anew after an edit: try again in a moment."
            )
        after = await _move(connection, campaign, "resume", actor)
        active = await campaigns.active_devices(connection, workspace_id, campaign)
    await runtime.nudges.plan(campaign_id)
    await runtime.nudges.campaigns(campaign_id)
    await runtime.nudges.work(active)
    return after


async def cancel_campaign(
    runtime: Runtime, workspace_id: WorkspaceId, campaign_id: CampaignId, *, actor: str
) -> Campaign:
    """End a campaign for good. From this commit on nothing of it is claimed; its waiting rows are then cancelled in
    chunks by the sweeper. Raises Conflict when it has ended already.
    """
    async with runtime.db.transaction() as connection:
        campaign = await _locked(connection, workspace_id, campaign_id)
        _only(campaign, {_S.DRAFT, _S.SCHEDULED, _S.RUNNING, _S.PAUSED}, "there is nothing to cancel")
        after = await _move(connection, campaign, "cancel", actor)
    await runtime.nudges.campaigns(campaign_id)
    return after


async def retry_campaign(
    runtime: Runtime,
    workspace_id: WorkspaceId,
    campaign_id: CampaignId,
    *,
    actor: str,
    device_id: DeviceId | None = None,
) -> int:
    """Send again what certainly was not sent (T8), of all devices or one; returns how many messages wait again.

    A finished campaign is opened again, with as much time as it had. Raises Conflict for a campaign that has not
    started or was cancelled, or whose messages were deleted by retention; InvalidInput for a device that is not there.
    """
    async with runtime.db.transaction() as connection:
        if device_id is not None and await devices.by_id(connection, workspace_id, device_id) is None:
            raise InvalidInput("device_id", f"there is no device {device_id} in this workspace")
        await connection.execute(audience.SHARE_SUPPRESSIONS, workspace_id)
        campaign = await _locked(connection, workspace_id, campaign_id)
        _only_retryable(campaign)
        waiting = await transitions.retry_certain(connection, workspace_id, campaign_id, device_id)
        if waiting:
            await _reopen(connection, campaign, actor, {"messages": len(waiting), "device_id": device_id})
    await _wake(runtime, campaign_id, waiting)
    return len(waiting)


async def retry_unconfirmed(
    runtime: Runtime,
    workspace_id: WorkspaceId,
    campaign_id: CampaignId,
    message_ids: Sequence[MessageId],
    *,
    actor: str,
) -> int:
    """Send again messages of which nobody knows whether they arrived (T8u): a copy may arrive twice.

    Only for a list that a person has seen and confirmed. Returns how many wait again. Raises InvalidInput for a message
    that is not an unconfirmed one of this campaign; then nothing is changed.
    """
    async with runtime.db.transaction() as connection:
        await connection.execute(audience.SHARE_SUPPRESSIONS, workspace_id)
        campaign = await _locked(connection, workspace_id, campaign_id)
        _only_retryable(campaign)
        for message_id in message_ids:
            message = await messages.one(connection, workspace_id, message_id)
            if message is None or message.campaign_id != campaign_id or message.reason != "unconfirmed":
                raise InvalidInput("messages", f"{message_id} is not an unconfirmed message of this campaign")
        waiting = await transitions.retry_unconfirmed(connection, workspace_id, message_ids)
        if waiting:
            await _reopen(connection, campaign, actor, {"unconfirmed": list(message_ids)})
    await _wake(runtime, campaign_id, waiting)
    return len(waiting)


async def _check_launch(connection: Connection, campaign: Campaign) -> None:
    problems: list[InvalidInput] = []
    now = await overview.now(connection)
    if campaign.starts_at is not None and campaign.starts_at < now:
        problems.append(InvalidInput("schedule", 'the start is in the past: give a later time, or "now"'))
    content = await contents.get(connection, campaign.workspace_id, campaign.content_id)
    workspace = await workspaces.by_id(connection, campaign.workspace_id)
    assert content is not None
    assert workspace is not None
    try:
        check_variables(Template.parse(content.body), frozenset(workspace.attribute_keys))
    except InvalidInputs as error:
        problems += error.problems
    except InvalidInput as error:
        problems.append(error)
    if not await campaigns.active_devices(connection, campaign.workspace_id, campaign):
        problems.append(InvalidInput("devices", "the campaign has no device to send from: add one, or choose another"))
    elif not await audience.is_anybody(connection, campaign.workspace_id, campaign.audience):
        problems.append(
            InvalidInput(
                "niches",
                "nobody is reached: no lead of these devices fits the niches and status and may be written to",
            )
        )
    if len(problems) == 1:
        raise problems[0]
    if problems:
        raise InvalidInputs(problems)


async def _locked(connection: Connection, workspace_id: WorkspaceId, campaign_id: CampaignId) -> Campaign:
    found = await campaigns.locked(connection, workspace_id, campaign_id)
    if found is None:
        raise NotFound(f"There is no campaign {campaign_id} in this workspace.")
    return found


def _only(campaign: Campaign, allowed: set[CampaignStatus], otherwise: str) -> None:
    if campaign.status not in allowed:
        raise Conflict(f"Campaign '{campaign.title}' is {campaign.status}: {otherwise}.")


def _only_retryable(campaign: Campaign) -> None:
    _only(campaign, {_S.RUNNING, _S.PAUSED, _S.FINISHED}, "there is nothing to retry")
    if campaign.retiring_at is not None:
        raise Conflict(
            f"The messages of campaign '{campaign.title}' have been kept as long as was set and are deleted: "
            "there is nothing left to retry. Clone it to send it again."
        )


async def _move(
    connection: Connection,
    campaign: Campaign,
    step: str,
    actor: str,
    action: str | None = None,
    reason: str | None = None,
) -> Campaign:
    if not await campaigns.move(connection, campaign.workspace_id, campaign.id, campaign.status, step, reason):
        raise Conflict(f"Campaign '{campaign.title}' has just been changed by somebody else.")
    after = await _locked(connection, campaign.workspace_id, campaign.id)
    await audit.record(
        connection,
        campaign.workspace_id,
        actor,
        action or f"campaign.{step}",
        f"campaign {campaign.id}",
        before={"status": campaign.status.value},
        after={"status": after.status.value} | ({"reason": reason} if reason else {}),
    )
    return after


async def _reopen(connection: Connection, campaign: Campaign, actor: str, what: dict[str, object]) -> None:
    """Let the campaign run again if it had finished, and give it time."""
    if campaign.status is _S.FINISHED:
        await campaigns.move(connection, campaign.workspace_id, campaign.id, campaign.status, "reopen")
    await campaigns.extend_deadline(connection, campaign.workspace_id, campaign.id)
    await audit.record(
        connection, campaign.workspace_id, actor, "campaign.retry", f"campaign {campaign.id}", after=what
    )


async def _wake(runtime: Runtime, campaign_id: CampaignId, of_devices: Sequence[int]) -> None:
    if of_devices:
        await runtime.nudges.plan(campaign_id)
        await runtime.nudges.campaigns(campaign_id)
        await runtime.nudges.work(sorted(set(of_devices)))
