"""`make demo-linked`: a device is linked by its QR code and a campaign goes out through it, all before the testbed.

The client library, the wire protocol and Fleetcast are real; WhatsApp's server, the phone that scans the code and the
phones of the people are the testbed's. Exits with 0 only if every phone read its message, once.
"""

import asyncio
import io
import sys

import segno
from rich.console import Console
from rich.text import Text

from acceptance.linked_world import LinkedWorld, link_by_qr, make_leads, open_linked_world
from acceptance.phones import Reading, arrivals, judge, rows_of
from acceptance.world import Stuck
from fleetcast.cli.output import table
from fleetcast.cli.session import runner
from fleetcast.domain.pacing import Pace
from fleetcast.errors import FleetcastError
from fleetcast.observability.logging import configure_logging
from fleetcast.services.campaign_actions import launch_campaign
from fleetcast.services.campaigns import create_campaign
from fleetcast.services.workspaces import create_workspace
from fleetcast.settings import Settings

PEOPLE = 12
PACE = Pace(0.5, 1.5)
OWNER = "60190000001"
BODY = "Hello {{ name }}, your order {{ order_no }} is ready to be collected."
SECONDS = 120.0
_ENDED = "SELECT (status = 'finished')::int FROM campaigns WHERE id = $1"

console = Console()


def show_code(text: str) -> None:
    """Draw a QR code as `fleetcast device pair` does."""
    drawn = io.StringIO()
    segno.make(text, micro=False).terminal(drawn, border=2, compact=True)
    console.print(Text(drawn.getvalue().rstrip("\n"), style="#ffffff on #000000"), soft_wrap=True)


async def _campaign(world: LinkedWorld) -> Reading:
    workspace = await create_workspace(world.runtime, "Demo", time_zone="Asia/Kuala_Lumpur", region="MY")
    world.start("scheduler")
    world.start("sender")
    console.print("A linked device shows its QR code; a simulated phone scans it ...")
    await link_by_qr(world, workspace.id, "Counter", OWNER, PACE, show=show_code)
    people = await make_leads(world, workspace.id, PEOPLE)
    console.print(f"Counter is linked to +{OWNER} and online. A campaign to {people} people goes out ...")
    campaign = await create_campaign(
        world.runtime, workspace.id, {"title": "Demo", "body": BODY, "schedule": "now"}, actor="demo"
    )
    await launch_campaign(world.runtime, workspace.id, campaign.id, actor="demo")

    async def has_ended() -> bool:
        return await world.ask(_ENDED, campaign.id) == 1

    await world.until(has_ended, "the campaign ends", SECONDS)
    rows = await rows_of(world.runtime, campaign.id)
    came = {f"+{a.number}": a for a in arrivals(world.record)}
    table(
        ("to", "row", "what the phone shows"),
        [(r.recipient, r.status, came[r.recipient].text if r.recipient in came else "nothing") for r in rows],
    )
    return judge(rows, arrivals(world.record), world.numbers)


async def run() -> bool:
    """The demo; whether every phone read its message, once."""
    async with open_linked_world() as world:
        reading = await _campaign(world)
    whole = reading.read == reading.messages == PEOPLE and not (reading.duplicates or reading.lost or reading.astray)
    console.print(
        f"\nOf {reading.messages} messages the simulated phones read {reading.read}; {reading.duplicates} twice, "
        f"{reading.lost} lost, {reading.astray} astray. No real phone and no server of Meta was reached."
    )
    console.print("All checks hold." if whole else "A check does not hold.", style="bold")
    return whole


def main() -> int:
    """Run it: the exit code."""
    if sys.platform != "linux":
        console.print("The testbed can be trusted by the client library on Linux only; there is no demo here.")
        return 1
    try:
        return 0 if runner(asyncio.wait_for(run(), 10 * SECONDS)) else 1
    except (FleetcastError, Stuck, TimeoutError) as error:
        console.print(f"The demo did not come to its end: {error}", style="bold")
        return 1


if __name__ == "__main__":
    configure_logging(Settings(log_level="error"), "demo")
    sys.exit(main())
