"""How fast one number sends: the pace people choose, the delays drawn from it, and how far ahead rows are queued.

Pacing is the rhythm of a person at a telephone. It is a promise to recipients and to the number's owner, not a way
round anybody's rules.
"""

import math
from dataclasses import dataclass
from random import Random
from typing import Self

from fleetcast.errors import InvalidInput

LONGEST_DELAY = 86_400.0
"""Seconds; the database refuses more as well."""

WIDEST_WINDOW, NARROWEST_WINDOW = 50, 10
WINDOW_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Pace:
    """Bounds, in seconds, of the gap between the end of one attempt and the start of a device's next."""

    min_delay: float
    max_delay: float

    def __post_init__(self) -> None:
        for name, value in (("min_delay", self.min_delay), ("max_delay", self.max_delay)):
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise InvalidInput(name, "This must be a number of seconds.")
            if value < 0:
                raise InvalidInput(name, f"A delay of {value:g} seconds is negative: give 0 or more.")
            if value > LONGEST_DELAY:
                raise InvalidInput(name, f"A delay of {value:,.0f} seconds is more than a day (86,400 seconds).")
        if self.min_delay > self.max_delay:
            raise InvalidInput(
                "min_delay",
                f"The shortest delay ({self.min_delay:g} s) is above the longest ({self.max_delay:g} s): swap them.",
            )
        object.__setattr__(self, "min_delay", float(self.min_delay))
        object.__setattr__(self, "max_delay", float(self.max_delay))

    @property
    def mean(self) -> float:
        """The average gap in seconds."""
        return (self.min_delay + self.max_delay) / 2

    def draw(self, random: Random) -> float:
        """A fresh delay in seconds, uniform between the bounds, both included."""
        if self.min_delay == self.max_delay:
            return self.min_delay
        # uniform() may round one step beyond its bounds, and a gap below the minimum would be a broken promise
        return min(max(random.uniform(self.min_delay, self.max_delay), self.min_delay), self.max_delay)

    @classmethod
    def from_optional(cls, min_delay: float | None, max_delay: float | None) -> Self | None:
        """The pace of two fields that are given together or not at all."""
        if min_delay is None and max_delay is None:
            return None
        if min_delay is None or max_delay is None:
            missing = "min_delay" if min_delay is None else "max_delay"
            raise InvalidInput(missing, "Give both the shortest and the longest delay, or neither.")
        return cls(min_delay, max_delay)


DEFAULT = Pace(10, 30)


def effective(campaign: Pace | None, device: Pace) -> Pace:
    """The pace that holds: the campaign's where it has one, else the device's."""
    return device if campaign is None else campaign


def window_for(pace: Pace) -> int:
    """How many rows of a device may be queued ahead of its sender: about a minute's worth, between 10 and 50.

    A window is what pause, cancel and a stop must take back, and what a launch must write before the first message
    leaves. Fifty rows at 10-30 s are a quarter of an hour of queue, and the prototype spent half of its queueing at
    launch on rows that nobody needed yet; ten were enough at real pacing (mean of 6 s and more), with no more
    lateness. Without a delay the senders empty a window in milliseconds, and fewer than fifty made them wait for
    the next top-up.
    """
    if pace.mean <= WINDOW_SECONDS / WIDEST_WINDOW:
        return WIDEST_WINDOW
    return max(NARROWEST_WINDOW, int(WINDOW_SECONDS / pace.mean))
