"""How many senders are wanted, and when a machine follows that wish. Pure: load and time are arguments."""

from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil

COMFORTABLE = 0.6
"""Share of a core that a sender may use: above it, what falls due at the same moment begins to wait in line."""
GROW_SECONDS = 10.0
SHRINK_SECONDS = 60.0
"""More are started soon, fewer only after a long calm: a campaign that pauses between two waves is no reason."""


def wanted_senders(busy: Iterable[float]) -> int:
    """Senders that the fleet wants, from the shares of a core that its senders use; at least one."""
    return max(1, ceil(sum(busy) / COMFORTABLE))


@dataclass(slots=True)
class Scaling:
    """Follows the wish within bounds, slowly enough not to sway."""

    least: int
    most: int
    _since: float | None = None
    """Since when the wish has been on one side of what runs."""
    _up: bool = False

    def decide(self, now: float, running: int, wanted: int) -> int:
        """How many are to run. `now`: monotonic seconds."""
        aim = min(max(wanted, self.least), self.most)
        if aim == running:
            self._since = None
            return running
        up = aim > running
        if self._since is None or up is not self._up:
            self._since, self._up = now, up
        if now - self._since < (GROW_SECONDS if up else SHRINK_SECONDS) and self.least <= running <= self.most:
            return running
        self._since = None
        return running + 1 if up else running - 1
