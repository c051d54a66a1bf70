"""Senders share the shards, and a device that moves from one to another neither hurries nor repeats itself."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from fleetcast.domain.pacing import WIDEST_WINDOW
from fleetcast.embedded.data_directory import node_id
from fleetcast.engine.leases import Leases
from fleetcast.engine.processes import run_scheduler, run_sender
from fleetcast.runtime import Runtime
from fleetcast.services.campaign_actions import launch_campaign
from fleetcast.services.campaigns import create_campaign
from fleetcast.services.senders import drain_sender, resume_sender
from fleetcast.services.workspaces import create_workspace
from fleetcast.store import processes, shards
from fleetcast.store.invariants import broken_invariants
from fleetcast.transports.simulator.launch import SimulatorProcess
from tests.running import Fleet, until


class Senders:
    """Senders that come and go around one database, each on a node of its own if asked for."""

    def __init__(self, runtime: Runtime, folder: Path) -> None:
        self.runtime = runtime
        self._folder = folder
        self._running: list[tuple[asyncio.Event, asyncio.Task[None]]] = []

    def data(self, node: str) -> Path:
        """The data directory of a node."""
        made = self._folder / node
        (made / "run").mkdir(parents=True, exist_ok=True)
        return made

    def start(self, node: str = "one") -> None:
        """One sender more."""
        update = {
            "data": self.data(node),
            "lease_seconds": 2.0,
            "simulator_socket": self.runtime.simulator_socket,
        }
        runtime = replace(self.runtime, settings=self.runtime.settings.model_copy(update=update))
        stop = asyncio.Event()
        self._running.append((stop, asyncio.create_task(run_sender(runtime, stop=stop), name="sender")))

    async def stop(self) -> None:
        """The oldest sender stops cleanly."""
        stop, task = self._running.pop(0)
        stop.set()
        await task

    async def stop_all(self) -> None:
        """All stop."""
        while self._running:
            await self.stop()

    async def owners(self) -> Counter[str]:
        """How many shards each sender owns now."""
        async with self.runtime.db.connection() as connection:
            rows = await connection.fetch(
                "SELECT owner FROM shards WHERE owner IS NOT NULL AND expires_at > fleetcast_now()"
            )
        return Counter(row["owner"] for row in rows)

    async def share(self, *parts: int) -> None:
        """Wait until the shards are shared like this."""

        async def so() -> bool:
            return sorted((await self.owners()).values()) == sorted(parts)

        await until(so)


@pytest.fixture
async def senders(runtime: Runtime, tmp_path: Path) -> AsyncIterator[Senders]:
    made = Senders(runtime, tmp_path)
    async with SimulatorProcess(runtime.simulator_socket, tmp_path / "ledger.jsonl", latency_ms=(1, 5)):
        yield made
        await made.stop_all()


@asynccontextmanager
async def scheduling(runtime: Runtime) -> AsyncIterator[None]:
    stop = asyncio.Event()
    task = asyncio.create_task(run_scheduler(runtime, stop=stop), name="scheduler")
    try:
        yield
    finally:
        stop.set()
        await task


async def test_senders_share_the_shards_as_they_come_and_go(senders: Senders) -> None:
    senders.start()
    await senders.share(64)
    senders.start()
    senders.start()
    await senders.share(22, 21, 21)
    await senders.stop()
    await senders.share(32, 32)
    await senders.stop()
    await senders.share(64)


async def test_a_sender_that_is_to_rest_gives_its_shards_to_the_others_and_takes_them_back_when_resumed(
    senders: Senders,
) -> None:
    senders.start()
    senders.start()
    await senders.share(32, 32)
    resting, working = await senders.owners()
    asked = asyncio.get_running_loop().time()
    await drain_sender(senders.runtime, resting, actor="cli:test")
    await senders.share(64)
    assert await senders.owners() == {working: 64}
    assert asyncio.get_running_loop().time() - asked < 5, "at once, not when its lease is over"
    senders.start()
    await senders.share(32, 32)
    assert resting not in await senders.owners(), "who comes later does not make it share again"
    await resume_sender(senders.runtime, resting, actor="cli:test")
    await senders.share(22, 21, 21)


async def test_a_sender_rests_without_its_nudge_and_alone(senders: Senders) -> None:
    senders.start()
    await senders.share(64)
    [name] = await senders.owners()
    async with senders.runtime.db.connection() as connection:
        await processes.drain(connection, name, "cli:test")
    await senders.share()
    async with senders.runtime.db.connection() as connection:
        [row] = [p for p in await processes.known(connection) if p.name == name]
    assert (row.drained_by, row.drained_at is not None) == ("cli:test", True)


async def two_senders(runtime: Runtime) -> list[str]:
    """The names of both, once they are there."""

    async def names() -> list[str]:
        async with runtime.db.connection() as connection:
            return [p.name for p in await processes.known(connection) if p.kind == "sender"]

    async def both() -> bool:
        return len(await names()) == 2

    await until(both)
    return await names()


async def owns_all(runtime: Runtime, name: str) -> bool:
    async with runtime.db.connection() as connection:
        return bool(await connection.fetchval("SELECT bool_and(owner IS NOT DISTINCT FROM $1) FROM shards", name))


async def test_nothing_is_lost_or_repeated_while_senders_rest_and_work_again(fleet: Fleet, tmp_path: Path) -> None:
    """Drained and resumed in turn while a campaign goes out: the ledger has each message once."""
    stop = asyncio.Event()
    second = asyncio.create_task(run_sender(fleet.runtime, stop=stop), name="another sender")
    for n in range(4):
        device = await fleet.device(f"Shop {n}", delay=0.02)
        await fleet.leads(device, "phone\n" + "".join(f"+6012{n:03d}{i:04d}\n" for i in range(60)))
    made = await create_campaign(
        fleet.runtime, fleet.workspace.id, {"title": "Turns", "body": "Hello", "schedule": "now"}, actor="test"
    )
    await launch_campaign(fleet.runtime, fleet.workspace.id, made.id, actor="test")
    first, other = await two_senders(fleet.runtime)
    turns = 0
    while not await fleet.has_finished(made.id):
        for resting, working in ((first, other), (other, first)):
            await resume_sender(fleet.runtime, working, actor="test")
            await drain_sender(fleet.runtime, resting, actor="test")
            await until(lambda name=working: owns_all(fleet.runtime, name))  # type: ignore[misc]
            turns += 1
    stop.set()
    await second
    assert turns >= 2
    assert (await fleet.judge()).holds
    assert (await fleet.judge()).accepted == 240
    async with fleet.runtime.db.connection() as connection:
        assert await broken_invariants(connection) == []


class SlowHolder:
    """Takes a device over so slowly that all of them take longer than a lease lasts."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self.gained_shards: list[int] = []
        self.lost_shards: list[int] = []

    async def gained(self, shards: set[int]) -> None:
        async with self._runtime.db.connection() as connection:
            await connection.execute("SELECT pg_sleep($1 * 0.03)", len(shards))
        self.gained_shards += sorted(shards)

    async def leaving(self, shards: set[int]) -> None:
        raise AssertionError("nobody else is there")

    def is_busy(self, shard: int) -> bool:
        return False

    async def lost(self, shards: set[int]) -> None:
        self.lost_shards += sorted(shards)


