"""A testbed that plays WhatsApp, and session files for any number of devices, made after one that was really paired."""

import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fleetcast.domain.identifiers import DeviceId
from fleetcast.transports.base import PairingOrder
from testbed.whatsapp_web.control import Control
from testbed.whatsapp_web.launch import Testbed
from testbed.whatsapp_web.session_files import SessionFiles
from tests import real_client
from tests.transports.contract import reading
from tests.transports.linked.scene import Scene, fresh_number


@pytest.fixture(scope="session")
async def testbed(short_directory: Path) -> AsyncIterator[Testbed]:
    """A running testbed. Tests put back what they change."""
    real_client.needed()
    async with Testbed(short_directory / "linked-testbed") as running:
        yield running


@pytest.fixture
async def control(testbed: Testbed) -> AsyncIterator[Control]:
    """Orders to it; afterwards it behaves again."""
    async with testbed.control() as connection:
        yield connection
        await connection.behave()


@pytest.fixture(scope="session")
async def session_files(testbed: Testbed, short_directory: Path) -> AsyncIterator[SessionFiles]:
    """Makes sessions without pairing, in the form of one that was paired."""
    folder = short_directory / "pattern"
    transport = Scene.transport_in(folder, testbed)
    await transport.start()
    device = DeviceId(1)
    try:
        async with testbed.control() as control, reading(transport) as reader:
            await transport.pair(PairingOrder(device, 1))
            await control.scan(fresh_number(), (await reader.code(device, 1)).text)
            await reader.paired(device)
    finally:
        await transport.stop()
    files = SessionFiles(folder / "1.db", seed=b"linked devices")
    yield files
    files.close()


@pytest.fixture
async def scene(
    testbed: Testbed, control: Control, session_files: SessionFiles, short_directory: Path
) -> AsyncIterator[Scene]:
    """A started transport with an empty folder of sessions of its own."""
    folder = Path(tempfile.mkdtemp(prefix="sessions-", dir=short_directory))
    made = Scene(folder, testbed, control, session_files)
    await made.transport.start()
    yield made
    await made.transport.stop()
