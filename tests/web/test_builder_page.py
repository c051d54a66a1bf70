"""The form of a campaign while it is filled in, the last question before it goes out, and a test of it."""

import re
from collections.abc import AsyncIterator

import httpx2
import pytest
from fastapi import FastAPI

from fleetcast.domain.identifiers import CampaignId, WorkspaceId
from fleetcast.runtime import Runtime
from fleetcast.services import campaigns
from fleetcast.services.media import from_bytes
from tests.api.tenants import Person
from tests.campaign_scene import Scene
from tests.security.seeding import picture
from tests.web import visitors
from tests.web.looking import HOSTILE, Page

FORM = {"title": "Spring", "body": "Hello {{ name }}", "deadline": "7d", "when_offline": "wait", "which": "all"}


@pytest.fixture
async def scene(runtime: Runtime, workspace: WorkspaceId) -> Scene:
    made = Scene(runtime, workspace)
    device = await made.add_device("Counter")
    for n, name in enumerate(("Aminah", "Ben", "Chandra")):
        await made.add_lead(device, f"+6012000000{n}", name=name, niches=["tea"] if n else [])
    return made


@pytest.fixture
async def browser(app: FastAPI, person: Person) -> AsyncIterator[httpx2.AsyncClient]:
    async with visitors.browser(app, person) as opened:
        yield opened


async def look(browser: httpx2.AsyncClient, **fields: object) -> dict[str, str]:
    """What the page is told for a form with these fields: by the place that it goes to, as a person reads it."""
    answer = await browser.post("/campaigns/look", data=FORM | fields)
    assert answer.status_code == 200, answer.text
    found = re.findall(r'<hx-partial hx-target="#([\w-]+)"[^>]*>(.*?)</hx-partial>', answer.text, re.DOTALL)
    return {place: Page(html).words.strip() for place, html in found}


async def drafted(browser: httpx2.AsyncClient, **fields: object) -> CampaignId:
    answer = await browser.post("/campaigns/new", data=FORM | fields)
    assert answer.status_code == 303, answer.text[-1_000:]
    return CampaignId(int(re.findall(r"\d+", answer.headers["Location"])[0]))


async def test_people_text_and_times_follow_what_is_typed(browser: httpx2.AsyncClient, scene: Scene) -> None:
    told = await look(browser, own_zone="Asia/Tokyo", schedule="2031-05-05T12:00")
    assert "3 people get it" in told["audience"]
    assert told["reads"].startswith("As Aminah reads it")
    assert "Hello Aminah" in told["reads"]
    assert "Mon 5 May 2031, 12:00 in UTC(21:00 Tokyo, where you are)" in told["run"]
    assert told["wrong-body"] == ""
    assert "2 people get it" in (await look(browser, niches="tea"))["audience"]


async def test_a_mistake_in_the_text_is_told_with_its_place_and_the_people_stay(
    browser: httpx2.AsyncClient, scene: Scene
) -> None:
    told = await look(browser, body="Hello\n{{ nam }}")
    assert told["wrong-body"].startswith("Line 2, column 4: No lead has a")
    assert "3 people get it" in told["audience"]
    assert (await look(browser, body=" "))["wrong-body"] == "", "nobody who has not begun is told off"


async def test_each_mistake_stands_where_it_was_made(browser: httpx2.AsyncClient, scene: Scene) -> None:
    told = await look(browser, min_delay="soon", which="chosen", schedule="2001-01-01T10:00")
    assert "'soon' is no number of seconds" in told["run"]
    assert "is in the past" in told["run"]
    assert "name at least one device" in told["audience"].lower()
    assert "people get it" not in told["audience"]


async def test_another_one_reads_it(browser: httpx2.AsyncClient, scene: Scene) -> None:
    answer = await browser.post("/campaigns/look", data=FORM)
    [lead] = [a["value"] for a in Page(answer.text).attributes("input", name="lead")]
    assert "Hello Ben" in (await look(browser, lead=lead, another="1"))["reads"]
    assert "Hello Aminah" in (await look(browser, lead=lead))["reads"]


async def test_a_picture_is_shown_with_the_text_and_belongs_to_its_workspace(
    browser: httpx2.AsyncClient, runtime: Runtime, scene: Scene
) -> None:
    stored = await from_bytes(runtime, scene.workspace, picture(3), "offer.png")
    answer = await browser.post("/campaigns/look", data=FORM | {"media": stored.sha256})
    [image] = Page(answer.text).attributes("img")
    assert image["alt"] == "offer.png"
    shown = await browser.get(image["src"] or "")
    assert (shown.headers["content-type"], shown.content) == ("image/png", picture(3))
    assert shown.headers["content-security-policy"] == "default-src 'none'; sandbox"
    assert shown.headers["content-disposition"].startswith("attachment")
    assert (await browser.get(f"/campaigns/media/{'0' * 64}")).status_code == 404


async def test_s19_what_leads_are_called_runs_nowhere(browser: httpx2.AsyncClient, scene: Scene) -> None:
    await scene.execute("UPDATE leads SET name = $1, niches = ARRAY[$1]", HOSTILE)
    for answer in (
        await browser.post("/campaigns/look", data=FORM | {"title": HOSTILE, "body": HOSTILE + "{{ name }}"}),
        await browser.get("/campaigns/new"),
        await browser.get(f"/campaigns/{await drafted(browser, title=HOSTILE)}"),
    ):
        assert answer.status_code == 200
        assert not [a for a in Page(answer.text).attributes("img") if "onerror" in a]
        assert 'hx-target="body"' not in answer.text


