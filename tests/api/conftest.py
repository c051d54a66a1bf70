"""The whole web application, API included, on real servers and without a network; a client with a full key."""

from collections.abc import AsyncIterator

import httpx2
import pytest
from fastapi import FastAPI

from fleetcast.api.app import PREFIX, create_api
from fleetcast.domain.identifiers import WorkspaceId
from fleetcast.runtime import Runtime
from fleetcast.web.app import create_app
from tests.api import tenants


@pytest.fixture
async def app(runtime: Runtime) -> AsyncIterator[FastAPI]:
    made = create_app(runtime, (PREFIX, create_api(runtime)))
    async with made.router.lifespan_context(made):
        yield made


@pytest.fixture
async def api(app: FastAPI, runtime: Runtime, workspace: WorkspaceId) -> AsyncIterator[httpx2.AsyncClient]:
    """Asks with a key that may do everything in `workspace`."""
    async with tenants.client(app, key=await tenants.key(runtime, workspace)) as opened:
        opened.base_url = httpx2.URL(tenants.BASE + PREFIX + "/")
        yield opened
