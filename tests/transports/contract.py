"""What every transport promises, as a suite: subclass `TransportContract` and give it a rig. One whose devices are
linked to phones passes `PairingContract` as well (`pairing_contract`).

A rig is a started transport together with a provider that can be told what to do and asked what it took. The suite
knows nothing else of either.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from enum import StrEnum
from typing import Protocol

import pytest

from fleetcast.domain.device import DeviceState
from fleetcast.domain.identifiers import DeviceId, Phone, Reference
from fleetcast.domain.message import Outcome, Reason
from fleetcast.domain.pairing import Code
from fleetcast.transports.base import (
    DeviceHandle,
    EventBatch,
    Inbound,
    Media,
    Outbound,
    Paired,
    PairingCode,
    PairingNews,
    PairingOrder,
    Receipt,
    ReceiptKind,
    Reply,
    StateChange,
    Transport,
)
from fleetcast.transports.errors import (
    ContentRefused,
    DeviceRefused,
    NotSent,
    OptedOut,
    RecipientRefused,
    SendError,
    Unknown,
)

BOUND = 10.0
"""Seconds after which what should have happened has not."""
PERSON = Phone("+60123456789")


class Provider(StrEnum):
    """What a provider does with a send."""

    ACCEPTS = "accepts"
    NOT_ON_WHATSAPP = "not_on_whatsapp"
    OPTED_OUT = "opted_out"
    REFUSES_CONTENT = "refuses_content"
    REFUSES_DEVICE = "refuses_device"
    SLOW_DOWN = "slow_down"
    ACCEPTS_SILENTLY = "accepts_silently"
    """Takes it and never says so."""
    LOSES = "loses"
    """It never arrives, and nobody says so."""


class Rig(Protocol):
    """A started transport and its provider."""

    @property
    def transport(self) -> Transport:
        """Started by the rig, stopped by the rig."""

    @property
    def answers(self) -> bool:
        """Whether the provider can be asked with `find`."""

    @property
    def says(self) -> frozenset[Provider]:
        """What the provider can say of a send; the rest a sender never hears from it."""

    def device(self) -> DeviceHandle:
        """A device that no other test uses, not open."""

    def reference(self) -> Reference:
        """A reference that was never used."""

    async def next_send(self, device: DeviceId, does: Provider) -> None:
        """What the provider does with the device's next send."""

    async def taken(self, reference: Reference) -> int:
        """How many messages with this reference the provider took, by its own record."""

    async def writes(self, device: DeviceId, person: Phone, text: str) -> None:
        """A person writes to the device."""

    async def delivers(self, device: DeviceId) -> None:
        """From now on what the device sends is delivered, and a receipt says so."""

    async def cut(self) -> None:
        """The connection to the provider is lost. The transport connects again by itself."""

    async def state(self, device: DeviceId, state: DeviceState) -> None:
        """The provider changes the device's state."""

    async def begins_nothing_new(self, device: DeviceId) -> None:
        """The provider restricts the device: it may answer people who wrote, and nothing else."""

    async def takes(self, code: Code) -> bool:
        """A phone takes a code that a device shows; whether it is linked now."""

    async def hurries(self) -> None:
        """From now on codes are renewed at once, and nobody is waited for any more after three of them."""


