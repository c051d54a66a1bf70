"""The README's first campaign and the sequence beside it, typed as they stand there."""

import asyncio
import re
import shlex
from pathlib import Path

import pytest

from tests.cli.conftest import Command
from tests.fresh import execute

ROOT = Path(__file__).resolve().parents[2]


def walk(heading: str = "A campaign of your own") -> list[list[str]]:
    """The commands of a section of the README, in order; settings as `NAME=value` words."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    section = readme.split(f"## {heading}\n")[1].split("\n## ")[0]
    [block] = re.findall(r"```\n(.*?)```", section, re.DOTALL)
    return [shlex.split(line) for line in block.splitlines()]


def test_a_first_campaign_goes_as_the_readme_says(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    export, *steps = walk()
    name, _, value = export[-1].partition("=")
    monkeypatch.setenv(name, value)
    said = {}
    for program, *arguments in steps:
        assert program == "fleetcast"
        ended = command(*arguments)
        assert ended.code == 0, f"{arguments}: {ended.err}"
        said[" ".join(arguments[:2])] = ended.out
    assert len(said) == 7
    assert "5,000" in said["leads import"]
    assert "Hello " in said["campaign preview"]
    assert "Spring" in said["status"]


def test_a_sequence_beside_it_goes_as_the_readme_says(
    command: Command, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    export, *steps = walk()
    name, _, value = export[-1].partition("=")
    monkeypatch.setenv(name, value)
    for _, *arguments in steps[:2]:  # a workspace and a device
        assert command(*arguments).code == 0
    asyncio.run(execute(database_url, "UPDATE devices SET state = 'online'"))
    said = {}
    for program, *arguments in walk("A sequence beside it"):
        assert program == "fleetcast"
        ended = command(*arguments)
        assert ended.code == 0, f"{arguments}: {ended.err}"
        said[arguments[1]] = ended.out
    assert "09:00" in said["preview"]
    assert "is active" in said["activate"]
    assert "How was your first class?" not in said["report"]
