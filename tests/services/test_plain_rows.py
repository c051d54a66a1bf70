"""Rows that never reach the XML parser are read as it would have read them."""

from pathlib import Path
from random import Random

import pytest

from fleetcast.errors import InvalidInput
from fleetcast.services import plain_rows, workbook_parts
from fleetcast.services.lead_files import open_lead_file
from fleetcast.services.lead_rows import Row
from tests.workbook import NAMESPACE, letters, write_workbook

NOTHING_PLAIN = "<!-- a comment may hold anything -->"
CELLS = (
    '<c r="{p}"><v>{n}</v></c>',
    '<c r="{p}" s="1"><v>{n}</v></c>',
    '<c r="{p}" s="1"/>',
    '<c r="{p}"></c>',
    '<c r="{p}" t="s"><v>{small}</v></c>',
    '<c r="{p}" s="0" t="str"><v>né {n}</v></c>',
    '<c r="{p}" t="b"><v>1</v></c>',
    '<c r="{p}" t="e"><v>#REF!</v></c>',
    # none of these is plain
    '<c r="{p}" t="str"><v>a &amp; {n}</v></c>',
    '<c r="{p}" t="inlineStr"><is><t>in {n}</t></is></c>',
    '<c r="{p}"><f>SUM(A1)</f><v>{n}</v></c>',
    "<c t='str'><v>no place</v></c>",
    '<c r="{p}"><v>\r\n{n}</v></c>',
)


def sheet(seed: int) -> str:
    """Rows of every form, beside and after one another."""
    random = Random(seed)
    rows = ['<row r="1"><c r="A1" t="str"><v>phone</v></c><c r="B1" t="str"><v>b</v></c></row>']
    number = 1
    for _ in range(random.randint(1, 30)):
        number += random.choice([1, 1, 1, 5])
        odd = random.random() < 0.3
        cells = [
            random.choice(CELLS if odd else CELLS[:8]).format(
                p=f"{letters(column)}{number}", n=random.randint(0, 10**9), small=random.randint(0, 2)
            )
            for column in sorted(random.sample(range(2), random.randint(0, 2)))
        ]
        opening = f'<row r="{number}" spans="1:2">' if random.random() < 0.8 else "<row>"
        rows.append(random.choice(["", "\n "]) + opening + "".join(cells) + "</row>")
    return "".join(rows)


def read(path: Path) -> object:
    try:
        with open_lead_file(path) as opened:
            return [(r.line, r.cells) if isinstance(r, Row) else r.problem for r in opened.rows()]
    except InvalidInput as error:
        return str(error)


@pytest.mark.parametrize("seed", range(60))
def test_with_and_without_the_parser_a_sheet_reads_the_same(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workbook_parts, "_PIECE", Random(seed).choice([3, 40, 300, 1 << 16]))
    texts = "<si><t>one</t></si><si><t>two</t></si><si><t>three</t></si>"
    found = []
    for before in ("", NOTHING_PLAIN):
        xml = f'<worksheet xmlns="{NAMESPACE}">{before}<sheetData>{sheet(seed)}</sheetData><x/></worksheet>'
        path = write_workbook(tmp_path / "leads.xlsx", {"Leads": xml}, texts=texts, formats=["0000000000"])
        found.append(read(path))
    assert found[0] == found[1]


def test_a_usual_sheet_is_plain_and_one_that_could_mislead_is_not(tmp_path: Path) -> None:
    row = '<row r="{n}" spans="1:1"><c r="A{n}" t="s"><v>0</v></c></row>'
    rows = "".join(row.format(n=n) for n in range(1, 50))
    commented = f"<sheetData><!-- {row.format(n=50)} -->{rows}</sheetData>"
    latin = '<?xml version="1.0" encoding="ISO-8859-1"?>'
    for xml, plain in ((f"<sheetData>{rows}</sheetData>", 49), (commented, 0), (f"{latin}<a>{rows}</a>", 0)):
        taken: list[int] = []
        left: list[bytes] = []
        sieve = plain_rows.Sieve(lambda piece, last: left.append(piece), lambda n, cells: taken.append(n))  # noqa: B023
        for at in range(0, len(xml), 100):
            sieve(xml.encode()[at : at + 100], False)
        sieve(b"", True)
        assert len(taken) == plain
        assert (b"".join(left).decode() == xml) is (plain == 0)


def test_a_control_character_is_refused_as_the_parser_refuses_it(tmp_path: Path) -> None:
    for value in ("\x01", "a\x00"):
        row = f'<row r="1"><c r="A1" t="str"><v>phone{value}</v></c></row>'
        xml = f'<worksheet xmlns="{NAMESPACE}"><sheetData>{row}</sheetData></worksheet>'
        assert "damaged" in str(read(write_workbook(tmp_path / "leads.xlsx", {"Leads": xml})))
