"""Linking devices to phones: what is wanted, what comes of it, and what is heard too late."""

from datetime import UTC, datetime

import pytest

from fleetcast.domain.device import DeviceState, TransportKind
from fleetcast.domain.identifiers import DeviceId, Phone, WorkspaceId
from fleetcast.domain.pairing import LINKED, PAIRABLE, PAIRING_SECONDS, Code, CodeKind
from fleetcast.errors import Conflict, InvalidInput, NotFound
from fleetcast.queue.nudges import SENDERS, listening
from fleetcast.runtime import Runtime
from fleetcast.services import pairing
from fleetcast.services.devices import Device, add_device, get_device, remove_device, set_state
from fleetcast.services.inbound import receive
from fleetcast.services.pairing import Pairing
from fleetcast.services.workspaces import create_workspace
from fleetcast.store import pairing as store
from fleetcast.store.connection import Connection
from fleetcast.store.pairing import LinkOrder
from fleetcast.transports.base import Inbound, Paired, PairingEnded, StateChange
from tests.services.test_devices import queued, subscribed
from tests.store.broadcast import make_broadcast

AT = datetime(2026, 11, 27, 12, 0, tzinfo=UTC)
ANN = Phone("+60123456789")


@pytest.fixture
async def device(runtime: Runtime, workspace: WorkspaceId) -> Device:
    return await add_device(runtime, workspace, "Counter", pair_first=True)


async def start(runtime: Runtime, device: Device, phone: str | None = None) -> Pairing:
    return await pairing.start_pairing(runtime, device.workspace_id, device.id, actor="Aminah", phone=phone)


async def look(runtime: Runtime, device: Device) -> Pairing:
    return await pairing.look(runtime, device.workspace_id, device.id, with_code=True)


async def hear(runtime: Runtime, *events: Inbound) -> None:
    await receive(runtime, "test", events)


def linked(device: Device, order: int, phone: Phone = ANN) -> Paired:
    return Paired(f"p-{order}", device.id, order, phone, f"{phone[1:]}:{order}@s.whatsapp.net", "77@lid", AT)


async def orders(runtime: Runtime, device: Device) -> list[LinkOrder]:
    async with runtime.db.connection() as connection:
        return [o for o in await store.orders(connection, [device.shard_id]) if o.device == device.id]


async def age(runtime: Runtime, device: Device) -> None:
    """Its three minutes are over."""
    async with runtime.db.connection() as connection:
        await connection.execute(
            "UPDATE devices SET pairing_until = fleetcast_now() - interval '1 s' WHERE id = $1", device.id
        )


async def actions(connection: Connection) -> list[tuple[str, str]]:
    rows = await connection.fetch("SELECT actor, action FROM audit WHERE action LIKE 'device.%' ORDER BY id")
    return [(row["actor"], row["action"]) for row in rows]


async def test_a_device_that_is_paired_first_waits_for_a_phone_and_then_connects(
    runtime: Runtime, device: Device
) -> None:
    assert device.state is DeviceState.UNPAIRED
    started = await start(runtime, device)
    assert started.under_way
    assert PAIRING_SECONDS - 5 < started.seconds_left <= PAIRING_SECONDS
    [order] = await orders(runtime, device)
    assert (order.order, order.code_for, order.pairs, order.logout_ordered_at) == (1, None, True, None)
    await hear(runtime, linked(device, 1))
    now = await get_device(runtime, device.workspace_id, device.id)
    assert (now.state, now.phone, now.lid) == (DeviceState.CONNECTING, ANN, "77@lid")
    assert now.jid == "60123456789:1@s.whatsapp.net"
    assert await orders(runtime, device) == []
    async with runtime.db.connection() as connection:
        told = [("Aminah", "device.pair"), ("system", "device.paired")]
        assert (await actions(connection))[1:] == told


