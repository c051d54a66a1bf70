"""Lanes: when each device may start its next attempt. Pure: time and randomness are arguments, nothing is awaited.

A lane is one device of the sender's shards. It holds the short queue of hinted rows, draws a fresh delay for each
attempt, and allows one attempt at a time. All lanes share one heap of due times, so an idle device costs nothing and
100,000 busy ones cost one timer. Separate from the sender so that thousands of seeds can be run in virtual time.
"""

import heapq
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum, auto
from random import Random
from typing import NamedTuple

from fleetcast.domain.message import ANSWERS
from fleetcast.domain.pacing import Pace, effective, window_for

LOOK_TURNS = 32
"""In so many looks each window is read once, however busy its lane: hints can be lost without anybody knowing."""


class _State(Enum):
    IDLE = auto()
    WAITING = auto()  # in the heap, its delay is drawn
    BUSY = auto()  # handed out: being claimed or sent


@dataclass(slots=True, eq=False)
class Lane:
    """One device. Times are monotonic seconds."""

    id: int
    shard: int
    pace: Pace
    ended: float
    """When the last attempt ended; far in the past for a device that never sent."""
    ready: bool = True
    blocked: bool = False
    """An earlier owner's attempt is not settled yet, or not looked for."""
    queue: deque[tuple[int, int]] = field(default_factory=deque)
    sequences: deque[tuple[int, int]] = field(default_factory=deque)
    """Rows of sequences: they go before the queue."""
    urgent: deque[tuple[int, int]] = field(default_factory=deque)
    """Rows of neither a campaign nor a sequence: they go before both."""
    answers: deque[tuple[int, int]] = field(default_factory=deque)
    """Those of them to people who wrote lately: they go before all others."""
    known: set[int] = field(default_factory=set)
    state: _State = _State.IDLE
    gap: float = 0.0
    due: float = 0.0
    asked: bool = False
    read: bool = False
    """Its window was read in SQL. Until then nothing is asked for: rows may be queued that are not known here, and each
    sender that takes a device over would have another windowful queued behind them."""
    missed: bool = False
    """A row of its window may be queued and not known here, so it needs a look although others wait."""
    serial: int = 0
    """Voids heap entries of an earlier wait."""

    @property
    def waiting(self) -> int:
        """Rows in the lane."""
        return len(self.answers) + len(self.urgent) + len(self.sequences) + len(self.queue)

    @property
    def is_busy(self) -> bool:
        """Whether a row was handed out and its attempt has not ended."""
        return self.state is _State.BUSY

    def late(self, now: float) -> float:
        """Seconds since its next row could have been handed out; 0 where none waits for that."""
        return max(0.0, now - self.due) if self.state is _State.WAITING else 0.0

    @property
    def first(self) -> deque[tuple[int, int]]:
        """The queue that the next row comes from; empty when there is none."""
        return self.answers or self.urgent or self.sequences or self.queue

    def line_of(self, turn: int) -> deque[tuple[int, int]]:
        """The queue in which a row of this turn waits."""
        if turn > 0:
            return self.queue
        if turn == ANSWERS:
            return self.answers
        return self.sequences if turn < 0 else self.urgent


class Start(NamedTuple):
    """An attempt that may start now."""

    lane: Lane
    message: int
    campaign: int
    """Whose turn it was: a campaign, minus a sequence, 0 or `ANSWERS` for a message of neither."""
    gap: float
    """The delay drawn before it, in seconds."""
    due: float
    """When it could have started at the earliest: its delay was over, and there was a row to send."""


