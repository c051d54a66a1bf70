"""The data directory: closed to others, one Fleetcast at a time, an id that stays."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fleetcast.embedded.data_directory import locked, node_id, prepare
from fleetcast.errors import ConfigurationError, Conflict

root = os.geteuid() == 0

OWNER = """
import os, pathlib, signal, sys
from fleetcast.embedded.data_directory import locked
with locked(pathlib.Path(sys.argv[1])):
    if sys.argv[2] == "die":
        os.kill(os.getpid(), signal.SIGKILL)
"""


def test_everything_in_it_is_closed_to_others(fresh: Path) -> None:
    old = os.umask(0)  # the most careless shell there is
    try:
        with locked(fresh) as layout:
            modes = {path.name: path.stat().st_mode & 0o777 for path in (layout.root, *layout.root.iterdir())}
    finally:
        os.umask(old)
    passable = 0o711 if root else 0o700
    assert modes == {
        fresh.name: passable,
        "run": passable,
        "bin": passable,
        "log": 0o700,
        "sessions": 0o700,
        "simulator": 0o700,
        "spool": 0o700,
        "uploads": 0o700,
        "lock": 0o600,
        "node_id": 0o600,
    }


def test_what_a_demo_or_a_failed_command_left_is_no_stranger(fresh: Path) -> None:
    (fresh / "demo").mkdir(parents=True)  # `fleetcast demo` keeps its own data below the ordinary ones
    (fresh / "log").mkdir()
    (fresh / "log" / "errors.log").touch()
    (fresh / "secret.key").touch()  # made by the first secret, perhaps while PostgreSQL was somewhere else
    with locked(fresh):
        assert (fresh / "node_id").exists()


def test_a_second_fleetcast_is_refused_with_the_pid_of_the_first(fresh: Path) -> None:
    with locked(fresh):
        second = subprocess.run(
            [sys.executable, "-c", OWNER, fresh, "leave"], capture_output=True, text=True, check=False
        )
        assert f"already running on {fresh} (process {os.getpid()}): use that one, stop it first" in second.stderr
        assert "FLEETCAST_DATA" in second.stderr
        with pytest.raises(Conflict), locked(fresh):
            pass
    with locked(fresh):
        pass


def test_a_killed_owner_keeps_no_lock(fresh: Path) -> None:
    assert subprocess.run([sys.executable, "-c", OWNER, fresh, "die"], check=False).returncode == -9
    with locked(fresh):
        pass


def test_the_node_keeps_its_id(fresh: Path) -> None:
    prepare(fresh)
    first = node_id(fresh)
    assert len(first) == 32
    prepare(fresh)
    assert node_id(fresh) == first


def test_an_id_that_somebody_emptied_is_never_drawn_anew_in_silence(fresh: Path) -> None:
    prepare(fresh)
    assert not list((fresh / "run").iterdir())
    (fresh / "node_id").write_text("")
    with pytest.raises(ConfigurationError, match=r"node_id is empty: write this node's id into it"):
        prepare(fresh)


def test_many_processes_that_ask_at_once_agree_on_the_id(fresh: Path) -> None:
    fresh.mkdir()
    with ThreadPoolExecutor(8) as threads:
        assert len(set(threads.map(lambda _: node_id(fresh), range(64)))) == 1


@pytest.mark.parametrize("name", ["letters.txt", "src"])
def test_a_directory_of_other_things_is_refused_and_left_as_it_is(fresh: Path, name: str) -> None:
    fresh.mkdir()
    fresh.chmod(0o755)
    (fresh / name).touch()
    with pytest.raises(ConfigurationError, match=rf"holds other things \({name}\).*FLEETCAST_DATA"):
        prepare(fresh)
    assert fresh.stat().st_mode & 0o777 == 0o755
    assert [path.name for path in fresh.iterdir()] == [name]


def test_a_path_that_is_a_file_gives_one_sentence(fresh: Path) -> None:
    fresh.touch()
    with pytest.raises(ConfigurationError, match="cannot be used: File exists"):
        prepare(fresh)
    fresh.unlink()


@pytest.mark.parametrize("character", ["$", '"', "`", "\\", "\n"])
def test_a_name_that_initdb_would_give_to_a_shell_is_refused(fresh: Path, character: str) -> None:
    with pytest.raises(ConfigurationError, match="has a character in its name"):
        prepare(fresh / f"a{character}(touch b)")
    assert not fresh.exists()


def test_a_home_directory_may_be_named_with_a_tilde(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(fresh))
    assert prepare(Path("~/data")).root == fresh / "data"
