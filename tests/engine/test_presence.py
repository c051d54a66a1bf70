"""What a process says of itself while it runs, and what is left of it afterwards."""

import asyncio
import time
from datetime import timedelta
from pathlib import Path

import pytest

from fleetcast.engine.presence import Presence, Usage
from fleetcast.engine.supervisor import Beat, Supervisor
from fleetcast.runtime import Runtime
from fleetcast.store import processes
from fleetcast.store.connection import Database
from fleetcast.store.processes import Process
from tests.running import running_fleet, until


async def known(db: Database) -> list[Process]:
    async with db.connection() as connection:
        return await processes.known(connection)


async def silent_for(db: Database, name: str, since: timedelta) -> None:
    async with db.connection() as connection:
        await connection.execute(
            "UPDATE processes SET beaten_at = beaten_at - $2::interval WHERE name = $1", name, since
        )


async def waiting(stop: asyncio.Event, beat: Beat) -> None:
    await stop.wait()


async def test_each_process_of_a_running_fleet_is_there_and_a_clean_stop_leaves_none(
    runtime: Runtime, tmp_path: Path
) -> None:
    async with running_fleet(runtime, tmp_path) as fleet:

        async def both() -> bool:
            found = await known(fleet.runtime.db)
            held = sum(p.figures.get("leases_held", 0) for p in found)
            return len(found) == 2 and all(p.figures for p in found) and held == 64

        await until(both)
        sender, scheduler = sorted(await known(runtime.db), key=lambda p: p.kind, reverse=True)
        assert (sender.kind, scheduler.kind) == ("sender", "scheduler")
        assert sender.name != scheduler.name
        assert sender.stuck == scheduler.stuck == ()
        loops = {"presence", "leases", "results", "claims", "hints", "reread", "asks", "nudges", "inbox simulator"}
        assert {f"age:{loop}" for loop in loops} <= sender.figures.keys()
        assert all(p.figures["memory"] > 1_000_000 for p in (sender, scheduler))
        async with runtime.db.connection() as connection:  # shards are shared by this name
            owners = await connection.fetch("SELECT DISTINCT owner FROM shards WHERE owner IS NOT NULL")
        assert [r["owner"] for r in owners] == [sender.name]
    assert await known(runtime.db) == []


async def test_a_process_that_failed_leaves_its_row_behind(runtime: Runtime) -> None:
    loops = Supervisor("sender")
    told = asyncio.Event()

    async def failing(stop: asyncio.Event, beat: Beat) -> None:
        await told.wait()
        raise RuntimeError("broken")

    def figures() -> dict[str, float]:
        told.set()
        return {}

    loops.add("claims", failing)
    Presence(runtime, loops, "sender", figures=figures)
    with pytest.raises(RuntimeError, match="broken"):
        await loops.run(asyncio.Event())
    assert [p.kind for p in await known(runtime.db)] == ["sender"]


async def test_it_tells_of_the_stop_to_the_end_and_then_signs_off(runtime: Runtime) -> None:
    loops, stop = Supervisor("sender"), asyncio.Event()
    seen: list[int] = []

    async def draining(stop: asyncio.Event, beat: Beat) -> None:
        await stop.wait()
        await presence.tell()
        seen.append(len(await known(runtime.db)))

    presence = Presence(runtime, loops, "sender")
    loops.add("claims", draining, stage=3)
    run = asyncio.ensure_future(loops.run(stop))
    try:
        await until(lambda: _is_there(runtime.db))
    finally:
        stop.set()
        await run
    assert seen == [1]
    assert await known(runtime.db) == []


async def _is_there(db: Database) -> bool:
    return bool(await known(db))


async def test_what_was_replaced_is_forgotten_in_time_and_the_last_of_its_kind_never(runtime: Runtime) -> None:
    loops = Supervisor("sender")
    first, second = Presence(runtime, loops, "sender"), Presence(runtime, loops, "sender")
    alone = Presence(runtime, loops, "scheduler")
    async with runtime.db.connection() as connection:
        await connection.execute("INSERT INTO nodes (id, name) SELECT $1, 'here'", first._node)
    await first.tell()
    await alone.tell()
    await silent_for(runtime.db, first.name, timedelta(minutes=9))
    await silent_for(runtime.db, alone.name, timedelta(days=1))
    await second.tell()
    assert {p.name for p in await known(runtime.db)} == {first.name, second.name, alone.name}
    await silent_for(runtime.db, first.name, timedelta(minutes=2))
    await second.tell()
    assert {p.name for p in await known(runtime.db)} == {second.name, alone.name}


async def test_a_database_that_goes_away_stops_no_presence(runtime: Runtime, db: Database) -> None:
    loops, stop = Supervisor("sender"), asyncio.Event()
    Presence(runtime, loops, "sender")
    run = asyncio.ensure_future(loops.run(stop))
    try:
        await until(lambda: _is_there(db))
        async with db.connection() as connection:
            await connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            await connection.execute("DELETE FROM processes")
        await until(lambda: _is_there(db))
    finally:
        stop.set()
        await run


def test_busy_is_the_share_of_a_core_since_the_last_beat() -> None:
    usage = Usage()
    usage.figures()
    at, cpu = time.monotonic(), time.process_time()
    assert sum(range(5_000_000))
    expected = (time.process_time() - cpu) / (time.monotonic() - at)
    assert usage.figures()["busy"] == pytest.approx(expected, rel=0.2)
