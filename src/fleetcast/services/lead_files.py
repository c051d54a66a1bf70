"""Opening a lead file and reading CSV: whatever a spreadsheet, a CRM or a script saved becomes rows of cells.

Separate from the import because what can be wrong with a file has nothing to do with what is in the database. Reads
line by line, so memory does not grow with the file; a quote that is never closed costs one row, not the rest.
"""

import codecs
import csv
import re
from collections import deque
from collections.abc import Iterator, Mapping
from io import BufferedReader, TextIOWrapper
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import Self

from fleetcast.domain.lead_columns import MAX_COLUMNS, Headings, recognise, recognised
from fleetcast.errors import InvalidInput, Problem
from fleetcast.services.lead_rows import BadRow, LeadFile, Row
from fleetcast.services.lead_workbooks import WorkbookFile

MAX_LINE_CHARS = 1_000_000
MAX_ROW_CHARS = 120_000
"""Of a row whose cells contain line breaks; below the csv module's own limit for one cell."""
MAX_ROW_LINES = 1_000
DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab"}

_CHUNK = 1 << 20
_ZIP = b"PK\x03\x04"
_UNDEFINED_IN_1252 = bytes([0x81, 0x8D, 0x8F, 0x90, 0x9D])
_FOREIGN = {
    b"\xd0\xcf\x11\xe0": "an Excel workbook of the old kind (.xls) or one with a password",
    b"%PDF": "a PDF document",
    b"\x1f\x8b": "a compressed file",
    b"SQLite format 3": "a database",
}
_TOLD = re.compile(r'"?sep=(\S?)"?[\t ]*[\r\n]*', re.IGNORECASE)
_SAVE_AS = "in the spreadsheet, choose Save as, CSV UTF-8"


class CsvFile:
    """An open CSV file. Made by `open_lead_file`; close it with `with`."""

    def __init__(self, raw: BufferedReader, size: int, encoding: str, mapping: Mapping[str, str] | None = None) -> None:
        self._raw = raw
        self._text = TextIOWrapper(raw, encoding=encoding, newline="")
        self._line = 0
        self.size = size
        """Bytes."""
        self.encoding = encoding
        self.sheets: tuple[str, ...] = ()
        first, self.delimiter = self._first_row()
        self.headings: Headings = recognise(_split(first, self.delimiter, self._header_line), mapping)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *trouble: object) -> None:
        self._text.close()

    @property
    def bytes_read(self) -> int:
        """How far reading has come; runs a buffer ahead."""
        return min(self._raw.tell(), self.size)

    def _next_line(self) -> str:
        try:
            line = self._text.readline(MAX_LINE_CHARS)
        except UnicodeError:
            raise InvalidInput(
                "file", "the file changed while it was read, or its encoding is mixed; save it anew"
            ) from None
        except OSError as error:
            raise InvalidInput("file", f"reading stopped: {error.strerror}") from None
        if line:
            self._line += 1
            if len(line) == MAX_LINE_CHARS:
                raise InvalidInput("file", f"the line has more than {MAX_LINE_CHARS:,} characters", line=self._line)
        return line

    def _first_row(self) -> tuple[str, str]:
        """The heading row and the delimiter; blank lines and Excel's `sep=;` skipped, line breaks in quotes kept."""
        told, row = "", ""
        while line := self._next_line():
            if not row and not line.strip():
                continue
            if not row and (sign := _TOLD.fullmatch(line)):
                told = sign[1] or "\t"
                continue
            if "\0" in line:
                raise InvalidInput("file", f"this is not a text file with leads; {_SAVE_AS}")
            if not row:
                self._header_line = self._line
            row += line
            delimiter = told or max(DELIMITERS, key=lambda d: _sense(row, d))
            # A quote inside an unquoted heading (5" pipe) opens nothing: whatever has a phone column is complete.
            if row.count('"') % 2 == 0 or _sense(row, delimiter) > (MAX_COLUMNS, 0) or len(row) > MAX_ROW_CHARS:
                return row, delimiter
        raise InvalidInput("file", "the headings have a quote that is not closed" if row else "the file is empty")

    def rows(self) -> Iterator[Row | BadRow]:
        """The rows after the headings, blank lines skipped; to be walked once."""
        held: list[str] = []
        again: deque[str] = deque()

        def lines() -> Iterator[str]:
            chars = 0
            while line := again.popleft() if again else self._next_line():
                chars = chars + len(line) if held else 0
                held.append(line)
                if len(held) > MAX_ROW_LINES or chars > MAX_ROW_CHARS:
                    raise _Endless
                yield line

        start = self._line + 1
        reader = csv.reader(lines(), delimiter=self.delimiter, strict=True)
        while True:
            try:
                cells = next(reader)
            except StopIteration:
                return
            except (csv.Error, _Endless) as error:
                yield BadRow(Problem(start, "", _quote_problem(error, held)), [held[0].rstrip("\r\n")])
                # Only the row's first line is given up: what an open quote swallowed is read again.
                again.extendleft(reversed(held[1:]))
                start += 1
                held.clear()
                reader = csv.reader(lines(), delimiter=self.delimiter, strict=True)
                continue
            if cells:
                yield Row(start, cells)
            start += len(held)
            held.clear()


