"""A running Fleetcast for the tutorial tests."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fleetcast.runtime import Runtime
from tests.running import Fleet, running_fleet


@pytest.fixture
async def fleet(runtime: Runtime, tmp_path: Path) -> AsyncIterator[Fleet]:
    """Everything running, nothing in it but a workspace."""
    async with running_fleet(runtime, tmp_path) as running:
        yield running
