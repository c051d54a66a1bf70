"""What is kept how long: old messages go and their counts stay, and nothing goes that somebody may still need."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import pytest

from fleetcast.domain.identifiers import WorkspaceId
from fleetcast.domain.message import MessageStatus, Outcome, Reason
from fleetcast.engine.retention import Retention
from fleetcast.engine.sweeper import Sweeper
from fleetcast.errors import Conflict
from fleetcast.runtime import Runtime
from fleetcast.services.campaign_actions import retry_campaign, retry_unconfirmed
from fleetcast.services.campaigns import show_campaign
from fleetcast.store import retention
from fleetcast.store.connection import Connection
from fleetcast.store.invariants import broken_invariants
from tests.store.broadcast import Broadcast, make_broadcast, move_time

KEPT = timedelta(days=180)
STOP = asyncio.Event()


@pytest.fixture
async def connection(runtime: Runtime) -> AsyncIterator[Connection]:
    async with runtime.db.connection() as connection:
        yield connection


@pytest.fixture
async def cast(connection: Connection, workspace: WorkspaceId, runtime: Runtime) -> Broadcast:
    """A finished campaign: five messages sent, one refused."""
    made = await make_broadcast(connection, workspace)
    await made.queue(connection)
    await made.send(connection, *made.messages[:5])
    await made.end(connection, made.messages[5], MessageStatus.FAILED, Reason.RECIPIENT_REFUSED, Outcome.REFUSED)
    await Sweeper(runtime, {}).run_once()
    assert await connection.fetchval("SELECT status::text FROM campaigns WHERE id = $1", made.campaign) == "finished"
    return made


def with_settings(runtime: Runtime, **settings: int) -> Runtime:
    return replace(runtime, settings=runtime.settings.model_copy(update=settings))


async def count(connection: Connection, table: str) -> int:
    found: int = await connection.fetchval(f"SELECT count(*) FROM {table}")
    return found


async def test_messages_and_attempts_of_a_campaign_go_when_their_time_is_over_and_its_counts_stay(
    connection: Connection, runtime: Runtime, cast: Broadcast
) -> None:
    await move_time(connection, KEPT - timedelta(minutes=1))
    await Retention(runtime).run_once(STOP)
    assert (await count(connection, "broadcast_messages"), await count(connection, "message_attempts")) == (6, 6)
    before = await show_campaign(runtime, cast.workspace, cast.campaign)
    await move_time(connection, timedelta(minutes=2))
    await Retention(runtime).run_once(STOP)
    assert (await count(connection, "broadcast_messages"), await count(connection, "message_attempts")) == (0, 0)
    after = await show_campaign(runtime, cast.workspace, cast.campaign)
    assert after.counts == before.counts
    assert after.counts.by_status == {"sent": 5, "failed": 1}
    assert after.campaign.retiring_at is not None
    assert await count(connection, "leads") == 6, "people are not messages"
    assert await broken_invariants(connection) == []


async def test_another_campaigns_messages_stay_though_their_keys_are_neighbours(
    connection: Connection, runtime: Runtime, cast: Broadcast, workspace: WorkspaceId
) -> None:
    await move_time(connection, KEPT + timedelta(minutes=1))
    other = await make_broadcast(connection, workspace, people=3)
    await Retention(runtime).run_once(STOP)
    rows = await connection.fetch("SELECT DISTINCT campaign_id FROM broadcast_messages")
    assert [row[0] for row in rows] == [other.campaign]
    assert await broken_invariants(connection) == []


@pytest.mark.parametrize("status", ["running", "paused", "draft", "scheduled"])
async def test_a_campaign_that_has_not_ended_is_never_touched_however_old_it_is(
    connection: Connection, runtime: Runtime, cast: Broadcast, status: str
) -> None:
    await connection.execute("UPDATE campaigns SET status = $1::text::campaign_status", status)
    await move_time(connection, 10 * KEPT)
    await Retention(runtime).run_once(STOP)
    assert await count(connection, "broadcast_messages") == 6


async def test_a_row_that_may_still_be_sent_is_not_deleted_even_if_its_campaign_is_marked(
    connection: Connection, runtime: Runtime, workspace: WorkspaceId
) -> None:
    await make_broadcast(connection, workspace, people=2)
    await connection.execute("UPDATE campaigns SET status = 'finished', ended_at = '2001-01-01'")
    await Retention(runtime).run_once(STOP)
    assert await count(connection, "broadcast_messages") == 2


async def test_what_was_interrupted_goes_on_where_it_was(
    connection: Connection, runtime: Runtime, cast: Broadcast, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "CHUNK", 2)
    await move_time(connection, KEPT + timedelta(minutes=1))
    stop = asyncio.Event()
    chunks = 0

    def stop_after_two() -> None:
        nonlocal chunks
        chunks += 1
        if chunks == 2:
            stop.set()

    await Retention(runtime).run_once(stop, stop_after_two)
    assert await count(connection, "broadcast_messages") == 2
    assert await broken_invariants(connection) == [], "half a campaign is no broken promise"
    await Retention(runtime).run_once(STOP)
    assert await count(connection, "broadcast_messages") == 0
    assert await connection.fetchval("SELECT retired_at IS NOT NULL FROM campaigns")


async def test_nothing_is_retried_once_its_messages_are_going_and_the_error_says_what_to_do(
    connection: Connection, runtime: Runtime, cast: Broadcast
) -> None:
    async with runtime.db.transaction() as marking:
        await retention.mark_campaigns(marking, timedelta(0))
    with pytest.raises(Conflict, match=r"are deleted: there is nothing left to retry\. Clone it"):
        await retry_campaign(runtime, cast.workspace, cast.campaign, actor="test")
    with pytest.raises(Conflict, match="Clone it"):
        await retry_unconfirmed(runtime, cast.workspace, cast.campaign, cast.messages[5:], actor="test")
    assert await count(connection, "broadcast_messages") == 6


async def test_a_campaign_that_a_retry_is_just_opening_again_is_left_alone(
    connection: Connection, runtime: Runtime, cast: Broadcast
) -> None:
    async with runtime.db.transaction() as retrying:
        await retrying.execute("SELECT FROM campaigns WHERE id = $1 FOR NO KEY UPDATE", cast.campaign)
        await Retention(with_settings(runtime, keep_messages_days=1)).run_once(STOP)
        assert await connection.fetchval("SELECT retiring_at FROM campaigns") is None


async def test_processed_events_go_and_those_that_wait_for_their_message_stay(
    connection: Connection, runtime: Runtime, cast: Broadcast, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "CHUNK", 3)
    for age, processed in ((91, True), (91, False), (91, True), (91, True), (91, True), (89, True), (1, False)):
        await connection.execute(
            "INSERT INTO inbox (workspace_id, device_id, received_at, occurred_at, processed_at, kind, event_id) "
            "SELECT $1, $2, at, at, CASE WHEN $4 THEN at END, 'delivered', gen_random_uuid()::text "
            "FROM (SELECT fleetcast_now() - make_interval(days => $3) AS at) z",
            cast.workspace,
            cast.devices[0],
            age,
            processed,
        )
    await Retention(runtime).run_once(STOP)
    rows = await connection.fetch("SELECT processed_at IS NOT NULL AS done FROM inbox ORDER BY id")
    assert [row["done"] for row in rows] == [False, True, False]


async def test_reports_of_imports_that_ended_go_and_one_under_way_stays(
    connection: Connection, runtime: Runtime, cast: Broadcast
) -> None:
    for status, finished in (("done", 91), ("failed", 89), ("staging", None)):
        await connection.execute(
            "INSERT INTO lead_imports (workspace_id, device_id, started_at, finished_at, size, status, filename, "
            "sha256, actor, options) VALUES ($1, $2, '2001-01-01', fleetcast_now() - make_interval(days => $4), 1, "
            "$3::text::lead_import_status, 'leads.csv', '', 'test', '{}')",
            cast.workspace,
            cast.devices[0],
            status,
            finished,
        )
    await Retention(runtime).run_once(STOP)
    rows = await connection.fetch("SELECT status::text FROM lead_imports ORDER BY id")
    assert [row["status"] for row in rows] == ["failed", "staging"]


async def test_zero_days_mean_for_ever(connection: Connection, runtime: Runtime, cast: Broadcast) -> None:
    await move_time(connection, 100 * KEPT)
    await connection.execute(
        "INSERT INTO inbox (workspace_id, device_id, received_at, occurred_at, processed_at, kind, event_id) "
        "VALUES ($1, $2, '2001-01-01', '2001-01-01', '2001-01-01', 'delivered', 'e1')",
        cast.workspace,
        cast.devices[0],
    )
    await Retention(with_settings(runtime, keep_messages_days=0, keep_events_days=0)).run_once(STOP)
    assert (await count(connection, "broadcast_messages"), await count(connection, "inbox")) == (6, 1)
