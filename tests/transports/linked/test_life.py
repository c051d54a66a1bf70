"""What can happen to a linked device, from either side of the wire, and what becomes of its messages."""

import asyncio
import hashlib
import os
import signal
from pathlib import Path

import pytest

from fleetcast.domain.device import DeviceState
from fleetcast.domain.identifiers import DeviceId, Phone, Reference
from fleetcast.transports.base import (
    DeviceHandle,
    Media,
    Outbound,
    OwnEcho,
    PairingEnded,
    PairingOrder,
    Receipt,
    ReceiptKind,
    Reply,
)
from fleetcast.transports.errors import DeviceRefused, NotSent, Unknown
from fleetcast.transports.linked import client, fleet, words
from fleetcast.transports.linked.client import LinkedTransport
from testbed.whatsapp_web.behaviour import Ack, Treatment
from testbed.whatsapp_web.launch import Testbed
from tests.running import until
from tests.transports.contract import BOUND, Reader, reading
from tests.transports.linked.scene import PNG, Account, Scene, environment, fresh_number, kill_children

PDF = b"%PDF-1.4\n%small\n"


def message(
    device: DeviceHandle, person: str, text: str = "Hello", media: Media | None = None, *, is_answer: bool = False
) -> Outbound:
    return Outbound(device.id, Phone(f"+{person}"), Reference(f"life-{text}-1"), text, media, is_answer)


async def opened(scene: Scene, reader: Reader) -> DeviceHandle:
    device = await scene.device()
    await scene.transport.open(device)
    await reader.state(device.id, DeviceState.ONLINE)
    return device


async def texts(scene: Scene, person: str) -> list[str]:
    return [each.text for each in await scene.control.arrivals(person)]


# connections


async def test_f35_a_connection_that_went_mute_is_noticed_within_a_minute_and_replaced(scene: Scene) -> None:
    """No farewell, no error: the library asks every half minute whether anybody is there."""
    async with reading(scene.transport) as reader:
        device = await opened(scene, reader)
        await scene.control.silence(scene.companions[device.id])
        await reader.state(device.id, DeviceState.OFFLINE, within=60)
        await reader.state(device.id, DeviceState.ONLINE, times=2)
        person = fresh_number()
        await scene.transport.send(message(device, person), BOUND)
    assert await texts(scene, person) == ["Hello"]


async def test_f35_a_device_whose_connection_was_lost_is_back_without_a_code(scene: Scene) -> None:
    async with reading(scene.transport) as reader:
        device = await opened(scene, reader)
        await scene.control.drop(scene.companions[device.id])
        await reader.state(device.id, DeviceState.OFFLINE)
        await reader.state(device.id, DeviceState.ONLINE, times=2)
        person = fresh_number()
        await scene.transport.send(message(device, person), BOUND)
        assert {change.state for change in reader.states(device.id)} == {DeviceState.OFFLINE, DeviceState.ONLINE}
    (arrival,) = await scene.control.arrivals(person)
    assert arrival.sender == scene.companions[device.id], "it is the linked device that it was"


async def test_a_refusal_that_the_library_has_no_name_for_is_noticed_and_tried_again(scene: Scene) -> None:
    """It ends the library's client and tells nobody."""
    async with reading(scene.transport) as reader:
        device = await opened(scene, reader)
        await scene.control.fail(scene.companions[device.id], 418)
        change = await reader.state(device.id, DeviceState.OFFLINE)
        assert "it is tried again" in change.reason
        await reader.state(device.id, DeviceState.ONLINE, times=2)


