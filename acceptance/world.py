"""A whole installation whose every process may die: servers behind a bad network, our own parts, the simulator.

It starts again whatever has ended, as an operator's supervisor would, and says how often it had to. Separate from the
faults, which only break things.
"""

import asyncio
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from acceptance.proxy import Proxy
from bench.stage import ROOT, folder, server_versions
from fleetcast.embedded.servers import EmbeddedServers
from fleetcast.errors import FleetcastError, Unavailable
from fleetcast.queue.client import connect
from fleetcast.runtime import Runtime, open_runtime
from fleetcast.settings import Settings
from fleetcast.store.schema import migrate
from fleetcast.transports.simulator.launch import SimulatorProcess

LEASE_SECONDS = 3.0
SEND_SECONDS = 3.0
LATENCY_MS = (5.0, 60.0)
PARTS = ("sender", "sender", "sender", "scheduler", "scheduler", "web")
STOP_SECONDS = 30.0
PATIENCE = 90.0
"""Seconds in which something must go out after a fault."""
_SOCKET = ".s.PGSQL.5432"
_HASTEN = """
SELECT max(not_before) - fleetcast_now() FROM broadcast_messages WHERE is_open
HAVING bool_and(status = 'pending' AND not_before > fleetcast_now())"""

POSTGRES, VALKEY, SIMULATOR = "postgres", "valkey", "simulator"


class Stuck(Exception):
    """Something that was promised did not come in time."""


