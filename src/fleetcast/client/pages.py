"""Lists of the API, gone through from page to page."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from fleetcast.client.errors import UnexpectedAnswer
from fleetcast.client.exchange import Exchange
from fleetcast.client.reading import read

T = TypeVar("T")
PAGE = 200
"""How many are asked for at once, unless one says otherwise."""


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some of a list."""

    items: tuple[T, ...]
    next: str | None
    """Where the list goes on; None: this was the last page."""


class Pages(Generic[T]):
    """A list. `async for` goes through all of it and asks for one page after the other; `pages()` gives whole pages.

    Nothing is asked before it is gone through. A list that grows meanwhile is neither missed nor repeated.
    """

    def __init__(
        self,
        exchange: Exchange,
        place: str,
        kind: type[T],
        query: Mapping[str, Any],
        *,
        after: str | None = None,
        ids: Mapping[str, int | str] | None = None,
    ) -> None:
        self._exchange = exchange
        self._place = place
        self._kind = kind
        self._query = query
        self._after = after
        self._ids = ids or {}

    async def pages(self) -> AsyncIterator[Page[T]]:
        """Page after page."""
        after = self._after
        while True:
            query = {**self._query, "after": after}
            told = await self._exchange.ask("GET", self._place, query=query, **self._ids)
            if not isinstance(told, dict) or not isinstance(told.get("items"), list):
                raise UnexpectedAnswer("The answer is no list of Fleetcast.")
            after = told.get("next")
            yield Page(tuple(read(self._kind, each) for each in told["items"]), after)
            if after is None:
                return

    async def __aiter__(self) -> AsyncIterator[T]:
        """All of it."""
        async for page in self.pages():
            for each in page.items:
                yield each
