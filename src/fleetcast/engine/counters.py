"""What a sender counts of its own work since its start: plain numbers in memory, read by its presence.

Separate from the sender, which only adds to them: once a batch, or, for lateness, one look into a short list a message.
"""

from bisect import bisect_left
from dataclasses import dataclass, field

LATENESS_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Seconds, close together around the targets: 50 ms of lateness in a fleet, 250 ms at 100,000 devices."""


class Lateness:
    """How late attempts were claimed, in buckets."""

    def __init__(self) -> None:
        self._buckets = [0] * (len(LATENESS_BOUNDS) + 1)
        self._seconds = 0.0

    def note(self, seconds: float) -> None:
        """One claim, so long after its device could have started it."""
        self._buckets[bisect_left(LATENESS_BOUNDS, seconds)] += 1
        self._seconds += seconds

    def figures(self) -> dict[str, float]:
        """`lateness:BOUND` claims were at most so late (each bound counts those below it too), and the sum."""
        found: dict[str, float] = {}
        total = 0
        for bound, n in zip((*LATENESS_BOUNDS, "+Inf"), self._buckets, strict=True):
            total += n
            found[f"lateness:{bound}"] = total
        return found | {"lateness_sum": round(self._seconds, 6)}


@dataclass(slots=True)
class SenderCounters:
    """Sums since the sender's start."""

    claims: int = 0
    """Rows claimed and committed."""
    claim_commits: int = 0
    """Group commits that claimed at least one."""
    claims_refused: int = 0
    """Rows whose claim the guard refused: a stale or wrong hint, a pause, a stop word."""
    leases_gained: int = 0
    leases_lost: int = 0
    claims_resumed: int = 0
    """How often claims without an answer were looked up and given back."""
    spool_resumed: int = 0
    """How often what an earlier sender had to leave in a file was taken up."""
    lateness: Lateness = field(default_factory=Lateness)

    def figures(self) -> dict[str, float]:
        """By name."""
        return {
            "claims": self.claims,
            "claim_commits": self.claim_commits,
            "claims_refused": self.claims_refused,
            "leases_gained": self.leases_gained,
            "leases_lost": self.leases_lost,
            "resumes:claims": self.claims_resumed,
            "resumes:spool": self.spool_resumed,
        } | self.lateness.figures()
