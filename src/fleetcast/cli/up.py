"""`fleetcast up`: everything on this machine in one process tree, until Ctrl-C."""

import asyncio
from typing import Annotated

import structlog
import typer

from fleetcast.cli.output import console, say
from fleetcast.cli.session import check_servers, prepare_accounts, runner
from fleetcast.cli.status import watch_campaign
from fleetcast.domain.pacing import Pace
from fleetcast.domain.scaling import Scaling
from fleetcast.engine.supervisor import Beat, Supervisor
from fleetcast.engine.tree import SimulatorOptions, Tree
from fleetcast.engine.waiting import pause, unless
from fleetcast.errors import ConfigurationError, Conflict, Unavailable
from fleetcast.observability.logging import configure_logging
from fleetcast.runtime import Runtime, open_runtime
from fleetcast.services.demo import DemoPlan, demo_workspace, start_demo
from fleetcast.services.scaling import senders_wanted
from fleetcast.settings import load_settings
from fleetcast.store import schema
from fleetcast.web.address import free_port

app = typer.Typer()
log = structlog.get_logger()

LOAD_SECONDS = 5.0
"""Between looks at how busy the senders are."""
PLAN = DemoPlan(devices=50, leads=5_000, pace=Pace(1.0, 3.0))


@app.command()
def up(
    demo: Annotated[
        bool, typer.Option("--demo", help="Add a demo workspace with simulated devices and launch a campaign.")
    ] = False,
) -> None:
    """Run everything on this machine: servers, simulator, scheduler, sender and dashboard, until Ctrl-C."""
    settings = load_settings()
    configure_logging(settings, "up", level="warning")
    if demo and settings.production:
        raise Conflict("The demo is not for production mode: leave out --demo or FLEETCAST_MODE.")
    with Tree(settings, simulator=SimulatorOptions("demo" if demo else "quiet")) as tree:
        tree.start_servers(port=free_port(settings))
        runner(_serve(tree, demo=demo))


async def _serve(tree: Tree, *, demo: bool) -> None:
    await check_servers(tree.settings)
    if tree.served.database_url is None:
        raise ConfigurationError("no database was started")
    await schema.migrate(tree.served.database_url.get_secret_value())
    async with open_runtime(tree.served, pool_size=2) as runtime:
        if demo:
            await demo_workspace(runtime)
        await prepare_accounts(runtime)
    tree.start_parts()
    say(f"Fleetcast runs. The dashboard: {tree.web_url}", style="bold")
    say(f"Data: {tree.settings.data}. Stop with Ctrl-C.")

    async def watch(stop: asyncio.Event, beat: Beat) -> None:
        beat()
        await tree.watch(stop)

    async with open_runtime(tree.served, pool_size=4) as runtime:

        async def scale(stop: asyncio.Event, beat: Beat) -> None:
            await _follow_load(runtime, tree, stop, beat)

        async def show(stop: asyncio.Event, beat: Beat) -> None:
            beat()
            await _show_demo(runtime, stop)

        parts = Supervisor("up")
        parts.add("watch", watch)
        parts.add("scaling", scale)
        if demo:
            parts.add("demo", show)
        await parts.run()
    say("Fleetcast has stopped.")


async def _follow_load(runtime: Runtime, tree: Tree, stop: asyncio.Event, beat: Beat) -> None:
    """Start a sender more while they are busy, let one go when they have long been idle."""
    scaling = Scaling(tree.settings.senders_min, max(tree.settings.senders_min, tree.settings.senders_max))
    clock = asyncio.get_running_loop().time
    while not stop.is_set():
        beat()
        try:
            wanted = await senders_wanted(runtime)
        except Unavailable:
            wanted = tree.senders  # nobody can say now
        senders = scaling.decide(clock(), tree.senders, wanted)
        if senders != tree.senders:
            log.warning("senders follow the load", senders=senders, before=tree.senders)
            tree.scale(senders)
        await pause(stop, LOAD_SECONDS)


async def _show_demo(runtime: Runtime, stop: asyncio.Event) -> None:
    """Launch the demo and show its progress; what runs goes on when the campaign is through."""
    demo = await start_demo(runtime, PLAN, say)
    if await unless(stop, watch_campaign(runtime, demo.workspace.id, demo.campaign, console)) is not None:
        say("The demo campaign is through; Fleetcast goes on until Ctrl-C.")
    await stop.wait()
