"""What an import tells: how far it has come while it runs, and what it did at its end.

Separate from the import because others read it: commands, the API, and whoever looks at an import of last week.
"""

from dataclasses import asdict, dataclass, replace
from typing import Any

from fleetcast.errors import Problem

COUNTS = ("rows", "added", "merged", "unchanged", "duplicates", "rejected", "skipped")
"""Names of the counts of a report."""


@dataclass(frozen=True, slots=True)
class ImportProgress:
    """How far an import has come."""

    bytes_read: int
    size: int
    """Bytes of the file."""
    rows: int
    rejected: int
    merging: bool
    """The file is read; its rows are being merged."""
    import_id: int | None = None
    """None for one that is only tried."""
    resumed_at: int = 0
    """Rows that an earlier process had stored of this import."""


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What an import did, or would do: rows = added + merged + unchanged + duplicates + rejected."""

    rows: int
    """Rows of the file that are not empty, the headings not counted."""
    added: int
    """New leads."""
    merged: int
    """Stored leads that changed."""
    unchanged: int
    """Stored leads that were already so."""
    duplicates: int
    """Rows that went into another row of the file with the same phone."""
    rejected: int
    skipped: int
    """Messages that waited for people who refuse in this file, and do not leave any more. None of the rows."""
    problems: tuple[Problem, ...]
    """The first of the refused rows, in the order of the file."""
    encoding: str
    delimiter: str
    sheet: str | None
    """The sheet of a workbook that was read."""
    columns: dict[str, str]
    """Each heading and what it was taken for; '' for left out."""
    dry_run: bool
    """Nothing was written, as it was asked for."""
    refused: bool
    """Nothing was written, because it was to be all or nothing and rows were rejected."""
    import_id: int | None
    """None for one that was only tried."""
    resumed_at: int
    """Rows that an earlier process had stored of this import."""

    @property
    def written(self) -> bool:
        """Whether the counts are what was done, and not what would have been."""
        return not (self.dry_run or self.refused)

    @property
    def counts(self) -> dict[str, object]:
        """The numbers alone."""
        return {name: getattr(self, name) for name in COUNTS}

    @property
    def kept(self) -> dict[str, Any]:
        """The report as it is stored; its problems have a column of their own."""
        facts = asdict(replace(self, problems=()))
        del facts["problems"]
        return facts
