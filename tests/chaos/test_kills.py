"""`kill -9` of any process at any moment, and a restart: nothing is lost, nothing goes out twice.

The moments and their order come from a seed that is printed; `FLEETCAST_TEST_SEED` plays one again. The judge is the
simulator's ledger: once through the demo's own verdict, once read here as plainly as possible.
"""

import asyncio
import os
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random
from uuid import uuid4

import asyncpg
import pytest

from fleetcast.embedded.servers import EmbeddedServers
from fleetcast.transports.simulator.behaviour import SendOutcome
from fleetcast.transports.simulator.control import SimulatorControl
from fleetcast.transports.simulator.ledger import Ledger, LedgerSummary, RecordKind
from tests.process_tree import ProcessTree, eventually, home_of_its_own, processes_of

KINDS = ("sender", "scheduler", "simulator", "postgres", "valkey", "parent")
ROUNDS = 2
LEASE = "2"
"""Seconds; a killed sender's shards have a new owner soon."""


@pytest.fixture
def home(short_directory: Path) -> Iterator[Path]:
    with home_of_its_own(short_directory, uuid4().hex[:8]) as home:
        yield home


@pytest.fixture
def seed() -> int:
    """Of this run's kills, named by every failure."""
    chosen = int(os.environ.get("FLEETCAST_TEST_SEED") or int.from_bytes(os.urandom(3), "big"))
    print(f"FLEETCAST_TEST_SEED={chosen}")
    return chosen


def demo(home: Path, leads: int, *, devices: int = 10, delays: tuple[float, float] = (0.1, 0.2)) -> ProcessTree:
    sizes = ("--devices", str(devices), "--leads", str(leads))
    pace = ("--min-delay", str(delays[0]), "--max-delay", str(delays[1]))
    return ProcessTree(home, "demo", "--json", *sizes, *pace, FLEETCAST_LEASE_SECONDS=LEASE)


async def to_its_end(run: ProcessTree, leads: int) -> dict[str, int]:
    """Wait for the verdict, check it and the ledger itself; returns the statuses."""
    assert await run.hastened_end() == 0, run.out + run.err
    result = run.result()
    verdict = result["ledger"]
    assert (result["status"], result["violations"]) == ("finished", [])
    assert (verdict["twice"], verdict["lost"], verdict["unknown"]) == ([], [], [])
    assert result["planned"] == sum(result["by_status"].values()) == leads
    assert set(result["by_status"]) <= {"sent", "failed", "skipped"}
    assert "unconfirmed" not in result["by_reason"].get("failed", {}), "the simulator's ledger settles every doubt"
    records = list(Ledger.read(run.ledger))
    summary = LedgerSummary.of(records)
    assert (summary.duplicates, summary.accepted_after_seal) == ({}, ())
    people = Counter(record.recipient for record in records if record.kind is RecordKind.ACCEPTED)
    assert [recipient for recipient, times in people.items() if times > 1] == []
    assert people.total() == verdict["accepted"] == result["by_status"]["sent"]
    return dict(result["by_status"])


async def all_gone(home: Path, seconds: float) -> None:
    try:
        await eventually(lambda: not processes_of(home), "no process is left", seconds)
    except AssertionError as error:
        raise AssertionError(f"{error}: {processes_of(home)}") from None


async def ask_at_rest(run: ProcessTree, question: str) -> int:
    """One number from the database of a stopped tree."""
    with EmbeddedServers(run.data, valkey=False) as servers:
        connection = await asyncpg.connect(servers.database_url)
        try:
            return int(await connection.fetchval(question))
        finally:
            await connection.close()


@pytest.mark.timeout(600)
async def test_kills_of_every_process_lose_nothing_and_double_nothing(home: Path, seed: int) -> None:
    random, leads = Random(seed), 1_000
    victims = [kind for _ in range(ROUNDS) for kind in random.sample(KINDS, len(KINDS))]
    run, killed = demo(home, leads), Counter[str]()
    try:
        # Once while everything is being set up: database, devices, leads, launch.
        begun, moment = asyncio.get_running_loop().time(), random.uniform(0.0, 6.0)
        await eventually(lambda: asyncio.get_running_loop().time() - begun >= moment, "the moment comes")
        run = await killed_parent(run, random, leads)
        for victim in victims:
            await run.has_accepted(run.accepted() + random.randint(1, 25), seconds=90)
            if victim == "parent":
                run = await killed_parent(run, random, leads)
            else:
                (child := await run.child(victim)).kill()
                if random.random() < 0.5:  # else the next kill meets a tree that is just mending itself
                    await eventually(lambda: not child.is_running(), f"{victim} is gone")
                    await run.child(victim)
            killed[victim] += 1
        statuses = await to_its_end(run, leads)
        assert run.result()["resumed"]
    except AssertionError as error:
        raise AssertionError(f"FLEETCAST_TEST_SEED={seed}, after {dict(killed)} of {victims}: {error}") from error
    print(f"kills: {dict(killed)}; {statuses}")
    await all_gone(home, 10)


async def killed_parent(run: ProcessTree, random: Random, leads: int) -> ProcessTree:
    """The parent dies; the same command is typed again, at once or when its children are gone."""
    await run.end(signal.SIGKILL)
    if random.random() < 0.5:
        await all_gone(run.home, 30)
    return demo(run.home, leads)


async def test_a_stopped_and_a_killed_tree_leave_no_process_and_go_on_at_the_next_start(home: Path) -> None:
    leads, progress = 400, 0
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGKILL):
        run = demo(home, leads)
        await run.has_accepted(progress + 30)
        code = await run.end(number, seconds=25)
        if number is signal.SIGKILL:
            await all_gone(home, 30)
        else:
            assert code == 130
            assert processes_of(home) == [], "whoever asks the parent to stop has waited for all when it ends"
            assert await ask_at_rest(run, "SELECT count(*) FROM broadcast_messages WHERE status = 'sending'") == 0
            assert await ask_at_rest(run, "SELECT count(*) FROM shards WHERE owner IS NOT NULL") == 0
        progress = run.accepted()
        assert progress < leads * 0.9, "it was stopped in the middle"
    run = demo(home, leads)
    await to_its_end(run, leads)
    assert run.result()["resumed"]


async def test_a_sender_killed_with_answers_outstanding_leaves_doubt_that_the_ledger_settles(home: Path) -> None:
    leads, slow, silent = 120, 3, 2
    run = demo(home, leads)
    await run.has_accepted(10)
    async with SimulatorControl(run.data / "run" / "simulator.sock") as simulator:
        await simulator.behave(delivered=0.0)  # a receipt would be evidence, too
        before = (await simulator.stats())["counts"].get("no_answer_accepted", 0)
        await simulator.force(SendOutcome.SLOW, count=slow)
        await simulator.force(SendOutcome.NO_ANSWER_ACCEPTED, count=silent)

        async def outstanding() -> bool:
            stats = await simulator.stats()
            return bool(stats["held"] == slow and stats["counts"].get("no_answer_accepted", 0) - before == silent)

        await eventually(outstanding, "five sends wait for their answers", 30)
        (await run.child("sender")).kill()
    await to_its_end(run, leads)
    settled = await ask_at_rest(run, "SELECT count(*) FROM broadcast_messages WHERE resolution = 'ledger'")
    assert settled >= slow + silent
