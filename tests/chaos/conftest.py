"""The stage on which the crash table is played."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fleetcast.embedded.servers import EmbeddedServers
from fleetcast.runtime import Runtime
from tests.chaos.stage import Stage, set_up


@pytest.fixture
async def stage(runtime: Runtime, servers: EmbeddedServers, tmp_path: Path) -> AsyncIterator[Stage]:
    """Simulator and database; nothing runs yet."""
    async with set_up(runtime, servers, tmp_path) as made:
        yield made
