"""Why a server did not start, in one sentence: reads what it printed, says what to do."""

import shutil
from pathlib import Path

from fleetcast.errors import ConfigurationError

_LEAST = 1024 * 1024
_NOT_STARTED = "FATAL:  cannot start "
_FULL = ("No space left on device", "Disk quota exceeded", "File too large")


def why_not(server: str, printed: str, data: Path, log: Path | None = None) -> ConfigurationError:
    """Turn a server's last words into an error for a person."""
    lines = [line.strip() for line in printed.splitlines() if line.strip()]
    if any(text in printed for text in _FULL) or _nothing_left(data):
        return ConfigurationError(
            f"{server} could not write to {data} because its disk is full: free some space (a new installation "
            "needs 200 MB) and start again."
        )
    if _NOT_STARTED in printed:  # the launcher's words
        return ConfigurationError(
            f"{server} was not allowed to run ({_plain(lines[-1])}). Programs may be forbidden on that disk (noexec), "
            "or changing the user in this container (CAP_SETUID): allow it, name another data directory with "
            "FLEETCAST_DATA, or set DATABASE_URL and REDIS_URL to servers of your own."
        )
    if any(text in printed for text in ("Permission denied", "Read-only file system", "Operation not permitted")):
        line = next(line for line in reversed(lines) if "ermi" in line or "Read-only" in line)
        return ConfigurationError(
            f"{server} was refused by the system ({_plain(line)}): correct owner or mode of {data}, or name another "
            "data directory with FLEETCAST_DATA."
        )
    loud = [line for line in lines if any(word in line for word in ("FATAL", "PANIC", "error:", "rror:", "# "))]
    last = _plain((loud or lines or ["it printed nothing"])[-1])
    where = f"; more in {log}" if log else ""
    return ConfigurationError(f"{server} did not start on {data}: {last}{where}.")


def _plain(line: str) -> str:
    """Without time stamp and level."""
    for word in ("FATAL:", "PANIC:", "error:", "ERROR:"):
        if word in line:
            line = line.split(word, 1)[1]
    return line.strip().rstrip(".")


def _nothing_left(data: Path) -> bool:
    """A full disk keeps the server's own words from the log."""
    try:
        return shutil.disk_usage(data if data.exists() else data.parent).free < _LEAST
    except OSError:
        return False
