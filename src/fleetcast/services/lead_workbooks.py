"""Reading leads from a sheet of an Excel workbook (.xlsx), row by row, so that memory does not grow with it.

Cells come as people see them: numbers without `.0`, dates as 2026-05-01, formulas by the value that was saved with
them. The parts around the rows are in `workbook_parts`, the look of numbers in `fleetcast.domain.sheet_numbers`.
"""

import re
from collections.abc import Generator, Iterator, Mapping
from io import BufferedReader
from typing import Self

from fleetcast.domain.lead_columns import MAX_COLUMNS, REPORT_COLUMNS, Headings, recognise
from fleetcast.domain.sheet_numbers import shown_as
from fleetcast.errors import InvalidInput, Problem
from fleetcast.services.lead_rows import BadRow, Row
from fleetcast.services.plain_rows import PLAIN_CELL, Sieve
from fleetcast.services.workbook_parts import Workbook, feed, new_parser, unescaped

MAX_ROWS = 1_048_576
"""Of a sheet, as in the spreadsheets themselves."""
MAX_SHEET_COLUMNS = 16_384
_KEPT = MAX_COLUMNS + len(REPORT_COLUMNS)
"""Columns of a row that are kept; one cell more says that there is text further right."""

_DIGITS = "0123456789"
_LETTERS = re.compile("[A-Z]{1,3}")
_TEXTS = {"str", "inlineStr", "d"}
_ERROR = "\0"
"""Marks what a formula could not compute; no text of XML holds this character."""


def _column_number(letters: str) -> int:
    """The column below these letters, counted from 0. Raises InvalidInput for what no sheet has."""
    number = 0
    if _LETTERS.fullmatch(letters):
        for letter in letters:
            number = number * 26 + ord(letter) - ord("A") + 1
    if not 1 <= number <= MAX_SHEET_COLUMNS:
        raise InvalidInput("file", f"the workbook is damaged: no sheet has a column '{letters[:10]}'")
    return number - 1


