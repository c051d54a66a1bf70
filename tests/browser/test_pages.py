"""Every page in a real browser, as those meet it who use a phone, a keyboard, or software that reads it to them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from axe_playwright_python.base import AXE_SCRIPT  # type: ignore[import-untyped]
from playwright.async_api import Browser, Frame, Page, expect

from fleetcast.services.workspaces import create_workspace
from tests.api.tenants import Person
from tests.browser import windows
from tests.browser.conftest import Desk
from tests.browser.windows import Complaints
from tests.fresh import Databases, whole_runtime
from tests.security.seeding import Ids, Tenant, whole_workspace
from tests.web import visitors
from tests.web.streams import serving
from tests.web.test_every_page import FRAGMENTS, PAGES

WHOLE = tuple(page for page in PAGES if not any(piece in page for piece in FRAGMENTS))
"""Without what pages ask for themselves, which is a part of one."""
PLAIN = tuple(page for page in WHOLE if "?" not in page or "view=" in page)
"""Each once: what a filter leaves of a page has the same form."""
GRAVE = ("serious", "critical")
CONTRAST = "color-contrast"
"""The rule that takes as long as all others together."""

USABLE = "a[href], button, input, select, textarea, summary"
WATCH_FOCUS = """() => {
  window.focused = new Map();
  document.addEventListener("focusin", ({ target }) => {
    const { outlineStyle, outlineWidth } = getComputedStyle(target);
    const box = target.getBoundingClientRect();
    const above = document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2);
    const wrong = [];
    if (outlineStyle === "none" || parseFloat(outlineWidth) < 1) wrong.push("without a visible focus");
    const own = [target, ...target.labels ?? []]; // a box that nobody sees is chosen by its label
    if (above && !above.contains(target) && !own.some((part) => part.contains(above)))
      wrong.push(`below ${above.outerHTML.slice(0, 80)}`);
    window.focused.set(target, wrong.join(" and "));
  });
}"""
"""The focus is seen, and nothing lies over what has it."""
MISSED = """(usable) => {
  const name = (element) => element.outerHTML.slice(0, 140);
  const reachable = (e) => e.checkVisibility({ visibilityProperty: true }) && !e.disabled && e.type !== "hidden";
  const first = (e) => e.type !== "radio" || e.checked; // of a group of buttons, Tab reaches the chosen one
  return [
    ...[...document.querySelectorAll(usable)].filter((e) => reachable(e) && first(e) && !window.focused.has(e))
      .map((e) => `never reached: ${name(e)}`),
    ...[...window.focused].filter(([, wrong]) => wrong).map(([e, wrong]) => `${wrong}: ${name(e)}`),
  ];
}"""


@dataclass(frozen=True, slots=True)
class Shop:
    """A workspace in which something of everything exists, to be looked at; and somebody whose own is empty."""

    desk: Desk
    tenant: Tenant
    newcomer: Person


@pytest.fixture(scope="module")
async def shop(databases: Databases, redis_url: str, short_directory: Path, browser: Browser) -> AsyncIterator[Shop]:
    async with whole_runtime(databases, redis_url, short_directory) as runtime:
        tenant = await whole_workspace(runtime)
        empty = await create_workspace(runtime, "Nothing yet", actor="user:tests")
        newcomer = await visitors.signed_in(runtime, empty.id)
        async with serving(runtime, with_api=True, seconds=1_800) as (url, _, _):
            yield Shop(Desk(browser, url), tenant, newcomer)


async def grave_faults(
    page: Page, *, only: str | None = None, besides: str | None = None, inside: str | None = None
) -> list[str]:
    """What keeps people out, as axe sees it: by one rule only, or by all but one, where these are given."""
    if not await page.evaluate("'axe' in window"):
        await page.evaluate(AXE_SCRIPT)
    options: dict[str, object] = {"resultTypes": ["violations"]}
    if only:
        options["runOnly"] = [only]
    if besides:
        options["rules"] = {besides: {"enabled": False}}
    found = await page.evaluate("([inside, options]) => axe.run(inside ?? document, options)", [inside, options])
    return [
        f"{v['id']}: {v['help']}: {', '.join(str(n['target']) for n in v['nodes'])}: {v['nodes'][0]['failureSummary']}"
        for v in found["violations"]
        if v["impact"] in GRAVE
    ]


async def faults_in_both_lights(page: Page, *, inside: str | None = None) -> list[str]:
    """All of them by daylight; by night the colours, for nothing else differs."""
    await page.emulate_media(color_scheme="light")
    found = await grave_faults(page, inside=inside)
    await page.emulate_media(color_scheme="dark")
    return found + [f"dark: {f}" for f in await grave_faults(page, only=CONTRAST, inside=inside)]


async def missed_by_keyboard(page: Page) -> list[str]:
    """What Tab does not reach, reaches without a sign of it, or reaches below something else."""
    await page.evaluate(WATCH_FOCUS)
    dates = await page.locator("[type=datetime-local], [type=date], [type=month], [type=time]").count()
    for _ in range(await page.locator(USABLE).filter(visible=True).count() + 7 * dates + 3):  # a date has many parts
        await page.keyboard.press("Tab")
    found: list[str] = await page.evaluate(MISSED, USABLE)
    return found


CUT_OFF = """(width) => [...document.querySelectorAll("main *")]
  .filter((e) => e.checkVisibility())
  .filter((e) => e.getBoundingClientRect().right > width + 1 && e.getBoundingClientRect().width > 1)
  .filter((e) => !e.closest(".scroll, .chips, pre, svg"))
  .map((e) => e.outerHTML.slice(0, 140))"""
"""What lies beside the screen, and in nothing that can be scrolled."""


async def sideways(page: Page) -> int:
    """How many pixels of the page are beside the screen."""
    width: int = await page.evaluate("Math.max(document.documentElement.scrollWidth, innerWidth)")
    assert page.viewport_size is not None
    return width - page.viewport_size["width"]


async def cut_off(page: Page) -> list[str]:
    """What of a page nobody sees, because it is wider than the screen."""
    assert page.viewport_size is not None
    found: list[str] = await page.evaluate(CUT_OFF, page.viewport_size["width"])
    beside = await sideways(page)
    return found + ([f"the page is {beside} pixels wider than the screen"] if beside > 0 else [])


async def close_open_sheet(page: Page) -> None:
    """A page that comes back to an open sheet has it over everything else."""
    if await page.locator("[popover]:popover-open").count():
        await page.keyboard.press("Escape")
        await expect(page.locator("[popover]:popover-open")).to_have_count(0)


async def sheets_are_open_to_everybody(page: Page) -> None:
    """Each is opened by a key, closed by a key, and the focus is where it was."""
    for opener in await page.locator("[popovertarget]").filter(visible=True).all():
        sheet = f"#{await opener.get_attribute('popovertarget')}"
        await opener.press("Enter")
        await expect(page.locator(sheet)).to_be_visible()
        assert await faults_in_both_lights(page, inside=sheet) == [], sheet
        await page.keyboard.press("Escape")
        await expect(page.locator(sheet)).to_be_hidden()
        await expect(opener).to_be_focused()


@dataclass(frozen=True, slots=True)
class Seat:
    """A window of the owner's that stays open from page to page: making one takes longer than looking at a page."""

    page: Page
    complaints: Complaints
    ids: Ids

    @asynccontextmanager
    async def visiting(self, path: str) -> AsyncIterator[Page]:
        """Look at a page; what it complains of in the meantime, and being loaded again, fails the test."""
        loaded: list[str] = []

        def note(frame: Frame) -> None:
            loaded.append(frame.url)

        self.complaints.heard.clear()
        self.page.on("framenavigated", note)
        await self.page.goto(path.format(**self.ids))
        yield self.page
        await self.page.evaluate("0")
        self.page.remove_listener("framenavigated", note)
        self.complaints.check()
        assert len(loaded) == 1, "it loads once"


