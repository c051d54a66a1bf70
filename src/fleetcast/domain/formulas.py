"""Cells that a spreadsheet would run: how they are made harmless in a file, and how the import undoes it.

A cell that begins like a formula gets a leading apostrophe, which spreadsheets show as text. Phone numbers begin with
`+` and are written that way too. One apostrophe is added to every cell that begins with any number of apostrophes and
then such a sign, and one is taken off such a cell again, so `unguarded(guarded(text)) == text` for every text.
"""

import re

_STARTS = "=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20"  # the last four: full-width = + - @, which some spreadsheets run too
_DANGEROUS = re.compile(f"'*[{_STARTS}]")
_GUARDED = re.compile(f"'+[{_STARTS}]")


def guarded(text: str) -> str:
    """The cell as it is safe to open in a spreadsheet."""
    return "'" + text if _DANGEROUS.match(text) else text


def unguarded(text: str) -> str:
    """The cell as it was before `guarded`; any other cell as it is."""
    return text[1:] if _GUARDED.match(text) else text
