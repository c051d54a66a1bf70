"""Reading workbooks: cells as people see them, rows numbered as in the sheet, and files that mean harm refused."""

import zipfile
from pathlib import Path

import pytest

from fleetcast.domain.lead_columns import MAX_COLUMNS
from fleetcast.errors import InvalidInput
from fleetcast.services import workbook_parts
from fleetcast.services.lead_files import open_lead_file
from fleetcast.services.lead_rows import BadRow, Row
from tests.workbook import NAMESPACE, Cell, row_xml, sheet_xml, write_workbook


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "leads.xlsx"


def _rows(path: Path, sheet: str | None = None) -> list[tuple[int, list[str] | str]]:
    with open_lead_file(path, sheet=sheet) as opened:
        return [
            (row.line, row.cells) if isinstance(row, Row) else (row.problem.line, row.problem.reason)
            for row in opened.rows()
        ]


def _read(file: Path, *rows: list[Cell], **more: object) -> list[tuple[int, list[str] | str]]:
    return _rows(write_workbook(file, {"Leads": rows}, **more))  # type: ignore[arg-type]


def test_a_phone_stored_as_a_number_comes_out_as_digits(file: Path) -> None:
    rows = _read(
        file,
        ["phone", "n"],
        [60123456789, 1],
        ["<c><v>6.0123456789E+10</v></c>", 0.5],
        ["<c><v>60123456789.0</v></c>", 0],
    )
    assert rows == [(2, ["60123456789", "1"]), (3, ["60123456789", "0.5"]), (4, ["60123456789", "0"])]


@pytest.mark.parametrize(
    ("code", "number", "seen"),
    [
        ("dd/mm/yyyy", "46143", "2026-05-01"),
        ("d mmm yy", "46143.75", "2026-05-01 18:00"),
        ("[$-409]h:mm AM/PM", "0.5729166667", "13:45"),
        ("[Red]yyyy", "60", "1900-02-28"),
        ("yyyy-mm-dd", "1", "1900-01-01"),
        ("yyyy-mm-dd", "-3", "-3"),
        ("0%", "0.25", "25%"),
        ("0000000000", "123456789", "0123456789"),
        ('"+"0', "60123456789", "+60123456789"),
        ("\\+#", "60123456789", "+60123456789"),
        ("0.00", "17.5", "17.5"),
        ('0 "days"', "3", "3"),
        ("General", "0.30000000000000004", "0.3"),
    ],
)
def test_numbers_look_as_their_format_shows_them(file: Path, code: str, number: str, seen: str) -> None:
    (row,) = _read(file, ["phone", "n"], ["1", f'<c s="1"><v>{number}</v></c>'], formats=[code])
    assert row == (2, ["1", seen])


def test_dates_of_old_macintosh_workbooks_count_from_1904(file: Path) -> None:
    (row,) = _read(file, ["phone"], ['<c s="1"><v>44681</v></c>'], formats=["yyyy-mm-dd"], since_1904=True)
    assert row == (2, ["2026-05-01"])


def test_texts_are_shared_rich_escaped_or_the_value_of_a_formula(file: Path) -> None:
    rows = _read(
        file,
        ["phone", '<c t="s"><v>0</v></c>', "c"],
        ['<c t="str"><f>A1&amp;"x"</f><v>+60123456789</v></c>', '<c t="s"><v>1</v></c>', '<c t="b"><v>1</v></c>'],
        [
            "2",
            '<c t="inlineStr"><is><r><t>Li</t></r><r><t xml:space="preserve">m </t></r></is></c>',
            "<c><f>1+1</f></c>",
        ],
        ["3", "a_x000D_b_x0000_", "x"],
        texts="<si><t>name</t></si><si><r><t>Tan</t></r><r><t> 陳</t></r><rPh sb='0' eb='1'><t>チン</t></rPh></si>",
    )
    assert rows == [
        (2, ["+60123456789", "Tan 陳", "TRUE"]),
        (3, ["2", "Lim "]),
        (4, ["3", "a\rb_x0000_", "x"]),
    ]


def test_many_shared_texts_wait_on_the_disk(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workbook_parts, "EARLY_TEXTS", 3)
    texts = "".join(f"<si><t>né {n}</t></si>" for n in range(5_000)) + "<si/>"
    cells: list[list[Cell]] = [[f'<c t="s"><v>{n}</v></c>', str(n)] for n in (4_999, 3, 0, 5_000)]
    rows = _read(file, ["name", "phone"], *cells, texts=texts)
    assert [cells[0] for _, cells in rows] == ["né 4999", "né 3", "né 0", ""]
    with pytest.raises(InvalidInput, match="damaged near row 2"):
        _read(file, ["name", "phone"], ['<c t="s"><v>5001</v></c>', "1"], texts=texts)


def test_rows_are_numbered_as_in_the_sheet_and_empty_ones_left_out(file: Path) -> None:
    rows = row_xml(3, ["phone", "name"]) + row_xml(4, [None, None]) + row_xml(7, ["1", "a"]) + '<row r="9"/>'
    xml = f'<worksheet xmlns="{NAMESPACE}"><sheetData>{rows}</sheetData></worksheet>'
    assert _rows(write_workbook(file, {"Leads": xml})) == [(7, ["1", "a"])]


