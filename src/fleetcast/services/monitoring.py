"""The whole installation at one moment, for who runs it: processes, their loops, shards, servers, and how fast it goes.

One value for the page, the API and the command. Like the first page, a process that has only just begun to look knows
no rates yet: a `Watch` remembers what the senders counted over the last minute. However many people look, the servers
are asked once a second at most.
"""

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from fleetcast.errors import Unavailable
from fleetcast.queue import inspection
from fleetcast.queue.inspection import Redis
from fleetcast.runtime import Runtime
from fleetcast.services import readiness
from fleetcast.services.liveness import Trouble, is_alive, troubles
from fleetcast.store import audit, gauges, monitoring, processes
from fleetcast.store.audit import Entry
from fleetcast.store.gauges import Gauges
from fleetcast.store.monitoring import Server, Shard
from fleetcast.store.processes import Process

__all__ = ["Entry", "Member", "Monitor", "Part", "Redis", "Watch", "decisions", "look_at_redis"]

SLOW_SECONDS = 10.0
"""A loop that has not moved for so long is named: most move every second, some every five."""
LATE_SECONDS = 5.0
"""A message that could have been sent so long ago makes its shard late; the goal is a twentieth of a second."""
BEHIND_SECONDS = 30.0
FRESH_SECONDS = 1.0
WINDOW, LEAST = 60.0, 3.0
"""Seconds over which rates are measured, and from how many on they are told."""
PATIENCE = 8.0


@dataclass(frozen=True, slots=True)
class Member:
    """One process of the installation."""

    process: Process
    node: str
    """Name of its machine."""
    state: str
    """gone, stuck, drained, draining, taking (shards are on their way to it), idle (no shard), sending or working."""
    shards: int
    devices: int
    rate: float | None
    """Messages claimed a minute; None: not a sender, or too little was seen."""
    loops: tuple[tuple[str, float], ...]
    """(loop, seconds since it moved), the slowest first, as it last said."""
    waiting: int
    """Messages in the windows of its devices."""
    late: float
    """Seconds one of them could have been sent already."""

    @property
    def slow(self) -> tuple[tuple[str, float], ...]:
        """Loops that have not moved for some time."""
        return tuple((loop, age) for loop, age in self.loops if age > SLOW_SECONDS)


@dataclass(frozen=True, slots=True)
class Part:
    """One shard with what waits in it."""

    shard: Shard
    waiting: int
    late: float

    @property
    def standing(self) -> str:
        """unowned, behind, late, busy, waiting or empty."""
        if self.shard.owner is None:
            return "unowned"
        if self.late > LATE_SECONDS:
            return "behind" if self.late > BEHIND_SECONDS else "late"
        return "empty" if not self.waiting else "waiting"


@dataclass(frozen=True, slots=True)
class Monitor:
    """Everything at one moment."""

    at: datetime
    members: tuple[Member, ...]
    parts: tuple[Part, ...]
    troubles: tuple[Trouble, ...]
    gauges: Gauges
    server: Server
    database_ms: float
    """How long the server took for the smallest question."""
    problems: Mapping[str, str]
    """What readiness complains of."""
    redis: Redis | None
    """None: it does not answer."""
    rate: float | None
    """Messages claimed a minute by all senders."""
    late_99: float | None
    """Of 100 messages claimed in the last minute 99 were claimed within so many seconds of when they could be; infinite
    beyond a minute; None while none were seen."""

    @property
    def memory(self) -> float:
        """Bytes that all processes use together, without the servers."""
        return sum(m.process.figures.get("memory", 0.0) for m in self.members if m.state != "gone")

    @property
    def waiting(self) -> int:
        """Messages in the windows of all devices."""
        return sum(p.waiting for p in self.parts)

    @property
    def latest(self) -> Part | None:
        """The shard in which a message waits for longest."""
        return max((p for p in self.parts if p.waiting), key=lambda p: p.late, default=None)

    def member(self, name: str) -> Member | None:
        """The process of that name."""
        return next((m for m in self.members if m.process.name == name), None)


