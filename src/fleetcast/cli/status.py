"""`fleetcast status`: what goes out, how fast, until when, and what needs a person, in the terminal.

The same figures as the first page (`services.overview`). `watch_campaign` follows one campaign to its end, for the demo
and the launch. On a terminal the picture moves in place; into a file or pipe go plain lines.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import typer
from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from fleetcast.cli.output import console, emit_json
from fleetcast.cli.session import JsonOption, WorkspaceOption, with_runtime
from fleetcast.domain.campaign import CampaignStatus
from fleetcast.domain.identifiers import CampaignId, WorkspaceId
from fleetcast.errors import InvalidInput, Unavailable
from fleetcast.runtime import Runtime
from fleetcast.services.overview import CampaignLine, CampaignLook, Meter, Need, Overview, look_at_campaign, overview
from fleetcast.services.workspaces import find_workspace
from fleetcast.web.words import CAMPAIGN, DEVICE, per_minute, percent, plural

LOOK_EVERY = 1.0
"""Seconds between two looks on a terminal."""
LINE_EVERY = 5.0
"""Seconds between two lines where there is no terminal."""

_STYLE = {"run": "blue", "ok": "green", "warn": "yellow", "bad": "red", "wait": "", "end": "dim"}
_OVER = (CampaignStatus.FINISHED, CampaignStatus.CANCELLED)
_NEED = {
    "in_doubt": ("message may or may not have left", "messages may or may not have left"),
    "campaign_paused": ("campaign is paused", "campaigns are paused"),
    "paused": ("device is paused", "devices are paused"),
    "banned": ("number was banned by WhatsApp", "numbers were banned by WhatsApp"),
    "logged_out": ("device was logged out: pair it again", "devices were logged out: pair them again"),
    "restricted": ("number is restricted by WhatsApp", "numbers are restricted by WhatsApp"),
}

app = typer.Typer()


def _clock(instant: datetime, at: datetime, zone: str) -> str:
    local = instant.astimezone(ZoneInfo(zone))
    return local.strftime("%H:%M" if local.date() == at.astimezone(ZoneInfo(zone)).date() else "%a %d %b %H:%M")


def _pace(line: CampaignLine, at: datetime, zone: str) -> str:
    """Rate and estimate in words; empty for what does not move."""
    if line.row.status is not CampaignStatus.RUNNING:
        return ""
    words = f"{per_minute(line.rate)}/min"
    if line.finish:
        return f"{words}, done about {_clock(line.finish, at, zone)}"
    return f"{words}, still being planned" if line.planning else words


def _figures(line: CampaignLine) -> Text:
    """The parts of a campaign; parts of zero that nobody misses are left out. They add up to the planned messages."""
    counts = line.counts
    parts = [(f"{counts.sent:,} sent", "blue")]
    if counts.delivered:
        parts.append((f"({counts.delivered:,} delivered, {counts.read:,} read)", "dim"))
    for n, word, style in (
        (counts.left, "to go", ""),
        (counts.in_doubt, "in doubt", "yellow"),
        (counts.failed, "failed", "red"),
        (counts.skipped, "skipped", "dim"),
        (counts.cancelled, "cancelled", "dim"),
    ):
        if n or word == "to go":
            parts.append((f"{n:,} {word}", style))
    return Text("  ").join(Text(word, style) for word, style in parts)


def _campaigns(lines: Sequence[CampaignLine], at: datetime, zone: str) -> list[RenderableType]:
    """Two lines each: title, state, bar and pace in columns; below, the parts."""
    wide = min(40, max((cell_len(c.row.title) for c in lines), default=0))
    drawn: list[RenderableType] = []
    for line in lines:
        word, kind = CAMPAIGN[line.row.status]
        head = Table.grid(padding=(0, 2))
        for width in (wide, 9, 30):
            head.add_column(width=width, no_wrap=True, overflow="ellipsis")
        bar = ProgressBar(
            total=max(1, line.counts.planned), completed=line.counts.done, complete_style="blue", finished_style="green"
        )
        share = Text(f"{percent(line.counts.share)} of {line.counts.planned:,}")
        head.add_row(Text(line.row.title, "bold"), Text(word, _STYLE[kind]), bar, share, Text(_pace(line, at, zone)))
        drawn += [head, Text.assemble("  ", _figures(line))]
    return drawn


def _need(need: Need) -> Text:
    one, many = _NEED[need.kind]
    names = f" ({', '.join(need.names)})" if need.names else ""
    return Text(
        f"  {plural(need.n, one, many)}{names}", "yellow" if need.kind not in ("paused", "campaign_paused") else ""
    )


def _devices(o: Overview) -> Text:
    if not o.fleet.total:
        return Text("No device yet. Add one with `fleetcast device add NAME`.")
    text = Text.assemble((plural(o.fleet.total, "device"), "bold"), f", {o.fleet.sending:,} sending:")
    for key, (word, kind) in DEVICE.items():
        if n := o.fleet.standings.get(key):
            text.append(f"  {n:,} {word.lower()}", _STYLE[kind])
    return text


def picture(o: Overview) -> RenderableType:
    """The whole state for a terminal."""
    zone = o.workspace.time_zone
    lines: list[RenderableType] = [
        Text.assemble((o.workspace.name, "bold"), (f"  {o.at.astimezone(ZoneInfo(zone)):%H:%M:%S} ({zone})", "dim"))
    ]
    if o.fleet.simulated and o.fleet.simulated == o.fleet.total:
        lines.append(Text("Simulated devices: no message leaves this machine.", "dim"))
    lines += [Text(str(trouble), "yellow") for trouble in o.troubles]
    lines.append(Text())
    if o.active:
        finish = f", done about {_clock(o.finish, o.at, zone)}" if o.finish else ""
        pace = f" messages a minute, {o.left:,} still to send{finish}"
        lines.append(Text.assemble((per_minute(o.rate), "bold"), pace))
        lines += _campaigns(o.active, o.at, zone)
    else:
        lines.append(Text("Nothing is going out."))
    active = o.running + o.statuses.get(CampaignStatus.PAUSED, 0)
    if active > len(o.active):
        lines.append(Text(f"  {len(o.active)} of {active:,} campaigns shown.", "dim"))
    for c in o.scheduled:
        start = f" starts {_clock(c.row.starts_at, o.at, zone)}" if c.row.starts_at else ""
        lines.append(Text.assemble((c.row.title, "bold"), (f"  Scheduled{start}", "dim")))
    lines += [Text(), _devices(o)]
    if o.needs:
        lines += [Text(), Text("Needs a person", "bold"), *(_need(n) for n in o.needs)]
    return Group(*lines)


def _facts(line: CampaignLine) -> dict[str, Any]:
    counts = asdict(line.counts)
    counts["reasons"] = [{"status": s, "reason": r, "n": n} for s, r, n in line.counts.reasons]
    return {
        **asdict(line.row),
        "planned": line.counts.planned,
        "counts": counts,
        "rate_per_minute": line.rate,
        "finish_about": line.finish,
    }


def facts(o: Overview) -> dict[str, Any]:
    """The whole state for machines. Rates need several looks, so a single one has none (null)."""
    return {
        "workspace": {"id": o.workspace.id, "name": o.workspace.name, "time_zone": o.workspace.time_zone},
        "at": o.at,
        "rate_per_minute": o.rate,
        "finish_about": o.finish,
        "campaigns": dict(o.statuses),
        "active": [_facts(c) for c in o.active],
        "scheduled": [_facts(c) for c in o.scheduled],
        "devices": {
            "total": o.fleet.total,
            "sending": o.fleet.sending,
            "cannot_send": o.fleet.cannot_send,
            "simulated": o.fleet.simulated,
            "by_state": o.fleet.standings,
        },
        "needs_a_person": [asdict(n) for n in o.needs],
        "troubles": {trouble.process: str(trouble) for trouble in o.troubles},
    }


def _plain_line(look: CampaignLook) -> Text:
    line, clock = look.line, look.at.astimezone(ZoneInfo(look.zone))
    word, _ = CAMPAIGN[line.row.status]
    pace = _pace(line, look.at, look.zone)
    return Text.assemble(
        f"{clock:%H:%M:%S}  {line.row.title}: {word.lower()}, ",
        f"{percent(line.counts.share)} of {line.counts.planned:,}  ",
        _figures(line),
        f"  {pace}" if pace else "",
    )


async def watch_campaign(
    runtime: Runtime,
    workspace_id: WorkspaceId,
    campaign_id: CampaignId,
    console: Console | None,
    *,
    look_every: float = LOOK_EVERY,
    line_every: float = LINE_EVERY,
) -> CampaignLine:
    """Show a campaign's progress until it is finished or cancelled; returns its last figures.

    On a terminal a bar that moves in place, else a line every `line_every` seconds; without a console nothing. A
    database that is away for a moment is said and waited for. Raises NotFound.
    """
    meter, said, told = Meter(), float("-inf"), ""
    moving = console is not None and console.is_terminal
    with Live(console=console, auto_refresh=False) if moving else _Nothing() as live:
        while True:
            try:
                look = await look_at_campaign(runtime, workspace_id, campaign_id, meter)
            except Unavailable as error:
                live.update(Text(f"{error} Trying again.", "yellow"), refresh=True)
                await asyncio.sleep(look_every)
                continue
            over = look.line.row.status in _OVER
            live.update(Group(*_campaigns([look.line], look.at, look.zone)), refresh=True)
            now = runtime.clock.monotonic()
            if console is not None and not moving and (over or now - said >= line_every):
                text = _plain_line(look)
                if over or text.plain[8:] != told:  # the clock alone is no news
                    console.print(text, soft_wrap=True)
                said, told = now, text.plain[8:]
            if over:
                return look.line
            await asyncio.sleep(look_every)


class _Nothing:
    """Stands where a moving picture would be."""

    def __enter__(self) -> "_Nothing":
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def update(self, picture: RenderableType, *, refresh: bool = False) -> None:
        """Draw nothing."""


async def _watch(runtime: Runtime, workspace_id: WorkspaceId) -> None:
    meter = Meter()
    with Live(console=console, auto_refresh=False, screen=False) if console.is_terminal else _Nothing() as live:
        while True:
            try:
                drawn = picture(await overview(runtime, workspace_id, meter))
            except Unavailable as error:
                drawn = Text(f"{error} Trying again.", "yellow")
            live.update(drawn, refresh=True)
            if not console.is_terminal:
                console.print(drawn)
                console.print()
            await asyncio.sleep(LOOK_EVERY if console.is_terminal else LINE_EVERY)


@app.command("status")
def status(
    workspace: WorkspaceOption = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Look again every second until interrupted; shows rates.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """What goes out now, how fast, until when, and what needs a person."""
    if watch and as_json:
        raise InvalidInput("--json", "prints one look; leave out --watch")

    async def work(runtime: Runtime) -> Overview | None:
        found = await find_workspace(runtime, workspace)
        if watch:
            await _watch(runtime, found.id)
            return None
        return await overview(runtime, found.id)

    o = with_runtime(work)
    if o is not None:
        emit_json(facts(o)) if as_json else console.print(picture(o))
