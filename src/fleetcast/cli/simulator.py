"""`fleetcast simulator`: WhatsApp's stand-in, in the foreground; and what its simulated phones do.

Separate from the other processes because it stands outside Fleetcast: it needs no database and no Redis, and its ledger
judges what they did.
"""

from pathlib import Path
from typing import Annotated

import typer

from fleetcast.cli.output import say
from fleetcast.cli.session import runner
from fleetcast.domain.identifiers import DeviceId
from fleetcast.domain.phone import parse_phone
from fleetcast.observability.logging import configure_logging
from fleetcast.settings import Settings, load_settings
from fleetcast.transports.simulator.behaviour import PROFILES
from fleetcast.transports.simulator.control import SimulatorControl
from fleetcast.transports.simulator.server import ServerOptions, parse_latency, run

app = typer.Typer(invoke_without_command=True)


@app.callback()
def simulator(
    context: typer.Context,
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
    if context.invoked_subcommand is not None:
        return
    settings = load_settings()
    configure_logging(settings, "simulator")
    options = ServerOptions(
        socket=simulator_socket(settings, socket),
        ledger=ledger or settings.data / "simulator" / "ledger.jsonl",
        seed=seed,
        profile=profile,
        latency_ms=parse_latency(latency_ms) if latency_ms else None,
        production=settings.production,
        ends_with_stdin=with_parent,
    )
    run(options, ready=lambda: say(f"The simulator listens on {options.socket}. Its ledger is {options.ledger}."))


@app.command()
def scan(
    code: Annotated[str, typer.Argument(help="What a QR code says, or the eight characters of a phone code.")],
    phone: Annotated[str | None, typer.Option(help="Number of the phone; else one that belongs to the device.")] = None,
    socket: Annotated[
        Path | None, typer.Option(help="Unix socket of the simulator; else the one of the settings.")
    ] = None,
) -> None:
    """Play the phone: take the code that a device shows, in a simulator that runs."""
    settings = load_settings()

    async def take() -> DeviceId:
        async with SimulatorControl(simulator_socket(settings, socket)) as control:
            return await control.take_code(code, None if phone is None else parse_phone(phone, "MY"))

    say(f"The phone is linked to device {runner(take())}.")


def simulator_socket(settings: Settings, given: Path | None) -> Path:
    """Where the simulator listens."""
    return given or settings.simulator_socket or settings.data / "run" / "simulator.sock"
