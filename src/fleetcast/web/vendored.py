"""What of others is part of Fleetcast as files: package, version, licence, as `static/vendor/VENDORED.md` lists it."""

from dataclasses import dataclass
from functools import cache

from fleetcast.web.rendering import STATIC

FOLDER = STATIC / "vendor"


@dataclass(frozen=True, slots=True)
class Vendored:
    """One file."""

    file: str
    package: str
    version: str
    licence: str
    text: str
    """Name of the file with the licence's text, beside it."""


@cache
def vendored() -> tuple[Vendored, ...]:
    """All of them, in the order of the list."""
    found = []
    for line in (FOLDER / "VENDORED.md").read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 5 and (FOLDER / cells[0]).is_file():
            licence, _, text = cells[3].partition(" (")
            found.append(Vendored(cells[0], cells[1].partition(" ")[0], cells[2], licence, text.rstrip(")")))
    return tuple(found)
