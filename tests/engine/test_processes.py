"""What a sender and a scheduler need to start: no more than there are devices for."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from fleetcast.domain.device import TransportKind
from fleetcast.domain.identifiers import WorkspaceId
from fleetcast.engine.processes import run_scheduler, run_sender
from fleetcast.errors import Unavailable
from fleetcast.runtime import Runtime
from fleetcast.services.devices import add_device
from fleetcast.transports.base import Transport
from fleetcast.transports.simulator import client
from fleetcast.transports.simulator.client import SimulatorTransport

Process = Callable[..., Awaitable[None]]


@pytest.fixture
def nobody_listens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[TransportKind, Transport]:
    """The transport of a simulator that does not run."""
    monkeypatch.setattr(client, "PATIENCE", 0.1)
    return {TransportKind.SIMULATOR: SimulatorTransport(tmp_path / "nobody.sock")}


@pytest.mark.parametrize("process", [run_sender, run_scheduler])
async def test_an_installation_without_simulated_devices_needs_no_simulator(
    runtime: Runtime, workspace: WorkspaceId, nobody_listens: dict[TransportKind, Transport], process: Process
) -> None:
    await add_device(runtime, workspace, "Counter", transport=TransportKind.LINKED, pair_first=True)
    stop = asyncio.Event()
    stop.set()
    await process(runtime, transports=nobody_listens, stop=stop)


@pytest.mark.parametrize("process", [run_sender, run_scheduler])
async def test_simulated_devices_without_a_simulator_are_no_silence(
    runtime: Runtime, workspace: WorkspaceId, nobody_listens: dict[TransportKind, Transport], process: Process
) -> None:
    await add_device(runtime, workspace, "Counter")
    with pytest.raises(Unavailable, match="Start it with `fleetcast simulator`"):
        await process(runtime, transports=nobody_listens, stop=asyncio.Event())
