"""The data directory of a node: what lies where, who may enter, and who uses it now.

    lock          held by the one Fleetcast that runs on it; names its pid
    node_id       who this node is (linked devices live on one node)
    run/          run file and sockets of what runs now
    postgres/     the embedded PostgreSQL's data
    valkey/       working folder of the embedded Valkey (keeps nothing)
    bin/          copies of the server programs, as root only
    log/          what the servers print
    simulator/    the simulator's ledger
    sessions/     sessions of linked devices: whoever has a file is that device
    spool/        results that could not be committed yet
    uploads/      lead files that were sent over HTTP, until they are imported
    secret.key    what seals secrets in the database, unless a setting does
    demo/         a data directory of its own, of `fleetcast demo`

An ordinary user's directory is closed (0700). Root's can be passed through (0711), because the servers run as
another account, and everything in it but the programs is closed by its own mode.
"""

import contextlib
import os
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fleetcast.errors import ConfigurationError, Conflict

_PRIVATE = ("log", "sessions", "simulator", "spool", "uploads")
_PASSABLE = ("run", "bin")
_SHELL_WORDS = set('"$`\\\n')
"""initdb calls its server through a shell, in double quotes."""
_OURS = {"lock", "servers.lock", "node_id", "secret.key", "postgres", "valkey", "demo", *_PRIVATE, *_PASSABLE}


@dataclass(frozen=True, slots=True)
class Layout:
    """The folders of one data directory; all but postgres and valkey exist."""

    root: Path

    @property
    def run(self) -> Path:
        """Run file and sockets."""
        return self.root / "run"

    @property
    def postgres(self) -> Path:
        """PostgreSQL's data."""
        return self.root / "postgres"

    @property
    def valkey(self) -> Path:
        """Valkey's working folder."""
        return self.root / "valkey"

    @property
    def bin(self) -> Path:
        """Copied programs."""
        return self.root / "bin"

    @property
    def log(self) -> Path:
        """The servers' output."""
        return self.root / "log"

    @property
    def simulator(self) -> Path:
        """The simulator's ledger."""
        return self.root / "simulator"

    @property
    def spool(self) -> Path:
        """Results that wait for the database."""
        return self.root / "spool"


def prepare(data: Path) -> Layout:
    """Make the directory and its folders, closed to others. A directory full of other things is refused."""
    root = Path(os.path.realpath(data.expanduser()))
    if odd := set(str(root)) & _SHELL_WORDS:
        raise ConfigurationError(
            f"The data directory {root} has a character in its name ({odd.pop()!r}) that PostgreSQL's programs cannot "
            "take: name another one with FLEETCAST_DATA."
        )
    passable = 0o711 if is_root() else 0o700
    try:
        root.mkdir(mode=passable, parents=True, exist_ok=True)
        names = {path.name for path in root.iterdir()}
        strange = sorted(name for name in names - _OURS if not name.startswith("postgres."))
        if strange and "node_id" not in names:
            raise ConfigurationError(
                f"{root} holds other things ({strange[0]}) and is no data directory of Fleetcast: "
                "name a new or empty one with FLEETCAST_DATA."
            )
        _close(root, passable)
        for name in _PRIVATE:
            (root / name).mkdir(exist_ok=True)
            _close(root / name, 0o700)
        for name in _PASSABLE:
            (root / name).mkdir(exist_ok=True)
            _close(root / name, passable)
        node_id(root)
    except OSError as error:
        raise ConfigurationError(
            f"The data directory {root} cannot be used: {error.strerror}. Correct its owner or mode, "
            "or name another one with FLEETCAST_DATA."
        ) from error
    return Layout(root)


def sessions_folder(data: Path, install: str) -> Path:
    """Where sessions of linked devices lie; those of another database never serve devices of this one."""
    return data / "sessions" / install


def is_root() -> bool:
    """Whether this process may do everything."""
    return hasattr(os, "geteuid") and os.geteuid() == 0


def _close(folder: Path, mode: int) -> None:
    status = folder.stat()
    mine = not hasattr(os, "geteuid") or status.st_uid == os.geteuid()
    if status.st_mode & 0o7777 != mode and mine:
        folder.chmod(mode)


def node_id(data: Path) -> str:
    """The id of this node: 32 characters, drawn at the first call and kept in the data directory."""
    path = data / "node_id"
    if not path.exists():
        half = data / "run" / f"node_id.{uuid.uuid4().hex}"
        half.parent.mkdir(exist_ok=True)
        try:
            with os.fdopen(os.open(half, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
                file.write(f"{uuid.uuid4().hex}\n")
                file.flush()
                os.fsync(file.fileno())  # it has its name only when it is whole
            with contextlib.suppress(FileExistsError):
                os.link(half, path)  # the first of several wins
        finally:
            half.unlink(missing_ok=True)
    kept = path.read_text(encoding="utf-8").strip()
    if not kept:
        raise ConfigurationError(
            f"{path} is empty: write this node's id into it (`nodes` in the database lists them), or remove it if no "
            "device is linked on this node."
        )
    return kept


@contextlib.contextmanager
def locked(data: Path) -> Iterator[Layout]:
    """Prepare the directory and be the only Fleetcast on it while the block runs. Conflict names who has it."""
    layout = prepare(data)
    with holding(
        layout.root / "lock",
        f"Fleetcast is already running on {layout.root} (process %s): use that one, stop it first, or name "
        "another data directory with FLEETCAST_DATA.",
    ):
        yield layout


@contextlib.contextmanager
def holding(path: Path, complaint: str) -> Iterator[None]:
    """Hold an exclusive lock on a file while the block runs; the kernel lets go of it when we die.

    Conflict with `complaint` (in which `%s` is the holder's pid) when another holds it.
    """
    if sys.platform == "win32":
        raise ConfigurationError("Fleetcast runs on Linux and macOS; on Windows, use it in WSL 2.")
    import fcntl  # not on every system

    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise ConfigurationError(f"The lock {path} cannot be opened: {error.strerror}.") from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Conflict(complaint.replace("%s", os.pread(handle, 20, 0).decode().strip() or "unknown")) from None
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(handle)
