"""Importing a file of leads into one device: all good rows go in at once, every other row is named.

The merge rule is stated in `fleetcast.store.lead_merge`. Nothing is half written: until the one transaction at the
end, the rows are in a staging table that nobody else sees. Memory does not grow with the file.
"""

import asyncio
import csv
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TextIO

from fleetcast.domain.formulas import guarded, unguarded
from fleetcast.domain.identifiers import DeviceId, WorkspaceId
from fleetcast.domain.lead import Consent, Lead
from fleetcast.domain.lead_columns import MAX_ATTRIBUTES, REPORT_COLUMNS, RowParser, RowRefused
from fleetcast.errors import InvalidInput, NotFound, Problem
from fleetcast.runtime import Runtime
from fleetcast.services.lead_files import DELIMITERS, open_lead_file
from fleetcast.services.lead_rows import BadRow, LeadFile
from fleetcast.store import audit, lead_merge
from fleetcast.store.connection import Connection
from fleetcast.store.lead_merge import StagedRow

CHUNK = 5_000
"""Rows read and copied at a time."""
PROBLEMS_KEPT = 1_000
"""Refused rows a report holds; a file of rejected rows has all."""


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

    @property
    def written(self) -> bool:
        """Whether the counts are what was done, and not what would have been."""
        return not (self.dry_run or self.refused)


class _Rejected:
    """Counts refused rows, keeps the first of them, and writes all of them to a file if there is one."""

    def __init__(self, path: Path | None = None, out: TextIO | None = None) -> None:
        self.count = 0
        self.problems: list[Problem] = []
        self._path = path
        self._out = out
        self._csv = csv.writer(out) if out else None

    def headings(self, texts: list[str]) -> None:
        self._write([*REPORT_COLUMNS, *texts])

    def add(self, problem: Problem, cells: list[str]) -> None:
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
def _rejected(path: Path | None, source: Path) -> Iterator[_Rejected]:
    """Where refused rows go."""
    if path is None:
        yield _Rejected()
        return
    with _writing(path):
        if path.exists() and path.samefile(source):
            raise InvalidInput("rejected", "this is the file to import; name another one for the rejected rows")
        out = path.open("w", encoding="utf-8-sig", newline="")
    try:
        yield _Rejected(path, out)
    finally:
        with suppress(OSError):  # closing tries once more to write what could not be written
            out.close()


class _Reading:
    """Reads a file chunk by chunk into rows for staging."""

    def __init__(self, file: LeadFile, region: str, rejected: _Rejected, *, all_agreed: bool) -> None:
        self._rows = file.rows()
        self._parser = RowParser(file.headings, region)
        self._rejected = rejected
        self._all_agreed = all_agreed
        self.staged = 0
        self.keys: set[str] = set()
        """Attributes that some lead of the file has."""
        rejected.headings([heading.text for heading in file.headings.columns])

    def chunk(self) -> list[StagedRow] | None:
        """The next rows; None at the end of the file. Blocks on the disk and on Python."""
        chunk: list[StagedRow] = []
        ended = True
        for row in islice(self._rows, CHUNK):
            ended = False
            if isinstance(row, BadRow):
                self._rejected.add(row.problem, row.cells)
                continue
            try:
                lead = self._parser.parse(row.cells)
            except RowRefused as refusal:
                self._rejected.add(Problem(row.line, refusal.field, refusal.problem), row.cells)
                continue
            if lead is not None:
                chunk.append(self._staged(row.line, lead))
        self.staged += len(chunk)
        return None if ended else chunk

    def _staged(self, line: int, lead: Lead) -> StagedRow:
        attributes = "{}"
        if lead.attributes:
            self.keys.update(lead.attributes)
            attributes = json.dumps(lead.attributes, ensure_ascii=False)
        consent = Consent.GIVEN if self._all_agreed and lead.consent is Consent.UNKNOWN else lead.consent
        return (
            line,
            lead.phone,
            lead.name,
            lead.niches,
            lead.target_status,
            lead.journey,
            lead.time_zone,
            consent,
            attributes,
        )


