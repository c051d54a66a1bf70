"""A transport of linked devices, the testbed behind it, and what tests do to both."""

import itertools
import os
from pathlib import Path

from fleetcast.domain.identifiers import DeviceId, Phone
from fleetcast.transports.base import Admission, DeviceHandle
from fleetcast.transports.linked.client import LinkedTransport
from testbed.whatsapp_web.client_patch import environment as patched
from testbed.whatsapp_web.control import Control
from testbed.whatsapp_web.launch import Testbed
from testbed.whatsapp_web.session_files import SessionFiles

_NUMBERS = itertools.count(1)
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c4944415408d763f8cfc000000301010018dd8d"
    "b00000000049454e44ae426082"
)
"""One pixel."""


def fresh_number() -> str:
    """A phone number that nobody had in this run, as WhatsApp writes it."""
    return f"6019{next(_NUMBERS):07d}"


def environment(testbed: Testbed) -> dict[str, str]:
    """What a child must be started with so that its library trusts the testbed."""
    return patched(testbed.reach.root, testbed.reach.authority, before=os.environ.get("PYTHONPATH", ""))


class Account:
    """The keeper's account of one node, in memory: every session is here, by the testbed's proxy."""

    def __init__(self, proxy: str) -> None:
        self.proxy = proxy
        self.copies: dict[DeviceId, bytes] = {}
        self.elsewhere: dict[DeviceId, str] = {}

    async def admit(self, device: DeviceId, *, has_file: bool) -> Admission:
        """Open it, with the copy if there is no file."""
        copy = self.copies.pop(device, None)
        return Admission(self.proxy, None if has_file else copy, self.elsewhere.get(device, ""))

    async def link(self, device: DeviceId) -> Admission:
        """Make a new one."""
        self.copies.pop(device, None)
        return Admission(self.proxy)

    async def keep(self, device: DeviceId, copy: bytes) -> None:
        """A copy."""
        self.copies[device] = copy

    async def forget(self, device: DeviceId) -> None:
        """There is none."""
        self.copies.pop(device, None)


class Scene:
    """One transport with a folder of its own."""

    def __init__(self, folder: Path, testbed: Testbed, control: Control, files: SessionFiles) -> None:
        self.folder = folder
        self.testbed = testbed
        self.control = control
        self.account = Account(testbed.reach.proxy)
        self.transport = LinkedTransport(folder, keeper=self.account, environment=environment(testbed))
        self.companions: dict[DeviceId, str] = {}
        """Device → its name at WhatsApp: number, colon, device."""
        self.files = files
        self._devices = itertools.count(1)

    @staticmethod
    def transport_in(folder: Path, testbed: Testbed) -> LinkedTransport:
        """A transport with this folder of sessions."""
        return LinkedTransport(folder, keeper=Account(testbed.reach.proxy), environment=environment(testbed))

    async def device(self, number: str | None = None) -> DeviceHandle:
        """A device that is linked to a phone, not open."""
        device, owner = DeviceId(next(self._devices)), number or fresh_number()
        self.companions[device] = await self.files.make(self.control, owner, self.folder / f"{device}.db")
        return DeviceHandle(device, Phone(f"+{owner}"))

    def number_of(self, device: DeviceId) -> str:
        """Of its phone."""
        return self.companions[device].partition(":")[0]


async def kill_children(transport: LinkedTransport) -> None:
    """kill -9 of every process that holds sessions or links a device."""
    children = [*transport.processes, *transport.pairings.processes]
    for child in children:
        child.kill()
    for child in children:
        await child.gone.wait()
