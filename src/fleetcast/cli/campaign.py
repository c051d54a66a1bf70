"""`fleetcast campaign`: make a broadcast, look whom it reaches, set it in motion and hold it."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated

import typer

from fleetcast.cli.campaign_output import show_preview, show_report
from fleetcast.cli.content import Body, BodyFile, Media, NoMedia, content_fields
from fleetcast.cli.output import emit_json, local_time, number, say, table
from fleetcast.cli.reach import Match, MaxDelay, MinDelay, Target
from fleetcast.cli.session import JsonOption, WorkspaceOption, person, with_runtime
from fleetcast.domain.campaign import WhenOffline
from fleetcast.domain.identifiers import CampaignId, MessageId, WorkspaceId
from fleetcast.errors import InvalidInput
from fleetcast.runtime import Runtime
from fleetcast.services import campaign_actions, campaigns
from fleetcast.services.audience import preview_audience
from fleetcast.services.campaigns import Campaign, CampaignFields, find_campaign
from fleetcast.services.devices import find_device
from fleetcast.services.workspaces import Workspace, find_workspace

app = typer.Typer(help="Campaigns: one text to many people.", no_args_is_help=True)

CampaignArgument = Annotated[str, typer.Argument(metavar="CAMPAIGN", help="Its title or number.")]
Niche = Annotated[list[str] | None, typer.Option(help="A whole niche name; repeat it for several. None: everybody.")]
Device = Annotated[list[str] | None, typer.Option(help="A device; repeat it for several. Without it, or 'all': all.")]
Newcomers = Annotated[
    bool | None, typer.Option("--newcomers/--no-newcomers", help="Whether devices added later take part. Default: yes.")
]
Schedule = Annotated[str | None, typer.Option(help="Local time '2026-12-24 18:30', or 'now': when it is launched.")]
Deadline = Annotated[str | None, typer.Option(help="Time from the start to the end: 7d (default), 36h, 90m.")]
Offline = Annotated[WhenOffline | None, typer.Option(help="What happens to messages of offline devices: wait, skip.")]


def _fields(body_file: Path | None, media: str | None, **given: object) -> CampaignFields:
    return content_fields(body_file, media, **given)  # type: ignore[return-value]


def _run(
    workspace: str | None, name: str, work: Callable[[Runtime, WorkspaceId, CampaignId], Awaitable[Campaign]]
) -> tuple[Workspace, Campaign]:
    async def run(runtime: Runtime) -> tuple[Workspace, Campaign]:
        where = await find_workspace(runtime, workspace)
        found = await find_campaign(runtime, where.id, name)
        return where, await work(runtime, where.id, found.id)

    return with_runtime(run)


def _tell(campaign: Campaign, as_json: bool, sentence: str) -> None:
    if as_json:
        emit_json(campaign)
    else:
        say(f"Campaign {campaign.id} '{campaign.title}' {sentence}")


@app.command("create")
def create(
    title: Annotated[str, typer.Argument(help="A title for yourself; recipients never see it.")],
    workspace: WorkspaceOption = None,
    body: Body = None,
    body_file: BodyFile = None,
    media: Media = None,
    niche: Niche = None,
    niche_match: Match = None,
    target_status: Target = None,
    device: Device = None,
    newcomers: Newcomers = None,
    min_delay: MinDelay = None,
    max_delay: MaxDelay = None,
    schedule: Schedule = None,
    deadline: Deadline = None,
    when_offline: Offline = None,
    as_json: JsonOption = False,
) -> None:
    """Make a draft. Nothing is sent before it is launched."""
    fields = _fields(
        body_file,
        media,
        title=title,
        body=body,
        niches=niche,
        niche_match=niche_match,
        target_status=target_status,
        devices=device,
        takes_newcomers=newcomers,
        min_delay=min_delay,
        max_delay=max_delay,
        schedule=schedule,
        deadline=deadline,
        when_offline=when_offline,
    )

    async def work(runtime: Runtime) -> Campaign:
        where = await find_workspace(runtime, workspace)
        return await campaigns.create_campaign(runtime, where.id, fields, actor=person())

    made = with_runtime(work)
    _tell(made, as_json, f"is a draft. Look with `fleetcast campaign preview {made.id}`, then launch it.")


@app.command("edit")
def edit(
    campaign: CampaignArgument,
    workspace: WorkspaceOption = None,
    title: Annotated[str | None, typer.Option(help="A new title.")] = None,
    body: Body = None,
    body_file: BodyFile = None,
    media: Media = None,
    no_media: NoMedia = False,
    niche: Niche = None,
    everybody: Annotated[bool, typer.Option("--everybody", help="Take the niches away.")] = False,
    niche_match: Match = None,
    target_status: Target = None,
    device: Device = None,
    newcomers: Newcomers = None,
    min_delay: MinDelay = None,
    max_delay: MaxDelay = None,
    own_pace: Annotated[bool, typer.Option("--own-pace", help="Go back to each device's own pace.")] = False,
    schedule: Schedule = None,
    deadline: Deadline = None,
    when_offline: Offline = None,
    as_json: JsonOption = False,
) -> None:
    """Change what is given and nothing else. Content and audience of a running campaign change while it is paused."""
    for field, takes_away, gives in (
        ("media", no_media, media),
        ("niches", everybody, niche),
        ("min_delay", own_pace, min_delay if min_delay is not None else max_delay),
    ):
        if takes_away and gives is not None:
            raise InvalidInput(field, "cannot be given and taken away at once")
    fields = _fields(
        body_file,
        media,
        title=title,
        body=body,
        niches=[] if everybody else niche,
        niche_match=niche_match,
        target_status=target_status,
        devices=device,
        takes_newcomers=newcomers,
        min_delay=min_delay,
        max_delay=max_delay,
        schedule=schedule,
        deadline=deadline,
        when_offline=when_offline,
    )
    if no_media:
        fields["media"] = None
    if own_pace:
        fields["min_delay"] = fields["max_delay"] = None
    if not fields:
        raise InvalidInput("campaign", "say what to change; see --help")
    _, changed = _run(workspace, campaign, lambda r, w, c: campaigns.edit_campaign(r, w, c, fields, actor=person()))
    anew = " What was never attempted is being planned anew; resume it then." if changed.replan else ""
    _tell(changed, as_json, f"is changed.{anew}")


@app.command("list")
def show_all(
    workspace: WorkspaceOption = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many, newest first.")] = 100,
    as_json: JsonOption = False,
) -> None:
    """The newest campaigns."""

    async def work(runtime: Runtime) -> tuple[Workspace, list[tuple[Campaign, campaigns.Counts]]]:
        where = await find_workspace(runtime, workspace)
        return where, await campaigns.list_campaigns(runtime, where.id, limit=limit)

    where, found = with_runtime(work)
    if as_json:
        emit_json([{"campaign": c, "counts": n, "planned": n.planned} for c, n in found])
        return
    if not found:
        say("There is no campaign yet. Make one with `fleetcast campaign create TITLE --body TEXT`.")
        return
    rows = [
        (
            c.id,
            c.title,
            c.status,
            number(n.planned),
            *(number(n.by_status.get(s, 0)) for s in ("sent", "failed", "skipped")),
            local_time(c.started_at or c.starts_at, where.time_zone),
        )
        for c, n in found
    ]
    headers = ("id", "title", "status", "planned", "sent", "failed", "skipped", "start")
    table(headers, rows, right=("id", "planned", "sent", "failed", "skipped"))


@app.command("show")
def show(campaign: CampaignArgument, workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """One campaign: settings, text, counts by status and reason, time left."""

    async def work(runtime: Runtime) -> tuple[Workspace, campaigns.CampaignReport]:
        where = await find_workspace(runtime, workspace)
        found = await find_campaign(runtime, where.id, campaign)
        return where, await campaigns.show_campaign(runtime, where.id, found.id)

    where, report = with_runtime(work)
    show_report(report, where.time_zone, as_json=as_json)


@app.command("preview")
def preview(campaign: CampaignArgument, workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """Whom it would reach now, exactly, and what the first of them would read."""

    async def work(runtime: Runtime) -> object:
        where = await find_workspace(runtime, workspace)
        found = await find_campaign(runtime, where.id, campaign)
        return await preview_audience(runtime, where.id, found.id)

    found = with_runtime(work)
    if as_json:
        emit_json(found)
    else:
        show_preview(found)  # type: ignore[arg-type]


@app.command("launch")
def launch(campaign: CampaignArgument, workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """Start a draft: now, or at its scheduled time."""
    where, after = _run(workspace, campaign, lambda r, w, c: campaign_actions.launch_campaign(r, w, c, actor=person()))
    begins = local_time(after.starts_at, where.time_zone)
    _tell(after, as_json, f"starts at {begins}." if after.started_at is None else "is running.")


@app.command("withdraw")
def withdraw(campaign: CampaignArgument, workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """Take a scheduled start back: the campaign is a draft again."""
    _, after = _run(workspace, campaign, lambda r, w, c: campaign_actions.withdraw_campaign(r, w, c, actor=person()))
    _tell(after, as_json, "is a draft again.")


@app.command("pause")
def pause(
    campaign: CampaignArgument,
    workspace: WorkspaceOption = None,
    reason: Annotated[str | None, typer.Option(help="Why, for others.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Hold a running campaign."""
    _, after = _run(
        workspace, campaign, lambda r, w, c: campaign_actions.pause_campaign(r, w, c, actor=person(), reason=reason)
    )
    _tell(after, as_json, "is paused.")


