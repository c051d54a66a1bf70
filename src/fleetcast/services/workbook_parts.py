"""The parts of an Excel workbook (.xlsx) around its rows: the archive, its sheets, formats of numbers, shared texts.

Everything is streamed, because a sheet of a million rows unpacks to a gigabyte: XML is read with expat piece by piece,
shared texts go to a temporary file. What would let a small file fill memory is refused: parts that unpack to too much,
an element without an end, a document type with entities of its own.
"""

import re
import tempfile
import zipfile
import zlib
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from mmap import ACCESS_READ, mmap
from posixpath import join, normpath
from struct import Struct
from typing import IO, BinaryIO
from xml.parsers import expat

from fleetcast.errors import InvalidInput

MAX_UNPACKED_BYTES = 4 << 30
"""Of a sheet and the shared texts together."""
MAX_SMALL_PART_BYTES = 64 << 20
"""Of any other part that is read."""
MAX_UNFINISHED_BYTES = 16 << 20
"""Of one row or one shared text."""
EARLY_TEXTS = 50_000
"""Shared texts kept in memory: the first ones are those that repeat."""

_PIECE = 1 << 16
_SAVE_AS = "in the spreadsheet, choose Save as, Excel workbook (.xlsx) or CSV UTF-8"
_OTHER_KINDS = {
    "xl/workbook.bin": "a binary Excel workbook (.xlsb)",
    "content.xml": "an OpenDocument file",
    "Index/Document.iwa": "a Numbers document",
    "word/document.xml": "a Word document",
}
_TWO = Struct("=QQ")
_ESCAPED = re.compile("_x([0-9A-Fa-f]{4})_")


@contextmanager
def readable() -> Iterator[None]:
    """Turn what damaged archives raise into one sentence."""
    try:
        yield
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, KeyError) as error:
        raise InvalidInput("file", f"the workbook is damaged or encrypted ({error}); {_SAVE_AS}") from None
    except expat.ExpatError as error:
        raise InvalidInput("file", f"the workbook is damaged ({error}); {_SAVE_AS}") from None
    except OSError as error:
        raise InvalidInput("file", f"reading stopped: {error.strerror or error}") from None


def unescaped(text: str) -> str:
    """A text of a workbook as it is meant: `_x000D_` stands for a character that XML cannot hold."""
    return _ESCAPED.sub(_character, text) if "_x" in text else text


def _character(found: re.Match[str]) -> str:
    code = int(found[1], 16)
    return found[0] if code == 0 or 0xD800 <= code < 0xE000 else chr(code)


def new_parser() -> expat.XMLParserType:
    """An XML parser that hands out text in one piece and refuses document types."""

    def refuse(*_: object) -> None:
        raise InvalidInput("file", f"the workbook declares XML entities, which no spreadsheet writes; {_SAVE_AS}")

    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = refuse
    return parser


Parse = Callable[[bytes, bool], object]
"""Takes the next piece of XML, and whether it is the last."""


def feed(parse: Parse, stream: IO[bytes], finished: Callable[[], int]) -> Iterator[int]:
    """Parse piece by piece, yielding the bytes read so far. `finished` counts what has been completed.

    Raises InvalidInput for a damaged file and for an element that goes on for too long.
    """
    read, last, since = 0, -1, 0
    while True:
        with readable():
            piece = stream.read(_PIECE)
            parse(piece, not piece)
        if not piece:
            yield read  # what was held back until the end
            return
        read += len(piece)
        if finished() != last:
            last, since = finished(), read
        elif read - since > MAX_UNFINISHED_BYTES:
            raise InvalidInput(
                "file", f"one row or text of the workbook is larger than {MAX_UNFINISHED_BYTES >> 20} MB; {_SAVE_AS}"
            )
        yield read


