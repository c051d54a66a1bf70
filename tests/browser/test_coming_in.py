"""Signing in and being signed out, as a person at a keyboard sees it."""

import io
from dataclasses import replace

import pyotp
import pytest
import zxingcpp
from PIL import Image
from playwright.async_api import Browser, Page, Request, expect

from fleetcast.domain.access import Role
from fleetcast.domain.identifiers import WorkspaceId
from fleetcast.runtime import Runtime
from fleetcast.services.accounts import membership, second_factor
from fleetcast.services.accounts.sign_in import sign_out
from fleetcast.settings import Settings
from fleetcast.store.connection import Database
from fleetcast.web import live
from fleetcast.web.pages import overview
from tests.api.tenants import Person
from tests.browser.conftest import Desk
from tests.web import visitors
from tests.web.seeding import FIGURES, add_campaign, add_device
from tests.web.streams import serving

REFUSED = "status of 401"
"""What the console says of a wrong password, and of a stream whose reader was signed out."""
NO_TLS = "Cross-Origin-Opener-Policy header has been ignored"
"""What it says of one of our headers over plain HTTP by a name."""


async def says(page: Page, heading: str) -> None:
    """It is the page with this heading."""
    await expect(page.get_by_role("heading", level=1)).to_have_text(heading)


async def test_one_comes_in_by_keyboard_alone_and_out_again(
    desk: Desk, runtime: Runtime, workspace: WorkspaceId
) -> None:
    ann = await visitors.account(runtime, workspace)
    async with desk.open(expected=[REFUSED]) as page:
        await page.goto("/")
        await says(page, "Sign in")
        email, password = page.get_by_label("E-mail address"), page.get_by_label("Password")
        await expect(email).to_be_focused()
        await page.keyboard.insert_text(ann.email)
        await page.keyboard.press("Tab")
        await expect(password).to_be_focused()
        await page.keyboard.insert_text("wrong")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("alert")).to_be_visible()
        await expect(password).to_be_focused()
        await expect(email).to_have_value(ann.email)
        await page.keyboard.insert_text(ann.password)
        await page.keyboard.press("Tab")
        await expect(page.get_by_role("button", name="Sign in")).to_be_focused()
        await page.keyboard.press("Enter")
        await says(page, "Overview")
        assert await page.evaluate("document.cookie") == ""
        assert await page.evaluate("localStorage.length + sessionStorage.length") == 0
        await page.get_by_role("button", name="Sign out").focus()
        await page.keyboard.press("Enter")
        await says(page, "Sign in")


async def test_a_second_factor_is_asked_for_on_a_page_of_its_own(
    desk: Desk, runtime: Runtime, workspace: WorkspaceId, db: Database
) -> None:
    ann = await visitors.account(runtime, workspace)
    totp = pyotp.TOTP((await second_factor.begin(runtime, ann.user_id, ann.password)).secret)
    async with db.connection() as connection:
        step = totp.timecode(await connection.fetchval("SELECT fleetcast_now()"))
    await second_factor.confirm(runtime, ann.user_id, totp.generate_otp(step))
    async with desk.open() as page:
        await page.goto("/sign-in")
        await page.keyboard.insert_text(ann.email)
        await page.keyboard.press("Tab")
        await page.keyboard.insert_text(ann.password)
        await page.keyboard.press("Enter")
        await says(page, "Enter the code")
        await expect(page.get_by_label("Code")).to_be_focused()
        await page.reload()
        await says(page, "Enter the code")
        await expect(page.get_by_label("Code")).to_be_focused()
        await page.keyboard.insert_text(totp.generate_otp(step + 1))
        await page.keyboard.press("Enter")
        await says(page, "Overview")


async def test_a_second_factor_is_set_up_by_scanning_the_picture_on_the_page(
    desk: Desk, runtime: Runtime, workspace: WorkspaceId
) -> None:
    ann = await visitors.account(runtime, workspace)
    async with desk.open() as page:
        await page.goto("/sign-in?next=/me")
        await page.get_by_label("E-mail address").fill(ann.email)
        await page.get_by_label("Password").fill(ann.password)
        await page.get_by_role("button", name="Sign in").click()
        await page.locator("#begin-password").fill(ann.password)
        await page.get_by_role("button", name="Set it up").click()
        picture = await page.get_by_alt_text("The key as a QR code").screenshot()
        [scanned] = zxingcpp.read_barcodes(Image.open(io.BytesIO(picture)))
        totp = pyotp.parse_uri(scanned.text)
        assert isinstance(totp, pyotp.TOTP)
        assert totp.name == ann.email
        await page.get_by_label("Code of the app").fill(totp.now())
        await page.get_by_role("button", name="Turn it on").click()
        await expect(page.get_by_role("heading", name="Your recovery codes")).to_be_visible()
        assert await page.locator(".codes li").count() == second_factor.RECOVERY_CODES


