"""Workbooks for tests, written by hand so that each oddity of a spreadsheet can be asked for."""

import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from xml.sax.saxutils import escape

Cell = str | int | float | None
NAMESPACE = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
RELATED = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"


def letters(number: int) -> str:
    """The letters above a column, counted from 0."""
    return (chr(64 + number // 26) if number >= 26 else "") + chr(65 + number % 26)


def row_xml(number: int, cells: Sequence[Cell]) -> str:
    """A row with texts in their cells; a text that begins with `<c` is taken as it is."""
    made = []
    for column, cell in enumerate(cells):
        place = f"{letters(column)}{number}"
        if isinstance(cell, str) and cell.startswith("<c"):
            made.append(cell.replace("<c", f'<c r="{place}"', 1))
        elif isinstance(cell, str):
            made.append(f'<c r="{place}" t="inlineStr"><is><t>{escape(cell)}</t></is></c>')
        elif cell is not None:
            made.append(f'<c r="{place}"><v>{cell}</v></c>')
    return f'<row r="{number}">{"".join(made)}</row>'


def sheet_xml(rows: Iterable[Sequence[Cell]]) -> str:
    """A sheet whose rows begin at 1."""
    inside = "".join(row_xml(number, cells) for number, cells in enumerate(rows, start=1))
    return f'<worksheet xmlns="{NAMESPACE}"><sheetData>{inside}</sheetData></worksheet>'


def write_workbook(
    path: Path,
    sheets: Mapping[str, str | Iterable[Sequence[Cell]]],
    *,
    texts: str | None = None,
    formats: Sequence[str] = (),
    since_1904: bool = False,
) -> Path:
    """Write sheets, given as rows or as XML; `texts` is what stands inside the table of shared texts, `formats` are
    the number formats of the styles 1, 2, …
    """
    kinds = [("worksheet", f"worksheets/sheet{n}.xml") for n in range(1, len(sheets) + 1)]
    kinds += [("sharedStrings", "sharedStrings.xml")] if texts is not None else []
    kinds += [("styles", "/xl/styles.xml")] if formats else []
    relations = "".join(
        f'<Relationship Id="r{n}" Type="{RELATED}/{kind}" Target="{target}"/>'
        for n, (kind, target) in enumerate(kinds, start=1)
    )
    names = "".join(
        f'<sheet name="{escape(name)}" sheetId="{n}" r:id="r{n}"/>' for n, name in enumerate(sheets, start=1)
    )
    package = "http://schemas.openxmlformats.org/package/2006/relationships"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(
            "_rels/.rels",
            f'<Relationships xmlns="{package}"><Relationship Id="a" Type="{RELATED}/officeDocument" '
            'Target="xl/workbook.xml"/></Relationships>',
        )
        archive.writestr(
            "xl/workbook.xml",
            f'<workbook xmlns="{NAMESPACE}" xmlns:r="{RELATED}"><workbookPr date1904="{int(since_1904)}"/>'
            f"<sheets>{names}</sheets></workbook>",
        )
        archive.writestr("xl/_rels/workbook.xml.rels", f'<Relationships xmlns="{package}">{relations}</Relationships>')
        for n, content in enumerate(sheets.values(), start=1):
            archive.writestr(f"xl/worksheets/sheet{n}.xml", content if isinstance(content, str) else sheet_xml(content))
        if texts is not None:
            archive.writestr("xl/sharedStrings.xml", f'<sst xmlns="{NAMESPACE}">{texts}</sst>')
        if formats:
            codes = "".join(
                f'<numFmt numFmtId="{200 + n}" formatCode="{escape(c, {chr(34): "&quot;"})}"/>'
                for n, c in enumerate(formats)
            )
            styles = "".join(f'<xf numFmtId="{200 + n}"/>' for n in range(len(formats)))
            archive.writestr(
                "xl/styles.xml",
                f'<styleSheet xmlns="{NAMESPACE}"><numFmts>{codes}</numFmts><cellStyleXfs><xf numFmtId="14"/>'
                f'</cellStyleXfs><cellXfs><xf numFmtId="0"/>{styles}</cellXfs></styleSheet>',
            )
    return path
