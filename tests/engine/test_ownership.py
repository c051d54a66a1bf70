"""Who may send what, when several could: failures of the predecessor's locks, pools and workers are impossible here."""

import asyncio
from datetime import timedelta
from pathlib import Path
from random import Random

import pytest

from fleetcast.domain.identifiers import CampaignId, DeviceId, WorkspaceId
from fleetcast.engine.processes import run_scheduler, run_sender
from fleetcast.engine.sender import Sender
from fleetcast.engine.supervisor import Beat, Supervisor
from fleetcast.engine.sweeper import Sweeper
from fleetcast.queue.hints import Hint, HintWriter
from fleetcast.runtime import Runtime
from fleetcast.services.campaign_actions import launch_campaign
from fleetcast.services.campaigns import create_campaign
from fleetcast.store import health, shards, transitions
from fleetcast.store.connection import Connection, Database
from fleetcast.store.identity import note_node
from fleetcast.store.invariants import broken_invariants
from fleetcast.store.transitions import Claim, SentResult
from fleetcast.transports.base import DeviceHandle
from fleetcast.transports.simulator.client import SimulatorTransport
from fleetcast.transports.simulator.launch import SimulatorProcess
from tests.process_tree import eventually
from tests.running import Fleet, until
from tests.store.broadcast import SENDER, make_broadcast, move_time


async def launched(fleet: Fleet, title: str) -> CampaignId:
    made = await create_campaign(
        fleet.runtime,
        fleet.workspace.id,
        {"title": title, "body": "Hello {{ name }}", "schedule": "now"},
        actor="test",
    )
    await launch_campaign(fleet.runtime, fleet.workspace.id, made.id, actor="test")
    return made.id


def people(count: int, *, first: int = 0) -> str:
    return "name,phone\n" + "".join(f"Person {n},+6012{first + n:07}\n" for n in range(count))


async def test_f03_of_twenty_claims_of_one_row_at_once_one_becomes_an_attempt(
    db: Database, workspace: WorkspaceId
) -> None:
    async with db.connection() as connection:
        cast = await make_broadcast(connection, workspace, people=1, devices=1)
        await cast.queue(connection)
        row = await connection.fetchrow("SELECT id, shard_id, device_id, campaign_id FROM broadcast_messages")
    assert row is not None
    claim = Claim(row[0], row[1], row[2], row[3], 0)

    async def t2() -> int:
        async with db.connection() as connection:
            return len(await transitions.claim(connection, [claim], cast.epochs, SENDER, "test"))

    assert sorted(await asyncio.gather(*(t2() for _ in range(20)))) == [0] * 19 + [1]
    async with db.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM message_attempts") == 1
        assert await broken_invariants(connection) == []


async def test_f03_three_senders_and_two_schedulers_send_each_row_once(fleet: Fleet) -> None:
    stop = asyncio.Event()
    others = [
        asyncio.create_task(run(fleet.runtime, stop=stop), name="another")
        for run in (run_sender, run_sender, run_scheduler)
    ]
    for n in range(5):
        await fleet.leads(await fleet.device(f"Shop {n}"), people(30, first=n * 30))
    campaign = await launched(fleet, "Crowded")
    await until(lambda: fleet.has_finished(campaign))
    stop.set()
    await asyncio.gather(*others)
    assert (await fleet.judge()).holds
    assert (await fleet.judge()).accepted == 150
    async with fleet.runtime.db.connection() as connection:
        assert await broken_invariants(connection) == []


async def test_f07_a_row_that_waits_long_for_a_slow_device_is_neither_failed_nor_sent_again(
    runtime: Runtime, workspace: WorkspaceId
) -> None:
    async with runtime.db.connection() as connection:
        cast = await make_broadcast(connection, workspace)
        await cast.queue(connection)
        [slow] = await cast.claim(connection, cast.messages[0])
        await move_time(connection, timedelta(hours=1))
        await Sweeper(runtime, {"simulator": 10.0}).run_once()
        assert await statuses(connection) == {"queued": len(cast.messages) - 1, "sending": 1}
        assert await transitions.retry_certain(connection, cast.workspace, cast.campaign) == []
        # Only when its owner is gone is it in doubt; what that owner says afterwards is evidence and no result.
        await connection.execute("UPDATE shards SET epoch = epoch + 1, owner = 'another'")
        await Sweeper(runtime, {"simulator": 10.0}).run_once()
        late = SentResult(slow.id, slow.attempt, slow.epoch, "p", slow.now, b"sha")
        assert await transitions.record_sent(connection, [late], []) == 0
        assert await transitions.retry_certain(connection, cast.workspace, cast.campaign) == []
        assert (await statuses(connection))["in_doubt"] == 1
        assert await connection.fetchval("SELECT kind FROM inbox") == "accepted"


async def statuses(connection: Connection) -> dict[str, int]:
    rows = await connection.fetch("SELECT status::text, count(*) FROM broadcast_messages GROUP BY 1")
    return {row[0]: row[1] for row in rows}


