"""The documentation of the API in a real browser: drawn from this machine alone, under the policy of every page."""

from playwright.async_api import expect

from tests.api.tenants import Person
from tests.browser.conftest import Desk


async def test_the_documentation_is_drawn_without_a_word_against_the_policy(desk: Desk, person: Person) -> None:
    async with desk.open(person) as page:
        await page.goto("/api/v1/docs")
        await expect(page.locator(".info .title")).to_contain_text("Fleetcast")
        await page.locator(".opblock-summary-control").first.click()
        shown = page.locator(".opblock.is-open")
        await shown.get_by_role("button", name="Try it out").click()
        await shown.get_by_role("button", name="Execute").click()
        await expect(shown.locator(".live-responses-table tbody .response-col_status")).to_contain_text("200")
        fetched = await page.evaluate("performance.getEntriesByType('resource').map((e) => e.name)")
        assert [name for name in fetched if not name.startswith((desk.url, "data:"))] == []
