"""A testbed and real clients for every test that wants them; one process of clients serves all tests of a run.

Session files lie in memory where they can: a client writes 812 keys as it is paired.
"""

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from testbed.whatsapp_web.control import Control
from testbed.whatsapp_web.launch import Testbed
from tests import real_client
from tests.testbed.clients import Client, Process

_COUNTER = itertools.count(1)


@pytest.fixture(scope="session")
async def testbed(short_directory: Path) -> AsyncIterator[Testbed]:
    """A running testbed. Tests put back what they change."""
    async with Testbed(short_directory / "testbed") as running:
        yield running


@pytest.fixture
async def control(testbed: Testbed) -> AsyncIterator[Control]:
    """Orders to it; afterwards it behaves again."""
    async with testbed.control() as connection:
        yield connection
        await connection.behave()


@pytest.fixture(scope="session")
async def process(testbed: Testbed, short_directory: Path) -> AsyncIterator[Process]:
    """The process of the clients. A test that kills one starts its own."""
    real_client.needed()
    sessions = short_directory / "sessions"
    sessions.mkdir()
    async with Process(testbed, sessions) as running:
        yield running


@pytest.fixture
def number() -> Callable[[], str]:
    """Phone numbers that no other test has."""
    return fresh_number


def fresh_number() -> str:
    """A phone number that nobody had in this run."""
    return f"5511{next(_COUNTER):09d}"


@pytest.fixture
def new_client(process: Process) -> Callable[[], Awaitable[Client]]:
    """Makes clients that were never paired."""
    return lambda: process.client(f"client-{next(_COUNTER)}")


@pytest.fixture
async def device(new_client: Callable[[], Awaitable[Client]]) -> Client:
    """A client of this test's own, paired and online."""
    client = await new_client()
    await client.pair(fresh_number())
    return client


@pytest.fixture(scope="session")
async def lasting_device(process: Process) -> Client:
    """A client that is paired once."""
    client = await process.client("lasting")
    await client.pair(fresh_number())
    return client


@pytest.fixture
async def shared_device(lasting_device: Client) -> Client:
    """A paired client for tests that leave it online; it has heard nothing yet."""
    lasting_device.forget()
    return lasting_device
