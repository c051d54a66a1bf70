"""The browser of these tests: nothing that goes wrong in a window passes unseen, and nothing of it stays behind."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import psutil
import pytest
from playwright.async_api import Page, expect

from tests.api.tenants import Person
from tests.browser.conftest import Desk, browser_program
from tests.process_tree import eventually


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ("console.error('the lamp is broken')", "the lamp is broken"),
        ("setTimeout(() => { throw new Error('no such lamp'); }, 0)", "no such lamp"),
        ("document.body.append(Object.assign(document.createElement('script'), { text: '1' }))", "Content Security"),
        ("document.body.setAttribute('style', 'color: red')", "Content Security"),
        ("fetch('/no-such-lamp')", "status of 404"),
        ("fetch('http://127.0.0.1:1/').catch(() => 0)", "Content Security"),
        ("setTimeout(() => alert('lamp'), 0)", "a dialog opened: lamp"),
    ],
)
async def test_what_goes_wrong_in_a_window_fails_the_test(desk: Desk, person: Person, wrong: str, words: str) -> None:
    async def see(page: Page) -> None:
        await page.goto("/campaigns")
        await page.evaluate(f"(() => {{ {wrong} }})()")
        await page.evaluate("fetch('/health').then(() => 0)")
        await expect(page.get_by_role("heading", level=1)).to_have_text("Campaigns")

    with pytest.raises(AssertionError, match=words):
        async with desk.open(person) as page:
            await see(page)
    async with desk.open(person, expected=[words]) as page:
        await see(page)


async def test_what_was_expected_and_did_not_happen_fails_the_test(desk: Desk) -> None:
    with pytest.raises(AssertionError, match="never heard"):
        async with desk.open(expected=["a lamp"]) as page:
            await page.goto("/sign-in")


def test_without_a_browser_the_tests_say_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(pytest.skip.Exception, match=r"not run: there is no Chromium .* apt install chromium"):
        browser_program(str(tmp_path), required=False)


def test_without_a_browser_who_insists_on_it_is_failed(tmp_path: Path) -> None:
    with pytest.raises(pytest.fail.Exception, match="apt install chromium"):
        browser_program(str(tmp_path), required=True)


OPENS_A_WINDOW = """
import asyncio
from tests.browser import windows

async def main():
    async with windows.running(windows.program()) as browser, windows.window(browser, "http://127.0.0.1:1") as page:
        await page.set_content("<p>hello</p>")
        print("open", flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_a_test_process_that_is_killed_leaves_no_browser_behind(browser: object) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", OPENS_A_WINDOW), stdout=asyncio.subprocess.PIPE, env=dict(os.environ)
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"open\n"
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) > 2, "its driver and its browser"
    process.send_signal(signal.SIGKILL)
    await process.wait()

    def lives(child: psutil.Process) -> bool:
        try:
            return child.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    def all_gone() -> bool:
        return not any(lives(child) for child in children)

    await eventually(all_gone, "driver and browser end with who started them")
