"""Exporting leads as CSV: a file that spreadsheets open without running anything and an import reads back exactly.

Cells that look like formulas, phone numbers included, get a leading apostrophe (`fleetcast.domain.formulas`). A file
is UTF-8 with a byte order mark, which Excel needs, and readable by its owner only; what is downloaded has the mark too,
a stream of this machine has none. Every export is recorded when it begins.
"""

import asyncio
import codecs
import csv
import io
import os
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from fleetcast.domain.formulas import guarded
from fleetcast.domain.identifiers import DeviceId, LeadId, WorkspaceId
from fleetcast.domain.lead import CONSENT_WORD, NICHE_JOINER, Lead, LeadStatus, StoredLead
from fleetcast.domain.lead_columns import Column
from fleetcast.domain.lead_filter import LeadFilter
from fleetcast.errors import InvalidInput, NotFound
from fleetcast.runtime import Runtime
from fleetcast.store import audit, lead_merge, lead_search, leads


def header(keys: Sequence[str]) -> list[str]:
    """The headings of an export: the columns of every lead, then the attributes."""
    return [*(column.value for column in Column), *keys]


def cells(lead: Lead, keys: Sequence[str]) -> list[str]:
    """The row of a lead under `header(keys)`, guarded."""
    said = {
        Column.NAME: lead.name,
        Column.PHONE: lead.phone,
        Column.NICHE: NICHE_JOINER.join(lead.niches),
        Column.TARGET_STATUS: (lead.target_status or LeadStatus.PROSPECT).value,
        Column.JOURNEY: lead.journey,
        Column.TIME_ZONE: lead.time_zone or "",
        Column.CONSENT: CONSENT_WORD[lead.consent],
    }
    return [guarded(text) for text in (*(said[c] for c in Column), *(lead.attributes.get(key, "") for key in keys))]


async def export_leads(
    runtime: Runtime,
    workspace_id: WorkspaceId,
    device_id: DeviceId | None,
    out: TextIO | Path,
    progress: Callable[[int, int], None] | None = None,
    *,
    actor: str = "system",
) -> int:
    """Write the leads of a device, or of the whole workspace, and return how many. Memory does not grow with them.

    A file appears under its name only when it is complete. `progress` hears the leads written and their total.
    Raises NotFound for a device that is not in this workspace, InvalidInput when the file cannot be written.
    """
    wanted = LeadFilter(device_id=device_id)
    if not isinstance(out, Path):
        return await _write(runtime, workspace_id, wanted, out, progress, actor)
    with _draft(out) as stream:
        return await _write(runtime, workspace_id, wanted, stream, progress, actor)


@contextmanager
def _draft(path: Path) -> Iterator[TextIO]:
    """A file beside `path` that takes its place when everything is in it, and is removed otherwise."""
    draft = None
    with _writing(path):
        path = path.resolve()
        if path.is_dir():
            raise InvalidInput("output", f"{path} is a folder; name a file in it")
        if path.exists() and not path.is_file():  # a device or a pipe is written to, never replaced
            stream = path.open("w", encoding="utf-8-sig", newline="")
        else:
            handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
            draft = Path(name)
            stream = os.fdopen(handle, "w", encoding="utf-8-sig", newline="")
    try:
        yield stream
        with _writing(path):
            stream.close()
            if draft:
                draft.replace(path)
    finally:
        with suppress(OSError):  # closing tries once more to write what could not be written
            stream.close()
        if draft:
            draft.unlink(missing_ok=True)


@contextmanager
def _writing(out: object) -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:  # a reader that has seen enough
        raise
    except OSError as error:
        raise InvalidInput("output", f"{out} cannot be written: {error.strerror}") from None


async def download_leads(
    runtime: Runtime, workspace_id: WorkspaceId, wanted: LeadFilter, *, actor: str
) -> AsyncIterator[bytes]:
    """Those that are wanted as a file, piece by piece, read as fast as it is taken. Raises NotFound before the first
    piece, for a device that is not in this workspace.
    """
    keys = await _begin(runtime, workspace_id, wanted, actor)

    async def pieces() -> AsyncIterator[bytes]:
        yield codecs.BOM_UTF8 + _csv([header(keys)])
        async for page in _pages(runtime, workspace_id, wanted):
            yield await asyncio.to_thread(lambda page: _csv([cells(each.lead, keys) for each in page]), page)

    return pieces()


def _csv(rows: list[list[str]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


async def _begin(runtime: Runtime, workspace_id: WorkspaceId, wanted: LeadFilter, actor: str) -> list[str]:
    """Record the export, not what was looked for; the attributes that it has."""
    async with runtime.db.transaction() as connection:
        subject = "all devices"
        if wanted.device_id is not None:
            device = await lead_merge.destination(connection, workspace_id, wanted.device_id)
            if device is None:
                raise NotFound("There is no such device in this workspace.")
            subject = device.name
        narrowed = [name for name in wanted.named if name != "device_id"]
        facts = {"narrowed_by": narrowed} if narrowed else None
        await audit.record(connection, workspace_id, actor, "leads.export", subject, after=facts)
        return await leads.attribute_keys(connection, workspace_id)


async def _pages(runtime: Runtime, workspace_id: WorkspaceId, wanted: LeadFilter) -> AsyncIterator[list[StoredLead]]:
    """All of them. A connection a page: none is held while a slow reader takes its time."""
    last: LeadId | None = LeadId(0)
    while last is not None:
        async with runtime.db.connection() as connection:
            page, last = await lead_search.page(connection, workspace_id, wanted, after=last, limit=leads.PAGE)
        if page:
            yield page


async def _write(
    runtime: Runtime,
    workspace_id: WorkspaceId,
    wanted: LeadFilter,
    stream: TextIO,
    progress: Callable[[int, int], None] | None,
    actor: str,
) -> int:
    keys = await _begin(runtime, workspace_id, wanted, actor)
    total = 0
    if progress:
        async with runtime.db.connection() as connection:
            total = await lead_search.count(connection, workspace_id, wanted)
    table = csv.writer(stream)

    def put(rows: list[list[str]]) -> None:
        with _writing(getattr(stream, "name", "the output")):
            table.writerows(rows)
            stream.flush()

    await asyncio.to_thread(put, [header(keys)])
    written = 0
    async for page in _pages(runtime, workspace_id, wanted):
        await asyncio.to_thread(put, [cells(stored.lead, keys) for stored in page])
        written += len(page)
        if progress:
            progress(written, max(total, written))
    return written