class _Endless(Exception):
    """A row over too many lines."""


def _quote_problem(error: Exception, held: list[str]) -> str:
    if isinstance(error, _Endless) or len(held) > 1 or "unexpected end" in str(error):
        return "a quote is opened and never closed in its cell; double quotes that belong to the text"
    if "field larger" in str(error):
        return f"a cell has more than {MAX_ROW_CHARS:,} characters"
    return "a closing quote is not followed by the delimiter; double quotes that belong to the text"


def _split(row: str, delimiter: str, line: int) -> list[str]:
    try:
        return next(csv.reader([row], delimiter=delimiter, strict=True), [])
    except csv.Error:
        raise InvalidInput(
            "file", "the headings have a quote that is opened and not closed; correct it", line=line
        ) from None


def _sense(row: str, delimiter: str) -> tuple[int, int]:
    """How much sense headings make with a delimiter: a phone column above all, then known ones, then columns."""
    try:
        cells = next(csv.reader([row], delimiter=delimiter, strict=True), [])
    except csv.Error:
        return 0, 0
    return recognised(cells), len(cells)


def _encoding_of(raw: BufferedReader) -> str:
    """UTF-8 if every byte of the file agrees, UTF-16 by its mark, else Windows-1252. Leaves the file at its start."""
    start = raw.read(4096)
    for mark, what in _FOREIGN.items():
        if start.startswith(mark):
            raise InvalidInput("file", f"this is {what}, neither a CSV file nor an Excel workbook (.xlsx); {_SAVE_AS}")
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raw.seek(0)
        return "utf-16"
    if start[:512].count(0) > len(start[:512]) // 5:
        raise InvalidInput("file", f"this is not a text file, or UTF-16 without its mark; {_SAVE_AS}")
    raw.seek(0)
    decoder, legacy, is_utf8 = codecs.getincrementaldecoder("utf-8")(), False, True
    while chunk := raw.read(_CHUNK):
        if is_utf8:
            try:
                decoder.decode(chunk)
            except UnicodeDecodeError:
                is_utf8 = False
        legacy = legacy or len(chunk.translate(None, _UNDEFINED_IN_1252)) < len(chunk)
    if is_utf8:
        try:
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            is_utf8 = False
    raw.seek(0)
    if is_utf8:
        return "utf-8-sig"
    if legacy:
        raise InvalidInput("file", f"the text is neither UTF-8 nor Windows-1252; {_SAVE_AS}")
    return "cp1252"


def open_lead_file(path: Path, *, sheet: str | None = None, mapping: Mapping[str, str] | None = None) -> LeadFile:
    """Open a CSV file or an Excel workbook; which of them it is, its bytes say and not its name.

    `sheet` names a sheet of a workbook, else its first one is read. `mapping` says of headings which field they are,
    see `recognise`. Headings are found here, rows are read by `LeadFile.rows`. Raises InvalidInput("file", "sheet",
    "mapping" or "columns", …) when it cannot be read, is neither of both, is empty, or has no phone column.
    """
    raw = _opened(path)
    try:
        if raw.peek(len(_ZIP)).startswith(_ZIP):
            return WorkbookFile(raw, sheet, mapping)
        if sheet is not None:
            raise InvalidInput("sheet", "a CSV file has no sheets; leave the sheet out")
        return CsvFile(raw, path.stat().st_size, _encoding_of(raw), mapping)
    except BaseException:
        raw.close()
        raise


def _opened(path: Path) -> BufferedReader:
    try:
        mode = path.stat().st_mode
        if S_ISDIR(mode):
            raise InvalidInput("file", f"{path} is a folder; name a file in it")
        if not S_ISREG(mode):  # opening a pipe would wait for its writer
            raise InvalidInput("file", f"{path} is not an ordinary file; save the leads to one first")
        return path.open("rb")
    except (FileNotFoundError, NotADirectoryError):
        raise InvalidInput("file", f"{path} does not exist") from None
    except PermissionError:
        raise InvalidInput("file", f"{path} may not be read by this user; change its permissions") from None
    except (OSError, ValueError) as error:
        raise InvalidInput("file", f"{path} cannot be opened ({error})") from None
