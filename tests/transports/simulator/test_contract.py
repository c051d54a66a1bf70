"""The simulator passes the suite that every transport passes."""

import itertools
from collections.abc import AsyncIterator

import pytest

from fleetcast.domain.device import DeviceState
from fleetcast.domain.identifiers import DeviceId, Phone, Reference
from fleetcast.domain.pairing import Code
from fleetcast.errors import Conflict
from fleetcast.transports.base import DeviceHandle
from fleetcast.transports.simulator.behaviour import PROFILES, SendOutcome
from fleetcast.transports.simulator.client import SimulatorTransport
from fleetcast.transports.simulator.control import SimulatorControl
from fleetcast.transports.simulator.launch import SimulatorProcess
from fleetcast.transports.simulator.ledger import Ledger, RecordKind
from tests.transports.contract import Provider, Rig, TransportContract
from tests.transports.pairing_contract import PairingContract

_numbers = itertools.count(1_000_000)
_OUTCOMES = {
    Provider.ACCEPTS: SendOutcome.ACCEPT,
    Provider.NOT_ON_WHATSAPP: SendOutcome.NOT_ON_WHATSAPP,
    Provider.OPTED_OUT: SendOutcome.OPTED_OUT,
    Provider.REFUSES_CONTENT: SendOutcome.CONTENT,
    Provider.REFUSES_DEVICE: SendOutcome.DEVICE,
    Provider.SLOW_DOWN: SendOutcome.RATE_LIMITED,
    Provider.ACCEPTS_SILENTLY: SendOutcome.NO_ANSWER_ACCEPTED,
    Provider.LOSES: SendOutcome.NO_ANSWER_DROPPED,
}


class SimulatorRig:
    """A transport of the shared simulator."""

    answers = True
    says = frozenset(Provider)

    def __init__(self, process: SimulatorProcess, control: SimulatorControl) -> None:
        self.transport = SimulatorTransport(process.socket)
        self._process = process
        self._control = control

    def device(self) -> DeviceHandle:
        return DeviceHandle(DeviceId(next(_numbers)))

    def reference(self) -> Reference:
        return Reference(f"contract-{next(_numbers)}-1")

    async def next_send(self, device: DeviceId, does: Provider) -> None:
        await self._control.force(_OUTCOMES[does], device=device)

    async def taken(self, reference: Reference) -> int:
        await self._control.stats()  # lets the simulator come to the end of what it was doing
        records = Ledger.read(self._process.ledger)
        return sum(1 for r in records if r.kind is RecordKind.ACCEPTED and r.reference == reference)

    async def writes(self, device: DeviceId, person: Phone, text: str) -> None:
        await self._control.reply(device, person, text)

    async def delivers(self, device: DeviceId) -> None:
        await self._control.behave(delivered=1.0, delivered_after=(0.0, 0.0))

    async def cut(self) -> None:
        link = self.transport._link
        assert link is not None
        link.abort()
        await link.closed.wait()

    async def state(self, device: DeviceId, state: DeviceState) -> None:
        match state:
            case DeviceState.OFFLINE:
                await self._control.disconnect(device)
            case DeviceState.RESTRICTED:
                await self._control.restrict(device, 3600)
            case DeviceState.BANNED:
                await self._control.ban(device)
            case DeviceState.LOGGED_OUT:
                await self._control.log_out(device)
            case _:
                await self._control.bring_back(device)

    async def begins_nothing_new(self, device: DeviceId) -> None:
        await self._control.restrict(device, 3600, answers=True)

    async def takes(self, code: Code) -> bool:
        await self._control.stats()  # lets the simulator come to the end of what it was doing
        try:
            await self._control.take_code(code.text)
        except Conflict:
            return False
        return True

    async def hurries(self) -> None:
        await self._control.behave(code_seconds=0.02, codes=3)


class TestSimulator(TransportContract, PairingContract):
    @pytest.fixture
    async def rig(self, shared_simulator: SimulatorProcess) -> AsyncIterator[Rig]:
        async with SimulatorControl(shared_simulator.socket) as control:
            rig = SimulatorRig(shared_simulator, control)
            await rig.transport.start()
            yield rig
            await rig.transport.stop()
            usual = PROFILES["fast"]
            await control.behave(delivered=0.0, code_seconds=usual.code_seconds, codes=usual.codes)
