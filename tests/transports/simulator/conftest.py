"""Simulators for tests: one that many tests share, each with devices of its own, and others for those who break it."""

import itertools
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from fleetcast.domain.identifiers import DeviceId
from fleetcast.transports.base import DeviceHandle
from fleetcast.transports.simulator.client import SimulatorTransport
from fleetcast.transports.simulator.control import SimulatorControl
from fleetcast.transports.simulator.launch import SimulatorProcess

_devices = itertools.count(1)


@pytest.fixture
def device() -> DeviceHandle:
    """A device that no other test uses."""
    return DeviceHandle(DeviceId(next(_devices)))


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a path short enough for a socket."""
    path = Path(tempfile.mkdtemp(prefix="sim-", dir="/tmp"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def shared_simulator() -> Iterator[SimulatorProcess]:
    """One simulator of the profile `fast`, for tests that neither kill it nor change its behaviour for all."""
    path = Path(tempfile.mkdtemp(prefix="sim-", dir="/tmp"))
    with SimulatorProcess(path / "simulator.sock", path / "ledger.jsonl", profile="fast") as process:
        yield process
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def simulator(folder: Path) -> Iterator[SimulatorProcess]:
    """A simulator for this test alone, of the profile `fast`."""
    with SimulatorProcess(folder / "simulator.sock", folder / "ledger.jsonl", profile="fast") as process:
        yield process


@pytest.fixture
async def control(simulator: SimulatorProcess) -> AsyncIterator[SimulatorControl]:
    """Orders to this test's simulator."""
    async with SimulatorControl(simulator.socket) as orders:
        yield orders


Connect = Callable[[], Awaitable[SimulatorTransport]]


@pytest.fixture
async def connect(simulator: SimulatorProcess) -> AsyncIterator[Connect]:
    """Makes started transports of this test's simulator."""
    made: list[SimulatorTransport] = []

    async def one() -> SimulatorTransport:
        transport = SimulatorTransport(simulator.socket)
        made.append(transport)
        await transport.start()
        return transport

    yield one
    for transport in made:
        await transport.stop()


@pytest.fixture
async def transport(connect: Connect) -> SimulatorTransport:
    """A started transport of this test's simulator."""
    return await connect()