@app.command("resume")
def resume(campaign: CampaignArgument, workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """Let a paused campaign go on."""
    _, after = _run(workspace, campaign, lambda r, w, c: campaign_actions.resume_campaign(r, w, c, actor=person()))
    _tell(after, as_json, "is running again.")


@app.command("cancel")
def cancel(campaign: CampaignArgument, workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """End a campaign for good. What was sent stays sent."""
    _, after = _run(workspace, campaign, lambda r, w, c: campaign_actions.cancel_campaign(r, w, c, actor=person()))
    _tell(after, as_json, "is cancelled.")


@app.command("clone")
def clone(campaign: CampaignArgument, workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """A new draft with the same content, audience, pace and schedule."""
    _, made = _run(workspace, campaign, lambda r, w, c: campaigns.clone_campaign(r, w, c, actor=person()))
    _tell(made, as_json, "is a draft.")


@app.command("retry")
def retry(
    campaign: CampaignArgument,
    workspace: WorkspaceOption = None,
    device: Annotated[str | None, typer.Option(help="Only what this device did not send.")] = None,
    unconfirmed: Annotated[
        list[int] | None, typer.Option(help="Instead: this unconfirmed message; a copy may arrive twice.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before sending unconfirmed messages again.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Send again what certainly was not sent; with --unconfirmed, messages that may have arrived."""
    if unconfirmed and not yes:
        typer.confirm(f"{len(unconfirmed)} may have arrived already; send a second copy?", abort=True, err=True)

    async def work(runtime: Runtime) -> int:
        where = await find_workspace(runtime, workspace)
        found = await find_campaign(runtime, where.id, campaign)
        if unconfirmed:
            ids = [MessageId(i) for i in unconfirmed]
            return await campaign_actions.retry_unconfirmed(runtime, where.id, found.id, ids, actor=person())
        sender = await find_device(runtime, where.id, device) if device else None
        return await campaign_actions.retry_campaign(
            runtime, where.id, found.id, actor=person(), device_id=sender.id if sender else None
        )

    count = with_runtime(work)
    if as_json:
        emit_json({"retried": count})
    else:
        say(f"{number(count)} messages wait again." if count else "There is nothing to send again.")
