"""Where the servers' sockets are: a private folder with a short name.

A socket's path has 107 bytes at most, and PostgreSQL and its clients read commas as lists. A data directory that is
too deep, or oddly named, gets a folder elsewhere whose name is computed from its path, so every process finds it.
"""

import contextlib
import hashlib
import os
import stat
import sys
import tempfile
from pathlib import Path

from fleetcast.embedded.account import Account, check_reachable
from fleetcast.errors import ConfigurationError

LONGEST_PATH = 107 if sys.platform == "linux" else 103
"""Bytes of a Unix socket's path, without the closing zero."""
_LONGEST_NAME = "simulator.sock"


def socket_directory(run: Path, account: Account) -> Path:
    """The folder for the sockets, made if needed, closed to all but its owner (the servers' account)."""
    wanted = run / "sockets"
    if not _usable(wanted):
        mark = hashlib.sha256(os.fsencode(run)).hexdigest()[:12]
        base = Path("/tmp" if account.change else os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir())  # noqa: S108
        candidates = [folder / f"fleetcast-{account.uid}-{mark}" for folder in (base, Path("/tmp"))]  # noqa: S108
        usable = [folder for folder in candidates if _usable(folder) and folder.parent.is_dir()]
        if not usable:
            raise ConfigurationError(
                f"No folder has a path short enough for a socket ({LONGEST_PATH} bytes with its name): "
                "name a data directory with a shorter path with FLEETCAST_DATA."
            )
        wanted = usable[0]
    try:
        wanted.mkdir(mode=0o700, exist_ok=True)
        found = wanted.lstat()
        if account.change and stat.S_ISDIR(found.st_mode) and found.st_uid == 0:
            os.chown(wanted, account.uid, account.gid, follow_symlinks=False)
            found = wanted.lstat()
    except OSError as error:
        raise ConfigurationError(f"The folder for sockets {wanted} cannot be made: {error.strerror}.") from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != account.uid:
        raise ConfigurationError(f"{wanted} belongs to somebody else; it is needed for sockets: remove it.")
    if found.st_mode & 0o077:
        wanted.chmod(0o700)
    check_reachable(account, wanted / "socket")
    return wanted


def own_directory(run: Path, name: str) -> Path:
    """The folder for a socket of our own account: the run folder, or one elsewhere where its path is too long."""
    if len(os.fsencode(run / name)) <= LONGEST_PATH:
        return run
    return socket_directory(run, Account("", os.geteuid(), os.getegid(), change=False))


def give_back(folder: Path, run: Path) -> None:
    """Remove a folder that lies elsewhere, once nothing is in it."""
    if run not in (folder, folder.parent):
        with contextlib.suppress(OSError):
            folder.rmdir()


def _usable(folder: Path) -> bool:
    path = os.fsencode(folder / _LONGEST_NAME)
    return len(path) <= LONGEST_PATH and not set(path) & set(b',"')
