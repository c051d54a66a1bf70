"""Devices: what is added, found, paused and reported, and what each write leaves alone."""

import asyncio
import math
from datetime import timedelta

import pytest

from fleetcast.domain.device import DeviceState, TransportKind
from fleetcast.domain.identifiers import WorkspaceId
from fleetcast.errors import InvalidInput, NotFound
from fleetcast.queue.nudges import DISPATCHER, SENDERS, Ears, listening
from fleetcast.runtime import Runtime
from fleetcast.services.devices import (
    Device,
    add_device,
    find_device,
    list_devices,
    pause_device,
    resume_device,
    set_pace,
    set_state,
)
from fleetcast.services.workspaces import create_workspace
from fleetcast.store.connection import Connection
from fleetcast.transports.registry import TRANSPORTS
from tests.store.broadcast import Broadcast, make_broadcast


async def reread(runtime: Runtime, device: Device) -> Device:
    return await find_device(runtime, device.workspace_id, device.name)


async def subscribed(ears: Ears) -> None:
    """Until the server has confirmed: first the request, then its answer."""
    for _ in range(2):
        assert await ears.next(1) is None


async def queued(connection: Connection, made: Broadcast) -> int:
    count: int = await connection.fetchval(
        "SELECT count(*) FROM broadcast_messages WHERE campaign_id = $1 AND status = 'queued'", made.campaign
    )
    return count


async def test_a_device_keeps_its_name_pace_and_the_shard_of_its_id(runtime: Runtime, workspace: WorkspaceId) -> None:
    made = await add_device(runtime, workspace, "  Counter 1 ", min_delay=0.1, max_delay=7.3, region="sg")
    assert made == await find_device(runtime, workspace, "counter 1")
    assert (made.name, made.min_delay, made.max_delay, made.region) == ("Counter 1", 0.1, 7.3, "SG")
    assert made.shard_id == made.id % 64
    assert made.state is DeviceState.CONNECTING
    assert not made.is_ready


async def test_shards_of_new_devices_stay_even(runtime: Runtime, workspace: WorkspaceId) -> None:
    made = [await add_device(runtime, workspace, f"d{i}") for i in range(12)]
    assert len({d.shard_id for d in made}) == 12


async def test_a_device_that_nothing_could_serve_is_refused(runtime: Runtime, workspace: WorkspaceId) -> None:
    for transport in set(TransportKind) - set(TRANSPORTS):
        with pytest.raises(InvalidInput, match="not built yet; this version has simulator") as refused:
            await add_device(runtime, workspace, "a", transport=transport)
        assert refused.value.field == "transport"
    with pytest.raises(InvalidInput, match="every device"):  # `--device all` must not be one device
        await add_device(runtime, workspace, " All ")


async def test_a_linked_device_waits_to_be_paired(
    runtime: Runtime, workspace: WorkspaceId, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TRANSPORTS, TransportKind.LINKED, TRANSPORTS[TransportKind.SIMULATOR])
    assert (await add_device(runtime, workspace, "a", transport="linked")).state is DeviceState.UNPAIRED


async def test_two_devices_of_a_workspace_never_share_a_name(runtime: Runtime, workspace: WorkspaceId) -> None:
    await add_device(runtime, workspace, "Counter")
    with pytest.raises(InvalidInput, match="already exists") as refused:
        await add_device(runtime, workspace, "COUNTER")
    assert refused.value.field == "name"
    elsewhere = await create_workspace(runtime, "Elsewhere")
    await add_device(runtime, elsewhere.id, "Counter")


