"""Importing a file of leads into one device: all good rows go in at once, every other row is named.

The merge rule is stated in `fleetcast.store.lead_merge`. Nothing is half written: until the one transaction at the
end, the rows are in a staging table that nobody else reads. Each chunk of rows is committed together with how far the
file was read, so that an import whose process was killed goes on from there. Memory does not grow with the file.
"""

import asyncio
import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

from fleetcast.domain.identifiers import DeviceId, WorkspaceId
from fleetcast.domain.lead_imports import UNFINISHED, ImportStatus, LeadImport
from fleetcast.errors import Conflict, InvalidInput, NotFound
from fleetcast.runtime import Runtime
from fleetcast.services.lead_files import open_lead_file
from fleetcast.services.lead_imports import abandon_left_behind, known_import
from fleetcast.services.lead_rejected import rejected_rows
from fleetcast.services.lead_report import ImportProgress, ImportReport
from fleetcast.services.lead_rows import LeadFile
from fleetcast.services.lead_run import Order, Run
from fleetcast.store import lead_imports, lead_merge
from fleetcast.store.connection import Connection


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
    order = await _ordered(
        runtime,
        workspace_id,
        device_id,
        path,
        filename=path.name,
        actor=actor,
        dry_run=dry_run,
        rejected_path=rejected_path,
        progress=progress,
        sheet=sheet,
        mapping=mapping,
        all_or_nothing=all_or_nothing,
        consent_source=consent_source,
    )
    return await _import(runtime, order, None)


async def start_import(
    runtime: Runtime,
    workspace_id: WorkspaceId,
    device_id: DeviceId,
    path: Path,
    *,
    filename: str,
    sheet: str | None = None,
    mapping: Mapping[str, str] | None = None,
    all_or_nothing: bool = False,
    consent_source: str | None = None,
    actor: str,
) -> LeadImport:
    """Look at a file and note its import, for `resume_import` to do it; nothing is read of its rows yet.

    Options as with `import_leads`; `filename` is what people call the file. Raises InvalidInput for a file that cannot
    be used at all, NotFound for a device that is not in this workspace, Conflict when an import of the same file into
    the device, with the same options, has not ended.
    """
    order = await _ordered(
        runtime,
        workspace_id,
        device_id,
        path,
        filename=filename,
        actor=actor,
        sheet=sheet,
        mapping=mapping,
        all_or_nothing=all_or_nothing,
        consent_source=consent_source,
    )
    with await asyncio.to_thread(open_lead_file, path, sheet=sheet, mapping=mapping) as file:
        digest = await asyncio.to_thread(_digest, path)
        async with runtime.db.transaction() as connection:
            known = await lead_imports.unfinished(connection, workspace_id, device_id, digest, order.options)
            if known is not None:
                raise Conflict(f"Import {known.id} has the same file and has not ended: wait for it, or discard it.")
            made = await lead_imports.get(connection, workspace_id, await _noted(connection, order, file, digest))
    assert made is not None
    return made


async def _ordered(
    runtime: Runtime,
    workspace_id: WorkspaceId,
    device_id: DeviceId,
    path: Path,
    *,
    filename: str,
    actor: str,
    dry_run: bool = False,
    rejected_path: Path | None = None,
    progress: Callable[[ImportProgress], None] | None = None,
    sheet: str | None,
    mapping: Mapping[str, str] | None,
    all_or_nothing: bool,
    consent_source: str | None,
) -> Order:
    """The order of a new import: the device is there, and numbers are read with its country from now on."""
    if consent_source is not None and not (consent_source := consent_source.strip()):
        raise InvalidInput("consent", "say where these people agreed, or leave the option out")
    async with runtime.db.connection() as connection:
        device = await lead_merge.destination(connection, workspace_id, device_id)
    if device is None:
        raise NotFound("There is no such device in this workspace.")
    return Order(
        workspace_id=workspace_id,
        device_id=device_id,
        device=device.name,
        path=path,
        filename=filename,
        actor=actor,
        dry_run=dry_run,
        rejected_path=rejected_path,
        progress=progress,
        region=device.region,
        sheet=sheet,
        mapping=mapping,
        all_or_nothing=all_or_nothing,
        consent_source=consent_source,
    )


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
    order = Order(
        workspace_id=workspace_id,
        device_id=known.device_id,
        device=known.device,
        path=path,
        filename=known.filename,
        actor=actor,
        dry_run=False,
        rejected_path=rejected_path,
        progress=progress,
        **known.options,
    )
    return await _import(runtime, order, known)


async def _import(runtime: Runtime, order: Order, known: LeadImport | None) -> ImportReport:
    with (
        await asyncio.to_thread(open_lead_file, order.path, sheet=order.sheet, mapping=order.mapping) as file,
        rejected_rows(order.rejected_path, order.path) as rejected,
    ):
        if not order.dry_run:
            await abandon_left_behind(runtime)
        async with lead_merge.importing(runtime.db, trial=order.dry_run) as connection:
            if order.dry_run:
                report = await Run(connection, order, file, rejected, None).through()
            else:
                digest = await asyncio.to_thread(_digest, order.path)
                work = await _claimed(connection, order, file, digest, known)
                try:
                    report = await Run(connection, order, file, rejected, work).through()
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


async def _noted(connection: Connection, order: Order, file: LeadFile, digest: str) -> int:
    return await lead_imports.start(
        connection,
        order.workspace_id,
        order.device_id,
        filename=order.filename,
        size=file.size,
        sha256=digest,
        options=order.options,
        actor=order.actor,
    )


async def _claimed(
    connection: Connection, order: Order, file: LeadFile, digest: str, known: LeadImport | None
) -> LeadImport:
    """The import to work on, locked for this connection: the known one, one that was cut short, or a new one."""
    if known is not None and known.sha256 != digest:
        raise InvalidInput("file", f"this is not the file of import {known.id} ({known.filename}), or it has changed")
    if known is None:
        known = await lead_imports.unfinished(connection, order.workspace_id, order.device_id, digest, order.options)
    if known is None:
        async with connection.transaction():
            made = await _noted(connection, order, file, digest)
            await lead_imports.lock(connection, made)
    else:
        made = known.id
        if not await lead_imports.lock(connection, made):
            raise Conflict(f"Another process is importing this file: import {made}. Wait for it to end.")
    work = await lead_imports.get(connection, order.workspace_id, made)
    if work is None or work.status not in UNFINISHED:
        raise Conflict(f"Import {made} has ended meanwhile. Start it anew without --resume.")
    return work
