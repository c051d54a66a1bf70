"""An installation of linked devices before a local WhatsApp Web: servers, a testbed with phones, our own parts.

One device is linked by its QR code, through the product; the sessions of all others are made after its file without
pairing, which is said in the report. Separate from the proof, which only looks and breaks.
"""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from acceptance.world import Stuck
from bench import usage
from bench.stage import ROOT, folder, server_versions
from fleetcast.domain.device import DeviceState, TransportKind
from fleetcast.domain.identifiers import DeviceId, WorkspaceId
from fleetcast.domain.pacing import Pace
from fleetcast.embedded.data_directory import sessions_folder
from fleetcast.embedded.servers import EmbeddedServers
from fleetcast.runtime import Runtime, open_runtime
from fleetcast.services import pairing
from fleetcast.services.device_proxy import set_proxy
from fleetcast.services.devices import add_device
from fleetcast.services.workspaces import create_workspace
from fleetcast.settings import Settings
from fleetcast.store import identity
from fleetcast.store.schema import migrate
from testbed.whatsapp_web.client_patch import environment as trusting
from testbed.whatsapp_web.control import Control
from testbed.whatsapp_web.launch import Testbed
from testbed.whatsapp_web.session_files import SessionFiles

ACTOR = "acceptance"
CHILD = "fleetcast.transports.linked"
"""The module that a child process of the transport runs."""
STOP_SECONDS = 60.0

_MORE_DEVICES = """
INSERT INTO devices (workspace_id, name, transport, state, shard_id, min_delay, max_delay, phone)
SELECT $1, 'Number ' || i, 'linked', 'offline', i % 64, $3, $4, '+' || (601900000000 + i)
FROM generate_series(2, $2::int) i RETURNING id, phone"""
_MORE_PROXIES = """
INSERT INTO device_proxies (device_id, shown, address)
SELECT d.id, p.shown, p.address FROM devices d, device_proxies p
WHERE d.workspace_id = $1 AND p.device_id = $2 AND d.id <> $2"""


