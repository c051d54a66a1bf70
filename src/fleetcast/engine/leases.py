"""Leases: which shards this sender owns, kept up by one statement and given back at a clean stop.

The database's clock decides who owns what. The sender additionally keeps a monotonic deadline per renewal, set before
the statement was sent, so that it stops claiming a little before its leases can end anywhere.

Senders share the shards evenly: each sees who else takes part and works out its own share (`domain.shares`). What it
has too many of it gives back in two steps: no more claims, then, when the attempts under way have ended, the lease. A
sender that is to rest has no share, and gives all of them back in the same way.
"""

import asyncio
from collections.abc import Iterable
from typing import Protocol

import structlog

from fleetcast.domain.shares import shares, surplus
from fleetcast.engine.supervisor import Beat
from fleetcast.engine.waiting import either
from fleetcast.errors import Unavailable
from fleetcast.store import processes
from fleetcast.store import shards as store
from fleetcast.store.connection import Connection, Database, Line

log = structlog.get_logger()

RENEWALS_PER_LEASE = 5
ADOPTED_AT_ONCE = 4
"""Shards whose devices are taken over between two looks at the time: a lease must be renewed meanwhile."""
MOVING_FASTER = 10
"""While shards are on their way from one sender to another, turns come so many times as often."""
LEAVE_SECONDS = 10.0
"""How long attempts under way hold up a shard that is given back; after that its next owner waits for their end."""


class Holder(Protocol):
    """Who works with the leases."""

    async def gained(self, shards: set[int]) -> None:
        """These are ours from now on. Raises Unavailable: they are offered again."""

    async def leaving(self, shards: set[int]) -> None:
        """Start nothing more for these; what is under way may end."""

    def is_busy(self, shard: int) -> bool:
        """Whether attempts of a leaving shard are still under way."""

    async def lost(self, shards: set[int]) -> None:
        """These are not ours any more."""


class Leases:
    """The shards of one sender."""

    def __init__(self, db: Database, owner: str, node: str, seconds: float, holder: Holder) -> None:
        self.epochs: dict[int, int] = {}
        """Shard → epoch of what may be claimed for now."""
        self._held: dict[int, int] = {}
        """The same with the shards that are being given back."""
        self._leaving: dict[int, float] = {}
        """Shard → when it is given back at the latest."""
        self._short = False
        """Whether others have not yet given back what is our share, or we have not yet taken over all of it."""
        self._db = db
        self._owner = owner
        self._node = node
        self._seconds = seconds
        self._holder = holder
        self._until = 0.0
        self._again = asyncio.Event()

    def look_again(self) -> None:
        """Who shares the shards has changed: have the next turn at once."""
        self._again.set()

    def hold(self, now: float) -> bool:
        """Whether claims may be made at this monotonic time."""
        return bool(self.epochs) and now < self._until

    async def run(self, stop: asyncio.Event, beat: Beat) -> None:
        """Renew, acquire, give back, notice losses; until stopped."""
        line = Line(self._db, hot=False, application="fleetcast leases")
        try:
            while not stop.is_set():
                beat()
                self._again.clear()
                try:
                    await self._turn(line)
                except Unavailable as error:
                    log.warning("leases wait for the database", error=str(error))
                moving = bool(self._leaving) or self._short
                await either(self._again, stop, self._seconds / RENEWALS_PER_LEASE / (MOVING_FASTER if moving else 1))
        finally:
            await line.close()

    async def _turn(self, line: Line) -> None:
        asked_at = asyncio.get_running_loop().time()
        surplus_now: list[int] = []

        async def renew_and_acquire(connection: Connection) -> dict[int, int]:
            turn = await store.turn(connection, self._owner, self._node, self._seconds)
            held, wanted = turn.held, shares(turn.homes, turn.senders, self._owner)
            staying = held.keys() - self._leaving.keys()
            surplus_now.extend(surplus(staying, turn.homes, wanted))
            self._short = False
            for home, many in wanted.items():
                missing = many - sum(turn.homes[shard] == home for shard in staying)
                if missing > 0:
                    found = await store.acquire(connection, self._owner, home, self._seconds, missing)
                    self._short = self._short or len(found) < missing
                    held |= found
            return held

        now_held = await line.run(renew_and_acquire)
        self._until = asked_at + self._seconds * (1 - 1 / RENEWALS_PER_LEASE)
        gained = {s for s, epoch in now_held.items() if self._held.get(s) != epoch}
        lost = {s for s, epoch in self._held.items() if now_held.get(s) != epoch}
        kept = {s: e for s, e in now_held.items() if s not in gained}
        await self._set(kept, gone=lost - gained, leaving=surplus_now)
        # Not yet claimed for. What this fails at, or has no time left for, is found again as gained, its lease renewed.
        while gained:
            some = sorted(gained)[:ADOPTED_AT_ONCE]
            await self._holder.gained(set(some))
            gained -= set(some)
            kept |= {s: now_held[s] for s in some}
            await self._set(kept)
            if gained and asyncio.get_running_loop().time() - asked_at > self._seconds / RENEWALS_PER_LEASE:
                self._short = True
                break
        await self._give_back(line)

    async def _set(self, held: dict[int, int], *, gone: Iterable[int] = (), leaving: Iterable[int] = ()) -> None:
        """What is held from now on; the holder learns what is gone and what is leaving."""
        now = asyncio.get_running_loop().time()
        before = self.epochs
        self._leaving = {s: at for s, at in self._leaving.items() if s in held}
        self._leaving |= {s: now + LEAVE_SECONDS for s in leaving if s in held}
        self._held = held
        self.epochs = {s: epoch for s, epoch in held.items() if s not in self._leaving}
        if gone := set(gone):
            await self._holder.lost(gone)
        if stops := {s for s in before if s in self._leaving}:
            await self._holder.leaving(stops)
        if before.keys() != self.epochs.keys():
            log.info("leases changed", held=len(self.epochs), leaving=len(self._leaving))

    async def _give_back(self, line: Line) -> None:
        now = asyncio.get_running_loop().time()
        ended = [s for s, latest in self._leaving.items() if now >= latest or not self._holder.is_busy(s)]
        if ended:
            await line.run(lambda connection: store.release(connection, self._owner, ended))
            await self._set({s: e for s, e in self._held.items() if s not in ended}, gone=ended)

    async def release(self) -> None:
        """Give everything back, so that another sender need not wait for the end of the lease."""
        self.epochs, self._held = {}, {}
        try:
            async with self._db.connection() as connection:
                await store.release(connection, self._owner)
                await processes.withdraw(connection, self._owner)
        except Unavailable as error:
            log.warning("leases not released; they end by themselves", error=str(error))