async def test_twenty_simultaneous_adds_of_one_name_make_one_device(runtime: Runtime, workspace: WorkspaceId) -> None:
    results = await asyncio.gather(
        *(add_device(runtime, workspace, "Counter") for _ in range(20)), return_exceptions=True
    )
    assert sum(isinstance(r, Device) for r in results) == 1
    assert sum(isinstance(r, InvalidInput) for r in results) == 19


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        ("min_delay", {"min_delay": 31.0}),
        ("min_delay", {"min_delay": -1.0}),
        ("min_delay", {"min_delay": math.nan}),
        ("max_delay", {"max_delay": math.inf}),
        ("max_delay", {"max_delay": 86_401.0}),
        ("transport", {"transport": "pigeon"}),
        ("region", {"region": "XX"}),
        ("region", {"region": ""}),
        ("name", {"name": " \t"}),
        ("name", {"name": "a\nb"}),
        ("name", {"name": "x" * 101}),
        ("name", {"name": "nul\0"}),
    ],
)
async def test_f19_a_wrong_device_is_refused_by_field_and_nothing_is_written(
    runtime: Runtime, workspace: WorkspaceId, field: str, wrong: dict[str, object]
) -> None:
    with pytest.raises(InvalidInput) as refused:
        await add_device(runtime, workspace, **({"name": "Counter"} | wrong))  # type: ignore[arg-type]
    assert refused.value.field == field
    assert await list_devices(runtime, workspace) == []


async def test_f19_equal_delays_are_a_pace(runtime: Runtime, workspace: WorkspaceId) -> None:
    made = await add_device(runtime, workspace, "Steady", min_delay=5, max_delay=5)
    await set_pace(runtime, workspace, made.id, 0, 0, actor="test")
    assert (await reread(runtime, made)).max_delay == 0


async def test_f20_a_device_of_another_workspace_is_not_found_and_not_changed(
    runtime: Runtime, workspace: WorkspaceId
) -> None:
    elsewhere = await create_workspace(runtime, "Elsewhere")
    theirs = await add_device(runtime, elsewhere.id, "Theirs")
    with pytest.raises(NotFound):
        await find_device(runtime, workspace, "Theirs")
    with pytest.raises(NotFound):
        await pause_device(runtime, workspace, theirs.id, actor="test")
    with pytest.raises(NotFound):
        await resume_device(runtime, workspace, theirs.id, actor="test")
    with pytest.raises(NotFound):
        await set_pace(runtime, workspace, theirs.id, 1, 2, actor="test")
    assert await list_devices(runtime, workspace) == []
    assert await reread(runtime, theirs) == theirs


async def test_f34_the_words_for_a_state_are_one_enum_in_code_and_database(runtime: Runtime) -> None:
    async with runtime.db.connection() as connection:
        words = await connection.fetchval("SELECT enum_range(NULL::device_state)::text[]")
    assert words == [str(state) for state in DeviceState]


async def test_f35_a_lost_connection_never_touches_the_identity(runtime: Runtime, workspace: WorkspaceId) -> None:
    made = await add_device(runtime, workspace, "Counter")
    async with runtime.db.connection() as connection:
        await connection.execute(
            "UPDATE devices SET phone = '+60123456789', jid = $2, lid = '99@lid' WHERE id = $1",
            made.id,
            "60123456789@s.whatsapp.net",
        )
    for state in DeviceState:
        await set_state(runtime, made.id, state, f"reported {state}")
        now = await reread(runtime, made)
        assert now.state is state
        assert (now.phone, now.jid, now.lid) == ("+60123456789", "60123456789@s.whatsapp.net", "99@lid")


async def test_a_connection_that_comes_back_does_not_lift_a_persons_pause(
    runtime: Runtime, workspace: WorkspaceId
) -> None:
    made = await add_device(runtime, workspace, "Counter")
    await pause_device(runtime, workspace, made.id, actor="Aminah", reason="stocktaking")
    await set_state(runtime, made.id, DeviceState.ONLINE, "")
    now = await reread(runtime, made)
    assert (now.is_ready, now.paused_by, now.paused_reason) == (False, "Aminah", "stocktaking")
    assert await resume_device(runtime, workspace, made.id, actor="Aminah")
    now = await reread(runtime, made)
    assert (now.is_ready, now.paused_at, now.paused_by, now.paused_reason) == (True, None, None, None)


