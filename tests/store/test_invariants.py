"""Every invariant holds on a broadcast moved by the real transitions, and each check sees its promise broken."""

from dataclasses import dataclass
from datetime import timedelta

import pytest

from fleetcast.domain.identifiers import WorkspaceId
from fleetcast.domain.message import MessageStatus, Outcome, Reason
from fleetcast.services.suppressions import suppress
from fleetcast.store import transitions
from fleetcast.store.connection import Connection, Database
from fleetcast.store.invariants import CHECKS, SEQUENCE_CHECKS, SHOWN, broken, broken_invariants
from tests.store.broadcast import Broadcast, make_broadcast, move_time


async def a_mixed_broadcast(connection: Connection, workspace: WorkspaceId) -> Broadcast:
    """One row of each kind of end, one pending after a refusal, one in doubt and one being sent."""
    made = await make_broadcast(connection, workspace, devices=2, people=10)
    m = made.messages
    await made.queue(connection)
    await made.send(connection, m[0], m[1], m[2], m[3])
    await made.end(connection, m[4], MessageStatus.FAILED, Reason.NOT_ON_WHATSAPP, Outcome.REFUSED)
    await made.end(connection, m[5], MessageStatus.PENDING, Reason.DISCONNECTED, Outcome.NOT_SENT)
    await suppress(connection, workspace, made.phones[6], "reply")
    await made.end(connection, m[7], MessageStatus.IN_DOUBT, Reason.NO_ANSWER, Outcome.UNKNOWN)
    await made.claim(connection, m[8])
    return made


async def statuses(connection: Connection, made: Broadcast) -> list[str]:
    rows = await connection.fetch(
        "SELECT status::text FROM broadcast_messages WHERE campaign_id = $1 ORDER BY id", made.campaign
    )
    return [r["status"] for r in rows]


async def test_every_promise_holds_on_a_broadcast_moved_by_the_transitions(
    db: Database, workspace: WorkspaceId
) -> None:
    async with db.connection() as connection:
        made = await a_mixed_broadcast(connection, workspace)
        assert await statuses(connection, made) == [
            *["sent"] * 4,
            "failed",
            "pending",
            "skipped",
            "in_doubt",
            "sending",
            "queued",
        ]
        assert await broken_invariants(connection) == []


async def test_every_promise_holds_on_an_empty_database(db: Database) -> None:
    async with db.connection() as connection:
        assert await broken_invariants(connection) == []


@dataclass(frozen=True)
class Damage:
    """How to break one promise. `m0` to `m9` in the statements stand for the messages, `d0`, `d1` for the devices."""

    check: str
    statements: tuple[str, ...]
    about: str
    """What the violation must name."""


def damage(check: str, about: str, *statements: str) -> Damage:
    return Damage(check, statements, about)


