"""The dashboard with the API inside, without a network; tests of the stream start the real server."""

from collections.abc import AsyncIterator

import httpx2
import pytest
from fastapi import FastAPI

from fleetcast.api.app import PREFIX, create_api
from fleetcast.domain.identifiers import WorkspaceId
from fleetcast.runtime import Runtime
from fleetcast.web.app import create_app
from tests.api.tenants import Person
from tests.security.seeding import Tenant, whole_workspace
from tests.web import visitors


@pytest.fixture(autouse=True)
def quick(quick_hashing: None) -> None:
    """What a hash costs is asked in `tests/services/accounts/test_passwords.py`."""


@pytest.fixture
async def app(runtime: Runtime) -> AsyncIterator[FastAPI]:
    made = create_app(runtime, (PREFIX, create_api(runtime)))
    async with made.router.lifespan_context(made):
        yield made


@pytest.fixture
async def shop(runtime: Runtime) -> Tenant:
    """A workspace in which something of everything exists."""
    return await whole_workspace(runtime)


@pytest.fixture
async def person(runtime: Runtime) -> Person:
    """Who is signed in; an owner of `workspace`, where a test has one."""
    return await visitors.signed_in(runtime)


@pytest.fixture
async def workspace(workspace: WorkspaceId, runtime: Runtime, person: Person) -> WorkspaceId:
    await visitors.join(runtime, person, workspace)
    return workspace


@pytest.fixture
async def client(app: FastAPI, person: Person) -> AsyncIterator[httpx2.AsyncClient]:
    """The browser of `person`."""
    async with visitors.browser(app, person) as opened:
        yield opened


@pytest.fixture
async def stranger(app: FastAPI) -> AsyncIterator[httpx2.AsyncClient]:
    """A browser in which nobody is signed in."""
    async with visitors.browser(app) as opened:
        yield opened