async def test_f16_a_new_owner_waits_for_what_the_old_one_left_open_although_hints_lie_ready(
    runtime: Runtime, workspace: WorkspaceId, tmp_path: Path
) -> None:
    async with runtime.db.connection() as connection:
        cast = await make_broadcast(connection, workspace, devices=3, people=12)
        await cast.queue(connection)
        await cast.claim(connection, *cast.messages[:3])  # one of each device, and then its sender dies
        rows = await connection.fetch("SELECT id, shard_id, device_id, campaign_id FROM broadcast_messages")
        hints: dict[int, list[Hint]] = {}
        for row in rows:
            hints.setdefault(row["shard_id"], []).append(Hint(row["device_id"], [(row["id"], row["campaign_id"])]))
        await HintWriter(runtime.redis, runtime.keys).write(hints)
        await connection.execute("UPDATE shards SET expires_at = fleetcast_now()")
        stop, ledger = asyncio.Event(), tmp_path / "ledger.jsonl"
        async with (
            SimulatorProcess(runtime.simulator_socket, ledger, latency_ms=(1, 5)),
            runtime.db.connection() as boss,
        ):
            async with boss.transaction():
                await boss.execute("LOCK TABLE broadcast_messages")  # looking for orphans takes long, hints do not
                sender = asyncio.create_task(run_sender(runtime, stop=stop), name="sender")
                await eventually(lambda: waits_for_a_lock(connection), "orphans are looked for", 20)
                with pytest.raises(AssertionError, match="a claim"):
                    await eventually(lambda: waits_for_a_lock(connection, "fleetcast claims"), "a claim", 2.0)
            sweeper = Sweeper(runtime, {"simulator": 10.0})
            await sweeper.run_once()
            assert await connection.fetchval("SELECT count(*) FROM broadcast_messages WHERE status = 'in_doubt'") == 3

            async def all_sent() -> bool:
                return (await statuses(connection)).get("sent") == len(rows) - 3

            await eventually(all_sent, "the others are sent", 20)
            stop.set()
            await sender
        assert await broken_invariants(connection) == []


async def test_f16_what_is_found_while_others_are_asked_about_is_not_taken_for_settled(
    runtime: Runtime, workspace: WorkspaceId
) -> None:
    roster = Sender(runtime, {}, "test", "node", Random(1)).roster
    async with runtime.db.connection() as connection, runtime.db.connection() as boss, runtime.db.connection() as line:
        cast = await make_broadcast(connection, workspace, devices=2, people=2)
        await cast.queue(connection)
        await cast.claim(connection, *cast.messages)
        known, found = zip(cast.messages, cast.devices, strict=True)
        roster._orphans = dict([known])
        async with boss.transaction():
            await boss.execute("LOCK TABLE broadcast_messages")
            asking = asyncio.create_task(roster.settle_orphans(line), name="asking")
            await eventually(lambda: waits_for_a_lock(connection), "the first is asked about")
            roster._orphans.update([found])
        await asking
        assert roster._orphans == dict([known, found])


async def waits_for_a_lock(connection: Connection, application: str = "%") -> bool:
    return bool(
        await connection.fetchval(
            "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() "
            "AND wait_event_type = 'Lock' AND application_name LIKE $1)",
            application,
        )
    )


async def test_f16_nobody_releases_what_another_owns_and_what_is_released_is_free_at_once(db: Database) -> None:
    async with db.connection() as connection:
        assert len(await shards.acquire(connection, "first", None, 300, 64)) == 64
        await connection.execute("UPDATE shards SET expires_at = fleetcast_now() WHERE id < 10")
        assert sorted(await shards.acquire(connection, "second", None, 300, 64)) == list(range(10))
        await shards.release(connection, "first")
        assert await connection.fetchval("SELECT count(*) FROM shards WHERE owner = 'second'") == 10
        assert len(await shards.acquire(connection, "third", None, 300, 64)) == 54, "without waiting for a lease"
        await note_node(connection, "node", "node")
        assert (await shards.turn(connection, "first", "node", 300)).held == {}


async def test_f16_a_device_whose_claim_was_refused_sends_as_soon_as_it_may(fleet: Fleet) -> None:
    """A guard that says no holds nothing: no lock is left behind that somebody would have to wait for."""
    device = await fleet.device()
    await fleet.leads(device, people(40))
    async with fleet.runtime.db.connection() as connection:
        await connection.execute(
            "CREATE FUNCTION deaf() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$; "
            "CREATE TRIGGER a_deaf BEFORE UPDATE ON broadcast_messages FOR EACH ROW "
            "WHEN (NEW.status = 'sending' AND OLD.status = 'queued') EXECUTE FUNCTION deaf()"
        )
        campaign = await launched(fleet, "Refused")

        async def queued() -> bool:
            return await fleet.count(campaign, "queued") > 0

        await until(queued)
        await connection.execute("DROP TRIGGER a_deaf ON broadcast_messages")
    await until(lambda: fleet.has_finished(campaign))
    assert (await fleet.judge()).accepted == 40


