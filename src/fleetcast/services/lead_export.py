"""Exporting leads as CSV: a file that spreadsheets open without running anything and an import reads back exactly.

Cells that look like formulas, phone numbers included, get a leading apostrophe (`fleetcast.domain.formulas`). A file
is UTF-8 with a byte order mark, which Excel needs, and readable by its owner only; a stream gets no mark.
"""

import asyncio
import csv
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from fleetcast.domain.formulas import guarded
from fleetcast.domain.identifiers import DeviceId, LeadId, WorkspaceId
from fleetcast.domain.lead import CONSENT_WORD, NICHE_JOINER, Lead, LeadStatus
from fleetcast.domain.lead_columns import Column
from fleetcast.errors import InvalidInput, NotFound
from fleetcast.runtime import Runtime
from fleetcast.store import lead_merge, leads


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
) -> int:
    """Write the leads of a device, or of the whole workspace, and return how many. Memory does not grow with them.

    A file appears under its name only when it is complete. `progress` hears the leads written and their total.
    Raises NotFound for a device that is not in this workspace, InvalidInput when the file cannot be written.
    """
    if not isinstance(out, Path):
        return await _write(runtime, workspace_id, device_id, out, progress)
    with _draft(out) as stream:
        return await _write(runtime, workspace_id, device_id, stream, progress)


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


async def _write(
    runtime: Runtime,
    workspace_id: WorkspaceId,
    device_id: DeviceId | None,
    stream: TextIO,
    progress: Callable[[int, int], None] | None,
) -> int:
    async with runtime.db.connection() as connection:
        if device_id is not None and await lead_merge.destination(connection, workspace_id, device_id) is None:
            raise NotFound("There is no such device in this workspace. `fleetcast device list` shows all.")
        keys = await leads.attribute_keys(connection, workspace_id)
        total = await leads.count_leads(connection, workspace_id, device_id) if progress else 0
    table = csv.writer(stream)

    def put(rows: list[list[str]]) -> None:
        with _writing(getattr(stream, "name", "the output")):
            table.writerows(rows)
            stream.flush()

    await asyncio.to_thread(put, [header(keys)])
    written, last = 0, LeadId(0)
    while True:
        # A connection a page: none is held while a slow reader takes its time.
        async with runtime.db.connection() as connection:
            page = await leads.page_after(connection, workspace_id, device_id, after=last)
        if not page:
            return written
        await asyncio.to_thread(put, [cells(stored.lead, keys) for stored in page])
        written, last = written + len(page), page[-1].id
        if progress:
            progress(written, max(total, written))
