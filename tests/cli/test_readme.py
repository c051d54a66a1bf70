"""The README's first campaign, typed as it stands there."""

import re
import shlex
from pathlib import Path

import pytest

from tests.cli.conftest import Command

ROOT = Path(__file__).resolve().parents[2]


def walk() -> list[list[str]]:
    """The commands of the README's section on a first campaign, in order; settings as `NAME=value` words."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    section = readme.split("## A campaign of your own")[1].split("\n## ")[0]
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
