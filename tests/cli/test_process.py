"""`fleetcast process`: who runs, for people and for machines, and senders that are to rest."""

import asyncio
import json

import pytest

from fleetcast.store import processes, shards
from fleetcast.store.connection import Database
from tests.cli.conftest import Command

NAME = "north:412:9ac1"


@pytest.fixture
async def sender(db: Database) -> str:
    async with db.connection() as connection:
        await connection.execute("INSERT INTO nodes (id, name) VALUES ('n1', 'north')")
        await processes.beat(
            connection, NAME, "sender", "n1", [], {"age:claims": 0.2, "age:hints": 14.0, "memory": 58e6}
        )
        await shards.acquire(connection, NAME, None, 300, 60)
    return NAME


async def test_nothing_that_runs_is_said(command: Command) -> None:
    ended = await asyncio.to_thread(command, "process", "list")
    assert (ended.code, "Nothing runs" in ended.out) == (0, True)


async def test_who_runs_is_listed_with_what_is_slow_and_what_nobody_owns(command: Command, sender: str) -> None:
    ended = await asyncio.to_thread(command, "process", "list")
    assert ended.code == 0, ended.err
    for told in (NAME, "sender", "60", "58 MB", "hints 14 s", "4 shards without a sender"):
        assert told in ended.out
    told = json.loads((await asyncio.to_thread(command, "process", "list", "--json")).out)
    assert [(m["process"]["name"], m["shards"]) for m in told] == [(NAME, 60)]


async def test_a_sender_rests_and_works_again(command: Command, db: Database, sender: str) -> None:
    ended = await asyncio.to_thread(command, "process", "drain", NAME)
    assert (ended.code, "rests from now on" in ended.out) == (0, True)
    assert "Draining" in (await asyncio.to_thread(command, "process", "list")).out
    ended = await asyncio.to_thread(command, "process", "resume", NAME, "--json")
    assert json.loads(ended.out) == {"name": NAME, "drained_at": None, "drained_by": None}
    async with db.connection() as connection:
        rows = await connection.fetch("SELECT actor, action, subject FROM audit ORDER BY id")
    assert [(r["actor"].startswith("cli"), r["action"], r["subject"]) for r in rows] == [
        (True, "sender.drain", NAME),
        (True, "sender.resume", NAME),
    ]


async def test_a_sender_that_is_none_is_not_found(command: Command) -> None:
    ended = await asyncio.to_thread(command, "process", "drain", "nobody")
    assert (ended.code, "fleetcast process list" in ended.err) == (3, True)
