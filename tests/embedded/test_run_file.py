"""The run file names a Fleetcast that lives, and nothing else."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from fleetcast.embedded import run_file
from fleetcast.embedded.run_file import RunFile
from fleetcast.errors import ConfigurationError

URLS = ("postgresql://u:secret@h/d", "redis://:secret@h")


def test_what_was_written_is_read_until_it_is_removed(fresh: Path) -> None:
    assert run_file.read(fresh) is None
    told = RunFile(*URLS, simulator_socket=Path("/s"), web_url="http://127.0.0.1:8080", pid=os.getpid())
    run_file.write(fresh, RunFile(*URLS))
    run_file.write(fresh, told)
    assert run_file.read(fresh) == told
    assert [path.name for path in (fresh / "run").iterdir()] == ["fleetcast.json"]
    run_file.remove(fresh)
    run_file.remove(fresh)
    assert run_file.read(fresh) is None


def test_only_its_owner_may_read_it_and_no_log_shows_a_password(fresh: Path) -> None:
    old = os.umask(0)
    try:
        run_file.write(fresh, RunFile(*URLS))
    finally:
        os.umask(old)
    assert (fresh / "run" / "fleetcast.json").stat().st_mode & 0o777 == 0o600
    assert "secret" not in repr(run_file.read(fresh))


def test_the_file_of_a_dead_fleetcast_counts_for_nothing(fresh: Path) -> None:
    with subprocess.Popen(["sleep", "300"]) as other:
        run_file.write(fresh, RunFile(*URLS, pid=other.pid))
        assert run_file.read(fresh) is not None
        other.kill()
    assert run_file.read(fresh) is None


def test_a_pid_that_another_program_got_since_counts_for_nothing(fresh: Path) -> None:
    run_file.write(fresh, RunFile(*URLS))
    path = fresh / "run" / "fleetcast.json"
    told = json.loads(path.read_text())
    path.write_text(json.dumps(told | {"started": "yesterday"}))
    assert run_file.read(fresh) is None


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "{}", '{"pid": 1, "started": null}', '{"started": "x"}'])
def test_a_file_that_cannot_be_read_counts_for_nothing(fresh: Path, text: str) -> None:
    (fresh / "run").mkdir(parents=True)
    (fresh / "run" / "fleetcast.json").write_text(text)
    assert run_file.read(fresh) is None


def test_a_place_that_cannot_be_written_gives_one_sentence(fresh: Path) -> None:
    fresh.mkdir()
    (fresh / "run").touch()
    assert run_file.read(fresh) is None
    with pytest.raises(ConfigurationError, match="cannot be written"):
        run_file.write(fresh, RunFile(*URLS))
