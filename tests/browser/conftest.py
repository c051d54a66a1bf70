"""One browser for all tests of this folder; dashboards on ports, and people in front of them."""

import os
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page

from fleetcast.domain.identifiers import WorkspaceId
from fleetcast.runtime import Runtime
from tests.api.tenants import Person
from tests.browser import windows
from tests.browser.windows import Complaints
from tests.running import Fleet, running_fleet
from tests.web import visitors
from tests.web.streams import serving
from tests.web.visitors import SESSION


def browser_program(path: str | None = None, *, required: bool) -> str:
    """Where the browser is. Without one the test is skipped, or fails where somebody insists on it."""
    found = windows.program(path)
    if found is None:
        if required:
            pytest.fail(f"{windows.ADVICE}. REQUIRE_BROWSER is set, so that this is a failure.")
        pytest.skip(f"not run: {windows.ADVICE}")
    return found


@pytest.fixture(autouse=True)
def quick(quick_hashing: None) -> None:
    """What a hash costs is asked in `tests/services/accounts/test_passwords.py`."""


@pytest.fixture(scope="session")
async def browser() -> AsyncIterator[Browser]:
    program = browser_program(required=bool(os.environ.get("REQUIRE_BROWSER")))
    async with windows.running(program) as opened:
        yield opened


@dataclass(frozen=True, slots=True)
class Desk:
    """Where people open windows at one dashboard."""

    browser: Browser
    url: str

    def open(
        self,
        person: Person | None = None,
        *,
        width: int = 1280,
        height: int = 800,
        dark: bool = False,
        expected: Sequence[str] = (),
        perhaps: Sequence[str] = (),
    ) -> AbstractAsyncContextManager[Page]:
        """A window in which `person` is signed in, or nobody. What goes wrong in it and is neither `expected` nor
        told as `perhaps` fails the test at the end of the block.
        """
        return self.hearing(Complaints(expected, perhaps), person, width=width, height=height, dark=dark)

    def hearing(
        self,
        complaints: Complaints,
        person: Person | None = None,
        *,
        width: int = 1280,
        height: int = 800,
        dark: bool = False,
    ) -> AbstractAsyncContextManager[Page]:
        """The same for several tests, each of which checks what was complained of in its time."""
        cookie = (SESSION, person.token) if person else None
        return windows.window(
            self.browser, self.url, cookie=cookie, width=width, height=height, dark=dark, complaints=complaints
        )


@pytest.fixture
async def fleet(runtime: Runtime, tmp_path: Path) -> AsyncIterator[Fleet]:
    """Everything running behind the dashboard, nothing in it but a workspace."""
    async with running_fleet(runtime, tmp_path) as running:
        yield running


@pytest.fixture
async def url(runtime: Runtime) -> AsyncIterator[str]:
    """Address of the dashboard, with the API behind it."""
    async with serving(runtime, with_api=True, seconds=120) as (address, _, _):
        yield address


@pytest.fixture
def desk(browser: Browser, url: str) -> Desk:
    """Windows at that dashboard are opened here."""
    return Desk(browser, url)


@pytest.fixture
async def person(runtime: Runtime, workspace: WorkspaceId) -> Person:
    """Who is signed in; an owner of `workspace`."""
    return await visitors.signed_in(runtime, workspace)
