"""The quick way through the rows of a sheet: those that look as spreadsheets usually write them need no XML parser.

A parser calls Python five times for each cell; of a million rows of six cells that is most of an import. Whole rows in
the usual form are taken out of the text and read by a pattern; the parser gets what is left, which is still one
document. Where a pattern could mistake something for a row (a comment, another encoding), nothing is taken out.
"""

import re
from collections.abc import Callable

from fleetcast.services.workbook_parts import Parse

_TEXT = r"[^<&\x00-\x08\x0b-\x1f]*"
_CELL = (
    r'<c r="([A-Z]{1,3})[0-9]{1,7}"(?: s="([0-9]{1,5})")?(?: t="([a-z]{1,3})")?'
    rf"(?:/>|>(?:<v>({_TEXT})</v>)?</c>)"
)
_NO_GROUPS = re.sub(r"\((?!\?)", "(?:", _CELL)
PLAIN_CELL = re.compile(_CELL)
"""A cell of a plain row: column, style, type and value, each '' when it is not there."""
_ROW = re.compile(rf'<row r="([0-9]{{1,7}})"[^<>]*>((?:{_NO_GROUPS})*)</row>'.encode())
_ROW_END = b"</row>"
_ENCODING = re.compile(rb"""encoding=["']([A-Za-z0-9._-]+)""")
_MOST_HELD = 1 << 20
"""Bytes without the end of a row after which looking for plain ones is given up."""


class Sieve:
    """Takes the XML of a sheet piece by piece; plain rows go to `row` (number, cells as XML), all else to `parse`."""

    def __init__(self, parse: Parse, row: Callable[[int, str], None]) -> None:
        self._parse = parse
        self._row = row
        self._held = b""
        self._active: bool | None = None
        """None before the first piece."""

    def __call__(self, piece: bytes, last: bool) -> None:
        """The next piece. Raises what `parse` and `row` raise, and ValueError for text that is no UTF-8."""
        if self._active is None:
            self._active = _is_utf8(piece)
        piece = self._held + piece
        self._held = b""
        if b"<!" in piece:
            self._active = False
        if not self._active or last:
            self._parse(piece, last)
            return
        end = piece.rfind(_ROW_END) + len(_ROW_END)
        if end < len(_ROW_END):
            if len(piece) > _MOST_HELD:
                self._active = False
                self._parse(piece, False)
            else:
                self._held = piece
            return
        self._held = piece[end:]
        at = 0
        for found in _ROW.finditer(piece, 0, end):
            if found.start() > at:
                self._parse(piece[at : found.start()], False)
            at = found.end()
            self._row(int(found[1]), found[2].decode())
        if at < end:
            self._parse(piece[at:end], False)


def _is_utf8(start: bytes) -> bool:
    declared = _ENCODING.search(start[:200])
    return b"\0" not in start[:4] and (declared is None or declared[1].lower() in {b"utf-8", b"us-ascii"})
