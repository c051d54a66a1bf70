"""What all parts of one simulator run share: the seed, the behaviour as it is now, time, and counts.

Separate so that devices and messages need not know each other's insides.
"""

from collections import Counter
from dataclasses import dataclass, field

from fleetcast.clock import Clock
from fleetcast.transports.simulator.behaviour import Behaviour
from fleetcast.transports.simulator.schedule import Schedule


@dataclass(slots=True)
class Run:
    """One process's life as WhatsApp."""

    seed: int
    behaviour: Behaviour
    schedule: Schedule = field(default_factory=Schedule)
    clock: Clock = field(default_factory=Clock)
    counts: Counter[str] = field(default_factory=Counter)
    """By word, since the process began. The ledger, not this, is the judge."""