async def test_owners_are_told_of_each_order_and_of_what_came_of_it(runtime: Runtime, device: Device) -> None:
    async with listening(runtime.redis, runtime.keys, SENDERS) as ears:
        await subscribed(ears)
        await start(runtime, device)
        assert await ears.next(5) == {"devices": [device.id]}
        assert await pairing.cancel_pairing(runtime, device.workspace_id, device.id, actor="Aminah")
        assert await ears.next(5) == {"devices": [device.id]}
        await start(runtime, device)
        assert await ears.next(5) == {"devices": [device.id]}
        await hear(runtime, linked(device, 3))
        assert await ears.next(5) == {"devices": [device.id]}


@pytest.mark.parametrize("state", sorted(DeviceState))
async def test_only_where_no_phone_is_linked_one_can_be_and_only_a_linked_one_is_logged_out(
    runtime: Runtime, device: Device, state: DeviceState
) -> None:
    assert set(DeviceState) == PAIRABLE | LINKED
    async with runtime.db.connection() as connection:
        await connection.execute("UPDATE devices SET state = $2::text::device_state WHERE id = $1", device.id, state)
    if state in PAIRABLE:
        with pytest.raises(Conflict, match="nothing to log out"):
            await pairing.log_out(runtime, device.workspace_id, device.id, actor="Aminah")
        assert (await start(runtime, device)).under_way
    else:
        with pytest.raises(Conflict, match="Log it out"):
            await start(runtime, device)
        assert await pairing.log_out(runtime, device.workspace_id, device.id, actor="Aminah") == 0


async def test_a_number_of_the_cloud_api_has_no_phone(runtime: Runtime, device: Device) -> None:
    async with runtime.db.connection() as connection:
        await connection.execute(
            "UPDATE devices SET transport = $2 WHERE id = $1", device.id, TransportKind.CLOUD.value
        )
    with pytest.raises(Conflict, match="token"):
        await start(runtime, device)
    with pytest.raises(Conflict, match="pause it"):
        await pairing.log_out(runtime, device.workspace_id, device.id, actor="Aminah")


async def test_a_code_for_a_phone_is_for_a_number_as_people_write_it(runtime: Runtime, workspace: WorkspaceId) -> None:
    device = await add_device(runtime, workspace, "Counter", region="SG", pair_first=True)
    with pytest.raises(InvalidInput) as refused:
        await start(runtime, device, "no number")
    assert refused.value.field == "phone"
    assert (await start(runtime, device, "8123 4567")).code_for == "+6581234567"


async def test_another_workspace_neither_sees_nor_starts_nor_ends_it(runtime: Runtime, device: Device) -> None:
    elsewhere = (await create_workspace(runtime, "Elsewhere")).id
    await start(runtime, device)
    for ask in (pairing.start_pairing, pairing.cancel_pairing, pairing.log_out):
        with pytest.raises(NotFound):
            await ask(runtime, elsewhere, device.id, actor="test")
    with pytest.raises(NotFound):
        await pairing.look(runtime, elsewhere, device.id, with_code=True)
    assert (await look(runtime, device)).under_way


async def test_nobody_came_and_the_device_is_what_it_was_with_the_reason(runtime: Runtime, device: Device) -> None:
    await start(runtime, device)
    await hear(runtime, PairingEnded("e", device.id, 1, "no phone took a code in time", AT))
    ended = (await look(runtime, device)).device
    assert (ended.state, ended.state_reason) == (DeviceState.UNPAIRED, "no phone took a code in time")
    await hear(runtime, linked(device, 1))  # in the very moment in which the time was over
    assert (await look(runtime, device)).device.state is DeviceState.CONNECTING
    await set_state(runtime, device.id, DeviceState.LOGGED_OUT, "logged out on the phone")
    await start(runtime, device)
    await age(runtime, device)
    assert not (await look(runtime, device)).under_way, "whoever looks does not wait for the sweeper"
    assert [o.pairs for o in await orders(runtime, device)] == [False], "and neither does the owner"
    assert await pairing.expire_pairings(runtime) == 1
    assert await pairing.expire_pairings(runtime) == 0
    ended = (await look(runtime, device)).device
    assert (ended.state, ended.state_reason) == (DeviceState.LOGGED_OUT, pairing.NOBODY_CAME)


