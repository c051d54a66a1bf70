"""A running Fleetcast whose attempts wait one second for an answer, so that doubt comes soon."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from fleetcast.runtime import Runtime
from tests.running import Fleet, running_fleet


@pytest.fixture
async def fleet(runtime: Runtime, tmp_path: Path) -> AsyncIterator[Fleet]:
    """Everything running, nothing in it but a workspace."""
    hasty = replace(runtime, settings=runtime.settings.model_copy(update={"send_seconds": 1.0}))
    async with running_fleet(hasty, tmp_path) as running:
        yield running