async def test_taking_over_may_last_longer_than_a_lease(runtime: Runtime, workspace: object) -> None:
    holder = SlowHolder(runtime)
    async with runtime.db.connection() as connection:
        await connection.execute("INSERT INTO nodes (id, name) VALUES ('n', 'n')")
        await processes.beat(connection, "slow", "sender", "n", [], {})
    leases = Leases(runtime.db, "slow", "n", 1.0, holder)
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(leases.run(stop, lambda: None))

        async def all_taken_over() -> bool:
            return len(leases.epochs) == 64 and leases.hold(asyncio.get_running_loop().time())

        await until(all_taken_over)
        stop.set()
    assert sorted(holder.gained_shards) == list(range(64)), "each once"
    assert holder.lost_shards == []
    assert set(leases.epochs.values()) == {1}, "none ended meanwhile and had to be leased anew"


async def test_a_shard_with_a_home_is_owned_there_or_not_at_all(senders: Senders) -> None:
    senders.start("north")
    await senders.share(64)
    north = node_id(senders.data("north"))
    async with senders.runtime.db.connection() as connection:
        await connection.execute("UPDATE shards SET home_node = $1 WHERE id < 10", north)
    senders.start("south")
    await senders.share(10 + 27, 27)
    await senders.stop()  # north is gone, and its devices with it
    await senders.share(54)
    async with senders.runtime.db.connection() as connection:
        homed = await connection.fetch("SELECT id FROM shards WHERE owner IS NULL ORDER BY id")
    assert [row["id"] for row in homed] == list(range(10))