class Lanes:
    """All lanes of a sender."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._lanes: dict[int, Lane] = {}
        self._of_shard: dict[int, dict[int, Lane]] = {}
        self._heap: list[tuple[float, int, int, Lane]] = []
        self._serial = 0
        self._wanting: dict[int, Lane] = {}
        self._look = 0
        self.paces: dict[int, Pace | None] = {}
        """Campaign, or minus a sequence → its own pace, None where the device's counts. Filled before its rows are
        offered."""

    def __len__(self) -> int:
        return len(self._lanes)

    def __contains__(self, device: int) -> bool:
        return device in self._lanes

    def get(self, device: int) -> Lane | None:
        """The lane of a device of ours."""
        return self._lanes.get(device)

    def of_shards(self, shards: Iterable[int]) -> list[Lane]:
        """The lanes of these shards."""
        return [lane for shard in shards for lane in self._of_shard.get(shard, {}).values()]

    def begin_look(self) -> None:
        """A look at all shards begins."""
        self._look += 1

    def unsure(self, shards: Iterable[int]) -> list[int]:
        """Devices of these shards that could send but have no row here, or may have missed one, or have their turn."""
        return [
            lane.id
            for lane in self.of_shards(shards)
            if lane.ready
            and (lane.missed or not lane.read or not lane.waiting or lane.shard % LOOK_TURNS == self._look % LOOK_TURNS)
        ]

    def unread(self, devices: Iterable[int]) -> list[int]:
        """Those of these devices that are ours and ready, and whose windows were never read."""
        found = (self._lanes.get(device) for device in devices)
        return [lane.id for lane in found if lane is not None and lane.ready and not lane.read]

    def looked(self, devices: Iterable[int]) -> None:
        """The windows of these devices are about to be read: what was missed until now is found."""
        for device in devices:
            if (lane := self._lanes.get(device)) is not None:
                lane.missed = False

    def was_read(self, devices: Iterable[int]) -> None:
        """What stands in the windows of these devices is here: whoever has room may ask for more."""
        for device in devices:
            if (lane := self._lanes.get(device)) is not None:
                lane.read = True
                self._want(lane)

    def open(self, device: int, shard: int, pace: Pace, *, ended: float, ready: bool, now: float) -> Lane:
        """Add a device, or bring a known one up to date; a device that stops being ready forgets its queue."""
        lane = self._lanes.get(device)
        if lane is None:
            lane = self._lanes[device] = Lane(device, shard, pace, ended, ready)
            self._of_shard.setdefault(shard, {})[device] = lane
            if ready:
                self._want(lane)
            return lane
        changed = lane.pace != pace
        lane.pace, lane.ready = pace, ready
        if not ready:
            self._forget(lane)
        elif changed and lane.state is _State.WAITING:
            self._rest(lane, now)
        else:
            self._arm(lane, now)
        if ready:
            self._want(lane)
        return lane

    def close(self, device: int) -> None:
        """Let a device go. An attempt under way still reports to the lane it was started from."""
        lane = self._lanes.pop(device, None)
        if lane is not None:
            del self._of_shard[lane.shard][device]
            self._forget(lane)
            lane.ready = False
            self._wanting.pop(device, None)

    def offer(self, device: int, rows: Iterable[tuple[int, int]], now: float) -> bool:
        """Rows that stand in a device's window; those known already are not taken twice. False: not our device."""
        lane = self._lanes.get(device)
        if lane is None:
            return False
        lane.asked = False
        if not lane.ready:
            lane.missed = True
            return True
        front, passed = lane.first, None
        if lane.state is _State.WAITING and front is not lane.urgent and front is not lane.answers:
            passed = self._next_pace(lane)
        for message, turn in rows:
            if message in lane.known:
                continue
            lane.known.add(message)
            lane.line_of(turn).append((message, turn))
        if passed is not None and lane.first is not front and self._next_pace(lane) != passed:
            self._rest(lane, now)  # what goes first now has a pace of its own
        else:
            self._arm(lane, now)
        self._want(lane)
        return True

    def block(self, lane: Lane) -> None:
        """Start nothing until `unblock`: somebody else may have sent for this device meanwhile."""
        lane.blocked = True
        if lane.state is _State.WAITING:
            lane.state = _State.IDLE

    def unblock(self, device: int, ended: float, now: float) -> None:
        """The earlier owner's attempt is settled; its end starts the gap. No attempt could have started before now."""
        lane = self._lanes.get(device)
        if lane is not None and lane.blocked:
            lane.blocked = False
            lane.ended = max(lane.ended, ended)
            self._arm(lane, now)

    def next_due(self) -> float | None:
        """When the next attempt may start, if any device has work."""
        while self._heap:
            due, serial, _, lane = self._heap[0]
            if lane.state is _State.WAITING and lane.serial == serial:
                return due
            heapq.heappop(self._heap)
        return None

    def pop_due(self, now: float, limit: int) -> list[Start]:
        """At most `limit` attempts that may start now. Their lanes are busy until `finished` or `refused`."""
        starts: list[Start] = []
        heap = self._heap
        while heap and len(starts) < limit and heap[0][0] <= now:
            due, serial, _, lane = heapq.heappop(heap)
            if lane.serial != serial or lane.state is not _State.WAITING:
                continue
            message, turn = lane.first.popleft()
            lane.known.discard(message)
            lane.state = _State.BUSY
            starts.append(Start(lane, message, turn, lane.gap, due))
            self._want(lane)
        return starts

    def finished(self, lane: Lane, now: float) -> None:
        """The attempt ended: the device rests from now on."""
        lane.ended = now
        self._rest(lane)

    def refused(self, lane: Lane) -> None:
        """The claim matched no row, so there was no attempt: the delay that was waited for still counts."""
        lane.state = _State.IDLE
        lane.missed = True  # the guard may have said no for a moment only
        lane.due = max(lane.due, lane.ended + lane.gap)  # another owner may have had an attempt meanwhile
        if lane.first and lane.ready and not lane.blocked:
            self._push(lane)
        self._want(lane)

    def asks(self) -> list[tuple[int, int]]:
        """Devices whose queue has fallen to half their window, and how much room they have. Each is told once."""
        told = []
        for lane in self._wanting.values():
            if lane.asked or not lane.ready or not lane.read:
                continue
            lane.asked = True
            told.append((lane.id, self._window(lane) - lane.waiting))
        self._wanting.clear()
        return told

    def ask_again(self) -> None:
        """What was asked, and what was answered, may be lost: let every lane ask anew once its window was read."""
        for lane in self._lanes.values():
            lane.asked, lane.missed, lane.read = False, True, False

    def _window(self, lane: Lane) -> int:
        return window_for(self._next_pace(lane))

    def _next_pace(self, lane: Lane) -> Pace:
        turn = lane.first[0][1] if lane.first else 0
        return effective(self.paces.get(turn), lane.pace)

    def _want(self, lane: Lane) -> None:
        if not lane.asked and lane.ready and 2 * lane.waiting <= self._window(lane):
            self._wanting[lane.id] = lane

    def _rest(self, lane: Lane, since: float = float("-inf")) -> None:
        lane.state = _State.IDLE
        self._arm(lane, since)

    def _arm(self, lane: Lane, since: float = float("-inf")) -> None:
        """Draw the delay and enter the heap, if there is work and no attempt under way. `since`: the work is there."""
        if lane.state is _State.IDLE and lane.first and lane.ready and not lane.blocked:
            lane.gap = self._next_pace(lane).draw(self._random)
            lane.due = max(lane.ended + lane.gap, since)
            self._push(lane)

    def _push(self, lane: Lane) -> None:
        self._serial += 1
        lane.serial = self._serial
        lane.state = _State.WAITING
        heapq.heappush(self._heap, (lane.due, lane.serial, lane.id, lane))

    def _forget(self, lane: Lane) -> None:
        lane.missed = lane.missed or bool(lane.known)
        lane.queue.clear()
        lane.sequences.clear()
        lane.urgent.clear()
        lane.answers.clear()
        lane.known.clear()
        lane.asked = False
        if lane.state is _State.WAITING:
            lane.state = _State.IDLE
