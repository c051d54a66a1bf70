"""Whoever locks several rows locks them in one order, else two statements wait for each other until one is undone.

Each statement is held up at a row in the middle; it must hold all that come before and none that comes after.
"""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from fleetcast.domain.identifiers import WorkspaceId
from fleetcast.domain.message import MessageStatus, Outcome, Reason, Resolution
from fleetcast.store import shards, transitions
from fleetcast.store.connection import Connection, Database
from fleetcast.store.identity import note_node
from fleetcast.store.transitions import Claim, Evidence, OtherResult, SentResult
from tests.store.broadcast import SENDER, Broadcast, make_broadcast

Work = Callable[[Connection, Broadcast], Awaitable[object]]

BLOCKED = 30
CLAIMED = [7, BLOCKED, 33, 40]
"""Shards: a set of these is walked in another order than that of the numbers."""
EPOCHS = dict.fromkeys(range(64), 1)


async def order_of_locks(db: Database, cast: Broadcast, table: str, blocked: int, work: Work) -> set[int]:
    """The ids that are still free while `work` waits for the row `blocked`."""

    async def all_of_it() -> None:
        async with db.transaction() as connection:
            await connection.execute("SET LOCAL enable_sort = off")  # as in the loops that claim
            await work(connection, cast)

    async with db.transaction() as holder, db.connection() as watcher:
        await holder.execute(f"SELECT 1 FROM {table} WHERE id = $1 FOR UPDATE", blocked)
        task = asyncio.create_task(all_of_it())
        async with asyncio.timeout(10):
            while not await watcher.fetchval("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"):
                assert not task.done()
        free = {row["id"] for row in await watcher.fetch(f"SELECT id FROM {table} FOR UPDATE SKIP LOCKED")}
    await task
    return free


async def renew(connection: Connection, _: Broadcast) -> None:
    await note_node(connection, "node", "node")
    await shards.turn(connection, SENDER, "node", 30)


async def release(connection: Connection, _: Broadcast) -> None:
    await shards.release(connection, SENDER)


async def recovered(connection: Connection, _: Broadcast) -> None:
    await shards.recovered(connection, dict.fromkeys(reversed(range(64)), 1))


async def claim_of_some_shards(connection: Connection, _: Broadcast) -> None:
    rows = await connection.fetch(
        "SELECT id, shard_id, device_id, campaign_id FROM broadcast_messages WHERE shard_id = ANY ($1)", CLAIMED
    )
    claims = [Claim(row[0], row[1], row[2], row[3], 0) for row in rows]
    await transitions.claim(connection, claims, EPOCHS, SENDER, "test")


@pytest.mark.parametrize("work", [renew, release, recovered, claim_of_some_shards])
async def test_shards_are_locked_in_the_order_of_their_numbers(
    db: Database, workspace: WorkspaceId, work: Work
) -> None:
    async with db.connection() as connection:
        cast = await make_broadcast(connection, workspace, devices=64, people=64)
        await cast.queue(connection)
        for shard in reversed(range(64)):  # on the disk they lie the other way round now
            await connection.execute("UPDATE shards SET owner = owner WHERE id = $1", shard)
    free = await order_of_locks(db, cast, "shards", BLOCKED, work)
    asked = set(CLAIMED if work is claim_of_some_shards else range(64))
    assert free & asked == {shard for shard in asked if shard > BLOCKED}


async def _backwards(connection: Connection) -> list[tuple[int, int]]:
    rows = await connection.fetch("SELECT id, attempts FROM broadcast_messages ORDER BY id DESC")
    return [tuple(row) for row in rows]


async def claim(connection: Connection, _: Broadcast) -> None:
    rows = await connection.fetch(
        "SELECT id, shard_id, device_id, campaign_id FROM broadcast_messages ORDER BY id DESC"
    )
    claims = [Claim(row[0], row[1], row[2], row[3], 0) for row in rows]
    await transitions.claim(connection, claims, EPOCHS, SENDER, "test")


async def record_sent(connection: Connection, _: Broadcast) -> None:
    results = [SentResult(m, a, 1, f"provider-{m}", 0.0, b"sha") for m, a in await _backwards(connection)]
    await transitions.record_sent(connection, results, [])


async def record_other(connection: Connection, _: Broadcast) -> None:
    end = (MessageStatus.FAILED, Reason.RETRIES_EXHAUSTED, Outcome.REFUSED, "code", 0.0)
    results = [OtherResult(message, attempt, 1, *end) for message, attempt in await _backwards(connection)]
    await transitions.record_other(connection, results, [])


async def confirm(connection: Connection, _: Broadcast) -> None:
    now = await connection.fetchval("SELECT fleetcast_now()")
    found = [
        Evidence(message, attempt, f"provider-{message}", now) for message, attempt in await _backwards(connection)
    ]
    await transitions.confirm_sent(connection, found, Resolution.RECEIPT)


async def orphaned(connection: Connection, _: Broadcast) -> None:
    await connection.execute("UPDATE shards SET epoch = epoch + 1")
    await transitions.orphaned(connection, list(range(64)), {"simulator": 10.0})


async def pause(connection: Connection, cast: Broadcast) -> None:
    await transitions.requeue_campaign(connection, cast.campaign)


async def cancel(connection: Connection, cast: Broadcast) -> None:
    await transitions.cancel_campaign(connection, cast.campaign)


@pytest.mark.parametrize(
    ("work", "sending"),
    [
        (claim, False),
        (pause, False),
        (cancel, False),
        (record_sent, True),
        (record_other, True),
        (confirm, True),
        (orphaned, True),
    ],
)
async def test_messages_are_locked_in_the_order_of_their_ids(
    db: Database, workspace: WorkspaceId, work: Work, sending: bool
) -> None:
    async with db.connection() as connection:
        cast = await make_broadcast(connection, workspace, devices=10, people=40)
        await cast.queue(connection)
        if sending:
            await claim(connection, cast)
        for message in reversed(cast.messages):  # on the disk they lie the other way round now
            await connection.execute("UPDATE broadcast_messages SET reason = reason WHERE id = $1", message)
    blocked = sorted(cast.messages)[20]
    free = await order_of_locks(db, cast, "broadcast_messages", blocked, work)
    assert free == {message for message in cast.messages if message > blocked}
