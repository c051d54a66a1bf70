"""What every kind of lead file comes down to: headings, and rows of cells with their place in the file.

Separate from the readers, so that everything behind them is the same for CSV and for workbooks.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, Self

from fleetcast.domain.lead_columns import Headings
from fleetcast.errors import Problem


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the file."""

    line: int
    """The physical line it starts on, or the row's number in the sheet, from 1."""
    cells: list[str]


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that can be refused without knowing what its columns mean."""

    problem: Problem
    cells: list[str]
    """One cell with the whole line where it cannot be split."""


class LeadFile(Protocol):
    """An open lead file: what it was found to be, and its rows. Close it with `with`."""

    @property
    def size(self) -> int:
        """Bytes to be read; of a workbook, unpacked."""

    @property
    def bytes_read(self) -> int:
        """How far reading has come; runs a buffer ahead."""

    @property
    def encoding(self) -> str:
        """How the text is stored, for people too."""

    @property
    def delimiter(self) -> str:
        """What stands between two cells; '' in a workbook."""

    @property
    def sheets(self) -> tuple[str, ...]:
        """The sheets of a workbook, the one that is read first; none of a CSV file."""

    @property
    def headings(self) -> Headings:
        """The columns and what they mean."""

    def rows(self) -> Iterator[Row | BadRow]:
        """The rows after the headings, blank ones skipped where the reader can tell; to be walked once."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *trouble: object) -> None: ...
