"""Monitoring as its owner sees and steers it, on everything running; and parts that say when they are old."""

import asyncio
import re
from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser, expect

from fleetcast.engine.processes import run_sender
from fleetcast.store import processes, users
from fleetcast.web.app import serve
from tests.api.tenants import Person
from tests.browser import windows
from tests.browser.conftest import Desk
from tests.browser.test_pages import faults_in_both_lights, missed_by_keyboard, sideways
from tests.browser.test_running import CUT, under_way
from tests.running import Fleet, until
from tests.web import visitors
from tests.web.streams import on_port, serving


@pytest.fixture
async def keeper(fleet: Fleet) -> Person:
    """The owner of the installation and of the fleet's workspace."""
    made = await visitors.signed_in(fleet.runtime, fleet.workspace.id)
    async with fleet.runtime.db.transaction() as connection:
        await users.own_installation(connection, made.user_id)
    return made


@pytest.fixture
async def two_senders(fleet: Fleet) -> AsyncIterator[list[str]]:
    """Names of the senders that run."""
    stop = asyncio.Event()
    second = asyncio.create_task(run_sender(fleet.runtime, stop=stop), name="another sender")

    async def names() -> list[str]:
        async with fleet.runtime.db.connection() as connection:
            return [p.name for p in await processes.known(connection) if p.kind == "sender"]

    async def both() -> bool:
        return len(await names()) == 2

    await until(both)
    yield await names()
    stop.set()
    await second


async def test_a_sender_is_drained_and_resumed_by_click_and_the_page_follows(
    desk: Desk, fleet: Fleet, keeper: Person, two_senders: list[str]
) -> None:
    await under_way(fleet, await fleet.device(delay=0.2))
    name, other = two_senders
    async with desk.open(keeper) as page:
        await page.goto("/monitoring")
        await expect(page.get_by_role("main")).to_contain_text("All keep time")
        row = page.get_by_role("row").filter(has_text=name)
        await row.get_by_role("link").click()
        await expect(page.locator("#process")).to_contain_text(re.compile("Shards 32"))
        await page.get_by_role("button", name="Drain…").click()
        await expect(page.locator("#drain")).to_contain_text("go to 1 other sender within seconds")
        await page.evaluate("window.same = true")
        await page.locator("#drain").get_by_role("button", name="Drain 32 shards").click()
        await expect(page.get_by_text("The sender rests from now on")).to_be_visible()
        await page.evaluate("window.same = true")
        await expect(page.locator("#process")).to_contain_text("Drained")
        await expect(page.locator("#process")).to_contain_text("Shards 0")
        assert await page.evaluate("window.same"), "the part renewed itself"
        await page.goto("/monitoring")
        await expect(page.locator("#monitor")).to_contain_text("1 sender rests by a person’s wish")
        await expect(page.get_by_role("row").filter(has_text=other).first).to_contain_text("64")
        await page.goto(f"/monitoring/processes/{name}")
        await page.get_by_role("button", name="Resume").click()
        await expect(page.locator("#process")).to_contain_text("Shards 32")


async def test_everybody_can_use_monitoring(desk: Desk, fleet: Fleet, keeper: Person, two_senders: list[str]) -> None:
    await under_way(fleet, await fleet.device(delay=0.2))
    pages = ("/monitoring", "/monitoring/redis", f"/monitoring/processes/{two_senders[0]}", "/settings/about")
    async with desk.open(keeper) as page:
        for path in pages:
            await page.goto(path)
            assert await faults_in_both_lights(page) == [], path
        await page.goto("/settings/about")
        assert await missed_by_keyboard(page) == []
    async with desk.open(keeper, width=windows.PHONE, height=844) as page:
        for path in pages:
            await page.goto(path)
            assert await sideways(page) == 0, path


@pytest.mark.parametrize("page_of", ["monitoring", "campaign"])
async def test_a_part_that_asks_for_itself_says_when_the_connection_is_lost_and_heals(
    browser: Browser, fleet: Fleet, keeper: Person, page_of: str
) -> None:
    campaign = await under_way(fleet, await fleet.device(delay=0.2))
    path, live = {"monitoring": ("/monitoring", "#monitor"), "campaign": (f"/campaigns/{campaign}", "#now")}[page_of]
    async with serving(fleet.runtime, seconds=120) as (url, stop, gone):
        port = int(url.rpartition(":")[2])
        async with Desk(browser, url).open(keeper, expected=[CUT]) as page:
            lost = page.locator("[data-lost]")
            await page.goto(path)
            await page.evaluate("window.same = true")
            await expect(lost).to_be_hidden()
            stop.set()
            await gone
            await expect(lost).to_contain_text(re.compile(r"Connection lost\. The figures are from \d\d:\d\d:\d\d"))
            await expect(page.locator(live)).not_to_be_empty()
            again = asyncio.Event()
            back = asyncio.create_task(serve(on_port(fleet.runtime, port), again))
            try:
                await expect(lost).to_be_hidden()
                assert await page.evaluate("window.same"), "the page healed without being loaded again"
            finally:
                again.set()
                await back


async def test_who_is_signed_out_meanwhile_is_led_to_the_door(desk: Desk, fleet: Fleet, keeper: Person) -> None:
    async with desk.open(keeper, expected=["401"]) as page:
        await page.goto("/monitoring")
        async with fleet.runtime.db.connection() as connection:
            await connection.execute("DELETE FROM sessions")
        await expect(page).to_have_url(re.compile("/sign-in"))
