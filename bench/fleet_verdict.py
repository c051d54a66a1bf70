"""What the ledger and the attempt rows say about a fleet's window: rate, gaps and lateness. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import mean

from bench.figures import percentile

TOLERANCE = 0.002
"""Seconds left to rounding (the drawn delay is kept in milliseconds) and to clocks read in two processes."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One accepted attempt. All times are seconds since 1970."""

    device: int
    arrived: float
    """When its first byte was at the simulator, by the ledger."""
    gap: float
    """The delay drawn before it, in seconds."""
    claimed: float
    finished: float


@dataclass(slots=True)
class Verdict:
    """What happened in the window."""

    accepted: int
    possible: float
    """Messages that the drawn delays allow in the window, if nothing were ever late."""
    violations: int
    mean_gap: float
    mean_attempt: float
    late_ms: list[float] = field(repr=False)

    def lateness(self, share: float) -> float:
        """A percentile of the milliseconds by which first bytes were behind their due time."""
        return percentile(self.late_ms, share)


def judge_fleet(attempts: Iterable[Attempt], begun: float, ended: float) -> Verdict:
    """Judge the attempts that arrived within [begun, ended); earlier ones are their predecessors."""
    by_device: dict[int, list[Attempt]] = {}
    for attempt in attempts:
        by_device.setdefault(attempt.device, []).append(attempt)
    inside = [a for own in by_device.values() for a in own if begun <= a.arrived < ended]
    if not inside:
        raise ValueError("nothing arrived in the window")
    usual = mean(a.gap + a.finished - a.claimed for a in inside)
    late: list[float] = []
    possible, violations = 0.0, 0
    for own in by_device.values():
        own.sort(key=lambda a: a.arrived)
        cycles = [a.gap + a.finished - a.claimed for a in own if begun <= a.arrived < ended]
        possible += (ended - begun) / (mean(cycles) if cycles else usual)
        for before, after in pairwise(own):
            if begun <= after.arrived < ended:
                late.append((after.arrived - before.finished - after.gap) * 1000)
                rested = after.arrived - max(before.arrived, before.finished)
                violations += rested < after.gap - TOLERANCE
    return Verdict(
        accepted=len(inside),
        possible=possible,
        violations=violations,
        mean_gap=mean(a.gap for a in inside),
        mean_attempt=mean(a.finished - a.claimed for a in inside),
        late_ms=late,
    )
