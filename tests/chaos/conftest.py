"""The stage on which the crash table is played."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fleetcast.runtime import Runtime
from tests.chaos.stage import Stage, set_up


@pytest.fixture
async def stage(runtime: Runtime, tmp_path: Path) -> AsyncIterator[Stage]:
    """Simulator and database; nothing runs yet."""
    async with set_up(runtime, tmp_path) as made:
        yield made
