"""Bounds of numbers for a span of time: never too narrow, in whatever order rows were made; narrow where possible."""

from datetime import datetime, timedelta
from random import Random

import pytest

from fleetcast.domain.identifiers import WorkspaceId
from fleetcast.store import message_ages
from fleetcast.store.connection import Connection, Database
from tests.store.broadcast import make_broadcast

HOUR = timedelta(hours=1)


async def add(
    connection: Connection,
    workspace: WorkspaceId,
    at: datetime,
    *,
    campaign: int | None = None,
    start: datetime | None = None,
    touched: timedelta | None = None,
) -> int:
    """A row that is made at an instant: a single send, or one of a campaign that started before."""
    row: int = await connection.fetchval(
        "INSERT INTO broadcast_messages (workspace_id, device_id, campaign_id, content_id, not_before, created_at, "
        "queued_at, shard_id, recipient, dedupe_key, variables) "
        "VALUES ($1, 1, $2, 1, $3, $3, $4, 0, '+60', gen_random_uuid()::text, '{}') RETURNING id",
        workspace,
        campaign,
        start or at,
        None if touched is None else at + touched,
    )
    return row


@pytest.fixture
async def first(db: Database, workspace: WorkspaceId) -> datetime:
    async with db.connection() as connection:
        await make_broadcast(connection, workspace, people=1)
        await connection.execute("DELETE FROM broadcast_messages")
        at: datetime = await connection.fetchval("SELECT fleetcast_now() - interval '1000 hours'")
    return at


@pytest.mark.parametrize("seed", range(12))
async def test_no_message_of_the_span_lies_outside_its_bounds(
    db: Database, workspace: WorkspaceId, first: datetime, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(message_ages, "CLOSE_ENOUGH", 1)
    random = Random(seed)
    times: dict[int, datetime] = {}
    async with db.transaction() as connection:
        campaigns: list[tuple[int, datetime]] = []
        for n in range(120):
            at = first + n * HOUR
            if random.random() < 0.1:
                campaign = await connection.fetchval(
                    "INSERT INTO campaigns (workspace_id, content_id, title, status, started_at, ended_at) "
                    "VALUES ($1, 1, 'C', 'finished', $2, $3) RETURNING id",
                    workspace,
                    at,
                    at + random.choice([1, 20, 60]) * HOUR,
                )
                campaigns.append((campaign, at))
            alive = [(c, start) for c, start in campaigns if at <= await _end(connection, c)]
            if alive and random.random() < 0.5:
                campaign, start = random.choice(alive)
                touched = random.choice([None, timedelta(0), 5 * HOUR, 50 * HOUR])
                row = await add(connection, workspace, at, campaign=campaign, start=start, touched=touched)
                times[row] = start
            else:
                times[await add(connection, workspace, at)] = at
        for _ in range(40):
            since = first + random.randint(-5, 125) * HOUR
            until = since + random.randint(1, 60) * HOUR
            low, high = await message_ages.bounds(connection, workspace, since, until)
            outside = [i for i, t in times.items() if since <= t < until and not low < i < high]
            assert outside == [], (since, until, low, high)


async def _end(connection: Connection, campaign: int) -> datetime:
    at: datetime = await connection.fetchval("SELECT ended_at FROM campaigns WHERE id = $1", campaign)
    return at


async def test_a_span_of_single_sends_is_narrow(
    db: Database, workspace: WorkspaceId, first: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(message_ages, "CLOSE_ENOUGH", 1)
    async with db.transaction() as connection:
        rows = [await add(connection, workspace, first + n * HOUR) for n in range(200)]
        await connection.execute(
            "SELECT setval(pg_get_serial_sequence('broadcast_messages', 'id'), 1000000000)"
        )  # as after a restore
        rows += [await add(connection, workspace, first + n * HOUR) for n in range(200, 400)]
        low, high = await message_ages.bounds(connection, workspace, first + 100 * HOUR, first + 110 * HOUR)
        inside = [r for r in rows if low < r < high]
        assert set(rows[100:110]) <= set(inside)
        assert len(inside) < 16
        low, high = await message_ages.bounds(connection, workspace, first + 300 * HOUR, None)
        assert rows[296] <= low < rows[300]
        assert high == message_ages.LAST_ID


async def test_a_campaign_that_still_runs_leaves_the_end_open(
    db: Database, workspace: WorkspaceId, first: datetime
) -> None:
    async with db.transaction() as connection:
        await connection.execute("UPDATE campaigns SET started_at = $1", first + HOUR)
        for n in range(50):
            await add(connection, workspace, first + n * HOUR)
        _, high = await message_ages.bounds(connection, workspace, first, first + 2 * HOUR)
        assert high == message_ages.LAST_ID
        assert await message_ages.bounds(connection, workspace, None, None) == (0, message_ages.LAST_ID)


async def test_an_empty_table_has_bounds_too(db: Database, workspace: WorkspaceId, first: datetime) -> None:
    async with db.transaction() as connection:
        low, high = await message_ages.bounds(connection, workspace, first, first + HOUR)
        assert (low, high) == (0, message_ages.LAST_ID)