async def test_f35_what_an_old_session_reports_does_not_end_a_pairing(runtime: Runtime, device: Device) -> None:
    await start(runtime, device)
    for state in (DeviceState.OFFLINE, DeviceState.LOGGED_OUT, DeviceState.ONLINE):
        await hear(runtime, StateChange(f"s-{state}", device.id, state, AT, "of the session before"))
        assert not await set_state(runtime, device.id, state, "of the session before")
    assert (await look(runtime, device)).under_way


async def test_f35_a_late_word_on_an_earlier_order_changes_nothing(runtime: Runtime, device: Device) -> None:
    await start(runtime, device)
    await start(runtime, device, ANN)
    await hear(runtime, PairingEnded("e", device.id, 1, "no phone took a code in time", AT))
    assert (await look(runtime, device)).under_way
    await hear(runtime, linked(device, 1))  # the QR code was taken as the other was asked for: a phone is a phone
    assert (await look(runtime, device)).device.state is DeviceState.CONNECTING
    await set_state(runtime, device.id, DeviceState.ONLINE, "")
    await hear(runtime, linked(device, 1), PairingEnded("e2", device.id, 2, "no phone took a code in time", AT))
    assert (await look(runtime, device)).device.state is DeviceState.ONLINE


async def test_a_phone_that_is_linked_although_it_was_called_off_is_unlinked_again(
    runtime: Runtime, device: Device
) -> None:
    await start(runtime, device)
    assert await pairing.cancel_pairing(runtime, device.workspace_id, device.id, actor="Aminah")
    assert not await pairing.cancel_pairing(runtime, device.workspace_id, device.id, actor="Aminah")
    assert (await look(runtime, device)).device.state_reason == pairing.CALLED_OFF
    await hear(runtime, linked(device, 1))
    now = await look(runtime, device)
    assert (now.device.state, now.device.phone, now.unlinking) == (DeviceState.UNPAIRED, None, True)
    [order] = await orders(runtime, device)
    assert order.logout_ordered_at is not None
    async with runtime.db.connection() as connection:
        await store.unlinked(connection, device.id, order.logout_ordered_at)
    assert await orders(runtime, device) == []


async def test_a_logout_gives_queued_messages_back_says_how_many_wait_and_is_carried_out_once(
    runtime: Runtime, workspace: WorkspaceId
) -> None:
    async with runtime.db.connection() as connection:
        made = await make_broadcast(connection, workspace, devices=1, people=4)
        await made.queue(connection)
        device_id = DeviceId(made.devices[0])
        device = await get_device(runtime, workspace, device_id)
        assert await queued(connection, made) == 4
        assert await pairing.log_out(runtime, workspace, device_id, actor="Aminah") == 4
        assert await queued(connection, made) == 0
        entry = await connection.fetchrow("SELECT actor, after FROM audit WHERE action = 'device.log_out'")
    assert entry is not None
    assert (entry["actor"], entry["after"]) == ("Aminah", {"given_back": 4, "waiting": 4})
    now = await look(runtime, device)
    assert (now.device.state, now.unlinking) == (DeviceState.LOGGED_OUT, True)
    assert not await set_state(runtime, device_id, DeviceState.OFFLINE, "the connection was lost")
    [order] = await orders(runtime, device)
    assert order.logout_ordered_at is not None
    async with runtime.db.connection() as connection:
        await store.unlinked(connection, device_id, AT)  # of some other order
        assert (await look(runtime, device)).unlinking
        await store.unlinked(connection, device_id, order.logout_ordered_at)
    assert not (await look(runtime, device)).unlinking