class Workbook:
    """An open workbook: where its parts are."""

    def __init__(self, raw: BinaryIO) -> None:
        with readable():
            self._archive = zipfile.ZipFile(raw)
        names = set(self._archive.namelist())
        for part, what in _OTHER_KINDS.items():
            if part in names:
                raise InvalidInput("file", f"this is {what}; {_SAVE_AS}")
        if "_rels/.rels" not in names:
            raise InvalidInput("file", "this is a ZIP archive and not an Excel workbook; unpack it first")
        main = next((path for kind, path in self._related("").values() if kind == "officeDocument"), "xl/workbook.xml")
        related = self._related(main)
        self.sheets: dict[str, str] = {}
        """Path of each worksheet by its name, in their order."""
        self.since_1904 = False
        for tag, attributes in self._elements(main):
            if tag == "sheet":
                place = next((v for k, v in attributes.items() if k.rpartition(":")[2] == "id"), "")
                kind, path = related.get(place, ("", ""))
                if kind == "worksheet" and path in names:
                    self.sheets[attributes.get("name", "")] = path
            elif tag == "workbookPr":
                self.since_1904 = attributes.get("date1904", "") in {"1", "true"}
        others = {kind: path for kind, path in related.values() if path in names}
        self._styles = others.get("styles")
        self._texts = others.get("sharedStrings")

    def _related(self, part: str) -> dict[str, tuple[str, str]]:
        """Kind and path of what a part refers to, by id."""
        folder, _, name = part.rpartition("/")
        relations = join(folder, "_rels", f"{name}.rels")
        found = {}
        if relations in self._archive.namelist():
            for tag, attributes in self._elements(relations):
                if tag == "Relationship":
                    target = normpath(join("/", folder, attributes.get("Target", ""))).lstrip("/")
                    found[attributes.get("Id", "")] = attributes.get("Type", "").rpartition("/")[2], target
        return found

    def _elements(self, part: str) -> Iterator[tuple[str, dict[str, str]]]:
        """Name without prefix and attributes of every element of a small part."""
        seen: list[tuple[str, dict[str, str]]] = []
        parser = new_parser()
        parser.StartElementHandler = lambda tag, attributes: seen.append((tag.rpartition(":")[2], attributes))
        with readable():
            if self._archive.getinfo(part).file_size > MAX_SMALL_PART_BYTES:
                raise InvalidInput("file", f"the part {part} of the workbook is too large; {_SAVE_AS}")
            stream = self._archive.open(part)
        with stream:
            for read in feed(parser.Parse, stream, lambda: len(seen)):
                if read:
                    yield from seen
                    seen.clear()

    def formats(self) -> list[str]:
        """The format of numbers of each style, as its code; built-in ones as their id in digits."""
        if self._styles is None:
            return []
        codes: dict[str, str] = {}
        formats: list[str] = []
        container = ""
        for tag, attributes in self._elements(self._styles):
            if tag == "numFmt":
                codes[attributes.get("numFmtId", "")] = attributes.get("formatCode", "")
            elif tag in {"cellXfs", "cellStyleXfs", "cellStyles", "dxfs"}:
                container = tag
            elif tag == "xf" and container == "cellXfs":
                number = attributes.get("numFmtId", "0")
                formats.append(codes.get(number, number))
        return formats

    def unpacked(self, sheet: str) -> int:
        """Bytes of a sheet. Raises InvalidInput when it and the shared texts are too large together."""
        with readable():
            size = self._archive.getinfo(self.sheets[sheet]).file_size
            texts = self._archive.getinfo(self._texts).file_size if self._texts else 0
        if size + texts > MAX_UNPACKED_BYTES:
            raise InvalidInput(
                "file", f"the workbook unpacks to more than {MAX_UNPACKED_BYTES >> 30} GB; split it or save it as CSV"
            )
        return size

    def open_sheet(self, sheet: str) -> IO[bytes]:
        """The XML of a sheet."""
        with readable():
            return self._archive.open(self.sheets[sheet])

    def texts(self) -> "SharedTexts":
        """The texts that cells refer to by number; empty when there are none."""
        if self._texts is None:
            return SharedTexts(None)
        with readable(), self._archive.open(self._texts) as stream:
            return SharedTexts(stream)

    def close(self) -> None:
        """Close the archive, not the file it is in."""
        self._archive.close()


class SharedTexts:
    """The texts that cells refer to by number, the first in memory and all in an unnamed temporary file."""

    def __init__(self, stream: IO[bytes] | None) -> None:
        self._early: list[str] = []
        self._many = 0
        self._ends: mmap | None = None
        self._bytes: mmap | None = None
        if stream is not None:
            with readable():
                self._load(stream)

    def _load(self, stream: IO[bytes]) -> None:
        parts: list[str] = []
        batch: list[bytes] = []
        taking = aloud = False
        text_tag, item_tag, phonetic_tag = "t", "si", "rPh"

        def start(tag: str, _: dict[str, str]) -> None:
            nonlocal taking, aloud, text_tag, item_tag, phonetic_tag
            if tag == text_tag:
                taking = not aloud
            elif tag == phonetic_tag:
                aloud = True  # how a name is read, beside the name
            elif tag.endswith(":sst"):
                prefix = tag.removesuffix("sst")
                text_tag, item_tag, phonetic_tag = prefix + "t", prefix + "si", prefix + "rPh"

        def end(tag: str) -> None:
            nonlocal taking, aloud
            if tag == text_tag:
                taking = False
            elif tag == item_tag:
                text = unescaped("".join(parts))
                parts.clear()
                self._many += 1
                if len(self._early) < EARLY_TEXTS:
                    self._early.append(text)
                batch.append(text.encode("utf-8", "replace"))
            elif tag == phonetic_tag:
                aloud = False

        def chars(text: str) -> None:
            if taking:
                parts.append(text)

        parser = new_parser()
        parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = start, end, chars
        place = 0
        with tempfile.TemporaryFile() as ends, tempfile.TemporaryFile() as texts:
            ends.write(array("Q", [0]).tobytes())
            for _ in feed(parser.Parse, stream, lambda: self._many):
                offsets = array("Q")
                for text in batch:
                    place += len(text)
                    offsets.append(place)
                ends.write(offsets.tobytes())
                texts.write(b"".join(batch))
                batch.clear()
            ends.flush()
            texts.flush()
            self._ends = mmap(ends.fileno(), 0, access=ACCESS_READ)
            if place:
                self._bytes = mmap(texts.fileno(), 0, access=ACCESS_READ)

    def __getitem__(self, number: int) -> str:
        """The text with that number. Raises IndexError."""
        if 0 <= number < len(self._early):
            return self._early[number]
        if not 0 <= number < self._many or self._ends is None or self._bytes is None:
            raise IndexError(number)
        start, end = _TWO.unpack_from(self._ends, 8 * number)
        return self._bytes[start:end].decode()

    def close(self) -> None:
        """Give the temporary files back."""
        for held in (self._ends, self._bytes):
            if held is not None:
                held.close()
