"""The process tree of `fleetcast up`: one parent that owns the servers and starts, watches and ends the parts.

A part that dies is started again with growing pauses; so is a server. The parts hold a pipe to the parent and stop by
themselves when it is gone, however it died. What a part says goes into a file of its own in the data directory.
"""

import asyncio
import os
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import structlog
from pydantic import SecretStr

from fleetcast.embedded import run_file
from fleetcast.embedded.data_directory import Layout, locked
from fleetcast.embedded.run_file import RunFile
from fleetcast.embedded.servers import EmbeddedServers
from fleetcast.embedded.sockets import give_back, own_directory
from fleetcast.engine.waiting import pause
from fleetcast.errors import ConfigurationError, Unavailable
from fleetcast.settings import Settings
from fleetcast.transports.simulator.behaviour import Span
from fleetcast.transports.simulator.launch import SimulatorProcess

log = structlog.get_logger()

STOP_SECONDS = 20.0
LOOK_SECONDS = 0.2
REVIVE_SECONDS = 1.0
"""After a server could not be started again; then it is tried anew."""
PAUSES = (0.2, 0.5, 1.0, 2.0, 5.0)
"""Seconds before a part that died is started again; the last one holds for every further time."""
STEADY_SECONDS = 30.0
"""A part that lived so long begins with the shortest pause again."""
LOG_BYTES = 20_000_000
_SIMULATOR = "simulator.sock"


@dataclass(slots=True)
class _Part:
    kind: str
    """The command that it runs."""
    name: str
    log: Path
    child: subprocess.Popen[bytes] | None = None
    deaths: int = 0
    started_at: float = 0.0
    start_at: float = 0.0
    kill_at: float | None = None
    """It is to end, at this time by force. None: it is to live."""


@dataclass(frozen=True, slots=True)
class SimulatorOptions:
    """How the simulator of this tree plays WhatsApp."""

    profile: str = "demo"
    seed: int = 1
    latency_ms: Span | None = None


