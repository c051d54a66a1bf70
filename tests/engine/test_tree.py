"""The process tree itself: what becomes of a part that cannot live. Its life as a whole is tested in `tests/chaos`."""

import asyncio
import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs

from fleetcast.engine.tree import PAUSES, Tree
from fleetcast.errors import ConfigurationError, Unavailable
from fleetcast.settings import Settings
from fleetcast.store.connection import Database
from tests.running import until

Grow = Callable[..., Tree]


@pytest.fixture
def grow(database_url: str, redis_url: str, short_directory: Path, tmp_path_factory: pytest.TempPathFactory) -> Grow:
    """Trees on the servers of the tests, with some of the parts."""

    def tree(*parts: str, **settings: object) -> Tree:
        given: dict[str, object] = {
            "database_url": SecretStr(database_url),
            "redis_url": SecretStr(redis_url),
            "data": tmp_path_factory.mktemp("tree"),
        }
        return Tree(Settings(**(given | settings)), parts=parts)  # type: ignore[arg-type]

    return tree


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that somebody else has."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


async def watching(tree: Tree, condition: Callable[[], bool]) -> None:
    """Watch over a started tree until something is so."""
    stop = asyncio.Event()

    async def holds() -> bool:
        assert not watch.done() or watch.exception() is None, watch.exception()
        return condition()

    watch = asyncio.create_task(tree.watch(stop), name="watch")
    try:
        await until(holds)
    finally:
        stop.set()
        await asyncio.wait([watch])
    watch.result()


async def test_a_part_that_dies_at_once_is_started_again_after_growing_pauses(grow: Grow) -> None:
    with capture_logs() as logs, grow("no-such-part") as tree:
        tree.start_servers()
        tree.start_parts()

        def deaths() -> list[float]:
            return [entry["seconds"] for entry in logs if entry.get("part") == "no-such-part"]

        await watching(tree, lambda: len(deaths()) >= 3)
        assert deaths()[:3] == list(PAUSES[:3])
        assert "simulator" in tree.pids(), "the rest of the tree lives on"


async def test_a_part_that_cannot_run_here_ends_the_tree_with_its_own_sentence(grow: Grow, taken: int) -> None:
    with grow("web", port=taken) as tree:
        tree.start_servers()
        tree.start_parts()
        with pytest.raises(ConfigurationError, match=f"^Port {taken} on 127.0.0.1 is in use: set PORT to a free one"):
            async with asyncio.timeout(30):
                await tree.watch(asyncio.Event())


async def test_a_simulator_that_cannot_start_ends_the_start_and_leaves_nothing(grow: Grow) -> None:
    with grow("scheduler") as tree:
        tree.start_servers()
        tree.ledger.write_text("not a record\n")
        with pytest.raises(Unavailable, match="Line 1 of the ledger"):
            tree.start_parts()
        assert tree.pids() == {}


async def test_senders_are_added_and_drained_and_one_that_was_let_go_is_not_started_again(
    grow: Grow, database_url: str
) -> None:
    async def owners() -> int:
        async with Database(database_url) as db, db.connection() as connection:
            return int(await connection.fetchval("SELECT count(DISTINCT owner) FROM shards WHERE owner IS NOT NULL"))

    async def shared_by(tree: Tree, many: int) -> None:
        stop = asyncio.Event()
        watch = asyncio.create_task(tree.watch(stop), name="watch")

        async def so() -> bool:
            return await owners() == many and sum("sender" in name for name in tree.pids()) == many

        try:
            await until(so)
        finally:
            stop.set()
            await watch

    with grow("sender") as tree:
        tree.start_servers()
        tree.start_parts()
        await shared_by(tree, 1)
        tree.scale(3)
        await shared_by(tree, 3)
        tree.scale(1)
        await shared_by(tree, 1)
        assert tree.senders == 1
        assert list(tree.pids()) == ["sender", "simulator"]


async def test_a_simulator_that_dies_while_it_is_started_again_is_tried_again(grow: Grow) -> None:
    with grow() as tree:
        tree.start_servers()
        tree.start_parts()
        os.kill(tree.pids()["simulator"], signal.SIGKILL)
        kept = tree.ledger.read_text()
        tree.ledger.write_text("not a record\n")
        with capture_logs() as said:
            await watching(tree, lambda: any("does not start" in line["event"] for line in said))
        tree.ledger.write_text(kept)
        await watching(tree, lambda: "simulator" in tree.pids())
