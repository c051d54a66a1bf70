"""Many leads or devices changed in their lists: counted, confirmed, followed, taken back; and what lists show."""

import re
from collections.abc import AsyncIterator

import httpx2
import pytest
from fastapi import FastAPI

from fleetcast.engine.bulk_editor import BulkEditor
from fleetcast.runtime import Runtime
from fleetcast.services import devices
from tests.api import tenants
from tests.security.seeding import Tenant
from tests.web.test_forms import alert, send


@pytest.fixture
async def browser(app: FastAPI, shop: Tenant) -> AsyncIterator[httpx2.AsyncClient]:
    """The owner's."""
    async with tenants.client(app, session=shop.owner.token) as client:
        yield client


async def followed(browser: httpx2.AsyncClient, runtime: Runtime, path: str, **fields: object) -> str:
    """Send a form that begins a change of many, and let the loop do it: its page afterwards."""
    answer = await send(browser, path, **fields)
    assert answer.status_code == 303, answer.text[-1_500:]
    where = answer.headers["Location"]
    assert "You may leave this page" in (await browser.get(where)).text
    editor = BulkEditor(runtime)
    while await editor.run_once():
        pass
    return (await browser.get(where)).text


async def test_many_leads_are_changed_after_their_number_was_confirmed_and_it_is_taken_back(
    browser: httpx2.AsyncClient, runtime: Runtime, shop: Tenant
) -> None:
    looked = {"q": f"{shop.mark} first", "scope": "all", "action": "add_niche"}
    asked = await send(browser, "/leads/bulk", **looked)
    assert "Add a niche to 6 people" in asked.text
    assert "Add it to 6 people" in asked.text
    [confirmed] = re.findall(r'name="confirmed" value="(\d+)"', asked.text)
    wrong = await send(browser, "/leads/bulk/start", **looked, confirmed=confirmed, new_niche="a, b")
    assert wrong.status_code == 422
    assert "Niche: name exactly one niche." in alert(wrong)
    fewer = await send(browser, "/leads/bulk/start", **looked, confirmed=4, new_niche="VIP")
    assert "2 more than were confirmed" in alert(fewer)
    page = await followed(browser, runtime, "/leads/bulk/start", **looked, confirmed=confirmed, new_niche="VIP")
    assert "Add the niche vip to 6 people" in page
    assert "Take it back for 6 people" in page
    assert (await browser.get("/leads?niche=vip")).text.count('name="lead"') == 6
    [edit] = re.findall(r'action="/bulk/(\d+)/undo', page)
    page = await followed(browser, runtime, f"/bulk/{edit}/undo")
    assert "Take back: Add the niche vip" in page
    assert "Nobody is like that" in (await browser.get("/leads?niche=vip")).text


async def test_chosen_leads_are_forgotten_and_nobody_chosen_is_said(
    browser: httpx2.AsyncClient, runtime: Runtime, shop: Tenant
) -> None:
    lead = shop.ids["lead_id"]
    nobody = await send(browser, "/leads/bulk", action="forget")
    assert nobody.status_code == 422
    assert "choose at least one person" in alert(nobody)
    asked = await send(browser, "/leads/bulk", action="forget", lead=lead)
    assert "Forget 1 person?" in asked.text
    assert "cannot be taken back" in asked.text
    page = await followed(browser, runtime, "/leads/bulk/start", action="forget", lead=lead, confirmed=1)
    assert "Take it back" not in page
    assert (await browser.get(f"/leads/{lead}")).status_code == 404


async def test_many_devices_are_paced_and_removed_with_the_count_of_what_is_skipped(
    browser: httpx2.AsyncClient, runtime: Runtime, shop: Tenant
) -> None:
    every = {"scope": "all", "q": shop.mark}
    asked = await send(browser, "/devices/bulk", **every, action="remove")
    assert "Remove 2 devices?" in asked.text
    assert "2 messages that wait for them will be skipped" in asked.text
    wrong = await send(browser, "/devices/bulk/start", **every, action="pace", confirmed=2, min_delay="soon")
    assert "no number of seconds" in alert(wrong)
    pace = {"action": "pace", "min_delay": "3", "max_delay": "4,5", "confirmed": 2}
    await followed(browser, runtime, "/devices/bulk/start", **every, **pace)
    assert {d.max_delay for d in await devices.list_devices(runtime, shop.workspace)} == {4.5}
    one = {"action": "remove", "device": shop.ids["device_id"], "confirmed": 1}
    assert "Remove 1 device" in await followed(browser, runtime, "/devices/bulk/start", **one)
    assert len(await devices.list_devices(runtime, shop.workspace)) == 1


async def test_only_owners_remove_many_devices(app: FastAPI, shop: Tenant) -> None:
    async with tenants.client(app, session=shop.operator.token) as operator:
        assert 'value="remove"' not in (await operator.get("/devices")).text
        for path in ("/devices/bulk", "/devices/bulk/start"):
            answer = await send(operator, path, action="remove", device=shop.ids["device_id"], confirmed=1)
            assert answer.status_code == 403


async def test_chosen_columns_are_shown_and_remembered_by_this_browser(
    browser: httpx2.AsyncClient, shop: Tenant
) -> None:
    assert f"{shop.mark} first city" in (await browser.get("/leads")).text
    assert f"{shop.mark} first city" not in (await browser.get("/leads?choose=1")).text
    assert f"{shop.mark} first city" not in (await browser.get("/leads")).text
    assert f"{shop.mark} first city" in (await browser.get("/leads?choose=1&columns=city&columns=unknown")).text
    assert f"{shop.mark} first city" in (await browser.get("/leads")).text


async def test_an_export_has_those_that_are_looked_for(browser: httpx2.AsyncClient, shop: Tenant) -> None:
    table = await browser.get("/leads/export", params={"q": f"{shop.mark} second lead"})
    assert table.text.count("\n") == 6, "five leads and the headings"
