"""A look into a lead file before it is imported: what it was found to be, and its first rows as they would be stored.

Separate from the import because it writes nothing and reads only the beginning of the rows.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fleetcast.domain.identifiers import DeviceId, WorkspaceId
from fleetcast.domain.lead import Lead
from fleetcast.domain.lead_columns import RowParser, RowRefused
from fleetcast.errors import InvalidInput, NotFound, Problem
from fleetcast.runtime import Runtime
from fleetcast.services.lead_files import DELIMITERS, open_lead_file
from fleetcast.services.lead_rows import BadRow
from fleetcast.store import lead_merge

ROWS = 10
MAX_ROWS = 1_000


@dataclass(frozen=True, slots=True)
class PreviewRow:
    """One row: the lead it would become, or why it would be refused."""

    line: int
    lead: Lead | None
    problem: Problem | None


@dataclass(frozen=True, slots=True)
class LeadPreview:
    """The beginning of a lead file."""

    encoding: str
    delimiter: str
    sheet: str | None
    """The sheet of a workbook that would be read."""
    sheets: tuple[str, ...]
    """All sheets of a workbook, that one first."""
    columns: dict[str, str]
    """Each heading and what it is taken for; '' for left out."""
    rows: tuple[PreviewRow, ...]
    more: bool
    """The file has further rows."""


async def preview_leads(
    runtime: Runtime,
    workspace_id: WorkspaceId,
    device_id: DeviceId | None,
    path: Path,
    *,
    sheet: str | None = None,
    mapping: Mapping[str, str] | None = None,
    rows: int = ROWS,
) -> LeadPreview:
    """The first `rows` rows (1 to 1,000) of a lead file as an import would read them; nothing is written.

    Numbers without a country code are read with the device's country, without a device with the workspace's. Raises
    InvalidInput for a file that cannot be used at all, NotFound for a device that is not in this workspace.
    """
    if not 1 <= rows <= MAX_ROWS:
        raise InvalidInput("rows", f"choose between 1 and {MAX_ROWS:,}")
    async with runtime.db.connection() as connection:
        region = await lead_merge.region(connection, workspace_id, device_id)
    if region is None:
        raise NotFound("There is no such device in this workspace.")
    return await asyncio.to_thread(_look, path, region, sheet, mapping, rows)


def _look(path: Path, region: str, sheet: str | None, mapping: Mapping[str, str] | None, many: int) -> LeadPreview:
    with open_lead_file(path, sheet=sheet, mapping=mapping) as file:
        parser = RowParser(file.headings, region)
        seen: list[PreviewRow] = []
        more = False
        for row in file.rows():
            if isinstance(row, BadRow):
                found = PreviewRow(row.problem.line, None, row.problem)
            else:
                try:
                    lead = parser.parse(row.cells)
                except RowRefused as refusal:
                    found = PreviewRow(row.line, None, Problem(row.line, refusal.field, refusal.problem))
                else:
                    if lead is None:
                        continue
                    found = PreviewRow(row.line, lead, None)
            if len(seen) == many:
                more = True
                break
            seen.append(found)
        return LeadPreview(
            encoding=file.encoding,
            delimiter=DELIMITERS.get(file.delimiter, file.delimiter),
            sheet=file.sheets[0] if file.sheets else None,
            sheets=file.sheets,
            columns=file.headings.fields,
            rows=tuple(seen),
            more=more,
        )
