"""Leases: which shards this sender owns, kept up by one statement and given back at a clean stop.

The database's clock decides who owns what. The sender additionally keeps a monotonic deadline per renewal, set before
the statement was sent, so that it stops claiming a little before its leases can end anywhere.
"""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from fleetcast.domain.device import SHARD_COUNT
from fleetcast.engine.supervisor import Beat
from fleetcast.engine.waiting import pause
from fleetcast.errors import Unavailable
from fleetcast.store import shards
from fleetcast.store.connection import Connection, Database, Line

log = structlog.get_logger()

RENEWALS_PER_LEASE = 5


class Leases:
    """The shards of one sender: `epochs` is shard → epoch of what is held now."""

    def __init__(
        self,
        db: Database,
        owner: str,
        node: str,
        seconds: float,
        on_change: Callable[[set[int], set[int]], Awaitable[None]],
    ) -> None:
        self.epochs: dict[int, int] = {}
        self._db = db
        self._owner = owner
        self._node = node
        self._seconds = seconds
        self._on_change = on_change
        self._until = 0.0

    def hold(self, now: float) -> bool:
        """Whether claims may be made at this monotonic time."""
        return bool(self.epochs) and now < self._until

    async def run(self, stop: asyncio.Event, beat: Beat) -> None:
        """Acquire, renew, notice losses; release at the end."""
        line = Line(self._db, hot=False, application="fleetcast leases")
        try:
            while not stop.is_set():
                beat()
                try:
                    await self._turn(line)
                except Unavailable as error:
                    log.warning("leases wait for the database", error=str(error))
                await pause(stop, self._seconds / RENEWALS_PER_LEASE)
        finally:
            await line.close()

    async def _turn(self, line: Line) -> None:
        asked_at = asyncio.get_running_loop().time()
        held = dict(self.epochs)

        async def renew_and_acquire(connection: Connection) -> dict[int, int]:
            kept = await shards.renew(connection, self._owner, list(held), self._seconds) if held else {}
            if len(kept) < SHARD_COUNT:
                kept |= await shards.acquire(
                    connection, self._owner, self._node, self._seconds, SHARD_COUNT - len(kept)
                )
            return kept

        now_held = await line.run(renew_and_acquire)
        self._until = asked_at + self._seconds * (1 - 1 / RENEWALS_PER_LEASE)
        gained = {s for s, epoch in now_held.items() if held.get(s) != epoch}
        lost = {s for s, epoch in held.items() if now_held.get(s) != epoch}
        self.epochs = now_held
        if gained or lost:
            log.info("leases changed", held=len(now_held), gained=len(gained), lost=len(lost))
            try:
                await self._on_change(gained, lost)
            except Unavailable:
                self.epochs = held  # what was not taken over is found again as gained at the next turn
                raise

    async def release(self) -> None:
        """Give everything back, so that another sender need not wait for the end of the lease."""
        self.epochs = {}
        try:
            async with self._db.connection() as connection:
                await shards.release(connection, self._owner)
        except Unavailable as error:
            log.warning("leases not released; they end by themselves", error=str(error))
