"""Importing a file of leads into one device: all good rows go in at once, every other row is named.

The merge rule is stated in `fleetcast.store.lead_merge`. Nothing is half written: until the one transaction at the
end, the rows are in a staging table that nobody else reads. Each chunk of rows is committed together with how far the
file was read, so that an import whose process was killed goes on from there. Memory does not grow with the file.
"""

import asyncio
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from fleetcast.domain.identifiers import DeviceId, WorkspaceId
from fleetcast.domain.lead_columns import MAX_ATTRIBUTES
from fleetcast.domain.lead_imports import UNFINISHED, ImportStatus, LeadImport
from fleetcast.errors import Conflict, InvalidInput, NotFound, Problem
from fleetcast.runtime import Runtime
from fleetcast.services.lead_files import DELIMITERS, open_lead_file
from fleetcast.services.lead_imports import abandon_left_behind, known_import
from fleetcast.services.lead_rejected import Rejected, rejected_rows
from fleetcast.services.lead_rows import LeadFile
from fleetcast.services.lead_staging import Chunk, Reached, Reading
from fleetcast.store import audit, lead_imports, lead_merge
from fleetcast.store.connection import Connection


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


@dataclass(frozen=True, slots=True)
class _Order:
    """Who wants what imported into which device."""

    workspace_id: WorkspaceId
    device_id: DeviceId
    device: str
    path: Path
    dry_run: bool
    actor: str
    rejected_path: Path | None
    progress: Callable[[ImportProgress], None] | None
    # What decides how the file is read, and is kept when an import is gone on with:
    region: str
    sheet: str | None
    mapping: Mapping[str, str] | None
    all_or_nothing: bool
    consent_source: str | None

    @property
    def options(self) -> dict[str, Any]:
        names = ("region", "sheet", "mapping", "all_or_nothing", "consent_source")
        return {name: getattr(self, name) for name in names}


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
    `dry_run` reads everything and writes nothing. When an import of the same file into the device, with the same
    options, was cut short, it goes on from there. Raises InvalidInput for a file that cannot be used at all, NotFound
    for a device that is not in this workspace, Conflict while another process imports the same; bad rows are no error
    but part of the report.
    """
    if consent_source is not None and not (consent_source := consent_source.strip()):
        raise InvalidInput("consent", "say where these people agreed, or leave the option out")
    async with runtime.db.connection() as connection:
        device = await lead_merge.destination(connection, workspace_id, device_id)
    if device is None:
        raise NotFound("There is no such device in this workspace. `fleetcast device list` shows all.")
    order = _Order(
        workspace_id=workspace_id,
        device_id=device_id,
        device=device.name,
        path=path,
        dry_run=dry_run,
        actor=actor,
        rejected_path=rejected_path,
        progress=progress,
        region=device.region,
        sheet=sheet,
        mapping=mapping,
        all_or_nothing=all_or_nothing,
        consent_source=consent_source,
    )
    return await _import(runtime, order, None)


async def resume_import(
    runtime: Runtime,
    workspace_id: WorkspaceId,
    import_id: int,
    path: Path,
    *,
    rejected_path: Path | None = None,
    progress: Callable[[ImportProgress], None] | None = None,
    actor: str = "system",
) -> ImportReport:
    """Go on with an import that was cut short, with the options it was started with.

    Raises NotFound for an import that is not in this workspace, Conflict for one that is finished or that another
    process is at, InvalidInput when `path` is another file.
    """
    known = await known_import(runtime, workspace_id, import_id)
    order = _Order(
        workspace_id=workspace_id,
        device_id=known.device_id,
        device=known.device,
        path=path,
        dry_run=False,
        actor=actor,
        rejected_path=rejected_path,
        progress=progress,
        **known.options,
    )
    return await _import(runtime, order, known)


async def _import(runtime: Runtime, order: _Order, known: LeadImport | None) -> ImportReport:
    with (
        await asyncio.to_thread(open_lead_file, order.path, sheet=order.sheet, mapping=order.mapping) as file,
        rejected_rows(order.rejected_path, order.path) as rejected,
    ):
        if not order.dry_run:
            await abandon_left_behind(runtime)
        async with lead_merge.importing(runtime.db, trial=order.dry_run) as connection:
            if order.dry_run:
                report = await _Run(connection, order, file, rejected, None).through()
            else:
                digest = await asyncio.to_thread(_digest, order.path)
                work = await _claimed(connection, order, file, digest, known)
                try:
                    report = await _Run(connection, order, file, rejected, work).through()
                except (InvalidInput, NotFound) as error:  # going on would meet the same
                    async with connection.transaction():
                        facts = {"error": str(error)}
                        await lead_imports.change_status(connection, work.id, ImportStatus.FAILED, facts)
                    raise
    if report.written:
        await runtime.nudges.plan()
    return report


def _digest(path: Path) -> str:
    with path.open("rb") as raw:
        return hashlib.file_digest(raw, "sha256").hexdigest()


async def _claimed(
    connection: Connection, order: _Order, file: LeadFile, digest: str, known: LeadImport | None
) -> LeadImport:
    """The import to work on, locked for this connection: the known one, one that was cut short, or a new one."""
    if known is not None and known.sha256 != digest:
        raise InvalidInput("file", f"this is not the file of import {known.id} ({known.filename}), or it has changed")
    if known is None:
        known = await lead_imports.unfinished(connection, order.workspace_id, order.device_id, digest, order.options)
    if known is None:
        async with connection.transaction():
            made = await lead_imports.start(
                connection,
                order.workspace_id,
                order.device_id,
                filename=order.path.name,
                size=file.size,
                sha256=digest,
                options=order.options,
                actor=order.actor,
            )
            await lead_imports.lock(connection, made)
    else:
        made = known.id
        if not await lead_imports.lock(connection, made):
            raise Conflict(f"Another process is importing this file: import {made}. Wait for it to end.")
    work = await lead_imports.get(connection, order.workspace_id, made)
    if work is None or work.status not in UNFINISHED:
        raise Conflict(f"Import {made} has ended meanwhile. Start it anew without --resume.")
    return work


class _Run:
    """One file on its way from rows to leads, on a connection of its own. `work` is None when it is only tried."""

    def __init__(
        self, connection: Connection, order: _Order, file: LeadFile, rejected: Rejected, work: LeadImport | None
    ) -> None:
        self._connection = connection
        self._order = order
        self._file = file
        self._rejected = rejected
        self._work = work
        self._table = lead_merge.TRIAL_STAGING if work is None else lead_imports.staging_table(work.id)
        self._accepted = work.accepted if work else 0
        self._keys = work.attribute_keys if work else ()

    async def through(self) -> ImportReport:
        """Stage everything, then merge."""
        work, order = self._work, self._order
        await self._stage_all()
        self._rejected.finish()
        if work is not None and work.status is ImportStatus.STAGING:
            await lead_imports.change_status(self._connection, work.id, ImportStatus.MERGING)
        self._tell(merging=True)
        people = await lead_merge.fold(self._connection, self._table)
        async with self._connection.transaction():
            await lead_merge.one_at_a_time(self._connection, order.workspace_id)
            await _check_attributes(self._connection, order.workspace_id, self._keys)
            return await self._merge(people)

    async def _stage_all(self) -> None:
        """Read and store side by side: while a chunk is stored, the next one is read."""
        work, order = self._work, self._order
        reached = Reached()
        if work is not None:
            reached = Reached(work.position, work.accepted, work.rejected, work.problems, work.attribute_keys)
        reading = Reading(
            self._file,
            order.region,
            self._rejected,
            all_agreed=order.consent_source is not None,
            reached=reached,
        )
        await asyncio.to_thread(reading.start)
        chunk = await asyncio.to_thread(reading.chunk)
        while chunk is not None:
            # Both are waited for, whatever becomes of one: the connection must be free again.
            stored, following = await asyncio.gather(
                self._stage(chunk), asyncio.to_thread(reading.chunk), return_exceptions=True
            )
            for outcome in (stored, following):
                if isinstance(outcome, BaseException):
                    raise outcome
            assert not isinstance(following, BaseException)
            self._accepted, self._keys = chunk.accepted, chunk.attribute_keys
            self._tell()
            chunk = following

    async def _stage(self, chunk: Chunk) -> None:
        async with self._connection.transaction():
            await lead_merge.stage(self._connection, self._table, chunk.rows)
            if self._work is not None:
                await lead_imports.advance(
                    self._connection,
                    self._work.id,
                    position=chunk.position,
                    bytes_read=chunk.bytes_read,
                    accepted=chunk.accepted,
                    rejected=chunk.rejected,
                    attribute_keys=chunk.attribute_keys,
                    problems=chunk.problems,
                )

    def _tell(self, *, merging: bool = False) -> None:
        if self._order.progress:
            self._order.progress(
                ImportProgress(
                    bytes_read=self._file.bytes_read,
                    size=self._file.size,
                    rows=self._accepted + self._rejected.count,
                    rejected=self._rejected.count,
                    merging=merging,
                    import_id=self._work.id if self._work else None,
                    resumed_at=self._work.position if self._work else 0,
                )
            )

    async def _merge(self, people: int) -> ImportReport:
        """The transaction that writes the leads, or only counts what it would write."""
        work, order, connection = self._work, self._order, self._connection
        refused = order.all_or_nothing and self._rejected.count > 0
        if work is None or refused:
            done = await lead_merge.foresee(connection, self._table, order.workspace_id, order.device_id)
        else:
            source = order.consent_source or f"file {work.filename}"
            done = await lead_merge.merge(
                connection, self._table, order.workspace_id, order.device_id, consent_source=source
            )
        report = ImportReport(
            rows=self._accepted + self._rejected.count,
            added=done.added,
            merged=done.merged,
            unchanged=people - done.added - done.merged,
            duplicates=self._accepted - people,
            rejected=self._rejected.count,
            problems=tuple(self._rejected.problems),
            encoding=self._file.encoding,
            delimiter=DELIMITERS.get(self._file.delimiter, self._file.delimiter),
            sheet=self._file.sheets[0] if self._file.sheets else None,
            columns=self._file.headings.fields,
            dry_run=order.dry_run,
            refused=refused,
            import_id=work.id if work else None,
            resumed_at=work.position if work else 0,
        )
        if work is not None:
            status = ImportStatus.FAILED if refused else ImportStatus.DONE
            if not await lead_imports.change_status(connection, work.id, status, _kept(report)):
                raise Conflict(f"Import {work.id} was discarded meanwhile.")
        if report.written:
            await lead_merge.add_attributes(connection, order.workspace_id, self._keys)
            facts = _counts(report) | {"file": order.path.name, "consent_source": order.consent_source}
            await audit.record(connection, order.workspace_id, order.actor, "leads.import", order.device, after=facts)
            if not await lead_merge.bump_version(connection, order.workspace_id, order.device_id):
                raise NotFound(f"The device {order.device} was removed while the file was read.")
        return report


def _kept(report: ImportReport) -> dict[str, Any]:
    """The report as it is stored; its problems have a column of their own."""
    facts = asdict(replace(report, problems=()))
    del facts["problems"]
    return facts


def _counts(report: ImportReport) -> dict[str, object]:
    names = ("rows", "added", "merged", "unchanged", "duplicates", "rejected")
    return {name: getattr(report, name) for name in names}


async def _check_attributes(connection: Connection, workspace_id: WorkspaceId, keys: tuple[str, ...]) -> None:
    many = await lead_merge.attributes_with(connection, workspace_id, keys)
    if many > MAX_ATTRIBUTES:
        raise InvalidInput(
            "columns",
            f"the workspace would have {many} different attributes, at most {MAX_ATTRIBUTES} are possible; "
            "leave out columns that no text needs",
        )