async def test_a_session_that_was_opened_elsewhere_is_opened_again_by_the_owner_and_costs_nobody_a_message(
    fleet: Fleet,
) -> None:
    device = await fleet.device()
    await fleet.leads(device, people(30))
    first = await launched(fleet, "First")
    await until(lambda: fleet.has_finished(first))
    elsewhere = SimulatorTransport(fleet.runtime.simulator_socket)
    await elsewhere.start()
    try:
        await elsewhere.open(DeviceHandle(DeviceId(device.id), None))
        assert await elsewhere.health()  # an answer behind the opening: the device is there now
        second = await launched(fleet, "Second")
        await until(lambda: fleet.has_finished(second))
    finally:
        await elsewhere.stop()
    assert await fleet.count(second, "sent") == 30
    async with fleet.runtime.db.connection() as connection:
        refused = await connection.fetch("SELECT outcome, code FROM message_attempts WHERE outcome IS NOT NULL")
    assert {row["code"] for row in refused} <= {"not_open"}
    assert len(refused) <= 2


async def test_a_shard_that_was_anothers_without_its_owner_noticing_has_its_sessions_opened_anew(fleet: Fleet) -> None:
    device = await fleet.device()
    await fleet.leads(device, people(5))
    first = await launched(fleet, "First")
    await until(lambda: fleet.has_finished(first))
    deaf = SimulatorTransport(fleet.runtime.simulator_socket)
    await deaf.start()
    await deaf.open(DeviceHandle(DeviceId(device.id), None))
    assert await deaf.health()
    await deaf.stop()  # and nobody has the device
    async with fleet.runtime.db.connection() as connection:
        await connection.execute("UPDATE shards SET epoch = epoch + 1 WHERE id = $1", device.shard_id)
    second = await launched(fleet, "Second")
    await until(lambda: fleet.has_finished(second))
    assert await fleet.count(second, "sent") == 5


async def test_f17_after_a_campaign_and_after_a_restart_the_next_one_goes_out(runtime: Runtime, fleet: Fleet) -> None:
    await fleet.leads(await fleet.device(), people(10))
    for title in ("First", "Second"):
        campaign = await launched(fleet, title)
        await until(lambda c=campaign: fleet.has_finished(c))  # type: ignore[misc]
    stop = asyncio.Event()
    another = asyncio.create_task(run_sender(fleet.runtime, stop=stop), name="another")
    async with runtime.db.connection() as connection:
        await connection.execute("UPDATE shards SET expires_at = fleetcast_now()")  # whoever is quicker has them now
    third = await launched(fleet, "Third")
    await until(lambda: fleet.has_finished(third))
    stop.set()
    await another
    fourth = await launched(fleet, "Fourth")
    await until(lambda: fleet.has_finished(fourth))
    assert (await fleet.judge()).accepted == 40
    assert (await fleet.judge()).holds


@pytest.mark.parametrize("seed", range(20))
async def test_f18_stops_in_any_number_and_order_end_every_loop_once(seed: int) -> None:
    random, ended = Random(seed), []
    loops = Supervisor("test")

    def named(name: str) -> None:
        async def loop(stop: asyncio.Event, beat: Beat) -> None:
            for _ in range(random.randint(0, 3)):
                beat()
                await asyncio.sleep(0)
            if random.random() < 0.3:
                loops.stop()  # from inside, too
            await stop.wait()
            ended.append(name)

        loops.add(name, loop, stage=random.randint(0, 2))

    for n in range(5):
        named(f"loop {n}")
    for _ in range(random.randint(0, 2)):
        loops.stop()
    asked = asyncio.Event()
    running = asyncio.create_task(loops.run(asked), name="loops")
    for _ in range(random.randint(1, 3)):
        await asyncio.sleep(0)
        random.choice((loops.stop, asked.set))()
    asked.set()
    await running
    loops.stop()
    assert sorted(ended) == [f"loop {n}" for n in range(5)]


async def test_f38_who_works_is_shown_from_what_they_own_and_not_from_redis(fleet: Fleet) -> None:
    async def look() -> tuple[int, int]:
        async with fleet.runtime.db.connection() as connection:
            found = await health.look(connection)
        return found.senders, found.shards_leased

    async def all_owned() -> bool:
        return await look() == (1, 64)

    await until(all_owned)
    await fleet.runtime.redis.delete(
        *[k async for k in fleet.runtime.redis.scan_iter(f"{fleet.runtime.keys.prefix}:*")], "none"
    )
    assert await look() == (1, 64)
    async with fleet.runtime.db.connection() as connection:
        await connection.execute("UPDATE shards SET owner = 'dead', expires_at = fleetcast_now() - interval '1 s'")
        assert (await health.look(connection)).senders == 0, "an owner whose lease is over works no more"
    await until(all_owned)
