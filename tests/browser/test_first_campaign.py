"""From an empty workspace to a launched campaign, by the pages alone; no script complains on any of them."""

from fleetcast.domain.campaign import CampaignStatus
from fleetcast.domain.identifiers import WorkspaceId
from fleetcast.runtime import Runtime
from fleetcast.services.campaigns import page_of_campaigns
from fleetcast.services.devices import add_device, find_device
from fleetcast.services.lead_fields import NewLeadFields
from fleetcast.services.leads import add_leads
from tests.api.tenants import Person
from tests.browser.chromium import Chromium
from tests.web.visitors import SESSION


async def test_from_nothing_to_a_launched_campaign(
    browser: Chromium, url: str, runtime: Runtime, workspace: WorkspaceId, person: Person
) -> None:
    async with browser.page() as page:
        await page.give_cookie(url, SESSION, person.token)
        await page.open(url, "document.querySelector('#going a.btn')")
        await page.run("document.querySelector('#going a.btn').click()")
        await page.until("document.querySelector('#f-name')")
        await page.run("document.querySelector('#f-name').focus()")
        await page.type("Counter")
        await page.press("Enter")
        await page.until("document.querySelector('h1').textContent === 'Counter'")
        device = await find_device(runtime, workspace, "Counter")
        people: list[NewLeadFields] = [{"phone": f"+6012345678{n}", "name": f"Person {n}"} for n in range(3)]
        await add_leads(runtime, workspace, device.id, people, actor="test")
        await page.open(f"{url}/campaigns", "document.querySelector('a.btn-main')")
        await page.run("document.querySelector('a.btn-main').click()")
        await page.until("document.querySelector('#f-body')")
        await page.run("document.querySelector('#f-title').focus()")
        await page.type("Spring")
        await page.run("document.querySelector('#f-body').focus()")
        await page.type("Hello ")
        await page.run("document.querySelector('[data-text*=name]').click()")
        assert await page.run("document.querySelector('#preview').textContent") == "Hello {{ name }}"
        await page.run("document.querySelector('form.wide').requestSubmit()")
        await page.until("document.querySelector('[popovertarget=launch]')")
        assert "Hello Person 0" in await page.run("document.querySelector('.bubble').textContent")
        assert await page.run("getComputedStyle(document.querySelector('#launch')).display") == "none"
        await page.run("document.querySelector('[popovertarget=launch]').click()")
        await page.until("document.querySelector('#launch').matches(':popover-open')")
        assert "Send to 3 people" in await page.run("document.querySelector('#launch').textContent")
        await page.run("document.querySelector('#launch button').click()")
        await page.until("document.querySelector('[role=status]').textContent.includes('launched')")
        assert page.complaints == []
    [(campaign, _)], _ = await page_of_campaigns(runtime, workspace)
    assert (campaign.title, campaign.status) == ("Spring", CampaignStatus.RUNNING)


async def test_a_mistake_in_a_sheet_is_shown_in_the_sheet(
    browser: Chromium, url: str, runtime: Runtime, workspace: WorkspaceId, person: Person
) -> None:
    await add_device(runtime, workspace, "Counter")
    async with browser.page() as page:
        await page.give_cookie(url, SESSION, person.token)
        await page.open(f"{url}/devices", "document.querySelector('[popovertarget=add]')")
        await page.run("document.querySelector('[popovertarget=add]').click()")
        await page.until("document.querySelector('#add').matches(':popover-open')")
        await page.until("document.activeElement.id === 'f-name'")
        await page.type("counter")
        await page.press("Enter")
        await page.until("document.querySelector('#add [role=alert]')")
        await page.until("document.querySelector('#add').matches(':popover-open')")
        assert await page.run("document.activeElement.id") == "f-name"
        assert await page.run("document.querySelector('#f-name').value") == "counter"
