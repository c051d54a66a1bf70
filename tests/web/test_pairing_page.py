"""The page on which a phone is linked to a device: what it shows, when it renews itself, and who may see it."""

import re

import httpx2
import pytest
import zxingcpp
from fastapi import FastAPI
from PIL import Image, ImageDraw

from fleetcast.domain.access import Role
from fleetcast.domain.device import DeviceState
from fleetcast.domain.identifiers import DeviceId, WorkspaceId
from fleetcast.domain.pairing import Code, CodeKind
from fleetcast.runtime import Runtime
from fleetcast.services import pairing
from fleetcast.services.devices import Device, add_device, find_device, get_device, set_state
from fleetcast.services.single_sends import SingleSend, send_message
from tests.api.tenants import Person
from tests.web import visitors
from tests.web.looking import HOSTILE, Page

CODE = "2@" + ",".join(letter * 44 for letter in "ABCD")


@pytest.fixture
async def device(runtime: Runtime, workspace: WorkspaceId) -> Device:
    return await add_device(runtime, workspace, "Counter", pair_first=True)


async def show_code(runtime: Runtime, device: Device, *, order: int = 1, kind: CodeKind = CodeKind.QR) -> None:
    text = CODE if kind is CodeKind.QR else "ABCDEFGH"
    await (await pairing.codes(runtime)).publish(device.id, Code(order, kind, text, 19.6))


async def page(client: httpx2.AsyncClient, path: str) -> Page:
    answer = await client.get(path)
    assert answer.status_code == 200, answer.text
    return Page(answer.text)


def what_a_camera_sees(html: str) -> str:
    """The picture is drawn from its path, and read as a phone does it."""
    size = int(re.findall(r'viewBox="0 0 (\d+) \d+"', html)[0])
    picture = Image.new("L", (size * 8, size * 8), 255)
    draw = ImageDraw.Draw(picture)
    x = y = 0.0
    for move, dx, dy in re.findall(
        r"([Mmh])(-?[\d.]+)(?: ?(-?[\d.]+))?", re.findall(r' d="(M[^h]*h[^"]+m[^"]*)"', html)[0]
    ):
        if move == "h":
            draw.rectangle((x * 8, (y - 0.5) * 8, (x + float(dx)) * 8 - 1, (y + 0.5) * 8 - 1), fill=0)
            x += float(dx)
        else:
            x, y = (float(dx), float(dy)) if move == "M" else (x + float(dx), y + float(dy))
    [found] = zxingcpp.read_barcodes(picture)
    return found.text


async def test_a_device_that_is_paired_first_leads_to_its_code_at_once(
    client: httpx2.AsyncClient, runtime: Runtime, workspace: WorkspaceId
) -> None:
    form = {"name": "Front desk", "min_delay": "1", "max_delay": "2", "pair_first": "on"}
    answer = await client.post("/devices", data=form)
    made = await find_device(runtime, workspace, "Front desk")
    assert answer.headers["Location"].split("?")[0] == f"/devices/{made.id}/pair"
    assert made.state is DeviceState.PAIRING
    shown = await page(client, answer.headers["Location"])
    assert "The device was added." in shown.words
    assert "No sender runs at this moment. The code comes as soon as one does." in shown.words


async def test_the_code_is_a_picture_that_a_camera_reads_with_its_quiet_zone(
    client: httpx2.AsyncClient, runtime: Runtime, device: Device
) -> None:
    await client.post(f"/devices/{device.id}/pair", data={"how": "qr"})
    await show_code(runtime, device)
    html = (await client.get(f"/devices/{device.id}/pair")).text
    svg = html[html.index('<svg role="img" aria-label="QR code') :].split("</svg>")[0]
    assert what_a_camera_sees(svg) == CODE
    assert re.search(r'<path[^>]* fill="#fff"', svg), "white under it, in the dark theme too"
    assert 'stroke="#000"' in svg
    assert "M4 4.5" in svg, "four modules of white around it"
    assert CODE not in html.replace(svg, ""), "it is shown and not told"
    for words in (
        "A new code in 20 s",
        "3 min left",
        "breaks WhatsApp's terms",
        "agreed to be written to",
        "Cloud API",
    ):
        assert words in Page(html).words


