"""`fleetcast demo` as a person runs it: a verdict, an exit code, and nobody else on the same data."""

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from fleetcast.embedded.sockets import LONGEST_PATH
from tests.process_tree import ProcessTree, home_of_its_own, is_empty, processes_of

TINY = ("--devices", "2", "--leads", "12", "--min-delay", "0", "--max-delay", "0.05")


@pytest.fixture
def home(short_directory: Path) -> Iterator[Path]:
    with home_of_its_own(short_directory, uuid4().hex[:8]) as home:
        yield home


@pytest.fixture
def far_home(home: Path) -> Path:
    """A data directory in which no socket could have its place."""
    far = home / ("far-" * 30)
    assert len(str(far)) > LONGEST_PATH
    far.mkdir(mode=0o711)
    return far


async def test_the_demo_says_what_became_of_every_message_even_in_a_directory_with_a_long_path(far_home: Path) -> None:
    run = ProcessTree(far_home, "demo", *TINY)
    assert await run.hastened_end() == 0, run.out + run.err
    lines = run.out.splitlines()
    assert lines[-1] == "All checks hold."
    assert "0 twice, 0 lost, 0 unaccounted. Invariants broken: 0." in lines[-2]
    assert any(line.split() == ["planned", "12"] for line in lines)
    assert processes_of(far_home) == []


async def test_a_ledger_that_disagrees_makes_the_exit_code_one(home: Path) -> None:
    first = ProcessTree(home, "demo", "--json", *TINY)
    assert await first.hastened_end() == 0, first.out + first.err
    assert first.result()["holds"] is True
    accepted = next(line for line in first.ledger.read_text().splitlines() if '"accepted"' in line)
    with first.ledger.open("a") as ledger:
        ledger.write(accepted + "\n")
    second = ProcessTree(home, "demo", "--json", *TINY)
    assert await second.hastened_end() == 1, second.out + second.err
    result = second.result()
    assert (result["holds"], len(result["ledger"]["twice"]), result["ledger"]["lost"]) == (False, 1, [])
    assert (result["campaign"], result["planned"], result["resumed"]) == ("Spring greetings 2", 12, False)


async def test_a_second_demo_on_the_same_data_is_refused_by_the_pid_of_the_first(home: Path) -> None:
    first = ProcessTree(home, "demo", "--json", *TINY[:2], "--leads", "100", "--min-delay", "1", "--max-delay", "2")
    await first.has_accepted(1)
    second = ProcessTree(home, "demo", *TINY)
    assert await second.end() == 4
    assert second.out == ""
    assert "already running" in second.err
    assert f"process {first.process.pid}" in second.err
    assert len(second.err.splitlines()) == 1


async def test_production_mode_refuses_the_demo(home: Path) -> None:
    run = ProcessTree(home, "demo", FLEETCAST_MODE="production")
    assert await run.end() == 4
    assert "not for production" in run.err
    assert is_empty(home)
