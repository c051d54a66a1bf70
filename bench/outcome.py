"""What a benchmark hands back, and what it is given."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from bench.figures import Figure
from bench.scale import Scale

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Order:
    """What is asked of a benchmark."""

    scale: Scale
    seed: int
    senders: int
    statements: bool
    """Also count time by statement, which costs a few percent."""
    tell: Tell


@dataclass(slots=True)
class Outcome:
    """What a benchmark found."""

    figures: list[Figure] = field(default_factory=list)
    details: dict[str, object] = field(default_factory=dict)
    postgres_settings: Mapping[str, str] = field(default_factory=dict)
    """Beyond Fleetcast's defaults."""
    servers: Mapping[str, str] = field(default_factory=dict)
    """Versions of PostgreSQL and Valkey."""
