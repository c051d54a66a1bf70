"""What the sweeper finishes, duty by duty, on real rows."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from fleetcast.domain.device import DeviceState
from fleetcast.domain.identifiers import WorkspaceId
from fleetcast.domain.message import MessageStatus, Outcome, Reason
from fleetcast.engine.sweeper import Sweeper
from fleetcast.runtime import Runtime
from fleetcast.services.devices import set_state
from fleetcast.store import sweeping, transitions
from fleetcast.store.connection import Connection
from fleetcast.store.invariants import broken_invariants
from fleetcast.store.transitions import OtherResult
from tests.store.broadcast import Broadcast, make_broadcast, move_time


@pytest.fixture
async def connection(runtime: Runtime) -> AsyncIterator[Connection]:
    async with runtime.db.connection() as connection:
        yield connection


@pytest.fixture
async def cast(connection: Connection, workspace: WorkspaceId) -> Broadcast:
    return await make_broadcast(connection, workspace)


@pytest.fixture
def sweeper(runtime: Runtime) -> Sweeper:
    return Sweeper(runtime, {"simulator": 10.0})


async def statuses(connection: Connection) -> dict[str, int]:
    rows = await connection.fetch("SELECT status::text, count(*) FROM broadcast_messages GROUP BY 1")
    return {row[0]: row[1] for row in rows}


async def campaign_status(connection: Connection) -> str:
    return str(await connection.fetchval("SELECT status::text FROM campaigns"))


async def test_a_lost_senders_rows_are_in_doubt_and_its_shards_are_marked_as_recovered(
    connection: Connection, cast: Broadcast, sweeper: Sweeper
) -> None:
    await cast.queue(connection)
    await cast.claim(connection, *cast.messages[:2])
    await connection.execute("UPDATE shards SET epoch = epoch + 1, owner = 'new'")
    assert await sweeper.recover_orphans() == 2
    assert await connection.fetchval("SELECT bool_and(recovered_epoch = epoch) FROM shards")
    assert await sweeper.recover_orphans() == 0


async def test_rows_queued_for_shards_that_nobody_owns_wait_again(
    connection: Connection, cast: Broadcast, sweeper: Sweeper
) -> None:
    await cast.queue(connection)
    await connection.execute("UPDATE shards SET owner = NULL, expires_at = fleetcast_now() - interval '31 seconds'")
    assert await sweeper.requeue_abandoned() == len(cast.messages)
    assert await sweeper.requeue_abandoned() == 0


async def test_linked_devices_are_offline_while_nobody_has_their_shard(
    connection: Connection, cast: Broadcast, sweeper: Sweeper
) -> None:
    await connection.execute("UPDATE devices SET transport = 'linked' WHERE id = $1", cast.devices[0])
    await connection.execute("UPDATE shards SET owner = NULL, expires_at = fleetcast_now() - interval '31 seconds'")
    await sweeper.requeue_abandoned()
    rows = await connection.fetch("SELECT id, state::text AS state FROM devices")
    states = {row["id"]: row["state"] for row in rows}
    assert states == {cast.devices[0]: "offline", cast.devices[1]: "online"}, "a simulated one has no machine"


async def test_a_row_queued_behind_the_back_of_a_disconnect_is_taken_back(
    runtime: Runtime, connection: Connection, cast: Broadcast, sweeper: Sweeper
) -> None:
    async with runtime.db.transaction() as dispatching:
        await transitions.top_up(dispatching, cast.devices, [10, 10])  # not committed yet
        async with runtime.db.transaction() as leaving:  # set_state's own statements, without waiting for the rows
            await leaving.execute(
                "UPDATE devices SET state = 'offline', state_since = fleetcast_now() WHERE id = $1", cast.devices[0]
            )
            assert await transitions.requeue_device(leaving, cast.devices[0]) == 0, "it cannot see them"
    await sweeper.run_once()
    assert await statuses(connection) == {"pending": 3, "queued": 3}


async def test_a_paused_campaign_keeps_nothing_in_the_windows(
    connection: Connection, cast: Broadcast, sweeper: Sweeper
) -> None:
    await cast.queue(connection)
    await connection.execute("UPDATE campaigns SET status = 'paused'")
    await sweeper.run_once()
    assert await statuses(connection) == {"pending": len(cast.messages)}


async def test_a_cancelled_campaign_is_drained_and_ends_when_the_last_attempt_is_settled(
    connection: Connection, cast: Broadcast, sweeper: Sweeper
) -> None:
    await cast.queue(connection)
    [claimed] = await cast.claim(connection, cast.messages[0])
    await connection.execute("UPDATE campaigns SET status = 'cancelled'")
    await sweeper.run_once()
    assert await statuses(connection) == {"sending": 1, "cancelled": len(cast.messages) - 1}
    assert await connection.fetchval("SELECT ended_at FROM campaigns") is None
    result = transitions.SentResult(claimed.id, 1, claimed.epoch, "p", claimed.now, b"sha")
    await transitions.record_sent(connection, [result], [])
    await sweeper.run_once()
    assert await connection.fetchval("SELECT ended_at FROM campaigns") is not None
    assert await broken_invariants(connection) == []


async def test_a_campaign_ends_when_its_last_message_is_settled_and_not_before(
    connection: Connection, cast: Broadcast, sweeper: Sweeper
) -> None:
    await cast.queue(connection)
    await cast.send(connection, *cast.messages[:-1])
    await cast.end(connection, cast.messages[-1], MessageStatus.IN_DOUBT, Reason.NO_ANSWER, Outcome.UNKNOWN)
    await sweeper.run_once()
    assert await campaign_status(connection) == "running", "a doubt is open"
    await transitions.settle_doubt(connection, [(cast.messages[-1], 1, MessageStatus.FAILED, Reason.UNCONFIRMED)])
    await sweeper.run_once()
    assert await campaign_status(connection) == "finished"


async def test_a_campaign_is_not_finished_on_counts_that_are_no_longer_true(
    connection: Connection, cast: Broadcast
) -> None:
    """The sweeper has seen zero; a retry commits before it writes."""
    assert not await sweeping.finish(connection, cast.campaign)
    assert await campaign_status(connection) == "running"


async def test_past_its_deadline_a_campaign_says_of_each_row_why_it_was_not_sent(
    runtime: Runtime, connection: Connection, cast: Broadcast, sweeper: Sweeper
) -> None:
    await connection.execute("UPDATE campaigns SET expires_at = fleetcast_now() + interval '7 days'")
    await move_time(connection, timedelta(days=8))
    await connection.execute("UPDATE devices SET state = 'offline' WHERE id = $1", cast.devices[0])
    await sweeper.run_once()
    await sweeper.run_once()
    assert await campaign_status(connection) == "finished"
    rows = await connection.fetch("SELECT reason, count(*) FROM broadcast_messages GROUP BY 1")
    assert {row[0]: row[1] for row in rows} == {"device_offline": 3, "expired": 3}
    assert await broken_invariants(connection) == []


async def test_a_removed_device_with_many_rows_is_settled_in_chunks(
    runtime: Runtime, connection: Connection, workspace: WorkspaceId, sweeper: Sweeper
) -> None:
    cast = await make_broadcast(connection, workspace, devices=1, people=40)
    await connection.execute("UPDATE devices SET deleted_at = fleetcast_now()")
    await sweeper.run_once()
    assert await statuses(connection) == {"skipped": 40}
    assert await broken_invariants(connection) == []
    assert cast.devices


async def test_folding_tallies_changes_no_sum(connection: Connection, cast: Broadcast) -> None:
    await cast.queue(connection)
    await cast.send(connection, *cast.messages)
    before = await connection.fetch("SELECT counter, sum(n) FROM campaign_tallies GROUP BY 1 HAVING sum(n) <> 0")
    assert await sweeping.fold_tallies(connection, 2) == 1
    after = await connection.fetch("SELECT counter, n FROM campaign_tallies")
    assert {tuple(r) for r in before} == {tuple(r) for r in after}


async def test_a_device_that_comes_back_within_the_look_keeps_what_it_was_given(
    runtime: Runtime, connection: Connection, cast: Broadcast, sweeper: Sweeper
) -> None:
    await set_state(runtime, cast.devices[0], DeviceState.OFFLINE, "gone")
    await set_state(runtime, cast.devices[0], DeviceState.ONLINE, "back")
    await cast.queue(connection)
    await sweeper.run_once()
    assert await statuses(connection) == {"queued": len(cast.messages)}


async def test_what_was_on_its_way_when_its_person_said_stop_and_came_back_is_skipped_and_holds_up_no_campaign(
    connection: Connection, workspace: WorkspaceId, sweeper: Sweeper
) -> None:
    cast = await make_broadcast(connection, workspace, people=1, devices=1)
    await cast.queue(connection)
    [claimed] = await cast.claim(connection, *cast.messages)
    await connection.execute(
        "INSERT INTO suppressions (workspace_id, recipient, effective_at, source) "
        "VALUES ($1, $2, fleetcast_now(), 'reply')",
        workspace,
        cast.phones[0],
    )
    not_sent = (MessageStatus.PENDING, Reason.RELEASED, Outcome.NOT_SENT, "code")
    result = OtherResult(claimed.id, claimed.attempt, claimed.epoch, *not_sent, claimed.now)
    assert await transitions.record_other(connection, [result], []) == 1
    assert await statuses(connection) == {"pending": 1}
    await sweeper.run_once()
    assert await statuses(connection) == {"skipped": 1}
    assert await connection.fetchval("SELECT reason FROM broadcast_messages") == "opt_out"
    await sweeper.run_once()
    assert await campaign_status(connection) == "finished"
    assert await broken_invariants(connection) == []


async def test_an_answer_of_a_living_sender_that_waits_for_its_commit_breaks_no_promise(
    connection: Connection, workspace: WorkspaceId
) -> None:
    cast = await make_broadcast(connection, workspace, people=2, devices=1)
    await cast.queue(connection)
    for message in cast.messages:  # the first was answered, and the device went on
        await cast.claim(connection, message)
    assert await broken_invariants(connection) == []