@asynccontextmanager
async def seat(shop: Shop, width: int, height: int) -> AsyncIterator[Seat]:
    complaints = Complaints()
    async with shop.desk.hearing(complaints, shop.tenant.owner, width=width, height=height) as page:
        yield Seat(page, complaints, shop.tenant.ids)
        complaints.heard.clear()  # each test has had its say


@pytest.fixture(scope="module")
async def at_a_desk(shop: Shop) -> AsyncIterator[Seat]:
    async with seat(shop, windows.DESK, 900) as opened:
        yield opened


@pytest.fixture(scope="module")
async def on_a_phone(shop: Shop) -> AsyncIterator[Seat]:
    async with seat(shop, windows.PHONE, 844) as opened:
        yield opened


@pytest.mark.parametrize("path", WHOLE)
async def test_f45_a_page_loads_once_without_a_complaint_and_everybody_can_use_it(at_a_desk: Seat, path: str) -> None:
    """38 repairs of the predecessor were broken scripts and pages that loaded themselves again for ever."""
    async with at_a_desk.visiting(path) as page:
        await expect(page.locator("h1")).to_have_count(1)
        assert await faults_in_both_lights(page) == []
        await close_open_sheet(page)
        assert await missed_by_keyboard(page) == []
        await sheets_are_open_to_everybody(page)


@pytest.mark.parametrize("path", PLAIN)
async def test_a_page_is_whole_on_a_phone(on_a_phone: Seat, path: str) -> None:
    async with on_a_phone.visiting(path) as page:
        assert await cut_off(page) == []
        assert await grave_faults(page, besides=CONTRAST) == []  # the colours are those of the same page at a desk
        await close_open_sheet(page)
        assert await missed_by_keyboard(page) == []


async def test_a_workspace_in_which_nothing_is_yet_is_open_to_everybody(shop: Shop) -> None:
    async with shop.desk.open(shop.newcomer, width=windows.PHONE, height=844) as page:
        for path in PLAIN:
            if "{" in path:
                continue
            await page.goto(path)
            found = await cut_off(page) + await grave_faults(page) + await missed_by_keyboard(page)
            assert found == [], path


@pytest.mark.parametrize("width", [windows.DESK, windows.PHONE])
async def test_the_doors_are_open_to_everybody(shop: Shop, width: int) -> None:
    async with shop.desk.open(width=width, height=844, expected=["status of 401", "status of 404"]) as page:

        async def is_open() -> None:
            assert await cut_off(page) == []
            assert await faults_in_both_lights(page) == []
            assert await missed_by_keyboard(page) == []

        await page.goto("/sign-in?next=/campaigns")
        await is_open()
        await page.get_by_label("E-mail address").fill(shop.tenant.owner.email)
        await page.get_by_label("Password").fill("not this one")
        await page.get_by_role("button", name="Sign in").click()
        await expect(page.get_by_role("alert")).to_be_visible()
        await is_open()
        await page.goto("/invitations/fci_nobodys")
        await is_open()