async def test_the_last_question_says_who_what_when_and_what_stands_in_the_way(
    browser: httpx2.AsyncClient, runtime: Runtime, scene: Scene
) -> None:
    off = await scene.add_device("Cellar", state="offline")
    await scene.add_lead(off, "+60120000009", name="Devi")
    await scene.add_lead(off, "+60120000008", name="Ed", consent="refused")
    campaign = await drafted(browser, schedule="2031-05-05T23:00")
    page = (await browser.get(f"/campaigns/{campaign}")).text
    sheet = page.partition('id="launch"')[2].partition("</form>")[0]
    told = Page(sheet).words
    assert "4 people from 2 devices" in told
    assert "Hello Aminah" in told
    assert "1 refused" in told
    assert "1 device cannot send now: 1 person wait" in told
    assert "About 4 people get it between 21:00 and 8:00" in told
    assert "Schedule for 4 people" in told
    assert (await browser.post(f"/campaigns/{campaign}/launch")).status_code == 303


async def test_an_audience_too_large_to_be_counted_at_once_is_counted_by_the_page(
    browser: httpx2.AsyncClient, scene: Scene
) -> None:
    await scene.add_leads(scene.devices[0], 12_000, first=100)
    campaign = await drafted(browser)
    page = (await browser.get(f"/campaigns/{campaign}")).text
    assert "Counting everybody" in page
    assert re.search(r"about 1\d,\d{3} <small>people get it", page)
    assert "Launch to" not in page
    counted = (await browser.get(f"/campaigns/{campaign}/summary")).text
    assert "12,003 <small>people get it" in counted
    assert "Launch to 12,003 people" in counted


async def test_a_test_goes_out_by_itself_and_its_life_is_shown(
    browser: httpx2.AsyncClient, runtime: Runtime, scene: Scene
) -> None:
    campaign = await drafted(browser)
    form = {"to": "+60129999999", "device": str(scene.devices[0]), "once": "page"}
    answer = await browser.post(f"/campaigns/{campaign}/test", data=form)
    assert answer.status_code == 303
    page = (await browser.get(answer.headers["Location"])).text
    assert "waits for the turn of Counter" in page
    [life] = [a["hx-get"] for a in Page(page).attributes("div", id="test-now")]
    await scene.execute(
        "UPDATE broadcast_messages SET status = 'skipped', reason = 'opt_out', ended_at = fleetcast_now()"
    )
    over = (await browser.get(life or "")).text
    assert "opted out" in over
    assert "hx-get" not in over, "what is settled is not asked for again"
    assert (await campaigns.show_campaign(runtime, scene.workspace, campaign)).counts.planned == 0


async def test_a_test_that_cannot_be_is_refused_in_its_form_which_stays_filled_in(
    browser: httpx2.AsyncClient, scene: Scene
) -> None:
    campaign = await drafted(browser)
    answer = await browser.post(
        f"/campaigns/{campaign}/test", data={"to": "12", "device": str(scene.devices[0]), "reader": "x"}
    )
    assert answer.status_code == 422
    assert 'id="trial" popover data-open' in answer.text
    assert 'role="alert"' in answer.text
    assert 'value="12"' in answer.text


async def test_storing_can_lead_to_the_test(browser: httpx2.AsyncClient, scene: Scene) -> None:
    answer = await browser.post("/campaigns/new", data=FORM | {"then": "test"})
    page = (await browser.get(answer.headers["Location"])).text
    assert 'id="trial" popover data-open' in page


async def test_why_messages_were_not_sent_says_whether_a_retry_makes_sense(
    browser: httpx2.AsyncClient, scene: Scene
) -> None:
    campaign = await scene.launched()
    await scene.force(campaign, ["+60120000001"], "queued", "sending", "failed")
    page = (await browser.get(f"/campaigns/{campaign}")).text
    assert "Refused by the recipient" in page
    assert "They block the number" in page
    parts = (await browser.get(f"/campaigns/{campaign}/by-device")).text
    assert "Counter" in parts
    assert "Through in" in parts


async def test_messages_leave_as_a_table_named_after_their_campaign(browser: httpx2.AsyncClient, scene: Scene) -> None:
    campaign = await scene.launched()
    page = (await browser.get(f"/campaigns/{campaign}")).text
    [link] = [a["href"] for a in Page(page).attributes("a", download="")] or [None]
    table = await browser.get(link or f"/messages/export?campaign={campaign}")
    assert table.headers["content-disposition"] == f'attachment; filename="campaign-{campaign}.csv"'
    assert table.text.count("\n") == 4
    assert (await browser.get("/messages/export?to=abc")).status_code == 422


async def test_devices_are_found_by_a_part_of_their_name_and_the_chosen_stay(
    browser: httpx2.AsyncClient, scene: Scene
) -> None:
    other = await scene.add_device("Cellar")
    shown = (await browser.get("/campaigns/device-choices", params={"q": "ELL", "device": scene.devices[0]})).text
    assert f'value="{scene.devices[0]}" checked' in shown
    assert f'value="{other}">' in shown
    assert "called like that" in (await browser.get("/campaigns/device-choices?q=zzz")).text


async def test_a_medium_that_is_unknown_is_refused_when_it_is_stored(browser: httpx2.AsyncClient, scene: Scene) -> None:
    answer = await browser.post("/campaigns/new", data=FORM | {"media": "0" * 64})
    assert answer.status_code == 422
    assert "upload it first" in answer.text
    answer = await browser.post("/campaigns/look", data=FORM | {"media": "0" * 64})
    assert answer.status_code == 422
    assert "upload it first" in answer.text
