"""The run file: what a running Fleetcast tells the commands of the same machine, so that they attach to it.

It holds URLs, so only its owner may read it, and it names its process by pid and start: after a crash it is stale
and counts for nothing.
"""

import contextlib
import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path

from fleetcast.embedded.children import identity
from fleetcast.errors import ConfigurationError

_NAME = "fleetcast.json"


@dataclass(frozen=True, slots=True)
class RunFile:
    """Where a running Fleetcast's servers are. URLs may carry passwords: they are not in the repr."""

    database_url: str = field(repr=False)
    redis_url: str = field(repr=False)
    simulator_socket: Path | None = None
    web_url: str | None = None
    pid: int = field(default_factory=os.getpid)


def read(data: Path) -> RunFile | None:
    """What runs on this data directory; None when nothing does, whatever a crash may have left."""
    try:
        told = json.loads(_path(data).read_text(encoding="utf-8"))
        started = told.pop("started")
        found = RunFile(**told)
        if started is None or identity(found.pid) != started:
            return None
    except (FileNotFoundError, NotADirectoryError, ValueError, TypeError, KeyError, AttributeError):
        return None
    except OSError as error:
        raise ConfigurationError(f"The run file {_path(data)} cannot be read: {error.strerror}.") from error
    socket = found.simulator_socket
    return RunFile(found.database_url, found.redis_url, Path(socket) if socket else None, found.web_url, found.pid)


def write(data: Path, found: RunFile) -> None:
    """Tell others, in one step: nobody ever reads half a file."""
    path = _path(data)
    half = path.with_name(f"{_NAME}.{os.getpid()}")
    told = asdict(found) | {"started": identity(found.pid)}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        half.unlink(missing_ok=True)  # of an earlier process with our pid
        try:
            with os.fdopen(os.open(half, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
                json.dump(told, file, default=str)
            half.replace(path)
        finally:
            half.unlink(missing_ok=True)
    except OSError as error:
        raise ConfigurationError(f"The run file {path} cannot be written: {error.strerror}.") from error


def remove(data: Path) -> None:
    """Take it back; at the end, before the servers stop. Nothing happens when there is none."""
    with contextlib.suppress(FileNotFoundError):
        _path(data).unlink()


def _path(data: Path) -> Path:
    return data.expanduser() / "run" / _NAME
