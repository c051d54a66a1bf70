"""A file of leads brought by a person: seen as it would be read, mapped, sent, and its bad rows taken home again."""

from pathlib import Path

from playwright.async_api import expect

from fleetcast.domain.identifiers import WorkspaceId
from fleetcast.domain.lead_filter import LeadFilter
from fleetcast.runtime import Runtime
from fleetcast.services.devices import add_device
from fleetcast.services.lead_search import page_of_leads
from tests.api.tenants import Person
from tests.browser import windows
from tests.browser.conftest import Desk

FILE = "Mobile 2,Who,Internal\n012-345 6781,Aminah,x\n012-345 6782,Ben,y\nnot a number,Cho,z\n"
NO_PHONE = "status of 422"
"""What the console says of the first look: the file has no column that is called phone."""


async def test_a_file_is_looked_at_mapped_imported_and_its_bad_rows_are_taken_home(
    desk: Desk, runtime: Runtime, workspace: WorkspaceId, person: Person, tmp_path: Path
) -> None:
    await add_device(runtime, workspace, "Counter", region="MY")
    path = tmp_path / "people.csv"
    path.write_text(FILE, encoding="utf-8")
    async with desk.open(person, expected=[NO_PHONE]) as page:
        await page.goto("/leads/import")
        rows, send = page.locator("[data-rows]"), page.get_by_role("button", name="Import the file")
        await page.locator("#f-file").set_input_files(path)
        await expect(page.get_by_role("alert")).to_contain_text("phone")
        await expect(send).to_be_disabled()
        await page.get_by_label("What Mobile 2 is").select_option("phone")
        await expect(rows.locator("tr")).to_have_count(3)
        await expect(page.get_by_role("alert")).to_be_hidden()
        await page.get_by_label("What Who is").select_option("name")
        await expect(rows).to_contain_text("Aminah")
        await page.get_by_label("What Internal is").select_option("")
        await expect(page.get_by_label("What Internal is")).to_have_value("")
        await expect(rows).to_contain_text("not a number")
        await page.get_by_role("button", name="Check all rows first").click()
        checked = page.locator("[data-checked]")
        await expect(checked).to_contain_text("1 row would be refused; the others go in.")
        await expect(checked.locator("[data-problems] tr")).to_have_count(1)
        await expect(checked).to_contain_text("New leads2")
        assert (await page_of_leads(runtime, workspace, LeadFilter())).leads == [], "nothing is stored by a check"
        await send.click()
        await expect(page.get_by_text("Done", exact=True)).to_be_visible()
        await expect(page.get_by_role("heading", name="1 row rejected")).to_be_visible()
        await expect(page.get_by_role("main")).to_contain_text("Line 4")
        async with page.expect_download() as asked:
            await page.get_by_role("link", name="Download, correct, bring again").click()
        text = (await (await asked.value).path()).read_text(encoding="utf-8-sig")
    assert "not a number" in text
    assert "Cho" in text
    assert "Aminah" not in text
    found = (await page_of_leads(runtime, workspace, LeadFilter())).leads
    assert sorted((s.lead.phone, s.lead.name) for s in found) == [("+60123456781", "Aminah"), ("+60123456782", "Ben")]
    assert all(not s.lead.attributes for s in found)


async def test_what_is_no_list_of_people_is_refused_before_it_is_sent(
    desk: Desk, runtime: Runtime, workspace: WorkspaceId, person: Person, tmp_path: Path
) -> None:
    await add_device(runtime, workspace, "Counter", region="MY")
    path = tmp_path / "notes.csv"
    path.write_text("colour,taste\nred,sweet\n", encoding="utf-8")
    async with desk.open(person, width=windows.PHONE, height=844, expected=[NO_PHONE]) as page:
        await page.goto("/leads/import")
        await page.locator("#f-file").set_input_files(path)
        await expect(page.get_by_role("alert")).to_contain_text("phone")
        await expect(page.get_by_role("button", name="Import the file")).to_be_disabled()
