"""A look into a file before it is imported."""

from pathlib import Path

import pytest

from fleetcast.domain.identifiers import DeviceId, WorkspaceId
from fleetcast.errors import InvalidInput, NotFound
from fleetcast.runtime import Runtime
from fleetcast.services.devices import add_device
from fleetcast.services.lead_preview import preview_leads
from tests.workbook import write_workbook


async def test_a_preview_shows_the_first_rows_as_they_would_be_stored(
    runtime: Runtime, workspace: WorkspaceId, tmp_path: Path
) -> None:
    file = tmp_path / "leads.csv"
    file.write_text(
        "Namé;Fon;Cityyy;Secret\nAnna;012-345 6789;Ipoh;s\n\n;;;\nBen;12;Ipoh;s\nCia;0123456780;;s\nDan;x;;\n", "cp1252"
    )
    found = await preview_leads(
        runtime, workspace, None, file, rows=3, mapping={"namé": "name", "Fon": "phone", "Secret": "-"}
    )
    assert (found.encoding, found.delimiter, found.sheet, found.more) == ("cp1252", "semicolon", None, True)
    assert found.columns == {"Namé": "name", "Fon": "phone", "Cityyy": "cityyy", "Secret": ""}
    assert [row.line for row in found.rows] == [2, 5, 6]
    first, second, _ = found.rows
    assert first.lead is not None
    assert (first.lead.phone, first.lead.name, first.lead.attributes) == ("+60123456789", "Anna", {"cityyy": "Ipoh"})
    assert second.lead is None
    assert second.problem is not None
    assert second.problem.column == "Fon"
    async with runtime.db.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM leads") == 0


async def test_a_preview_reads_numbers_with_the_devices_country_and_names_the_sheets(
    runtime: Runtime, workspace: WorkspaceId, tmp_path: Path
) -> None:
    german = await add_device(runtime, workspace, "Berta", region="DE")
    file = write_workbook(tmp_path / "leads.xlsx", {"A": [["x"]], "B": [["phone"], ["030 1234567"]]})
    found = await preview_leads(runtime, workspace, german.id, file, sheet="B")
    assert (found.sheet, found.sheets, found.more) == ("B", ("B", "A"), False)
    assert [row.lead and row.lead.phone for row in found.rows] == ["+49301234567"]
    with pytest.raises(InvalidInput, match="no phone column"):
        await preview_leads(runtime, workspace, german.id, file)
    with pytest.raises(NotFound, match="no such device"):
        await preview_leads(runtime, workspace, DeviceId(german.id + 1), file)
    for rows in (0, 1_001):
        with pytest.raises(InvalidInput, match="between 1 and 1,000"):
            await preview_leads(runtime, workspace, None, file, sheet="B", rows=rows)
