"""A text as WhatsApp shows it: *bold*, _italic_, ~struck out~. All else is shown as it is, and runs nowhere."""

import re

from markupsafe import Markup, escape


def _pattern(mark: str) -> re.Pattern[str]:
    """A mark begins beside a word and ends beside one, within a line."""
    m = re.escape(mark)
    return re.compile(rf"(?<![\w{m}]){m}(?=\S)([^{m}\n]+?)(?<=\S){m}(?![\w{m}])")


_PATTERNS = tuple((_pattern(mark), tag) for mark, tag in (("*", "b"), ("_", "i"), ("~", "s")))


def written(text: str) -> Markup:
    """The text with its marks as HTML."""
    shown = str(escape(text))
    for pattern, tag in _PATTERNS:
        shown = pattern.sub(rf"<{tag}>\1</{tag}>", shown)
    return Markup(shown)  # noqa: S704 - escaped above; only our own tags were added
