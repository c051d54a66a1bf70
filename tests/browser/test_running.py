"""What a person watches and steers while messages go out, on everything running."""

import asyncio
import re

import pytest
from playwright.async_api import Browser, expect

from fleetcast.domain.identifiers import CampaignId, MessageId
from fleetcast.domain.message import MessageStatus
from fleetcast.runtime import Runtime
from fleetcast.services import doubts
from fleetcast.services.campaign_actions import launch_campaign
from fleetcast.services.campaigns import create_campaign
from fleetcast.services.devices import Device
from fleetcast.services.messages import show_message
from fleetcast.transports.simulator.control import SimulatorControl
from fleetcast.web.app import serve
from tests.api.tenants import Person
from tests.browser.conftest import Desk
from tests.running import Fleet, until
from tests.security.seeding import whole_workspace
from tests.web import visitors
from tests.web.streams import on_port, serving

CUT = "net::ERR_|Failed to fetch|network error"
"""What the browser says of a connection that is gone, as it happens to notice it."""


@pytest.fixture
async def operator(fleet: Fleet) -> Person:
    """Who is signed in; an owner of the fleet's workspace."""
    return await visitors.signed_in(fleet.runtime, fleet.workspace.id)


async def under_way(fleet: Fleet, device: Device, count: int = 600) -> CampaignId:
    """A campaign of more messages than leave while somebody clicks, of which some have left."""
    people = "name,phone\n" + "".join(f"Person {n},+6012000{n:04}\n" for n in range(count))
    await fleet.leads(device, people)
    made = await create_campaign(
        fleet.runtime, fleet.workspace.id, {"title": "Spring", "body": "Hello", "schedule": "now"}, actor="a person"
    )
    await launch_campaign(fleet.runtime, fleet.workspace.id, made.id, actor="a person")

    async def some_left() -> bool:
        return await fleet.count(made.id, "sent") >= 3

    await until(some_left)
    return made.id


async def is_still(fleet: Fleet, campaign: CampaignId) -> int:
    """Wait until nothing of it is queued or on its way; how many were sent by then."""

    async def nothing_moves() -> bool:
        return await fleet.count(campaign, "queued", "sending") == 0

    await until(nothing_moves)
    return await fleet.count(campaign, "sent")


async def has_sent_more(fleet: Fleet, campaign: CampaignId, before: int) -> bool:
    """Whether more of it were sent than before."""
    return await fleet.count(campaign, "sent") > before


async def test_a_campaign_is_paused_and_goes_on_by_click(desk: Desk, fleet: Fleet, operator: Person) -> None:
    campaign = await under_way(fleet, await fleet.device(delay=0.1))
    async with desk.open(operator) as page:
        await page.goto("/campaigns")
        await page.get_by_role("link", name="Spring").click()
        await page.get_by_role("button", name="Pause").click()
        await expect(page.get_by_text("The campaign is paused. What is on its way arrives.")).to_be_visible()
        await expect(page.locator("#now").get_by_text("Paused", exact=True)).to_be_visible()
        sent = await is_still(fleet, campaign)
        assert sent < 600
        await expect(page.locator("#now")).to_contain_text(f"Sent {sent}")
        await page.get_by_role("button", name="Resume").click()
        await expect(page.get_by_text("The campaign goes on.")).to_be_visible()
        await until(lambda: has_sent_more(fleet, campaign, sent))


async def test_a_device_is_paused_for_a_reason_that_everybody_sees_and_goes_on(
    desk: Desk, fleet: Fleet, operator: Person
) -> None:
    device = await fleet.device(delay=0.1)
    campaign = await under_way(fleet, device)
    async with desk.open(operator) as page:
        await page.goto(f"/devices/{device.id}")
        await page.get_by_role("button", name="Pause").click()
        sheet = page.locator("#pause")
        await expect(sheet).to_contain_text(re.compile(r"\d+ messages? waits? until somebody resumes it"))
        await sheet.get_by_label("Why").fill("the phone is being repaired")
        await sheet.get_by_role("button", name="Pause device").click()
        await expect(page.get_by_role("main")).to_contain_text("the phone is being repaired")
        sent = await is_still(fleet, campaign)
        await page.get_by_role("link", name="Overview").click()
        await expect(page.locator("#devices")).to_contain_text("the phone is being repaired")
        await expect(page.locator("#needs")).to_contain_text("1 device is paused")
        await page.goto(f"/devices/{device.id}")
        await page.get_by_role("button", name="Resume").click()
        await expect(page.get_by_text("The device goes on.")).to_be_visible()
    await until(lambda: has_sent_more(fleet, campaign, sent))


