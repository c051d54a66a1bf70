"""The dashboard on loopback behind a proxy of the same machine, and the cookie that a browser is given."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from http.cookies import Morsel, SimpleCookie

import httpx2
import pytest

from fleetcast.domain.access import Role
from fleetcast.domain.identifiers import WorkspaceId
from fleetcast.runtime import Runtime
from fleetcast.services.accounts.tokens import SESSION, new_token
from fleetcast.web.app import create_app
from tests.services.accounts.stage import account, is_open

URL = "https://fleetcast.example.org"


@asynccontextmanager
async def dashboard(runtime: Runtime, **settings: object) -> AsyncIterator[httpx2.AsyncClient]:
    """A client on the dashboard with these settings."""
    app = create_app(replace(runtime, settings=runtime.settings.model_copy(update=settings)))
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://127.0.0.1:8080") as client,
    ):
        yield client


async def test_requests_that_a_proxy_hands_on_may_name_the_dashboards_own_host(runtime: Runtime) -> None:
    async with dashboard(runtime, url=URL) as client:
        for host, status in (("fleetcast.example.org", 200), ("localhost", 200), ("evil.example", 421), ("", 421)):
            assert (await client.get("/sign-in", headers={"Host": host})).status_code == status, host
    async with dashboard(runtime) as client:
        assert (await client.get("/sign-in", headers={"Host": "fleetcast.example.org"})).status_code == 421


async def test_s41_figures_are_not_handed_on_by_a_proxy_of_the_same_machine(runtime: Runtime) -> None:
    async with dashboard(runtime) as client:
        assert (await client.get("/metrics")).status_code == 200
        for header in ("X-Forwarded-For", "Forwarded", "X-Real-IP", "Via"):
            assert (await client.get("/metrics", headers={header: "203.0.113.7"})).status_code == 401
    async with dashboard(runtime, url=URL) as client:
        assert (await client.get("/metrics")).status_code == 401
    async with dashboard(runtime, url="http://localhost:8080") as client:
        assert (await client.get("/metrics")).status_code == 200


@pytest.mark.parametrize(("url", "name"), [(None, "fleetcast"), (URL, "__Host-fleetcast")])
async def test_s30_signing_in_gives_the_browser_a_new_token_that_no_script_and_no_other_site_can_use(
    runtime: Runtime, workspace: WorkspaceId, url: str | None, name: str
) -> None:
    ann, planted = await account(runtime, workspace, Role.VIEWER), new_token(SESSION)
    async with dashboard(runtime, url=url) as client:
        answer = await client.post(
            "/sign-in",
            data={"email": ann.email, "password": ann.password},
            headers={"Sec-Fetch-Site": "same-origin", "Cookie": f"{name}={planted}"},
        )
    assert answer.status_code == 303
    given: Morsel[str] = SimpleCookie(answer.headers["Set-Cookie"])[name]
    assert given.value != planted
    assert await is_open(runtime, given.value)
    assert not await is_open(runtime, planted)
    assert (given["httponly"], given["samesite"], given["path"], given["domain"]) == (True, "lax", "/", "")
    assert bool(given["secure"]) is (url is not None)