@dataclass(slots=True)
class Watch:
    """What one process remembers between two looks."""

    _seen: deque[tuple[float, dict[str, Mapping[str, float]]]] = field(default_factory=deque)
    _looking: asyncio.Lock = field(default_factory=asyncio.Lock)
    _last: Monitor | None = None
    _last_at: float = 0.0

    async def look(self, runtime: Runtime) -> Monitor:
        """The installation now, or as somebody else saw it within the last second. Raises Unavailable."""
        async with self._looking:
            now = runtime.clock.monotonic()
            if self._last is None or now - self._last_at > FRESH_SECONDS:
                try:
                    async with asyncio.timeout(PATIENCE):
                        self._last = await self._look(runtime)
                except TimeoutError:
                    raise Unavailable("The database is too slow to answer.") from None
                self._last_at = now
            return self._last

    def forget(self) -> None:
        """Something was decided: what was seen before is old."""
        self._last = None

    async def _look(self, runtime: Runtime) -> Monitor:
        clock = runtime.clock.monotonic
        async with runtime.db.connection() as connection:
            began = clock()
            await connection.fetchval("SELECT 1")
            took = (clock() - began) * 1000
            known = await processes.known(connection)
            names = await monitoring.nodes(connection)
            shards = await monitoring.shards(connection)
            server = await monitoring.server(connection)
            counted = await gauges.look(connection)
        problems = await readiness.problems(runtime)
        try:
            redis = await inspection.look(runtime.redis, runtime.keys, len(shards))
        except Unavailable:
            redis = None
        self._note(clock(), known)
        parts = tuple(_part(shard, known) for shard in shards)
        members = tuple(self._member(p, names, shards) for p in known)
        return Monitor(
            at=server.now,
            members=members,
            parts=parts,
            troubles=tuple(troubles(known)),
            gauges=counted,
            server=server,
            database_ms=took,
            problems=problems,
            redis=redis,
            rate=_total([m.rate for m in members]),
            late_99=self._late_99(),
        )

    def _note(self, at: float, known: Sequence[Process]) -> None:
        self._seen.append((at, {p.name: p.figures for p in known if p.kind == "sender"}))
        while at - self._seen[0][0] > WINDOW:
            self._seen.popleft()

    def _grown(self, process: str, figure: str) -> tuple[float, float] | None:
        """By how much a count of a process has grown over the window, and over how many seconds."""
        looks = [(at, figures[process]) for at, figures in self._seen if process in figures]
        if not looks or looks[-1][0] - looks[0][0] < LEAST:
            return None
        (since, before), (until, after) = looks[0], looks[-1]
        return after.get(figure, 0.0) - before.get(figure, 0.0), until - since

    def _rate(self, process: str) -> float | None:
        grown = self._grown(process, "claims")
        return None if grown is None else 60 * grown[0] / grown[1]

    def _late_99(self) -> float | None:
        grown: dict[float, float] = {}
        for name, figures in self._seen[-1][1].items():
            for key in figures:
                stem, _, bound = key.partition(":")
                if stem == "lateness" and (more := self._grown(name, key)) is not None:
                    grown[float(bound)] = grown.get(float(bound), 0.0) + more[0]
        whole = max(grown.values(), default=0.0)
        return min((bound for bound, n in grown.items() if n >= 0.99 * whole), default=None) if whole else None

    def _member(self, process: Process, names: Mapping[str, str], shards: Sequence[Shard]) -> Member:
        own = [s for s in shards if s.owner == process.name]
        figures = process.figures
        loops = [(key.partition(":")[2], age) for key, age in figures.items() if key.startswith("age:")]
        rate = self._rate(process.name) if process.kind == "sender" else None
        waiting = sum(int(n) for key, n in figures.items() if key.startswith("waiting:"))
        return Member(
            process=process,
            node=names.get(process.node, process.node),
            state=_state(process, len(own), rate, waiting),
            shards=len(own),
            devices=sum(s.devices for s in own),
            rate=rate,
            loops=tuple(sorted(loops, key=lambda loop: (-loop[1], loop[0]))),
            waiting=waiting,
            late=max((n for key, n in figures.items() if key.startswith("late:")), default=0.0),
        )


def _state(process: Process, shards: int, rate: float | None, waiting: int) -> str:
    if not is_alive(process):
        return "gone"
    if process.stuck:
        return "stuck"
    if process.kind != "sender":
        return "working"
    if process.drained_at is not None:
        return "draining" if shards else "drained"
    if not shards:
        return "idle"
    if shards > process.figures.get("leases_held", 0.0):
        return "taking"
    return "sending" if rate or process.figures.get("under_way") or waiting else "ready"


def _part(shard: Shard, known: Sequence[Process]) -> Part:
    owner = next((p for p in known if p.name == shard.owner), None)
    figures = {} if owner is None else owner.figures
    return Part(shard, int(figures.get(f"waiting:{shard.id}", 0)), figures.get(f"late:{shard.id}", 0.0))


def _total(rates: Sequence[float | None]) -> float | None:
    known = [rate for rate in rates if rate is not None]
    return sum(known) if known else None


async def look_at_redis(runtime: Runtime) -> Redis:
    """What stands in Redis now. Raises Unavailable."""
    async with runtime.db.connection() as connection:
        shards = await monitoring.shards(connection)
    return await inspection.look(runtime.redis, runtime.keys, len(shards))


async def decisions(runtime: Runtime, limit: int = 20) -> list[Entry]:
    """What was decided lately about senders, the newest first."""
    async with runtime.db.connection() as connection:
        return await audit.of_installation(connection, "sender.", limit)
