"""A text as WhatsApp shows it: *bold*, _italic_, ~struck out~. All else is shown as it is, and runs nowhere."""

import re

from markupsafe import Markup, escape

_PATTERNS = (
    (re.compile(r"(?<![\w*])\*(?=\S)([^*\n]+?)(?<=\S)\*(?![\w*])"), "b"),
    (re.compile(r"(?<!\w)_(?=\S)([^_\n]+?)(?<=\S)_(?!\w)"), "i"),
    (re.compile(r"(?<![\w~])~(?=\S)([^~\n]+?)(?<=\S)~(?![\w~])"), "s"),
)
"""A mark begins beside a word and ends beside one, within a line."""


def written(text: str) -> Markup:
    """The text with its marks as HTML."""
    shown = str(escape(text))
    for pattern, tag in _PATTERNS:
        shown = pattern.sub(rf"<{tag}>\1</{tag}>", shown)
    return Markup(shown)  # noqa: S704 - escaped above; only our own tags were added
