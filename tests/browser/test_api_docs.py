"""The documentation of the API in a real browser: drawn from this machine alone, under the policy of every page."""

from fleetcast.domain.identifiers import WorkspaceId
from tests.api.tenants import Person
from tests.browser.chromium import Chromium
from tests.web.visitors import SESSION


async def test_the_documentation_is_drawn_without_a_word_against_the_policy(
    browser: Chromium, url: str, person: Person, workspace: WorkspaceId
) -> None:
    async with browser.page() as page:
        await page.give_cookie(url, SESSION, person.token)
        await page.open(f"{url}/api/v1/docs", "document.querySelectorAll('.opblock').length > 3")
        assert "Fleetcast" in await page.run("document.querySelector('.info .title').textContent")
        await page.run("document.querySelector('.opblock-summary-control').click()")
        await page.until("document.querySelector('.opblock.is-open .try-out__btn')")
        await page.run("document.querySelector('.opblock.is-open .try-out__btn').click()")
        await page.until("document.querySelector('.opblock.is-open .execute')")
        await page.run("document.querySelector('.opblock.is-open .execute').click()")
        await page.until("document.querySelector('.opblock.is-open .live-responses-table .response-col_status')")
        status = await page.run(
            "document.querySelector('.live-responses-table tbody .response-col_status').textContent"
        )
        assert status.startswith("200")
        elsewhere = await page.run(
            "performance.getEntriesByType('resource').map((e) => e.name).filter((n) => !n.startsWith(location.origin))"
        )
        assert [name for name in elsewhere if not name.startswith("data:")] == []
        assert page.complaints == []
