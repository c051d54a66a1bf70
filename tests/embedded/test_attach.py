"""A command finds its servers: given, running, or for its own time."""

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import SecretStr

from fleetcast.embedded import run_file
from fleetcast.embedded.attach import attached
from fleetcast.embedded.data_directory import locked
from fleetcast.embedded.run_file import RunFile
from fleetcast.embedded.servers import EmbeddedServers
from fleetcast.errors import Conflict
from fleetcast.queue.client import check_server as check_redis
from fleetcast.settings import Settings
from fleetcast.store.connection import check_server as check_postgres
from tests.embedded.processes import Holder

DATABASE, REDIS = SecretStr("postgresql://given/db"), SecretStr("redis://given")


def urls(settings: Settings) -> tuple[str, str]:
    assert settings.database_url is not None
    assert settings.redis_url is not None
    return settings.database_url.get_secret_value(), settings.redis_url.get_secret_value()


def test_urls_that_were_given_stay_and_nothing_is_touched(fresh: Path) -> None:
    settings = Settings(data=fresh, database_url=DATABASE, redis_url=REDIS)
    with attached(settings) as found:
        assert found == settings
    assert not fresh.exists()


async def test_with_nothing_running_the_servers_run_for_the_block(data: Path) -> None:
    settings = Settings(data=data, port=1234)
    with attached(settings) as found:
        assert found.port == 1234
        assert (await check_postgres(urls(found)[0])).startswith("18.")
        assert (await check_redis(urls(found)[1])).startswith("9.")
        with pytest.raises(Conflict, match="already running"), locked(data):
            pass
    assert settings.database_url is None
    with locked(data), EmbeddedServers(data, postgres=False):
        pass


async def test_only_the_missing_server_is_started(data: Path) -> None:
    with attached(Settings(data=data, database_url=DATABASE)) as found:
        assert urls(found)[0] == DATABASE.get_secret_value()
        assert (await check_redis(urls(found)[1])).startswith("9.")
    assert not (data / "postgres").exists()


def test_a_running_fleetcast_is_found_and_a_given_url_still_wins(fresh: Path) -> None:
    with locked(fresh):
        run_file.write(fresh, RunFile("postgresql://running/db", "redis://running"))
        with attached(Settings(data=fresh)) as found:
            assert urls(found) == ("postgresql://running/db", "redis://running")
        with attached(Settings(data=fresh, redis_url=REDIS)) as found:
            assert urls(found) == ("postgresql://running/db", "redis://given")


def test_a_fleetcast_that_just_starts_is_waited_for(fresh: Path) -> None:
    with locked(fresh):
        soon = threading.Timer(0.2, lambda: run_file.write(fresh, RunFile("postgresql://running/db", "redis://r")))
        soon.start()
        with attached(Settings(data=fresh), patience=30) as found:
            assert urls(found)[0] == "postgresql://running/db"
        soon.join()


def test_a_directory_in_use_by_a_silent_one_is_refused_in_the_end(fresh: Path) -> None:
    with locked(fresh), pytest.raises(Conflict, match="already running"), attached(Settings(data=fresh), patience=0):
        pass


async def test_a_stale_run_file_of_a_killed_fleetcast_is_passed_over(data: Path, hold: Callable[..., Holder]) -> None:
    holder = hold(data, "--attach")
    database_url, redis_url = str(holder.said["database_url"]), str(holder.said["redis_url"])
    run_file.write(data, RunFile(database_url, redis_url, pid=holder.process.pid))
    holder.process.kill()
    holder.process.wait()
    with attached(Settings(data=data), patience=0) as found:
        assert (await check_postgres(urls(found)[0])).startswith("18.")


def test_an_error_in_the_block_is_the_commands_own(fresh: Path) -> None:
    with locked(fresh):
        run_file.write(fresh, RunFile("postgresql://running/db", "redis://running"))
        with pytest.raises(Conflict, match="mine"), attached(Settings(data=fresh)):
            raise Conflict("mine")


WINDOWS = """
import asyncio, os, pathlib, signal, sys, structlog, pydantic_settings, importlib.metadata, multiprocessing, tempfile
from fleetcast.settings import Settings
for name in ("pwd", "fcntl", "resource"):
    sys.modules[name] = None
for owner, name in ((signal, "SIGQUIT"), (signal, "SIGKILL"), (os, "geteuid"), (os, "getuid"), (os, "uname")):
    delattr(owner, name)
sys.platform = "win32"
from fleetcast.embedded.attach import attached
from fleetcast.errors import ConfigurationError
with attached(Settings(database_url="postgresql://a", redis_url="redis://b")) as found:
    assert found.redis_url
try:
    with attached(Settings(data=pathlib.Path(sys.argv[1]))):
        pass
except ConfigurationError as error:
    print(error)
"""


def test_on_windows_external_servers_work_and_embedded_ones_are_refused_in_one_sentence(fresh: Path) -> None:
    run = subprocess.run([sys.executable, "-c", WINDOWS, fresh], capture_output=True, text=True, check=False)
    assert run.stdout == "Fleetcast runs on Linux and macOS; on Windows, use it in WSL 2.\n", run.stderr