class Reader:
    """Reads a transport's events in the background."""

    def __init__(self, transport: Transport, confirms: bool) -> None:
        self._transport = transport
        self._confirms = confirms
        self._news = asyncio.Condition()
        self.events: list[Inbound] = []
        self.batches: list[EventBatch] = []

    async def read(self) -> None:
        async for batch in self._transport.events():
            async with self._news:
                self.batches.append(batch)
                self.events.extend(batch.events)
                self._news.notify_all()
            if self._confirms:
                await self._transport.confirm(batch)

    async def until(self, happened: Callable[[list[Inbound]], bool], within: float = BOUND) -> list[Inbound]:
        """All events so far, once they satisfy the condition."""
        async with self._news, asyncio.timeout(within):
            await self._news.wait_for(lambda: happened(self.events))
        return self.events

    async def replies(self, device: DeviceId, *texts: str) -> list[Reply]:
        """The device's replies, once all these texts are among them."""

        def mine(events: list[Inbound]) -> list[Reply]:
            return [e for e in events if isinstance(e, Reply) and e.device == device]

        return mine(await self.until(lambda events: set(texts) <= {e.text for e in mine(events)}))

    def states(self, device: DeviceId) -> list[StateChange]:
        return [e for e in self.events if isinstance(e, StateChange) and e.device == device]

    async def state(self, device: DeviceId, state: DeviceState, times: int = 1, within: float = BOUND) -> StateChange:
        """The device's newest change to this state, once there were so many."""

        def mine() -> list[StateChange]:
            return [change for change in self.states(device) if change.state is state]

        await self.until(lambda _: len(mine()) >= times, within)
        return mine()[-1]

    def pairing(self, device: DeviceId) -> list[PairingNews]:
        return [e for e in self.events if isinstance(e, PairingNews) and e.device == device]

    async def code(self, device: DeviceId, order: int, times: int = 1) -> Code:
        """The newest code of an order, once there were so many."""

        def mine() -> list[Code]:
            return [e.code for e in self.pairing(device) if isinstance(e, PairingCode) and e.code.order == order]

        await self.until(lambda _: len(mine()) >= times)
        return mine()[-1]

    async def paired(self, device: DeviceId, times: int = 1) -> Paired:
        """The newest word that a phone is linked, once there were so many."""

        def mine() -> list[Paired]:
            return [e for e in self.pairing(device) if isinstance(e, Paired)]

        await self.until(lambda _: len(mine()) >= times)
        return mine()[-1]


@asynccontextmanager
async def reading(transport: Transport, *, confirms: bool = True) -> AsyncIterator[Reader]:
    """Read events while the block runs."""
    reader = Reader(transport, confirms)
    task = asyncio.create_task(reader.read(), name="event reader")
    try:
        yield reader
    finally:
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled() and task.exception() is not None:
            await task


def outbound(device: DeviceHandle, reference: Reference, text: str = "Hello", media: Media | None = None) -> Outbound:
    return Outbound(device.id, PERSON, reference, text, media)


async def online(rig: Rig, reader: Reader) -> DeviceHandle:
    """An open device."""
    device = rig.device()
    await rig.transport.open(device)
    await reader.state(device.id, DeviceState.ONLINE)
    return device


REFUSALS: dict[Provider, tuple[type[SendError], Outcome, Reason, set[str]]] = {
    Provider.NOT_ON_WHATSAPP: (RecipientRefused, Outcome.REFUSED, Reason.NOT_ON_WHATSAPP, {"recipient_at_fault"}),
    Provider.OPTED_OUT: (OptedOut, Outcome.REFUSED, Reason.RECIPIENT_REFUSED, {"recipient_at_fault", "opt_out"}),
    Provider.REFUSES_CONTENT: (ContentRefused, Outcome.REFUSED, Reason.CONTENT_REFUSED, set()),
    Provider.REFUSES_DEVICE: (
        DeviceRefused,
        Outcome.NOT_SENT,
        Reason.DEVICE_REFUSED,
        {"device_at_fault", "retryable"},
    ),
    Provider.SLOW_DOWN: (NotSent, Outcome.NOT_SENT, Reason.RATE_LIMITED, {"retryable"}),
}


