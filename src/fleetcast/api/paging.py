"""Lists by pages: each answer says how to ask for the next one. Never by counting rows, which misses and repeats."""

from typing import Annotated, Generic, TypeVar

from fastapi import Path, Query
from pydantic import BaseModel, Field

T = TypeVar("T")
LAST_ID = 2**63 - 1
LARGEST_PAGE = 1_000
STORABLE = r"^[^\x00]*$"
"""What a text must match that no service looks at more closely: PostgreSQL stores no zero byte."""

Id = Annotated[int, Path(ge=1, le=LAST_ID)]
"""A number in a path that points at a row."""
Limit = Annotated[int, Query(ge=1, le=LARGEST_PAGE, description="How many at most.")]
After = Annotated[
    str | None, Query(max_length=100, description="`next` of the page before; without it: the first page.")
]


class Page(BaseModel, Generic[T]):
    """Some of a list."""

    items: list[T]
    next: str | None = Field(description="Hand it back as `after` for the next page; null: this was the last one.")


def without_plus(number: str | None) -> str | None:
    """A number as a place in a list: a + in a query that was not written as %2B arrives as a blank."""
    return None if number is None else number.removeprefix("+")


def with_plus(place: str | None) -> str | None:
    """The number that a place in a list stands for."""
    return None if place is None else f"+{place.removeprefix('+')}"
