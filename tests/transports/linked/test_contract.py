"""Linked devices pass the suites that every transport passes, with the testbed in WhatsApp's place.

References do not travel on this wire, so the rig writes them into the texts, where the testbed's record has them.
"""

import itertools
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fleetcast.domain.device import DeviceState
from fleetcast.domain.identifiers import DeviceId, Phone, Reference
from fleetcast.domain.pairing import Code, CodeKind
from fleetcast.transports.base import Accepted, DeviceHandle, Outbound
from fleetcast.transports.errors import DeviceRefused
from fleetcast.transports.linked.client import LinkedTransport
from fleetcast.transports.linked.pairings import CodeTimes
from testbed.whatsapp_web.behaviour import Ack, Treatment
from testbed.whatsapp_web.control import Control, Refused
from testbed.whatsapp_web.launch import Testbed
from testbed.whatsapp_web.session_files import SessionFiles
from tests.transports.contract import BOUND, PERSON, Provider, Rig, TransportContract
from tests.transports.linked.scene import Account, environment, fresh_number, kill_children
from tests.transports.pairing_contract import PairingContract

_numbers = itertools.count(1)
_TREATMENTS = {
    Provider.REFUSES_CONTENT: Treatment(error=491),
    Provider.REFUSES_DEVICE: Treatment(error=463),
    Provider.SLOW_DOWN: Treatment(error=429),
    Provider.ACCEPTS_SILENTLY: Treatment(ack=Ack.NEVER),
    Provider.LOSES: Treatment(delivered=False, ack=Ack.NEVER),
}


class Marked(LinkedTransport):
    """Its messages carry their references; a device is linked as it is opened."""

    rig: "LinkedRig"

    async def open(self, device: DeviceHandle) -> None:
        await self.rig.link(device.id)
        await super().open(device)

    async def send(self, message: Outbound, timeout: float) -> Accepted:
        try:
            return await super().send(message._replace(text=f"{message.text}\n{message.reference}"), timeout)
        finally:
            await self.rig.sent()


class LinkedRig:
    """A transport with sessions of its own."""

    answers = False
    says = frozenset(Provider) - {Provider.OPTED_OUT}
    """A linked device never hears that somebody blocked it: WhatsApp takes the message and does not deliver it."""

    def __init__(self, transport: Marked, control: Control, files: SessionFiles) -> None:
        self.transport = transport
        self.control = control
        self._files = files
        self._companions: dict[DeviceId, str] = {}
        self._since = 0
        self._made: set[DeviceId] = set()
        self._unlinked: set[DeviceId] = set()
        self._person_is_gone = False

    async def begin(self) -> None:
        """What came to the person before does not count."""
        await self.transport.start()
        self._since = len(await self.control.arrivals(PERSON[1:]))

    async def end(self) -> None:
        """Leave nothing to the next test."""
        self.transport.pairings.times = CodeTimes()
        for device in self._made:
            await self.transport.stop_pairing(device)
            await self.transport.close(device)
        self.transport._arrived.clear()

    def device(self) -> DeviceHandle:
        device = DeviceId(next(_numbers))
        self._made.add(device)
        self._unlinked.add(device)
        return DeviceHandle(device)

    async def link(self, device: DeviceId) -> None:
        """Give a device a session, unless it was linked to a phone by itself."""
        path = self.transport.files_of(device).session
        if device in self._unlinked and not path.exists():
            self._unlinked.discard(device)
            self._companions[device] = await self._files.make(self.control, fresh_number(), path)

    def reference(self) -> Reference:
        return Reference(f"contract-{next(_numbers)}-1")

    async def next_send(self, device: DeviceId, does: Provider) -> None:
        number = self._number_of(device)
        if does is Provider.NOT_ON_WHATSAPP:
            await self.control.exists(PERSON[1:], False)
            self._person_is_gone = True
            return
        # The first message to a person takes longer than these tests wait for an answer.
        await self.transport.send(Outbound(device, Phone(PERSON), self.reference(), "warm-up"), BOUND)
        await self.control.treat(_TREATMENTS[does], sender=number, times=1)

    def _number_of(self, device: DeviceId) -> str:
        return self._companions[device].partition(":")[0]

    async def sent(self) -> None:
        """After each send, whatever came of it."""
        if self._person_is_gone:
            self._person_is_gone = False
            await self.control.exists(PERSON[1:], True)

    async def taken(self, reference: Reference) -> int:
        arrivals = await self.control.arrivals(PERSON[1:], since=self._since)
        return sum(1 for each in arrivals if each.text.endswith(f"\n{reference}"))

    async def writes(self, device: DeviceId, person: Phone, text: str) -> None:
        await self.control.say(person[1:], self._companions[device], text)

    async def delivers(self, device: DeviceId) -> None:
        """The testbed's phones always confirm."""

    async def cut(self) -> None:
        await kill_children(self.transport)

    async def state(self, device: DeviceId, state: DeviceState) -> None:
        companion, number = self._companions[device], self._number_of(device)
        match state:
            case DeviceState.OFFLINE:
                await self.control.refuse_connections(True)
                await self.control.drop(companion)
            case DeviceState.RESTRICTED:
                await self.control.ban(number, code=101, seconds=3600)
            case DeviceState.BANNED:
                await self.control.fail(companion, 406)
            case DeviceState.LOGGED_OUT:
                await self.control.log_out(companion)
            case _:
                await self.control.refuse_connections(False)

    async def begins_nothing_new(self, device: DeviceId) -> None:
        await self.control.treat(Treatment(error=463), sender=self._number_of(device), times=1)
        with pytest.raises(DeviceRefused):
            await self.transport.send(Outbound(device, PERSON, self.reference(), "Hello"), BOUND)

    async def takes(self, code: Code) -> bool:
        try:
            if code.kind is CodeKind.QR:
                await self.control.scan(fresh_number(), code.text)
            else:
                await self.control.enter_code(PERSON[1:], code.text)
        except Refused:
            return False
        return True

    async def hurries(self) -> None:
        self.transport.pairings.times = CodeTimes(first_seconds=0.3, code_seconds=0.3, codes=3)


@pytest.fixture(scope="module")
async def shared(testbed: Testbed, session_files: SessionFiles, short_directory: Path) -> AsyncIterator[Marked]:
    """A transport that all tests of this file use one after the other: to start a child costs a second."""
    folder = short_directory / "contract"
    transport = Marked(folder, keeper=Account(testbed.reach.proxy), environment=environment(testbed))
    yield transport
    await transport.stop()


class TestLinked(TransportContract, PairingContract):
    @pytest.fixture
    async def rig(self, shared: Marked, control: Control, session_files: SessionFiles) -> AsyncIterator[Rig]:
        rig = shared.rig = LinkedRig(shared, control, session_files)
        await rig.begin()
        yield rig
        await rig.end()
