"""The folder for sockets is short, private, and the same for everybody who asks."""

import os
from pathlib import Path

import pytest

from fleetcast.embedded.account import Account
from fleetcast.embedded.sockets import LONGEST_PATH, give_back, own_directory, socket_directory
from fleetcast.errors import ConfigurationError

ME = Account("me", os.geteuid(), os.getegid(), change=False)


@pytest.fixture
def deep(fresh: Path) -> Path:
    """A folder whose sockets would have too long a path."""
    folder = fresh / ("d" * LONGEST_PATH)
    folder.mkdir(parents=True)
    return folder


def test_the_run_folder_serves_where_its_path_is_short(fresh: Path) -> None:
    fresh.mkdir()
    folder = socket_directory(fresh, ME)
    assert folder == fresh / "sockets"
    assert folder.stat().st_mode & 0o777 == 0o700


def test_a_long_path_gets_a_folder_elsewhere_always_the_same(
    deep: Path, fresh: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(fresh))
    folder = socket_directory(deep, ME)
    assert folder.parent == fresh
    assert folder.stat().st_mode & 0o777 == 0o700
    folder.chmod(0o755)
    assert socket_directory(deep, ME) == folder
    assert folder.stat().st_mode & 0o777 == 0o700
    other = deep.with_name("e" * LONGEST_PATH)
    assert socket_directory(other, ME) != folder


def test_a_name_that_reads_as_a_list_gets_a_folder_elsewhere(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(fresh))
    (fresh / "a,b").mkdir(parents=True)
    assert "," not in str(socket_directory(fresh / "a,b", ME))


@pytest.mark.parametrize("trap", ["link", "file", "of another"])
def test_a_folder_that_somebody_else_laid_there_is_refused(
    deep: Path, fresh: Path, monkeypatch: pytest.MonkeyPatch, trap: str
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(fresh))
    folder = socket_directory(deep, ME)
    folder.rmdir()
    account = ME
    if trap == "link":
        folder.symlink_to(fresh)
    elif trap == "file":
        folder.touch()
    else:
        account = Account("other", os.geteuid() + 1, os.getegid(), change=False)
        folder.with_name(folder.name.replace(f"-{ME.uid}-", f"-{account.uid}-")).mkdir()
    with pytest.raises(ConfigurationError, match=r"(belongs to somebody else|cannot be made)"):
        socket_directory(deep, account)


def test_our_own_socket_lies_in_the_run_folder_or_where_its_path_is_short(
    deep: Path, fresh: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(fresh))
    assert own_directory(fresh, "own.sock") == fresh
    folder = own_directory(deep, "own.sock")
    assert folder.stat().st_uid == os.geteuid()
    assert len(os.fsencode(folder / "own.sock")) <= LONGEST_PATH
    give_back(folder, deep)
    assert not folder.exists()
    (fresh / "empty").mkdir()
    give_back(fresh / "empty", fresh / "empty")
    assert (fresh / "empty").exists(), "the run folder itself stays"


def test_no_short_folder_at_all_gives_one_sentence(deep: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fleetcast.embedded.sockets.LONGEST_PATH", 20)
    with pytest.raises(ConfigurationError, match=r"No folder has a path short enough.*FLEETCAST_DATA"):
        socket_directory(deep, ME)
