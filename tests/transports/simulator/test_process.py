"""The process: how it starts, refuses, ends, and what it does with strangers."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from fleetcast.domain.identifiers import DeviceId, Phone, Reference
from fleetcast.errors import ConfigurationError, Conflict, FleetcastError, InvalidInput, Unavailable
from fleetcast.transports.base import DeviceHandle, Outbound
from fleetcast.transports.errors import ContentRefused
from fleetcast.transports.simulator import client as client_module
from fleetcast.transports.simulator.behaviour import SendOutcome
from fleetcast.transports.simulator.client import SimulatorTransport
from fleetcast.transports.simulator.control import SimulatorControl
from fleetcast.transports.simulator.launch import SimulatorProcess
from fleetcast.transports.simulator.protocol import MAX_FRAME, VERSION, somebody_listens
from fleetcast.transports.simulator.server import ServerOptions, parse_latency, run

BOUND = 10.0
PERSON = Phone("+60123456789")


async def talk(path: Path, *lines: bytes) -> list[bytes]:
    """Send raw lines and read until the simulator hangs up or has nothing more to say."""
    async with asyncio.timeout(BOUND):
        reader, writer = await asyncio.open_unix_connection(str(path))
        writer.writelines(lines)
        if writer.can_write_eof():
            writer.write_eof()
        said = await reader.read()
        writer.close()
        await writer.wait_closed()
    return said.splitlines()


HELLO = json.dumps({"t": "hello", "version": VERSION}).encode() + b"\n"


@pytest.mark.parametrize(
    "nonsense",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"[]\n",
        b"\xff\xfe\n",
        b'{"t": 5}\n',
        b'{"t": "hello", "version": 99}\n',
        b'{"t": "ping", "id": 1}\n',
        HELLO + b'{"t": "send", "id": 1}\n',
        HELLO + b'{"t": "send", "id": 1, "device": "x", "recipient": "", "reference": "", "text": ""}\n',
        HELLO + b'{"t": "find", "id": 1, "references": 5}\n',
        HELLO + b'{"t": "confirm", "batches": [[], 5]}\n',
        HELLO + b'{"t": "nothing"}\n',
        HELLO + b"x" * (MAX_FRAME + 100_000),
    ],
)
async def test_nonsense_ends_that_connection_and_nothing_else(
    shared_simulator: SimulatorProcess, nonsense: bytes
) -> None:
    async with SimulatorControl(shared_simulator.socket) as control:
        try:
            said = await talk(shared_simulator.socket, nonsense)
        except ConnectionError:  # it hung up while we were still talking
            said = []
        assert not said or b"cannot read this" in said[-1]
        await control.stats()


async def test_another_version_is_named(folder: Path) -> None:
    def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'{"t": "error", "detail": "The simulator speaks version 7"}\n')
        writer.close()

    server = await asyncio.start_unix_server(greet, folder / "s")
    with pytest.raises(Unavailable, match="speaks version 7"):
        await SimulatorTransport(folder / "s").start()
    server.close()
    await server.wait_closed()


async def test_start_says_what_to_do_when_nobody_listens(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "PATIENCE", 0.1)
    transport = SimulatorTransport(folder / "s")
    with pytest.raises(Unavailable, match="Start it with `fleetcast simulator`"):
        await transport.start()
    assert not await transport.health()
    await transport.stop()


async def test_start_waits_for_a_simulator_that_is_still_starting(folder: Path) -> None:
    transport = SimulatorTransport(folder / "s")
    starting = asyncio.create_task(transport.start())
    with SimulatorProcess(folder / "s", folder / "l"):
        async with asyncio.timeout(BOUND):
            await starting
        assert await transport.health()
        await transport.stop()


async def test_a_text_longer_than_whatsapp_takes_is_refused_alone(
    shared_simulator: SimulatorProcess, device: DeviceHandle
) -> None:
    transport = SimulatorTransport(shared_simulator.socket)
    await transport.start()
    await transport.open(device)
    with pytest.raises(ContentRefused):
        await transport.send(Outbound(device.id, PERSON, Reference(f"long-{device.id}-1"), "x" * 65_537), BOUND)
    longest = "\U0001f600" * 65_536
    await transport.send(Outbound(device.id, PERSON, Reference(f"long-{device.id}-2"), longest), BOUND)
    await transport.stop()


def test_the_socket_is_for_its_owner_only(shared_simulator: SimulatorProcess) -> None:
    assert shared_simulator.socket.stat().st_mode & 0o777 == 0o600


def test_a_second_simulator_is_refused_with_a_sentence(shared_simulator: SimulatorProcess, folder: Path) -> None:
    with pytest.raises(ConfigurationError, match="Another simulator already listens"):
        run(ServerOptions(shared_simulator.socket, folder / "ledger"))
    with pytest.raises(ConfigurationError, match="belongs to another simulator"):
        run(ServerOptions(folder / "s", shared_simulator.ledger))
    assert somebody_listens(shared_simulator.socket)


def test_a_child_that_cannot_start_says_why(shared_simulator: SimulatorProcess, folder: Path) -> None:
    twin = SimulatorProcess(folder / "s", shared_simulator.ledger, log=folder / "log")
    with pytest.raises(Unavailable, match=r"exit code 5\. It said: The ledger .* belongs to another simulator"):
        twin.start()
    assert twin.pid is None


def test_a_path_too_long_for_a_socket_is_named(folder: Path) -> None:
    long = folder / ("x" * 120)
    with pytest.raises(ConfigurationError, match="a socket's path may have 107"):
        run(ServerOptions(long, folder / "ledger"))


def test_a_socket_left_by_a_dead_simulator_is_no_obstacle(folder: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as dead:
        dead.bind(str(folder / "s"))
    with SimulatorProcess(folder / "s", folder / "ledger") as process:
        process.kill()
        assert process.socket.exists()
        process.start()
        assert somebody_listens(process.socket)
    assert not process.socket.exists()


def test_something_else_in_the_socket_s_place_is_not_touched(folder: Path) -> None:
    (folder / "s").write_text("precious")
    with pytest.raises(ConfigurationError, match="cannot listen"):
        run(ServerOptions(folder / "s", folder / "ledger"))
    assert (folder / "s").read_text() == "precious"


def test_stop_and_start_are_idempotent_and_sigterm_ends_it_in_order(folder: Path) -> None:
    process = SimulatorProcess(folder / "s", folder / "ledger")
    process.stop()
    process.start()
    first = process.pid
    process.start()
    assert process.pid == first
    child = process._child
    assert child is not None
    process.stop()
    process.stop()
    assert child.returncode == 0


def test_it_ends_when_its_parent_is_killed(folder: Path) -> None:
    program = (
        "import sys, threading\n"
        "from pathlib import Path\n"
        "from fleetcast.transports.simulator.launch import SimulatorProcess\n"
        "process = SimulatorProcess(Path(sys.argv[1]), Path(sys.argv[2]))\n"
        "process.start()\n"
        "print(process.pid, flush=True)\n"
        "threading.Event().wait()\n"
    )
    command = [sys.executable, "-c", program, str(folder / "s"), str(folder / "ledger")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        watch = os.pidfd_open(child)
        parent.send_signal(signal.SIGKILL)
    import select

    poll = select.poll()
    poll.register(watch, select.POLLIN)
    assert poll.poll(BOUND * 1000), "the simulator outlived its parent"
    os.close(watch)
    assert not somebody_listens(folder / "s")


async def test_production_mode_refuses_to_misbehave(folder: Path, device: DeviceHandle) -> None:
    for profile in ("demo", "rough"):
        with pytest.raises(ConfigurationError, match="production mode"):
            run(ServerOptions(folder / "s", folder / "ledger", profile=profile, production=True))
    async with (
        SimulatorProcess(folder / "s", folder / "ledger", profile="fast", production=True) as process,
        SimulatorControl(process.socket) as control,
    ):
        orders = [
            control.behave(late=1),
            control.force(SendOutcome.LATE),
            control.ban(device.id),
            control.disconnect(device.id),
            control.reply(device.id, PERSON, "STOP"),
            control.release(),
        ]
        for order in orders:
            with pytest.raises(Conflict, match="production mode"):
                await order
        assert (await control.stats())["counts"] == {}
        assert process.pid is not None


async def test_wrong_orders_name_what_is_wrong(shared_simulator: SimulatorProcess) -> None:
    async with SimulatorControl(shared_simulator.socket) as control:
        wrong = {
            "delivered": control.behave(delivered=2),
            "count": control.force(SendOutcome.LATE, count=0),
            "seconds": control.disconnect(DeviceId(1), seconds=-1),
            "outcome": control._order("force", outcome="explode"),
            "device": control._order("ban"),
            "do": control._order("dance"),
        }
        for field, order in wrong.items():
            with pytest.raises(InvalidInput) as caught:
                await order
            assert caught.value.field == field


@pytest.mark.parametrize("wrong", ["", "fast", "80-20", "-5", "1-2-3"])
def test_a_wrong_latency_is_refused(wrong: str) -> None:
    with pytest.raises(FleetcastError):
        parse_latency(wrong)


def test_a_latency_is_one_number_or_two() -> None:
    assert parse_latency("20-80") == (20.0, 80.0)
    assert parse_latency("0") == (0.0, 0.0)


async def test_latency_can_be_given_in_place_of_the_profile_s(folder: Path) -> None:
    async with (
        SimulatorProcess(folder / "s", folder / "ledger", seed=42, latency_ms=(1.5, 2)) as process,
        SimulatorControl(process.socket) as control,
    ):
        stats = await control.stats()
    assert (stats["seed"], stats["behaviour"]["latency_ms"], stats["behaviour"]["delivered"]) == (42, [1.5, 2.0], 1.0)
