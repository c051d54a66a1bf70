"""Pictures of every page, to be looked at by people: `make screenshots`.

A real stack with simulated devices is filled with a busy workspace and an empty one; each page of the list that the
tests walk is taken by day, by night, and as wide as a phone, then every sheet that a page can open, the pages of the
empty workspace, and what people see when something is wrong.
"""

import argparse
import asyncio
import re
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from playwright.async_api import Browser, BrowserContext, Error, Page, expect

from acceptance.served import serving
from fleetcast.embedded.servers import EmbeddedServers
from fleetcast.observability.logging import configure_logging
from fleetcast.runtime import open_runtime
from fleetcast.settings import Settings
from fleetcast.store.schema import migrate
from tests.browser import windows
from tests.browser.test_pages import WHOLE
from tests.web.test_every_page import OF_THE_INSTALLATION
from tools.showroom import OWNER, Showroom, showroom

TARGET = Path(__file__).resolve().parent.parent / "build" / "screenshots"
LOOKS = {
    "light": (windows.DESK, 900, False),
    "dark": (windows.DESK, 900, True),
    "phone": (windows.PHONE, 844, False),
}
"""Name of a look → width, height, and whether it is dark."""
TALLEST = 2_400
"""Pixels of a page that are shown; what is below is more of the same."""


def name_of(path: str) -> str:
    """`/campaigns/{campaign_id}/edit` is `campaigns-campaign-edit`."""
    return re.sub(r"[^a-z]+", "-", path.lower().replace("_id}", "")).strip("-") or "overview"


class Unjudged(windows.Complaints):
    """Windows whose complaints nobody counts: a page that says that something is wrong is wanted as well. What would
    be lost by leaving a page is let go.
    """

    def listen(self, context: BrowserContext) -> None:
        """Only for questions, which would hold up everything."""
        context.on("dialog", lambda dialog: dialog.accept())

    def check(self) -> None:
        """Whatever was said, a picture can be taken."""


@dataclass(slots=True)
class Camera:
    """Takes each page in every look. `only`: part of a name; others are left out."""

    browser: Browser
    url: str
    target: Path
    only: str
    looks: dict[str, Page] = field(default_factory=dict)
    taken: int = 0
    missed: list[str] = field(default_factory=list)

    def window(self, look: str) -> AbstractAsyncContextManager[Page]:
        """A window with this look in which nobody is signed in."""
        width, height, dark = LOOKS[look]
        return windows.window(self.browser, self.url, width=width, height=height, dark=dark, complaints=Unjudged())

    def wants(self, name: str) -> bool:
        """Whether there is to be such a picture."""
        return self.only in name

    async def take(self, name: str, path: str) -> None:
        """A page by its address."""
        if not self.wants(name):
            return
        for look, page in self.looks.items():
            await page.goto(path)
            await self.shoot(page, f"{name}-{look}")

    async def shoot(self, page: Page, name: str, *, whole: bool = True) -> None:
        """What a window shows now; `whole`: also what is below the fold."""
        if not self.wants(name):
            return
        size = page.viewport_size
        assert size is not None
        # The window grows instead of the picture, so that what sticks to its edges stays there.
        tall = await page.evaluate("document.documentElement.scrollHeight") if whole else size["height"]
        await page.set_viewport_size({"width": size["width"], "height": min(max(tall, size["height"]), TALLEST)})
        await page.screenshot(path=self.target / f"{name}.png")
        await page.set_viewport_size(size)
        self.taken += 1

    async def take_sheets(self, name: str, path: str) -> None:
        """Everything that a page opens over itself."""
        for look in ("light", "phone"):
            page = self.looks[look]
            await page.goto(path)
            openers = await page.locator("[popovertarget]").filter(visible=True).all()
            for opener in openers[:4]:
                sheet = await opener.get_attribute("popovertarget")
                await opener.click()
                await self.shoot(page, f"{name}-sheet-{re.sub(r'[^a-z]', '', sheet or '')}-{look}", whole=False)
                await page.keyboard.press("Escape")


