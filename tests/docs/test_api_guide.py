"""The page for newcomers to the API: everything it shows is run, as it stands there, against a real Fleetcast."""

import asyncio
import json
import os
import re
import shutil
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import pytest

from tests.process_tree import ProcessTree, eventually, home_of_its_own

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "api.md"
ADDRESS = "http://127.0.0.1:8080"
MARK = "--- block {} ---"
SECONDS = 240.0
RUNS = re.compile(r"Fleetcast runs\. The dashboard: (http://\S+)")


@dataclass(frozen=True)
class Block:
    """A fenced block of the page."""

    language: str
    text: str
    line: int


def blocks() -> list[Block]:
    """All of them, in order."""
    page = PAGE.read_text(encoding="utf-8")
    return [
        Block(found[1], found[2], page.count("\n", 0, found.start()) + 1)
        for found in re.finditer(r"^```(\w*)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    ]


def script(address: str) -> str:
    """The page's commands and programs as one script, what each prints behind a mark."""
    lines = ["set -euo pipefail"]
    for number, block in enumerate(blocks()):
        text = block.text.replace(ADDRESS, address)
        if block.language == "sh":
            lines += [f"echo '{MARK.format(number)}'", text]
        elif block.language == "python":
            lines += [f"echo '{MARK.format(number)}'", f"python - <<'THE_END'\n{text}THE_END"]
    return "\n".join(lines)


def is_sketch(sketch: Any, whole: Any, place: str = "") -> list[str]:
    """Where a shown answer says what the real one does not; `…` in a text stands for what varies."""
    if isinstance(sketch, dict):
        if not isinstance(whole, dict):
            return [f"{place} is no object"]
        missing = [f"{place}.{name} is not there" for name in sketch if name not in whole]
        return missing + [w for k in sketch if k in whole for w in is_sketch(sketch[k], whole[k], f"{place}.{k}")]
    if isinstance(sketch, list):
        if not isinstance(whole, list) or len(whole) < len(sketch):
            return [f"{place} is shorter"]
        return [w for i, each in enumerate(sketch) for w in is_sketch(each, whole[i], f"{place}[{i}]")]
    same = like(sketch, whole) if isinstance(sketch, str) and isinstance(whole, str) else sketch == whole
    return [] if same else [f"{place} is {whole!r}, not {sketch!r}"]


def like(shown: str, real: str) -> bool:
    """Whether a text is as it is shown; `…` stands for anything."""
    return re.fullmatch(re.escape(shown).replace("…", ".*"), real, re.DOTALL) is not None


async def answers(address: str) -> bool:
    """Whether the web process listens: a person would not have typed the first command before."""
    async with httpx2.AsyncClient() as client:
        try:
            return (await client.get(f"{address}/health")).status_code == 200
        except httpx2.TransportError:
            return False


@pytest.fixture(scope="module")
async def printed(short_directory: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[dict[int, str]]:
    """What each block of the page prints when the whole page is followed."""
    folder = tmp_path_factory.mktemp("newcomer")
    with home_of_its_own(short_directory, uuid4().hex[:8]) as home:
        run = ProcessTree(home, "up", PORT="0")
        await eventually(lambda: RUNS.search(run.out) is not None or run.ended, "Fleetcast runs", 120)
        found = RUNS.search(run.out)
        assert found, run.err
        await eventually(lambda: answers(found[1]), f"it answers at {found[1]}")
        (folder / ".venv").symlink_to(sys.prefix)
        environment = os.environ | {"FLEETCAST_DATA": str(home), "PYTHONPATH": str(ROOT / "src")}
        process = await asyncio.create_subprocess_exec(
            str(shutil.which("bash")),
            "-c",
            script(found[1]),
            cwd=folder,
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(SECONDS):
                out, err = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
        said = out.decode()
        assert process.returncode == 0, f"{said[-3000:]}\n{err.decode()[-3000:]}"
        parts = re.split(MARK.format(r"(\d+)") + "\n", said)
        yield {int(parts[i]): parts[i + 1] for i in range(1, len(parts), 2)}


async def test_the_page_can_be_followed_from_the_first_line_to_the_last(printed: dict[int, str]) -> None:
    assert [b.language for b in blocks()].count("sh") >= 8
    assert [b.language for b in blocks()].count("python") >= 2
    assert all(block.language in {"sh", "python", "json", "text"} for block in blocks()), "nothing is shown unseen"


async def test_every_answer_that_is_shown_is_like_the_real_one(printed: dict[int, str]) -> None:
    shown = [(i, block) for i, block in enumerate(blocks()) if block.language == "json"]
    assert shown
    for number, block in shown:
        last = printed[number - 1].strip().splitlines()[-1]
        wrong = is_sketch(json.loads(block.text), json.loads(last))
        assert wrong == [], f"line {block.line}: the answer was {last}"


async def test_every_text_that_is_shown_is_printed(printed: dict[int, str]) -> None:
    for number, block in enumerate(blocks()):
        if block.language == "text":
            real = [" ".join(line.split()).lower() for line in printed[number - 1].splitlines()]
            for line in block.text.splitlines():
                shown = " ".join(line.split()).lower()
                assert any(like(shown, each) for each in real), f"line {block.line}: {line!r} is not in {real}"


async def test_the_repeated_order_is_one_message(printed: dict[int, str]) -> None:
    [tries] = [text for text in printed.values() if "try 1" in text]
    numbers = re.findall(r"^try \d: message (\d+)", tries, re.MULTILINE)
    assert len(numbers) == 2
    assert len(set(numbers)) == 1


async def test_it_ends_with_people_who_were_written_to(printed: dict[int, str]) -> None:
    assert any("finished" in text for text in printed.values())