@dataclass(slots=True)
class LinkedWorld:
    """One installation. `parts`: our own processes by name."""

    servers: EmbeddedServers
    runtime: Runtime
    testbed: Testbed
    control: Control
    place: Path
    versions: dict[str, str]
    environment: dict[str, str]
    parts: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)
    numbers: dict[DeviceId, str] = field(default_factory=dict)
    """Of the phone that each device is linked to, as WhatsApp writes it."""

    @property
    def record(self) -> Path:
        """The judge's book: everything that reached a phone."""
        return Path(self.testbed.reach.record)

    def start(self, name: str) -> None:
        """Start one part."""
        with (self.place / f"{name}.log").open("ab") as output:
            self.parts[name] = subprocess.Popen(
                [sys.executable, "-m", "fleetcast", name, "--with-parent"],
                cwd=ROOT,
                env=self.environment,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def stop(self, name: str) -> int:
        """End one part in order; its exit code."""
        part = self.parts.pop(name)
        part.terminate()
        try:
            code = part.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            part.kill()
            code = part.wait()
        if part.stdin is not None:
            part.stdin.close()
        return code

    def children(self) -> list[int]:
        """Processes that hold sessions, by pid."""
        sender = self.parts.get("sender")
        return [] if sender is None else [pid for pid in usage.children(sender.pid) if CHILD in usage.arguments(pid)]

    def kill(self, pid: int) -> bool:
        """kill -9; whether there was one."""
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            return True
        return False

    def check(self) -> None:
        """Raises Stuck when a part has ended by itself."""
        for name, part in self.parts.items():
            if part.poll() is not None:
                said = (self.place / f"{name}.log").read_text(errors="replace").strip().splitlines()[-1:]
                raise Stuck(f"{name} ended with {part.returncode}: {' '.join(said)}")

    async def until(self, condition: Callable[[], Awaitable[bool]], what: str, seconds: float) -> float:
        """Wait for something that other processes bring about; how long it took. Raises Stuck."""
        begun = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(seconds):
                while not await condition():
                    self.check()
                    await asyncio.sleep(0.1)
        except TimeoutError:
            raise Stuck(f"not within {seconds:g} s: {what}") from None
        return asyncio.get_running_loop().time() - begun

    async def ask(self, question: str, *arguments: object) -> int:
        """One number from the database."""
        async with self.runtime.db.connection() as connection:
            found: int = await connection.fetchval(question, *arguments, timeout=60)
            return found

    async def execute(self, statement: str, *arguments: object) -> None:
        """One statement."""
        async with self.runtime.db.connection() as connection:
            await connection.execute(statement, *arguments, timeout=300)

    async def online(self) -> int:
        """Devices that are connected, by what Fleetcast says and by what the server says: the lower number."""
        ours = await self.ask("SELECT count(*) FROM devices WHERE state = 'online' AND transport = 'linked'")
        return min(ours, (await self.control.state()).online)

    def traces(self) -> dict[str, int]:
        """Tracebacks in the logs of our parts, by name."""
        found = {log.stem: log.read_text(errors="replace").count("Traceback") for log in self.place.glob("*.log")}
        return {name: n for name, n in found.items() if n}


@asynccontextmanager
async def open_linked_world(per_process: int = 200) -> AsyncIterator[LinkedWorld]:
    """Servers and a testbed, no parts and no devices yet; nothing is left of it afterwards."""
    async with AsyncExitStack() as stack:
        place = stack.enter_context(folder())
        servers = stack.enter_context(EmbeddedServers(place / "servers"))
        await migrate(servers.database_url)
        node = place / "node"
        (node / "run").mkdir(parents=True)
        testbed = await stack.enter_async_context(Testbed(place / "testbed", log=place / "testbed.log"))
        control = await stack.enter_async_context(testbed.control())
        given = {
            "DATABASE_URL": servers.database_url,
            "REDIS_URL": servers.redis_url,
            "PORT": "0",
            "FLEETCAST_DATA": str(node),
            "FLEETCAST_LOG_FORMAT": "json",
            "FLEETCAST_LINKED_PER_PROCESS": str(per_process),
        }
        settings = Settings(database_url=servers.database_url, redis_url=servers.redis_url, data=node)
        runtime = await stack.enter_async_context(open_runtime(settings, patience=60))
        versions = await server_versions(servers.database_url, servers.redis_url)
        trust = trusting(testbed.reach.root, testbed.reach.authority, before=os.environ.get("PYTHONPATH", ""))
        world = LinkedWorld(servers, runtime, testbed, control, place, versions, os.environ | trust | given)
        stack.push_async_callback(asyncio.to_thread, _stop_all, world)
        yield world


def _stop_all(world: LinkedWorld) -> None:
    for name in list(world.parts):
        world.stop(name)


async def link_by_qr(
    world: LinkedWorld,
    workspace: WorkspaceId,
    name: str,
    number: str,
    pace: Pace,
    *,
    show: Callable[[str], None] = lambda _: None,
) -> DeviceId:
    """A device that is linked to a phone by the QR code that it shows. A scheduler and a sender have to run."""
    runtime = world.runtime
    device = await add_device(
        runtime,
        workspace,
        name,
        transport=TransportKind.LINKED,
        min_delay=pace.min_delay,
        max_delay=pace.max_delay,
        pair_first=True,
        actor=ACTOR,
    )
    await set_proxy(runtime, workspace, device.id, world.testbed.reach.proxy, actor=ACTOR)
    await pairing.start_pairing(runtime, workspace, device.id, actor=ACTOR)

    async def scanned() -> bool:
        code = (await pairing.look(runtime, workspace, device.id, with_code=True)).code
        if code is None:
            return False
        show(code.text)
        await world.control.scan(number, code.text)
        return True

    async def is_online() -> bool:
        return (await pairing.look(runtime, workspace, device.id)).device.state is DeviceState.ONLINE

    await world.until(scanned, "the device shows a QR code", 60)
    await world.until(is_online, "the device that was paired is online", 60)
    world.numbers[device.id] = number
    return device.id


async def make_devices(world: LinkedWorld, devices: int, pace: Pace, seed: int) -> WorkspaceId:
    """A workspace with so many linked devices, offline: the first was paired, the others are made after its file."""
    workspace = await create_workspace(world.runtime, "Fleet", time_zone="Asia/Kuala_Lumpur", region="MY")
    world.start("scheduler")
    world.start("sender")
    first = await link_by_qr(world, workspace.id, "Number 1", "601900000001", pace)
    world.stop("sender")
    async with world.runtime.db.connection() as connection:
        install = await identity.install_id(connection)
        rows = await connection.fetch(_MORE_DEVICES, workspace.id, devices, pace.min_delay, pace.max_delay, timeout=60)
        await connection.execute(_MORE_PROXIES, workspace.id, first, timeout=60)
    sessions = sessions_folder(world.runtime.settings.data, install)
    files = SessionFiles(sessions / f"{first}.db", seed=f"fleet {seed}".encode())
    try:
        for row in rows:
            device, number = DeviceId(row["id"]), row["phone"].removeprefix("+")
            await files.make(world.control, number, sessions / f"{device}.db")
            world.numbers[device] = number
    finally:
        files.close()
    return workspace.id


async def make_leads(world: LinkedWorld, workspace: WorkspaceId, each: int) -> int:
    """So many people for each device, all of them distinct; how many that is."""
    await world.execute(
        """INSERT INTO leads (workspace_id, device_id, phone, name, attributes)
        SELECT $1, d.id, '+6011' || lpad((d.id * 1000 + i)::text, 8, '0'), 'Customer ' || d.id || '-' || i,
          jsonb_build_object('order_no', 'A-' || d.id || '-' || i)
        FROM devices d, generate_series(1, $2::int) i WHERE d.workspace_id = $1""",
        workspace,
        each,
    )
    await world.execute("UPDATE workspaces SET attribute_keys = '{order_no}' WHERE id = $1", workspace)
    return await world.ask("SELECT count(*) FROM leads WHERE workspace_id = $1", workspace)


async def pass_time(world: LinkedWorld, seconds: float) -> None:
    """Let the database's clock jump; leases move with it."""
    await world.execute(
        "WITH leases AS (UPDATE shards SET expires_at = expires_at + make_interval(secs => $1::float8)) "
        "UPDATE installation SET clock_offset = clock_offset + make_interval(secs => $1::float8)",
        seconds,
    )