async def test_its_part_renews_itself_and_asks_for_the_page_when_something_else_is_to_be_said(
    client: httpx2.AsyncClient, runtime: Runtime, device: Device
) -> None:
    await client.post(f"/devices/{device.id}/pair", data={"how": "qr"})
    shown = await page(client, f"/devices/{device.id}/pair")
    [part] = shown.attributes("div", id="pairing")
    assert part["hx-trigger"] == "every 1s"
    now = str(part["hx-get"])
    assert "<svg" not in (await client.get(now)).text
    await show_code(runtime, device)
    answer = await client.get(now)
    assert "<svg" in answer.text
    assert "HX-Refresh" not in answer.headers
    assert not Page(answer.text).attributes("a"), "nothing that is replaced each second can have the focus"
    assert not Page(answer.text).attributes("button")
    await pairing.cancel_pairing(runtime, device.workspace_id, device.id, actor="somebody else")
    answer = await client.get(now)
    assert (answer.headers["HX-Refresh"], answer.text) == ("true", "")
    over = await page(client, f"/devices/{device.id}/pair")
    assert "Pairing was called off" in over.words
    assert "hx-get" not in over.attributes("div", id="pairing")[0], "and asks no more"


async def test_a_code_for_a_phone_is_spelled_and_its_number_is_checked_beside_the_field(
    client: httpx2.AsyncClient, runtime: Runtime, device: Device
) -> None:
    path = f"/devices/{device.id}/pair"
    wrong = await client.post(path, data={"how": "phone", "phone": "nobody"})
    assert wrong.status_code == 422
    shown = Page(wrong.text)
    assert shown.attributes("input", name="phone")[0]["aria-invalid"] == "true"
    assert shown.attributes("input", name="phone")[0]["value"] == "nobody"
    assert (await client.post(path, data={"how": "phone", "phone": "012-345 6789"})).status_code == 303
    await show_code(runtime, device, kind=CodeKind.PHONE)
    shown = await page(client, path)
    assert "ABCD-EFGH" in shown.words
    assert "+60 12-345 6789" in shown.words


@pytest.mark.parametrize(
    ("state", "act"),
    [
        (DeviceState.UNPAIRED, "Pair"),
        (DeviceState.LOGGED_OUT, "Pair again"),
        (DeviceState.BANNED, "Pair another phone"),
        (DeviceState.ONLINE, "Log out…"),
        (DeviceState.OFFLINE, "Log out…"),
    ],
)
async def test_the_page_of_a_device_says_why_and_offers_what_comes_next(
    client: httpx2.AsyncClient, runtime: Runtime, device: Device, state: DeviceState, act: str
) -> None:
    await set_state(runtime, device.id, state, HOSTILE)
    answer = await client.get(f"/devices/{device.id}")
    assert f">{act}</button>" in answer.text
    assert HOSTILE not in answer.text
    assert HOSTILE in Page(answer.text).text


async def test_a_logout_asks_with_the_count_and_says_what_waits(
    client: httpx2.AsyncClient, runtime: Runtime, device: Device
) -> None:
    await set_state(runtime, device.id, DeviceState.ONLINE, "")
    for _ in range(2):
        asked = SingleSend(device.id, "+60123456789", "Hello")
        await send_message(runtime, device.workspace_id, asked, actor="test")
    shown = await page(client, f"/devices/{device.id}")
    assert "Log out, 2 messages wait" in shown.words
    answer = await client.post(f"/devices/{device.id}/log-out")
    after = await page(client, answer.headers["Location"])
    assert "The device is logged out. 2 messages wait until it is paired again." in after.words
    assert "logged out here" in after.words
    assert "WhatsApp is told of the logout as soon as a sender reaches it." in after.words
    again = await client.post(f"/devices/{device.id}/log-out")
    assert again.status_code == 409
    assert "nothing to log out" in Page(again.text).words


