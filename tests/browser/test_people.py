"""Several people at one dashboard: who may do what, how one comes in and is sent out, and where one stands."""

import re

import pytest
from playwright.async_api import Page, expect

from fleetcast.domain.identifiers import WorkspaceId
from fleetcast.runtime import Runtime
from fleetcast.services.devices import add_device
from fleetcast.services.workspaces import create_workspace
from tests.api.tenants import Person
from tests.browser.conftest import Desk
from tests.browser.test_pages import WHOLE
from tests.security.seeding import Tenant, whole_workspace
from tests.web import visitors
from tests.web.test_every_page import FOR_OPERATORS, FOR_OWNERS

NOT_FOUND = "status of 404"
CLOSED = "status of 403"
LOOKING = {"", "Search", "Columns", "Show"}
"""Words of buttons that change nothing."""


@pytest.fixture
async def shop(runtime: Runtime) -> Tenant:
    """A workspace in which something of everything exists."""
    return await whole_workspace(runtime)


async def ways_to_change(page: Page) -> list[str]:
    """Where the forms of a page that can be sent would change something of the workspace."""
    forms = page.locator("main form[method=post]").filter(has=page.locator("button:not([type=button])"))
    found: list[str] = await forms.evaluate_all("(all) => all.map((form) => form.action)")
    return [action for action in found if "/me/" not in action]


async def test_a_viewer_sees_everything_and_is_offered_nothing_to_change(desk: Desk, shop: Tenant) -> None:
    async with desk.open(shop.viewer) as page:
        for path in WHOLE:
            if path.startswith((*FOR_OWNERS, *FOR_OPERATORS)) or "/edit" in path or path in {"/leads/import"}:
                continue
            await page.goto(path.format(**shop.ids))
            assert await ways_to_change(page) == [], path
            buttons = page.locator("main button").filter(visible=True)
            words = set(await buttons.all_inner_texts()) - LOOKING
            assert path == "/me" or words == set(), path


async def test_a_viewer_who_types_the_address_is_told_whom_to_ask(desk: Desk, shop: Tenant) -> None:
    async with desk.open(shop.viewer, expected=[CLOSED]) as page:
        for path in ("/campaigns/new", "/campaigns/{draft_id}/edit", "/leads/import", "/settings/members"):
            await page.goto(path.format(**shop.ids))
            await expect(page.get_by_role("main")).to_contain_text(re.compile("Ask (an owner|one of them)"))


async def test_an_operator_sends_and_decides_nothing_about_others(desk: Desk, shop: Tenant) -> None:
    async with desk.open(shop.operator, expected=[CLOSED]) as page:
        await page.goto(f"/campaigns/{shop.ids['campaign_id']}")
        await page.get_by_role("button", name="Pause").click()
        await expect(page.get_by_text("The campaign is paused.")).to_be_visible()
        await page.get_by_role("link", name="Settings").click()
        await expect(page.get_by_role("link", name="Workspace", exact=True)).to_be_visible()
        await expect(page.get_by_role("link", name="Members")).to_have_count(0)
        await page.goto(f"/devices/{shop.ids['device_id']}")
        await expect(page.get_by_role("button", name="Remove…")).to_have_count(0)
        await page.goto("/settings/members")
        await expect(page.get_by_role("main")).to_contain_text("Only owners of the workspace may do this.")


async def test_an_owner_makes_a_viewer_an_operator(desk: Desk, shop: Tenant) -> None:
    async with desk.open(shop.owner) as page:
        await page.goto("/settings/members")
        line = page.get_by_role("listitem").filter(has_text=shop.viewer.email)
        await line.get_by_label(f"Role of {shop.viewer.email}").select_option("operator")
        await line.get_by_role("button", name="Change").click()
        await expect(page.get_by_text("The role is changed; they have to sign in again.")).to_be_visible()
        await expect(line.get_by_label(f"Role of {shop.viewer.email}")).to_have_value("operator")
    async with desk.open(shop.viewer) as page:
        await page.goto("/campaigns")
        await expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")