class WorkbookFile:
    """One sheet of an open workbook; see `fleetcast.services.lead_rows.LeadFile`. Owns `raw` once it is made."""

    encoding = "Excel workbook"
    delimiter = ""

    def __init__(self, raw: BufferedReader, sheet: str | None, mapping: Mapping[str, str] | None = None) -> None:
        self._raw = raw
        self._book = Workbook(raw)
        names = tuple(self._book.sheets)
        if not names:
            raise InvalidInput("file", "the workbook has no sheet with cells")
        chosen = names[0] if sheet is None else sheet
        if chosen not in names:
            listed = ", ".join(f"'{name}'" for name in names[:20])
            raise InvalidInput("sheet", f"there is no sheet '{chosen}'; there are {listed}")
        self.sheets: tuple[str, ...] = (chosen, *(name for name in names if name != chosen))
        self.size = self._book.unpacked(chosen)
        """Bytes of the sheet, unpacked."""
        self.bytes_read = 0
        self._texts = self._book.texts()
        self._all = self._scan(chosen)
        try:
            self.headings: Headings = recognise(self._first_row(), mapping)
        except BaseException:
            self._texts.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *trouble: object) -> None:
        self._all.close()
        self._texts.close()
        self._book.close()
        self._raw.close()

    def _first_row(self) -> list[str]:
        for _, cells in self._all:
            if any(cell.strip() for cell in cells):
                return [cell.replace(_ERROR, "") for cell in cells]
        raise InvalidInput("file", f"the sheet '{self.sheets[0]}' is empty")

    def rows(self) -> Iterator[Row | BadRow]:
        """The rows after the headings, numbered as in the sheet; empty ones skipped."""
        texts = [heading.text for heading in self.headings.columns]
        width = len(texts)
        for number, cells in self._all:
            if len(cells) > width and any(cell.strip() for cell in cells[width:]):
                reason = "there is text to the right of the last heading; give its column one, or empty it"
                yield BadRow(Problem(number, "", reason), [cell.replace(_ERROR, "") for cell in cells[:width]])
                continue
            if _ERROR in "".join(cells):
                wrong = next(i for i, cell in enumerate(cells) if cell.startswith(_ERROR))
                cells = [cell.replace(_ERROR, "") for cell in cells]
                reason = f"the cell shows {cells[wrong][:20]}; correct its formula, or empty it"
                yield BadRow(Problem(number, texts[wrong], reason), cells)
            elif any(cells):
                yield Row(number, cells)

    def _scan(self, sheet: str) -> Generator[tuple[int, list[str]], None, None]:
        """Number and cells of every row, as people see them."""
        texts = self._texts
        shown = [shown_as(code, since_1904=self._book.since_1904) for code in self._book.formats()]
        plain = shown_as("General")
        columns: dict[str, int] = {}
        ready: list[tuple[int, list[str]]] = []
        cells: list[str] = []
        parts: list[str] = []
        cell: dict[str, str] = {}
        value = ""
        number = done = 0
        place = -1
        aloud = False
        row_tag, cell_tag, value_tag, text_tag, phonetic_tag = "row", "c", "v", "t", "rPh"

        def begin_row(row: int) -> None:
            nonlocal number
            number = row
            if number > MAX_ROWS:
                raise InvalidInput("file", f"a sheet has {MAX_ROWS:,} rows at most; this one has row {number:,}")

        def start(tag: str, attributes: dict[str, str]) -> None:
            nonlocal cell, aloud, row_tag, cell_tag, value_tag, text_tag, phonetic_tag
            if tag == cell_tag:
                cell = attributes
            elif tag in (value_tag, text_tag):
                parts.clear()  # of what stood between elements
            elif tag == row_tag:
                begin_row(int(attributes.get("r", number + 1)))
            elif tag == phonetic_tag:
                aloud = True
            elif tag.endswith(":worksheet"):
                names = ("row", "c", "v", "t", "rPh")
                prefix = tag.removesuffix("worksheet")
                row_tag, cell_tag, value_tag, text_tag, phonetic_tag = (prefix + name for name in names)

        def put(letters: str | None, style: str | None, kind: str | None, text: str) -> None:
            nonlocal place
            if letters is None:
                place += 1
            else:
                found = columns.get(letters)
                place = columns.setdefault(letters, _column_number(letters)) if found is None else found
            if not text:
                return
            if kind == "s":
                text = texts[int(text)]
            elif not kind or kind == "n":
                text = shown[int(style)](text) if style and shown else plain(text)
            elif kind == "b":
                text = "TRUE" if text == "1" else "FALSE"
            elif kind == "e":
                text = _ERROR + text
            elif kind in _TEXTS:
                text = unescaped(text)
            column = place
            if column > _KEPT:
                if not text.strip():
                    return
                column = _KEPT
            missing = column - len(cells)
            if missing < 0:
                cells[column] = text
                return
            if missing:
                cells.extend([""] * missing)
            cells.append(text)

        def end_row() -> None:
            nonlocal cells, place, done
            ready.append((number, cells))
            cells = []
            place = -1
            done += 1

        def end(tag: str) -> None:
            nonlocal value, aloud
            if tag == value_tag:
                value = parts[0] if len(parts) == 1 else "".join(parts)
            elif tag == cell_tag:
                reference = cell.get("r")
                put(reference and reference.rstrip(_DIGITS), cell.get("s"), cell.get("t"), value)
                value = ""
            elif tag == row_tag:
                end_row()
            elif tag == text_tag:
                if not aloud:
                    value += "".join(parts)
            elif tag == phonetic_tag:
                aloud = False

        def plain_row(row: int, body: str) -> None:
            begin_row(row)
            for letters, style, kind, text in PLAIN_CELL.findall(body):
                put(letters, style, kind, text)
            end_row()

        parser = new_parser()
        parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = start, end, parts.append
        with self._book.open_sheet(sheet) as stream:
            try:
                for read in feed(Sieve(parser.Parse, plain_row), stream, lambda: done):
                    self.bytes_read = read
                    yield from ready
                    ready.clear()
            except (IndexError, ValueError) as error:
                raise InvalidInput("file", f"the workbook is damaged near row {number:,} ({error})") from None