@pytest.mark.parametrize(
    ("button", "status", "said"),
    [
        ("It arrived", MessageStatus.SENT, "The message counts as sent."),
        ("Give up", MessageStatus.FAILED, "The message counts as failed, unconfirmed."),
        ("Send again, a copy may arrive twice", MessageStatus.PENDING, "The message goes out again."),
    ],
)
async def test_a_message_in_doubt_is_decided_by_click(
    desk: Desk, runtime: Runtime, button: str, status: MessageStatus, said: str
) -> None:
    shop = await whole_workspace(runtime)
    doubtful = MessageId(int(shop.ids["message_id"]))
    before = {d.id for d in await doubts.list_doubts(runtime, shop.workspace)}
    async with desk.open(shop.operator) as page:
        await page.goto("/messages")
        await page.get_by_role("link", name=re.compile("in doubt")).click()
        who = (await show_message(runtime, shop.workspace, doubtful)).message.recipient
        line = page.get_by_role("row").filter(has=page.locator(f"a[href^='/messages/{doubtful}']"))
        await line.get_by_role("checkbox").check()
        await page.get_by_role("button", name=button).click()
        await expect(page.get_by_text(said)).to_be_visible()
        await expect(page.locator(f"a[href^='/messages/{doubtful}']")).to_have_count(0)
    assert (await show_message(runtime, shop.workspace, doubtful)).message.status is status
    assert {d.id for d in await doubts.list_doubts(runtime, shop.workspace)} == before - {doubtful}, who


async def test_a_lost_connection_says_so_and_heals(browser: Browser, fleet: Fleet, operator: Person) -> None:
    """The web process is gone and comes back at its address; nobody reloads the page."""
    await fleet.device(delay=1)
    async with serving(fleet.runtime, seconds=120) as (url, stop, gone):
        port = int(url.rpartition(":")[2])
        async with Desk(browser, url).open(operator, expected=[CUT]) as page:
            lost = page.locator("[data-lost]")
            await page.goto("/")
            await page.evaluate("window.same = true")
            await expect(page.locator("#devices")).to_contain_text("Shop one")
            stop.set()
            await gone
            await expect(lost).to_contain_text(re.compile(r"Connection lost\. The figures are from \d\d:\d\d:\d\d"))
            await fleet.device("Shop two", delay=1)
            again = asyncio.Event()
            back = asyncio.create_task(serve(on_port(fleet.runtime, port), again))
            try:
                await expect(page.locator("#devices")).to_contain_text("Shop two")
                await expect(lost).to_be_hidden()
                assert await page.evaluate("window.same"), "the page healed without being loaded again"
            finally:
                again.set()
                await back


async def test_f35_a_dropped_connection_is_shown_with_its_reason_and_comes_back_by_itself(
    desk: Desk, fleet: Fleet, operator: Person
) -> None:
    """Seen on a page that nobody reloads; who the device is does not change, and nobody has to pair it again."""
    device = await fleet.device(delay=0.2)
    await under_way(fleet, device)
    async with desk.open(operator) as page, SimulatorControl(fleet.runtime.simulator_socket) as control:
        await page.goto("/")
        card = page.locator(f"#device-{device.id}")
        await expect(card).to_contain_text("Online")
        await control.disconnect(device.id, 5.0)
        await expect(card).to_contain_text(re.compile("Offline|Connecting"))
        await expect(card).to_contain_text("Shop one")
        await expect(card).to_contain_text("Online")


async def test_f26_each_device_shows_its_own_number_and_no_others(desk: Desk, fleet: Fleet, operator: Person) -> None:
    stored = {"Shop one": "+60123456781", "Shop two": "+60123456782", "Shop three": None}
    devices = {name: await fleet.device(name) for name in stored}
    async with fleet.runtime.db.connection() as connection:
        for name, phone in stored.items():
            await connection.execute("UPDATE devices SET phone = $2 WHERE id = $1", devices[name].id, phone)
    shown = {"Shop one": "+60 12-345 6781", "Shop two": "+60 12-345 6782", "Shop three": None}
    async with desk.open(operator) as page:
        await page.goto("/devices")
        for name, number in shown.items():
            line = await page.get_by_role("row").filter(has_text=name).inner_text()
            assert [n for n in shown.values() if n and n in line] == ([number] if number else [])
        for name, number in shown.items():
            await page.goto(f"/devices/{devices[name].id}")
            text = await page.get_by_role("main").inner_text()
            assert [n for n in shown.values() if n and n in text] == ([number] if number else [])
