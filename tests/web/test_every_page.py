"""Every page of a workspace in which something of everything exists, and of one in which nothing does."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest
from fastapi import FastAPI

from fleetcast.api.app import PREFIX, create_api
from fleetcast.domain.access import Role
from fleetcast.runtime import Runtime
from fleetcast.services.workspaces import create_workspace
from fleetcast.web.app import create_app
from tests.api import tenants
from tests.api.tenants import Person
from tests.fresh import Databases, whole_runtime
from tests.security.seeding import Tenant, whole_workspace

PAGES = (
    "/",
    "/campaigns",
    "/campaigns?status=running",
    "/campaigns/calendar",
    "/campaigns/calendar?month=2031-05&earlier=1",
    "/campaigns/calendar?month=soon&moved=1&from=never",
    "/campaigns/new",
    "/campaigns/device-choices?q=first",
    "/campaigns/{campaign_id}",
    "/campaigns/{campaign_id}/now",
    "/campaigns/{campaign_id}/people",
    "/history",
    "/history?range=90",
    "/campaigns/{campaign_id}/by-device",
    "/campaigns/{campaign_id}/tests/{message_id}",
    "/campaigns/{campaign_id}/edit",
    "/campaigns/{draft_id}",
    "/campaigns/{draft_id}?another=1&lead={lead_id}&tried={message_id}",
    "/campaigns/{draft_id}/summary",
    "/campaigns/{draft_id}/edit",
    "/sequences",
    "/sequences?status=active",
    "/sequences/new",
    "/sequences/{sequence_id}",
    "/sequences/{sequence_id}?another=1&lead={lead_id}",
    "/sequences/{sequence_id}/now",
    "/sequences/{sequence_id}/by-device",
    "/sequences/{sequence_id}/existing",
    "/sequences/{sequence_id}/edit",
    "/sequences/{sequence_id}/steps/new",
    "/sequences/{sequence_id}/steps/{step_id}",
    "/sequences/{sequence_id}/enrolments",
    "/sequences/{sequence_id}/enrolments?state=active&step={step_id}",
    "/sequences/{sequence_id}/enrolments?reason=replied&of=nobody",
    "/sequences/{idle_id}",
    "/sequences/{idle_id}/existing",
    "/sequences/{idle_id}/enrolments",
    "/enrolments/{enrolment_id}",
    "/devices",
    "/devices?q=first&state=online",
    "/devices?q=nothing like it",
    "/devices?view=cards",
    "/devices/names?of=first",
    "/devices/{device_id}",
    "/devices/{device_id}?test={message_id}",
    "/devices/{device_id}/pair",
    "/devices/{device_id}/pair/now?phase=linked",
    "/devices/{device_id}/test/{message_id}",
    "/leads",
    "/leads?q=mark",
    "/leads?q=6019",
    "/leads?key=city&value=nowhere&out=no&standing=customer",
    "/leads?columns=city&choose=1",
    "/leads/more",
    "/leads?niche=none&consent=given",
    "/leads/import",
    "/leads/imports/{import_id}",
    "/leads/{lead_id}",
    "/bulk",
    "/bulk?things=devices",
    "/bulk/{edit_id}",
    "/bulk/{edit_id}/now",
    "/messages",
    "/messages?campaign={campaign_id}&status=sent",
    "/messages?device={device_id}",
    "/messages?to={number}",
    "/messages/in-doubt",
    "/messages/{message_id}",
    "/settings",
    "/settings/members",
    "/settings/keys",
    "/settings/suppressions",
    "/settings/suppressions?number={number}",
    "/settings/audit",
    "/settings/audit?action=campaign.",
    "/me",
)
OF_THE_INSTALLATION = ("/monitoring", "/monitoring/redis", "/settings/about")
"""For the owner of the installation alone; `test_monitoring` asks for them."""
FOR_OWNERS = ("/settings/members", "/settings/keys", "/settings/audit")
FOR_OPERATORS = (
    "/campaigns/new",
    "/campaigns/device-choices",
    "/campaigns/{campaign_id}/edit",
    "/devices/{device_id}/pair",
    "/sequences/new",
    "/sequences/{sequence_id}/edit",
    "/sequences/{sequence_id}/steps",
)
FRAGMENTS = (
    "/now",
    "/by-device",
    "/test/",
    "/tests/",
    "/summary",
    "/device-choices",
    "/people",
    "/history",
    "/more",
    "/names",
    "/existing",
)
"""Parts of addresses that answer with a piece of a page."""


def is_whole(answer: httpx2.Response) -> bool:
    text = answer.text
    is_piece = any(part in answer.url.path for part in FRAGMENTS)
    return answer.status_code == 200 and (is_piece or text.rstrip().endswith("</html>"))


@pytest.fixture(scope="module")
async def opened(databases: Databases, redis_url: str, short_directory: Path) -> AsyncIterator[Runtime]:
    """One for all of them: they only look."""
    async with whole_runtime(databases, redis_url, short_directory) as runtime:
        yield runtime


@pytest.fixture(scope="module")
async def app(opened: Runtime) -> AsyncIterator[FastAPI]:
    made = create_app(opened, (PREFIX, create_api(opened)))
    async with made.router.lifespan_context(made):
        yield made


@pytest.fixture(scope="module")
async def shop(opened: Runtime) -> Tenant:
    """A workspace in which something of everything exists."""
    return await whole_workspace(opened)


@pytest.fixture(scope="module")
async def newcomer(opened: Runtime) -> Person:
    """Somebody whose workspace is empty."""
    empty = await create_workspace(opened, "Nothing yet", actor="user:tests")
    return await tenants.person(opened, empty.id)


@pytest.mark.parametrize("page", PAGES)
async def test_it_is_shown(app: FastAPI, shop: Tenant, page: str) -> None:
    async with tenants.client(app, session=shop.owner.token) as client:
        answer = await client.get(page.format(**shop.ids))
    assert is_whole(answer), answer.text[-2_000:]
    assert not re.search(r"<script(?![^>]* src=)|\son\w+=|style=", answer.text), "something inline"


@pytest.mark.parametrize("page", [p for p in PAGES if "{" not in p or p == "/messages?to={number}"])
async def test_it_says_what_to_do_where_nothing_is_yet(app: FastAPI, newcomer: Person, page: str) -> None:
    async with tenants.client(app, session=newcomer.token) as client:
        answer = await client.get(page.format(number="+60123456789"))
    assert is_whole(answer), answer.text[-2_000:]


@pytest.mark.parametrize("role", [Role.VIEWER, Role.OPERATOR])
async def test_members_see_what_they_may(app: FastAPI, shop: Tenant, role: Role) -> None:
    person = {Role.VIEWER: shop.viewer, Role.OPERATOR: shop.operator}[role]
    closed = FOR_OWNERS if role is Role.OPERATOR else FOR_OWNERS + FOR_OPERATORS
    async with tenants.client(app, session=person.token) as client:
        for page in PAGES:
            answer = await client.get(page.format(**shop.ids))
            expected = 403 if page.startswith(closed) else 200
            if page in {"/campaigns/{draft_id}/edit", "/leads/import"} and role is Role.VIEWER:
                expected = 403
            assert answer.status_code == expected, f"{page}: {answer.status_code}"
