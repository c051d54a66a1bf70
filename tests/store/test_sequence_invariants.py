"""Each promise about sequences holds on real ones, and each check sees its promise broken."""

from dataclasses import dataclass
from datetime import timedelta

import pytest

from fleetcast.domain.identifiers import WorkspaceId
from fleetcast.runtime import Runtime
from fleetcast.store import sequence_tallies
from fleetcast.store.invariants import SEQUENCE_CHECKS, broken
from tests.sequence_scene import AT_ONCE, SequenceScene


@dataclass(frozen=True)
class Damage:
    """What breaks a promise, and what is said of it."""

    check: str
    statements: tuple[str, ...]
    about: str


DAMAGES = (
    Damage(
        "counts of sequences are those of their rows",
        ("UPDATE broadcast_messages SET status = 'failed', reason = 'poison' WHERE id = (SELECT min(id) FROM m)",),
        "failed poison: 1 rows, counted 0",
    ),
    Damage(
        "counts of sequences are those of their rows",
        ("UPDATE enrolments SET state = 'completed', due_at = NULL, ended_at = now() WHERE id = 1",),
        "completed : 1 rows, counted 0",
    ),
    Damage(
        "sums of sequences are those of their devices",
        ("UPDATE sequence_sums SET n = n + 1 WHERE device_id = 0 AND counter = 'sent'",),
        "sent  of step",
    ),
    Damage(
        "one step a person is under way",
        ("UPDATE broadcast_messages SET enrolment_id = enrolment_id + 1 WHERE id IN (SELECT id FROM m WHERE is_open)",),
        "is pending, but the enrolment names",
    ),
    Damage(
        "a person is in a sequence once at a time",
        ("DROP INDEX enrolments_active", "UPDATE enrolments SET recipient = '+60120000001'"),
        "is in it 3 times",
    ),
    Damage(
        "steps are made in order",
        ("UPDATE broadcast_messages SET created_at = '2020-01-01' WHERE id IN (SELECT id FROM m WHERE is_open)",),
        "had ended",
    ),
    Damage(
        "steps go out from the lead's own device",
        ("UPDATE broadcast_messages SET device_id = device_id + 1 WHERE id = (SELECT min(id) FROM m)",),
        "is of device 2, the enrolment of 1, the lead of 1",
    ),
    Damage(
        "everybody in a sequence goes on",
        ("UPDATE enrolments SET message_id = NULL, due_at = NULL",),
        "nothing is due and nothing is under way",
    ),
    Damage(
        "steps keep their windows",
        ("UPDATE broadcast_messages SET expires_at = expires_at - interval '9 days'",),
        "late",
    ),
    Damage(
        "nobody gets a step after a stop",
        ("UPDATE enrolments SET state = 'stopped', stop_reason = 'replied', due_at = NULL, ended_at = '2020-01-01'",),
        "after its person was stopped",
    ),
)


@pytest.fixture
async def scene(runtime: Runtime, workspace: WorkspaceId) -> SequenceScene:
    """Three people who had a step, one of whom has the next one waiting."""
    made = SequenceScene(runtime, workspace)
    device = await made.add_device()
    await made.add_device()
    leads = [await made.add_lead(device, f"+6012000000{n}") for n in range(3)]
    sequence = await made.sequence([AT_ONCE, {"after": "1d", "body": "More"}])
    await made.enrol(sequence, leads[0])
    await made.work()
    await made.deliver()
    await made.work()
    await made.move(timedelta(hours=1))
    await made.enrol(sequence, *leads[1:])
    await made.work()
    await made.deliver()
    await made.move(timedelta(hours=23, minutes=30))
    await made.work()
    async with runtime.db.transaction() as connection:
        await sequence_tallies.fold(connection, 0)
    return made


async def test_every_promise_holds_on_real_sequences(scene: SequenceScene) -> None:
    assert sorted(r["status"] for r in await scene.fetch("SELECT status::text FROM broadcast_messages")) == [
        "pending",
        *["sent"] * 3,
    ]
    await scene.all_promises_hold()


@pytest.mark.parametrize("harm", DAMAGES, ids=lambda d: f"{d.check}: {d.about}")
async def test_each_check_sees_its_promise_broken(scene: SequenceScene, harm: Damage) -> None:
    [check] = [c for c in SEQUENCE_CHECKS if c.name == harm.check]
    async with scene.runtime.db.connection() as connection:
        assert await broken(connection, check) == []
        harming = connection.transaction()
        await harming.start()
        try:
            await connection.execute("SET LOCAL session_replication_role = replica")  # the guards would refuse
            await connection.execute(
                "CREATE TEMPORARY VIEW m AS SELECT id, is_open FROM broadcast_messages WHERE sequence_id IS NOT NULL"
            )
            for statement in harm.statements:
                await connection.execute(statement)
            found = await broken(connection, check)
        finally:
            await harming.rollback()
    assert any(harm.about in f"{v.subject}: {v.what}" for v in found), found


def test_every_check_is_broken_on_purpose_by_some_test() -> None:
    assert {c.name for c in SEQUENCE_CHECKS} == {d.check for d in DAMAGES}
