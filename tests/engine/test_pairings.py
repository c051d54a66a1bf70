"""Devices on their way to a phone, with a real sender and the simulator in WhatsApp's place."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from fleetcast.domain.device import DeviceState
from fleetcast.domain.identifiers import Phone
from fleetcast.domain.pairing import Code, CodeKind
from fleetcast.engine.pairings import OTHER_KEY
from fleetcast.engine.processes import run_scheduler, run_sender
from fleetcast.runtime import Runtime
from fleetcast.services import pairing
from fleetcast.services.devices import Device, add_device
from fleetcast.services.pairing import Pairing
from fleetcast.services.workspaces import create_workspace
from fleetcast.transports.simulator.control import SimulatorControl
from fleetcast.transports.simulator.launch import SimulatorProcess
from tests.running import Fleet, running_fleet, until

STATE = DeviceState


async def look(runtime: Runtime, device: Device) -> Pairing:
    return await pairing.look(runtime, device.workspace_id, device.id, with_code=True)


async def when(runtime: Runtime, device: Device, so: Callable[[Pairing], bool]) -> Pairing:
    """How far it is, once it is so."""
    found: list[Pairing] = []

    async def is_so() -> bool:
        found[:] = [await look(runtime, device)]
        return so(found[0])

    await until(is_so)
    return found[0]


async def shown(runtime: Runtime, device: Device, *, besides: str = "") -> Code:
    """The code of the device, once there is one that is not `besides`."""
    found = await when(runtime, device, lambda p: p.code is not None and p.code.text != besides)
    assert found.code is not None
    return found.code


async def start(runtime: Runtime, device: Device, phone: str | None = None) -> None:
    await pairing.start_pairing(runtime, device.workspace_id, device.id, actor="a person", phone=phone)


async def is_in(runtime: Runtime, device: Device, state: DeviceState) -> Pairing:
    return await when(runtime, device, lambda p: p.device.state is state)


@pytest.fixture
async def fleet(runtime: Runtime, tmp_path: Path) -> AsyncIterator[Fleet]:
    async with running_fleet(runtime, tmp_path) as running:
        yield running


async def unpaired(runtime: Runtime, workspace_id: object, name: str = "Shop") -> Device:
    return await add_device(runtime, workspace_id, name, min_delay=0, max_delay=0, pair_first=True)  # type: ignore[arg-type]


async def test_a_phone_takes_the_code_that_is_shown_and_the_device_is_online(runtime: Runtime, fleet: Fleet) -> None:
    device = await unpaired(runtime, fleet.workspace.id)
    await start(runtime, device)
    await shown(runtime, device)
    await pairing.play_the_phone(runtime, fleet.workspace.id, device.id)
    now = (await is_in(runtime, device, STATE.ONLINE)).device
    assert now.phone is not None
    assert now.is_ready
    assert (
        await runtime.redis.get(runtime.keys.pairing(device.id)) is None or (await look(runtime, device)).code is None
    )


async def test_f36_it_is_logged_out_paired_again_by_phone_code_and_sends(runtime: Runtime, fleet: Fleet) -> None:
    device = await unpaired(runtime, fleet.workspace.id)
    async with SimulatorControl(runtime.simulator_socket) as simulator:
        for phone in (None, "+60123456789", None):
            await start(runtime, device, phone)
            code = await shown(runtime, device)
            assert code.kind is (CodeKind.QR if phone is None else CodeKind.PHONE)
            assert await simulator.take_code(code.spelled.lower() if phone else code.text) == device.id
            now = (await is_in(runtime, device, STATE.ONLINE)).device
            assert phone in (None, now.phone)
            await pairing.log_out(runtime, fleet.workspace.id, device.id, actor="a person")
            await when(runtime, device, lambda p: not p.unlinking)
            assert (await look(runtime, device)).device.state is STATE.LOGGED_OUT


async def test_f44_a_logout_on_the_phone_is_told_with_its_reason_and_not_fought(runtime: Runtime, fleet: Fleet) -> None:
    device = await unpaired(runtime, fleet.workspace.id)
    await start(runtime, device)
    await shown(runtime, device)
    await pairing.play_the_phone(runtime, fleet.workspace.id, device.id)
    await is_in(runtime, device, STATE.ONLINE)
    async with SimulatorControl(runtime.simulator_socket) as simulator:
        await simulator.log_out(device.id)
    ended = (await is_in(runtime, device, STATE.LOGGED_OUT)).device
    assert ended.state_reason == "logged out on the phone"
    assert ended.phone is not None, "who it was stays known"
    await start(runtime, device)
    await shown(runtime, device)


async def test_f35_codes_renew_themselves_and_end_with_a_reason(runtime: Runtime, fleet: Fleet) -> None:
    device = await unpaired(runtime, fleet.workspace.id)
    async with SimulatorControl(runtime.simulator_socket) as simulator:
        await simulator.behave(code_seconds=0.4, codes=4)
        await start(runtime, device)
        first = await shown(runtime, device)
        second = await shown(runtime, device, besides=first.text)
        assert first.text != second.text
        ended = (await is_in(runtime, device, STATE.UNPAIRED)).device
    assert ended.state_reason == "no phone took a code in time"


async def test_f26_devices_that_are_paired_at_the_same_time_each_get_their_own_phone(
    runtime: Runtime, fleet: Fleet
) -> None:
    devices = [await unpaired(runtime, fleet.workspace.id, name) for name in ("One", "Two", "Three")]
    for device in devices:
        await start(runtime, device)
    codes = [await shown(runtime, device) for device in devices]
    assert len({code.text for code in codes}) == 3
    async with SimulatorControl(runtime.simulator_socket) as simulator:
        phones = [Phone(f"+6012345678{n}") for n in range(3)]
        for n in (2, 0):
            assert await simulator.take_code(codes[n].text, phones[n]) == devices[n].id
    for n in (2, 0):
        assert (await is_in(runtime, devices[n], STATE.ONLINE)).device.phone == phones[n]
    assert (await look(runtime, devices[1])).under_way, "and nobody's is ended by another's"
    assert (await look(runtime, devices[1])).device.phone is None


async def test_f35_a_device_that_was_cut_off_is_back_without_a_code(runtime: Runtime, fleet: Fleet) -> None:
    device = await unpaired(runtime, fleet.workspace.id)
    await start(runtime, device)
    await shown(runtime, device)
    await pairing.play_the_phone(runtime, fleet.workspace.id, device.id)
    before = (await is_in(runtime, device, STATE.ONLINE)).device
    async with SimulatorControl(runtime.simulator_socket) as simulator:
        await simulator.disconnect(device.id)
        cut = (await is_in(runtime, device, STATE.OFFLINE)).device
        await simulator.bring_back(device.id)
    back = (await is_in(runtime, device, STATE.ONLINE)).device
    for now in (cut, back):
        assert (now.phone, now.jid, now.lid) == (before.phone, before.jid, before.lid)
    assert (await look(runtime, device)).order == 1, "nobody had to pair it"


async def test_a_redis_that_was_emptied_shows_the_code_again(runtime: Runtime, fleet: Fleet) -> None:
    device = await unpaired(runtime, fleet.workspace.id)
    await start(runtime, device)
    code = await shown(runtime, device)
    await runtime.redis.delete(runtime.keys.pairing(device.id))
    assert (await shown(runtime, device)).text == code.text


async def test_nobody_waits_any_more_when_it_is_called_off(runtime: Runtime, fleet: Fleet) -> None:
    device = await unpaired(runtime, fleet.workspace.id)
    await start(runtime, device)
    code = await shown(runtime, device)
    await pairing.cancel_pairing(runtime, fleet.workspace.id, device.id, actor="a person")

    async def is_gone() -> bool:
        return await runtime.redis.get(runtime.keys.pairing(device.id)) is None

    await until(is_gone)
    async with SimulatorControl(runtime.simulator_socket) as simulator:
        assert (await simulator.stats())["counts"]["pairings"] == 1
        with pytest.raises(Exception, match="No device shows this code now"):
            await simulator.take_code(code.text)


# -- processes that come and go


@asynccontextmanager
async def sender(runtime: Runtime) -> AsyncIterator[None]:
    stop = asyncio.Event()
    running = asyncio.create_task(run_sender(runtime, stop=stop), name="sender")
    try:
        yield
    finally:
        stop.set()
        await running


async def test_another_sender_shows_other_codes_and_a_phone_can_still_be_linked(
    runtime: Runtime, tmp_path: Path
) -> None:
    workspace = await create_workspace(runtime, "My shop")
    device = await unpaired(runtime, workspace.id)
    async with SimulatorProcess(runtime.simulator_socket, tmp_path / "ledger.jsonl"):
        await start(runtime, device)
        alone = await look(runtime, device)
        assert (alone.under_way, alone.has_owner, alone.code) == (True, False, None), "the page says so, and waits"
        async with sender(runtime):
            first = await shown(runtime, device)
            assert (await look(runtime, device)).has_owner
        async with sender(runtime):
            await shown(runtime, device, besides=first.text)
            await pairing.play_the_phone(runtime, workspace.id, device.id)
            await is_in(runtime, device, STATE.ONLINE)


async def test_a_simulator_that_was_killed_shows_other_codes(runtime: Runtime, tmp_path: Path) -> None:
    workspace = await create_workspace(runtime, "My shop")
    device = await unpaired(runtime, workspace.id)
    async with SimulatorProcess(runtime.simulator_socket, tmp_path / "ledger.jsonl") as simulator, sender(runtime):
        await start(runtime, device)
        first = await shown(runtime, device)
        await asyncio.to_thread(simulator.kill)
        await asyncio.to_thread(simulator.start)
        await shown(runtime, device, besides=first.text)
        await pairing.play_the_phone(runtime, workspace.id, device.id)
        await is_in(runtime, device, STATE.ONLINE)


async def test_without_any_sender_it_ends_by_itself(runtime: Runtime, tmp_path: Path) -> None:
    workspace = await create_workspace(runtime, "My shop")
    device = await unpaired(runtime, workspace.id)
    await start(runtime, device)
    async with runtime.db.connection() as connection:
        await connection.execute("UPDATE devices SET pairing_until = fleetcast_now()")
    stop = asyncio.Event()
    async with SimulatorProcess(runtime.simulator_socket, tmp_path / "ledger.jsonl"):
        running = asyncio.create_task(run_scheduler(runtime, stop=stop), name="scheduler")
        ended = (await is_in(runtime, device, STATE.UNPAIRED)).device
        stop.set()
        await running
    assert ended.state_reason == pairing.NOBODY_CAME


async def test_a_sender_with_another_key_says_so_in_place_of_codes_that_nobody_can_read(
    runtime: Runtime, fleet: Fleet
) -> None:
    async with runtime.db.connection() as connection:
        await connection.execute("UPDATE installation SET key_check = $1", b"of another key")
    device = await unpaired(runtime, fleet.workspace.id)
    await start(runtime, device)
    ended = (await is_in(runtime, device, STATE.UNPAIRED)).device
    assert ended.state_reason == OTHER_KEY
