"""What processes use: CPU seconds and memory, read from /proc. Linux only, like the figures themselves."""

import os
from collections.abc import Iterable
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


def _fields(pid: int) -> list[str]:
    """The fields of /proc/PID/stat after the name; empty for a process that is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return []


def children(pid: int) -> list[int]:
    """Pids of the processes that `pid` started and that still run."""
    pids = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
    return [child for child in pids if (fields := _fields(child)) and int(fields[1]) == pid]


def arguments(pid: int) -> list[str]:
    """The command line of a process; empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").rstrip("\0").split("\0")
    except OSError:
        return []


def name(pid: int) -> str:
    """The name of a process's program, as the kernel knows it; empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def cpu_seconds(pid: int) -> float:
    """CPU time of a process and of those of its children that have ended."""
    fields = _fields(pid)
    return sum(int(field) for field in fields[11:15]) / _TICKS


def family_cpu_seconds(pid: int) -> float:
    """CPU time of a process and of its children, ended ones included: a server with its backends."""
    return sum(cpu_seconds(p) for p in (pid, *children(pid)))


def pss_bytes(pids: Iterable[int]) -> int:
    """Proportional set size: memory of these processes, with what they share counted once among all that share it."""
    total = 0
    for pid in pids:
        try:
            text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="utf-8")
        except OSError:
            continue
        total += next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))
    return total * 1024


def busy_seconds() -> float:
    """CPU seconds that this machine has worked so far, for anybody; time taken away by the machine's host included."""
    user, nice, system, _, _, irq, softirq, steal = Path("/proc/stat").read_text(encoding="ascii").split()[1:9]
    return sum(map(int, (user, nice, system, irq, softirq, steal))) / _TICKS


def own_seconds() -> float:
    """CPU seconds of this process and of all its children that have ended."""
    return sum(os.times()[:4])


def load() -> float:
    """How many processes wanted a CPU during the last minute, on average: 0 on a quiet machine."""
    return os.getloadavg()[0]
