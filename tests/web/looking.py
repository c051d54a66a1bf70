"""What a person sees of a page, and what a name could try to put there."""

import re
from html.parser import HTMLParser

HOSTILE = '"><img src=x onerror=alert(1)><hx-partial hx-target="body">'


class Page(HTMLParser):
    """Tags, ids and the text of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    @property
    def words(self) -> str:
        return re.sub(r"\s+", " ", self.text)

    def attributes(self, tag: str, **having: str) -> list[dict[str, str | None]]:
        """The attributes of every element of a kind that has these values among its own."""
        return [a for t, a in self.tags if t == tag and having.items() <= a.items()]
