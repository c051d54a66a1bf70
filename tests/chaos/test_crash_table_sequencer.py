"""C1 and C14 of the crash table for sequences: a sequencer that fails half-way is followed by one that goes on.

What became of each step is judged by the ledger: every person gets each step once.
"""

from typing import Any

import pytest

from fleetcast.domain.identifiers import LeadId, SequenceId
from fleetcast.failpoints import Fault, Point
from fleetcast.services.enrolments import enrol_people
from fleetcast.services.sequence_actions import activate_sequence
from fleetcast.services.sequence_steps import add_step
from fleetcast.services.sequences import create_sequence
from fleetcast.store.invariants import broken_invariants
from fleetcast.transports.simulator.ledger import Ledger, RecordKind
from tests.chaos.stage import CUT_SHORT, PEOPLE, Stage
from tests.process_tree import eventually

STEPS: tuple[Any, ...] = tuple({"after": "0m" if n == 0 else "1m", "body": f"Step {n}"} for n in range(2))


async def begun(stage: Stage) -> SequenceId:
    """A sequence of two steps, a minute apart, with everybody in it."""
    runtime, workspace = stage.runtime, stage.fleet.workspace.id
    await stage.people(PEOPLE)
    made = await create_sequence(runtime, workspace, {"name": "Welcome"}, actor="test")
    for step in STEPS:
        await add_step(runtime, workspace, made.id, step, actor="test")
    await activate_sequence(runtime, workspace, made.id, even_offline=True, actor="test")
    leads = [LeadId(n) for n in range(1, PEOPLE + 1)]
    await enrol_people(runtime, workspace, made.id, lead_ids=leads, actor="test")
    return made.id


async def everybody_has_each_step_once(stage: Stage, sequence: SequenceId) -> None:
    over = f"SELECT count(*) FROM enrolments WHERE sequence_id = {sequence} AND state = 'completed'"

    async def is_over() -> bool:
        # The minute between the steps need not be waited for.
        due = "SELECT greatest(min(due_at) - fleetcast_now(), interval '0') FROM enrolments WHERE due_at IS NOT NULL"
        if not await stage.value("SELECT EXISTS (SELECT FROM broadcast_messages WHERE is_open)"):
            wait = await stage.value(due)
            async with stage.runtime.db.transaction() as connection:
                await connection.execute("UPDATE shards SET expires_at = expires_at + $1", wait)
                await connection.execute("UPDATE installation SET clock_offset = clock_offset + $1", wait)
        return await stage.value(over) == PEOPLE

    await eventually(is_over, "everybody is through", 120)
    accepted = [r.recipient for r in Ledger.read(stage.fleet.ledger) if r.kind is RecordKind.ACCEPTED]
    assert sorted(accepted) == sorted([f"+6012{n:07}" for n in range(PEOPLE)] * len(STEPS))
    verdict = await stage.fleet.judge()
    assert (verdict.holds, verdict.accepted) == (True, PEOPLE * len(STEPS))
    async with stage.runtime.db.connection() as connection:
        assert await broken_invariants(connection) == []


@pytest.mark.parametrize("fault", CUT_SHORT)
@pytest.mark.parametrize("point", [Point.SEQUENCER_BORN, Point.SEQUENCER_FOLLOWED])
async def test_c01_a_sequencer_that_fails_half_way_is_followed_by_one_that_goes_on(
    stage: Stage, point: Point, fault: Fault
) -> None:
    sequence = await begun(stage)
    async with stage.beside("sender"):
        await stage.meets("scheduler", point, fault)
        await everybody_has_each_step_once(stage, sequence)


async def test_c14_two_sequencers_do_the_work_of_one(stage: Stage) -> None:
    parts = [stage.start(kind) for kind in ("scheduler", "scheduler", "sender", "sender")]
    sequence = await begun(stage)
    await everybody_has_each_step_once(stage, sequence)
    assert [part.process.poll() for part in parts] == [None] * 4
