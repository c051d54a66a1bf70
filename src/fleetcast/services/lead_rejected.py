"""Rejected rows of an import: counted, the first of them kept, all of them written to a file if there is one.

The file begins with line, column and reason, and can be corrected and imported as it is.
"""

import csv
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from fleetcast.domain.formulas import guarded, unguarded
from fleetcast.domain.lead_columns import REPORT_COLUMNS
from fleetcast.errors import InvalidInput, Problem

PROBLEMS_KEPT = 1_000
"""Refused rows a report holds; a file of rejected rows has all."""


class Rejected:
    """Counts refused rows, keeps the first of them, and writes all of them to a file if there is one."""

    def __init__(self, path: Path | None = None, out: TextIO | None = None) -> None:
        self.count = 0
        self.problems: list[Problem] = []
        self._path = path
        self._out = out
        self._csv = csv.writer(out) if out else None

    @property
    def to_file(self) -> bool:
        """Whether all of them are written down."""
        return self._csv is not None

    def headings(self, texts: list[str]) -> None:
        """What stands above the cells of the rows."""
        self._write([*REPORT_COLUMNS, *texts])

    def add(self, problem: Problem, cells: list[str]) -> None:
        """Take one row in."""
        self.count += 1
        if len(self.problems) < PROBLEMS_KEPT:
            self.problems.append(problem)
        self._write([str(problem.line), problem.column, problem.reason, *map(unguarded, cells)])

    def _write(self, cells: list[str]) -> None:
        if self._csv:
            with _writing(self._path):
                self._csv.writerow(map(guarded, cells))

    def finish(self) -> None:
        """Put everything on the disk; a file without a refused row is removed again."""
        if self._out and self._path:
            with _writing(self._path):
                self._out.close()
                if not self.count and self._path.is_file():
                    self._path.unlink()


@contextmanager
def _writing(path: Path | None) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InvalidInput("rejected", f"{path} cannot be written: {error.strerror}") from None


@contextmanager
def rejected_rows(path: Path | None, source: Path) -> Iterator[Rejected]:
    """Where refused rows of `source` go. Raises InvalidInput("rejected", …) for a file that cannot be written."""
    if path is None:
        yield Rejected()
        return
    with _writing(path):
        if path.exists() and path.samefile(source):
            raise InvalidInput("rejected", "this is the file to import; name another one for the rejected rows")
        out = path.open("w", encoding="utf-8-sig", newline="")
    try:
        yield Rejected(path, out)
    finally:
        with suppress(OSError):  # closing tries once more to write what could not be written
            out.close()
