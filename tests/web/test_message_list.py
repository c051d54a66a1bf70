"""The list of messages: narrowed by links and words, and each link leads to what it counts."""

import re
from collections.abc import AsyncIterator

import httpx2
import pytest
from fastapi import FastAPI

from fleetcast.domain.identifiers import WorkspaceId
from fleetcast.runtime import Runtime
from tests.api.tenants import Person
from tests.campaign_scene import Scene
from tests.web import visitors
from tests.web.looking import Page


@pytest.fixture
async def scene(runtime: Runtime, workspace: WorkspaceId) -> Scene:
    made = Scene(runtime, workspace)
    await made.add_leads(await made.add_device("Counter"), 6)
    return made


@pytest.fixture
async def browser(app: FastAPI, person: Person) -> AsyncIterator[httpx2.AsyncClient]:
    async with visitors.browser(app, person) as opened:
        yield opened


def numbers(page: Page) -> list[str]:
    return re.findall(r"\+60 12-000 000(\d)", page.words)


async def test_a_reason_on_the_page_of_a_campaign_leads_to_the_messages_that_it_counts(
    browser: httpx2.AsyncClient, scene: Scene
) -> None:
    campaign = await scene.launched()
    await scene.force(campaign, ["+60120000001", "+60120000004"], "queued", "sending", "failed")
    await scene.force(campaign, ["+60120000002"], "skipped")
    await scene.execute("UPDATE broadcast_messages SET reason = 'opt_out' WHERE status = 'skipped'")
    await scene.execute("UPDATE campaign_tallies SET reason = 'opt_out' WHERE counter = 'skipped'")
    page = Page((await browser.get(f"/campaigns/{campaign}")).text)
    links = [str(a["href"]) for a in page.attributes("a") if "reason=" in str(a.get("href"))]
    found = {}
    for link in links:
        shown = Page((await browser.get(link)).text)
        [reason] = re.findall(r"Only for this reason: ([^.]+)\.", shown.words)
        found[reason] = sorted(numbers(shown))
        [every] = [str(a["href"]) for a in shown.attributes("a") if "/messages?" in str(a.get("href"))][-1:]
        assert "reason" not in every
    assert found == {"refused by the recipient": ["1", "4"], "opted out": ["2"]}


async def test_a_search_stays_narrowed_and_a_state_begins_anew(browser: httpx2.AsyncClient, scene: Scene) -> None:
    campaign = await scene.launched()
    page = Page((await browser.get(f"/messages?campaign={campaign}&status=failed&reason=poison")).text)
    assert "No message is like that." in page.words
    hidden = {a["name"]: a["value"] for a in page.attributes("input", type="hidden")}
    assert (hidden["status"], hidden["reason"]) == ("failed", "poison")
    chips = [str(a["href"]) for a in page.attributes("a") if a.get("class") == "chip"]
    assert len(chips) > 5
    assert not any("reason" in chip for chip in chips)
    unknown = await browser.get("/messages?reason=%3Cb%3E")
    assert len(numbers(Page(unknown.text))) == 6, "a reason that does not exist narrows nothing"
