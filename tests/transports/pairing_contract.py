"""What a transport promises whose devices are linked to phones: codes, a phone that takes one, and the way out.

Beside `contract`, whose rig and reader it uses: a transport without phones passes that one alone.
"""

import pytest

from fleetcast.domain.device import DeviceState
from fleetcast.domain.message import Outcome
from fleetcast.domain.pairing import CodeKind
from fleetcast.errors import Unavailable
from fleetcast.transports.base import DeviceHandle, PairingCode, PairingEnded, PairingOrder
from fleetcast.transports.errors import SendError
from tests.transports.contract import BOUND, PERSON, Rig, online, outbound, reading


class PairingContract:
    """The suite. A subclass brings the fixture `rig`, fresh for each test."""

    async def test_a_phone_that_takes_the_code_is_linked_and_the_device_sends(self, rig: Rig) -> None:
        device = rig.device()
        async with reading(rig.transport) as reader:
            await rig.transport.pair(PairingOrder(device.id, 1))
            code = await reader.code(device.id, 1)
            assert (code.kind, code.valid_for > 0) == (CodeKind.QR, True)
            assert code.text not in repr(reader.events), "it is a secret, wherever an event is printed"
            assert await rig.takes(code)
            paired = await reader.paired(device.id)
            assert (paired.order, paired.phone[0]) == (1, "+")
            assert paired.jid.startswith(paired.phone[1:])
            assert reader.states(device.id) == [], "the session is not open yet"
            await rig.transport.open(DeviceHandle(device.id, paired.phone))
            await reader.state(device.id, DeviceState.ONLINE)
            await rig.transport.send(outbound(device, rig.reference()), BOUND)

    async def test_a_code_that_is_typed_in_links_the_phone_of_that_number(self, rig: Rig) -> None:
        device = rig.device()
        async with reading(rig.transport) as reader:
            await rig.transport.pair(PairingOrder(device.id, 1, PERSON))
            code = await reader.code(device.id, 1)
            assert (code.kind, len(code.text)) == (CodeKind.PHONE, 8)
            assert code.text not in repr(reader.events)
            assert await rig.takes(code)
            assert (await reader.paired(device.id)).phone == PERSON

    async def test_codes_are_renewed_and_waiting_has_an_end_with_a_reason(self, rig: Rig) -> None:
        device = rig.device()
        await rig.hurries()
        async with reading(rig.transport) as reader:
            await rig.transport.pair(PairingOrder(device.id, 7))
            await reader.until(lambda _: any(isinstance(e, PairingEnded) for e in reader.pairing(device.id)))
            *codes, ended = reader.pairing(device.id)
            assert isinstance(ended, PairingEnded)
            assert (ended.order, bool(ended.reason)) == (7, True)
            texts = {e.code.text for e in codes if isinstance(e, PairingCode)}
            assert len(texts) == len(codes) > 1
            assert not await rig.takes(await reader.code(device.id, 7))

    async def test_the_same_order_again_changes_nothing_and_a_higher_one_replaces_it(self, rig: Rig) -> None:
        device = rig.device()
        async with reading(rig.transport) as reader:
            await rig.transport.pair(PairingOrder(device.id, 1))
            first = await reader.code(device.id, 1)
            await rig.transport.pair(PairingOrder(device.id, 1))
            await rig.transport.pair(PairingOrder(device.id, 2, PERSON))
            second = await reader.code(device.id, 2)
            assert [e.code for e in reader.pairing(device.id) if isinstance(e, PairingCode)] == [first, second]
            assert not await rig.takes(first)
            assert await rig.takes(second)
            assert (await reader.paired(device.id)).order == 2

    async def test_an_order_that_was_carried_out_is_answered_once_more(self, rig: Rig) -> None:
        device = rig.device()
        async with reading(rig.transport) as reader:
            await rig.transport.pair(PairingOrder(device.id, 1))
            assert await rig.takes(await reader.code(device.id, 1))
            first = await reader.paired(device.id)
            await rig.transport.pair(PairingOrder(device.id, 1))
            again = await reader.paired(device.id, times=2)
            assert (again.phone, again.jid, again.lid, again.order) == (first.phone, first.jid, first.lid, 1)
            assert again.event_id != first.event_id

    async def test_pairing_that_is_stopped_shows_nothing_more_and_links_nobody(self, rig: Rig) -> None:
        device = rig.device()
        await rig.transport.stop_pairing(device.id)  # before any
        async with reading(rig.transport) as reader:
            await rig.transport.pair(PairingOrder(device.id, 1))
            code = await reader.code(device.id, 1)
            await rig.transport.stop_pairing(device.id)
            await rig.transport.stop_pairing(device.id)
            assert await rig.transport.health()  # by now it knows
            assert not await rig.takes(code)
            assert not [e for e in reader.pairing(device.id) if not isinstance(e, PairingCode)]

    async def test_a_lost_connection_brings_another_code(self, rig: Rig) -> None:
        device = rig.device()
        async with reading(rig.transport) as reader:
            await rig.transport.pair(PairingOrder(device.id, 3))
            first = await reader.code(device.id, 3)
            await rig.cut()
            second = await reader.code(device.id, 3, times=2)
            assert first.text != second.text
            assert await rig.takes(second)
            assert (await reader.paired(device.id)).order == 3

    async def test_f36_a_device_that_is_logged_out_sends_nothing_and_is_paired_again(self, rig: Rig) -> None:
        async with reading(rig.transport) as reader:
            device = await online(rig, reader)
            await rig.transport.log_out(device, BOUND)
            await rig.transport.log_out(device, BOUND)
            with pytest.raises(SendError) as caught:
                await rig.transport.send(outbound(device, rig.reference()), BOUND)
            assert caught.value.outcome is Outcome.NOT_SENT
            assert {change.state for change in reader.states(device.id)} == {DeviceState.ONLINE}, "who asked knows"
            await rig.transport.close(device.id)
            for order in (1, 2):  # as often as one likes
                await rig.transport.pair(PairingOrder(device.id, order))
                assert await rig.takes(await reader.code(device.id, order))
                await reader.paired(device.id, times=order)
                await rig.transport.open(device)
                await reader.state(device.id, DeviceState.ONLINE, times=1 + order)
                await rig.transport.send(outbound(device, rig.reference()), BOUND)
                await rig.transport.log_out(device, BOUND)
                await rig.transport.close(device.id)

    async def test_a_logout_that_reaches_nobody_says_so(self, rig: Rig) -> None:
        device = rig.device()
        await rig.transport.stop()
        with pytest.raises(Unavailable):
            await rig.transport.log_out(device, BOUND)