@dataclass(slots=True)
class World:
    """One installation. `parts`: our own processes by name, such as sender_1."""

    servers: EmbeddedServers
    runtime: Runtime
    """Past the network."""
    simulator: SimulatorProcess
    postgres: Proxy
    redis: Proxy
    log: Path
    versions: dict[str, str]
    environment: dict[str, str]
    parts: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)
    restarts: Counter[str] = field(default_factory=Counter)
    unclean: list[str] = field(default_factory=list)
    """Parts that did not end in order when they were asked to."""

    @property
    def ledger(self) -> Path:
        """The judge's book."""
        return self.simulator.ledger

    def accepted(self) -> int:
        """Bytes in the ledger so far: cheap to ask often."""
        return self.ledger.stat().st_size if self.ledger.exists() else 0

    def pid(self, name: str) -> int | None:
        """Of any process of this world, while it runs."""
        if name in self.parts:
            return self.parts[name].pid if self.parts[name].poll() is None else None
        if name == SIMULATOR:
            return self.simulator.pid
        return self.servers.postgres_pid if name == POSTGRES else self.servers.valkey_pid

    def names(self) -> list[str]:
        """Every process that can be killed."""
        return [*self.parts, SIMULATOR, POSTGRES, VALKEY]

    def signal(self, name: str, number: signal.Signals) -> bool:
        """Send a signal; whether there was a process to take it."""
        pid = self.pid(name)
        if pid is None:
            return False
        with suppress(ProcessLookupError):
            os.kill(pid, number)
            return True
        return False

    def start(self, name: str) -> None:
        """Start one part."""
        with (self.log / f"{name}.log").open("ab") as output:
            self.parts[name] = subprocess.Popen(
                [sys.executable, "-m", "fleetcast", name.partition("_")[0], "--with-parent"],
                cwd=ROOT,
                env=self.environment,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    async def tend(self, stop: asyncio.Event) -> None:
        """Start again whatever has ended, until told to stop."""
        while not stop.is_set():
            with suppress(FleetcastError):  # killed again while it was starting: the next round tries anew
                for server in await asyncio.to_thread(self.servers.restart_dead):
                    self.restarts[server] += 1
            with suppress(FleetcastError):
                if self.simulator.pid is None:
                    await asyncio.to_thread(self.simulator.start)
                    self.restarts[SIMULATOR] += 1
            for name, child in list(self.parts.items()):
                if child.poll() is not None:
                    _close(child)
                    self.start(name)
                    self.restarts[name] += 1
            with suppress(TimeoutError):
                async with asyncio.timeout(0.1):
                    await stop.wait()

    async def ended(self, name: str, child: "subprocess.Popen[bytes]") -> None:
        """Wait for the end of a part that was asked to stop, and note when it was none in order."""
        try:
            await self.until(lambda: child.poll() is not None, f"{name} ends", STOP_SECONDS)
        except Stuck:
            child.kill()
            self.unclean.append(f"{name} did not end within {STOP_SECONDS:g} s")
            return
        if child.returncode not in (0, -signal.SIGTERM):  # the signal itself ends one that is just starting
            self.unclean.append(f"{name} ended with {child.returncode}")

    async def until(self, condition: Callable[[], bool | Awaitable[bool]], what: str, seconds: float) -> float:
        """Wait for something that other processes bring about; how long it took. Raises Stuck."""
        begun = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(seconds):
                # Other processes give no signal.
                while not (await found if isinstance(found := condition(), Awaitable) else found):  # noqa: ASYNC110
                    await asyncio.sleep(0.03)
        except TimeoutError:
            raise Stuck(f"not within {seconds:g} s: {what}") from None
        return asyncio.get_running_loop().time() - begun

    async def goes_on(self, lines: int = 10, seconds: float = PATIENCE) -> float:
        """Wait until about so many more messages were accepted; how long that took. Raises Stuck."""
        before = self.accepted()
        return await self.until(lambda: self.accepted() >= before + 250 * lines, "messages go out", seconds)

    async def ask(self, question: str, *arguments: object) -> object:
        """One value from the database, as soon as it answers."""
        while True:
            with suppress(Unavailable):
                async with self.runtime.db.connection() as connection:
                    return await connection.fetchval(question, *arguments, timeout=60)
            await asyncio.sleep(0.1)

    async def execute(self, statement: str, *arguments: object) -> None:
        """One statement, as soon as the database takes it."""
        while True:
            with suppress(Unavailable):
                async with self.runtime.db.connection() as connection:
                    await connection.execute(statement, *arguments, timeout=60)
                    return
            await asyncio.sleep(0.1)

    async def hasten(self) -> None:
        """When all that is left waits for the time of a retry, that of the last comes now; leases move with it."""
        wait = await self.ask(_HASTEN)
        if isinstance(wait, timedelta) and wait > timedelta():
            await self.execute(
                "WITH leases AS (UPDATE shards SET expires_at = expires_at + $1) "
                "UPDATE installation SET clock_offset = clock_offset + $1",
                wait,
            )

    async def empty_redis(self) -> None:
        """FLUSHALL."""
        client = connect(self.servers.redis_url)
        with suppress(Exception):  # it may have been killed just now: then it is empty as well
            await client.flushall()
        await client.aclose()

    def traces(self) -> dict[str, int]:
        """Tracebacks in the logs of our parts, by name: an outage is a sentence there."""
        found = {log.stem: log.read_text(errors="replace").count("Traceback") for log in self.log.glob("*.log")}
        return {name: n for name, n in found.items() if n}


@asynccontextmanager
async def open_world() -> AsyncIterator[World]:
    """Everything running and tended; nothing is left of it afterwards but a log folder when the block failed."""
    async with AsyncExitStack() as stack:
        place = stack.enter_context(folder())
        servers = stack.enter_context(EmbeddedServers(place / "servers"))
        await migrate(servers.database_url)
        versions = await server_versions(servers.database_url, servers.redis_url)
        node, log, network = place / "node", place / "log", place / "net"
        for made in (node / "run", log, network):
            made.mkdir(parents=True)
        host = parse_qs(urlsplit(servers.database_url).query)["host"][0]
        postgres = await stack.enter_async_context(Proxy(network / _SOCKET, Path(host) / _SOCKET))
        redis = await stack.enter_async_context(Proxy(network / "redis", Path(urlsplit(servers.redis_url).path)))
        given = {
            "DATABASE_URL": f"postgresql://fleetcast@/fleetcast?host={network}",
            "REDIS_URL": f"unix://{network}/redis",
            "PORT": "0",
            "FLEETCAST_DATA": str(node),
            "FLEETCAST_LEASE_SECONDS": f"{LEASE_SECONDS:g}",
            "FLEETCAST_SEND_SECONDS": f"{SEND_SECONDS:g}",
            "FLEETCAST_SIMULATOR_SOCKET": str(node / "run" / "simulator.sock"),
            "FLEETCAST_LOG_FORMAT": "json",
        }
        simulator = SimulatorProcess(
            node / "run" / "simulator.sock", node / "ledger.jsonl", latency_ms=LATENCY_MS, log=log / "simulator.log"
        )
        stack.enter_context(simulator)
        settings = Settings(
            database_url=servers.database_url,
            redis_url=servers.redis_url,
            data=node,
            log_level="error",
            simulator_socket=simulator.socket,
        )
        runtime = await stack.enter_async_context(open_runtime(settings, patience=60))
        world = World(servers, runtime, simulator, postgres, redis, log, versions, os.environ | given)
        stack.push_async_callback(asyncio.to_thread, _stop, world)  # the network is ours: it must go on meanwhile
        for number, name in enumerate(PARTS, 1):
            world.start(f"{name}_{number}")
        stop = asyncio.Event()
        tender = asyncio.create_task(world.tend(stop), name="tender")
        try:
            yield world
        finally:
            stop.set()
            await tender


def _stop(world: World) -> None:
    for child in world.parts.values():
        child.send_signal(signal.SIGCONT)
        child.terminate()
    for child in world.parts.values():
        try:
            child.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        _close(child)


def _close(child: "subprocess.Popen[bytes]") -> None:
    if child.stdin is not None:
        child.stdin.close()
