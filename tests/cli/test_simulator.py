"""`fleetcast simulator`, as a person starts it."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleetcast.transports.simulator.ledger import Ledger
from fleetcast.transports.simulator.protocol import somebody_listens

FLEETCAST = [sys.executable, "-c", "from fleetcast.cli.main import run; run()", "simulator"]


@pytest.fixture
def folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="sim-", dir="/tmp"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


def test_it_runs_in_the_foreground_and_says_where(folder: Path) -> None:
    command = [*FLEETCAST, "--with-parent", "--seed", "3", "--latency-ms", "0-5"]
    environment = os.environ | {"FLEETCAST_DATA": str(folder)}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        said = process.stdout.readline().decode()
        socket, ledger = folder / "run" / "simulator.sock", folder / "simulator" / "ledger.jsonl"
        assert str(socket) in said
        assert str(ledger) in said
        assert somebody_listens(socket)
        process.stdin.close()
        assert process.wait(10) == 0
    assert list(Ledger.read(ledger)) == []
    assert not socket.exists()


@pytest.mark.parametrize(
    ("arguments", "mode", "code", "words"),
    [
        (["--profile", "wild"], "standard", 2, "there is no profile 'wild'"),
        (["--latency-ms", "80-20"], "standard", 2, "latency"),
        (["--profile", "rough"], "production", 5, "production mode refuses"),
        (["--socket", "/tmp/" + "x" * 120], "standard", 5, "a socket's path may have 107"),
    ],
)
def test_wrong_options_are_one_sentence(folder: Path, arguments: list[str], mode: str, code: int, words: str) -> None:
    environment = os.environ | {"FLEETCAST_DATA": str(folder), "FLEETCAST_MODE": mode}
    done = subprocess.run([*FLEETCAST, *arguments], capture_output=True, text=True, env=environment, timeout=30)
    assert done.returncode == code
    assert words in done.stderr
    assert "Traceback" not in done.stderr
