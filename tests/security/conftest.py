"""The whole application with two whole workspaces in it, and all the ways into it."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from fastapi import FastAPI

from fleetcast.api.app import PREFIX, create_api
from fleetcast.runtime import Runtime
from fleetcast.web.app import create_app
from tests.security.routes import Way, ways
from tests.security.seeding import Tenant, whole_workspace


@dataclass(frozen=True, slots=True)
class Stage:
    """What a test of isolation stands on."""

    app: FastAPI
    runtime: Runtime
    ways: list[Way]
    ours: Tenant
    """Whose rows nobody else may see or change."""
    theirs: Tenant
    """Where the stranger is at home."""

    @property
    def api(self) -> list[Way]:
        """The ways of the API."""
        return [way for way in self.ways if way.is_api]

    @property
    def pages(self) -> list[Way]:
        """The ways of the dashboard."""
        return [way for way in self.ways if not way.is_api]


@pytest.fixture
async def app(runtime: Runtime) -> AsyncIterator[FastAPI]:
    made = create_app(runtime, (PREFIX, create_api(runtime)))
    async with made.router.lifespan_context(made):
        yield made


_ways: list[Way] = []
"""Every application has the same ones: they are found, and described, once."""


@pytest.fixture
async def stage(app: FastAPI, runtime: Runtime) -> Stage:
    if not _ways:
        _ways.extend(ways(app))
    return Stage(app, runtime, _ways, await whole_workspace(runtime), await whole_workspace(runtime))