async def test_f03_devices_that_move_between_senders_keep_their_pace_and_send_everything_once(
    senders: Senders, tmp_path: Path
) -> None:
    runtime = senders.runtime
    workspace = await create_workspace(runtime, "My shop", time_zone="Asia/Kuala_Lumpur", region="MY")
    fleet = Fleet(runtime, workspace, tmp_path, tmp_path / "ledger.jsonl")
    for number in range(12):
        device = await fleet.device(f"Shop {number}", delay=0.1)
        rows = "".join(f"+6012{number:02}{n:05}\n" for n in range(40))
        await fleet.leads(device, f"phone\n{rows}")
    campaign = await create_campaign(
        runtime, workspace.id, {"title": "Greetings", "body": "Hello", "schedule": "now"}, actor="test"
    )
    async with scheduling(runtime):
        senders.start()
        await senders.share(64)
        await launch_campaign(runtime, workspace.id, campaign.id, actor="test")
        for _ in range(2):
            senders.start()
            await senders.share(32, 32)
            await senders.stop()
            await senders.share(64)
        assert await fleet.count(campaign.id, "sent") < 480, "the moves happened while it was sending"
        await until(lambda: fleet.has_finished(campaign.id))
    assert await fleet.count(campaign.id, "sent") == 480
    verdict = await fleet.judge()
    assert verdict.holds
    assert verdict.accepted == 480
    async with runtime.db.connection() as connection:
        assert await broken_invariants(connection) == []
        moved = await connection.fetchval(
            "SELECT count(*) FROM (SELECT m.device_id FROM message_attempts a "
            "JOIN broadcast_messages m ON m.id = a.message_id GROUP BY 1 HAVING count(DISTINCT a.sender) > 1) d"
        )
        doubted = await connection.fetchval("SELECT count(*) FROM message_attempts WHERE outcome = 'unknown'")
    assert moved == 12
    assert doubted == 0, "a shard is handed over when its attempts have ended and are written"


async def test_senders_that_come_and_go_do_not_pile_up_queued_rows(senders: Senders, tmp_path: Path) -> None:
    runtime = senders.runtime
    workspace = await create_workspace(runtime, "My shop", time_zone="Asia/Kuala_Lumpur", region="MY")
    fleet = Fleet(runtime, workspace, tmp_path, tmp_path / "ledger.jsonl")
    device = await fleet.device(delay=0.1)
    await fleet.leads(device, "phone\n" + "".join(f"+60123{n:06}\n" for n in range(1_000)))
    campaign = await create_campaign(
        runtime, workspace.id, {"title": "Greetings", "body": "Hello", "schedule": "now"}, actor="test"
    )
    async with scheduling(runtime):
        await launch_campaign(runtime, workspace.id, campaign.id, actor="test")
        for _ in range(8):
            before = await fleet.count(campaign.id, "sent")
            senders.start()

            async def some_left(before: int = before) -> bool:
                return await fleet.count(campaign.id, "sent") >= before + 3

            await until(some_left)
            await senders.stop()
        assert await fleet.count(campaign.id, "queued") <= 2 * WIDEST_WINDOW, "not one window for each sender"


async def test_an_order_is_found_for_some_seconds_without_its_nudge(senders: Senders) -> None:
    runtime = senders.runtime
    workspace = await create_workspace(runtime, "My shop", time_zone="Asia/Kuala_Lumpur", region="MY")
    fleet = Fleet(runtime, workspace, Path(), Path())
    device = await fleet.device()
    everywhere = list(range(64))
    async with runtime.db.connection() as connection:
        assert await shards.ordered(connection, everywhere, 10) == []
        await connection.execute("UPDATE devices SET last_send_at = fleetcast_now()")
        assert await shards.ordered(connection, everywhere, 10) == []
        await connection.execute("UPDATE devices SET paused_at = fleetcast_now()")
        [found] = await shards.ordered(connection, everywhere, 10)
        assert (found.id, found.may_answer) == (device.id, False)
        await connection.execute("UPDATE installation SET clock_offset = clock_offset + interval '11 seconds'")
        assert await shards.ordered(connection, everywhere, 10) == []
