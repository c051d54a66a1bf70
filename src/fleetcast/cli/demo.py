"""`fleetcast demo`: a broadcast to its end without a terminal, judged by the simulator's ledger.

It has a data directory of its own below the ordinary one, so that it never touches real data; when it was killed, the
next one goes on with what it left and judges the whole.
"""

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from fleetcast.cli.output import console, emit_json, number, say, seconds, table
from fleetcast.cli.session import check_servers, runner
from fleetcast.cli.status import watch_campaign
from fleetcast.domain.pacing import Pace
from fleetcast.engine.supervisor import Beat, Supervisor
from fleetcast.engine.tree import SimulatorOptions, Tree
from fleetcast.engine.waiting import unless
from fleetcast.errors import ConfigurationError, Conflict, Unavailable
from fleetcast.observability.logging import configure_logging
from fleetcast.runtime import Runtime, open_runtime
from fleetcast.services.campaigns import CampaignReport, show_campaign
from fleetcast.services.demo import DemoPlan, start_demo
from fleetcast.services.ledger_check import LedgerCheck, check_ledger
from fleetcast.settings import load_settings
from fleetcast.store import schema
from fleetcast.store.invariants import Violation, broken_invariants

app = typer.Typer()

PATIENCE_SECONDS = 600.0
"""A demo that has not come to its end by then has failed."""


@dataclass(frozen=True, slots=True)
class DemoResult:
    """What a demo ended with; `holds` decides the exit code."""

    report: CampaignReport
    took: float
    resumed: bool
    ledger: LedgerCheck
    violations: list[Violation]

    @property
    def holds(self) -> bool:
        """Whether the campaign is finished, the ledger agrees and no invariant is broken."""
        return self.report.campaign.status == "finished" and self.ledger.holds and not self.violations


@app.command()
def demo(
    devices: Annotated[int, typer.Option(min=1, max=1_000, help="Simulated devices.")] = 20,
    leads: Annotated[int, typer.Option(min=1, max=5_000, help="Rows of the example file.")] = 2_000,
    min_delay: Annotated[float, typer.Option(help="Seconds between two sends of a device, at least.")] = 0.1,
    max_delay: Annotated[float, typer.Option(help="And at most.")] = 0.4,
    seed: Annotated[int, typer.Option(help="Of the simulator's behaviour.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Run a demo broadcast to its end and check it against the simulator's ledger. Exit code 0 only if all holds."""
    ordinary = load_settings()
    if ordinary.production:
        raise Conflict("The demo is not for production mode: leave out FLEETCAST_MODE.")
    settings = ordinary.model_copy(update={"data": ordinary.data / "demo"})
    configure_logging(settings, "demo", level="warning")
    plan = DemoPlan(devices, leads, Pace(min_delay, max_delay))
    with Tree(settings, parts=("scheduler", "sender"), simulator=SimulatorOptions("demo", seed)) as tree:
        tree.start_servers()
        result = runner(_run(tree, plan, as_json=as_json))
    _print(result, as_json=as_json)
    raise typer.Exit(0 if result.holds else 1)


async def _run(tree: Tree, plan: DemoPlan, *, as_json: bool) -> DemoResult:
    await check_servers(tree.settings)
    if tree.served.database_url is None:
        raise ConfigurationError("no database was started")
    await schema.migrate(tree.served.database_url.get_secret_value())
    tree.start_parts()
    found: list[DemoResult] = []
    async with open_runtime(tree.served, pool_size=4) as runtime:

        async def watch(stop: asyncio.Event, beat: Beat) -> None:
            beat()
            await tree.watch(stop)

        async def play(stop: asyncio.Event, beat: Beat) -> None:
            beat()
            result = await unless(stop, _play(runtime, plan, tree.ledger, quiet=as_json))
            if result is not None:
                found.append(result)
                parts.stop()
                await stop.wait()

        parts = Supervisor("demo")
        parts.add("watch", watch)
        parts.add("play", play)
        await parts.run()
    if not found:
        raise KeyboardInterrupt
    return found[0]


async def _play(runtime: Runtime, plan: DemoPlan, ledger: Path, *, quiet: bool) -> DemoResult:
    def tell(sentence: str) -> None:
        if not quiet:
            say(sentence)

    loop = asyncio.get_running_loop()
    started = loop.time()
    made = await start_demo(runtime, plan, tell)
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            await watch_campaign(runtime, made.workspace.id, made.campaign, None if quiet else console)
    except TimeoutError:
        raise Unavailable(
            f"The demo did not come to its end within {seconds(PATIENCE_SECONDS)}; logs: {runtime.settings.data}/log."
        ) from None
    took = loop.time() - started
    async with runtime.db.connection() as connection:
        violations = await broken_invariants(connection)
    report = await show_campaign(runtime, made.workspace.id, made.campaign)
    return DemoResult(report, took, made.resumed, await check_ledger(runtime, ledger), violations)


def _print(result: DemoResult, *, as_json: bool) -> None:
    counts, ledger = result.report.counts, result.ledger
    if as_json:
        emit_json(
            {
                "holds": result.holds,
                "campaign": result.report.campaign.title,
                "status": result.report.campaign.status,
                "seconds": round(result.took, 1),
                "resumed": result.resumed,
                "planned": counts.planned,
                "by_status": counts.by_status,
                "by_reason": counts.by_reason,
                "delivered": counts.delivered,
                "read": counts.read,
                "ledger": ledger,
                "violations": result.violations,
            }
        )
        return
    say(f"\n{result.report.campaign.title}: {result.report.campaign.status} after {seconds(round(result.took, 1))}")
    rows = [(status, number(n), _reasons(counts.by_reason.get(status, {}))) for status, n in counts.by_status.items()]
    table(("status", "messages", "reasons"), [*rows, ("planned", number(counts.planned), "")], right=("messages",))
    say(f"Of the sent, {number(counts.delivered)} were delivered and {number(counts.read)} read.")
    say(
        f"Ledger: {number(ledger.accepted)} accepted, {len(ledger.twice)} twice, {len(ledger.lost)} lost, "
        f"{len(ledger.unknown)} unaccounted. Invariants broken: {len(result.violations)}."
    )
    for violation in result.violations[:10]:
        say(f"  invariant {violation.invariant}, {violation.subject}: {violation.what}")
    say("All checks hold." if result.holds else "A check does not hold.", style="bold")


def _reasons(reasons: dict[str, int]) -> str:
    return ", ".join(f"{reason} {number(n)}" for reason, n in reasons.items())
