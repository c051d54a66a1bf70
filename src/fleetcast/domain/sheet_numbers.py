"""Numbers of a spreadsheet as people see them: a date is a number with a format, and so is a phone with zeros in front.

Separate from reading workbooks because it is arithmetic, and wrong in more ways than reading is.
"""

import re
from collections.abc import Callable
from datetime import date
from functools import partial

Shown = Callable[[str], str]
"""Turns a stored number into what its cell shows."""

_DATES = {14, 15, 16, 17, *range(27, 32), 34, 35, 36, *range(50, 59)}
_TIMES = {18, 19, 20, 21, 32, 33, 45, 46, 47}
_DATE_AND_TIME = 22
_PERCENT = {9, 10}
_LITERAL = re.compile(r'"[^"]*"|\\.|_.|\*.|\[(?!(?:h+|m+|s+)\])[^\]]*\]', re.IGNORECASE)
_PADDED = re.compile(r'(?:"([^"]*)"|\\(.)|(\+))?(0+|#)')
_EPOCH = date(1899, 12, 30).toordinal()
_EPOCH_1904 = date(1904, 1, 1).toordinal()
_PHANTOM_DAY = 60
"""29 February 1900, which spreadsheets believe in."""
_SECONDS = 86_400
_MOST_DIGITS = 15
"""That a spreadsheet keeps of a number."""


def _plain(text: str) -> str:
    if text.isdigit() and len(text) <= _MOST_DIGITS and text[0] != "0":
        return text
    try:
        value = float(text)
    except ValueError:
        return text
    if value.is_integer() and abs(value) < 1e21:
        return str(int(value))
    return f"{value:.{_MOST_DIGITS}g}"


def _percent(text: str) -> str:
    try:
        return f"{float(text) * 100:.12g}%"
    except ValueError:
        return text


def _padded(text: str, *, front: str, width: int) -> str:
    shown = _plain(text)
    return front + shown.zfill(width) if shown.isdigit() else shown


def _moment(text: str, *, has_date: bool, since_1904: bool) -> str:
    try:
        seconds = round(float(text) * _SECONDS)
    except (ValueError, OverflowError):
        return text
    days, rest = divmod(seconds, _SECONDS)
    minutes, second = divmod(rest, 60)
    clock = f"{minutes // 60:02}:{minutes % 60:02}" + (f":{second:02}" if second else "")
    if not has_date and days == 0:
        return clock
    epoch = _EPOCH_1904 if since_1904 else _EPOCH + (days < _PHANTOM_DAY)
    ordinal = epoch + days
    if days < 0 or ordinal > date.max.toordinal():
        return _plain(text)
    day = date.fromordinal(ordinal).isoformat()
    return f"{day} {clock}" if rest else day


def shown_as(code: str, *, since_1904: bool = False) -> Shown:
    """How numbers with this format appear: dates as 2026-05-01, times as 13:45, percent, zeros in front; else plainly.

    `code` is a number format of a workbook, or the id of a built-in one in digits.
    """
    if code.isdigit() and not code.startswith("0"):
        number = int(code)
        if number in _PERCENT:
            return _percent
        if number in _DATES or number in _TIMES or number == _DATE_AND_TIME:
            return partial(_moment, has_date=number not in _TIMES, since_1904=since_1904)
        return _plain
    section = code.split(";")[0]
    if found := _PADDED.fullmatch(section):
        front = found[1] or found[2] or found[3] or ""
        return partial(_padded, front=front, width=found[4].count("0")) if front or len(found[4]) > 1 else _plain
    signs = _LITERAL.sub("", section).lower()
    if "general" in signs:
        return _plain
    if "%" in signs:
        return _percent
    if re.search("[ymdhs]", signs):
        clock = bool(re.search("[hs]", signs))
        has_date = bool(re.search("[yd]", signs)) or not clock
        return partial(_moment, has_date=has_date, since_1904=since_1904)
    return _plain
