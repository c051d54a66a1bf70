"""`fleetcast simulator`: WhatsApp's stand-in, in the foreground.

Separate from the other processes because it stands outside Fleetcast: it needs no database and no Redis, and its ledger
judges what they did.
"""

from pathlib import Path
from typing import Annotated

import typer

from fleetcast.cli.output import say
from fleetcast.observability.logging import configure_logging
from fleetcast.settings import load_settings
from fleetcast.transports.simulator.behaviour import PROFILES
from fleetcast.transports.simulator.server import ServerOptions, parse_latency, run

app = typer.Typer()


@app.command()
def simulator(
    socket: Annotated[Path | None, typer.Option(help="Unix socket to listen on; else the one of the settings.")] = None,
    ledger: Annotated[
        Path | None, typer.Option(help="File with everything accepted; else one in the data directory.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Decides what becomes of each message.")] = 1,
    latency_ms: Annotated[
        str | None, typer.Option("--latency-ms", help="Milliseconds to an answer, such as 20-80.", metavar="FROM-TO")
    ] = None,
    profile: Annotated[str, typer.Option(help=f"How it behaves: {', '.join(PROFILES)}.")] = "quiet",
    with_parent: Annotated[
        bool, typer.Option("--with-parent", hidden=True, help="Stop when standard input is closed.")
    ] = False,
) -> None:
    """Play WhatsApp for any number of devices until Ctrl-C. Nothing leaves this machine."""
    settings = load_settings()
    configure_logging(settings, "simulator")
    options = ServerOptions(
        socket=socket or settings.simulator_socket or settings.data / "run" / "simulator.sock",
        ledger=ledger or settings.data / "simulator" / "ledger.jsonl",
        seed=seed,
        profile=profile,
        latency_ms=parse_latency(latency_ms) if latency_ms else None,
        production=settings.production,
        ends_with_stdin=with_parent,
    )
    run(options, ready=lambda: say(f"The simulator listens on {options.socket}. Its ledger is {options.ledger}."))