DAMAGES = [
    damage(
        "counts of campaigns are those of their rows",
        "sent: 4 rows, counted 5",
        "INSERT INTO campaign_tallies SELECT campaign_id, 1, 'sent' FROM broadcast_messages WHERE id = m0",
    ),
    damage(
        "counts of campaigns are those of their rows",
        "skipped (expired): 0 rows, counted 1",
        "UPDATE campaign_tallies SET reason = 'expired' WHERE counter = 'skipped'",
    ),
    damage(
        "counts of campaigns are those of their rows",
        "read: 1 rows, counted 0",
        "UPDATE broadcast_messages SET delivery = 'read', delivered_at = sent_at, read_at = sent_at WHERE id = m0",
    ),
    damage(
        "one copy a person and campaign",
        "was planned 2 times",
        "UPDATE broadcast_messages b SET recipient = o.recipient "
        "FROM broadcast_messages o WHERE b.id = m0 AND o.id = m1",
    ),
    damage(
        "keys are unique",
        "share the key",
        "DROP INDEX broadcast_messages_dedupe",
        "UPDATE broadcast_messages SET dedupe_key = 'c:1:x' WHERE id IN (m0, m1)",
    ),
    damage(
        "provider ids are unique per device",
        "share provider id",
        "DROP INDEX broadcast_messages_provider",
        "UPDATE broadcast_messages SET provider_id = 'same' WHERE id IN (m0, m2)",
    ),
    damage("references are unique", "share the reference", "UPDATE message_attempts SET reference = 'same'"),
    damage(
        "every status is explained", "without an open attempt row", "DELETE FROM message_attempts WHERE message_id = m8"
    ),
    damage(
        "every status is explained",
        "is sent, but not by what",
        "UPDATE broadcast_messages SET resolution = NULL WHERE id = m0",
    ),
    damage(
        "every status is explained",
        "is in doubt, but not since when",
        "UPDATE broadcast_messages SET in_doubt_since = NULL WHERE id = m7",
    ),
    damage(
        "every status is explained",
        "waits again, but attempt 1",
        "UPDATE broadcast_messages SET status = 'pending' WHERE id = m0",
    ),
    damage(
        "nothing crosses workspaces",
        "message m0",
        "INSERT INTO workspaces (name) VALUES ('Other')",
        "UPDATE devices SET workspace_id = (SELECT id FROM workspaces WHERE name = 'Other') WHERE id = d0",
    ),
    damage(
        "nothing crosses workspaces",
        "message m3",
        "UPDATE broadcast_messages SET lead_id = (SELECT lead_id FROM broadcast_messages WHERE id = m0) WHERE id = m3",
    ),
    damage(
        "nobody is written to after a stop",
        "message m0",
        "INSERT INTO suppressions (workspace_id, recipient, effective_at, source) "
        "SELECT b.workspace_id, b.recipient, a.started_at - interval '1 second', 'reply' "
        "FROM broadcast_messages b JOIN message_attempts a ON a.message_id = b.id WHERE b.id = m0",
    ),
    damage(
        "attempts of a device keep their gaps",
        "drawn were 60000 ms",
        "UPDATE message_attempts SET drawn_gap_ms = 60000 WHERE message_id = m2",
    ),
    damage(
        "attempts of a device keep their gaps",
        "before another had ended",
        "UPDATE broadcast_messages SET finished_at = finished_at + interval '1 hour' WHERE id = m0",
    ),
    damage(
        "attempts of a device keep their gaps",
        "while another was open",
        "UPDATE message_attempts SET started_at = started_at - interval '1 hour' WHERE message_id = m8",
    ),
    damage(
        "linked devices have one open attempt a person",
        "are open at once for",
        "UPDATE devices SET transport = 'linked'",
        "UPDATE broadcast_messages SET status = 'in_doubt', in_doubt_since = fleetcast_now(), "
        "recipient = (SELECT recipient FROM broadcast_messages WHERE id = m8) WHERE id = m0",
    ),
    damage(
        "epochs never fall",
        "message m2",
        "UPDATE shards SET epoch = 9",
        "UPDATE message_attempts SET lease_epoch = 9 WHERE message_id = m0",
    ),
    damage(
        "no epoch is ahead of its shard", "message m0", "UPDATE broadcast_messages SET lease_epoch = 7 WHERE id = m0"
    ),
    damage(
        "ends and deliveries are dated", "without a reason", "UPDATE broadcast_messages SET reason = NULL WHERE id = m6"
    ),
    damage(
        "ends and deliveries are dated",
        "is failed, but not since when",
        "UPDATE broadcast_messages SET ended_at = NULL WHERE id = m4",
    ),
    damage(
        "ends and deliveries are dated",
        "was never sent",
        "UPDATE broadcast_messages SET delivery = 'delivered', delivered_at = finished_at WHERE id = m4",
    ),
    damage(
        "ends and deliveries are dated",
        "carries the time of an end",
        "UPDATE broadcast_messages SET status = 'pending' WHERE id = m6",
    ),
    damage(
        "ends and deliveries are dated",
        "is read on the phone, but not since when",
        "UPDATE broadcast_messages SET delivery = 'read' WHERE id = m0",
    ),
    damage(
        "the guards are in place", "guard transitions", "ALTER TABLE broadcast_messages DISABLE TRIGGER transitions"
    ),
    damage("the guards are in place", "guard birth", "DROP TRIGGER birth ON broadcast_messages"),
    damage(
        "nothing stays in sending",
        "message m8",
        "UPDATE shards SET expires_at = fleetcast_now() - interval '2 minutes'",
        "UPDATE broadcast_messages SET claimed_at = fleetcast_now() - interval '3 minutes' WHERE id = m8",
    ),
    damage(
        "nothing stays in sending",
        "message m8",
        "UPDATE broadcast_messages SET claimed_at = fleetcast_now() - interval '11 minutes' WHERE id = m8",
    ),
    damage(
        "nothing stays queued",
        "message m9",
        "UPDATE broadcast_messages SET queued_at = fleetcast_now() - interval '11 minutes' WHERE id = m9",
    ),
    damage(
        "nothing waits past its own end",
        "message m9",
        "UPDATE broadcast_messages SET campaign_id = NULL, expires_at = fleetcast_now() - interval '11 minutes' "
        "WHERE id = m9",
    ),
    damage(
        "nothing stays in doubt",
        "message m7",
        "UPDATE broadcast_messages SET in_doubt_since = fleetcast_now() - interval '2 hours' WHERE id = m7",
    ),
]


