"""Which account the servers run as.

PostgreSQL refuses to run as root, and Valkey need not. An ordinary user runs both as himself; for root they run as
the existing account `nobody`. It must have a passwd entry: initdb looks its own name up.
"""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from fleetcast.errors import ConfigurationError

if sys.platform != "win32":
    import pwd

UNPRIVILEGED = "nobody"


@dataclass(frozen=True, slots=True)
class Account:
    """Who runs the servers. `change` says that we are root and must become somebody else."""

    name: str
    uid: int
    gid: int
    change: bool


def server_account(name: str = UNPRIVILEGED) -> Account:
    """The account for this process's servers. ConfigurationError when root has nobody to hand them to."""
    uid = os.geteuid()
    if uid == 0:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            entry = None
        if entry is None or entry.pw_uid == 0:
            raise ConfigurationError(
                f"PostgreSQL refuses to run as root, and this machine has no unprivileged account `{name}`: start "
                "Fleetcast as an ordinary user, or set DATABASE_URL and REDIS_URL to servers of your own."
            )
        return Account(entry.pw_name, entry.pw_uid, entry.pw_gid, change=True)
    try:
        return Account(pwd.getpwuid(uid).pw_name, uid, os.getegid(), change=False)
    except KeyError:
        raise ConfigurationError(
            f"The user id {uid} has no entry in /etc/passwd, and PostgreSQL needs one: add it, start Fleetcast as "
            "another user, or set DATABASE_URL and REDIS_URL to servers of your own."
        ) from None


def check_reachable(account: Account, path: Path) -> None:
    """ConfigurationError when the account cannot pass through one of the folders above `path`."""
    if not account.change:
        return
    for folder in reversed(path.parents):
        status = folder.stat()
        bit = 0o100 if status.st_uid == account.uid else 0o010 if status.st_gid == account.gid else 0o001
        if not status.st_mode & bit:
            raise ConfigurationError(
                f"The servers run as `{account.name}`, which may not enter {folder}: choose a data directory "
                "elsewhere with FLEETCAST_DATA (root's default is /var/lib/fleetcast)."
            )
