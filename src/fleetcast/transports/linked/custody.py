"""Who may open a session here, and what is left of it as it is closed: this node's files and the keeper's account.

Separate from the transport, which asks before it opens a device and tells when it is closed.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from pathlib import Path

import structlog

from fleetcast.domain.identifiers import DeviceId
from fleetcast.errors import Unavailable
from fleetcast.transports.base import Admission, SessionKeeper
from fleetcast.transports.linked.files import DeviceFiles

log = structlog.get_logger()

COPY_SECONDS = 30.0
"""How long a stop goes on making copies of sessions. The files stay in any case."""
COPIES_AT_ONCE = 4
ASKED_AT_ONCE = 4
"""A sender that takes over thousands of devices leaves connections to the database to others."""


class Custody:
    """The sessions of one node. Without a keeper every file here may be opened, and no copy is left."""

    def __init__(self, folder: Path, keeper: SessionKeeper | None) -> None:
        self._folder = folder
        self._keeper = keeper
        self._asking = asyncio.Semaphore(ASKED_AT_ONCE)

    def files(self, device: DeviceId) -> DeviceFiles:
        """The device's files."""
        return DeviceFiles(self._folder, device)

    async def admit(self, device: DeviceId) -> Admission:
        """Have the session here if it may be; it is then the file of this node. Raises Unavailable."""
        if self._keeper is None:
            return Admission()
        files = self.files(device)
        async with self._asking:
            admission = await self._keeper.admit(device, has_file=files.is_paired)
        if admission.copy is not None and not admission.elsewhere:
            await asyncio.to_thread(files.restore, admission.copy)
        return admission

    async def link(self, device: DeviceId) -> str | None:
        """A new session is made here; the proxy to make it through. Raises Unavailable."""
        return None if self._keeper is None else (await self._keeper.link(device)).proxy

    async def forget(self, device: DeviceId) -> None:
        """The session is worth nothing any more. Raises Unavailable."""
        self.files(device).forget()
        if self._keeper is not None:
            await self._keeper.forget(device)

    async def is_over(self, device: DeviceId) -> None:
        """WhatsApp ended the session."""
        try:
            await self.forget(device)
        except Unavailable as error:
            log.warning("a session that is over stays on record", device_id=device, error=str(error))

    async def copy(self, device: DeviceId) -> None:
        """Leave a copy of a session that is closed, for another node to take."""
        files = self.files(device)
        if self._keeper is None or not files.is_paired:
            return
        try:
            await self._keeper.keep(device, await asyncio.to_thread(files.copied))
        except (Unavailable, OSError, ValueError) as error:
            log.warning("no copy of a session was left; its file is here", device_id=device, error=str(error))

    async def copy_all(self, devices: Sequence[DeviceId]) -> None:
        """The same for many, for as long as a stop may take."""
        left = deque(devices)

        async def some() -> None:
            while left:
                await self.copy(left.popleft())

        try:
            async with asyncio.timeout(COPY_SECONDS):
                await asyncio.gather(*(some() for _ in range(COPIES_AT_ONCE)))
        except TimeoutError:
            log.warning("not every session was copied in time; their files are here", devices=len(left))
