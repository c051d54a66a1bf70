"""Processes of the crash table, forked from one that has loaded everything: `fleetcast sender` begins at once.

The table starts more than a hundred, and to load was most of what each did. They are processes like any other from
there on, with their own environment, log and end. That the command loads and starts by itself is seen where whole
trees are started and killed (`test_kills`, `test_nodes`).

Run as a program this module is that mother: it reads orders from its standard input, a line of JSON each, and answers
with the pid. How a child ended it writes beside the child's log, because only a parent learns it. It ends when its
input does.
"""

import importlib
import json
import os
import random
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

ROOT = Path(__file__).resolve().parents[2]


def _code_of(said: Path) -> Path:
    """Where the exit code of the child with this log is written."""
    return said.with_name(f"{said.name}.code")


class Forked:
    """A child of the mother, to be used like a `subprocess.Popen`."""

    def __init__(self, pid: int, said: Path) -> None:
        self.pid = pid
        self._code = _code_of(said)
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Its exit code once it has ended, negative for a signal."""
        if self.returncode is None and self._code.exists():
            self.returncode = int(self._code.read_text())
        return self.returncode

    def wait(self, timeout: float) -> int:
        """Wait for its end, for so many seconds at most."""
        deadline = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() > deadline:
                raise TimeoutError(f"process {self.pid} does not end")
            select.select([], [], [], 0.01)
        return code

    def send_signal(self, number: int) -> None:
        """Send it, unless the process has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)


class Nursery:
    """The mother, for as long as the block runs."""

    def __enter__(self) -> Self:
        self._mother = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.nursery"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._mother.communicate(timeout=30)

    def start(self, kind: str, said: Path, environment: Mapping[str, str]) -> Forked:
        """`fleetcast sender` or `fleetcast scheduler`, with what it says in a file."""
        assert self._mother.stdin is not None
        assert self._mother.stdout is not None
        said.touch()
        self._mother.stdin.write(json.dumps([kind, str(said), dict(environment)]) + "\n")
        self._mother.stdin.flush()
        return Forked(int(self._mother.stdout.readline()), said)


def _mother() -> None:
    """Serve orders; returns in each child, which is then as if it had just been started, and never in the mother."""
    logs: dict[int, Path] = {}
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    signal.set_wakeup_fd(wake)
    while True:
        ready, _, _ = select.select([0, woken], [], [])
        if woken in ready:
            os.read(woken, 4096)
            _bury(logs)
        if 0 not in ready:
            continue
        if not (line := _line()):
            for pid in logs:  # of tests that were interrupted
                os.kill(pid, signal.SIGKILL)
            os._exit(0)
        kind, said, environment = json.loads(line)
        if pid := os.fork():
            logs[pid] = Path(said)
            os.write(1, f"{pid}\n".encode())
            continue
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.close(woken)
        os.close(wake)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        log = os.open(said, os.O_WRONLY)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.environ.clear()
        os.environ.update(environment)
        sys.argv = ["fleetcast", kind]
        random.seed()
        return


def _line() -> bytes:
    """The next order, read byte by byte: `select` must not overlook what a buffer holds back."""
    line = b""
    while (byte := os.read(0, 1)) not in (b"", b"\n"):
        line += byte
    return line


def _bury(logs: dict[int, Path]) -> None:
    """Write down how children ended that have."""
    while logs:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        code = _code_of(logs.pop(pid))
        half = code.with_name(f"{code.name}.half")
        half.write_text(str(os.waitstatus_to_exitcode(status)))
        half.rename(code)


if __name__ == "__main__":
    from fleetcast.cli.main import run

    for module in ("fleetcast.cli.processes", "fleetcast.engine.processes"):
        importlib.import_module(module)
    _mother()
    run()
