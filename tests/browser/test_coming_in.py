"""Signing in and being signed out, as a person at a keyboard sees it."""

from dataclasses import replace

import pyotp
import pytest

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
from tests.browser.chromium import Chromium
from tests.web import visitors
from tests.web.seeding import FIGURES, add_campaign, add_device
from tests.web.streams import serving
from tests.web.visitors import SESSION

FOCUS = "document.activeElement.id"
HEADING = "document.querySelector('h1').textContent"


async def test_one_comes_in_by_keyboard_alone_and_out_again(
    browser: Chromium, url: str, runtime: Runtime, workspace: WorkspaceId
) -> None:
    ann = await visitors.account(runtime, workspace)
    async with browser.page() as page:
        await page.open(url, f"{HEADING} === 'Sign in'")
        assert await page.run(FOCUS) == "email"
        await page.type(ann.email)
        await page.press("Tab")
        assert await page.run(FOCUS) == "password"
        await page.type("wrong")
        await page.press("Enter")
        await page.until("document.querySelector('[role=alert]')")
        assert await page.run(FOCUS) == "password"
        assert await page.run("document.querySelector('#email').value") == ann.email
        await page.type(ann.password)
        await page.press("Tab")
        assert await page.run("document.activeElement.textContent") == "Sign in"
        await page.press("Enter")
        await page.until("document.querySelector('[data-stream]')")
        assert await page.run("document.cookie") == ""
        assert await page.run("localStorage.length + sessionStorage.length") == 0
        await page.run("document.querySelector('.me button').focus()")
        await page.press("Enter")
        await page.until(f"{HEADING} === 'Sign in'")
        assert [c for c in page.complaints if "401" not in c] == []


async def test_a_second_factor_is_asked_for_on_a_page_of_its_own(
    browser: Chromium, url: str, runtime: Runtime, workspace: WorkspaceId, db: Database
) -> None:
    ann = await visitors.account(runtime, workspace)
    totp = pyotp.TOTP((await second_factor.begin(runtime, ann.user_id, ann.password)).secret)
    async with db.connection() as connection:
        step = totp.timecode(await connection.fetchval("SELECT fleetcast_now()"))
    await second_factor.confirm(runtime, ann.user_id, totp.generate_otp(step))
    async with browser.page() as page:
        await page.open(f"{url}/sign-in", f"{HEADING} === 'Sign in'")
        await page.type(ann.email)
        await page.press("Tab")
        await page.type(ann.password)
        await page.press("Enter")
        await page.until(f"{HEADING} === 'Enter the code'")
        assert await page.run(FOCUS) == "code"
        await page.order("Page.reload")
        await page.until(f"{HEADING} === 'Enter the code' && {FOCUS} === 'code'")
        await page.type(totp.generate_otp(step + 1))
        await page.press("Enter")
        await page.until("document.querySelector('[data-stream]')")
        assert page.complaints == []


async def test_an_invitation_is_accepted_by_keyboard_alone(
    browser: Chromium, url: str, runtime: Runtime, workspace: WorkspaceId
) -> None:
    invited = await membership.invite(runtime, workspace, "new@example.org", Role.VIEWER, actor="user:a@example.org")
    async with browser.page() as page:
        await page.open(f"{url}/invitations/{invited.token}", f"{HEADING}.startsWith('Join ')")
        assert await page.run(FOCUS) == "name"
        await page.type("New Person")
        await page.press("Tab")
        await page.type("tram lantern rhubarb quay")
        await page.press("Enter")
        await page.until("document.querySelector('[data-stream]')")
        assert page.complaints == []


@pytest.mark.parametrize("host", ["dashboard.test", "127.0.0.1"])
async def test_s34_our_own_forms_pass_where_the_browser_says_little_of_itself(
    browser: Chromium, runtime: Runtime, workspace: WorkspaceId, host: str
) -> None:
    """Over plain HTTP by a name, browsers tell the origin alone, and only if the policy on referrers lets them."""
    ann = await visitors.account(runtime, workspace)
    public = replace(runtime, settings=Settings(**runtime.settings.model_dump() | {"host": "0.0.0.0"}))
    async with serving(public) as (address, _, _), browser.page() as page:
        url = f"http://{host}:{address.rpartition(':')[2]}"
        await page.open(f"{url}/sign-in", f"{HEADING} === 'Sign in'")
        await page.type(ann.email)
        await page.press("Tab")
        await page.type(ann.password)
        await page.press("Enter")
        await page.until("document.querySelector('[data-stream]')")
        [posted] = [h for h in page.requests if h.get("Content-Type", "").startswith("application/x-www-form")]
        assert posted["Origin"] == url
        assert ("Sec-Fetch-Site" in posted) is (host == "127.0.0.1")


async def test_s06_an_open_page_leads_to_the_door_when_its_session_ends(
    browser: Chromium,
    url: str,
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
    async with browser.page() as page:
        await page.give_cookie(url, SESSION, person.token)
        await page.open(f"{url}/?workspace={workspace}", "document.querySelector('[data-stream]')")
        await page.until("window.htmx")
        await sign_out(runtime, person.token)
        await page.until(f"{HEADING} === 'Sign in'")
        assert await page.run("document.querySelector('[name=next]').value") == f"/?workspace={workspace}"


async def test_s06_a_page_whose_stream_is_refused_leads_to_the_door(
    browser: Chromium, url: str, runtime: Runtime, db: Database, workspace: WorkspaceId, person: Person
) -> None:
    """A machine that slept: the stream begins anew, and the session is over by then."""
    await add_device(db, workspace, "Kedai 1")
    async with browser.page() as page:
        await page.give_cookie(url, SESSION, person.token)
        await page.open(url, "document.querySelector('[data-stream]')")
        await page.until("window.htmx")
        await sign_out(runtime, person.token)
        await page.run(
            "(() => { const old = document.querySelector('[data-stream]'); const fresh = old.cloneNode(false);"
            " old.replaceWith(fresh); htmx.process(fresh); })()"
        )
        await page.until(f"{HEADING} === 'Sign in'")


async def test_s19_no_name_runs_as_a_script(
    browser: Chromium, url: str, runtime: Runtime, db: Database, person: Person
) -> None:
    hostile = '"><img src=x onerror=alert(1)><script>alert(2)</script>{{constructor.constructor("alert(3)")()}}\u202e'
    async with db.connection() as connection:
        made = await connection.fetchval("INSERT INTO workspaces (name) VALUES ($1) RETURNING id", hostile)
    workspace = WorkspaceId(made)
    await visitors.join(runtime, person, workspace)
    await add_device(db, workspace, hostile, state="logged_out", reason=hostile)
    await add_campaign(db, workspace, hostile, sums=FIGURES)
    await add_campaign(db, workspace, f"{hostile} 2", status="paused", paused_reason=hostile)
    async with browser.page() as page:
        await page.give_cookie(url, SESSION, person.token)
        await page.open(f"{url}/?workspace={workspace}", "document.querySelector('[data-stream]')")
        await page.until("document.querySelector('#going').textContent.includes('onerror')")
        await add_campaign(db, workspace, f"{hostile} by the stream", sums=FIGURES)
        await page.until("document.querySelector('#going').textContent.includes('by the stream')")
        assert await page.run("document.title") == f"{hostile} · Fleetcast"
        assert await page.run("document.querySelectorAll('main img, main script').length") == 0
        assert page.complaints == []
