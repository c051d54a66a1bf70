"""Files of a few thousand rows of every kind that spreadsheets, CRMs and accidents leave, imported to the last row."""

from itertools import cycle
from pathlib import Path

import pytest

from fleetcast.domain.identifiers import DeviceId, WorkspaceId
from fleetcast.runtime import Runtime
from fleetcast.services.devices import add_device
from fleetcast.services.lead_import import import_leads
from tests.workbook import Cell, write_workbook

MANY = 6_000
"""More than one chunk."""

_NAMES = ("Élodie Brûlé", "Müller, Jörg", "Nguyen", "O'Brien €")
_ALPHABETS = ("陳大文", "Анна", "😀 Ana", "علي")


@pytest.fixture
async def device(runtime: Runtime, workspace: WorkspaceId) -> DeviceId:
    return (await add_device(runtime, workspace, "Anna", region="MY")).id


def _rows(names: tuple[str, ...]) -> list[tuple[str, str]]:
    return [(f"{name} {n}", f"+6012{n:07}") for n, name in zip(range(MANY), cycle(names), strict=False)]


async def _stored(runtime: Runtime) -> list[tuple[str, str]]:
    async with runtime.db.connection() as connection:
        return [
            (row["name"], row["phone"])
            for row in await connection.fetch("SELECT name, phone FROM leads ORDER BY phone")
        ]


@pytest.mark.parametrize(
    ("encoding", "names"),
    [
        ("utf-8", _NAMES + _ALPHABETS),
        ("utf-8-sig", _NAMES + _ALPHABETS),
        ("utf-16", _NAMES + _ALPHABETS),
        ("utf-16-be", _NAMES + _ALPHABETS),
        ("cp1252", _NAMES),
    ],
)
async def test_every_row_of_every_encoding_arrives(
    runtime: Runtime, workspace: WorkspaceId, device: DeviceId, tmp_path: Path, encoding: str, names: tuple[str, ...]
) -> None:
    rows = _rows(names)
    text = "name;phone\r\n" + "".join(f'"{name}";{phone}\r\n' for name, phone in rows)
    mark = b"\xfe\xff" if encoding == "utf-16-be" else b""
    file = tmp_path / "leads.csv"
    file.write_bytes(mark + text.encode(encoding))
    report = await import_leads(runtime, workspace, device, file)
    assert (report.added, report.rejected) == (MANY, 0)
    assert await _stored(runtime) == rows


async def test_wrong_quotes_cost_their_own_rows_and_no_other(
    runtime: Runtime, workspace: WorkspaceId, device: DeviceId, tmp_path: Path
) -> None:
    rows = _rows(_NAMES)
    lines, wrong = [], set()
    for n, (name, phone) in enumerate(rows):
        if n % 500 == 3:
            wrong.add(n)
            lines.append(f'"{name},{phone}')  # opened and never closed
        elif n % 500 == 7:
            wrong.add(n)
            lines.append(f'"{name}"x,{phone}')  # text after the closing quote
        elif n % 500 == 11:
            lines.append(f'in "5"" pipe" {n},{phone}')  # quotes inside a text that is not quoted
        else:
            lines.append(f'"{name}",{phone}')
    file = tmp_path / "leads.csv"
    file.write_text("name,phone\n" + "\n".join(lines) + "\n")
    report = await import_leads(runtime, workspace, device, file)
    assert (report.rows, report.added, report.rejected) == (MANY, MANY - len(wrong), len(wrong))
    assert [problem.line for problem in report.problems] == sorted(n + 2 for n in wrong)
    stored = {phone: name for name, phone in await _stored(runtime)}
    assert set(stored) == {phone for n, (_, phone) in enumerate(rows) if n not in wrong}
    assert stored[rows[11][1]] == 'in "5"" pipe" 11'
    assert stored[rows[4][1]] == rows[4][0]


async def test_mixed_line_ends_keep_rows_and_their_numbers(
    runtime: Runtime, workspace: WorkspaceId, device: DeviceId, tmp_path: Path
) -> None:
    rows = _rows(("a\nb", "c", "d\r\ne"))
    ends = cycle(("\n", "\r\n", "\r"))
    text, line, bad = "name,phone\n", 2, []
    for n, (name, phone) in enumerate(rows):
        if n % 1_000 == 5:
            text += "x,12" + next(ends)
            bad.append(line)
            line += 1
        text += f'"{name}",{phone}' + next(ends)
        line += 2 if n % 3 != 1 else 1
    file = tmp_path / "leads.csv"
    file.write_bytes(text.encode())
    report = await import_leads(runtime, workspace, device, file)
    assert (report.added, report.rejected) == (MANY, len(bad))
    assert [problem.line for problem in report.problems] == bad
    assert [name for name, _ in await _stored(runtime)] == [name for name, _ in rows]


async def test_every_row_of_a_workbook_arrives(
    runtime: Runtime, workspace: WorkspaceId, device: DeviceId, tmp_path: Path
) -> None:
    rows = _rows(_NAMES + _ALPHABETS)
    texts = "".join(f"<si><t>{name}</t></si>" for name, _ in rows)
    cells: list[list[Cell]] = [[f'<c t="s"><v>{n}</v></c>', int(phone)] for n, (_, phone) in enumerate(rows)]
    file = write_workbook(tmp_path / "leads.xlsx", {"L": [["name", "phone"], *cells]}, texts=texts)
    report = await import_leads(runtime, workspace, device, file)
    assert (report.added, report.rejected) == (MANY, 0)
    assert await _stored(runtime) == rows
