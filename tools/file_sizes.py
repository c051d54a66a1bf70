"""Keeps modules short and their names telling: the ceiling of `make check`.

A module over the ceiling owns more than one thing; a module called `utils` says nothing about what it owns. There is
no list of exceptions.
"""

import sys
from pathlib import Path

SOURCE_CEILING = 400
TEST_CEILING = 600
CEILINGS = {
    "src": SOURCE_CEILING,
    "testbed": SOURCE_CEILING,
    "bench": SOURCE_CEILING,
    "acceptance": SOURCE_CEILING,
    "tools": SOURCE_CEILING,
    "tests": TEST_CEILING,
}
"""Most lines of a module, by its top folder."""

VAGUE = frozenset({"util", "utils", "utilities", "common", "helper", "helpers", "misc", "manager", "managers", "stuff"})


def offences(root: Path) -> list[str]:
    """What is wrong below `root`, one sentence a file, in the order of paths."""
    found = []
    for folder, ceiling in CEILINGS.items():
        for path in sorted((root / folder).rglob("*.py")):
            name = path.relative_to(root).as_posix()
            lines = len(path.read_text(encoding="utf-8").splitlines())
            if lines > ceiling:
                found.append(f"{name}: {lines} lines, at most {ceiling} are allowed: split it by what it owns")
            if VAGUE.intersection(part.removesuffix(".py").strip("_") for part in path.relative_to(root).parts):
                found.append(f"{name}: a vague name: call it after the one thing it owns")
    return found


def main(root: Path) -> int:
    """Print the offenders; 1 if there are any."""
    found = offences(root)
    for offence in found:
        print(offence)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(Path(__file__).resolve().parent.parent))
