"""Imports of lead files: jobs that the server works on, and that a program can wait for."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from fleetcast.client.exchange import Exchange, Upload
from fleetcast.client.pages import PAGE, Pages
from fleetcast.client.reading import read

OPEN = frozenset({"staging", "merging"})
WORKBOOK = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
EVERY = 1.0
"""Seconds between two looks at a job."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RowProblem:
    """A row that was refused."""

    line: int
    """Of the file, from 1."""
    column: str
    """Its heading; empty where the whole row is at fault."""
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportCounts:
    """What an import did: rows = added + merged + unchanged + duplicates + rejected."""

    rows: int
    added: int
    merged: int
    unchanged: int
    duplicates: int
    rejected: int
    skipped: int = 0
    """Messages that waited for people who refuse in this file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeadImport:
    """One import."""

    id: int
    device_id: int
    device: str
    filename: str
    status: str
    """`staging`, `merging`, `done`, `failed` (nothing was written, see `error`) or `abandoned`."""
    running: bool
    size: int
    bytes_read: int
    percent: int
    """Of the file that is read; merging comes after it."""
    accepted: int
    rejected: int
    counts: ImportCounts | None
    """Once it is done."""
    error: str | None
    started_at: datetime
    updated_at: datetime
    finished_at: datetime | None

    @property
    def has_ended(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.status not in OPEN


@dataclass(frozen=True, slots=True, kw_only=True)
class LeadImportDetails(LeadImport):
    """One import, with the first of the rows that it refused."""

    problems: tuple[RowProblem, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviewedLead:
    """The lead that a row would become."""

    phone: str
    name: str
    niches: tuple[str, ...]
    target_status: str | None
    journey: str
    time_zone: str | None
    consent: str
    attributes: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviewedRow:
    """One row: a lead, or why it would be refused."""

    line: int
    lead: PreviewedLead | None
    problem: RowProblem | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What a file was found to be, and its first rows as they would be stored."""

    encoding: str
    delimiter: str
    sheet: str | None
    sheets: tuple[str, ...]
    columns: Mapping[str, str]
    """Each heading and what it is taken for; empty: left out."""
    rows: tuple[PreviewedRow, ...]
    more: bool
    """The file has further rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportCheck:
    """What an import of a file would do now."""

    counts: ImportCounts
    columns: Mapping[str, str]
    problems: tuple[RowProblem, ...]
    """The first rows that would be refused."""


class Imports:
    """`fleet.imports`."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    async def upload(
        self,
        device_id: int,
        path: Path | str,
        *,
        filename: str | None = None,
        sheet: str | None = None,
        columns: Mapping[str, str] | None = None,
        all_or_nothing: bool = False,
        consent: str | None = None,
    ) -> LeadImport:
        """Send a CSV file or an Excel workbook from disk; `wait` for what becomes of it.

        `columns` says what columns are where their headings do not: `{"phone": "Mobile 2"}`. `consent` says where
        everybody in the file agreed to be written to. With `all_or_nothing` one refused row means that nothing is
        written.
        """
        query = {
            "filename": Path(path).name if filename is None else filename,
            "sheet": sheet,
            "map": _mapping(columns),
            "all_or_nothing": all_or_nothing or None,
            "consent": consent,
        }
        told = await self._exchange.ask(
            "POST", "devices/{device_id}/lead-imports", query=query, content=_file(path), device_id=device_id
        )
        return read(LeadImport, told)

    async def preview(
        self,
        device_id: int,
        path: Path | str,
        *,
        rows: int | None = None,
        sheet: str | None = None,
        columns: Mapping[str, str] | None = None,
        filename: str | None = None,
    ) -> Preview:
        """See what a file would be taken for. Nothing is kept of it, and its name is not looked at."""
        query = {"rows": rows, "sheet": sheet, "map": _mapping(columns), "filename": filename}
        told = await self._exchange.ask(
            "POST",
            "devices/{device_id}/lead-imports/preview",
            query=query,
            content=_file(path),
            device_id=device_id,
        )
        return read(Preview, told)

    async def check(
        self,
        device_id: int,
        path: Path | str,
        *,
        sheet: str | None = None,
        columns: Mapping[str, str] | None = None,
        consent: str | None = None,
    ) -> ImportCheck:
        """Have a file read to its last row, and learn what its import would do. Nothing is written."""
        query = {"sheet": sheet, "map": _mapping(columns), "consent": consent}
        told = await self._exchange.ask(
            "POST", "devices/{device_id}/lead-imports/check", query=query, content=_file(path), device_id=device_id
        )
        return read(ImportCheck, told)

    def list(
        self,
        *,
        device_id: int | None = None,
        status: str | None = None,
        limit: int = PAGE,
        after: str | None = None,
    ) -> Pages[LeadImport]:
        """Imports, the newest first."""
        query = {"device_id": device_id, "status": status, "limit": limit}
        return Pages(self._exchange, "lead-imports", LeadImport, query, after=after)

    async def show(self, import_id: int) -> LeadImportDetails:
        """How far an import is, or what it did."""
        told = await self._exchange.ask("GET", "lead-imports/{import_id}", import_id=import_id)
        return read(LeadImportDetails, told)

    async def wait(
        self,
        import_id: int,
        *,
        progress: Callable[[LeadImportDetails], object] | None = None,
        every: float = EVERY,
    ) -> LeadImportDetails:
        """Wait until an import has ended, well or not: see its `status`. `progress` is told of each look at it.

        It goes on when this is cancelled; `asyncio.timeout` bounds the wait.
        """
        while True:
            found = await self.show(import_id)
            if progress is not None:
                progress(found)
            if found.has_ended:
                return found
            await self._exchange.pause(every)

    async def save_rejected(self, import_id: int, target: Path | str) -> int:
        """Write all refused rows with their reasons to a CSV file; its bytes. For a day after the import."""
        return await self._exchange.save("lead-imports/{import_id}/rejected", Path(target), import_id=import_id)

    async def discard(self, import_id: int) -> None:
        """Give an import up that has not ended; no lead has changed."""
        await self._exchange.ask("DELETE", "lead-imports/{import_id}", import_id=import_id)


def _file(path: Path | str) -> Upload:
    """The bytes say what a file is; this is only what it is sent as."""
    return Upload(Path(path), WORKBOOK if Path(path).suffix.lower() == ".xlsx" else "text/csv")


def _mapping(columns: Mapping[str, str] | None) -> tuple[str, ...] | None:
    return tuple(f"{field}={heading}" for field, heading in columns.items()) if columns else None
