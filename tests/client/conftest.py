"""The real application, a key that may do everything, and a client whose network and time are the test's."""

from collections.abc import AsyncIterator

import pytest
from fastapi import FastAPI

from fleetcast.api.app import PREFIX, create_api
from fleetcast.client import Client
from fleetcast.domain.identifiers import WorkspaceId
from fleetcast.runtime import Runtime
from fleetcast.web.app import create_app
from tests.api import tenants
from tests.client.stage import Network, Time, client


@pytest.fixture
async def app(runtime: Runtime) -> AsyncIterator[FastAPI]:
    made = create_app(runtime, (PREFIX, create_api(runtime)))
    async with made.router.lifespan_context(made):
        yield made


@pytest.fixture
async def key(runtime: Runtime, workspace: WorkspaceId) -> str:
    return await tenants.key(runtime, workspace)


@pytest.fixture
def network(app: FastAPI) -> Network:
    return Network(app)


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
async def fleet(network: Network, key: str, time: Time) -> AsyncIterator[Client]:
    async with client(network, key, time) as opened:
        yield opened