@asynccontextmanager
async def in_every_look(camera: Camera, email: str, password: str) -> AsyncIterator[None]:
    """Windows in which somebody has signed in."""
    async with AsyncExitStack() as open_windows:
        for look in LOOKS:
            camera.looks[look] = page = await open_windows.enter_async_context(camera.window(look))
            await sign_in(page, email, password)
        yield


async def sign_in(page: Page, email: str, password: str) -> None:
    """Come in by the door."""
    await page.goto("/sign-in")
    await page.get_by_label("E-mail address").fill(email)
    await page.get_by_label("Password").fill(password)
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Overview")


async def busy_pages(camera: Camera, room: Showroom) -> None:
    """Every page of the workspace in which everything goes on, and its sheets."""
    for path in (*WHOLE, *OF_THE_INSTALLATION):
        name = name_of(path)
        try:
            address = path.format(**room.ids)
        except KeyError as unknown:
            camera.missed.append(f"the pages: nothing in the showroom is a {unknown}, for {path}")
            continue
        await camera.take(name, address)
        if "?" not in path and camera.wants(name):
            await camera.take_sheets(name, address)


async def empty_pages(camera: Camera, room: Showroom) -> None:
    """The pages of a workspace in which nothing is yet."""
    for path in WHOLE:
        if "{" not in path:
            query = "&" if "?" in path else "?"
            await camera.take(f"empty-{name_of(path)}", f"{path}{query}workspace={room.empty.id}")


async def mistakes(camera: Camera, room: Showroom) -> None:
    """What people see when something was wrong."""
    for look, page in camera.looks.items():
        await page.goto("/campaigns/new")
        await page.get_by_label("Title").fill("Spring")
        await page.get_by_label("Text", exact=True).fill("Hello {{ nme | shout }}")
        await page.get_by_label("Give up after").fill("soon")
        await page.locator("main form").last.evaluate("(form) => { form.noValidate = true; form.requestSubmit() }")
        await expect(page.get_by_role("alert").first).to_be_visible()
        await camera.shoot(page, f"wrong-campaign-{look}")
        await page.goto("/devices")
        await page.get_by_role("button", name="Add device").click()
        await page.locator("#add").get_by_label("Name").fill("ampang 1")
        await page.locator("#add").get_by_label("Name").press("Enter")
        await expect(page.locator("#add").get_by_role("alert")).to_be_visible()
        await camera.shoot(page, f"wrong-device-{look}", whole=False)
        await page.goto("/leads?number=12ab")
        await camera.shoot(page, f"wrong-number-{look}")
        await page.goto("/campaigns/999999")
        await camera.shoot(page, f"wrong-address-{look}")
        await page.goto(f"/?workspace={room.workspace.id + 1_000}")
        await camera.shoot(page, f"wrong-workspace-{look}")


async def files(camera: Camera, room: Showroom) -> None:
    """A file of leads before it is sent, one that can be read and one that cannot."""
    good = b"Mobile,Full name,Town\n012-345 6781,Aminah,Klang\n012-345 6782,Ben,Ipoh\nnot a number,Cho,Melaka\n"
    for look, page in camera.looks.items():
        for name, content in (("readable", good), ("unreadable", b"colour,taste\nred,sweet\n")):
            await page.goto("/leads/import")
            await page.locator("#f-file").set_input_files(
                {"name": "people.csv", "mimeType": "text/csv", "buffer": content}
            )
            await expect(page.locator("[data-found]")).to_be_visible()
            await camera.shoot(page, f"import-{name}-{look}")


async def secrets_shown_once(camera: Camera, room: Showroom) -> None:
    """Links and keys, as they appear this once; and the second factor while it is set up."""
    for look, page in camera.looks.items():
        await page.goto("/settings/members")
        await page.get_by_label("E-mail address").fill(f"priya.{look}@kedaimaju.example")
        await page.get_by_role("button", name="Make a link").click()
        await expect(page.locator(".cmd")).to_be_visible()
        await camera.shoot(page, f"shown-once-link-{look}")
        await page.goto("/settings/keys")
        await page.get_by_label("Name").fill(f"till {look}")
        await page.get_by_role("button", name="Make key").click()
        await expect(page.locator(".cmd")).to_be_visible()
        await camera.shoot(page, f"shown-once-key-{look}")


