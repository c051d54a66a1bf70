"""The stage on which the crash table is played."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from fleetcast.embedded.servers import EmbeddedServers
from fleetcast.runtime import Runtime
from tests.chaos.nursery import Nursery
from tests.chaos.stage import Stage, set_up


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    """Where the parts that are to fail begin."""
    with Nursery() as opened:
        yield opened


@pytest.fixture
async def stage(runtime: Runtime, servers: EmbeddedServers, nursery: Nursery, tmp_path: Path) -> AsyncIterator[Stage]:
    """Simulator and database; nothing runs yet."""
    async with set_up(runtime, servers, nursery, tmp_path) as made:
        yield made
