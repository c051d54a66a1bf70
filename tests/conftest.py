"""Real servers for every test: one PostgreSQL and one Valkey a test process, one database a test.

The schema is migrated once into a template; a test's database is a copy of it, dropped afterwards.
"""

import gc
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import FrameType
from uuid import uuid4

import pytest
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher

from fleetcast.domain.identifiers import WorkspaceId
from fleetcast.embedded.servers import EmbeddedServers
from fleetcast.runtime import Runtime
from fleetcast.services.accounts import passwords
from fleetcast.store.connection import Database
from tests.fresh import Databases, fresh_runtime

# What a disk does after a power cut is not what these tests ask.
_QUICK = {
    "fsync": "off",
    "full_page_writes": "off",
    "shared_buffers": "128MB",
    "autovacuum_naptime": "60s",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "file_copy_method": "clone",
}
_MEMORY = Path("/dev/shm")
_ENOUGH = 2 << 30
"""Bytes that must be free in memory for the servers' files to be there; copying a database is ten times as fast."""


def pytest_configure() -> None:
    """A person's own settings must not reach the tests; one that forbids Python to keep what it compiled would make
    each of the hundreds of processes that are started compile everything again.
    """
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    for name in list(os.environ):
        if name == "FLEETCAST_MODEL_EXAMPLES":  # how long the model of the queue runs is no setting of Fleetcast
            continue
        if name.startswith("FLEETCAST_") or name in {"DATABASE_URL", "REDIS_URL", "PORT"}:
            del os.environ[name]
    gc.disable()  # all that is imported and collected now stays (`pytest_collection_finish`)


LONGEST_FIRST = (
    "engine/test_virtual_month.py",
    "chaos/test_crash_table_sender.py",
    "chaos/test_crash_table_scheduler.py",
    "chaos/test_servers.py",
    "chaos/test_kills.py",
    "browser/test_pages.py",
    "chaos/test_crash_table_takeover.py",
    "bench/test_bench.py",
    "api/test_fuzz.py",
    "engine/test_sending.py",
    "transports/linked/test_fleet.py",
    "transports/linked/test_contract.py",
    "transports/linked/test_life.py",
    "security/test_table_logs.py",
    "cli/test_up.py",
    "cli/test_demo.py",
    "security/test_isolation.py",
    "models/test_queue_model.py",
    "engine/test_leases.py",
    "embedded/test_servers.py",
    "browser/test_windows.py",
    "browser/test_chart.py",
    "chaos/test_nodes.py",
    "docs/test_api_guide.py",
    "security/test_table_fairness.py",
    "testbed/test_rotation.py",
)
"""Below tests/; begun first, so that all processes end at about the same time. A file is one process's work."""


@pytest.hookimpl(trylast=True)  # after they were shuffled
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files that take long in front; `--no-loadscope-reorder` keeps them there."""
    places = {Path("tests", name): place for place, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: places.get(Path(item.location[0]), len(places)))


def pytest_collection_finish() -> None:
    """What was imported and collected stays to the end: nobody need look through it for garbage, nor for the little
    that a test leaves as often as in a program that runs for weeks.
    """
    gc.freeze()
    gc.set_threshold(10_000)
    gc.enable()


def _interrupted(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Ctrl-C as ever, but not by Python's own handler: each run of a loop (there is one for each fixture) would take
    that one's place, and `signal` writes out what it replaces, with all that the fixture has made.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupted)


@pytest.fixture(scope="session")
def short_directory() -> Iterator[Path]:
    """A folder with a short path (for sockets) that another account may pass through, as root's own data directory."""
    folder = Path(tempfile.mkdtemp(prefix="fleetcast-", dir=_MEMORY if _memory_serves() else "/tmp"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def _memory_serves() -> bool:
    """Whether there is a file system in memory that has room and runs programs (the servers may be copied into it)."""
    if not os.access(_MEMORY, os.W_OK):
        return False
    facts = os.statvfs(_MEMORY)
    return facts.f_bavail * facts.f_frsize >= _ENOUGH and not facts.f_flag & getattr(os, "ST_NOEXEC", 0)


@pytest.fixture(scope="session")
def servers(short_directory: Path) -> Iterator[EmbeddedServers]:
    """The servers of this test process. Tests that stop or kill servers start their own."""
    with EmbeddedServers(short_directory / "servers", postgres_settings=_QUICK) as running:
        yield running


@pytest.fixture(scope="session")
async def databases(servers: EmbeddedServers) -> AsyncIterator[Databases]:
    """Makes the databases of this test process."""
    async with Databases(servers) as made:
        yield made


@pytest.fixture
async def database_url(databases: Databases) -> AsyncIterator[str]:
    """postgresql://… of a fresh, migrated database."""
    async with databases.fresh() as url:
        yield url


@pytest.fixture
async def empty_database_url(databases: Databases) -> AsyncIterator[str]:
    """postgresql://… of a fresh database without any schema."""
    async with databases.fresh(schema=False) as url:
        yield url


@pytest.fixture(scope="session")
def redis_url(servers: EmbeddedServers) -> str:
    """unix://… of this test process's Valkey."""
    return servers.redis_url


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[Database]:
    """The fresh database, opened."""
    async with Database(database_url) as database:
        yield database


@pytest.fixture
async def runtime(db: Database, redis_url: str, short_directory: Path) -> AsyncIterator[Runtime]:
    """A Runtime on the fresh database, with keys and a data directory of its own."""
    async with fresh_runtime(db, redis_url, short_directory) as opened:
        yield opened


_LIGHT = PasswordHash((Argon2Hasher(time_cost=1, memory_cost=8, parallelism=1),))


@pytest.fixture
def quick_hashing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Passwords are hashed with next to no work; for tests that make many and ask nothing of the hash."""
    monkeypatch.setattr(passwords, "_argon2", lambda: _LIGHT)


@pytest.fixture
async def workspace(db: Database) -> WorkspaceId:
    """The id of a workspace."""
    async with db.connection() as connection:
        made = await connection.fetchval(
            "INSERT INTO workspaces (name) VALUES ($1) RETURNING id", f"Test {uuid4().hex[:6]}"
        )
    return WorkspaceId(made)
