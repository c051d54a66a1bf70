"""`fleetcast device pair` and `logout`, and `fleetcast simulator scan`, which plays the phone."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import zxingcpp
from PIL import Image, ImageDraw

from fleetcast.cli.main import main
from fleetcast.cli.pairing import follow
from fleetcast.domain.device import DeviceState
from fleetcast.errors import Conflict
from fleetcast.runtime import Runtime
from fleetcast.services import pairing
from fleetcast.services.devices import Device, add_device
from tests.cli.conftest import Command
from tests.running import Fleet, running_fleet, until


@pytest.fixture
async def fleet(runtime: Runtime, tmp_path: Path) -> AsyncIterator[Fleet]:
    async with running_fleet(runtime, tmp_path) as running:
        yield running


def what_a_camera_sees(printed: str) -> str:
    """Half blocks are what is white; the terminal's ground is black."""
    lines = [line for line in printed.splitlines() if re.fullmatch(r"[ ▀▄█]{30,}", line)]
    picture = Image.new("L", (8 * len(lines[0]), 16 * len(lines)), 0)
    draw = ImageDraw.Draw(picture)
    for row, line in enumerate(lines):
        for column, block in enumerate(line):
            for half, blocks in enumerate(("▀█", "▄█")):
                if block in blocks:
                    top = row * 16 + half * 8
                    draw.rectangle((column * 8, top, column * 8 + 7, top + 7), fill=255)
    [found] = zxingcpp.read_barcodes(picture)
    return found.text


async def has_a_code(fleet: Fleet, device: Device) -> bool:
    return (await pairing.look(fleet.runtime, fleet.workspace.id, device.id, with_code=True)).code is not None


async def test_a_code_is_drawn_for_a_camera_and_the_phone_that_takes_it_is_named(
    fleet: Fleet, capsys: pytest.CaptureFixture[str]
) -> None:
    device = await add_device(fleet.runtime, fleet.workspace.id, "Counter", pair_first=True)
    started = await pairing.start_pairing(fleet.runtime, fleet.workspace.id, device.id, actor="test")
    following = asyncio.create_task(
        follow(fleet.runtime, fleet.workspace.id, started, actor="test", as_json=False), name="command"
    )
    printed = ""

    async def is_drawn() -> bool:
        nonlocal printed
        printed += capsys.readouterr().out
        return "Link a device" in printed

    await until(is_drawn)
    socket = str(fleet.runtime.simulator_socket)
    code = what_a_camera_sees(printed)
    assert await asyncio.to_thread(main, ["simulator", "scan", code, "--socket", socket]) == 0
    online = await following
    assert (online.state, online.phone is not None) == (DeviceState.ONLINE, True)
    assert "breaks WhatsApp's terms" in " ".join(printed.split())
    assert await asyncio.to_thread(main, ["simulator", "scan", code, "--socket", socket]) == 4
    assert "No device shows this code now" in " ".join(capsys.readouterr().err.split())


async def test_nobody_came_and_the_command_says_what_to_do(fleet: Fleet) -> None:
    device = await add_device(fleet.runtime, fleet.workspace.id, "Counter", pair_first=True)
    started = await pairing.start_pairing(
        fleet.runtime, fleet.workspace.id, device.id, actor="test", phone="0123456789"
    )
    following = asyncio.create_task(
        follow(fleet.runtime, fleet.workspace.id, started, actor="test", as_json=True), name="command"
    )
    await until(lambda: has_a_code(fleet, device))
    async with fleet.runtime.db.connection() as connection:
        await connection.execute("UPDATE devices SET pairing_until = fleetcast_now()")
    with pytest.raises(Conflict, match="Counter is not paired: no phone was linked in time"):
        await following


async def test_an_interrupted_command_calls_it_off(fleet: Fleet) -> None:
    device = await add_device(fleet.runtime, fleet.workspace.id, "Counter", pair_first=True)
    started = await pairing.start_pairing(fleet.runtime, fleet.workspace.id, device.id, actor="test")
    following = asyncio.create_task(
        follow(fleet.runtime, fleet.workspace.id, started, actor="test", as_json=True), name="command"
    )
    await until(lambda: has_a_code(fleet, device))
    following.cancel()
    await asyncio.wait([following])
    found = await pairing.look(fleet.runtime, fleet.workspace.id, device.id)
    assert (found.device.state, found.device.state_reason) == (DeviceState.UNPAIRED, pairing.CALLED_OFF)


def test_a_device_waits_for_a_phone_and_is_logged_out_after_a_question(command: Command) -> None:
    command("workspace", "create", "Shop")
    added = command("device", "add", "Front desk", "--pair-first")
    assert "fleetcast device pair 'Front desk'" in " ".join(added.out.split())
    refused = command("device", "pair", "Front desk", "--phone", "nobody", "--json")
    assert (refused.code, json.loads(refused.out)["error"]["field"]) == (2, "phone")
    refused = command("device", "logout", "front desk", "--yes")
    assert (refused.code, "nothing to log out" in refused.err) == (4, True)
    command("device", "add", "Counter")
    asked = command("device", "logout", "counter")
    assert asked.code != 0, "nobody answered"
    assert "Log Counter out? 0 messages wait until it is paired again." in " ".join(asked.err.split())
    assert "is logged out. 0 messages wait" in command("device", "logout", "counter", "--yes").out
    assert json.loads(command("device", "list", "--json").out)[0]["state"] == "logged_out"
    refused = command("device", "pair", "nobody")
    assert refused.code == 3