async def test_what_is_linked_is_not_paired_over_and_the_page_leads_on(
    client: httpx2.AsyncClient, runtime: Runtime, device: Device
) -> None:
    await set_state(runtime, device.id, DeviceState.ONLINE, "")
    answer = await client.post(f"/devices/{device.id}/pair", data={"how": "qr"})
    assert answer.status_code == 409
    assert "Log it out first" in Page(answer.text).words
    shown = await page(client, f"/devices/{device.id}/pair")
    assert "A phone is linked" in shown.words
    assert "To the device" in shown.words


async def test_nobody_who_only_looks_sees_a_code(
    app: FastAPI, runtime: Runtime, workspace: WorkspaceId, person: Person, device: Device
) -> None:
    await pairing.start_pairing(runtime, workspace, device.id, actor="test")
    await show_code(runtime, device)
    viewer = await visitors.signed_in(runtime, workspace, role=Role.VIEWER)
    async with visitors.browser(app, viewer) as client:
        assert (await client.get(f"/devices/{device.id}/pair")).status_code == 403
        assert (await client.get(f"/devices/{device.id}/pair/now?phase=code")).status_code == 403
        shown = await page(client, f"/devices/{device.id}")
        assert "Show the code" not in shown.words
        assert "Pairing" in shown.words


async def test_a_phone_that_is_played_needs_a_code_and_a_simulator(client: httpx2.AsyncClient, device: Device) -> None:
    answer = await client.post(f"/devices/{device.id}/pair/play")
    assert answer.status_code == 409
    assert "shows no code at this moment" in Page(answer.text).words


# -- test messages


async def test_a_test_message_goes_through_the_queue_and_its_life_is_shown(
    client: httpx2.AsyncClient, runtime: Runtime, workspace: WorkspaceId, device: Device
) -> None:
    answer = await client.post(f"/devices/{device.id}/test", data={"to": "012-345 6789", "text": "Is this on?"})
    assert answer.status_code == 303
    shown = await page(client, answer.headers["Location"])
    [life] = shown.attributes("div", id="trial")
    assert life["hx-trigger"] == "every 1s"
    assert "Waiting to +60 12-345 6789" in shown.words
    part = await client.get(str(life["hx-get"]))
    assert "hx-trigger" in part.text
    async with runtime.db.connection() as connection:
        await connection.execute(
            "UPDATE broadcast_messages SET status = 'skipped', reason = 'opt_out', ended_at = fleetcast_now()"
        )
    part = await client.get(str(life["hx-get"]))
    assert "opted out" in part.text
    assert "hx-trigger" not in part.text, "nothing more is to come"
    assert (await get_device(runtime, workspace, device.id)).state is DeviceState.UNPAIRED


@pytest.mark.parametrize(("to", "text", "field"), [("nobody", "Hello", "to"), ("+60123456789", " ", "text")])
async def test_a_test_message_that_cannot_be_is_refused_beside_its_field(
    client: httpx2.AsyncClient, device: Device, to: str, text: str, field: str
) -> None:
    answer = await client.post(f"/devices/{device.id}/test", data={"to": to, "text": text})
    assert answer.status_code == 422
    shown = Page(answer.text)
    [wrong] = [a for tag in ("input", "textarea") for a in shown.attributes(tag, name=field)]
    assert wrong["aria-invalid"] == "true"
    assert answer.text.count('role="alert"') == 1
    assert shown.attributes("input", name="to")[0]["value"] == to


async def test_a_message_of_another_device_is_no_test_of_this_one(
    client: httpx2.AsyncClient, runtime: Runtime, workspace: WorkspaceId, device: Device
) -> None:
    other = await add_device(runtime, workspace, "Other")
    sent = await send_message(runtime, workspace, SingleSend(other.id, "+60123456789", "Hello"), actor="test")
    assert (await client.get(f"/devices/{device.id}/test/{sent.id}")).status_code == 404
    assert 'id="trial"' not in (await client.get(f"/devices/{device.id}?test={sent.id}")).text
    assert (await client.get(f"/devices/{DeviceId(device.id + 999)}/pair")).status_code == 404
