"""What every command promises: sentences, exit codes, JSON, no traces."""

import json
import os
import re
import signal
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from fleetcast.cli import main as entry
from tests.cli.conftest import Command

FLEETCAST = str(Path(sys.executable).with_name("fleetcast"))


def environment(tmp_path: Path, **more: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("FLEETCAST_") and k != "DATABASE_URL"}
    return kept | {"FLEETCAST_DATA": str(tmp_path)} | more


def test_the_installed_command_says_its_version_and_its_exit_codes() -> None:
    shown = subprocess.run([FLEETCAST, "--version"], capture_output=True, text=True, check=True, timeout=60)
    assert shown.stdout.strip() == f"fleetcast {version('fleetcast')}"
    helped = subprocess.run([FLEETCAST, "--help"], capture_output=True, text=True, check=True, timeout=60)
    for word in ("Exit codes", "device", "suppression", "message", "doctor", "workspace", "db"):
        assert word in helped.stdout


def test_an_unknown_command_is_a_sentence_and_exits_with_two(command: Command) -> None:
    unknown = command("frobnicate")
    assert unknown.code == 2
    assert "frobnicate" in unknown.err
    assert "Traceback" not in unknown.err
    told = command("device", "list", "--json", "--nonsense")
    assert told.code == 2
    assert "--nonsense" in json.loads(told.out)["error"]["message"]


def test_a_database_that_is_not_there_is_one_sentence_without_the_password(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://someone:s3cret-word@127.0.0.1:1/nothing")
    ended = command("device", "list")
    assert ended.code == 6
    assert ended.err.count("\n") == 1
    assert "127.0.0.1:1" in ended.err
    assert "s3cret-word" not in ended.err + ended.out


def test_f40_a_redis_that_is_not_there_is_named_and_never_replaced_silently(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://:s3cret-word@localhost:1/0")
    ended = command("device", "list", "--json")
    assert ended.code == 6
    error = json.loads(ended.out)["error"]
    assert error["type"] == "Unavailable"
    assert "localhost:1" in error["message"]
    assert "s3cret-word" not in ended.err + ended.out


def test_a_wrong_setting_is_named_and_exits_with_five(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "many")
    ended = command("device", "list")
    assert ended.code == 5
    assert "PORT" in ended.err


def test_an_unforeseen_error_is_a_sentence_and_its_trace_is_in_a_file(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def explode(*_: object, **__: object) -> None:
        raise ZeroDivisionError("password=hunter2")

    monkeypatch.setattr(entry, "app", explode)
    ended = command("device", "list")
    assert ended.code == 1
    assert "Traceback" not in ended.err
    assert ended.err.count("\n") == 1
    [path] = re.findall(r"in (/\S+errors\.log)", ended.err)
    assert "ZeroDivisionError" in Path(path).read_text()
    assert Path(path).stat().st_mode & 0o077 == 0
    shown = command("--debug", "device", "list")
    assert "Traceback" in shown.err
    assert json.loads(command("device", "list", "--json").out)["error"]["type"] == "Unforeseen"


def test_an_interrupt_ends_with_130_and_without_a_word(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(entry, "app", interrupt)
    ended = command("device", "list")
    assert (ended.code, ended.out, ended.err) == (130, "", "")


def _deaf_to_nothing() -> None:
    """What a shell starts in the background ignores Ctrl-C, as does all that this starts in turn."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_ctrl_c_in_the_middle_of_a_command_ends_with_130(tmp_path: Path) -> None:
    # A server that takes the connection and never answers keeps the command waiting.
    import socket

    with socket.create_server(("127.0.0.1", 0)) as deaf:
        url = f"postgresql://x@127.0.0.1:{deaf.getsockname()[1]}/x"
        started = subprocess.Popen(
            [FLEETCAST, "device", "list"],
            env=environment(tmp_path, DATABASE_URL=url, REDIS_URL="redis://127.0.0.1:1"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=_deaf_to_nothing,
        )
        try:
            deaf.settimeout(60)
            taken, _ = deaf.accept()
            with taken:
                started.send_signal(signal.SIGINT)
                out, err = started.communicate(timeout=60)
        finally:
            started.kill()
            started.wait()
    assert (started.returncode, out, err) == (130, "", "")


def test_a_reader_that_goes_away_ends_a_command_quietly(tmp_path: Path, database_url: str, redis_url: str) -> None:
    read, write = os.pipe()
    os.close(read)
    try:
        ended = subprocess.run(
            [FLEETCAST, "db", "version", "--json"],
            env=environment(tmp_path, DATABASE_URL=database_url, REDIS_URL=redis_url),
            stdout=write,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=60,
        )
    finally:
        os.close(write)
    assert ended.stderr == ""
    assert ended.returncode in {1, 141}


def test_the_schema_is_made_by_whatever_command_comes_first(
    command: Command, empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", empty_database_url)
    assert json.loads(command("db", "version", "--json").out)["schema"] == ""
    assert command("workspace", "list").code == 0
    told = json.loads(command("db", "version", "--json").out)
    assert told["schema"] == told["expected"]
    assert command("db", "migrate").out == f"The schema is at version {told['expected']}.\n"


PAGES = "fastapi uvicorn jinja2 fleetcast.api fleetcast.web.app fleetcast.services.accounts"
SECRETS = "pwdlib argon2 pyotp cryptography.fernet"


@pytest.mark.parametrize(
    ("loading", "without"),
    [
        ("main(['--version'])", "asyncpg redis fastapi liquid PIL alembic sqlalchemy"),
        ("main(['device', 'list', '--help'])", "fastapi uvicorn jinja2 liquid PIL alembic sqlalchemy"),
        ("main(['sender', '--help']); import fleetcast.engine.processes", f"{PAGES} {SECRETS} PIL sqlalchemy"),
        ("main(['scheduler', '--help']); import fleetcast.engine.processes", f"{PAGES} {SECRETS} PIL sqlalchemy"),
        (
            "main(['web', '--help']); import fleetcast.web.app",
            f"fleetcast.engine.sender {SECRETS} PIL sqlalchemy",
        ),
        ("import fleetcast.cli.up", f"fastapi uvicorn jinja2 {SECRETS}"),
    ],
)
def test_a_process_carries_only_what_it_needs(loading: str, without: str) -> None:
    asked = f"import sys; from fleetcast.cli.main import main; {loading}; print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True, timeout=60)
    assert "typer" in done.stderr.split()
    assert set(without.split()) & set(done.stderr.split()) == set()
