"""Results while the database comes and goes."""

import asyncio
from pathlib import Path

from fleetcast.domain.identifiers import WorkspaceId
from fleetcast.engine.attempts import Ended
from fleetcast.engine.results import Results
from fleetcast.engine.spool import Spool
from fleetcast.store.connection import Database
from fleetcast.store.transitions import SentResult
from tests.running import until
from tests.store.broadcast import make_broadcast

BACKEND = "FROM pg_stat_activity WHERE application_name = 'fleetcast results' AND datname = current_database()"


async def test_a_result_that_the_database_did_not_take_is_taken_later_and_counted_as_resumed(
    db: Database, workspace: WorkspaceId, tmp_path: Path
) -> None:
    async with db.connection() as connection:
        made = await make_broadcast(connection, workspace, devices=1, people=1)
        await made.queue(connection)
        [row] = await made.claim(connection, made.messages[0])
    results, stop = Results(db, Spool(tmp_path, "sender")), asyncio.Event()
    run = asyncio.ensure_future(results.run(stop, lambda: None))

    async def waits_for_the_row() -> bool:
        async with db.connection() as other:
            return bool(await other.fetchval(f"SELECT count(*) {BACKEND} AND wait_event_type = 'Lock'"))

    async def is_stuck() -> bool:
        return results.stuck

    async def is_committed() -> bool:
        return results.committed == 1

    try:
        async with db.transaction() as connection:
            await connection.execute("SELECT FROM broadcast_messages FOR UPDATE")
            results.put(
                Ended(SentResult(row.id, row.attempt, row.epoch, "p-1", row.now, b"sha")), row.device, paced=True
            )
            await until(waits_for_the_row)
            async with db.connection() as other:
                await other.execute(f"SELECT pg_terminate_backend(pid) {BACKEND}")
            await until(is_stuck)
            assert (results.committed, results.resumed) == (0, 0)
        await until(is_committed)
        assert (results.commits, results.resumed) == (1, 1)
        assert not results.stuck
    finally:
        stop.set()
        await run
