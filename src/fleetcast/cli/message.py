"""`fleetcast message`: what became of each message, and decisions about those in doubt."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Annotated

import typer

from fleetcast.cli.output import emit_json, local_time, number, say, table
from fleetcast.cli.session import JsonOption, WorkspaceOption, person, with_runtime
from fleetcast.domain.identifiers import MessageId, WorkspaceId
from fleetcast.domain.message import Delivery, MessageStatus, Reason
from fleetcast.domain.phone import parse_phone
from fleetcast.runtime import Runtime
from fleetcast.services import doubts
from fleetcast.services.campaigns import find_campaign
from fleetcast.services.devices import find_device
from fleetcast.services.messages import (
    LARGEST_PAGE,
    LAST_ID,
    MessagePage,
    MessageRow,
    Story,
    list_messages,
    show_message,
)
from fleetcast.services.single_sends import DEFAULT_EXPIRES_AFTER, SingleSend, send_message
from fleetcast.services.workspaces import Workspace, find_workspace

app = typer.Typer(help="What became of each message.", no_args_is_help=True)


@app.command("list")
def show_all(
    workspace: WorkspaceOption = None,
    campaign: Annotated[str | None, typer.Option(help="Only of this campaign: its title or its number.")] = None,
    device: Annotated[str | None, typer.Option(help="Only of this device.")] = None,
    status: Annotated[MessageStatus | None, typer.Option(help="Only with this status.")] = None,
    reason: Annotated[Reason | None, typer.Option(help="Only with this reason.")] = None,
    recipient: Annotated[str | None, typer.Option(help="Only to this number.")] = None,
    after: Annotated[str | None, typer.Option(help="Where the page before said it goes on.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=LARGEST_PAGE, help="Messages a page.")] = 50,
    as_json: JsonOption = False,
) -> None:
    """Messages by pages: those of a campaign by number, all others newest first."""

    async def work(runtime: Runtime) -> tuple[Workspace, MessagePage]:
        where = await find_workspace(runtime, workspace)
        whole = await find_campaign(runtime, where.id, campaign) if campaign else None
        sender = await find_device(runtime, where.id, device) if device else None
        page = await list_messages(
            runtime,
            where.id,
            campaign_id=whole.id if whole else None,
            device_id=sender.id if sender else None,
            status=status,
            reason=reason,
            recipient=parse_phone(recipient, where.region) if recipient else None,
            after=after,
            limit=limit,
        )
        return where, page

    where, page = with_runtime(work)
    if as_json:
        emit_json(page)
        return
    if not page.messages:
        say("There are no such messages.")
        return
    rows = [
        (
            m.id,
            m.recipient,
            m.device,
            m.campaign or m.sequence or "-",
            m.status if m.delivery is Delivery.NONE else f"{m.status}, {m.delivery}",
            m.reason or "",
            m.attempts,
            local_time(m.ended_at or m.sent_at or m.claimed_at or m.queued_at or m.created_at, where.time_zone),
        )
        for m in page.messages
    ]
    table(("id", "to", "device", "campaign", "status", "reason", "attempts", "since"), rows, right=("id", "attempts"))
    if page.next:
        say(f"More with --after {page.next}", style="dim")


@app.command("show")
def show(
    message: Annotated[int, typer.Argument(min=1, help="The message's id.")],
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Everything that happened to one message, in order."""

    async def work(runtime: Runtime) -> tuple[Workspace, Story]:
        where = await find_workspace(runtime, workspace)
        return where, await show_message(runtime, where.id, MessageId(message))

    where, story = with_runtime(work)
    if as_json:
        emit_json(story)
        return
    m = story.message
    became = m.status if m.delivery is Delivery.NONE else f"{m.status}, {m.delivery}"
    say(
        f"Message {m.id} to {m.recipient} from {m.device}: {became}{f' ({m.reason})' if m.reason else ''}", style="bold"
    )
    if m.sequence is not None:
        say(f"Sequence {m.sequence_id}: {m.sequence}")
    if m.campaign is not None:
        say(f"Campaign {m.campaign_id}: {m.campaign}")
    if m.expires_at is not None and m.status.is_open:
        say(f"Not before {local_time(m.not_before, where.time_zone)}, ends {local_time(m.expires_at, where.time_zone)}")
    if story.waits_for is not None:
        say(f"It waits until it is known whether message {story.waits_for}, to the same person, arrived")
    table(("time", "what", ""), [(local_time(t.at, where.time_zone), t.what, t.detail) for t in story.timeline])


