"""What was sent over time, as it is drawn: by pointer and by key, in both lights, and as a table that stays open."""

import re
from datetime import timedelta

import pytest
from playwright.async_api import Page, expect

from fleetcast.domain.identifiers import WorkspaceId
from fleetcast.runtime import Runtime
from tests.api.tenants import Person
from tests.browser import windows
from tests.browser.conftest import Desk
from tests.browser.test_pages import grave_faults, sideways

PIXELS = "document.querySelector('.chart canvas').toDataURL()"


@pytest.fixture
async def busy(runtime: Runtime, workspace: WorkspaceId) -> WorkspaceId:
    """Something was sent in each quarter of an hour of the last two days."""
    async with runtime.db.connection() as connection:
        now = await connection.fetchval("SELECT date_bin('15 minutes', fleetcast_now(), '2000-01-01 00:00+00')")
        await connection.executemany(
            "INSERT INTO workspace_history (workspace_id, slot, sent, delivered, read, failed) "
            "VALUES ($1, $2, $3, $4, $5, $6)",
            [(workspace, now - n * timedelta(minutes=15), 100 + n, 90, 40, 10) for n in range(192)],
        )
    return workspace


async def drawn(page: Page) -> None:
    await expect(page.locator(".chart canvas")).to_be_visible()


async def test_arrow_keys_go_from_bar_to_bar_and_each_is_read_out(
    desk: Desk, busy: WorkspaceId, person: Person
) -> None:
    async with desk.open(person) as page:
        await page.goto("/?range=7")
        await drawn(page)
        said = page.locator(".chart output")
        await expect(said).to_have_text("Per hour. Point at a bar for its figures.")
        await page.locator(".chart").focus()
        await page.keyboard.press("End")
        last = re.compile(r"\w{3} \d+ \w{3}, \d\d:\d\d to \d\d:\d\d: \d+ sent, \d+ delivered, \d+ read, \d+ failed")
        await expect(said).to_have_text(last)
        first = await said.inner_text()
        await page.keyboard.press("ArrowLeft")
        await expect(said).not_to_have_text(first)
        await page.keyboard.press("ArrowRight")
        await expect(said).to_have_text(first)
        await page.keyboard.press("Tab")
        await expect(said).to_have_text("Per hour. Point at a bar for its figures.")


async def test_the_chart_is_painted_anew_when_the_light_changes(desk: Desk, busy: WorkspaceId, person: Person) -> None:
    async with desk.open(person) as page:
        await page.goto("/?range=30")
        await drawn(page)
        day = await page.evaluate(PIXELS)
        await page.get_by_role("button", name="Light or dark").click()
        await expect(page.locator("html")).to_have_attribute("data-bs-theme", "dark")
        await drawn(page)
        assert await page.evaluate(PIXELS) != day
        await page.get_by_role("button", name="Light or dark").click()
        await expect(page.locator("html")).to_have_attribute("data-bs-theme", "light")
        assert await page.evaluate(PIXELS) == day


async def test_news_are_drawn_and_the_open_table_stays_open(
    desk: Desk, busy: WorkspaceId, person: Person, runtime: Runtime
) -> None:
    async with desk.open(person) as page:
        await page.goto("/?range=90")
        await drawn(page)
        before = await page.evaluate(PIXELS)
        await page.get_by_text("As a table").click()
        async with runtime.db.connection() as connection:
            await connection.execute(
                "UPDATE workspace_history SET sent = sent + 123456 "
                "WHERE slot = (SELECT max(slot) FROM workspace_history)"
            )
        await page.evaluate("document.querySelector('#history').dispatchEvent(new CustomEvent('every'))")
        whole_day = re.compile(r"^1[23]\d,\d{3}$")  # with what else was sent on it, by the hour at which this is run
        await expect(page.get_by_role("cell", name=whole_day)).to_be_visible()
        await expect(page.locator(".chart canvas")).to_have_count(1)
        assert await page.evaluate(PIXELS) != before


async def test_ranges_are_chosen_by_click_and_days_of_ones_own_in_fields(
    desk: Desk, busy: WorkspaceId, person: Person
) -> None:
    async with desk.open(person) as page:
        await page.goto("/")
        await page.get_by_role("link", name="30 days").click()
        await expect(page.locator(".chart output")).to_contain_text("Per day")
        await page.get_by_role("link", name="Own…").click()
        await page.get_by_role("textbox", name="From").fill("2026-01-01")
        await page.get_by_role("textbox", name="to", exact=True).fill("2025-12-31")
        await page.get_by_role("button", name="Show").click()
        await expect(page.get_by_role("alert")).to_contain_text("before the first")
        await page.get_by_role("textbox", name="to", exact=True).fill("2026-01-01")
        await page.get_by_role("button", name="Show").click()
        await expect(page.get_by_text("Nothing was sent in this time.")).to_be_visible()


@pytest.mark.parametrize("chosen", ["today", "7", "90", "own"])
async def test_it_fits_a_phone_and_keeps_nobody_out(desk: Desk, busy: WorkspaceId, person: Person, chosen: str) -> None:
    async with desk.open(person, width=windows.PHONE, height=844) as page:
        await page.goto(f"/?range={chosen}")
        await drawn(page)
        assert await sideways(page) == 0
        assert await grave_faults(page, inside="#history") == []
