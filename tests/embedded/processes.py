"""Processes that tests of the embedded servers start, kill and wait for."""

import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fleetcast.embedded import children


@dataclass(frozen=True)
class Holder:
    """A process that holds servers, and what it said."""

    process: subprocess.Popen[str]
    said: dict[str, object]

    @property
    def pids(self) -> list[int]:
        pids = self.said["pids"]
        assert isinstance(pids, list)
        return pids

    def finish(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        assert self.process.wait(90) == 0


@dataclass(frozen=True)
class OrdinaryUser:
    """How to be an ordinary user: options for a holder, and a folder of his own."""

    uid: int
    folder: Path
    options: tuple[str, ...]


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 30) -> None:
    """Wait for something that another process does, at most `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.01)


def gone(pid: int) -> bool:
    """Whether this process has ended (nobody may have read its exit status yet)."""
    return children.identity(pid) is None
