"""The page of the calendar: a drop and a form move a campaign, a move can be taken back, a refusal stands beside it."""

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import httpx2
import pytest
from fastapi import FastAPI

from fleetcast.domain.identifiers import CampaignId, WorkspaceId
from fleetcast.runtime import Runtime
from fleetcast.services.campaigns import show_campaign
from tests.api.tenants import Person
from tests.campaign_scene import Scene
from tests.web import visitors
from tests.web.looking import HOSTILE, Page


@pytest.fixture
async def scene(runtime: Runtime, workspace: WorkspaceId) -> Scene:
    made = Scene(runtime, workspace)
    await made.add_lead(await made.add_device(), "+60120000001")
    await made.execute("UPDATE workspaces SET time_zone = 'Europe/Berlin' WHERE id = $1", workspace)
    return made


@pytest.fixture
async def browser(app: FastAPI, person: Person) -> AsyncIterator[httpx2.AsyncClient]:
    async with visitors.browser(app, person) as opened:
        yield opened


async def starts(scene: Scene, campaign: CampaignId) -> datetime | None:
    return (await show_campaign(scene.runtime, scene.workspace, campaign)).campaign.starts_at


def cell(page: str, day: str) -> str:
    found = re.search(rf'data-day="{day}">(.*?)\n</div>', page, re.DOTALL)
    assert found is not None
    return found[1]


def alert(page: str) -> str:
    found = re.search(r'role="alert"[^>]*>(.*?)</', page)
    assert found is not None
    return found[1]


async def test_a_drop_moves_a_campaign_and_a_click_takes_it_back(browser: httpx2.AsyncClient, scene: Scene) -> None:
    campaign = await scene.draft(title="Spring", schedule="2031-05-10 18:30")
    await scene.launch(campaign)
    page = (await browser.get("/campaigns/calendar?month=2031-05")).text
    assert "Spring" in cell(page, "2031-05-10")
    assert f'draggable="true" data-campaign="{campaign}"' in page
    answer = await browser.post(f"/campaigns/{campaign}/move", data={"to": "2031-05-20", "month": "2031-05"})
    assert answer.status_code == 303
    page = (await browser.get(answer.headers["Location"])).text
    assert "Spring" in cell(page, "2031-05-20")
    assert "Moved Spring from Sat 10 May, 18:30 to Tue 20 May, 18:30." in Page(page).words
    assert await starts(scene, campaign) == datetime(2031, 5, 20, 16, 30, tzinfo=UTC)
    [undo] = [a["value"] for a in Page(page).attributes("input", type="hidden", name="to")]
    assert undo == "2031-05-10T18:30"
    answer = await browser.post(f"/campaigns/{campaign}/move", data={"to": undo, "month": "2031-05"})
    assert "Spring" in cell((await browser.get(answer.headers["Location"])).text, "2031-05-10")


async def test_a_form_moves_it_to_another_month_and_leads_there(browser: httpx2.AsyncClient, scene: Scene) -> None:
    campaign = await scene.draft(title="Spring", schedule="2031-05-10 18:30")
    answer = await browser.post(f"/campaigns/{campaign}/move", data={"to": "2031-07-01T08:00", "month": "2031-05"})
    page = await browser.get(answer.headers["Location"])
    assert "month=2031-07" in answer.headers["Location"]
    assert "08:00 · Draft" in cell(page.text, "2031-07-01")


async def test_a_draft_without_a_day_lies_beside_until_it_gets_one(browser: httpx2.AsyncClient, scene: Scene) -> None:
    campaign = await scene.draft(title="Some day")
    page = (await browser.get("/campaigns/calendar?month=2031-05")).text
    assert "Some day" in page.partition("Drafts without a day")[2]
    answer = await browser.post(f"/campaigns/{campaign}/move", data={"to": "2031-05-20", "month": "2031-05"})
    page = (await browser.get(answer.headers["Location"])).text
    assert "Some day is on Tue 20 May, 10:00 now; it is still a draft." in Page(page).words
    answer = await browser.post(f"/campaigns/{campaign}/move", data={"to": "", "month": "2031-05"})
    assert "Some day has no day any more." in Page((await browser.get(answer.headers["Location"])).text).words


@pytest.mark.parametrize(
    ("to", "words"), [("2001-05-01", "is in the past"), ("2031-03-30", "skip 02:30"), ("someday", "is not a date")]
)
async def test_a_refusal_stands_in_the_form_of_the_campaign_which_is_open(
    browser: httpx2.AsyncClient, scene: Scene, to: str, words: str
) -> None:
    campaign = await scene.draft(title="Spring", schedule="2031-03-10 02:30")
    before = await starts(scene, campaign)
    answer = await browser.post(f"/campaigns/{campaign}/move", data={"to": to, "month": "2031-03"})
    assert answer.status_code == 422
    assert words in alert(answer.text)
    assert f'id="move-{campaign}" popover data-open' in answer.text
    assert await starts(scene, campaign) == before


async def test_what_has_begun_meanwhile_is_refused_beside_it(browser: httpx2.AsyncClient, scene: Scene) -> None:
    campaign = await scene.launched(title="Spring")
    answer = await browser.post(f"/campaigns/{campaign}/move", data={"to": "2031-05-20", "month": ""})
    assert answer.status_code == 409
    assert "is running: its start cannot move" in alert(answer.text)
    assert "data-campaign" not in answer.text, "what runs cannot be dragged"


async def test_a_full_day_says_how_many_more_there_are(browser: httpx2.AsyncClient, scene: Scene) -> None:
    for n in range(6):
        await scene.draft(title=f"Number {n}", schedule=f"2031-05-10 1{n}:00")
    day = cell((await browser.get("/campaigns/calendar?month=2031-05")).text, "2031-05-10")
    assert "+3 more" in day
    assert "Number 5" in day.partition("<summary")[2]


async def test_who_only_looks_moves_nothing(app: FastAPI, runtime: Runtime, scene: Scene) -> None:
    from fleetcast.domain.access import Role
    from tests.api import tenants

    campaign = await scene.draft(title="Spring", schedule="2031-05-10 18:30")
    viewer = await tenants.person(runtime, scene.workspace, Role.VIEWER)
    async with tenants.client(app, session=viewer.token) as looking:
        page = (await looking.get("/campaigns/calendar?month=2031-05")).text
        answer = await looking.post(f"/campaigns/{campaign}/move", data={"to": "2031-05-20"})
    assert "Spring" in page
    assert not re.search(r"data-campaign|/move|calendar\.js", page)
    assert answer.status_code == 403


async def test_s19_no_title_runs_as_a_script(browser: httpx2.AsyncClient, scene: Scene) -> None:
    campaign = await scene.draft(title=HOSTILE, schedule="2031-05-10 18:30")
    pages = [
        await browser.get("/campaigns/calendar?month=2031-05"),
        await browser.post(f"/campaigns/{campaign}/move", data={"to": "2001-05-20", "month": "2031-05"}),
    ]
    for page in pages:
        assert Page(page.text).attributes("img") == []


@pytest.mark.parametrize("month", ["2031-13", "0001-01", "9999-12", "x", "2031-5", "２０３１-05"])
async def test_what_is_no_month_is_this_one(browser: httpx2.AsyncClient, scene: Scene, month: str) -> None:
    page = await browser.get("/campaigns/calendar", params={"month": month})
    assert page.status_code == 200
    assert " today</p>" in page.text
