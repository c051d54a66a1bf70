"""Failpoints: named places in the code where a test, or a person, makes a process fail on purpose.

A crash between two particular lines is a matter of microseconds that no random kill finds reliably; here each place
that the crash table of docs/message-lifecycle.md speaks of has a name. Separate from everything and below it, because
every layer passes such places. The armed faults are the process's own: what they hit is the process.
"""

import asyncio
import os
import signal
from dataclasses import dataclass
from enum import StrEnum

import structlog

from fleetcast.errors import ConfigurationError, Unavailable

log = structlog.get_logger()

SETTING = "FLEETCAST_FAILPOINTS"


class Point(StrEnum):
    """Every place that can fail, named after what has just happened there."""

    PLANNER_WINDOWS = "planner.windows"
    """C1: windows of a campaign are committed, its cursor has not passed them."""
    SEQUENCER_BORN = "sequencer.born"
    """C1: due steps of a sequence are messages, nothing of it is committed."""
    SEQUENCER_FOLLOWED = "sequencer.followed"
    """C1: ends of steps are taken and what follows is written, nothing of it is committed."""
    DISPATCHER_QUEUED = "dispatcher.queued"
    """C2: T1 is committed, its hints are not written."""
    HINTS_READ = "hints.read"
    """C3: a sender has read hints, nothing of them is claimed."""
    CLAIM_COMMITTED = "claim.committed"
    """C4, C16: T2 is committed, no byte has left."""
    SEND_ANSWERED = "send.answered"
    """C5: the provider has accepted, nobody here has taken note of the answer. Passed once an attempt."""
    RESULTS_TAKEN = "results.taken"
    """C6: answers are in hand, T3 is not committed."""
    RESULTS_COMMITTED = "results.committed"
    """C7, and C8 as a time-out: T3 is committed, nobody has taken note."""
    SPOOL_REPLAYED = "spool.replayed"
    """C6: what a spool file holds is committed as evidence, the file is still there."""
    LEASE_TAKEN = "lease.taken"
    """C9: a sender has taken shards over, it does not know yet what their last owner left."""
    INBOX_STORED = "inbox.stored"
    """C10: receipts and replies are durable, the provider has not been told."""
    RECONCILER_ASKED = "reconciler.asked"
    """C4, C5: the provider has answered (and sealed what it denies), nothing of it is written."""
    SWEEPER_ORPHANED = "sweeper.orphaned"
    """C4, C5: T5 has been done and is not committed, the shards do not count as recovered."""


AFTER_AN_OPERATION = frozenset(
    {
        Point.PLANNER_WINDOWS,
        Point.DISPATCHER_QUEUED,
        Point.CLAIM_COMMITTED,
        Point.SEND_ANSWERED,
        Point.RESULTS_COMMITTED,
        Point.LEASE_TAKEN,
        Point.INBOX_STORED,
        Point.RECONCILER_ASKED,
    }
)
"""Where something has been done for good that a caller can fail to hear of: only there a time-out means anything."""


class Fault(StrEnum):
    """What can happen at a point."""

    KILL = "kill"
    """The process is gone at once, as by `kill -9`."""
    RAISE = "raise"
    """An error of the kind that nobody foresaw."""
    HANG = "hang"
    """The place never goes on, until it is cancelled."""
    TIMEOUT = "timeout"
    """Executed and timed out: what was to be done is done, and whoever asked for it hears `Unavailable`."""


class Unforeseen(Exception):
    """The error of `raise`. Outside the tree of `fleetcast.errors`: nothing may be prepared for it."""


@dataclass(slots=True)
class Charge:
    """A fault at a point: each time it is passed, or the `nth` time only, counted from 1."""

    fault: Fault
    nth: int | None = None
    passed: int = 0

    def is_due(self) -> bool:
        """Count one passing; whether the fault happens now."""
        self.passed += 1
        return self.nth is None or self.passed == self.nth


armed: dict[Point, Charge] = {}
"""What is armed in this process. Empty but in tests, so that `if armed:` is all that a hot path pays."""


def read(text: str) -> dict[Point, Charge]:
    """The charges of a text such as `claim.committed=kill@3, hints.read=hang`.

    Raises ConfigurationError, which names the setting, for a point or fault that does not exist.
    """
    charges = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, what = part.partition("=")
        word, _, count = what.partition("@")
        if name not in {*Point}:
            raise ConfigurationError(f"{SETTING}: there is no point {name!r}; there are {', '.join(Point)}.")
        if word not in {*Fault}:
            raise ConfigurationError(f"{SETTING}: there is no fault {word!r} for {name}; there are {', '.join(Fault)}.")
        if "@" in what and not (count.isascii() and count.isdigit() and int(count) > 0):
            raise ConfigurationError(f"{SETTING}: in {part!r} a number from 1 must follow the @.")
        point, fault = Point(name), Fault(word)
        if fault is Fault.TIMEOUT and point not in AFTER_AN_OPERATION:
            able = ", ".join(p for p in Point if p in AFTER_AN_OPERATION)
            raise ConfigurationError(f"{SETTING}: nothing can time out at {name}; it can at {able}.")
        charges[point] = Charge(fault, int(count) if count else None)
    return charges


def arm(text: str) -> None:
    """Arm what the text says and nothing else; an empty text disarms. Raises ConfigurationError."""
    global armed
    armed = read(text)


async def passing(point: Point) -> None:
    """Be at a point. Nothing happens unless a fault is armed there and due: it is logged first, then it happens.

    Raises Unforeseen or Unavailable, or does not return.
    """
    charge = armed.get(point)
    if charge is None or not charge.is_due():
        return
    log.warning(f"failpoint {point}: {charge.fault}")
    match charge.fault:
        case Fault.KILL:
            os.kill(os.getpid(), signal.SIGKILL)
        case Fault.RAISE:
            raise Unforeseen(f"failpoint {point}")
        case Fault.HANG:
            await asyncio.Event().wait()
        case Fault.TIMEOUT:
            raise Unavailable(f"No answer came: failpoint {point}.")
