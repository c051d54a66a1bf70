"""Suppressions: the people that a workspace does not write to."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from fleetcast.client.exchange import Exchange
from fleetcast.client.pages import PAGE, Pages
from fleetcast.client.reading import read


@dataclass(frozen=True, slots=True, kw_only=True)
class Suppression:
    """One person on the list."""

    recipient: str
    effective_at: datetime
    """No attempt to this person starts after it."""
    created_at: datetime
    source: str
    """`reply`, `person`, `import` or `provider`."""
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Suppressed:
    """What putting people on the list did."""

    added: tuple[str, ...]
    known: tuple[str, ...]
    """Numbers that were on it already."""
    skipped: int
    """Messages that waited for these people and are skipped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifted:
    """Who may be written to again."""

    recipient: str


class Suppressions:
    """`fleet.suppressions`."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def list(self, *, limit: int = PAGE, after: str | None = None) -> Pages[Suppression]:
        """The list, by number."""
        return Pages(self._exchange, "suppressions", Suppression, {"limit": limit}, after=after)

    async def add(self, numbers: Sequence[str], note: str = "") -> Suppressed:
        """Write to these people no more: all of them, or none if one number cannot be read."""
        content = {"numbers": numbers, "note": note}
        return read(Suppressed, await self._exchange.ask("POST", "suppressions", content=content))

    async def show(self, number: str) -> Suppression:
        """Since when a person is on the list and why. Raises NotFound for who is not."""
        return read(Suppression, await self._exchange.ask("GET", "suppressions/{number}", number=number))

    async def lift(self, number: str, note: str = "") -> str:
        """Take a person off the list; the number as it stood there."""
        told = await self._exchange.ask("POST", "suppressions/{number}/lift", content={"note": note}, number=number)
        return read(Lifted, told).recipient
