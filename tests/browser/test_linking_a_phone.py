"""A phone linked to a device by the picture that stands on the page: read from a screenshot, as a camera reads it."""

import io
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import zxingcpp
from PIL import Image

from fleetcast.runtime import Runtime
from fleetcast.transports.simulator.control import SimulatorControl
from tests.browser.chromium import Chromium, Page
from tests.running import Fleet, running_fleet, until
from tests.web import visitors
from tests.web.visitors import SESSION

TEXT = "document.querySelector('main').textContent.replace(/\\s+/g, ' ')"


@pytest.fixture
async def fleet(runtime: Runtime, tmp_path: Path) -> AsyncIterator[Fleet]:
    async with running_fleet(runtime, tmp_path) as running:
        yield running


async def a_camera_sees(page: Page) -> str:
    """What the code on the screen says."""
    await page.until("document.querySelector('.qr svg')")
    await page.run("document.querySelector('.qr svg').scrollIntoView({ block: 'center' })")
    found = zxingcpp.read_barcodes(Image.open(io.BytesIO(await page.picture())))
    assert len(found) == 1, "one code that a camera can read"
    return found[0].text


async def says(page: Page, words: str) -> None:
    await page.until(f"{TEXT}.includes({words!r})")


async def submit(page: Page, button: str) -> None:
    """Press the button with this word."""
    await page.run(
        "[...document.querySelectorAll('button, a.btn')]"
        f".find(b => b.textContent.trim().startsWith({button!r})).click()"
    )


async def test_a_device_is_added_paired_by_its_picture_tested_logged_out_and_paired_again(
    browser: Chromium, url: str, fleet: Fleet
) -> None:
    person = await visitors.signed_in(fleet.runtime, fleet.workspace.id)
    async with browser.page() as page, SimulatorControl(fleet.runtime.simulator_socket) as simulator:
        await page.give_cookie(url, SESSION, person.token)
        await page.open(f"{url}/devices", "document.querySelector('#f-name')")
        await page.run(
            "(() => { for (const [id, value] of [['name', 'Counter'], ['min_delay', '0'], ['max_delay', '0']])"
            " document.querySelector('#f-' + id).value = value;"
            " document.querySelector('[name=pair_first]').checked = true; })()"
        )
        await submit(page, "Add device")
        await says(page, "Waiting for the phone")
        await simulator.take_code(await a_camera_sees(page))
        await says(page, "is linked")
        await page.until("document.querySelector('.st.k-ok')")
        await page.until("!document.querySelector('[hx-get]')")
        await submit(page, "To the device")
        await says(page, "Log out…")

        await submit(page, "Test message…")
        await page.until("document.activeElement.name === 'to'")
        await page.type("012-345 6789")
        await submit(page, "Send test message")
        await page.until("document.querySelector('#trial .st.k-ok')")
        await says(page, "Sent")

        await submit(page, "Log out…")
        await page.until("document.querySelector('#log-out:popover-open')")
        await page.press("Tab", "Enter")
        await says(page, "The device is logged out. 0 messages wait until it is paired again.")
        await submit(page, "Pair again")
        await simulator.take_code(await a_camera_sees(page))
        await says(page, "is linked")
        assert page.complaints == []


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
async def test_f26_on_a_telephone_in_both_themes_the_code_renews_itself_and_is_read(
    browser: Chromium, url: str, fleet: Fleet, dark: bool
) -> None:
    person = await visitors.signed_in(fleet.runtime, fleet.workspace.id)
    device = await fleet.device()
    async with (
        browser.page(width=390, height=844, dark=dark) as page,
        SimulatorControl(fleet.runtime.simulator_socket) as simulator,
    ):
        await simulator.behave(code_seconds=4, codes=30)
        await simulator.log_out(device.id)
        await page.give_cookie(url, SESSION, person.token)
        await page.open(f"{url}/devices/{device.id}", f"{TEXT}.includes('Pair again')")
        await says(page, "logged out on the phone")
        await submit(page, "Pair again")
        await page.run("window.same = true")
        first = await a_camera_sees(page)
        seen = {first}

        async def is_another() -> bool:
            seen.add(await a_camera_sees(page))
            return len(seen) > 1

        await until(is_another)
        assert await page.run("window.same"), "without the page being loaded anew"
        assert await page.run("document.documentElement.scrollWidth <= innerWidth")
        await simulator.behave(code_seconds=60)
        await page.run("document.querySelector('[name=phone]').value = '012-345 6789'")
        await submit(page, "Use a phone code")
        await page.until("document.querySelector('.typed')")
        await simulator.take_code(str(await page.run("document.querySelector('.typed').textContent")))
        await says(page, "+60 12-345 6789 is linked")
        assert page.complaints == []
