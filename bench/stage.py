"""Where a benchmark plays: embedded servers and parts of Fleetcast in a folder of their own, gone at the end.

Separate from what is measured, because every benchmark needs the same stage and none may leave anything behind.
"""

import asyncio
import atexit
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from bench import usage
from fleetcast.embedded.data_directory import prepare
from fleetcast.embedded.servers import EmbeddedServers
from fleetcast.queue import client as redis_client
from fleetcast.settings import Settings
from fleetcast.store import connection as postgres_client
from fleetcast.store.schema import migrate

POSTGRES = {"shared_buffers": "1500MB", "max_wal_size": "8GB"}
"""Over Fleetcast's own defaults: tables of a million rows stay in memory, and no checkpoint is forced by WAL alone."""
ROOT = Path(__file__).resolve().parents[1]
STOP_SECONDS = 30.0
_AS_THEY_ARE = {"web": ("fleetcast", "web", "--with-parent")}
"""Parts that need no transport run as the command that a person would start."""


@dataclass(frozen=True, slots=True)
class Stage:
    """Running servers with a migrated database."""

    servers: EmbeddedServers
    settings: Settings
    postgres_settings: Mapping[str, str]
    versions: Mapping[str, str]
    """Of PostgreSQL and Valkey."""

    @property
    def database_url(self) -> str:
        """postgresql://… of the empty, migrated database."""
        return self.servers.database_url

    def cpu(self) -> dict[str, float]:
        """CPU seconds so far of both servers, with PostgreSQL's backends."""
        pids = {"postgres": self.servers.postgres_pid, "valkey": self.servers.valkey_pid}
        return {name: usage.family_cpu_seconds(pid) for name, pid in pids.items() if pid is not None}


@contextmanager
def folder() -> Iterator[Path]:
    """A temporary folder that the servers' account may pass through, on the disk that temporary files are on."""
    made = Path(tempfile.mkdtemp(prefix="fleetcast-bench-"))
    made.chmod(0o711)
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


@cache
def _made() -> Path:
    """Servers' data with the schema in it, as a clean stop left it; made once, copied for each benchmark."""
    place = Path(tempfile.mkdtemp(prefix="fleetcast-bench-"))
    place.chmod(0o711)
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    with EmbeddedServers(place / "servers", valkey=False) as servers:
        asyncio.run(migrate(servers.database_url))
    return place / "servers"


def _copied(data: Path) -> Path:
    """A data directory for fresh servers."""
    made = prepare(_made())
    layout = prepare(data)
    subprocess.run(["cp", "-a", made.postgres, layout.postgres], check=True)  # whoever owns them
    shutil.copytree(made.bin, layout.bin, copy_function=os.link, dirs_exist_ok=True)
    return data


@contextmanager
def stage(more: Mapping[str, str] | None = None) -> Iterator[Stage]:
    """Servers for one benchmark; `more` goes over `POSTGRES`."""
    given = POSTGRES | dict(more or {})
    with folder() as place, EmbeddedServers(_copied(place / "servers"), postgres_settings=given) as servers:
        versions = asyncio.run(server_versions(servers.database_url, servers.redis_url))
        node = place / "node"
        node.mkdir()
        settings = Settings(
            database_url=servers.database_url,
            redis_url=servers.redis_url,
            data=node,
            log_level="warning",
        )
        yield Stage(servers, settings, given, versions)


async def server_versions(database_url: str, redis_url: str) -> dict[str, str]:
    """Which PostgreSQL and which Valkey answer there."""
    return {
        "postgresql": await postgres_client.check_server(database_url),
        "valkey": await redis_client.check_server(redis_url),
    }


class Parts:
    """Real processes of Fleetcast, by name, for as long as the block runs."""

    def __init__(self, stage: Stage, *names: str, more: Mapping[str, str] | None = None) -> None:
        self._stage = stage
        self._names = names
        self._more = dict(more or {})
        """Further environment variables."""
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> "Parts":
        settings = self._stage.settings
        assert settings.database_url is not None
        assert settings.redis_url is not None
        env = (
            os.environ
            | {
                "DATABASE_URL": settings.database_url.get_secret_value(),
                "REDIS_URL": settings.redis_url.get_secret_value(),
                "FLEETCAST_DATA": str(settings.data),
                "FLEETCAST_LOG_LEVEL": settings.log_level,
                "PORT": str(settings.port),
            }
            | self._more
        )
        with ExitStack() as stack:
            stack.callback(self.stop)
            for number, name in enumerate(self._names):
                key = name if name not in self._running else f"{name}_{number}"
                self._running[key] = subprocess.Popen(
                    [sys.executable, "-m", *_AS_THEY_ARE.get(name, ("bench.part", name))],
                    cwd=ROOT,
                    env=env,
                    stdin=subprocess.PIPE,
                    start_new_session=True,
                )
            stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def cpu(self) -> dict[str, float]:
        """CPU seconds so far, by name."""
        return {name: usage.cpu_seconds(child.pid) for name, child in self._running.items()}

    def memory(self, name: str) -> int:
        """Bytes of one part: its proportional set size."""
        return usage.pss_bytes([self._running[name].pid])

    def check(self) -> None:
        """Raises RuntimeError when a part has ended by itself: nothing that follows would be a measurement."""
        for name, child in self._running.items():
            if child.poll() is not None:
                raise RuntimeError(f"{name} ended by itself with exit code {child.returncode}")

    def stop(self) -> None:
        """End all, those that ignore it by force. Idempotent."""
        for child in self._running.values():
            child.terminate()
        for child in self._running.values():
            try:
                child.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
            if child.stdin is not None:
                child.stdin.close()
        self._running.clear()


async def until(
    condition: Callable[[], Awaitable[bool]],
    what: str,
    *,
    seconds: float,
    every: float = 0.1,
    parts: Parts | None = None,
) -> None:
    """Wait for something to be so, looking again `every` so many seconds. Raises TimeoutError that says for what."""
    try:
        async with asyncio.timeout(seconds):
            while not await condition():
                if parts is not None:
                    parts.check()
                await asyncio.sleep(every)
    except TimeoutError:
        raise TimeoutError(f"waited {seconds:g} s for this, in vain: {what}") from None