def test_places_may_be_left_out_and_names_may_have_a_prefix(file: Path) -> None:
    inside = (
        "<x:row><x:c t='inlineStr'><x:is><x:t>phone</x:t></x:is></x:c><x:c/><x:c t='str'><x:v>name</x:v></x:c></x:row>"
        "<x:row><x:c><x:v>1</x:v></x:c><x:c/><x:c t='str'><x:v>a</x:v></x:c></x:row>"
    )
    xml = f'<x:worksheet xmlns:x="{NAMESPACE}"><x:sheetData>{inside}</x:sheetData></x:worksheet>'
    with pytest.raises(InvalidInput, match="column 2 has no heading"):
        _rows(write_workbook(file, {"Leads": xml}))
    write_workbook(file, {"Leads": xml.replace("<x:c/>", "")})
    assert _rows(file) == [(2, ["1", "a"])]


def test_the_first_sheet_is_read_unless_another_is_named(file: Path) -> None:
    write_workbook(file, {"One": [["phone"], [1]], "Zwei & drei": [["phone"], [2]]})
    assert _rows(file) == [(2, ["1"])]
    assert _rows(file, "Zwei & drei") == [(2, ["2"])]
    with pytest.raises(InvalidInput, match="no sheet 'Three'; there are 'One', 'Zwei & drei'"):
        _rows(file, "Three")
    csv = file.with_suffix(".csv")
    csv.write_text("phone\n1\n")
    with pytest.raises(InvalidInput, match="has no sheets"):
        _rows(csv, "One")


def test_bytes_and_not_names_say_what_a_file_is(tmp_path: Path) -> None:
    named_wrong = write_workbook(tmp_path / "leads.csv", {"Leads": [["phone"], [1]]})
    assert _rows(named_wrong) == [(2, ["1"])]
    (tmp_path / "leads.xlsx").write_text("phone\n2\n")
    assert _rows(tmp_path / "leads.xlsx") == [(2, ["2"])]


def test_errors_of_formulas_and_cells_without_heading_cost_their_row(file: Path) -> None:
    rows = _read(
        file,
        ["phone", "name", None, None],
        ["1", '<c t="e"><v>#N/A</v></c>'],
        ["2", "b", None, "note"],
        ["3", "c", None, " "],
    )
    assert rows[0] == (2, "the cell shows #N/A; correct its formula, or empty it")
    assert "right of the last heading" in rows[1][1]
    assert rows[2][0] == 4
    with open_lead_file(file) as opened:
        bad = next(opened.rows())
    assert isinstance(bad, BadRow)
    assert (bad.problem.column, bad.cells) == ("name", ["1", "#N/A"])


def test_a_cell_at_the_far_corner_of_a_sheet_costs_one_row_and_no_memory(file: Path) -> None:
    corner = '<row r="1048576"><c r="XFD1048576"><v>1</v></c></row>'
    xml = sheet_xml([["phone"], [1]]).replace("</sheetData>", corner + "</sheetData>")
    rows = _rows(write_workbook(file, {"Leads": xml}))
    assert [line for line, _ in rows] == [2, 1_048_576]
    for wrong, words in (('"1048577"', "at most; this one has row 1,048,577"), ('"x"', "damaged near row")):
        write_workbook(file, {"Leads": xml.replace('<row r="1048576"', f"<row r={wrong}")})
        with pytest.raises(InvalidInput, match=words):
            _rows(file)
    write_workbook(file, {"Leads": xml.replace("XFD1048576", "XFE1")})
    with pytest.raises(InvalidInput, match="no sheet has a column 'XFE'"):
        _rows(file)


def test_s23_workbooks_that_would_fill_memory_are_refused(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workbook_parts, "MAX_UNPACKED_BYTES", 100_000)
    write_workbook(file, {"Leads": [["phone"], *([n] for n in range(10_000))]})
    with pytest.raises(InvalidInput, match="unpacks to more than"):
        open_lead_file(file)
    monkeypatch.undo()
    monkeypatch.setattr(workbook_parts, "MAX_UNFINISHED_BYTES", 100_000)
    write_workbook(file, {"Leads": [["phone"], ["1" * 1_000_000]]})
    with pytest.raises(InvalidInput, match="one row or text of the workbook is larger"):
        _rows(file)
    entities = '<!DOCTYPE a [<!ENTITY b "cccc">]>' + sheet_xml([["phone"], [1]])
    with pytest.raises(InvalidInput, match="declares XML entities"):
        _rows(write_workbook(file, {"Leads": entities}))


def test_s23_what_is_no_workbook_is_refused_with_what_to_do(file: Path) -> None:
    for name, words in (
        ("notes.txt", "a ZIP archive and not an Excel workbook"),
        ("xl/workbook.bin", "a binary Excel workbook"),
        ("content.xml", "an OpenDocument file"),
    ):
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr(name, "x")
        with pytest.raises(InvalidInput, match=words):
            open_lead_file(file)
    whole = write_workbook(file, {"Leads": [["phone"], *([n] for n in range(1_000))]}).read_bytes()
    for broken in (whole[:2_000], whole[:900] + b"\0" * 50 + whole[950:]):
        file.write_bytes(broken)
        with pytest.raises(InvalidInput, match="damaged"):
            _rows(file)
    write_workbook(file, {"Leads": "<worksheet><sheetData><row>"})
    with pytest.raises(InvalidInput, match="damaged"):
        _rows(file)
    with pytest.raises(InvalidInput, match="the sheet 'Leads' is empty"):
        _rows(write_workbook(file, {"Leads": [["", " "]]}))


def test_a_sheet_has_as_many_columns_as_an_import_takes(file: Path) -> None:
    headings: list[Cell] = ["phone", *(f"c{n}" for n in range(MAX_COLUMNS))]
    with pytest.raises(InvalidInput, match="201 columns; at most 200"):
        _read(file, headings)
