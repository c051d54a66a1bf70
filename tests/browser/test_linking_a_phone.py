"""A phone linked to a device by the picture that stands on the page: read from a screenshot, as a camera reads it."""

import io
import re

import pytest
import zxingcpp
from PIL import Image
from playwright.async_api import Page, expect

from fleetcast.transports.simulator.control import SimulatorControl
from tests.api.tenants import Person
from tests.browser.conftest import Desk
from tests.browser.windows import PHONE
from tests.running import Fleet, until
from tests.web import visitors


@pytest.fixture
async def operator(fleet: Fleet) -> Person:
    """Who is signed in; an owner of the fleet's workspace."""
    return await visitors.signed_in(fleet.runtime, fleet.workspace.id)


async def a_camera_sees(page: Page) -> str:
    """What the code on the screen says."""
    code = page.locator(".qr svg")
    await expect(code).to_be_visible()
    await code.scroll_into_view_if_needed()
    found = zxingcpp.read_barcodes(Image.open(io.BytesIO(await page.screenshot())))
    assert len(found) == 1, "one code that a camera can read"
    return found[0].text


async def test_a_device_is_added_paired_by_its_picture_tested_logged_out_and_paired_again(
    desk: Desk, fleet: Fleet, operator: Person
) -> None:
    async with desk.open(operator) as page, SimulatorControl(fleet.runtime.simulator_socket) as simulator:
        await page.goto("/devices")
        await page.get_by_label("Name").fill("Counter")
        await page.get_by_label("Shortest gap, seconds").fill("0")
        await page.get_by_label("Longest gap, seconds").fill("0")
        await page.get_by_label("Pair it with a phone first").check()
        await page.get_by_role("button", name="Add device").click()
        await expect(page.get_by_text("Waiting for the phone")).to_be_visible()
        await simulator.take_code(await a_camera_sees(page))
        await expect(page.get_by_role("main")).to_contain_text(re.compile(r"Online\s*\+60 11-\d{4} \d{4} is linked"))
        assert await page.locator("[hx-get]").count() == 0, "it asks for nothing more"
        await page.get_by_role("link", name="To the device").click()

        await page.get_by_role("button", name="Test message…").click()
        sheet = page.locator("#test")
        await expect(sheet.get_by_label("To")).to_be_focused()
        await page.keyboard.type("012-345 6789")
        await sheet.get_by_role("button", name="Send test message").click()
        await expect(page.locator("#trial")).to_contain_text(re.compile(r"(Sent|Delivered|Read) to \+60 12-345 6789"))
        await expect(page.locator("#trial[hx-get]")).to_have_count(0)

        await page.reload()
        await page.get_by_role("button", name="Log out…").click()
        await expect(page.locator("#log-out")).to_contain_text("No message waits for it.")
        await page.locator("#log-out").get_by_role("button", name="Log out").press("Enter")
        said = "The device is logged out. 0 messages wait until it is paired again."
        await expect(page.get_by_text(said)).to_be_visible()
        await page.get_by_role("button", name="Pair again").click()
        await simulator.take_code(await a_camera_sees(page))
        await expect(page.get_by_text("is linked")).to_be_visible()


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
async def test_f35_on_a_telephone_in_both_themes_the_code_renews_itself_and_is_read(
    desk: Desk, fleet: Fleet, operator: Person, dark: bool
) -> None:
    device = await fleet.device()
    async with (
        desk.open(operator, width=PHONE, height=844, dark=dark) as page,
        SimulatorControl(fleet.runtime.simulator_socket) as simulator,
    ):
        await simulator.behave(code_seconds=5, codes=30)
        await simulator.log_out(device.id)
        await page.goto(f"/devices/{device.id}")
        while not await page.get_by_role("button", name="Pair again").count():
            await page.reload()
        await expect(page.get_by_text("logged out on the phone")).to_be_visible()
        await page.get_by_role("button", name="Pair again").click()
        seen = {await a_camera_sees(page)}
        await page.evaluate("window.same = true")

        async def is_another() -> bool:
            seen.add(await a_camera_sees(page))
            return len(seen) > 1

        await until(is_another)
        assert await page.evaluate("window.same"), "without the page being loaded anew"
        assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        await simulator.behave(code_seconds=60)
        await page.get_by_label("Number of the phone").fill("012-345 6789")
        await page.get_by_role("button", name="Use a phone code").click()
        await simulator.take_code(await page.locator(".typed").inner_text())
        await expect(page.get_by_text("+60 12-345 6789 is linked")).to_be_visible()
