"""How much memory the servers may think of: the machine's, or the container's if that is less."""

import os
from pathlib import Path

_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
MEGABYTE = 1024 * 1024


def available_bytes() -> int:
    """Bytes of memory of this machine or container; 2 GB when nobody tells."""
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        total = 2048 * MEGABYTE
    for limit in _LIMITS:
        try:
            total = min(total, int(Path(limit).read_text(encoding="utf-8")))
        except (OSError, ValueError):  # no such limit, or the word "max"
            continue
    return total


def share(part: int, *, least: int, most: int) -> int:
    """A part of the memory (1/`part`) in megabytes, within bounds in megabytes."""
    return max(least, min(most, available_bytes() // part // MEGABYTE))
