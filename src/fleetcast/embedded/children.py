"""Child processes: how they are started, and how another process is recognised.

Separate from the two servers because the rules are the same for both: a session of its own (Ctrl-C in the terminal
is for us; we stop the servers when their users are gone), a clean environment, an unprivileged account, and a signal
from the kernel when we die. A pid alone never identifies a process: pids are reused.
"""

import contextlib
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from fleetcast.embedded.account import Account

_LINUX = platform.system() == "Linux"
_LAUNCHER = Path(__file__).with_name("launcher.py").read_text(encoding="utf-8")


@dataclass(frozen=True, slots=True)
class Finished:
    """How a program that we waited for ended, with all that it printed."""

    code: int
    output: str


class Spawner:
    """Starts children from one thread that lives as long as they may.

    Linux sends the parent-death signal when the *thread* that started the child ends, not the process; a child
    started from a passing worker thread would be stopped with it.
    """

    def __init__(self, account: Account, *, interpreter: str = sys.executable) -> None:
        self._account = account
        self._interpreter = interpreter
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="fleetcast-children")

    def start(
        self, command: Sequence[str], *, at_parents_death: signal.Signals, output: int, source: int = subprocess.DEVNULL
    ) -> subprocess.Popen[bytes]:
        """Start a program; `output` and `source` are file descriptors or subprocess constants."""
        become = (self._account.uid, self._account.gid) if self._account.change else (-1, -1)
        launch = [str(n) for n in (os.getpid(), int(at_parents_death), *become)]
        return self._thread.submit(
            lambda: subprocess.Popen(
                [self._interpreter, "-I", "-S", "-c", _LAUNCHER, *launch, *command],
                stdin=source,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd="/",
                env=_environment(),
                start_new_session=True,
            )
        ).result()

    def run(self, command: Sequence[str], *, given: str = "", timeout: float = 300) -> Finished:
        """Run a program to its end (at most `timeout` seconds) with `given` as its input."""
        child = self.start(command, at_parents_death=signal.SIGTERM, output=subprocess.PIPE, source=subprocess.PIPE)
        with child:
            try:
                output, _ = child.communicate(given.encode(), timeout=timeout)
            except BaseException:
                child.kill()
                raise
        return Finished(child.returncode, output.decode(errors="replace"))

    def close(self) -> None:
        """End the thread. Children that still run get their signal now."""
        self._thread.shutdown()


def _environment() -> dict[str, str]:
    """Messages in English, times in UTC, and none of the PG… variables that would redirect the server."""
    kept = {name: os.environ[name] for name in ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH") if name in os.environ}
    return {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"} | kept


def stop(child: subprocess.Popen[bytes], signals: Sequence[tuple[signal.Signals, float]]) -> None:
    """Send each signal in turn and wait its number of seconds, until the child has ended; at last SIGKILL."""
    for number, seconds in signals:
        if child.poll() is not None:
            return
        child.send_signal(number)
        try:
            child.wait(seconds)
        except subprocess.TimeoutExpired:
            continue
        return
    child.kill()
    child.wait()


def identity(pid: int) -> str | None:
    """What tells this process from a later one with the same pid: its start. None when there is no such process."""
    if pid <= 0:
        return None
    if _LINUX:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
        except (OSError, ValueError):
            return None
        return None if fields[0] in "ZX" else f"{boot} {fields[19]}"
    found = subprocess.run(
        ["/bin/ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    state, _, started = found.stdout.strip().partition(" ")
    return None if found.returncode or state.startswith("Z") else started.strip()


def arguments(pid: int) -> list[str]:
    """The command line of a process; empty when it cannot be read."""
    if _LINUX:
        try:
            return Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").decode(errors="replace").split("\0")
        except OSError:
            return []
    found = subprocess.run(
        ["/bin/ps", "-ww", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return found.stdout.split()


def working_in(directory: Path, program: str) -> list[int]:
    """Pids of a program's processes whose working directory is `directory`, where the system tells (Linux)."""
    found = []
    for entry in Path("/proc").glob("[0-9]*") if _LINUX else ():
        try:
            comm = (entry / "comm").read_text(encoding="utf-8", errors="replace").strip()
            if comm == program and (entry / "cwd").samefile(directory):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def end(pid: int, signals: Sequence[tuple[signal.Signals, float]]) -> bool:
    """Stop a process that is not our child: each signal in turn, waiting its number of seconds. Whether it is gone."""
    who = identity(pid)
    for number, seconds in signals:
        deadline = time.monotonic() + seconds
        if who is None or identity(pid) != who:
            return True
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)
        while identity(pid) == who and time.monotonic() < deadline:
            time.sleep(0.02)
    return identity(pid) != who
