"""The real command line, run in this process against this test's own database."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest
import structlog

from fleetcast.cli.main import main


@dataclass(frozen=True)
class Ended:
    """What a command left behind."""

    code: int
    out: str
    err: str


Command = Callable[..., Ended]


@pytest.fixture
def quiet_logging() -> Iterator[None]:
    """A command sets up the logs of its process; this process is not its own."""
    root = logging.getLogger()
    before = root.handlers, root.level
    yield
    root.handlers, root.level = before
    structlog.reset_defaults()


@pytest.fixture
def command(
    quiet_logging: None,
    database_url: str,
    redis_url: str,
    short_directory: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Command:
    """Run one command line; returns exit code, stdout and stderr."""
    own = uuid4().hex[:12]
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("REDIS_URL", redis_url)
    monkeypatch.setenv("FLEETCAST_REDIS_PREFIX", f"test-{own}")
    monkeypatch.setenv("FLEETCAST_DATA", str(short_directory / own))

    def run(*arguments: str) -> Ended:
        capsys.readouterr()
        code = main(list(arguments))
        captured = capsys.readouterr()
        return Ended(code, captured.out, captured.err)

    return run
