"""Which machine may open which session: one at a time, and only what was handed over changes hands."""

from collections.abc import Callable

import pytest

from fleetcast.domain.device import DeviceState
from fleetcast.domain.identifiers import DeviceId, WorkspaceId
from fleetcast.errors import Conflict, NotFound
from fleetcast.runtime import Runtime
from fleetcast.services.devices import add_device, get_device, set_state
from fleetcast.services.linked_sessions import LOST, SessionAccount, lose_node, move_node, nodes
from fleetcast.store import identity
from fleetcast.store import shards as leases

SESSION = b"a session"


@pytest.fixture
async def on(runtime: Runtime) -> Callable[[str], SessionAccount]:
    """The account as a machine asks it; two machines take part."""
    async with runtime.db.transaction() as connection:
        for node in ("north", "south"):
            await identity.note_node(connection, node, node)
    return lambda node: SessionAccount(runtime, node)


@pytest.fixture
async def device(runtime: Runtime, workspace: WorkspaceId) -> DeviceId:
    made = await add_device(runtime, workspace, "shop", transport="linked")
    await set_state(runtime, made.id, DeviceState.ONLINE, "")
    return made.id


async def home(runtime: Runtime, device: DeviceId) -> str | None:
    async with runtime.db.connection() as connection:
        found: str | None = await connection.fetchval(
            "SELECT s.home_node FROM devices d JOIN shards s ON s.id = d.shard_id WHERE d.id = $1", device
        )
    return found


async def test_a_session_is_at_home_where_it_was_made_and_only_senders_of_that_machine_lease_its_shard(
    runtime: Runtime, on: Callable[[str], SessionAccount], device: DeviceId
) -> None:
    await on("north").link(device)
    assert await home(runtime, device) == "north"
    async with runtime.db.connection() as connection:
        shard = await connection.fetchval("SELECT shard_id FROM devices WHERE id = $1", device)
        assert shard not in await leases.acquire(connection, "a sender of the south", "south", 15, 64)
        assert shard not in await leases.acquire(connection, "a sender of the south", None, 15, 64)
        assert shard in await leases.acquire(connection, "a sender of the north", "north", 15, 64)


async def test_another_machine_gets_a_session_only_once_it_was_handed_over(
    on: Callable[[str], SessionAccount], device: DeviceId
) -> None:
    north, south = on("north"), on("south")
    await north.link(device)
    assert (await south.admit(device, has_file=False)).elsewhere == "north"
    await north.keep(device, SESSION)
    found = await south.admit(device, has_file=False)
    assert (found.elsewhere, found.copy) == ("", SESSION)
    assert (await north.admit(device, has_file=True)).elsewhere == "south", "whatever file it still has"
    await north.keep(device, b"an old one")
    assert (await south.admit(device, has_file=True)).elsewhere == ""


async def test_once_a_session_is_open_again_its_copy_is_out_of_date_and_nobody_gets_it(
    runtime: Runtime, on: Callable[[str], SessionAccount], device: DeviceId
) -> None:
    north, south = on("north"), on("south")
    await north.link(device)
    await north.keep(device, SESSION)
    assert (await north.admit(device, has_file=True)).copy is None
    assert (await south.admit(device, has_file=False)).elsewhere == "north"
    async with runtime.db.connection() as connection:
        assert await connection.fetchval("SELECT copy FROM linked_sessions") is None


async def test_a_machine_that_lost_its_file_gets_it_back(on: Callable[[str], SessionAccount], device: DeviceId) -> None:
    north = on("north")
    await north.link(device)
    await north.keep(device, SESSION)
    for _ in range(2):  # also when it died before the file was written
        assert (await north.admit(device, has_file=False)).copy == SESSION
    assert (await on("south").admit(device, has_file=False)).elsewhere == "north"


async def test_a_copy_is_sealed(runtime: Runtime, on: Callable[[str], SessionAccount], device: DeviceId) -> None:
    await on("north").link(device)
    await on("north").keep(device, SESSION)
    async with runtime.db.connection() as connection:
        assert SESSION not in await connection.fetchval("SELECT copy FROM linked_sessions")


async def test_a_lost_machine_gives_up_its_shards_and_what_it_had_not_handed_over(
    runtime: Runtime, workspace: WorkspaceId, on: Callable[[str], SessionAccount], device: DeviceId
) -> None:
    handed_over = await add_device(runtime, workspace, "handed over", transport="linked")
    await set_state(runtime, handed_over.id, DeviceState.OFFLINE, "")
    for each in (device, handed_over.id):
        await on("north").link(each)
    await on("north").keep(handed_over.id, SESSION)
    assert [(n.name, n.sessions, n.handed_over, n.is_there) for n in await nodes(runtime)] == [
        ("north", 2, 1, False),
        ("south", 0, 0, False),
    ]
    assert await lose_node(runtime, "north", actor="ann") == 1
    found = await get_device(runtime, workspace, device)
    assert (found.state, found.state_reason) == (DeviceState.LOGGED_OUT, LOST)
    assert (await get_device(runtime, workspace, handed_over.id)).state is DeviceState.OFFLINE
    assert await home(runtime, device) is None
    assert (await on("south").admit(handed_over.id, has_file=False)).copy == SESSION


async def test_machines_are_named_as_they_are_listed(runtime: Runtime, on: Callable[[str], SessionAccount]) -> None:
    with pytest.raises(NotFound, match="no machine called 'west'"):
        await lose_node(runtime, "west", actor="ann")
    with pytest.raises(Conflict, match="No sender of south"):
        await move_node(runtime, "north", "south", actor="ann")
    with pytest.raises(Conflict, match="name two machines"):
        await move_node(runtime, "north", "nort", actor="ann")
