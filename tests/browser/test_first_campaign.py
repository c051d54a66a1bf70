"""From the first password to a campaign that everybody has, by the pages alone, on everything running."""

import re

from playwright.async_api import expect

from fleetcast.domain.identifiers import WorkspaceId
from fleetcast.runtime import Runtime
from fleetcast.services.accounts.people import first_owner
from fleetcast.services.devices import add_device
from tests.api.tenants import Person
from tests.browser.conftest import Desk
from tests.running import Fleet

FILE = b"phone,name\n012-345 6781,Aminah\n012-345 6782,Ben\n+60 12-345 6783,Cho\n"


async def test_from_the_first_password_to_a_campaign_that_everybody_has(desk: Desk, fleet: Fleet) -> None:
    owner = await first_owner(fleet.runtime)
    assert owner is not None
    assert owner.password is not None
    async with desk.open() as page:
        await page.goto("/")
        await page.get_by_label("E-mail address").fill(owner.email)
        await page.get_by_label("Password").fill(owner.password)
        await page.get_by_role("button", name="Sign in").click()

        await page.get_by_role("link", name="Add a device").click()
        await page.get_by_label("Name").fill("Counter")
        for bound in ("Shortest gap", "Longest gap"):
            await page.get_by_label(bound).fill("0")
        await page.get_by_label("Name").press("Enter")
        await expect(page.get_by_role("heading", level=1)).to_have_text("Counter")

        await page.get_by_role("link", name="Overview").click()
        await page.get_by_role("link", name="Bring your leads").click()
        await page.locator("#f-file").set_input_files({"name": "people.csv", "mimeType": "text/csv", "buffer": FILE})
        await expect(page.locator("[data-rows] tr")).to_have_count(3)
        await page.get_by_role("button", name="Import the file").click()
        await expect(page.get_by_text("Done", exact=True)).to_be_visible()

        await page.get_by_role("link", name="Overview").click()
        await page.get_by_role("link", name="Send the first campaign").click()
        await page.get_by_label("Title").fill("Spring")
        await page.get_by_label("Text", exact=True).fill("Hello ")
        await page.get_by_role("button", name="name", exact=True).click()
        await expect(page.get_by_label("Text", exact=True)).to_have_value("Hello {{ name }}")
        await page.get_by_role("button", name=re.compile("see whom it reaches")).click()
        await expect(page.locator("#reads .bubble")).to_contain_text(re.compile("Hello (Aminah|Ben|Cho)"))
        launch = page.locator("#launch")
        await expect(launch).to_be_hidden()
        await page.get_by_role("button", name="Launch…").click()
        await expect(launch).to_contain_text("Launch to 3 people")
        await launch.get_by_role("button", name="Launch to 3 people").click()
        await expect(page.get_by_text("The campaign is launched.")).to_be_visible()
        await expect(page.locator("#now")).to_contain_text("Finished")
        await expect(page.locator("#now")).to_contain_text("100% of 3 settled")
    verdict = await fleet.judge()
    assert verdict.accepted == 3
    assert verdict.holds


async def test_a_mistake_in_a_sheet_is_shown_in_the_sheet(
    desk: Desk, runtime: Runtime, workspace: WorkspaceId, person: Person
) -> None:
    await add_device(runtime, workspace, "Counter")
    async with desk.open(person, expected=["status of 422"]) as page:
        await page.goto("/devices")
        await page.get_by_role("button", name="Add device").click()
        sheet = page.locator("#add")
        await expect(sheet.get_by_label("Name")).to_be_focused()
        await page.keyboard.insert_text("counter")
        await page.keyboard.press("Enter")
        await expect(sheet.get_by_role("alert")).to_be_visible()
        await expect(sheet.get_by_label("Name")).to_be_focused()
        await expect(sheet.get_by_label("Name")).to_have_value("counter")
