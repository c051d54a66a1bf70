"""Leases, by their statements."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from fleetcast.domain.identifiers import WorkspaceId
from fleetcast.store import shards, transitions
from fleetcast.store.connection import Connection, Database
from fleetcast.store.transitions import Claim
from tests.store.broadcast import SENDER, make_broadcast

BLOCKED = 30
CLAIMED = [7, BLOCKED, 33, 40]

Work = Callable[[Connection], Awaitable[object]]


async def renew(connection: Connection) -> object:
    return await shards.renew(connection, SENDER, list(reversed(range(64))), 30)


async def release(connection: Connection) -> None:
    await shards.release(connection, SENDER)


async def recovered(connection: Connection) -> None:
    await shards.recovered(connection, dict.fromkeys(reversed(range(64)), 1))


async def claim(connection: Connection) -> object:
    rows = await connection.fetch("SELECT id, shard_id FROM broadcast_messages WHERE shard_id = ANY ($1)", CLAIMED)
    claims = [Claim(r["id"], r["shard_id"], 0) for r in rows]
    return await transitions.claim(connection, claims, dict.fromkeys(range(64), 1), SENDER, "test")


@pytest.mark.parametrize("work", [renew, release, recovered, claim])
async def test_whoever_locks_several_shards_locks_them_in_the_order_of_their_ids(
    db: Database, workspace: WorkspaceId, work: Work
) -> None:
    async with db.connection() as connection:
        cast = await make_broadcast(connection, workspace, devices=64, people=64)
        await cast.queue(connection)
        for shard in reversed(range(64)):  # on the disk they lie the other way round now
            await connection.execute("UPDATE shards SET owner = owner WHERE id = $1", shard)

    async def all_of_it() -> None:
        async with db.transaction() as connection:
            await connection.execute("SET LOCAL enable_sort = off")  # as in the loops that claim
            await work(connection)

    async with db.transaction() as holder, db.connection() as watcher:
        await holder.execute("SELECT 1 FROM shards WHERE id = $1 FOR UPDATE", BLOCKED)
        task = asyncio.create_task(all_of_it())
        async with asyncio.timeout(10):
            while not await watcher.fetchval("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"):
                assert not task.done()
        free = {row["id"] for row in await watcher.fetch("SELECT id FROM shards FOR UPDATE SKIP LOCKED")}
        asked = set(CLAIMED if work is claim else range(64))
        assert free & asked == {shard for shard in asked if shard > BLOCKED}
    await task


async def test_a_clock_that_was_set_back_makes_a_device_rest_for_its_delay_and_not_longer(
    db: Database, workspace: WorkspaceId
) -> None:
    async with db.connection() as connection:
        cast = await make_broadcast(connection, workspace, devices=2)
        await connection.execute(
            "UPDATE devices SET last_send_at = fleetcast_now() + interval '1 hour' WHERE id = $1", cast.devices[0]
        )
        rested = {row.id: row.rested for row in await shards.lanes(connection, range(64))}
    assert rested == {cast.devices[0]: 0.0, cast.devices[1]: None}
