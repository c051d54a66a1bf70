"""Positions in lists that go by id, as texts that people hand back and nobody has to understand."""

from collections.abc import Callable
from typing import TypeVar

from fleetcast.errors import InvalidInput

T = TypeVar("T")
LAST_ID = 2**63 - 1


def position(after: str | None, start: int) -> int:
    """The id after which a list goes on; `start` for its first page. Raises InvalidInput for what no page said."""
    if after is None:
        return start
    if not (after.isascii() and after.isdigit() and len(after) < 20 and int(after) <= LAST_ID):
        raise InvalidInput("after", f"'{after[:40]}' does not belong to this list; take it from the page before")
    return int(after)


def cut(found: list[T], limit: int, place: Callable[[T], object]) -> tuple[list[T], str | None]:
    """A page of `limit`, and where the next one begins: `found` is one more than that if there is one."""
    if len(found) <= limit:
        return found, None
    return found[:limit], str(place(found[limit - 1]))