@dataclass(slots=True)
class Tree:
    """`with Tree(settings) as tree:` is alone on the data directory; `start_servers`, `start_parts`, `watch` follow."""

    settings: Settings
    parts: tuple[str, ...] = ("scheduler", "sender", "web")
    simulator: SimulatorOptions = field(default_factory=SimulatorOptions)
    served: Settings = field(init=False)
    """The settings with both URLs filled, once the servers run."""
    ledger: Path = field(init=False)
    _stack: ExitStack = field(init=False, default_factory=ExitStack)
    _layout: Layout = field(init=False)
    _servers: EmbeddedServers | None = field(init=False, default=None)
    _simulator: SimulatorProcess | None = field(init=False, default=None)
    _running: list[_Part] = field(init=False, default_factory=list)

    def __enter__(self) -> Self:
        self._layout = self._stack.enter_context(locked(self.settings.data))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def start_servers(self, *, port: int | None = None) -> None:
        """Start the servers that the settings do not name. `port`: of the dashboard, in place of the settings'."""
        database_url, redis_url = self.settings.database_url, self.settings.redis_url
        if database_url is None or redis_url is None:
            self._servers = self._stack.enter_context(
                EmbeddedServers(self.settings.data, postgres=database_url is None, valkey=redis_url is None)
            )
            database_url = database_url or SecretStr(self._servers.database_url)
            redis_url = redis_url or SecretStr(self._servers.redis_url)
        self.ledger = self._layout.simulator / "ledger.jsonl"
        self.served = self.settings.model_copy(
            update={
                "database_url": database_url,
                "redis_url": redis_url,
                "simulator_socket": self.settings.simulator_socket or self._simulator_socket(),
                "port": self.settings.port if port is None else port,
            }
        )

    def _simulator_socket(self) -> Path:
        run = self._layout.run
        folder = own_directory(run, _SIMULATOR)
        self._stack.callback(give_back, folder, run)
        return folder / _SIMULATOR

    @property
    def web_url(self) -> str | None:
        """Where the dashboard is; None in a tree without one."""
        if "web" not in self.parts:
            return None
        host = self.served.host
        return f"http://{f'[{host}]' if ':' in host else host}:{self.served.port}"

    def start_parts(self) -> None:
        """Start the simulator and the parts, and tell other commands where to attach. The schema must be there."""
        socket = self.served.simulator_socket
        assert socket is not None and self.served.database_url and self.served.redis_url  # noqa: PT018
        self._simulator = self._stack.enter_context(
            SimulatorProcess(
                socket,
                self.ledger,
                seed=self.simulator.seed,
                profile=self.simulator.profile,
                latency_ms=self.simulator.latency_ms,
                production=self.settings.production,
                log=self._layout.log / "simulator.log",
            )
        )
        self._stack.callback(self._stop_parts)
        for kind in self.parts:
            for number in range(1, 1 + (self.settings.senders_min if kind == "sender" else 1)):
                self._add(kind, number)
        found = RunFile(
            self.served.database_url.get_secret_value(),
            self.served.redis_url.get_secret_value(),
            socket,
            self.web_url,
        )
        run_file.write(self.settings.data, found)
        self._stack.callback(run_file.remove, self.settings.data)

    @staticmethod
    def _name(kind: str, number: int) -> str:
        return kind if number == 1 else f"{kind}-{number}"

    def _add(self, kind: str, number: int) -> None:
        name = self._name(kind, number)
        part = _Part(kind, name, self._layout.log / f"{name}.log")
        self._start(part)
        self._running.append(part)

    @property
    def senders(self) -> int:
        """Senders that are to run."""
        return len(self._senders())

    def _senders(self) -> list[_Part]:
        return [part for part in self._running if part.kind == "sender" and part.kill_at is None]

    def scale(self, senders: int) -> None:
        """Have so many senders. One too many gets a SIGTERM: it claims no more, waits for its answers and gives its
        shards back; by force only after `STOP_SECONDS`.
        """
        running = self._senders()
        taken = {part.name for part in self._running}
        for number in range(1, senders + len(taken) + 1):
            if len(running) >= senders:
                break
            if (self._name("sender", number)) not in taken:
                self._add("sender", number)
                running = self._senders()
        for part in running[senders:]:
            part.kill_at = time.monotonic() + STOP_SECONDS
            if part.child is not None:
                part.child.terminate()

    def _start(self, part: _Part) -> None:
        if part.log.exists() and part.log.stat().st_size > LOG_BYTES:
            part.log.replace(part.log.with_suffix(".log.1"))
        with part.log.open("ab") as output:
            part.child = subprocess.Popen(
                [sys.executable, "-m", "fleetcast", part.kind, "--with-parent"],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                start_new_session=True,
                env={**os.environ, **_environment(self.served)},
            )

    async def watch(self, stop: asyncio.Event) -> None:
        """Keep everything alive until `stop`. Raises ConfigurationError when a part says that it cannot run here."""
        loop = asyncio.get_running_loop()
        while not stop.is_set():
            await asyncio.to_thread(self._revive_servers)
            for part in list(self._running):
                self._look_after(part, loop.time())
            await pause(stop, LOOK_SECONDS)

    def _revive_servers(self) -> None:
        try:
            if self._servers is not None and (names := self._servers.restart_dead()):
                log.warning("servers were gone and run again", servers=names)
        except (ConfigurationError, Unavailable) as error:  # killed again while it was starting, or its disk is full
            log.warning("a server was gone and does not start", error=str(error))
            time.sleep(REVIVE_SECONDS)  # in a thread of its own
        if self._simulator is not None and self._simulator.pid is None:
            try:
                self._simulator.start()
            except Unavailable as error:  # killed again while it was starting, perhaps: the next look tries anew
                log.warning("the simulator was gone and does not start", error=str(error))
            else:
                log.warning("the simulator was gone and runs again")

    def _look_after(self, part: _Part, now: float) -> None:
        if part.kill_at is not None:
            self._see_off(part, part.kill_at)
            return
        if part.child is None:
            if now >= part.start_at:
                self._start(part)
                part.started_at = now
            return
        code = part.child.poll()
        if code is None:
            if part.deaths and now - part.started_at > STEADY_SECONDS:
                part.deaths = 0
            return
        _close(part.child)
        part.child = None
        if code == ConfigurationError.exit_code:
            raise ConfigurationError(_last_line(part.log) or f"{part.name} cannot run here; see {part.log}.")
        wait = PAUSES[min(part.deaths, len(PAUSES) - 1)]
        part.deaths += 1
        part.start_at = now + wait
        log.warning("a part ended and is started again", part=part.name, code=code, seconds=wait, log=str(part.log))

    def _see_off(self, part: _Part, kill_at: float) -> None:
        if part.child is not None and part.child.poll() is None:
            if time.monotonic() > kill_at:
                part.child.kill()
            return
        if part.child is not None:
            _close(part.child)
        self._running.remove(part)

    def pids(self) -> dict[str, int]:
        """Every process of the tree that runs now, by name."""
        found = {part.name: part.child.pid for part in self._running if part.child is not None}
        if self._simulator is not None and self._simulator.pid is not None:
            found["simulator"] = self._simulator.pid
        if self._servers is not None:
            servers = {"postgres": self._servers.postgres_pid, "valkey": self._servers.valkey_pid}
            found |= {name: pid for name, pid in servers.items() if pid is not None}
        return found

    def _stop_parts(self) -> None:
        children = [part.child for part in self._running if part.child is not None]
        for child in reversed(children):
            child.terminate()
        for child in reversed(children):
            try:
                child.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
            _close(child)
        self._running.clear()


def _close(child: "subprocess.Popen[bytes]") -> None:
    if child.stdin is not None:
        child.stdin.close()


def _environment(served: Settings) -> dict[str, str]:
    """What the parts need to know that may differ from our own environment."""
    assert served.database_url is not None and served.redis_url is not None  # noqa: PT018
    return {
        "DATABASE_URL": served.database_url.get_secret_value(),
        "REDIS_URL": served.redis_url.get_secret_value(),
        "PORT": str(served.port),
        "FLEETCAST_HOST": served.host,
        "FLEETCAST_DATA": str(served.data),
        "FLEETCAST_SIMULATOR_SOCKET": str(served.simulator_socket),
        "FLEETCAST_LOG_FORMAT": "json",
        "PYTHONUNBUFFERED": "1",
    }


def _last_line(path: Path) -> str:
    lines = path.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1].removeprefix("Error: ") if lines else ""
