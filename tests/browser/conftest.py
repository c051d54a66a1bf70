"""One browser for all tests of this folder, and a dashboard on a port for each."""

import os
from collections.abc import AsyncIterator

import pytest

from fleetcast.domain.identifiers import WorkspaceId
from fleetcast.runtime import Runtime
from tests.api.tenants import Person
from tests.browser import chromium
from tests.browser.chromium import Chromium
from tests.web import visitors
from tests.web.streams import serving


@pytest.fixture(scope="session")
async def browser() -> AsyncIterator[Chromium]:
    program = chromium.program()
    if program is None:
        if os.environ.get("REQUIRE_BROWSER"):
            pytest.fail("there is no Chromium on this machine, and REQUIRE_BROWSER is set")
        pytest.skip("not run: there is no Chromium on this machine (on Debian: apt install chromium)")
    async with chromium.running(program) as opened:
        yield opened


@pytest.fixture
async def url(runtime: Runtime) -> AsyncIterator[str]:
    """Address of the dashboard, with the API behind it."""
    async with serving(runtime, with_api=True, seconds=120) as (address, _, _):
        yield address


@pytest.fixture
async def person(runtime: Runtime, workspace: WorkspaceId) -> Person:
    """Who is signed in; an owner of `workspace`."""
    return await visitors.signed_in(runtime, workspace)