async def test_a_killed_child_costs_seconds_and_its_devices_are_held_by_another(scene: Scene) -> None:
    async with reading(scene.transport) as reader:
        devices = [await opened(scene, reader) for _ in range(3)]
        before = {child.pid for child in scene.transport.processes}
        person = fresh_number()
        await scene.transport.send(message(devices[0], person, "first"), BOUND)
        await scene.control.treat(Treatment(ack=Ack.NEVER), sender=scene.number_of(devices[0].id), times=1)
        under_way = asyncio.create_task(scene.transport.send(message(devices[0], person, "under way"), BOUND))
        await until(lambda: arrived(scene, person, "under way"))
        await kill_children(scene.transport)
        with pytest.raises(Unknown):  # it had begun
            await under_way
        with pytest.raises(NotSent):
            await scene.transport.send(message(devices[1], person, "meanwhile"), 0.01)
        for device in devices:
            assert words.CHILD_ENDED in {change.reason for change in reader.states(device.id)}
            await reader.state(device.id, DeviceState.ONLINE, times=2)
            await scene.transport.send(message(device, person, f"from {device.id}"), BOUND)
        assert {child.pid for child in scene.transport.processes}.isdisjoint(before)
    assert (await texts(scene, person))[:2] == ["first", "under way"]
    assert await scene.control.doubles() == []


async def arrived(scene: Scene, person: str, text: str) -> bool:
    return text in await texts(scene, person)


async def test_a_child_that_stands_still_is_ended_and_what_it_had_not_begun_never_leaves(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleet, "PING_SECONDS", 0.3)
    monkeypatch.setattr(fleet, "STANDS_STILL", 1.5)
    scene.transport._tasks.start(scene.transport._fleet.watch(), "watch in haste")
    async with reading(scene.transport) as reader:
        device = await opened(scene, reader)
        person = fresh_number()
        await scene.transport.send(message(device, person, "first"), BOUND)
        (child,) = scene.transport.processes
        assert child.pid is not None
        os.kill(child.pid, signal.SIGSTOP)
        with pytest.raises((NotSent, Unknown)):
            await scene.transport.send(message(device, person, "into a frozen process"), 0.2)
        await child.gone.wait()
        await reader.state(device.id, DeviceState.ONLINE, times=2)
        await scene.transport.send(message(device, person, "last"), BOUND)
    assert await texts(scene, person) == ["first", "last"]


async def test_a_message_that_is_late_when_a_frozen_child_wakes_never_leaves(scene: Scene) -> None:
    async with reading(scene.transport) as reader:
        device = await opened(scene, reader)
        person = fresh_number()
        await scene.transport.send(message(device, person, "first"), BOUND)
        (child,) = scene.transport.processes
        assert child.pid is not None
        os.kill(child.pid, signal.SIGSTOP)
        send = asyncio.create_task(scene.transport.send(message(device, person, "late"), 0.3))
        await asyncio.wait([send], timeout=0.6)
        os.kill(child.pid, signal.SIGCONT)
        with pytest.raises(NotSent):  # the child says so, in the moment in which it wakes
            await send
        await scene.transport.send(message(device, person, "last"), BOUND)
    assert await texts(scene, person) == ["first", "last"]


async def test_children_are_filled_one_after_the_other(scene: Scene) -> None:
    scene.transport._fleet._per_child = 2
    async with reading(scene.transport) as reader:
        devices = [await opened(scene, reader) for _ in range(3)]
        assert [len(child.devices) for child in scene.transport.processes] == [2, 1]
        await scene.transport.close(devices[0].id)
        await opened(scene, reader)
        assert [len(child.devices) for child in scene.transport.processes] == [2, 1]


async def test_a_child_ends_with_its_parent(scene: Scene) -> None:
    async with reading(scene.transport) as reader:
        await opened(scene, reader)
        (child,) = scene.transport.processes
        assert child._wire is not None
        child._wire.close()  # as the kernel does for a parent that was killed
        async with asyncio.timeout(BOUND):
            await child.gone.wait()


async def test_a_proxy_that_nobody_answers_on_is_the_reason_that_is_told(scene: Scene) -> None:
    scene.account.proxy = "http://127.0.0.1:9"
    async with reading(scene.transport) as reader:
        device = await scene.device()
        await scene.transport.open(device)
        change = await reader.state(device.id, DeviceState.OFFLINE)
        assert "proxy" in change.reason
        with pytest.raises(NotSent):
            await scene.transport.send(message(device, fresh_number()), BOUND)