async def test_f36_logged_out_and_paired_again_any_number_of_times(runtime: Runtime, device: Device) -> None:
    for turn in range(3):
        order = (await start(runtime, device)).order
        await hear(runtime, linked(device, order, Phone(f"+6012345678{turn}")))
        await set_state(runtime, device.id, DeviceState.ONLINE, "")
        await pairing.log_out(runtime, device.workspace_id, device.id, actor="Aminah")
        [wanted] = await orders(runtime, device)
        assert wanted.logout_ordered_at is not None
        async with runtime.db.connection() as connection:
            await store.unlinked(connection, device.id, wanted.logout_ordered_at)
        await hear(runtime, linked(device, order))  # repeated, after it was logged out: unlinked once more
        now = await look(runtime, device)
        assert (now.device.state, now.device.phone) == (DeviceState.LOGGED_OUT, f"+6012345678{turn}")
        assert now.unlinking
        async with runtime.db.connection() as connection:
            await connection.execute("UPDATE devices SET logout_ordered_at = NULL")


async def test_a_device_that_is_removed_is_unlinked_and_waits_for_no_phone(
    runtime: Runtime, workspace: WorkspaceId, device: Device
) -> None:
    await start(runtime, device)
    await remove_device(runtime, workspace, device.id, actor="Aminah")
    assert await orders(runtime, device) == []
    other = await add_device(runtime, workspace, "Linked")
    await remove_device(runtime, workspace, other.id, actor="Aminah")
    [order] = await orders(runtime, other)
    assert order.logout_ordered_at is not None
    assert not order.pairs


# -- codes


async def test_codes_are_shown_while_they_are_valid_to_whoever_may_see_them(runtime: Runtime, device: Device) -> None:
    await start(runtime, device)
    assert (await look(runtime, device)).code is None
    shown = await pairing.codes(runtime)
    await shown.publish(device.id, Code(1, CodeKind.QR, "2@abc,def", 30.0))
    found = await look(runtime, device)
    assert found.code is not None
    assert (found.code.text, found.code.kind, 25 < found.code.valid_for <= 30) == ("2@abc,def", CodeKind.QR, True)
    assert (await pairing.look(runtime, device.workspace_id, device.id)).code is None
    await shown.forget(device.id)
    assert (await look(runtime, device)).code is None
    await shown.publish(device.id, Code(1, CodeKind.QR, "2@abc,def", 30.0))
    await start(runtime, device)
    assert (await look(runtime, device)).code is None, "a code of an earlier order links nothing"


async def test_a_code_is_nowhere_in_sql_and_unreadable_in_redis(runtime: Runtime, device: Device) -> None:
    await start(runtime, device)
    shown = await pairing.codes(runtime)
    await shown.publish(device.id, Code(1, CodeKind.PHONE, "ABCDEFGH", 30.0))
    stored = await runtime.redis.get(runtime.keys.pairing(device.id))
    assert isinstance(stored, bytes)
    assert b"ABCD" not in stored
    assert 0 < await runtime.redis.pttl(runtime.keys.pairing(device.id)) <= 30_000
    async with runtime.db.connection() as connection:
        rows = await connection.fetch("SELECT d::text FROM devices d UNION ALL SELECT a::text FROM audit a")
    assert not [row for row in rows if "ABCD" in row[0]]


def test_a_code_that_is_typed_is_spelled_in_two_halves_and_never_printed_by_chance() -> None:
    code = Code(1, CodeKind.PHONE, "ABCDEFGH", 30.0)
    assert code.spelled == "ABCD-EFGH"
    assert "ABCD" not in repr(code)


async def test_a_phone_that_is_linked_twice_is_named_on_both_devices_until_one_is_logged_out(
    runtime: Runtime, device: Device
) -> None:
    other = await add_device(runtime, device.workspace_id, "Window", pair_first=True)
    stranger = await add_device(runtime, (await create_workspace(runtime, "Other")).id, "Theirs", pair_first=True)
    for each in (device, other, stranger):
        await hear(runtime, linked(each, (await start(runtime, each)).order))
    assert ((await look(runtime, device)).twins, (await look(runtime, other)).twins) == (("Window",), ("Counter",))
    assert (await look(runtime, stranger)).twins == (), "another workspace is none of their business"
    await pairing.log_out(runtime, device.workspace_id, other.id, actor="Aminah")
    assert ((await look(runtime, device)).twins, (await look(runtime, other)).twins) == ((), ())
