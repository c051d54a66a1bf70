"""Orders to link devices to phones or to unlink them, carried out by whoever owns the device.

What is wanted stands in SQL; a nudge only says when to look. Codes go the other way: the newest one of each pairing is
put where pages find it, again and again while it is valid, so that a Redis that was emptied shows it a second later.
Separate from the roster, which knows devices that are linked.
"""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import replace

import structlog

from fleetcast.domain.device import TransportKind
from fleetcast.domain.identifiers import DeviceId, Phone
from fleetcast.domain.pairing import Code
from fleetcast.engine.roster import Roster
from fleetcast.engine.supervisor import Beat
from fleetcast.engine.waiting import either, pause
from fleetcast.errors import ConfigurationError, Unavailable
from fleetcast.queue.pairing_codes import PairingCodes
from fleetcast.runtime import Runtime
from fleetcast.services.pairing import codes
from fleetcast.store import pairing
from fleetcast.store.pairing import LinkOrder
from fleetcast.transports.base import DeviceHandle, PairingCode, PairingNews, PairingOrder, Transport

log = structlog.get_logger()

LOOK_SECONDS = 1.0
LOG_OUT_SECONDS = 10.0
LOG_OUTS_AT_ONCE = 20
OTHER_KEY = "the sender has another key of secrets: FLEETCAST_SECRET_KEY must be the same on all machines"


class Pairings:
    """The pairings of one sender's devices."""

    def __init__(self, runtime: Runtime, roster: Roster, transports: Mapping[TransportKind, Transport]) -> None:
        self._runtime = runtime
        self._roster = roster
        self._transports = transports
        self._codes: PairingCodes | None = None
        self._under_way: dict[int, tuple[TransportKind, int]] = {}
        """Device → through what it is linked, and by which order."""
        self._shown: dict[int, tuple[Code, float]] = {}
        """Device → its newest code, and the monotonic time at which that ends."""

    def hear(self, news: PairingNews) -> None:
        """What a transport says of a pairing. A code without a text is none."""
        if not isinstance(news, PairingCode):
            self._shown.pop(news.device, None)
        elif news.code.text and self._under_way.get(news.device, (None, None))[1] == news.code.order:
            self._shown[news.device] = (news.code, asyncio.get_running_loop().time() + news.code.valid_for)
        self._roster.ordered.set()

    async def run(self, stop: asyncio.Event, beat: Beat) -> None:
        """Look every second, and at once after a nudge or a new code; until stopped."""
        while not stop.is_set():
            beat()
            self._roster.ordered.clear()
            try:
                await self._turn()
            except Unavailable as error:
                log.warning("orders to link devices wait for the database", error=str(error))
                await pause(stop, LOOK_SECONDS)
            await either(self._roster.ordered, stop, LOOK_SECONDS)

    async def _turn(self) -> None:
        wanted: list[LinkOrder] = []
        if owned := list(self._roster.owned):
            async with self._runtime.db.connection() as connection:
                wanted = await pairing.orders(connection, owned)
        known = [w for w in wanted if TransportKind(w.transport) in self._transports]
        await self._unlink([w for w in known if w.logout_ordered_at is not None])
        await self._link([w for w in known if w.logout_ordered_at is None and w.pairs])
        await self._publish()

    async def _unlink(self, wanted: list[LinkOrder]) -> None:
        for start in range(0, len(wanted), LOG_OUTS_AT_ONCE):
            await asyncio.gather(*map(self._log_out, wanted[start : start + LOG_OUTS_AT_ONCE]))

    async def _log_out(self, order: LinkOrder) -> None:
        handle = DeviceHandle(DeviceId(order.device), None if order.phone is None else Phone(order.phone))
        assert order.logout_ordered_at is not None
        try:
            await self._transports[TransportKind(order.transport)].log_out(handle, LOG_OUT_SECONDS)
            async with self._runtime.db.transaction() as connection:
                await pairing.unlinked(connection, handle.id, order.logout_ordered_at)
        except Unavailable as error:
            log.warning("a device is not unlinked yet", device_id=order.device, error=str(error))

    async def _link(self, wanted: Iterable[LinkOrder]) -> None:
        orders = {w.device: w for w in wanted}
        await asyncio.gather(*map(self._stop, self._under_way.keys() - orders.keys()))
        for device, order in orders.items():
            kind = TransportKind(order.transport)
            if self._under_way.get(device) == (kind, order.order):
                continue
            if not await self._can_tell(order):
                continue
            self._under_way[device] = (kind, order.order)
            self._shown.pop(device, None)
            code_for = None if order.code_for is None else Phone(order.code_for)
            try:
                await self._transports[kind].pair(PairingOrder(DeviceId(device), order.order, code_for))
            except Unavailable:
                del self._under_way[device]  # it is asked again
                raise

    async def _stop(self, device: int) -> None:
        kind, _ = self._under_way.pop(device)
        self._shown.pop(device, None)
        await self._transports[kind].stop_pairing(DeviceId(device))
        if self._codes is not None:
            await self._codes.forget(device)

    async def _can_tell(self, order: LinkOrder) -> bool:
        """Whether codes of ours can be read by those who show them; else the person is told why there are none."""
        try:
            self._codes = self._codes or await codes(self._runtime)
        except ConfigurationError as error:
            log.error("no device can be linked", error=str(error))
            async with self._runtime.db.transaction() as connection:
                await pairing.give_up(connection, DeviceId(order.device), order.order, OTHER_KEY)
            return False
        return True

    async def _publish(self) -> None:
        now = asyncio.get_running_loop().time()
        self._shown = {device: shown for device, shown in self._shown.items() if shown[1] > now}
        if self._codes is not None:  # all at once: a Redis that does not answer takes its time with each
            told = [
                self._codes.publish(d, replace(code, valid_for=ends - now)) for d, (code, ends) in self._shown.items()
            ]
            await asyncio.gather(*told)
