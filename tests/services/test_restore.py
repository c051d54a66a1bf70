"""After a restore nothing goes out by itself, and what may have gone out is named."""

from collections.abc import AsyncIterator

import pytest

from fleetcast.domain.identifiers import WorkspaceId
from fleetcast.errors import Conflict
from fleetcast.runtime import Runtime
from fleetcast.services.restore import after_restore
from fleetcast.store import transitions
from fleetcast.store.connection import Connection
from fleetcast.store.invariants import broken_invariants
from fleetcast.store.transitions import SentResult
from tests.store.broadcast import Broadcast, make_broadcast


@pytest.fixture
async def connection(runtime: Runtime) -> AsyncIterator[Connection]:
    async with runtime.db.connection() as connection:
        yield connection


@pytest.fixture
async def cast(connection: Connection, workspace: WorkspaceId) -> Broadcast:
    """As a backup finds it: one message sent, one being sent, four queued, and the leases of then."""
    made = await make_broadcast(connection, workspace)
    await made.queue(connection)
    await made.send(connection, made.messages[0])
    return made


async def leases_are_over(connection: Connection) -> None:
    await connection.execute("UPDATE shards SET expires_at = fleetcast_now() - interval '1 second'")


async def statuses(connection: Connection) -> list[str]:
    return [r["status"] for r in await connection.fetch("SELECT status::text FROM broadcast_messages ORDER BY id")]


async def test_campaigns_are_held_and_what_was_under_way_is_in_doubt(
    runtime: Runtime, connection: Connection, cast: Broadcast
) -> None:
    [claimed] = await cast.claim(connection, cast.messages[1])
    await leases_are_over(connection)
    done = await after_restore(runtime, actor="test")
    assert [(c.id, c.title, c.waiting) for c in done.paused] == [(cast.campaign, "Spring", 4)]
    assert done.in_doubt == 1
    assert await statuses(connection) == ["sent", "in_doubt", "pending", "pending", "pending", "pending"]
    row = await connection.fetchrow("SELECT status::text, paused_reason FROM campaigns")
    assert row is not None
    assert tuple(row) == ("paused", "restored from a backup")
    late = SentResult(claimed.id, claimed.attempt, claimed.epoch, "late", claimed.now, b"sha")
    assert await transitions.record_sent(connection, [late], []) == 0, "a sender of before is fenced"
    assert await broken_invariants(connection) == []


async def test_a_start_that_has_passed_meanwhile_does_not_happen_and_a_later_one_stays(
    runtime: Runtime, connection: Connection, cast: Broadcast
) -> None:
    await leases_are_over(connection)
    for title, hours in (("missed", -1), ("tomorrow", 24)):
        await connection.execute(
            "INSERT INTO campaigns (workspace_id, content_id, title, status, starts_at) "
            "SELECT workspace_id, content_id, $1, 'scheduled', fleetcast_now() + make_interval(hours => $2) "
            "FROM campaigns WHERE title = 'Spring'",
            title,
            hours,
        )
    done = await after_restore(runtime, actor="test")
    assert [c.title for c in done.withdrawn] == ["missed"]
    rows = await connection.fetch("SELECT title, status::text FROM campaigns ORDER BY id")
    assert [tuple(row) for row in rows] == [("Spring", "paused"), ("missed", "draft"), ("tomorrow", "scheduled")]


async def test_it_is_refused_while_a_sender_works(runtime: Runtime, connection: Connection, cast: Broadcast) -> None:
    before = await statuses(connection)
    with pytest.raises(Conflict, match="stop every Fleetcast"):
        await after_restore(runtime, actor="test")
    assert await statuses(connection) == before


async def test_a_second_time_changes_nothing(runtime: Runtime, connection: Connection, cast: Broadcast) -> None:
    await leases_are_over(connection)
    await after_restore(runtime, actor="test")
    before = await statuses(connection)
    done = await after_restore(runtime, actor="test")
    assert (done.withdrawn, done.requeued, done.in_doubt) == ([], 0, 0)
    assert [c.id for c in done.paused] == [cast.campaign], "the list is not lost with the first run"
    assert await statuses(connection) == before


async def test_a_campaign_that_was_paused_or_not_planned_yet_is_listed_too(
    runtime: Runtime, connection: Connection, cast: Broadcast
) -> None:
    await leases_are_over(connection)
    await connection.execute("UPDATE campaigns SET status = 'paused', planned_at = NULL")
    [listed] = (await after_restore(runtime, actor="test")).paused
    assert (listed.id, listed.waiting, listed.planned) == (cast.campaign, 5, False)


async def test_no_message_of_after_the_restore_has_the_reference_of_one_that_was_sent_before_it(
    runtime: Runtime, connection: Connection, cast: Broadcast, workspace: WorkspaceId
) -> None:
    await leases_are_over(connection)
    await after_restore(runtime, actor="test")
    later = await make_broadcast(connection, workspace, people=1)
    assert later.messages[0] > cast.messages[-1] + 900_000_000
