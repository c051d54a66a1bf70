"""A linked device on the pages: added, led to its code with the plain words about it, given a proxy."""

from collections.abc import AsyncIterator

import httpx2
import pytest
from fastapi import FastAPI

from fleetcast.domain.device import DeviceState, TransportKind
from fleetcast.runtime import Runtime
from fleetcast.services import devices
from fleetcast.services.device_proxy import shown_proxy
from tests.api import tenants
from tests.security.seeding import Tenant
from tests.web.test_forms import alert, done, send

SECRET = "socks5://agent:a-secret@proxy.example.org:1080"


@pytest.fixture
async def browser(app: FastAPI, shop: Tenant) -> AsyncIterator[httpx2.AsyncClient]:
    """The owner's."""
    async with tenants.client(app, session=shop.owner.token) as client:
        yield client


async def linked(browser: httpx2.AsyncClient, runtime: Runtime, shop: Tenant) -> devices.Device:
    answer = await send(browser, "/devices", name="Till", min_delay="10", max_delay="30", transport="linked")
    made = await devices.find_device(runtime, shop.workspace, "Till")
    assert answer.headers["Location"].startswith(f"/devices/{made.id}/pair")
    return made


async def test_a_linked_device_is_added_and_its_pairing_says_plainly_what_it_risks(
    browser: httpx2.AsyncClient, runtime: Runtime, shop: Tenant
) -> None:
    made = await linked(browser, runtime, shop)
    assert (made.transport, made.state) == (TransportKind.LINKED, DeviceState.PAIRING)
    page = (await browser.get(f"/devices/{made.id}/pair")).text
    for words in ("breaks WhatsApp's terms", "Write only to people who agreed", "WhatsApp Cloud API"):
        assert words in page.replace("&#39;", "'")
    assert "simulated phone" not in page


async def test_its_proxy_is_changed_shown_without_its_password_and_taken_away(
    browser: httpx2.AsyncClient, runtime: Runtime, shop: Tenant
) -> None:
    made = await linked(browser, runtime, shop)
    path = f"/devices/{made.id}"
    assert await done(browser, f"{path}/proxy", proxy=SECRET) == "The proxy is changed; the device connects anew."
    page = (await browser.get(path)).text
    assert "socks5://agent:***@proxy.example.org:1080" in page
    assert "a-secret" not in page
    refused = await send(browser, f"{path}/proxy", proxy="proxy.example.org")
    assert refused.status_code == 422
    assert "no address of a proxy" in alert(refused)
    await done(browser, f"{path}/proxy", proxy="")
    assert await shown_proxy(runtime, made.id) is None
    assert "connects to WhatsApp by itself" in (await browser.get(path)).text


async def test_a_simulated_device_has_no_proxy(browser: httpx2.AsyncClient, runtime: Runtime, shop: Tenant) -> None:
    await done(browser, "/devices", name="Counter", min_delay="5", max_delay="7")
    made = await devices.find_device(runtime, shop.workspace, "Counter")
    assert "Proxy" not in (await browser.get(f"/devices/{made.id}")).text
    assert (await send(browser, f"/devices/{made.id}/proxy", proxy=SECRET)).status_code == 409
