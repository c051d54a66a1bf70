"""The queue as a whole, by steps in any order: a state machine over the real database, judged by the world outside.

`FLEETCAST_MODEL_EXAMPLES` sets how many runs are made. A failure prints the shortest sequence of steps that shows it,
and how to run the same ones again.
"""

import asyncio
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from fleetcast.queue.client import connect
from fleetcast.queue.keys import Keys
from fleetcast.queue.nudges import Nudges
from fleetcast.runtime import Runtime
from fleetcast.settings import Settings
from fleetcast.store import planning, retention
from fleetcast.store.connection import Database
from tests.models.machines import Machines
from tests.models.play import Stage
from tests.models.races import Races

EXAMPLES = int(os.environ.get("FLEETCAST_MODEL_EXAMPLES", "20"))
STEPS = 40
SMALL_CHUNK = 2
"""Leads of a window and rows of a chunk, so that even these few make several."""


class QueueModel(Machines, Races):
    """All rules."""


@pytest.fixture
def stage(
    database_url: str, redis_url: str, short_directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Stage]:
    """A database, opened in a loop of its own that is driven step by step."""
    monkeypatch.setattr(planning, "CHUNK", SMALL_CHUNK)
    monkeypatch.setattr(planning, "SIDE_BY_SIDE", 1)  # or the order of ids would be left to chance
    monkeypatch.setattr(retention, "CHUNK", SMALL_CHUNK)
    loop = asyncio.new_event_loop()
    own = Settings(database_url=database_url, redis_url=redis_url, redis_prefix="model", data=tmp_path)
    keys, redis, db = Keys(own.redis_prefix), connect(redis_url), Database(database_url)
    loop.run_until_complete(db.__aenter__())
    try:
        yield Stage(loop, Runtime(own, db, redis, keys, Nudges(redis, keys)))
    finally:
        loop.run_until_complete(redis.aclose())
        loop.run_until_complete(db.__aexit__(None, None, None))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


@pytest.mark.timeout(0)  # each step has a limit of its own
def test_whatever_happens_in_whatever_order_every_promise_holds(stage: Stage, request: pytest.FixtureRequest) -> None:
    given = request.config.getoption("hypothesis_seed")
    number = secrets.randbits(32) if given is None else int(given)
    print(
        f"The same runs again: FLEETCAST_MODEL_EXAMPLES={EXAMPLES} python -m pytest tests/models "
        f"--hypothesis-seed={number}"
    )
    machine = seed(number)(type("QueueModel", (QueueModel,), {"stage": stage}))
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            database=None,
            print_blob=True,
            phases=(Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck),
        ),
    )
