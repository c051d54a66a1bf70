"""Sessions, states and events of simulated devices."""

import asyncio
from collections import Counter

import pytest

from fleetcast.domain.device import DeviceState
from fleetcast.domain.identifiers import DeviceId, Phone, Reference
from fleetcast.transports.base import DeviceHandle, Inbound, Outbound, Receipt, ReceiptKind, Reply
from fleetcast.transports.errors import DeviceRefused, NotSent
from fleetcast.transports.simulator import devices as devices_module
from fleetcast.transports.simulator.behaviour import PROFILES, Behaviour, SendOutcome, fate
from fleetcast.transports.simulator.client import SimulatorTransport
from fleetcast.transports.simulator.control import SimulatorControl
from fleetcast.transports.simulator.devices import Devices
from fleetcast.transports.simulator.run import Run
from tests.transports.contract import BOUND, PERSON, reading
from tests.transports.simulator.conftest import Connect


def message(device: DeviceHandle, reference: str) -> Outbound:
    return Outbound(device.id, PERSON, Reference(reference), "Hello")


async def test_a_second_open_takes_the_device_over_and_is_not_fought(
    connect: Connect, control: SimulatorControl, device: DeviceHandle
) -> None:
    first, second = await connect(), await connect()
    async with reading(first) as old, reading(second) as new:
        await first.open(device)
        await old.state(device.id, DeviceState.ONLINE)
        await second.open(device)
        await new.state(device.id, DeviceState.ONLINE)
        change = await old.state(device.id, DeviceState.OFFLINE)
        assert change.replaced
        assert change.reason == "replaced"
        with pytest.raises(NotSent) as caught:
            await first.send(message(device, "a-1-1"), BOUND)
        assert caught.value.code == "not_open"
        await second.send(message(device, "a-1-1"), BOUND)

        assert first._link is not None
        first._link.abort()  # a reconnect opens what it has open, which this device no longer is
        await control.reply(device.id, PERSON, "marker")
        await new.replies(device.id, "marker")
        async with asyncio.timeout(BOUND):
            while not await first.health():  # noqa: ASYNC110 - it connects again by itself
                await asyncio.sleep(0)
        await second.send(message(device, "a-2-1"), BOUND)
        assert [change.state for change in new.states(device.id)] == [DeviceState.ONLINE]


async def test_events_go_to_the_connection_that_opened_the_device(
    connect: Connect, control: SimulatorControl, device: DeviceHandle
) -> None:
    first, second = await connect(), await connect()
    other = DeviceHandle(DeviceId(device.id + 1_000))
    await first.open(device)
    await second.open(other)
    assert await first.health()
    assert await second.health()
    async with reading(first) as old, reading(second) as new:
        await control.reply(device.id, PERSON, "to the first")
        await control.reply(other.id, PERSON, "to the second")
        await old.replies(device.id, "to the first")
        await new.replies(other.id, "to the second")
        assert {e.device for e in old.events} == {device.id}
        assert {e.device for e in new.events} == {other.id}


async def test_unconfirmed_events_follow_the_device_to_its_new_session(
    connect: Connect, control: SimulatorControl, device: DeviceHandle
) -> None:
    first, second = await connect(), await connect()
    await first.open(device)
    await control.reply(device.id, PERSON, "hello?")
    async with reading(first, confirms=False) as old:
        await old.replies(device.id, "hello?")
    await second.open(device)
    await first.stop()
    async with reading(second) as new:
        await new.replies(device.id, "hello?")


async def test_receipts_come_as_the_seed_decided(
    transport: SimulatorTransport, control: SimulatorControl, device: DeviceHandle
) -> None:
    values = {"read_first": 0.4, "repeated": 0.4, "delivered": 0.8, "read": 0.7, "failed_after_accept": 0.1}
    spans = {"delivered_after": (0.0, 0.05), "read_after": (0.0, 0.05), "repeated_after": (0.0, 0.1)}
    await control.behave(**values, **spans)
    behaviour = PROFILES["fast"].changed({**values, **spans})
    references = [f"receipts-{n}-1" for n in range(100)]
    expected = Counter(
        (reference, kind) for reference in references for _, kind in fate(behaviour, 1, PERSON, reference).receipts
    )

    def receipts(events: list[Inbound]) -> list[Receipt]:
        return [e for e in events if isinstance(e, Receipt)]

    async with reading(transport) as reader:
        await transport.open(device)
        sent = await asyncio.gather(*(transport.send(message(device, r), BOUND) for r in references))
        came = receipts(await reader.until(lambda events: len(receipts(events)) >= expected.total()))
    assert Counter((r.reference, r.kind) for r in came) == expected
    ids = {a.provider_id for a in sent}
    assert {r.provider_id for r in came} <= ids
    assert {r.recipient for r in came} == {PERSON}
    repeated = [n for n in Counter(r.event_id for r in came).values() if n > 1]
    assert repeated  # the same event twice, by name
    assert {kind for _, kind in expected} == set(ReceiptKind) - {ReceiptKind.ACCEPTED}  # that is what its answer says