class TransportContract:
    """The suite. A subclass brings the fixture `rig`, fresh for each test."""

    # sending

    async def test_an_accepted_send_names_the_message_and_reaches_the_provider_once(self, rig: Rig) -> None:
        async with reading(rig.transport) as reader:
            device = await online(rig, reader)
            references = [rig.reference(), rig.reference()]
            accepted = [await rig.transport.send(outbound(device, r), BOUND) for r in references]
        assert accepted[0].provider_id
        assert accepted[0].provider_id != accepted[1].provider_id
        assert [await rig.taken(r) for r in references] == [1, 1]

    async def test_a_picture_is_sent(self, rig: Rig) -> None:
        async with reading(rig.transport) as reader:
            device = await online(rig, reader)
            reference = rig.reference()
            picture = Media("ab" * 32, "image/png", "offer.png", b"\x89PNG")
            await rig.transport.send(outbound(device, reference, "Look\n“here” 🙂", picture), BOUND)
        assert await rig.taken(reference) == 1

    async def test_many_sends_at_once_each_get_their_own_answer(self, rig: Rig) -> None:
        async with reading(rig.transport) as reader:
            devices = [await online(rig, reader) for _ in range(10)]
            references = [rig.reference() for _ in range(100)]
            sends = [rig.transport.send(outbound(devices[i % 10], r), BOUND) for i, r in enumerate(references)]
            accepted = await asyncio.gather(*sends)
        assert len({a.provider_id for a in accepted}) == 100
        assert [await rig.taken(r) for r in references] == [1] * 100

    @pytest.mark.parametrize("does", REFUSALS)
    async def test_each_refusal_carries_the_decisions_as_data(self, rig: Rig, does: Provider) -> None:
        if does not in rig.says:
            pytest.skip(f"this provider tells nobody: {does}")
        expected, outcome, reason, flags = REFUSALS[does]
        async with reading(rig.transport) as reader:
            device = await online(rig, reader)
            reference = rig.reference()
            await rig.next_send(device.id, does)
            with pytest.raises(SendError) as caught:
                await rig.transport.send(outbound(device, reference), BOUND)
            answer = outbound(device, rig.reference())._replace(is_answer=True)  # such may pass after any refusal
            await rig.transport.send(answer, BOUND)  # the session outlives it
        error = caught.value
        assert type(error) is expected
        assert (error.outcome, error.reason) == (outcome, reason)
        names = ("retryable", "device_at_fault", "recipient_at_fault", "opt_out")
        assert {name for name in names if getattr(error, name)} == flags
        assert error.code
        assert (error.retry_after is not None) == (does is Provider.SLOW_DOWN)
        assert await rig.taken(reference) == 0

    @pytest.mark.parametrize("does", [Provider.ACCEPTS_SILENTLY, Provider.LOSES])
    async def test_a_time_out_is_unknown_whatever_became_of_the_message(self, rig: Rig, does: Provider) -> None:
        async with reading(rig.transport) as reader:
            device = await online(rig, reader)
            await rig.next_send(device.id, does)
            with pytest.raises(Unknown) as caught:
                await rig.transport.send(outbound(device, rig.reference()), 0.1)
        assert caught.value.outcome is Outcome.UNKNOWN
        assert not caught.value.retryable

    async def test_what_never_left_is_not_sent(self, rig: Rig) -> None:
        device = rig.device()
        with pytest.raises(NotSent):  # never opened
            await rig.transport.send(outbound(device, rig.reference()), BOUND)
        await rig.transport.open(device)
        await rig.transport.close(device.id)
        with pytest.raises(NotSent):
            await rig.transport.send(outbound(device, rig.reference()), BOUND)
        await rig.transport.stop()
        with pytest.raises(NotSent):
            await rig.transport.send(outbound(device, rig.reference()), BOUND)

    async def test_stop_ends_open_sends_as_unknown_at_once(self, rig: Rig) -> None:
        async with reading(rig.transport) as reader:
            device = await online(rig, reader)
            reference = rig.reference()
            await rig.next_send(device.id, Provider.ACCEPTS_SILENTLY)
            send = asyncio.create_task(rig.transport.send(outbound(device, reference), 10 * BOUND))
            async with asyncio.timeout(BOUND):
                while not await rig.taken(reference):
                    pass
                await rig.transport.stop()
                with pytest.raises(Unknown):
                    await send

    async def test_a_send_that_is_cancelled_leaves_the_transport_usable(self, rig: Rig) -> None:
        async with reading(rig.transport) as reader:
            device = await online(rig, reader)
            await rig.next_send(device.id, Provider.LOSES)
            send = asyncio.create_task(rig.transport.send(outbound(device, rig.reference()), 10 * BOUND))
            assert await rig.transport.health()  # by now it has left
            send.cancel()
            await asyncio.wait([send])
            assert send.cancelled()
            await rig.transport.send(outbound(device, rig.reference()), BOUND)

    # sessions

    async def test_open_and_close_are_idempotent(self, rig: Rig) -> None:
        device = rig.device()
        await rig.transport.close(device.id)  # before any open
        async with reading(rig.transport) as reader:
            await rig.transport.open(device)
            await reader.state(device.id, DeviceState.ONLINE)
            await rig.transport.open(device)
            await rig.transport.send(outbound(device, rig.reference()), BOUND)
            await rig.writes(device.id, PERSON, "marker")
            await reader.replies(device.id, "marker")
            assert [change.state for change in reader.states(device.id)] == [DeviceState.ONLINE]
            await rig.transport.close(device.id)
            await rig.transport.close(device.id)
            await rig.transport.open(device)
            await rig.transport.send(outbound(device, rig.reference()), BOUND)

    @pytest.mark.parametrize("state", [DeviceState.BANNED, DeviceState.LOGGED_OUT, DeviceState.RESTRICTED])
    async def test_a_device_that_may_not_send_says_so_and_refuses(self, rig: Rig, state: DeviceState) -> None:
        async with reading(rig.transport) as reader:
            device = await online(rig, reader)
            await rig.state(device.id, state)
            change = await reader.state(device.id, state)
            assert change.reason
            assert (change.until is not None) == (state is DeviceState.RESTRICTED)
            with pytest.raises(DeviceRefused):
                await rig.transport.send(outbound(device, rig.reference()), BOUND)

    async def test_a_device_that_says_it_may_answer_lets_answers_pass_and_nothing_else(self, rig: Rig) -> None:
        async with reading(rig.transport) as reader:
            device = await online(rig, reader)
            await rig.begins_nothing_new(device.id)
            change = await reader.state(device.id, DeviceState.RESTRICTED)
            assert change.may_answer
            assert change.until is not None
            with pytest.raises(DeviceRefused):
                await rig.transport.send(outbound(device, rig.reference()), BOUND)
            reference = rig.reference()
            await rig.transport.send(outbound(device, reference)._replace(is_answer=True), BOUND)
        assert await rig.taken(reference) == 1

    async def test_an_offline_device_sends_nothing_until_it_is_back(self, rig: Rig) -> None:
        async with reading(rig.transport) as reader:
            device = await online(rig, reader)
            reference = rig.reference()
            await rig.state(device.id, DeviceState.OFFLINE)
            await reader.state(device.id, DeviceState.OFFLINE)
            with pytest.raises(NotSent):
                await rig.transport.send(outbound(device, reference), BOUND)
            await rig.state(device.id, DeviceState.ONLINE)
            await reader.state(device.id, DeviceState.ONLINE, times=2)
            await rig.transport.send(outbound(device, reference), BOUND)
        assert await rig.taken(reference) == 1

    async def test_a_lost_connection_takes_devices_offline_and_back(self, rig: Rig) -> None:
        async with reading(rig.transport) as reader:
            device = await online(rig, reader)
            await rig.cut()
            await reader.state(device.id, DeviceState.OFFLINE)
            await reader.state(device.id, DeviceState.ONLINE, times=2)
            await rig.transport.send(outbound(device, rig.reference()), BOUND)

    # events

    async def test_events_come_in_order(self, rig: Rig) -> None:
        texts = [f"message {n}" for n in range(20)]
        async with reading(rig.transport) as reader:
            device = await online(rig, reader)
            for text in texts:
                await rig.writes(device.id, PERSON, text)
            replies = await reader.replies(device.id, *texts)
        assert [reply.text for reply in replies] == texts
        assert {reply.sender for reply in replies} == {PERSON}
        assert len({reply.event_id for reply in replies}) == len(texts)
        assert all(reply.at.tzinfo is not None for reply in replies)

    async def test_events_are_repeated_until_they_are_confirmed(self, rig: Rig) -> None:
        async with reading(rig.transport, confirms=False) as reader:
            device = await online(rig, reader)
            await rig.writes(device.id, PERSON, "one")
            await rig.writes(device.id, PERSON, "two")
            first = await reader.replies(device.id, "one", "two")
            await rig.cut()
            await reader.until(lambda events: sum(isinstance(e, Reply) and e.device == device.id for e in events) == 4)
            again = (await reader.replies(device.id))[2:]
            assert [e.event_id for e in again] == [e.event_id for e in first]
            for batch in reader.batches:  # those of the old connection, too: no harm
                await rig.transport.confirm(batch)
            assert await rig.transport.health()  # the confirmations have left
            await rig.cut()
            await rig.writes(device.id, PERSON, "three")
            last = await reader.replies(device.id, "three")
            assert [e.text for e in last] == ["one", "two", "one", "two", "three"]

    async def test_events_wait_for_a_device_that_is_not_open(self, rig: Rig) -> None:
        async with reading(rig.transport) as reader:
            device = await online(rig, reader)
            await rig.transport.close(device.id)
            assert await rig.transport.health()
            await rig.writes(device.id, PERSON, "are you there?")
            await rig.transport.open(device)
            await reader.replies(device.id, "are you there?")

    async def test_a_receipt_names_the_message(self, rig: Rig) -> None:
        async with reading(rig.transport) as reader:
            device = await online(rig, reader)
            await rig.delivers(device.id)
            reference = rig.reference()
            accepted = await rig.transport.send(outbound(device, reference), BOUND)

            def mine(events: list[Inbound]) -> list[Receipt]:
                return [e for e in events if isinstance(e, Receipt) and e.provider_id == accepted.provider_id]

            receipt = mine(await reader.until(lambda events: bool(mine(events))))[0]
        assert (receipt.device, receipt.kind) == (device.id, ReceiptKind.DELIVERED)
        assert receipt.reference in (reference, None)

    async def test_events_end_when_the_transport_stops(self, rig: Rig) -> None:
        reader = Reader(rig.transport, confirms=True)
        task = asyncio.create_task(reader.read())
        device = rig.device()
        await rig.transport.open(device)
        await reader.state(device.id, DeviceState.ONLINE)
        await rig.transport.stop()
        async with asyncio.timeout(BOUND):
            await task

    # evidence

    async def test_find_tells_what_was_accepted(self, rig: Rig) -> None:
        async with reading(rig.transport) as reader:
            device = await online(rig, reader)
            loud, silent = rig.reference(), rig.reference()
            accepted = await rig.transport.send(outbound(device, loud), BOUND)
            await rig.next_send(device.id, Provider.ACCEPTS_SILENTLY)
            with pytest.raises(Unknown):
                await rig.transport.send(outbound(device, silent), 0.1)
            found = {finding.reference: finding.provider_id for finding in await rig.transport.find([loud, silent])}
        if not rig.answers:
            assert found == {}
            return
        assert found[loud] == accepted.provider_id
        assert found[silent] is not None
        assert await rig.taken(silent) == 1

    async def test_find_seals_what_it_denies(self, rig: Rig) -> None:
        async with reading(rig.transport) as reader:
            device = await online(rig, reader)
            lost = rig.reference()
            await rig.next_send(device.id, Provider.LOSES)
            with pytest.raises(Unknown):
                await rig.transport.send(outbound(device, lost), 0.1)
            found = await rig.transport.find([lost])
            if not rig.answers:
                assert found == []
                return
            assert [(f.reference, f.provider_id) for f in found] == [(lost, None)]
            with pytest.raises(NotSent):
                await rig.transport.send(outbound(device, lost), BOUND)
            assert [f.provider_id for f in await rig.transport.find([lost])] == [None]
        assert await rig.taken(lost) == 0

    async def test_find_asks_about_nothing(self, rig: Rig) -> None:
        assert await rig.transport.find([]) == []

    # the whole

    async def test_health_follows_the_connection(self, rig: Rig) -> None:
        assert await rig.transport.health()
        await rig.transport.stop()
        assert not await rig.transport.health()

    async def test_after_stop_every_call_is_harmless(self, rig: Rig) -> None:
        device = rig.device()
        await rig.transport.open(device)
        await rig.transport.stop()
        await rig.transport.stop()
        await rig.transport.close(device.id)
        await rig.transport.pair(PairingOrder(device.id, 1))
        await rig.transport.stop_pairing(device.id)
        await rig.transport.confirm(EventBatch(()))
        assert await rig.transport.find([rig.reference()]) == []

    async def test_a_stopped_transport_can_be_started_again(self, rig: Rig) -> None:
        await rig.transport.stop()
        await rig.transport.start()
        await rig.transport.start()
        async with reading(rig.transport) as reader:
            device = await online(rig, reader)
            await rig.transport.send(outbound(device, rig.reference()), BOUND)

    def test_doubt_lasts_longer_than_grace(self, rig: Rig) -> None:
        assert 0 < rig.transport.grace < rig.transport.doubt_window
