"""One import on its way from rows to leads: staged chunk by chunk, then merged in one transaction.

Separate from `lead_import`, which says what is to be imported and who is at it.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fleetcast.domain.identifiers import DeviceId, WorkspaceId
from fleetcast.domain.lead_columns import MAX_ATTRIBUTES
from fleetcast.domain.lead_imports import ImportStatus, LeadImport
from fleetcast.errors import Conflict, InvalidInput, NotFound
from fleetcast.services.lead_files import DELIMITERS
from fleetcast.services.lead_rejected import Rejected
from fleetcast.services.lead_report import ImportProgress, ImportReport
from fleetcast.services.lead_rows import LeadFile
from fleetcast.services.lead_staging import Chunk, Reached, Reading
from fleetcast.services.suppressions import LARGEST_LIST, LONGEST_NOTE, suppress_refusals
from fleetcast.store import audit, lead_imports, lead_merge
from fleetcast.store.connection import Connection


@dataclass(frozen=True, slots=True)
class Order:
    """Who wants what imported into which device."""

    workspace_id: WorkspaceId
    device_id: DeviceId
    device: str
    path: Path
    filename: str
    """What the file is called, for people."""
    actor: str
    dry_run: bool
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
        """What decides how the file is read, as it is kept."""
        names = ("region", "sheet", "mapping", "all_or_nothing", "consent_source")
        return {name: getattr(self, name) for name in names}


class Run:
    """One file on its way from rows to leads, on a connection of its own. `work` is None when it is only tried."""

    def __init__(
        self, connection: Connection, order: Order, file: LeadFile, rejected: Rejected, work: LeadImport | None
    ) -> None:
        self._connection = connection
        self._order = order
        self._file = file
        self._rejected = rejected
        self._work = work
        self._table = lead_merge.TRIAL_STAGING if work is None else lead_imports.staging_table(work.id)
        self._accepted = work.accepted if work else 0
        self._keys = work.attribute_keys if work else ()
        self._skipped = 0

    async def through(self) -> ImportReport:
        """Stage everything, then merge."""
        work, order = self._work, self._order
        await self._stage_all()
        self._rejected.finish()
        if work is not None and work.status is ImportStatus.STAGING:
            await lead_imports.change_status(self._connection, work.id, ImportStatus.MERGING)
        self._tell(merging=True)
        people = await lead_merge.fold(self._connection, self._table)
        if not (work is None or self._falls_through):
            self._skipped = await self._suppress()
        async with self._connection.transaction():
            await lead_merge.one_at_a_time(self._connection, order.workspace_id)
            await check_attributes(self._connection, order.workspace_id, self._keys, "columns")
            return await self._merge(people)

    @property
    def _falls_through(self) -> bool:
        """Whether nothing may be written, because it is to be all or nothing and rows were refused."""
        return self._order.all_or_nothing and self._rejected.count > 0

    async def _suppress(self) -> int:
        """Put who refused on the suppression list; returns how many messages waited for them.

        Before the merge and in steps of their own: a step says at its very end since when it holds. An import that is
        gone on with takes them again, which changes nothing.
        """
        skipped, last = 0, ""
        while phones := await lead_merge.refusing(self._connection, self._table, last, LARGEST_LIST):
            async with self._connection.transaction():
                skipped += await suppress_refusals(
                    self._connection, self._order.workspace_id, phones, f"file {self._order.filename}"[:LONGEST_NOTE]
                )
            last = phones[-1]
        return skipped

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
        refused = self._falls_through
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
            skipped=self._skipped,
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
            if not await lead_imports.change_status(connection, work.id, status, report.kept):
                raise Conflict(f"Import {work.id} was discarded meanwhile.")
        if report.written:
            await lead_merge.add_attributes(connection, order.workspace_id, self._keys)
            facts = report.counts | {"file": order.filename, "consent_source": order.consent_source}
            await audit.record(connection, order.workspace_id, order.actor, "leads.import", order.device, after=facts)
            if not await lead_merge.bump_version(connection, order.workspace_id, order.device_id):
                raise NotFound(f"The device {order.device} was removed while the file was read.")
        return report


async def check_attributes(connection: Connection, workspace_id: WorkspaceId, keys: Sequence[str], field: str) -> None:
    """Raises InvalidInput, which names `field`, when these keys would give the workspace too many attributes."""
    many = await lead_merge.attributes_with(connection, workspace_id, keys)
    if many > MAX_ATTRIBUTES:
        raise InvalidInput(
            field,
            f"the workspace would have {many} different attributes, at most {MAX_ATTRIBUTES} are possible; "
            "leave out what no text needs",
        )
