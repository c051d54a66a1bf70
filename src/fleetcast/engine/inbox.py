"""The inbox loop: reads what transports report, makes it durable, then confirms it.

A batch is confirmed only after its commit, so a crash in between brings it again; everything it does may be repeated.
"""

import asyncio
import contextlib
from collections.abc import Callable

import structlog

from fleetcast import failpoints
from fleetcast.engine.supervisor import Beat
from fleetcast.engine.waiting import pause
from fleetcast.errors import Unavailable
from fleetcast.runtime import Runtime
from fleetcast.services.inbound import receive, settle_waiting
from fleetcast.transports.base import EventBatch, PairingNews, StateChange, Transport

log = structlog.get_logger()

SETTLE_SECONDS = 2.0


class Inbox:
    """The inbound side of one transport. `session_lost` is told devices whose session was opened elsewhere, `pairing`
    what is heard of devices that are being linked.
    """

    def __init__(
        self,
        runtime: Runtime,
        transport: Transport,
        install: str,
        session_lost: Callable[[int], None],
        pairing: Callable[[PairingNews], None],
    ) -> None:
        self._runtime = runtime
        self._transport = transport
        self._install = install
        self._session_lost = session_lost
        self._pairing = pairing

    async def run(self, stop: asyncio.Event, beat: Beat) -> None:
        """Read until stopped. A batch that cannot be stored is tried again, in order, until it can."""
        events = self._transport.events()
        stopped = asyncio.ensure_future(stop.wait())
        try:
            while not stop.is_set():
                beat()
                following = asyncio.ensure_future(anext(events))
                while not following.done() and not stop.is_set():
                    await asyncio.wait({following, stopped}, timeout=1.0, return_when=asyncio.FIRST_COMPLETED)
                    beat()
                if not following.done():
                    following.cancel()
                    with contextlib.suppress(asyncio.CancelledError):
                        await following
                    return
                batch = following.result()
                for event in batch.events:
                    if isinstance(event, StateChange) and event.replaced:
                        self._session_lost(event.device)
                    elif isinstance(event, PairingNews):
                        self._pairing(event)
                await self._store(batch, stop, beat)
        finally:
            stopped.cancel()

    async def _store(self, batch: EventBatch, stop: asyncio.Event, beat: Beat) -> None:
        while not stop.is_set():
            beat()
            try:
                await receive(self._runtime, self._install, batch.events)
                await failpoints.passing(failpoints.Point.INBOX_STORED)
            except Unavailable as error:
                log.warning("events wait for the database", events=len(batch.events), error=str(error))
                await pause(stop, 0.5)
                continue
            await self._transport.confirm(batch)
            return


async def settle(runtime: Runtime, install: str, stop: asyncio.Event, beat: Beat) -> None:
    """Try every few seconds to match what came before its message."""
    while not stop.is_set():
        beat()
        try:
            settled = await settle_waiting(runtime, install, beat)
            if settled:
                log.info("waiting evidence settled", rows=settled)
        except Unavailable as error:
            log.warning("evidence waits for the database", error=str(error))
        await pause(stop, SETTLE_SECONDS)