async def test_who_opens_an_open_device_after_a_while_is_told_its_state_once_more(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sender that had lost its leases and did not notice: meanwhile the device was called offline."""
    async with reading(scene.transport) as reader:
        device = await opened(scene, reader)
        monkeypatch.setattr(client, "FRESH_SECONDS", 0.0)
        await scene.transport.open(device)
        await reader.state(device.id, DeviceState.ONLINE, times=2)


# logouts, bans, restrictions


async def test_f44_a_logout_on_the_phone_is_told_and_never_fought(scene: Scene) -> None:
    async with reading(scene.transport) as reader:
        device = await opened(scene, reader)
        await scene.control.log_out(scene.companions[device.id])
        change = await reader.state(device.id, DeviceState.LOGGED_OUT)
        assert "link it again" in change.reason
        logins = (await scene.control.state()).counts["login"]
        await until(lambda: gone(scene, device.id))
        await scene.transport.close(device.id)
        await scene.transport.open(device)
        change = await reader.state(device.id, DeviceState.LOGGED_OUT, times=2)
        assert change.reason == words.NO_SESSION
        assert (await scene.control.state()).counts["login"] == logins


async def gone(scene: Scene, device: DeviceId) -> bool:
    return not scene.transport.files_of(device).is_paired


async def test_f44_a_ban_for_a_while_is_waited_out_and_told_with_its_end(scene: Scene) -> None:
    async with reading(scene.transport) as reader:
        device = await opened(scene, reader)
        logins = (await scene.control.state()).counts["login"]
        await scene.control.ban(scene.number_of(device.id), code=104, seconds=2)
        change = await reader.state(device.id, DeviceState.RESTRICTED)
        assert change.until is not None
        assert 0 < (change.until - change.at).total_seconds() <= 2
        assert not change.may_answer
        assert "the same message was sent too often" in change.reason
        with pytest.raises(DeviceRefused):
            await scene.transport.send(message(device, fresh_number(), is_answer=True), BOUND)
        assert (await scene.control.state()).counts["login"] == logins
        await reader.state(device.id, DeviceState.ONLINE, times=2)
        assert (await scene.control.state()).counts["login"] == logins + 1


async def test_after_a_time_lock_nobody_new_is_written_to_but_people_are_answered_also_by_the_next_child(
    scene: Scene,
) -> None:
    async with reading(scene.transport) as reader:
        device = await opened(scene, reader)
        stranger, writer = fresh_number(), fresh_number()
        await scene.control.treat(Treatment(error=463), sender=scene.number_of(device.id), times=1)
        with pytest.raises(DeviceRefused):
            await scene.transport.send(message(device, stranger), BOUND)
        change = await reader.state(device.id, DeviceState.RESTRICTED)
        assert change.until is not None
        assert change.may_answer
        assert "463" in change.reason
        asked = (await scene.control.state()).counts["message"]
        with pytest.raises(DeviceRefused):
            await scene.transport.send(message(device, stranger), BOUND)
        assert (await scene.control.state()).counts["message"] == asked, "to ask again counts again"
        await scene.transport.send(message(device, writer, "Your shop", is_answer=True), BOUND)
        await kill_children(scene.transport)
        again = await reader.state(device.id, DeviceState.RESTRICTED, times=2)
        assert (again.until, again.may_answer) == (change.until, True)
        await scene.transport.send(message(device, writer, "Still your shop", is_answer=True), BOUND)
    assert await texts(scene, writer) == ["Your shop", "Still your shop"]
    assert await texts(scene, stranger) == []


async def test_f44_a_session_that_was_opened_elsewhere_is_left_alone_until_somebody_wants_it_anew(scene: Scene) -> None:
    async with reading(scene.transport) as reader:
        device = await opened(scene, reader)
        await scene.control.replace(scene.companions[device.id])
        change = await reader.state(device.id, DeviceState.OFFLINE)
        assert change.replaced
        await until(lambda: nobody_holds(scene, device.id))
        logins = (await scene.control.state()).counts["login"]
        await scene.transport.open(device)  # as a sender does that still owns it
        change = await reader.state(device.id, DeviceState.OFFLINE, times=2)
        assert (change.replaced, change.reason) == (False, words.REPLACED)
        assert await scene.transport.health()
        assert (await scene.control.state()).counts["login"] == logins
        await scene.transport.close(device.id)
        await scene.transport.open(device)
        await reader.state(device.id, DeviceState.ONLINE, times=2)


async def nobody_holds(scene: Scene, device: DeviceId) -> bool:
    return all(device not in child.devices for child in scene.transport.processes)


# sessions and their files


async def test_f26_two_processes_never_have_the_same_session(scene: Scene, testbed: Testbed) -> None:
    """Not even for a moment: the second waits until the first lets go, and the phone keeps its one linked device."""
    other = LinkedTransport(scene.folder, keeper=scene.account, environment=environment(testbed))
    await other.start()
    try:
        async with reading(scene.transport) as reader, reading(other) as other_reader:
            device = await opened(scene, reader)
            await other.open(device)
            change = await other_reader.state(device.id, DeviceState.OFFLINE)
            assert change.reason == words.HELD_ELSEWHERE
            await scene.transport.send(message(device, fresh_number()), BOUND)
            await scene.transport.close(device.id)
            await other_reader.state(device.id, DeviceState.ONLINE)
            assert [change.replaced for change in reader.states(device.id)] == [False]
    finally:
        await other.stop()


async def test_f26_devices_have_sessions_phones_and_chats_of_their_own(scene: Scene) -> None:
    async with reading(scene.transport) as reader:
        one, other = await opened(scene, reader), await opened(scene, reader)
        person = fresh_number()
        await scene.transport.send(message(one, person, "from the one"), BOUND)
        await scene.transport.send(message(other, person, "from the other"), BOUND)
        await scene.control.say(person, scene.companions[other.id], "to the other")
        (reply,) = await reader.replies(other.id, "to the other")
        assert (reply.device, reply.sender) == (other.id, f"+{person}")
        assert not [e for e in reader.events if isinstance(e, Reply) and e.device == one.id]
        modes = {path.stat().st_mode & 0o777 for path in scene.folder.iterdir()}
    senders = [(each.sender, each.text) for each in await scene.control.arrivals(person)]
    assert senders == [
        (scene.companions[one.id], "from the one"),
        (scene.companions[other.id], "from the other"),
    ]
    assert modes == {0o600}, "whoever reads a session is that device"


async def test_a_closed_session_leaves_a_copy_with_which_another_node_goes_on(
    scene: Scene, testbed: Testbed, tmp_path: Path
) -> None:
    other = LinkedTransport(tmp_path / "sessions", keeper=scene.account, environment=environment(testbed))
    await other.start()
    person = fresh_number()
    try:
        async with reading(scene.transport) as reader, reading(other) as other_reader:
            device = await opened(scene, reader)
            await scene.transport.send(message(device, person, "before"), BOUND)
            await scene.transport.close(device.id)
            await other.open(device)
            await other_reader.state(device.id, DeviceState.ONLINE)
            await other.send(message(device, person, "after"), BOUND)
    finally:
        await other.stop()
    assert await texts(scene, person) == ["before", "after"]
    (companion,) = (await scene.control.phone(scene.number_of(device.id))).companions
    assert companion.name == scene.companions[device.id]


async def test_a_session_that_another_machine_has_is_not_opened_and_the_machine_is_named(scene: Scene) -> None:
    async with reading(scene.transport) as reader:
        device = await scene.device()
        scene.account.elsewhere[device.id] = "north"
        await scene.transport.open(device)
        assert "is on north" in (await reader.state(device.id, DeviceState.OFFLINE)).reason
        with pytest.raises(NotSent):
            await scene.transport.send(message(device, fresh_number()), 0.1)


async def test_a_device_without_a_session_says_what_to_do(scene: Scene) -> None:
    async with reading(scene.transport) as reader:
        device = DeviceHandle(DeviceId(4711))
        await scene.transport.open(device)
        change = await reader.state(device.id, DeviceState.LOGGED_OUT)
        assert "link a phone" in change.reason
        with pytest.raises(DeviceRefused):
            await scene.transport.send(message(device, fresh_number()), BOUND)


async def test_what_nobody_confirmed_is_told_again_by_the_next_process(scene: Scene, testbed: Testbed) -> None:
    """WhatsApp takes it for delivered and will not repeat it: a stop word must not be lost with a sender."""
    async with reading(scene.transport, confirms=False) as reader:
        device = await opened(scene, reader)
        await scene.control.say(fresh_number(), scene.companions[device.id], "STOP")
        (first,) = await reader.replies(device.id, "STOP")
    await scene.transport.stop()
    heir = LinkedTransport(scene.folder, keeper=Account(testbed.reach.proxy), environment=environment(testbed))
    await heir.start()
    try:
        async with reading(heir) as reader:
            await heir.open(device)
            (again,) = await reader.replies(device.id, "STOP")
            assert again == first
    finally:
        await heir.stop()


# messages


async def test_receipts_that_overtake_the_answer_come_after_it_and_name_the_number_not_the_lid(scene: Scene) -> None:
    async with reading(scene.transport) as reader:
        device = await opened(scene, reader)
        person = fresh_number()
        held = Treatment(ack=Ack.HELD, receipts_first=True)
        await scene.control.treat(held, sender=scene.number_of(device.id), times=1)
        send = asyncio.create_task(scene.transport.send(message(device, person), BOUND))
        await until(lambda: arrived(scene, person, "Hello"))
        await until(lambda: written_down(scene, device.id))
        assert await scene.transport.health()
        assert not [e for e in reader.events if isinstance(e, Receipt)], "it is told when its message has a name"
        await scene.control.release()
        accepted = await send

        def receipts() -> list[Receipt]:
            return [e for e in reader.events if isinstance(e, Receipt)]

        await reader.until(lambda _: len(receipts()) == 2)
        assert [(r.provider_id, r.kind, r.recipient) for r in receipts()] == [
            (accepted.provider_id, ReceiptKind.DELIVERED, f"+{person}"),
            (accepted.provider_id, ReceiptKind.READ, f"+{person}"),
        ]


async def written_down(scene: Scene, device: DeviceId) -> bool:
    path = scene.transport.files_of(device).events
    return path.exists() and path.read_bytes().count(b'"Marks"') == 2


async def test_an_answer_that_nobody_waits_for_any_more_is_told_with_our_reference(scene: Scene) -> None:
    async with reading(scene.transport) as reader:
        device = await opened(scene, reader)
        person = fresh_number()
        await scene.control.treat(Treatment(ack=Ack.HELD), sender=scene.number_of(device.id), times=1)
        send = asyncio.create_task(scene.transport.send(message(device, person, "slow"), 2.0))
        await until(lambda: arrived(scene, person, "slow"))
        with pytest.raises(Unknown):
            await send

        async def released() -> bool:
            return await scene.control.release() > 0

        await until(released)
        assert [change.state for change in reader.states(device.id)] == [DeviceState.ONLINE]

        def late() -> list[Receipt]:
            return [e for e in reader.events if isinstance(e, Receipt) and e.kind is ReceiptKind.ACCEPTED]

        await reader.until(lambda _: bool(late()))
        (arrival,) = await scene.control.arrivals(person)
        assert [(r.reference, r.provider_id) for r in late()] == [("life-slow-1", arrival.id)]


async def test_what_is_typed_on_the_phone_is_told_as_such_and_its_receipts_are_not_told(scene: Scene) -> None:
    async with reading(scene.transport) as reader:
        device = await opened(scene, reader)
        person = fresh_number()
        mark = await scene.control.type_on_phone(scene.number_of(device.id), person, "by hand")

        def echoes() -> list[OwnEcho]:
            return [e for e in reader.events if isinstance(e, OwnEcho)]

        await reader.until(lambda _: bool(echoes()))
        assert [(e.device, e.provider_id, e.recipient) for e in echoes()] == [(device.id, mark, f"+{person}")]
        assert "by hand" not in repr(reader.events)


async def test_pictures_and_documents_arrive_byte_for_byte_and_are_uploaded_once(scene: Scene) -> None:
    picture = Media(hashlib.sha256(PNG).hexdigest(), "image/png", "offer.png", PNG)
    document = Media(hashlib.sha256(PDF).hexdigest(), "application/pdf", "prices.pdf", PDF)
    people = [fresh_number() for _ in range(3)]
    before = sum((await scene.control.state()).uploads.values())
    async with reading(scene.transport) as reader:
        device = await opened(scene, reader)
        for person in people:
            await scene.transport.send(message(device, person, "Look", picture), BOUND)
            await scene.transport.send(message(device, person, "Prices", document), BOUND)
    assert sum((await scene.control.state()).uploads.values()) - before == 2
    for person in people:
        told = [(each.kind, each.text, each.file_sha256, each.mime) for each in await scene.control.arrivals(person)]
        assert told == [
            ("image", "Look", picture.sha256, "image/png"),
            ("document", "Prices", document.sha256, "application/pdf"),
        ]
    assert await scene.control.file(document.sha256) == PDF


async def test_a_kind_of_file_that_is_not_sent_is_refused_in_a_sentence(scene: Scene) -> None:
    async with reading(scene.transport) as reader:
        device = await opened(scene, reader)
        moving = Media("cd" * 32, "image/gif", "moving.gif", b"GIF89a")
        with pytest.raises(Exception, match="image/gif is not sent by linked devices"):
            await scene.transport.send(message(device, fresh_number(), "Look", moving), BOUND)


# linking


async def test_a_machine_on_which_the_library_does_not_load_says_so_with_its_words(
    scene: Scene, tmp_path: Path
) -> None:
    broken = tmp_path / "neonize"
    broken.mkdir()
    (broken / "__init__.py").write_text("raise ImportError('failed to find libmagic')")
    transport = LinkedTransport(
        scene.folder, keeper=scene.account, environment={"PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"}
    )
    await transport.start()
    try:
        async with reading(transport) as reader:
            device = await scene.device()
            await transport.open(device)
            assert "failed to find libmagic" in (await reader.state(device.id, DeviceState.OFFLINE)).reason
            await transport.pair(PairingOrder(DeviceId(4713), 1))
            await reader.until(lambda _: bool(reader.pairing(DeviceId(4713))))
            (ended,) = reader.pairing(DeviceId(4713))
            assert isinstance(ended, PairingEnded)
            assert "failed to find libmagic" in ended.reason
    finally:
        await transport.stop()


async def test_a_device_that_cannot_reach_whatsapp_to_be_linked_says_so(scene: Scene) -> None:
    scene.account.proxy = "http://127.0.0.1:9"
    async with reading(scene.transport) as reader:
        device = DeviceId(4712)
        await scene.transport.pair(PairingOrder(device, 1))

        def ended() -> list[PairingEnded]:
            return [e for e in reader.pairing(device) if isinstance(e, PairingEnded)]

        async with asyncio.timeout(3 * BOUND):
            while not ended():
                await asyncio.wait([asyncio.create_task(scene.transport.health())])
        assert "proxy" in ended()[0].reason
        assert not scene.transport.files_of(device).is_paired
