"""A transport that accepts everything at once and remembers nothing: the pipeline's own cost is what is left."""

import asyncio
from collections.abc import AsyncIterator, Sequence

from fleetcast.domain.identifiers import DeviceId, Reference
from fleetcast.transports.base import Accepted, DeviceHandle, EventBatch, Finding, Outbound, PairingOrder

_NO_EVENTS: tuple[EventBatch, ...] = ()


class NullTransport:
    """Never waits and never fails."""

    grace = 10.0
    doubt_window = 600.0

    def __init__(self) -> None:
        self._stopped = asyncio.Event()

    async def start(self) -> None:
        """Nothing to connect."""

    async def stop(self) -> None:
        """End the stream of events."""
        self._stopped.set()

    async def open(self, device: DeviceHandle) -> None:
        """Devices are made online by the seed."""

    async def close(self, device: DeviceId) -> None:
        """Nothing to close."""

    async def pair(self, order: PairingOrder) -> None:
        """No phone ever comes."""

    async def stop_pairing(self, device: DeviceId) -> None:
        """Nothing to stop."""

    async def log_out(self, device: DeviceHandle, timeout: float) -> None:
        """Nobody to tell."""

    async def send(self, message: Outbound, timeout: float) -> Accepted:
        """Accept."""
        return Accepted(f"null-{message.reference}")

    async def events(self) -> AsyncIterator[EventBatch]:
        """None ever come."""
        await self._stopped.wait()
        for batch in _NO_EVENTS:
            yield batch

    async def confirm(self, batch: EventBatch) -> None:
        """Nothing to confirm."""

    async def health(self) -> bool:
        """Always well."""
        return True

    async def find(self, references: Sequence[Reference]) -> list[Finding]:
        """Nobody can be asked."""
        return []
