"""Each guard of T1 to T8u, by an attempt to get past it. Fresh database, real statements."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from fleetcast.domain.identifiers import WorkspaceId
from fleetcast.domain.message import MessageStatus, Outcome, Reason, Resolution
from fleetcast.errors import Unavailable
from fleetcast.store import shards, transitions
from fleetcast.store.connection import Connection, Database, Line
from fleetcast.store.invariants import broken_invariants
from fleetcast.store.transitions import Claim, Evidence, OtherResult, SentResult
from tests.store.broadcast import SENDER, Broadcast, make_broadcast, move_time

GRACE = {"simulator": 10.0}
SUPPRESS_ALL = """INSERT INTO suppressions (workspace_id, recipient, effective_at, source)
SELECT workspace_id, recipient, fleetcast_now(), 'person' FROM broadcast_messages"""


@pytest.fixture
async def connection(db: Database) -> AsyncIterator[Connection]:
    async with db.connection() as connection:
        yield connection


@pytest.fixture
async def cast(connection: Connection, workspace: WorkspaceId) -> Broadcast:
    return await make_broadcast(connection, workspace)


async def status(connection: Connection, message: int) -> str:
    return str(await connection.fetchval("SELECT status::text FROM broadcast_messages WHERE id = $1", message))


async def statuses(connection: Connection) -> dict[str, int]:
    rows = await connection.fetch("SELECT status::text, count(*) FROM broadcast_messages GROUP BY 1")
    return {row[0]: row[1] for row in rows}


# -- T1


async def test_t1_takes_at_most_the_room_of_each_device_in_order(connection: Connection, cast: Broadcast) -> None:
    rows = await transitions.top_up(connection, cast.devices, [2, 1])
    assert sorted(r.id for r in rows) == sorted([cast.messages[0], cast.messages[2], cast.messages[1]])


@pytest.mark.parametrize(
    "obstacle",
    [
        "UPDATE campaigns SET status = 'paused'",
        "UPDATE campaigns SET status = 'cancelled'",
        "UPDATE devices SET state = 'offline'",
        "UPDATE devices SET paused_at = fleetcast_now()",
        "UPDATE devices SET deleted_at = fleetcast_now()",
        "UPDATE broadcast_messages SET not_before = fleetcast_now() + interval '1 minute'",
        "UPDATE broadcast_messages SET expires_at = fleetcast_now()",
        SUPPRESS_ALL,
        "UPDATE shards SET owner = NULL, expires_at = fleetcast_now()",
        "UPDATE shards SET expires_at = fleetcast_now()",
    ],
)
async def test_t1_and_t2_ask_the_same_gate(connection: Connection, cast: Broadcast, obstacle: str) -> None:
    await connection.execute(obstacle)
    assert await transitions.top_up(connection, cast.devices, [10, 10]) == []
    if "not_before" in obstacle:
        return  # a row that was due stays due
    await connection.execute("UPDATE broadcast_messages SET status = 'queued'")
    assert await cast.claim(connection, *cast.messages) == []
    assert await connection.fetchval("SELECT count(*) FROM message_attempts") == 0


async def test_t1_serves_campaigns_of_one_device_in_turn(connection: Connection, workspace: WorkspaceId) -> None:
    large = await make_broadcast(connection, workspace, devices=1, people=30)
    other = await make_broadcast(connection, workspace, devices=1, people=3)
    await connection.execute("SET session_replication_role = replica")
    await connection.execute(
        "UPDATE broadcast_messages SET device_id = $1, shard_id = $3 WHERE device_id = $2",
        large.devices[0],
        other.devices[0],
        large.devices[0] % 64,
    )
    await connection.execute("SET session_replication_role = origin")
    rows = await transitions.top_up(connection, large.devices, [6])
    assert {r.campaign for r in rows} == {large.campaign, other.campaign}
    assert sum(r.campaign == other.campaign for r in rows) == 3


async def test_t1_leaves_a_row_alone_that_somebody_else_has_just_moved(
    db: Database, connection: Connection, cast: Broadcast
) -> None:
    async with db.connection() as other:
        moving = other.transaction()
        await moving.start()
        await other.execute(
            "UPDATE broadcast_messages SET status = 'skipped', reason = 'opt_out', ended_at = fleetcast_now() "
            "WHERE id = $1",
            cast.messages[0],
        )
        await transitions.top_up(other, cast.devices[1:], [1])
        waiting = asyncio.create_task(transitions.top_up(connection, cast.devices, [10, 10]))
        async with db.connection() as third, asyncio.timeout(20):
            while not await third.fetchval("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"):
                pass
        await moving.commit()
        found = [r.id for r in await waiting]
    assert cast.messages[0] not in found
    assert cast.messages[1] not in found, "queued once"
    assert len(found) == len(set(found)) == 4


# -- T2


async def a_claim(connection: Connection, cast: Broadcast) -> Claim:
    row = await connection.fetchrow(
        "SELECT id, shard_id, device_id, campaign_id FROM broadcast_messages WHERE id = $1", cast.messages[0]
    )
    assert row is not None
    return Claim(row[0], row[1], row[2], row[3], 0)


async def test_t2_takes_no_row_for_another_device_or_campaign_than_its_own(
    connection: Connection, cast: Broadcast
) -> None:
    await cast.queue(connection)
    claim = await a_claim(connection, cast)
    for wrong in (
        claim._replace(device=cast.devices[1]),
        claim._replace(device=-1),
        claim._replace(campaign=0),
        claim._replace(campaign=cast.campaign + 1),
    ):
        assert await transitions.claim(connection, [wrong], cast.epochs, SENDER, "x") == []
    assert len(await transitions.claim(connection, [claim], cast.epochs, SENDER, "x")) == 1


async def test_t2_needs_the_current_epoch_of_the_shards_owner(connection: Connection, cast: Broadcast) -> None:
    await cast.queue(connection)
    claim = await a_claim(connection, cast)
    epoch = cast.epochs[claim.shard]
    for wrong, sender in ((epoch - 1, SENDER), (epoch + 1, SENDER), (epoch, "another")):
        assert await transitions.claim(connection, [claim], {claim.shard: wrong}, sender, "x") == []
    assert len(await transitions.claim(connection, [claim], {claim.shard: epoch}, SENDER, "x")) == 1


async def test_t2_gives_a_row_to_one_claim_however_many_ask(db: Database, cast: Broadcast) -> None:
    async with db.connection() as connection:
        await cast.queue(connection)

    async def ask() -> int:
        async with db.connection() as connection:
            return len(await cast.claim(connection, *cast.messages))

    assert sum(await asyncio.gather(*(ask() for _ in range(6)))) == len(cast.messages)


async def test_t2_writes_its_attempt_row_in_the_same_statement(connection: Connection, cast: Broadcast) -> None:
    await cast.queue(connection)
    [claimed] = await cast.claim(connection, cast.messages[0], gap_ms=1234)
    row = await connection.fetchrow("SELECT * FROM message_attempts")
    assert row is not None
    assert (row["message_id"], row["attempt"], row["drawn_gap_ms"], row["sender"]) == (claimed.id, 1, 1234, SENDER)
    assert row["reference"] == f"test-{claimed.id}-1"
    assert row["started_at"].timestamp() == claimed.now
    assert row["finished_at"] is None


async def test_a_takeover_waits_for_a_claim_that_is_just_committing(db: Database, cast: Broadcast) -> None:
    async with db.connection() as claiming, db.connection() as taking:
        await cast.queue(claiming)
        await taking.execute("UPDATE shards SET owner = $1, expires_at = fleetcast_now() + interval '1 hour'", SENDER)
        transaction = claiming.transaction()
        await transaction.start()
        assert len(await cast.claim(claiming, cast.messages[0])) == 1
        shard = await claiming.fetchval("SELECT shard_id FROM broadcast_messages WHERE id = $1", cast.messages[0])
        takeover = asyncio.ensure_future(
            taking.execute("UPDATE shards SET owner = 'new', epoch = epoch + 1 WHERE id = $1", shard)
        )
        async with db.connection() as watching:
            async with asyncio.timeout(10):
                while not await watching.fetchval(
                    "SELECT EXISTS (SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' "
                    "AND query LIKE 'UPDATE shards%' AND datname = current_database())"
                ):
                    assert not takeover.done()
        await transaction.commit()
        await takeover
        found = await shards.orphans(taking, [shard])
        assert list(found.values()) == [[cast.messages[0]]]


# -- T3


async def test_f01_a_result_matches_its_own_attempt_once_and_is_evidence_otherwise(
    connection: Connection, cast: Broadcast
) -> None:
    await cast.queue(connection)
    [c] = await cast.claim(connection, cast.messages[0])
    right = SentResult(c.id, c.attempt, c.epoch, "p", c.now, b"sha")
    wrong = [
        SentResult(c.id, c.attempt + 1, c.epoch, "p", c.now, b"sha"),
        SentResult(c.id, c.attempt, c.epoch - 1, "p", c.now, b"sha"),
    ]
    for result in wrong:
        assert await transitions.record_sent(connection, [result], []) == 0
    assert await status(connection, c.id) == "sending"
    assert await transitions.record_sent(connection, [right], []) == 1
    assert await transitions.record_sent(connection, [right], []) == 0
    assert await status(connection, c.id) == "sent"
    kept = await connection.fetch("SELECT kind, provider_id, reference FROM inbox WHERE processed_at IS NULL")
    assert [tuple(r) for r in kept] == [("accepted", "p", f"test-{c.id}-1")]


async def test_t3_of_a_batch_keeps_only_what_did_not_match(connection: Connection, cast: Broadcast) -> None:
    await cast.queue(connection)
    claimed = await cast.claim(connection, *cast.messages)
    results = [SentResult(c.id, c.attempt, c.epoch, f"p{c.id}", c.now, b"sha") for c in claimed]
    results[2] = SentResult(results[2].id, 1, results[2].epoch - 1, "late", claimed[2].now, b"sha")
    assert await transitions.record_sent(connection, results, []) == len(results) - 1
    assert await connection.fetchval("SELECT array_agg(provider_id) FROM inbox") == ["late"]
    assert await statuses(connection) == {"sent": len(results) - 1, "sending": 1}


@pytest.mark.parametrize(
    ("after", "reason", "outcome"),
    [
        (MessageStatus.FAILED, Reason.NOT_ON_WHATSAPP, Outcome.REFUSED),
        (MessageStatus.PENDING, Reason.RATE_LIMITED, Outcome.NOT_SENT),
        (MessageStatus.IN_DOUBT, Reason.NO_ANSWER, Outcome.UNKNOWN),
    ],
)
async def test_t3_other_ends_finish_the_attempt_and_explain_the_row(
    connection: Connection, cast: Broadcast, after: MessageStatus, reason: Reason, outcome: Outcome
) -> None:
    await cast.queue(connection)
    [c] = await cast.claim(connection, cast.messages[0])
    result = OtherResult(c.id, c.attempt, c.epoch, after, reason, outcome, "463", c.now, "why", delay=60)
    assert await transitions.record_other(connection, [result], []) == 1
    row = await connection.fetchrow("SELECT * FROM broadcast_messages WHERE id = $1", c.id)
    assert row is not None
    assert (row["status"], row["reason"]) == (after, reason)
    assert (row["in_doubt_since"] is not None) == (after is MessageStatus.IN_DOUBT)
    attempt = await connection.fetchrow("SELECT outcome, code, detail, finished_at FROM message_attempts")
    assert attempt is not None
    assert (attempt["outcome"], attempt["code"], attempt["detail"]) == (outcome, "463", "why")
    if after is MessageStatus.PENDING:
        assert row["not_before"].timestamp() >= c.now + 60
        assert await transitions.top_up(connection, cast.devices, [10, 10]) == [], "it is not due yet"
    assert await broken_invariants(connection) == []


# -- T4 to T6


async def test_t4_never_touches_an_open_attempt(connection: Connection, cast: Broadcast) -> None:
    await cast.queue(connection)
    await cast.claim(connection, cast.messages[0])
    assert await transitions.requeue_campaign(connection, cast.campaign) == len(cast.messages) - 1
    assert await statuses(connection) == {"sending": 1, "pending": len(cast.messages) - 1}


async def test_t5_takes_what_a_superseded_owner_left_and_nothing_else(connection: Connection, cast: Broadcast) -> None:
    await cast.queue(connection)
    await cast.claim(connection, cast.messages[0])
    assert await transitions.orphaned(connection, list(range(64)), GRACE) == []
    await connection.execute("UPDATE shards SET epoch = epoch + 1, owner = 'new'")
    assert await transitions.orphaned(connection, list(range(64)), GRACE) == [cast.messages[0]]
    row = await connection.fetchrow("SELECT status::text, crashes, reason FROM broadcast_messages ORDER BY id LIMIT 1")
    assert row is not None
    assert tuple(row) == ("in_doubt", 1, "sender_lost")


async def test_t5_waits_for_the_transports_grace_after_a_lease_that_ended(
    connection: Connection, cast: Broadcast
) -> None:
    await cast.queue(connection)
    await cast.claim(connection, cast.messages[0])
    await connection.execute("UPDATE shards SET expires_at = fleetcast_now() - interval '9 seconds'")
    assert await transitions.orphaned(connection, list(range(64)), GRACE) == []
    await connection.execute("UPDATE shards SET expires_at = fleetcast_now() - interval '11 seconds'")
    assert await transitions.orphaned(connection, list(range(64)), GRACE) == [cast.messages[0]]


async def test_t5_settles_doubt_by_evidence_absence_or_the_end_of_the_window(
    connection: Connection, cast: Broadcast
) -> None:
    await cast.queue(connection)
    doubt = (MessageStatus.IN_DOUBT, Reason.NO_ANSWER, Outcome.UNKNOWN)
    for message in cast.messages[:4]:
        await cast.end(connection, message, *doubt)
    now = await connection.fetchval("SELECT fleetcast_now()")
    proof = Evidence(cast.messages[0], 1, "p", now)
    assert await transitions.confirm_sent(connection, [proof], Resolution.LEDGER) == [cast.messages[0]]
    assert await transitions.confirm_sent(connection, [proof], Resolution.LEDGER) == []
    decisions = [
        (cast.messages[1], 1, MessageStatus.PENDING, Reason.SENDER_LOST),
        (cast.messages[2], 1, MessageStatus.FAILED, Reason.UNCONFIRMED),
        (cast.messages[0], 1, MessageStatus.FAILED, Reason.UNCONFIRMED),  # is sent by now
        (cast.messages[3], 2, MessageStatus.FAILED, Reason.UNCONFIRMED),  # about an attempt that it never made
    ]
    assert len(await transitions.settle_doubt(connection, decisions)) == 2
    assert [await status(connection, m) for m in cast.messages[:4]] == ["sent", "pending", "failed", "in_doubt"]
    assert await broken_invariants(connection) == []


async def test_t6_evidence_of_an_older_attempt_does_not_end_the_one_under_way(
    connection: Connection, cast: Broadcast
) -> None:
    await cast.queue(connection)
    await cast.end(connection, cast.messages[0], MessageStatus.IN_DOUBT, Reason.NO_ANSWER, Outcome.UNKNOWN)
    await transitions.settle_doubt(connection, [(cast.messages[0], 1, MessageStatus.FAILED, Reason.UNCONFIRMED)])
    await transitions.retry_unconfirmed(connection, cast.workspace, [cast.messages[0]])
    await cast.queue(connection)
    assert len(await cast.claim(connection, cast.messages[0])) == 1
    now = await connection.fetchval("SELECT fleetcast_now()")
    old, this = Evidence(cast.messages[0], 1, "p", now), Evidence(cast.messages[0], 2, "p", now)
    assert await transitions.confirm_sent(connection, [old], Resolution.RECEIPT) == []
    assert await transitions.confirm_sent(connection, [this], Resolution.RECEIPT) == [cast.messages[0]]


async def test_t6_a_row_that_waits_again_after_a_persons_retry_is_ended_by_late_evidence(
    connection: Connection, cast: Broadcast
) -> None:
    await cast.queue(connection)
    await cast.end(connection, cast.messages[0], MessageStatus.IN_DOUBT, Reason.NO_ANSWER, Outcome.UNKNOWN)
    await transitions.settle_doubt(connection, [(cast.messages[0], 1, MessageStatus.FAILED, Reason.UNCONFIRMED)])
    assert await transitions.retry_unconfirmed(connection, cast.workspace, [cast.messages[0]]) != []
    now = await connection.fetchval("SELECT fleetcast_now()")
    proof = [Evidence(cast.messages[0], 1, "p", now)]
    assert await transitions.confirm_sent(connection, proof, Resolution.RECEIPT) == [cast.messages[0]]
    assert await broken_invariants(connection) == []


async def test_t6_failure_after_acceptance_keeps_the_time_of_acceptance(
    connection: Connection, cast: Broadcast
) -> None:
    await cast.queue(connection)
    await cast.send(connection, cast.messages[0])
    assert await transitions.fail_later(connection, cast.messages) == 1
    row = await connection.fetchrow("SELECT status::text, sent_at, reason FROM broadcast_messages ORDER BY id LIMIT 1")
    assert row is not None
    assert (row["status"], row["reason"]) == ("failed", "delivery_failed")
    assert row["sent_at"] is not None
    assert await broken_invariants(connection) == []


# -- T7, T8


async def test_f14_rows_end_at_their_deadline_and_not_before(connection: Connection, cast: Broadcast) -> None:
    await connection.execute(
        "UPDATE campaigns SET expires_at = fleetcast_now() + interval '7 days', "
        "created_at = fleetcast_now() - interval '1 year'"
    )
    assert await transitions.expire_campaign(connection, cast.campaign) == 0
    await cast.queue(connection)
    await cast.claim(connection, cast.messages[0])
    await move_time(connection, timedelta(days=7, seconds=1))
    await connection.execute("UPDATE devices SET state = 'offline' WHERE id = $1", cast.devices[1])
    assert await transitions.expire_campaign(connection, cast.campaign) == len(cast.messages) - 1
    rows = await connection.fetch("SELECT reason, count(*) FROM broadcast_messages GROUP BY 1")
    assert {row[0]: row[1] for row in rows} == {None: 1, "expired": 2, "device_offline": 3}
    assert await status(connection, cast.messages[0]) == "sending"


async def test_t7_moves_a_bounded_number_at_a_time(connection: Connection, cast: Broadcast) -> None:
    assert await transitions.cancel_campaign(connection, cast.campaign, limit=4) == 4
    assert await transitions.cancel_campaign(connection, cast.campaign, limit=4) == 2


async def test_t7_a_removed_devices_rows_are_skipped_and_counted(connection: Connection, cast: Broadcast) -> None:
    await cast.queue(connection)
    await connection.execute("UPDATE devices SET deleted_at = fleetcast_now() WHERE id = $1", cast.devices[0])
    assert await transitions.skip_removed(connection, cast.devices[0]) == 3
    tally = await connection.fetchval(
        "SELECT sum(n) FROM campaign_tallies WHERE counter = 'skipped' AND reason = 'device_removed'"
    )
    assert tally == 3
    assert await broken_invariants(connection) == []


async def test_f12_rows_are_skipped_for_an_offline_device_only_where_the_campaign_chose_so(
    connection: Connection, cast: Broadcast
) -> None:
    await connection.execute("UPDATE devices SET state = 'offline', state_since = fleetcast_now() - interval '1 hour'")
    assert await transitions.skip_offline(connection, cast.campaign) == 0
    await connection.execute("UPDATE campaigns SET when_offline = 'skip'")
    assert await transitions.skip_offline(connection, cast.campaign) == len(cast.messages)


async def test_t8_retries_only_what_certainly_was_not_sent(connection: Connection, cast: Broadcast) -> None:
    await cast.queue(connection)
    await cast.send(connection, cast.messages[0])
    await cast.end(connection, cast.messages[1], MessageStatus.FAILED, Reason.NOT_ON_WHATSAPP, Outcome.REFUSED)
    await cast.end(connection, cast.messages[2], MessageStatus.IN_DOUBT, Reason.NO_ANSWER, Outcome.UNKNOWN)
    await transitions.settle_doubt(connection, [(cast.messages[2], 1, MessageStatus.FAILED, Reason.UNCONFIRMED)])
    await cast.end(connection, cast.messages[3], MessageStatus.IN_DOUBT, Reason.NO_ANSWER, Outcome.UNKNOWN)
    retried = await transitions.retry_certain(connection, cast.workspace, cast.campaign)
    assert len(retried) == 1
    assert [await status(connection, m) for m in cast.messages[:4]] == ["sent", "pending", "failed", "in_doubt"]
    assert await broken_invariants(connection) == []


async def test_t8_leaves_the_suppressed_and_other_workspaces_alone(connection: Connection, cast: Broadcast) -> None:
    await transitions.cancel_campaign(connection, cast.campaign, limit=0)
    await transitions.skip_people(connection, cast.workspace, [cast.phones[0]])
    assert await status(connection, cast.messages[0]) == "skipped"
    await connection.execute(
        "INSERT INTO suppressions (workspace_id, recipient, effective_at, source) "
        "VALUES ($1, $2, fleetcast_now(), 'person')",
        cast.workspace,
        cast.phones[0],
    )
    assert await transitions.retry_certain(connection, cast.workspace, cast.campaign) == []
    await connection.execute("DELETE FROM suppressions")
    assert await transitions.retry_certain(connection, cast.workspace + 1, cast.campaign) == []
    assert len(await transitions.retry_certain(connection, cast.workspace, cast.campaign)) == 1


async def test_a_line_that_was_lost_says_so_and_is_made_anew(db: Database) -> None:
    line = Line(db, hot=True, application="test")
    pid = await line.run(lambda c: c.fetchval("SELECT pg_backend_pid()"))
    with pytest.raises(Unavailable, match="does not answer"):
        await line.run(lambda c: c.execute("SELECT pg_terminate_backend(pg_backend_pid())"))
    assert await line.run(lambda c: c.fetchval("SELECT pg_backend_pid()")) != pid
    await line.close()
