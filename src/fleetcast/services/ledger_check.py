"""The judge: compares what the simulator's ledger accepted with what the table says. Never the system's own counters.

Exactly once means: every `sent` message of a simulated device has one accepted record, and no message has two. A
message that is still open may have one that its row does not know yet; a message that ended otherwise must have none.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from fleetcast.runtime import Runtime
from fleetcast.services.inbound import parse_reference
from fleetcast.store import identity, judged
from fleetcast.transports.simulator.ledger import Ledger, RecordKind


@dataclass(frozen=True, slots=True)
class LedgerCheck:
    """What the comparison found; it holds when the lists are empty."""

    accepted: int
    """Accepted records of this installation."""
    sent: int
    """Rows that are `sent`, or were and failed later."""
    twice: tuple[int, ...]
    """Messages that the ledger accepted more than once."""
    lost: tuple[int, ...]
    """Messages that are `sent` in the table but not in the ledger."""
    unknown: tuple[int, ...]
    """Messages that the ledger accepted although their row ended as never sent."""

    @property
    def holds(self) -> bool:
        """Nothing lost, nothing twice, nothing unaccounted."""
        return not (self.twice or self.lost or self.unknown)


async def check_ledger(runtime: Runtime, ledger: Path) -> LedgerCheck:
    """Compare; reads the whole ledger file."""
    async with runtime.db.connection() as connection:
        install = await identity.install_id(connection)
        sent, never = await judged.outcomes(connection)
    accepted = Counter(_messages(ledger, install))
    return LedgerCheck(
        accepted=accepted.total(),
        sent=len(sent),
        twice=tuple(sorted(m for m, n in accepted.items() if n > 1)),
        lost=tuple(sorted(sent - accepted.keys())),
        unknown=tuple(sorted(never & accepted.keys())),
    )


def _messages(ledger: Path, install: str) -> Iterable[int]:
    for record in Ledger.read(ledger):
        attempt = parse_reference(install, record.reference)
        if record.kind is RecordKind.ACCEPTED and attempt is not None:
            yield attempt[0]