async def test_the_same_report_twice_writes_once_and_a_restriction_ends_with_its_state(
    runtime: Runtime, workspace: WorkspaceId
) -> None:
    made = await add_device(runtime, workspace, "Counter")
    until = made.created_at + timedelta(days=1)
    assert await set_state(runtime, made.id, DeviceState.RESTRICTED, "too many", until)
    assert not await set_state(runtime, made.id, DeviceState.RESTRICTED, "too many", until)
    restricted = await reread(runtime, made)
    assert restricted.restricted_until == until
    assert await set_state(runtime, made.id, DeviceState.RESTRICTED, "far too many", until)
    assert (await reread(runtime, made)).state_since == restricted.state_since
    assert await set_state(runtime, made.id, DeviceState.ONLINE, "", until)
    now = await reread(runtime, made)
    assert now.restricted_until is None
    assert now.state_since > restricted.state_since


async def test_f39_a_removed_device_is_left_alone(runtime: Runtime, workspace: WorkspaceId) -> None:
    made = await add_device(runtime, workspace, "Counter")
    async with runtime.db.connection() as connection:
        await connection.execute("UPDATE devices SET deleted_at = fleetcast_now() WHERE id = $1", made.id)
    assert not await set_state(runtime, made.id, DeviceState.ONLINE, "")
    with pytest.raises(NotFound):
        await find_device(runtime, workspace, "Counter")
    await add_device(runtime, workspace, "Counter")


@pytest.mark.parametrize("state", [s for s in DeviceState if s is not DeviceState.ONLINE])
async def test_a_device_that_cannot_send_gives_its_queued_rows_back_at_once(
    runtime: Runtime, workspace: WorkspaceId, state: DeviceState
) -> None:
    async with runtime.db.connection() as connection:
        made = await make_broadcast(connection, workspace, devices=2, people=6)
        await made.queue(connection)
        assert await queued(connection, made) == 6
        await set_state(runtime, made.devices[0], state, "")
        assert await queued(connection, made) == 3
        await made.queue(connection)
        assert await queued(connection, made) == 3


async def test_a_pause_gives_queued_rows_back_and_a_resume_asks_for_work(
    runtime: Runtime, workspace: WorkspaceId
) -> None:
    async with runtime.db.connection() as connection:
        made = await make_broadcast(connection, workspace, devices=1, people=4)
        await made.queue(connection)
        assert await pause_device(runtime, workspace, made.devices[0], actor="Aminah")
        assert not await pause_device(runtime, workspace, made.devices[0], actor="Ben")
        assert await queued(connection, made) == 0
        async with listening(runtime.redis, runtime.keys, DISPATCHER) as ears:
            await subscribed(ears)
            assert await resume_device(runtime, workspace, made.devices[0], actor="Aminah")
            assert await ears.next(5) == {"devices": made.devices}
        assert not await resume_device(runtime, workspace, made.devices[0], actor="Aminah")
        entries = await connection.fetch("SELECT actor, action, subject, after FROM audit ORDER BY id")
    assert [(e["actor"], e["action"]) for e in entries] == [("Aminah", "device.pause"), ("Aminah", "device.resume")]
    assert entries[0]["after"] == {"reason": "", "given_back": 4}


async def test_owners_are_told_of_a_new_device_and_of_each_change(runtime: Runtime, workspace: WorkspaceId) -> None:
    async with listening(runtime.redis, runtime.keys, SENDERS) as ears:
        await subscribed(ears)
        made = await add_device(runtime, workspace, "Counter")
        assert await ears.next(5) == {"devices": [made.id]}
        await set_pace(runtime, workspace, made.id, 1, 2, actor="test")
        assert await ears.next(5) == {"devices": [made.id]}
        await set_state(runtime, made.id, DeviceState.ONLINE, "")
        assert await ears.next(5) == {"devices": [made.id]}
        await set_state(runtime, made.id, DeviceState.OFFLINE, "cable")
        assert await ears.next(5) == {"devices": [made.id]}


async def test_the_audit_record_is_only_ever_appended_to(runtime: Runtime, workspace: WorkspaceId) -> None:
    await add_device(runtime, workspace, "Counter", actor="Aminah")
    async with runtime.db.connection() as connection:
        for statement in ("UPDATE audit SET actor = 'nobody'", "DELETE FROM audit"):
            with pytest.raises(Exception, match="never changed"):
                await connection.execute(statement)
