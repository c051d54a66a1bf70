"""Retention: the loop that deletes what has been kept long enough, a little at a time and never in anybody's way.

Separate from the sweeper, which keeps campaigns moving every second: this one may rest for most of an hour, and what
it does can only be undone from a backup. Any number may run: rows that another has deleted are simply not found.
"""

import asyncio
from datetime import timedelta

import structlog

from fleetcast.engine.supervisor import Beat
from fleetcast.engine.waiting import pause
from fleetcast.errors import Unavailable
from fleetcast.runtime import Runtime
from fleetcast.services.bulk_edits import KEPT_FOR
from fleetcast.store import bulk_edits, retention
from fleetcast.store.audience import KEYED

log = structlog.get_logger()

ROUND_SECONDS = 3_600.0
"""Between two rounds."""
BEAT_SECONDS = 5.0
REST_SHARE = 1.0
"""After each chunk it rests so many times as long as the chunk took: others have the servers half of the time."""


class Retention:
    """One loop. How long things are kept is in the settings."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._walked = 0
        """Up to this number no single send is left, so the next round begins there."""

    async def run(self, stop: asyncio.Event, beat: Beat) -> None:
        """A round every hour."""
        loop = asyncio.get_running_loop()
        following = loop.time()
        while not stop.is_set():
            beat()
            if loop.time() < following:
                await pause(stop, min(BEAT_SECONDS, following - loop.time()))
                continue
            following = loop.time() + ROUND_SECONDS
            try:
                await self.run_once(stop, beat)
            except Unavailable as error:
                log.warning("retention waits for the database", error=str(error))
                following = loop.time() + BEAT_SECONDS

    async def run_once(self, stop: asyncio.Event, beat: Beat = lambda: None) -> None:
        """One round: everything that is old enough now, or as much of it as there is time for until the stop."""
        settings = self._runtime.settings
        if settings.keep_messages_days:
            await self._messages(timedelta(days=settings.keep_messages_days), stop, beat)
            await self._single(timedelta(days=settings.keep_messages_days), stop, beat)
        if settings.keep_events_days:
            keep = timedelta(days=settings.keep_events_days)
            await self._events(keep, stop, beat)
            beat()
            async with self._runtime.db.transaction() as connection:
                await retention.delete_imports(connection, keep)

        await self._changes(stop, beat)

    async def _changes(self, stop: asyncio.Event, beat: Beat) -> None:
        """What was there before changes of many, once they cannot be taken back any more."""
        gone = 1
        while gone and not stop.is_set():
            beat()
            began = asyncio.get_running_loop().time()
            async with self._runtime.db.transaction() as connection:
                gone = await bulk_edits.forget_changes(connection, KEPT_FOR)
            await pause(stop, REST_SHARE * (asyncio.get_running_loop().time() - began))

    async def _messages(self, keep: timedelta, stop: asyncio.Event, beat: Beat) -> None:
        async with self._runtime.db.transaction() as connection:
            await retention.mark_campaigns(connection, keep)
            marked = await retention.marked_campaigns(connection)
        for campaign in marked:
            after: str | None = None
            total = 0
            while not stop.is_set():
                beat()
                began = asyncio.get_running_loop().time()
                async with self._runtime.db.transaction() as connection:
                    await connection.execute(KEYED)
                    gone, after = await retention.delete_messages(connection, campaign, after)
                total += gone
                if after is None:
                    log.info("messages deleted, the counts stay", campaign_id=campaign, messages=total)
                    break
                await pause(stop, REST_SHARE * (asyncio.get_running_loop().time() - began))

    async def _single(self, keep: timedelta, stop: asyncio.Event, beat: Beat) -> None:
        after: int | None = self._walked
        kept: int | None = None
        total = 0
        while after is not None and not stop.is_set():
            beat()
            began = asyncio.get_running_loop().time()
            async with self._runtime.db.transaction() as connection:
                await connection.execute(KEYED)
                gone, following, first = await retention.delete_single(connection, keep, after)
            total += gone
            kept = first if kept is None else kept
            self._walked = after if kept is None else kept - 1
            after = following
            await pause(stop, REST_SHARE * (asyncio.get_running_loop().time() - began))
        if total:
            log.info("single messages deleted", messages=total)

    async def _events(self, keep: timedelta, stop: asyncio.Event, beat: Beat) -> None:
        after: int | None = 0
        while after is not None and not stop.is_set():
            beat()
            began = asyncio.get_running_loop().time()
            async with self._runtime.db.transaction() as connection:
                await connection.execute(KEYED)
                _, after = await retention.delete_events(connection, keep, after)
            await pause(stop, REST_SHARE * (asyncio.get_running_loop().time() - began))
