"""Many leads in a real browser: a search that fills its page by itself, and a change of many that is taken back."""

import pytest
from playwright.async_api import expect

from fleetcast.store import lead_search
from tests.browser import windows
from tests.browser.conftest import Desk
from tests.campaign_scene import Scene
from tests.running import Fleet
from tests.web import visitors

RARE = "UPDATE leads SET niches = '{rare}' WHERE right(phone, 1) = '9'"


@pytest.fixture
async def leads(fleet: Fleet) -> Scene:
    """A hundred people; one of ten has a rare niche."""
    made = Scene(fleet.runtime, fleet.workspace.id)
    await made.add_leads(await made.add_device("Counter"), 100)
    await made.execute(RARE)
    return made


async def test_a_search_that_cannot_look_at_everybody_at_once_fills_its_page_by_itself(
    desk: Desk, leads: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lead_search, "LOOK", 15)
    person = await visitors.signed_in(leads.runtime, leads.workspace)
    async with desk.open(person) as page:
        await page.goto("/leads?niche=rare")
        await expect(page.locator("input[name=lead]")).to_have_count(10)
        await expect(page.get_by_text("Looking further")).to_have_count(0)
        await page.goto("/leads?niche=nobody")
        await expect(page.get_by_text("Looking further")).to_have_count(0)
        await expect(page.locator("input[name=lead]")).to_have_count(0)


async def test_many_are_changed_on_a_phone_while_nobody_waits_and_it_is_taken_back(desk: Desk, leads: Scene) -> None:
    person = await visitors.signed_in(leads.runtime, leads.workspace)
    async with desk.open(person, width=windows.PHONE, height=844) as page:
        await page.goto("/leads?niche=rare")
        await page.get_by_label("To whom").select_option("all")
        await page.get_by_role("button", name="Go on…").click()
        await expect(page.get_by_role("heading", name="Add a niche to 10 people")).to_be_visible()
        await page.get_by_label("Niche").fill("VIP")
        await page.get_by_role("button", name="Add it to 10 people").click()
        await expect(page.get_by_text("Done", exact=True)).to_be_visible()
        assert await leads.value("SELECT count(*) FROM leads WHERE niches = '{rare,vip}'") == 10
        await page.get_by_role("button", name="Take it back for 10 people").click()
        await expect(page.get_by_role("heading", name="Take back")).to_be_visible()
        await expect(page.get_by_text("Done", exact=True)).to_be_visible()
        assert await leads.value("SELECT count(*) FROM leads WHERE niches = '{rare}'") == 10