@app.command("send")
def send(
    to: Annotated[str, typer.Argument(help="The number, as people write it in the device's country.")],
    text: Annotated[str, typer.Argument(help="Sent as it is written.")],
    device: Annotated[str, typer.Option(help="Who sends it.")],
    workspace: WorkspaceOption = None,
    expires_after: Annotated[str, typer.Option(help="What has not left by then is skipped.")] = DEFAULT_EXPIRES_AFTER,
    as_json: JsonOption = False,
) -> None:
    """Send a message to one person, at the device's pace and before what campaigns have there."""

    async def work(runtime: Runtime) -> MessageRow:
        where = await find_workspace(runtime, workspace)
        sender = await find_device(runtime, where.id, device)
        asked = SingleSend(sender.id, to, text, expires_after=expires_after)
        return await send_message(runtime, where.id, asked, actor=person())

    made = with_runtime(work)
    if as_json:
        emit_json(made)
        return
    say(f"Message {made.id} to {made.recipient}: {made.status}{f' ({made.reason})' if made.reason else ''}")


decisions = typer.Typer(help="Messages in doubt: nobody knows whether they left. You decide.", no_args_is_help=True)
app.add_typer(decisions, name="in-doubt")

Messages = Annotated[list[int], typer.Argument(min=1, metavar="ID...", help="The messages' ids.")]
Decision = Callable[[Runtime, WorkspaceId, list[MessageId]], Awaitable[int]]


@decisions.command("list")
def show_doubts(
    workspace: WorkspaceOption = None,
    after: Annotated[int, typer.Option(min=0, max=LAST_ID, help="Only messages with a higher id.")] = 0,
    limit: Annotated[int, typer.Option(min=1, max=LARGEST_PAGE, help="Messages a page.")] = 50,
    as_json: JsonOption = False,
) -> None:
    """Messages in doubt now. Evidence may still settle them; those that stay are failed, unconfirmed, in the end."""

    async def work(runtime: Runtime) -> tuple[Workspace, list[MessageRow]]:
        where = await find_workspace(runtime, workspace)
        return where, await doubts.list_doubts(runtime, where.id, after=after, limit=limit)

    where, found = with_runtime(work)
    if as_json:
        emit_json(found)
        return
    if not found:
        say("Nothing is in doubt.")
        return
    rows = [
        (
            m.id,
            m.recipient,
            m.device,
            m.campaign or m.sequence or "-",
            m.reason or "",
            local_time(m.in_doubt_since, where.time_zone),
        )
        for m in found
    ]
    table(("id", "to", "device", "campaign", "why", "since"), rows, right=("id",))
    if len(found) == limit:
        say(f"More with --after {found[-1].id}", style="dim")


def _decide(workspace: str | None, ids: list[int], as_json: bool, decide: Decision, became: str) -> None:
    async def work(runtime: Runtime) -> int:
        where = await find_workspace(runtime, workspace)
        return await decide(runtime, where.id, [MessageId(i) for i in ids])

    count = with_runtime(work)
    if as_json:
        emit_json({"messages": count})
    else:
        say(f"{number(count)} {'message' if count == 1 else 'messages'} {became}.")


@decisions.command("arrived")
def arrived(messages: Messages, workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """These arrived: you know it from the person or from the phone. They count as sent."""
    _decide(workspace, messages, as_json, partial(doubts.confirm_arrived, actor=person()), "counted as sent")


@decisions.command("give-up")
def give_up(messages: Messages, workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """Wait no longer: these are failed, unconfirmed. They can still be sent again by `campaign retry --unconfirmed`."""
    _decide(workspace, messages, as_json, partial(doubts.give_up, actor=person()), "given up")


@decisions.command("resend")
def resend(
    messages: Messages,
    workspace: WorkspaceOption = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Send these again although they may have arrived."""
    if not yes:
        typer.confirm(f"{len(messages)} may have arrived already; send a second copy?", abort=True, err=True)

    async def work(runtime: Runtime) -> doubts.Resent:
        where = await find_workspace(runtime, workspace)
        return await doubts.resend(runtime, where.id, [MessageId(i) for i in messages], actor=person())

    done = with_runtime(work)
    if as_json:
        emit_json(done)
        return
    say(f"{number(done.waiting)} {'message waits' if done.waiting == 1 else 'messages wait'} again.")
    if done.kept_back:
        say(f"{number(done.kept_back)} given up instead: these people have asked for no more messages.")
