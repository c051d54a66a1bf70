"""The page on security and the tests say the same: every row of the table is held, or waits for its feature."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "security.md"
TESTS = ROOT / "tests"
WAITING = {9, 13, 14, *range(24, 30), 42, 47}
"""Rows about features that do not exist. Nothing else may wait."""

NAMED = re.compile(r"^(?:async )?def test_s(\d\d)_", re.MULTILINE)


def rows() -> dict[int, tuple[str, list[str]]]:
    """Row → what happens, and the folders below `tests` that show it."""
    found = {}
    for line in PAGE.read_text(encoding="utf-8").split("\n## The table\n")[1].split("\n## ")[0].splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if cells[0].isdigit():
            assert len(cells) == 4, line
            found[int(cells[0])] = cells[2], re.findall(r"`([a-z]+)`", cells[3])
    return found


def held() -> dict[int, set[str]]:
    """Row → the folders that have tests under its number."""
    found: dict[int, set[str]] = {}
    for path in TESTS.rglob("test_*.py"):
        for number in NAMED.findall(path.read_text(encoding="utf-8")):
            found.setdefault(int(number), set()).add(path.relative_to(TESTS).parts[0])
    return found


def test_the_table_has_fifty_rows_in_order() -> None:
    assert list(rows()) == list(range(1, 51))


def test_the_rows_that_wait_are_those_whose_feature_does_not_exist() -> None:
    waiting = {number for number, (what, where) in rows().items() if what.startswith("waits")}
    assert waiting == WAITING
    assert [number for number in WAITING if rows()[number][1]] == []


@pytest.mark.parametrize("number", sorted(set(range(1, 51)) - WAITING))
def test_every_other_row_has_a_test_under_its_number_where_the_page_says(number: int) -> None:
    where = rows()[number][1]
    assert where, f"row {number} neither waits nor says where it is shown"
    missing = set(where) - held().get(number, set())
    assert missing == set(), f"write test_s{number:02d}_… in tests/{'/, tests/'.join(sorted(missing))}/"


def test_no_test_bears_the_number_of_a_row_that_does_not_exist_or_waits() -> None:
    assert held().keys() <= set(rows()) - WAITING