async def test_who_is_invited_by_a_link_makes_an_account_and_is_a_member(desk: Desk, shop: Tenant) -> None:
    async with desk.open(shop.owner) as page, desk.open() as invited:
        await page.goto("/settings/members")
        await page.get_by_label("E-mail address").fill("mei@example.org")
        await page.locator("#f-role").select_option("operator")
        await page.get_by_role("button", name="Make a link").click()
        await expect(page.get_by_role("heading", name="Hand this link to mei@example.org")).to_be_visible()
        link = await page.locator(".cmd").inner_text()

        await invited.goto(link)
        await expect(invited.get_by_role("main")).to_contain_text("to run campaigns and look after leads and devices")
        await invited.get_by_label("Your name").fill("Mei Ling")
        await invited.get_by_label("Password").fill("tram lantern rhubarb quay")
        await invited.get_by_role("button", name="Make the account and join").click()
        await expect(invited.get_by_role("heading", level=1)).to_have_text("Overview")

        await page.goto("/settings/members")
        await expect(page.get_by_role("listitem").filter(has_text="mei@example.org")).to_contain_text("Mei Ling")


async def test_a_link_that_was_used_opens_nothing_and_says_so(desk: Desk, shop: Tenant) -> None:
    async with desk.open(expected=[NOT_FOUND]) as page:
        await page.goto("/invitations/fci_used-up-and-gone")
        await expect(page.get_by_role("main")).to_contain_text("Ask for a new one.")


async def test_signing_out_everywhere_else_ends_the_others_and_not_this_one(
    desk: Desk, runtime: Runtime, workspace: WorkspaceId
) -> None:
    ann = await visitors.account(runtime, workspace)

    async def come_in(page: Page) -> None:
        await page.goto("/sign-in")
        await page.get_by_label("E-mail address").fill(ann.email)
        await page.get_by_label("Password").fill(ann.password)
        await page.get_by_role("button", name="Sign in").click()
        await expect(page.get_by_role("heading", level=1)).to_have_text("Overview")

    async with desk.open() as here, desk.open() as elsewhere:
        await come_in(elsewhere)
        await come_in(here)
        await here.get_by_role("link", name=ann.email).click()
        await expect(here.get_by_text("here", exact=True)).to_be_visible()
        await here.get_by_role("button", name="Sign out everywhere else").click()
        await expect(here.get_by_text("One other session is over.")).to_be_visible()
        await expect(here.get_by_role("button", name="Sign out everywhere else")).to_have_count(0)
        await elsewhere.goto("/campaigns")
        await expect(elsewhere.get_by_role("heading", level=1)).to_have_text("Sign in")


async def test_the_switcher_leads_to_another_workspace_and_links_stay_there(
    desk: Desk, runtime: Runtime, workspace: WorkspaceId, person: Person
) -> None:
    other = await create_workspace(runtime, "Second shop", actor="user:tests")
    await visitors.join(runtime, person, other.id)
    await add_device(runtime, workspace, "First counter")
    await add_device(runtime, other.id, "Second counter")
    async with desk.open(person) as page:
        await page.goto("/devices")
        await expect(page.get_by_role("link", name="First counter")).to_be_visible()
        await page.locator(".space summary").focus()
        await page.keyboard.press("Enter")
        await page.get_by_role("link", name="Second shop").focus()
        await page.keyboard.press("Enter")
        await expect(page.locator(".space summary")).to_have_text("Second shop")
        await page.get_by_role("link", name="Devices", exact=True).click()
        await expect(page.get_by_role("link", name="Second counter")).to_be_visible()
        await expect(page.get_by_text("First counter")).to_have_count(0)


async def test_the_light_is_the_systems_until_somebody_chooses_and_then_stays(desk: Desk, person: Person) -> None:
    theme = "document.documentElement.dataset.bsTheme"
    async with desk.open(person, dark=True) as page:
        await page.goto("/")
        assert await page.evaluate(theme) == "dark"
        await page.emulate_media(color_scheme="light")
        assert await page.evaluate(theme) == "light"
        await page.get_by_role("button", name="Light or dark").click()
        assert await page.evaluate(theme) == "dark"
        await page.get_by_role("link", name="Devices", exact=True).click()
        await expect(page.get_by_role("heading", level=1)).to_have_text("Devices")
        assert await page.evaluate(theme) == "dark"
