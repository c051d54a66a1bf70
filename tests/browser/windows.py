"""A real browser with windows that hear what goes wrong in them: shared by the tests of this folder and by the
pictures that `make screenshots` takes.

Separate from the fixtures because the pictures are no tests. The browser is the system's Chromium, driven by
Playwright; one process serves many windows, each with cookies of its own.
"""

import re
import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from playwright.async_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Dialog,
    Error,
    Page,
    Request,
    async_playwright,
    expect,
)

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
ADVICE = "there is no Chromium on this machine; as root: make browser, or on Debian: apt install chromium"
WITHOUT = (
    # What opens below the address bar, which nobody sees here: two pages made with each window, and most of its cost.
    "WebUIOmniboxPopup",
    "WebUIOmniboxAimPopup",
    # What Playwright turns off, in whose list's place this one comes.
    "AimEnabled",
    "AvoidCorsURLLoaderRestartOnRedirect",
    "AvoidUnnecessaryBeforeUnloadCheckSync",
    "DestroyProfileOnBrowserClose",
    "HttpsFirstBalancedModeAutoEnable",
    "HttpsUpgrades",
    "LensOverlay",
    "MediaRouter",
    "NetworkTimeServiceQuerying",
    "OptimizationHints",
    "PaintHolding",
    "PreconnectToSearch",
    "ThirdPartyStoragePartitioning",
)
"""Features of Chromium that are off."""
FLAGS = (
    "--disable-gpu",
    "--host-resolver-rules=MAP *.test 127.0.0.1",
    f"--disable-features={','.join(WITHOUT)}",
)
PATIENCE = 30_000.0
"""Milliseconds until a step gives up; a bound, not a pause."""
PHONE = 390
"""Width of a phone."""
DESK = 1440
"""Width of a window on a desk."""

expect.set_options(timeout=PATIENCE)


def program(path: str | None = None) -> str | None:
    """Where a browser is, if there is one. `path`: folders to look in, else those of the environment."""
    return next((found for name in PROGRAMS if (found := shutil.which(name, path=path))), None)


@asynccontextmanager
async def running(binary: str) -> AsyncIterator[Browser]:
    """A browser for as long as the block runs. It and its driver end with this process, however it ends."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=binary, args=list(FLAGS), handle_sigint=False, handle_sigterm=False, handle_sighup=False
        )
        try:
            yield browser
        finally:
            await browser.close()


@dataclass
class Complaints:
    """What windows said against the pages in them: errors of scripts, words against the policy (the console has them),
    refused and failed requests, dialogs. `expected`: patterns of what is brought about on purpose; `perhaps`: of what
    may be heard, as it happens.
    """

    expected: Sequence[str] = ()
    perhaps: Sequence[str] = ()
    heard: list[str] = field(default_factory=list)

    def listen(self, context: BrowserContext) -> None:
        """Hear everything that happens in these windows."""
        context.on("console", self._console)
        context.on("weberror", lambda fault: self.heard.append(f"a script failed: {fault.error}"))
        context.on("requestfailed", self._failed)
        context.on("dialog", self._dialog)

    def _console(self, said: ConsoleMessage) -> None:
        if said.type == "error":
            self.heard.append(f"{said.text} ({said.location['url']})")

    def _failed(self, request: Request) -> None:
        if request.failure != "net::ERR_ABORTED":  # the person went on to another page, or the file is being stored
            self.heard.append(f"{request.method} {request.url}: {request.failure}")

    async def _dialog(self, dialog: Dialog) -> None:
        self.heard.append(f"a dialog opened: {dialog.message}")
        await dialog.dismiss()

    def check(self) -> None:
        """Raises AssertionError for what nobody expected, and for what was expected and did not happen."""
        known = (*self.expected, *self.perhaps)
        unexpected = [said for said in self.heard if not any(re.search(pattern, said) for pattern in known)]
        assert unexpected == [], "\n".join(unexpected)
        missed = [pattern for pattern in self.expected if not any(re.search(pattern, said) for said in self.heard)]
        assert missed == [], f"expected, and never heard: {missed}"


@asynccontextmanager
async def window(
    browser: Browser,
    url: str,
    *,
    cookie: tuple[str, str] | None = None,
    width: int = 1280,
    height: int = 800,
    dark: bool = False,
    complaints: Complaints | None = None,
) -> AsyncIterator[Page]:
    """A window of its own at the dashboard `url`, without cookies of others; addresses in it may begin with a slash.

    Raises AssertionError at its end for every complaint that is not expected.
    """
    complaints = complaints or Complaints()
    context = await browser.new_context(
        base_url=url,
        viewport={"width": width, "height": height},
        color_scheme="dark" if dark else "light",
        reduced_motion="reduce",
        is_mobile=width <= PHONE,
        has_touch=width <= PHONE,
        locale="en-GB",
    )
    try:
        context.set_default_timeout(PATIENCE)
        complaints.listen(context)
        if cookie is not None:
            name, value = cookie
            await context.add_cookies([{"name": name, "value": value, "url": url, "httpOnly": True, "sameSite": "Lax"}])
        page = await context.new_page()
        yield page
        with suppress(Error):
            await page.evaluate("0")  # what was said before this answer has been heard by now
    finally:
        await context.close()
    complaints.check()