async def test_a_lost_sender_that_had_begun_another_attempt_had_ended_the_one_before(
    db: Database, workspace: WorkspaceId
) -> None:
    async with db.connection() as connection:
        made = await make_broadcast(connection, workspace, devices=1, people=3)
        await made.queue(connection)
        for message in made.messages[:2]:  # the answer to the first had come, and was never committed
            await made.claim(connection, message)
        await connection.execute("UPDATE shards SET epoch = epoch + 1")
        made.epochs = {shard: epoch + 1 for shard, epoch in made.epochs.items()}
        assert len(await transitions.orphaned(connection, list(made.epochs), {"simulator": 10.0})) == 2
        assert await broken_invariants(connection) == []
        await made.claim(connection, made.messages[2])
        await connection.execute(
            "UPDATE message_attempts SET started_at = started_at - interval '1 second' WHERE message_id = $1",
            made.messages[2],
        )
        await connection.execute(
            "UPDATE message_attempts SET started_at = started_at - interval '2 seconds' WHERE message_id <> $1",
            made.messages[2],
        )
        [found] = await broken_invariants(connection)  # a successor must have waited for T5
        assert (found.invariant, "before another had ended" in found.what) == (6, True)


@pytest.mark.parametrize("harm", DAMAGES, ids=lambda d: f"{d.check}: {d.about}")
async def test_each_check_sees_its_promise_broken(db: Database, workspace: WorkspaceId, harm: Damage) -> None:
    async with db.connection() as connection:
        made = await a_mixed_broadcast(connection, workspace)
        names = {f"m{i}": str(m) for i, m in enumerate(made.messages)} | {
            f"d{i}": str(d) for i, d in enumerate(made.devices)
        }
        [check] = [c for c in CHECKS if c.name == harm.check]
        before = await broken(connection, check)
        harming = connection.transaction()
        await harming.start()
        try:
            await connection.execute("SET LOCAL session_replication_role = replica")  # the guards would refuse
            for statement in harm.statements:
                for name, value in names.items():
                    statement = statement.replace(name, value)
                await connection.execute(statement)
            found = await broken(connection, check)
        finally:
            await harming.rollback()
    about = harm.about
    for name, value in names.items():
        about = about.replace(name, value)
    assert before == []
    assert found
    assert {v.invariant for v in found} == {check.invariant}
    assert any(about in f"{v.subject}: {v.what}" for v in found), found


def test_every_check_is_broken_on_purpose_by_some_test() -> None:
    assert {c.name for c in CHECKS} - {c.name for c in SEQUENCE_CHECKS} == {d.check for d in DAMAGES}
    assert {c.invariant for c in CHECKS} == {1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12}


async def test_slow_pacing_and_a_stopped_fleet_are_reasons_to_stay_queued(db: Database, workspace: WorkspaceId) -> None:
    async with db.connection() as connection:
        made = await make_broadcast(connection, workspace, devices=1, people=2)
        await made.queue(connection)
        await move_time(connection, timedelta(minutes=30))
        assert {v.invariant for v in await broken_invariants(connection)} == {10}
        await connection.execute("UPDATE devices SET min_delay = 600, max_delay = 900")
        assert await broken_invariants(connection) == []
        await connection.execute("UPDATE devices SET min_delay = 0, max_delay = 0")
        await connection.execute("UPDATE shards SET expires_at = fleetcast_now() - interval '1 hour'")
        assert await broken_invariants(connection) == []


async def test_a_check_names_a_bounded_number_of_rows(db: Database, workspace: WorkspaceId) -> None:
    async with db.connection() as connection:
        await make_broadcast(connection, workspace, devices=2, people=SHOWN + 20)
        await connection.execute("SET session_replication_role = replica")
        await connection.execute("UPDATE broadcast_messages SET ended_at = fleetcast_now()")
        await connection.execute("RESET session_replication_role")
        assert len(await broken_invariants(connection)) == SHOWN


async def test_a_retry_by_a_person_breaks_no_promise(db: Database, workspace: WorkspaceId) -> None:
    async with db.connection() as connection:
        made = await a_mixed_broadcast(connection, workspace)
        doubted = made.messages[7]
        await transitions.settle_doubt(connection, [(doubted, 1, MessageStatus.FAILED, Reason.UNCONFIRMED)])
        await transitions.retry_certain(connection, workspace, made.campaign)
        await transitions.retry_unconfirmed(connection, workspace, [doubted])
        assert (await statuses(connection, made)).count("pending") == 3
        assert await broken_invariants(connection) == []