async def test_an_invitation_is_accepted_by_keyboard_alone(
    desk: Desk, runtime: Runtime, workspace: WorkspaceId
) -> None:
    invited = await membership.invite(runtime, workspace, "new@example.org", Role.VIEWER, actor="user:a@example.org")
    async with desk.open() as page:
        await page.goto(f"/invitations/{invited.token}")
        await expect(page.get_by_label("Your name")).to_be_focused()
        await page.keyboard.insert_text("New Person")
        await page.keyboard.press("Tab")
        await page.keyboard.insert_text("tram lantern rhubarb quay")
        await page.keyboard.press("Enter")
        await says(page, "Overview")


@pytest.mark.parametrize("host", ["dashboard.test", "127.0.0.1"])
async def test_s34_our_own_forms_pass_where_the_browser_says_little_of_itself(
    browser: Browser, runtime: Runtime, workspace: WorkspaceId, host: str
) -> None:
    """Over plain HTTP by a name, browsers tell the origin alone, and only if the policy on referrers lets them."""
    ann = await visitors.account(runtime, workspace)
    public = replace(runtime, settings=Settings(**runtime.settings.model_dump() | {"host": "0.0.0.0"}))
    async with serving(public) as (address, _, _):
        url = f"http://{host}:{address.rpartition(':')[2]}"
        posted: list[Request] = []
        async with Desk(browser, url).open(expected=[] if host == "127.0.0.1" else [NO_TLS]) as page:
            page.on("request", lambda request: posted.append(request) if request.method == "POST" else None)
            await page.goto("/sign-in")
            await page.keyboard.insert_text(ann.email)
            await page.keyboard.press("Tab")
            await page.keyboard.insert_text(ann.password)
            await page.keyboard.press("Enter")
            await says(page, "Overview")
            [headers] = [await request.all_headers() for request in posted]
    assert headers["origin"] == url
    assert ("sec-fetch-site" in headers) is (host == "127.0.0.1")


async def test_s06_an_open_page_leads_to_the_door_when_its_session_ends(
    desk: Desk,
    runtime: Runtime,
    db: Database,
    workspace: WorkspaceId,
    person: Person,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(overview, "STILL_MEMBER", 0.0)
    monkeypatch.setattr(live, "SIGN_OF_LIFE", 0.1)
    await add_device(db, workspace, "Kedai 1")
    await add_campaign(db, workspace, "Spring", sums=FIGURES)
    async with desk.open(person) as page:
        await page.goto(f"/?workspace={workspace}")
        await says(page, "Overview")
        await sign_out(runtime, person.token)
        await says(page, "Sign in")
        assert await page.locator("[name=next]").input_value() == f"/?workspace={workspace}"


async def test_s06_a_page_whose_stream_is_refused_leads_to_the_door(
    desk: Desk, runtime: Runtime, db: Database, workspace: WorkspaceId, person: Person
) -> None:
    """A machine that slept: the stream begins anew, and the session is over by then."""
    await add_device(db, workspace, "Kedai 1")
    async with desk.open(person, expected=[REFUSED]) as page:
        await page.goto("/")
        await says(page, "Overview")
        await sign_out(runtime, person.token)
        await page.evaluate(
            "(() => { const old = document.querySelector('[data-stream]'); const fresh = old.cloneNode(false);"
            " old.replaceWith(fresh); htmx.process(fresh); })()"
        )
        await says(page, "Sign in")


async def test_s19_no_name_runs_as_a_script(desk: Desk, runtime: Runtime, db: Database, person: Person) -> None:
    hostile = '"><img src=x onerror=alert(1)><script>alert(2)</script>{{constructor.constructor("alert(3)")()}}\u202e'
    async with db.connection() as connection:
        made = await connection.fetchval("INSERT INTO workspaces (name) VALUES ($1) RETURNING id", hostile)
    workspace = WorkspaceId(made)
    await visitors.join(runtime, person, workspace)
    await add_device(db, workspace, hostile, state="logged_out", reason=hostile)
    await add_campaign(db, workspace, hostile, sums=FIGURES)
    await add_campaign(db, workspace, f"{hostile} 2", status="paused", paused_reason=hostile)
    async with desk.open(person) as page:
        await page.goto(f"/?workspace={workspace}")
        going = page.locator("#going")
        await expect(going).to_contain_text("onerror")
        await add_campaign(db, workspace, f"{hostile} by the stream", sums=FIGURES)
        await expect(going).to_contain_text("by the stream")
        assert await page.title() == f"{hostile} · Fleetcast"
        assert await page.locator("main img, main script").count() == 0