async def test_replies_come_from_the_person_written_to(
    transport: SimulatorTransport, control: SimulatorControl, device: DeviceHandle
) -> None:
    await control.behave(delivered=1, delivered_after=(0, 0), replies=1, stop_replies=1, reply_after=(0, 0))
    async with reading(transport) as reader:
        await transport.open(device)
        person = Phone("+60111111111")
        await transport.send(Outbound(device.id, person, Reference("a-1-1"), "Hello"), BOUND)
        events = await reader.until(lambda events: any(isinstance(e, Reply) for e in events))
    [reply] = [e for e in events if isinstance(e, Reply)]
    assert reply.sender == person
    assert reply.text.lower().strip(".") in {"stop", "unsubscribe"}


async def test_devices_lose_their_connection_and_come_back(
    transport: SimulatorTransport, control: SimulatorControl, device: DeviceHandle
) -> None:
    await transport.open(device)
    await control.behave(disconnects_per_hour=86_400, offline_for=(0.0, 0.01))
    async with reading(transport) as reader:
        await reader.state(device.id, DeviceState.OFFLINE, times=3)
        await control.behave(disconnects_per_hour=0)
        await reader.state(device.id, DeviceState.ONLINE, times=4)
        changes = [change.state for change in reader.states(device.id)]
    assert changes[:6] == [DeviceState.ONLINE, DeviceState.OFFLINE] * 3


async def test_a_disconnect_for_some_seconds_ends_by_itself_and_keeps_its_events(
    transport: SimulatorTransport, control: SimulatorControl, device: DeviceHandle
) -> None:
    await transport.open(device)
    async with reading(transport) as reader:
        await reader.state(device.id, DeviceState.ONLINE)
        await control.disconnect(device.id, seconds=0.05)
        await control.reply(device.id, PERSON, "while you were away")
        offline = await reader.state(device.id, DeviceState.OFFLINE)
        assert offline.until is not None
        await reader.state(device.id, DeviceState.ONLINE, times=2)
        await reader.replies(device.id, "while you were away")
        mine = [e for e in reader.events if e.device == device.id]
    assert isinstance(mine[-1], Reply)


async def test_a_ban_is_told_at_the_next_open_too(
    connect: Connect, control: SimulatorControl, device: DeviceHandle
) -> None:
    await control.ban(device.id)
    transport = await connect()
    await transport.open(device)
    async with reading(transport) as reader:
        change = await reader.state(device.id, DeviceState.BANNED)
        assert change.reason == "WhatsApp banned the number"
        with pytest.raises(DeviceRefused) as caught:
            await transport.send(message(device, "a-1-1"), BOUND)
        assert caught.value.code == "banned"
        await control.bring_back(device.id)
        await reader.state(device.id, DeviceState.ONLINE)
        await transport.send(message(device, "a-1-1"), BOUND)


async def test_forced_outcomes_are_used_up_one_by_one(
    transport: SimulatorTransport, control: SimulatorControl, device: DeviceHandle
) -> None:
    await transport.open(device)
    await control.force(SendOutcome.RATE_LIMITED, device=device.id, count=2)
    await control.force(SendOutcome.RATE_LIMITED)  # the next of any device, after the device's own
    for n in range(3):
        with pytest.raises(NotSent) as caught:
            await transport.send(message(device, f"a-{n}-1"), BOUND)
        assert caught.value.retry_after == PROFILES["fast"].retry_after
    await transport.send(message(device, "a-3-1"), BOUND)


async def test_thirty_thousand_devices_are_opened_in_seconds(
    transport: SimulatorTransport, control: SimulatorControl
) -> None:
    count = 30_000
    async with asyncio.timeout(30):
        async with reading(transport) as reader:
            for n in range(count):
                await transport.open(DeviceHandle(DeviceId(n)))
            await reader.until(lambda events: len(events) == count)
        assert (await control.stats())["devices"] == {"open": count, "online": count}
        await transport.send(message(DeviceHandle(DeviceId(count - 1)), "a-1-1"), BOUND)


class Ear:
    """A listener in this process."""

    def __init__(self) -> None:
        self.heard: list[Inbound] = []

    def push(self, event: Inbound) -> None:
        self.heard.append(event)


def test_events_kept_for_clients_that_never_confirm_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices_module, "MAX_EVENTS", 10)
    run = Run(1, Behaviour())
    devices, ear = Devices(run), Ear()
    for n in range(15):
        devices.reply(DeviceId(1), PERSON, str(n))
    devices.open(ear, DeviceId(1))
    replies = [e for e in ear.heard if isinstance(e, Reply)]
    assert [reply.text for reply in replies] == [str(n) for n in range(10)]
    assert run.counts["events_dropped"] == 5
    devices.confirmed(replies)
    devices.reply(DeviceId(1), PERSON, "again")
    assert isinstance(ear.heard[-1], Reply)
    assert devices.kept_events == 1