async def import_leads(
    runtime: Runtime,
    workspace_id: WorkspaceId,
    device_id: DeviceId,
    path: Path,
    *,
    sheet: str | None = None,
    mapping: Mapping[str, str] | None = None,
    all_or_nothing: bool = False,
    dry_run: bool = False,
    consent_source: str | None = None,
    rejected_path: Path | None = None,
    progress: Callable[[ImportProgress], None] | None = None,
    actor: str = "system",
) -> ImportReport:
    """Import a CSV file or a sheet of a workbook into a device of the workspace and tell the planner.

    `sheet` names a sheet of a workbook, else its first one is read. `mapping` says of headings which field they are,
    see `fleetcast.domain.lead_columns.recognise`. `all_or_nothing`: a single refused row, and nothing is written.
    `consent_source` says where everybody in the file agreed to be written to; a refusal, stored or in the file, still
    holds. `rejected_path` receives every refused row with line, column and reason, ready to be corrected and imported.
    `dry_run` reads everything and writes nothing. Raises InvalidInput for a file that cannot be used at all, NotFound
    for a device that is not in this workspace; bad rows are no error but part of the report.
    """
    if consent_source is not None and not (consent_source := consent_source.strip()):
        raise InvalidInput("consent", "say where these people agreed, or leave the option out")
    async with runtime.db.connection() as connection:
        device = await lead_merge.destination(connection, workspace_id, device_id)
    if device is None:
        raise NotFound("There is no such device in this workspace. `fleetcast device list` shows all.")
    with (
        await asyncio.to_thread(open_lead_file, path, sheet=sheet, mapping=mapping) as file,
        _rejected(rejected_path, path) as rejected,
    ):
        reading = _Reading(file, device.region, rejected, all_agreed=consent_source is not None)

        def tell(*, merging: bool = False) -> None:
            if progress:
                rows = reading.staged + rejected.count
                progress(ImportProgress(file.bytes_read, file.size, rows, rejected.count, merging))

        async with lead_merge.staging(runtime.db) as connection:
            while (chunk := await asyncio.to_thread(reading.chunk)) is not None:
                await lead_merge.stage(connection, chunk)
                tell()
            rejected.finish()
            tell(merging=True)
            refused = all_or_nothing and rejected.count > 0
            people = await lead_merge.fold(connection)
            async with connection.transaction():
                await lead_merge.one_at_a_time(connection, workspace_id)
                await _check_attributes(connection, workspace_id, reading.keys)
                if dry_run or refused:
                    done = await lead_merge.foresee(connection, workspace_id, device_id)
                else:
                    source = consent_source or f"file {path.name}"
                    done = await lead_merge.merge(connection, workspace_id, device_id, consent_source=source)
                report = ImportReport(
                    rows=reading.staged + rejected.count,
                    added=done.added,
                    merged=done.merged,
                    unchanged=people - done.added - done.merged,
                    duplicates=reading.staged - people,
                    rejected=rejected.count,
                    problems=tuple(rejected.problems),
                    encoding=file.encoding,
                    delimiter=DELIMITERS.get(file.delimiter, file.delimiter),
                    sheet=file.sheets[0] if file.sheets else None,
                    columns=file.headings.fields,
                    dry_run=dry_run,
                    refused=refused,
                )
                if report.written:
                    await lead_merge.add_attributes(connection, workspace_id, sorted(reading.keys))
                    await audit.record(
                        connection,
                        workspace_id,
                        actor,
                        "leads.import",
                        device.name,
                        after=_counts(report) | {"file": path.name, "consent_source": consent_source},
                    )
                    if not await lead_merge.bump_version(connection, workspace_id, device_id):
                        raise NotFound(f"The device {device.name} was removed while the file was read.")
    if report.written:
        await runtime.nudges.plan()
    return report


def _counts(report: ImportReport) -> dict[str, object]:
    names = ("rows", "added", "merged", "unchanged", "duplicates", "rejected")
    return {name: getattr(report, name) for name in names}


async def _check_attributes(connection: Connection, workspace_id: WorkspaceId, keys: set[str]) -> None:
    many = await lead_merge.attributes_with(connection, workspace_id, sorted(keys))
    if many > MAX_ATTRIBUTES:
        raise InvalidInput(
            "columns",
            f"the workspace would have {many} different attributes, at most {MAX_ATTRIBUTES} are possible; "
            "leave out columns that no text needs",
        )
