"""`fleetcast up` or `fleetcast demo` as a process of its own, seen, stopped and killed from outside.

Processes are found as an operator finds them, by parentage and command line; what they did is read from the
simulator's ledger file and from their database.
"""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg
import psutil

from fleetcast.embedded import run_file
from tests.store.broadcast import move_time

GONE = (psutil.NoSuchProcess, psutil.AccessDenied)
_STARTED: "list[tuple[Path, subprocess.Popen[bytes]]]" = []


async def eventually(condition: Callable[[], bool | Awaitable[bool]], what: str, seconds: float = 60.0) -> None:
    """Wait until something is so that other processes bring about. Looking takes at most a fifth of the time: what
    takes long to look at is not held up by it.
    """
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(seconds):
            # Other processes give no signal.
            while True:
                begun = loop.time()
                if await found if isinstance(found := condition(), Awaitable) else found:
                    return
                await asyncio.sleep(max(0.02, 4 * (loop.time() - begun)))
    except TimeoutError:
        raise AssertionError(f"not within {seconds:g} s: {what}") from None


class ProcessTree:
    """One `fleetcast …` with all its children, on the data directory `home` (the demo's is a folder in it)."""

    def __init__(self, home: Path, *arguments: str, **environment: str) -> None:
        self.home = home
        self.data = home / "demo" if arguments[0] == "demo" else home
        said = home.with_name(f"{home.name}.said")
        said.mkdir(exist_ok=True)
        number = len(list(said.iterdir()))
        self._out, self._err = said / f"{number}.out", said / f"{number}.err"
        ours = {"FLEETCAST_DATA": str(home), "PYTHONUNBUFFERED": "1"}
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "fleetcast", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env=os.environ | ours | environment,
            )
        _STARTED.append((home, self.process))

    @property
    def out(self) -> str:
        """What it printed so far."""
        return self._out.read_text()

    @property
    def err(self) -> str:
        """What it complained about so far."""
        return self._err.read_text()

    def children(self) -> dict[str, psutil.Process]:
        """The parent's children that run now, by kind: sender, scheduler, web, simulator, postgres, valkey."""
        found = {}
        with contextlib.suppress(*GONE):
            for child in psutil.Process(self.process.pid).children():
                with contextlib.suppress(*GONE):
                    if kind := _kind(child.cmdline()):
                        found[kind] = child
        return found

    async def child(self, kind: str) -> psutil.Process:
        """This child, as soon as it runs."""
        await eventually(lambda: kind in self.children() or self.ended, f"{kind} runs")
        assert kind in self.children(), f"the parent ended ({self.process.returncode}): {self.err}"
        return self.children()[kind]

    @property
    def ended(self) -> bool:
        """Whether the parent has ended by itself or by us."""
        return self.process.poll() is not None

    async def end(self, number: signal.Signals | None = None, seconds: float = 120.0) -> int:
        """Send a signal, if one is given, and wait for the parent's end; its exit code."""
        if number is not None:
            self.process.send_signal(number)
        await eventually(lambda: self.ended, f"the parent ends; it said: {self.err}", seconds)
        return int(self.process.returncode)

    async def hastened_end(self) -> int:
        """Wait for the end of a demo; when all that is left waits for the time of a retry, that time comes now."""
        while not self.ended:
            with contextlib.suppress(AssertionError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                await self._hasten()
            with contextlib.suppress(AssertionError):
                await self.end(seconds=1.0)
        return int(self.process.returncode)

    async def _hasten(self) -> None:
        connection = await asyncpg.connect(self.run_file().database_url, timeout=5)
        try:
            wait = await connection.fetchval(
                "SELECT min(not_before) - fleetcast_now() FROM broadcast_messages WHERE is_open "
                "HAVING bool_and(status = 'pending' AND not_before > fleetcast_now())"
            )
            if wait is not None and wait > timedelta():
                await move_time(connection, wait)
        finally:
            await connection.close()

    def result(self) -> dict[str, Any]:
        """The JSON that it printed."""
        found = json.loads(self.out)
        assert isinstance(found, dict)
        return found

    @property
    def ledger(self) -> Path:
        """The simulator's ledger."""
        return self.data / "simulator" / "ledger.jsonl"

    def accepted(self) -> int:
        """How many messages the simulator has accepted so far."""
        with contextlib.suppress(FileNotFoundError):
            return self.ledger.read_bytes().count(b'"kind": "accepted"')
        return 0

    async def has_accepted(self, count: int, seconds: float = 60.0) -> None:
        """Wait until so many were accepted."""
        await eventually(lambda: self.accepted() >= count or self.ended, f"{count} messages are accepted", seconds)
        assert self.accepted() >= count, f"the parent ended ({self.process.returncode}): {self.err}"

    def run_file(self) -> run_file.RunFile:
        """What it tells other commands."""
        found = run_file.read(self.data)
        assert found is not None, "there is no run file"
        return found


def _kind(command: list[str]) -> str | None:
    if not command:
        return None
    program = Path(command[0].split()[0]).name  # Valkey writes its socket into its own name
    if program in ("postgres", "valkey-server"):
        return program.removesuffix("-server")
    if "fleetcast.transports.simulator" in command:
        return "simulator"
    return command[command.index("fleetcast") + 1] if "--with-parent" in command else None


def processes_of(home: Path) -> list[psutil.Process]:
    """Every process that has to do with this data directory, whoever its parent is now."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(*GONE):
            traces = [*process.cmdline(), process.cwd(), process.environ().get("FLEETCAST_DATA", "")]
            if any(f"{home}/" in f"{trace}/" for trace in traces) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def is_empty(folder: Path) -> bool:
    """Whether nothing is in it."""
    return not any(folder.iterdir())


@contextlib.contextmanager
def home_of_its_own(folder: Path, name: str) -> Iterator[Path]:
    """A data directory; afterwards nothing is left of it, and no process either."""
    home = folder / name
    home.mkdir(mode=0o711)
    try:
        yield home
    finally:
        for process in processes_of(home):
            with contextlib.suppress(*GONE):
                process.kill()
        for where, ours in _STARTED:
            if where.is_relative_to(home):
                ours.wait(10)
        psutil.wait_procs(processes_of(home), timeout=10)
        shutil.rmtree(home, ignore_errors=True)
        shutil.rmtree(home.with_name(f"{name}.said"), ignore_errors=True)
