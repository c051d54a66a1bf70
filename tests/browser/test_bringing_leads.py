"""A file of leads brought by a person: seen as it would be read, mapped, sent, and its bad rows taken home again."""

from pathlib import Path

from fleetcast.domain.identifiers import WorkspaceId
from fleetcast.domain.lead_filter import LeadFilter
from fleetcast.runtime import Runtime
from fleetcast.services.devices import add_device
from fleetcast.services.lead_search import page_of_leads
from tests.api.tenants import Person
from tests.browser.chromium import Chromium, Page
from tests.web.visitors import SESSION

FILE = "Mobile 2,Who,Internal\n012-345 6781,Aminah,x\n012-345 6782,Ben,y\nnot a number,Cho,z\n"


async def choose(page: Page, path: Path) -> None:
    root = (await page.order("DOM.getDocument"))["root"]["nodeId"]
    node = await page.order("DOM.querySelector", nodeId=root, selector="#f-file")
    await page.order("DOM.setFileInputFiles", nodeId=node["nodeId"], files=[str(path)])


async def pick(page: Page, heading: str, field: str) -> None:
    await page.run(
        f"(() => {{ const s = document.querySelector('[aria-label=\"What {heading} is\"]'); s.value = '{field}';"
        " s.dispatchEvent(new Event('change', { bubbles: true })); })()"
    )


async def test_a_file_is_looked_at_mapped_imported_and_its_bad_rows_are_named(
    browser: Chromium, url: str, runtime: Runtime, workspace: WorkspaceId, person: Person, tmp_path: Path
) -> None:
    await add_device(runtime, workspace, "Counter", region="MY")
    path = tmp_path / "people.csv"
    path.write_text(FILE, encoding="utf-8")
    async with browser.page() as page:
        await page.give_cookie(url, SESSION, person.token)
        await page.open(f"{url}/leads/import", "document.querySelector('[data-import]')")
        await choose(page, path)
        await page.until("!document.querySelector('[data-trouble]').hidden")
        assert await page.run("document.querySelector('[data-found] button').disabled")
        await pick(page, "Mobile 2", "phone")
        await page.until("document.querySelectorAll('[data-rows] tr').length === 3")
        assert await page.run("document.querySelector('[data-trouble]').hidden")
        await pick(page, "Who", "name")
        await page.until("document.querySelector('[data-rows]').textContent.includes('Aminah')")
        await pick(page, "Internal", "")
        await page.until("document.querySelector('[aria-label=\"What Internal is\"]').value === ''")
        assert "not a number" in await page.run("document.querySelector('[data-rows]').textContent")
        await page.run("document.querySelector('[data-found] button').click()")
        await page.until("document.querySelector('.st.k-ok') && location.pathname.startsWith('/leads/imports/')")
        assert "Line 4" in await page.run("document.querySelector('main').textContent")
        assert [c for c in page.complaints if "422" not in c] == [], "the first look found no phone column"
    found = (await page_of_leads(runtime, workspace, LeadFilter())).leads
    assert sorted((s.lead.phone, s.lead.name) for s in found) == [("+60123456781", "Aminah"), ("+60123456782", "Ben")]
    assert all(not s.lead.attributes for s in found)


async def test_what_is_no_list_of_people_is_refused_before_it_is_sent(
    browser: Chromium, url: str, runtime: Runtime, workspace: WorkspaceId, person: Person, tmp_path: Path
) -> None:
    await add_device(runtime, workspace, "Counter", region="MY")
    path = tmp_path / "notes.csv"
    path.write_text("colour,taste\nred,sweet\n", encoding="utf-8")
    async with browser.page(width=390, height=844) as page:
        await page.give_cookie(url, SESSION, person.token)
        await page.open(f"{url}/leads/import", "document.querySelector('[data-import]')")
        await choose(page, path)
        await page.until("!document.querySelector('[data-trouble]').hidden")
        assert "phone" in await page.run("document.querySelector('[data-trouble]').textContent")
        assert await page.run("document.querySelector('[data-found] button').disabled"), (
            "it says which column is which first"
        )