async def doors(camera: Camera, room: Showroom) -> None:
    """Before anybody is signed in."""
    for look in LOOKS:
        async with camera.window(look) as page:
            await page.goto("/sign-in")
            await camera.shoot(page, f"door-sign-in-{look}")
            await page.get_by_label("E-mail address").fill(OWNER)
            await page.get_by_label("Password").fill("not this one")
            await page.get_by_role("button", name="Sign in").click()
            await expect(page.get_by_role("alert")).to_be_visible()
            await camera.shoot(page, f"door-wrong-password-{look}")
            await page.goto(f"/invitations/{room.invitation}")
            await camera.shoot(page, f"door-invitation-{look}")


async def losses(camera: Camera, room: Showroom) -> None:
    """The connection, the engine, and last the database are away."""
    for look, page in camera.looks.items():
        await page.route("**/events*", lambda route: route.abort())
        await page.goto("/")
        await expect(page.locator("[data-lost]")).to_be_visible()
        await camera.shoot(page, f"lost-connection-{look}")
        await page.unroute_all()
    await room.stop()
    for look, page in camera.looks.items():
        await page.goto("/")
        await expect(page.locator("#state .lost").first).to_be_visible(timeout=2 * windows.PATIENCE)
        await camera.shoot(page, f"lost-engine-{look}")
    room.servers.stop()
    for look, page in camera.looks.items():
        with suppress(Error):
            await page.goto("/campaigns")
        await camera.shoot(page, f"lost-database-{look}")


async def run(folder: Path, target: Path, only: str, program: str) -> int:
    """Take them all; 0 if none is missing."""
    with EmbeddedServers(folder / "servers", postgres_settings={"fsync": "off"}) as servers:
        await migrate(servers.database_url)
        settings = Settings(
            database_url=servers.database_url,
            redis_url=servers.redis_url,
            data=folder / "data",
        )
        async with (
            open_runtime(settings, pool_size=16) as runtime,
            serving(runtime) as url,
            windows.running(program) as browser,
            showroom(runtime, servers, folder) as room,
        ):
            camera = Camera(browser, url, target, only)
            async with in_every_look(camera, OWNER, room.password):
                for step in (busy_pages, empty_pages, mistakes, files, secrets_shown_once, doors, losses):
                    try:
                        await step(camera, room)
                    except (Error, AssertionError, KeyError) as error:  # the others are wanted all the same
                        camera.missed.append(f"{step.__name__}: {error}")
    print(f"{camera.taken} pictures are in {target}")
    for missed in camera.missed:
        print(f"Not all of {missed}", file=sys.stderr)
    return 1 if camera.missed or not camera.taken else 0


@contextmanager
def a_folder() -> Iterator[Path]:
    """A folder with a path short enough for sockets, through which the servers' account may pass."""
    folder = Path(tempfile.mkdtemp(prefix="screenshots-", dir="/tmp"))
    folder.chmod(0o711)
    (folder / "data" / "run").mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main() -> int:
    """Read the options and take the pictures."""
    options = argparse.ArgumentParser(prog="make screenshots", description=__doc__)
    options.add_argument("--to", type=Path, default=TARGET, help="folder to write into (default: %(default)s)")
    options.add_argument("--only", default="", help="part of the names that are wanted: campaign, empty, wrong")
    chosen = options.parse_args()
    program = windows.program()
    if program is None:
        print(f"Not taken: {windows.ADVICE}.", file=sys.stderr)
        return 1
    configure_logging(Settings(), "screenshots", level="error")
    chosen.to.mkdir(parents=True, exist_ok=True)
    with a_folder() as folder:
        return asyncio.run(run(folder, chosen.to, chosen.only, program))


if __name__ == "__main__":
    sys.exit(main())
