"""The way of a message: ledger, seals, repeats, crashes. The simulator is real, and so are the kills."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import psutil
import pytest

from fleetcast.domain.identifiers import DeviceId, Phone, Reference
from fleetcast.transports.base import Accepted, DeviceHandle, Outbound
from fleetcast.transports.errors import NotSent, Refused, SendError, Unknown
from fleetcast.transports.simulator.behaviour import PROFILES, SendOutcome, fate
from fleetcast.transports.simulator.client import SimulatorTransport
from fleetcast.transports.simulator.control import SimulatorControl
from fleetcast.transports.simulator.launch import SimulatorProcess
from fleetcast.transports.simulator.ledger import Ledger, LedgerSummary, RecordKind, content_sha256
from tests.transports.simulator.conftest import Connect

PERSON = Phone("+60123456789")
BOUND = 10.0


def message(device: DeviceHandle, reference: str, text: str = "Hello") -> Outbound:
    return Outbound(device.id, PERSON, Reference(reference), text)


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(BOUND):
        while not await condition():  # noqa: ASYNC110 - the condition is in another process
            await asyncio.sleep(0)


async def held(control: SimulatorControl, count: int) -> None:
    async def there() -> bool:
        return int((await control.stats())["held"]) == count

    await until(there)


def accepted_references(ledger: Path) -> list[str]:
    return [r.reference for r in Ledger.read(ledger) if r.kind is RecordKind.ACCEPTED]


async def test_an_answer_means_that_the_record_is_in_the_file(
    simulator: SimulatorProcess, transport: SimulatorTransport, device: DeviceHandle
) -> None:
    await transport.open(device)
    accepted = await transport.send(message(device, "a-1-1", "Grüß Gott"), BOUND)
    [record] = Ledger.read(simulator.ledger)
    assert (record.reference, record.device, record.recipient) == ("a-1-1", device.id, PERSON)
    assert (record.provider_id, record.sha256) == (accepted.provider_id, content_sha256("Grüß Gott", None))
    assert record.at > 1_700_000_000


async def test_a_repeated_reference_gets_the_same_answer_and_no_second_row(
    simulator: SimulatorProcess, transport: SimulatorTransport, device: DeviceHandle, control: SimulatorControl
) -> None:
    await transport.open(device)
    both = await asyncio.gather(*(transport.send(message(device, "a-1-1"), BOUND) for _ in range(2)))
    assert both[0] == both[1]
    assert (await control.stats())["counts"]["repeated"] == 1
    assert accepted_references(simulator.ledger) == ["a-1-1"]


async def test_killed_between_accepting_and_answering_the_ledger_tells_it(
    simulator: SimulatorProcess, transport: SimulatorTransport, device: DeviceHandle, control: SimulatorControl
) -> None:
    await transport.open(device)
    await control.force(SendOutcome.SLOW, device=device.id)
    send = asyncio.create_task(transport.send(message(device, "a-1-1"), 60))
    await held(control, 1)
    simulator.kill()
    with pytest.raises(Unknown):
        await send
    assert accepted_references(simulator.ledger) == ["a-1-1"]
    simulator.start()
    await until(transport.health)
    [finding] = await transport.find([Reference("a-1-1")])
    assert finding.provider_id is not None
    assert await transport.send(message(device, "a-1-1"), BOUND) == Accepted(finding.provider_id)
    assert accepted_references(simulator.ledger) == ["a-1-1"]


async def test_killed_before_it_arrived_the_ledger_denies_and_seals_it(
    simulator: SimulatorProcess, transport: SimulatorTransport, device: DeviceHandle, control: SimulatorControl
) -> None:
    await transport.open(device)
    await control.force(SendOutcome.LATE, device=device.id)
    send = asyncio.create_task(transport.send(message(device, "a-1-1"), 60))
    await held(control, 1)
    await control.die()
    with pytest.raises(Unknown):
        await send
    simulator.start()
    await until(transport.health)
    [finding] = await transport.find([Reference("a-1-1")])
    assert finding.provider_id is None
    simulator.kill()  # the seal was on disk before the answer
    simulator.start()
    await until(transport.health)
    with pytest.raises(NotSent) as caught:
        await transport.send(message(device, "a-1-1"), BOUND)
    assert caught.value.code == "sealed"
    assert accepted_references(simulator.ledger) == []


async def test_a_sealed_message_that_arrives_late_is_refused_and_counted(
    simulator: SimulatorProcess, transport: SimulatorTransport, device: DeviceHandle, control: SimulatorControl
) -> None:
    await transport.open(device)
    await control.force(SendOutcome.LATE, device=device.id)
    with pytest.raises(Unknown):
        await transport.send(message(device, "a-1-1"), 0.05)
    await held(control, 1)
    assert [f.provider_id for f in await transport.find([Reference("a-1-1")])] == [None]
    assert await control.release() == 1

    async def refused() -> bool:
        return int((await control.stats())["ledger"]["late_refusals"]) == 1

    await until(refused)
    await transport.find([])
    await transport.stop()
    simulator.stop()
    assert LedgerSummary.of(Ledger.read(simulator.ledger)) == LedgerSummary(
        accepted=0, references=0, duplicates={}, seals=1, late_refusals=1, accepted_after_seal=()
    )


async def test_a_late_message_that_nobody_asked_about_is_accepted_and_its_answer_ignored(
    simulator: SimulatorProcess, transport: SimulatorTransport, device: DeviceHandle, control: SimulatorControl
) -> None:
    await transport.open(device)
    await control.force(SendOutcome.LATE, device=device.id)
    with pytest.raises(Unknown):
        await transport.send(message(device, "a-1-1"), 0.05)
    await held(control, 1)
    await control.release()
    [finding] = await transport.find([Reference("a-1-1")])
    assert finding.provider_id is not None
    await transport.send(message(device, "a-2-1"), BOUND)
    assert accepted_references(simulator.ledger) == ["a-1-1", "a-2-1"]


async def test_a_torn_last_line_does_not_stop_a_restart(
    simulator: SimulatorProcess, transport: SimulatorTransport, device: DeviceHandle
) -> None:
    await transport.open(device)
    await transport.send(message(device, "a-1-1"), BOUND)
    simulator.kill()
    with simulator.ledger.open("ab") as file:
        file.write(b'{"kind": "accepted", "refer')
    simulator.start()
    await until(transport.health)
    await transport.send(message(device, "a-2-1"), BOUND)
    assert accepted_references(simulator.ledger) == ["a-1-1", "a-2-1"]


async def test_refusals_follow_the_seed_and_not_the_order(folder: Path) -> None:
    """The same messages, forwards and backwards, on two simulators of one seed."""
    profile = PROFILES["demo"]
    references = [f"run-{n}-1" for n in range(400)]
    told: list[dict[str, str]] = []
    for order in (references, references[::-1]):
        place = folder / str(len(told))
        async with SimulatorProcess(place / "s", place / "l", seed=9, profile="demo", latency_ms=(0, 0)) as process:
            transport = SimulatorTransport(process.socket)
            await transport.start()
            async with SimulatorControl(process.socket) as control:
                await control.behave(disconnects_per_hour=0, not_on_whatsapp=0.1, content_refused=0.1)
            device = DeviceHandle(DeviceId(1))
            await transport.open(device)

            async def outcome(reference: str, transport: SimulatorTransport = transport) -> str:
                person = Phone(f"+6012{reference.split('-')[1]:>07}")
                try:
                    await transport.send(Outbound(DeviceId(1), person, Reference(reference), "Hello"), BOUND)
                except SendError as error:
                    return error.code
                return "accepted"

            codes = await asyncio.gather(*map(outcome, order))
            told.append(dict(zip(order, codes, strict=True)))
            await transport.stop()
    assert told[0] == told[1]
    assert {"accepted", "not_on_whatsapp", "content_refused"} <= set(told[0].values())
    assert fate(profile, 9, "+60120000001", "run-1-1") == fate(profile, 9, "+60120000001", "run-1-1")


async def test_every_answer_agrees_with_the_ledger_whatever_is_killed(
    simulator: SimulatorProcess, connect: Connect, control: SimulatorControl
) -> None:
    """Twenty devices send without pause while the simulator, then the connections, die again and again."""
    await control.behave(latency_ms=(0, 20), content_refused=0.1, no_answer_dropped=0.02, no_answer_accepted=0.02)
    await control.behave(late=0.02, slow=0.02, slow_seconds=(0.0, 0.3))
    transport = await connect()
    outcomes: dict[str, str] = {}
    enough = asyncio.Event()

    async def send_all(device: DeviceHandle) -> None:
        await transport.open(device)
        n = 0
        while not enough.is_set():
            n += 1
            reference = f"{device.id}-{n}-1"
            try:
                await transport.send(message(device, reference), 0.2)
                outcomes[reference] = "accepted"
            except Unknown:
                outcomes[reference] = "unknown"
            except NotSent:
                outcomes[reference] = "not_sent"
                await asyncio.sleep(0.005)  # the simulator is away
            except Refused:
                outcomes[reference] = "refused"

    lanes = [asyncio.create_task(send_all(DeviceHandle(DeviceId(n)))) for n in range(1, 21)]
    for _ in range(4):
        before = len(outcomes)
        await until(lambda before=before: _reached(outcomes, before + 300))  # type: ignore[misc]
        await asyncio.to_thread(simulator.kill)
        await asyncio.to_thread(simulator.start)
        await until(transport.health)
    enough.set()
    await asyncio.wait(lanes)
    doubtful = [Reference(r) for r, outcome in outcomes.items() if outcome == "unknown"]
    found = {f.reference for f in await transport.find(doubtful) if f.provider_id is not None}
    taken = set(accepted_references(simulator.ledger))
    summary = LedgerSummary.of(Ledger.read(simulator.ledger))
    assert (summary.duplicates, summary.accepted_after_seal) == ({}, ())
    assert taken == {r for r, outcome in outcomes.items() if outcome == "accepted"} | found
    assert doubtful
    assert found


async def _reached(outcomes: dict[str, str], count: int) -> bool:
    return len(outcomes) >= count


async def test_what_a_frozen_simulator_did_not_get_is_not_sent(
    simulator: SimulatorProcess, transport: SimulatorTransport, device: DeviceHandle
) -> None:
    """More than the socket holds: what stayed here is certain, what went into the socket is in doubt."""
    await transport.open(device)
    assert await transport.health()
    simulator.freeze()
    try:
        outcomes = await asyncio.gather(
            *(transport.send(message(device, f"a-{n}-1", "x" * 50_000), 0.2) for n in range(40)), return_exceptions=True
        )
        more = await asyncio.gather(
            *(transport.send(message(device, f"b-{n}-1"), 0.2) for n in range(40)), return_exceptions=True
        )
    finally:
        simulator.thaw()
    assert {type(outcome) for outcome in outcomes} == {Unknown}
    assert {type(outcome) for outcome in more} == {NotSent}
    found = await transport.find([Reference(f"a-{n}-1") for n in range(40)])
    assert all(finding.provider_id for finding in found)
    assert accepted_references(simulator.ledger) == [f"a-{n}-1" for n in range(40)]


async def test_a_disk_that_fails_ends_the_simulator_before_it_answers(folder: Path, device: DeviceHandle) -> None:
    with SimulatorProcess(folder / "s", folder / "ledger", profile="fast", log=folder / "log") as process:
        transport = SimulatorTransport(process.socket)
        await transport.start()
        await transport.open(device)
        await transport.send(message(device, "a-1-1"), BOUND)
        assert process.pid is not None
        psutil.Process(process.pid).rlimit(psutil.RLIMIT_FSIZE, (300, 300))  # as a full disk: half a line fits
        with pytest.raises(Unknown):
            await transport.send(message(device, "a-2-1"), BOUND)
        await transport.stop()
        assert "the ledger failed" in (folder / "log").read_text()
        process.start()
        assert accepted_references(process.ledger) == ["a-1-1"]
