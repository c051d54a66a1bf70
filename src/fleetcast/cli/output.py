"""How commands speak: tables and sentences on stdout, trouble on stderr, JSON for machines, forms of times and numbers.

Nothing else in the command line prints.
"""

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, is_dataclass
from datetime import date, datetime, time, timedelta
from enum import Enum
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from rich.console import Console
from rich.table import Table
from rich.text import Text

from fleetcast.errors import FleetcastError, InvalidInput, InvalidInputs

WIDE = 10_000
"""Columns of a table that goes into a file or a pipe: one line a row, as wide as it needs."""

console = Console(highlight=False, soft_wrap=False)
"""stdout."""
errors = Console(stderr=True, highlight=False, soft_wrap=True)
"""stderr."""


def _plain(value: Any) -> Any:
    """What JSON does not know by itself."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, set | frozenset):
        return sorted(value)
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def emit_json(value: Any) -> None:
    """Print one JSON document on stdout: dataclasses as objects, instants in ISO 8601 with offset, spans in seconds."""
    sys.stdout.write(json.dumps(value, default=_plain, ensure_ascii=False, indent=2) + "\n")


def number(value: float) -> str:
    """A number with separators: 1,234,567; a fraction keeps one digit."""
    return f"{value:,}" if isinstance(value, int) else f"{value:,.1f}"


def seconds(value: float) -> str:
    """A length of time for people: 0.5 s, 10 s, 2 min 5 s, 3 h 20 min, 4 d 2 h."""
    if value < 60:
        return f"{value:g} s" if value == round(value, 1) else f"{value:.1f} s"
    whole = round(value)
    for unit, size, smaller, part in (("d", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if whole >= size:
            rest = whole % size // part
            return f"{whole // size} {unit} {rest} {smaller}" if rest else f"{whole // size} {unit}"
    return f"{whole} s"


def local_time(instant: datetime | None, zone: str) -> str:
    """An instant by the clock of the workspace, with the zone's short name; '-' for none."""
    return "-" if instant is None else instant.astimezone(ZoneInfo(zone)).strftime("%Y-%m-%d %H:%M:%S %Z")


def table(headers: Sequence[str], rows: Iterable[Sequence[object]], *, right: Sequence[str] = ()) -> None:
    """Print a table; columns named in `right` are aligned right. Cells are texts as they are, never markup."""
    drawn = Table(box=None, pad_edge=False, header_style="bold")
    for header in headers:
        drawn.add_column(header, justify="right" if header in right else "left", overflow="fold")
    for row in rows:
        drawn.add_row(*(cell if isinstance(cell, Text) else Text("" if cell is None else str(cell)) for cell in row))
    (console if console.is_terminal else Console(highlight=False, width=WIDE)).print(drawn)


def say(sentence: str, *, style: str = "") -> None:
    """Print a sentence on stdout as it is, never as markup."""
    console.print(Text(sentence, style=style), soft_wrap=True)


def complain(sentence: str) -> None:
    """Print what went wrong on stderr."""
    errors.print(Text("Error: ", style="bold red") + Text(sentence))


def error_facts(error: FleetcastError) -> dict[str, Any]:
    """An error for machines: its kind, its sentence, and the field, line and column it names."""
    facts: dict[str, Any] = {"type": type(error).__name__, "message": str(error)}
    if isinstance(error, InvalidInput):
        facts |= {"field": error.field, "problem": error.problem, "line": error.line, "column": error.column}
    if isinstance(error, InvalidInputs):
        facts["problems"] = [error_facts(p) for p in error.problems]
    return facts
