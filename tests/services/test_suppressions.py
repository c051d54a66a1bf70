"""Suppression: who is on the list, what ends with it, and that no claim follows it."""

import asyncio

import pytest

from fleetcast.domain.identifiers import Phone, WorkspaceId
from fleetcast.errors import InvalidInput, NotFound
from fleetcast.runtime import Runtime
from fleetcast.services.suppressions import (
    add_suppression,
    find_suppression,
    lift_suppression,
    list_suppressions,
    suppress,
    suppress_refusals,
)
from fleetcast.services.workspaces import create_workspace
from fleetcast.store import suppressions
from fleetcast.store.connection import Connection
from fleetcast.store.invariants import broken_invariants
from fleetcast.store.workspaces import Workspace, by_id
from tests.store.broadcast import make_broadcast


@pytest.fixture
async def shop(runtime: Runtime, workspace: WorkspaceId) -> Workspace:
    async with runtime.db.connection() as connection:
        found = await by_id(connection, workspace)
    assert found is not None
    return found


async def outcomes(connection: Connection, phone: Phone) -> list[tuple[str, str | None]]:
    rows = await connection.fetch(
        "SELECT status::text, reason FROM broadcast_messages WHERE recipient = $1 ORDER BY id", phone
    )
    return [(r["status"], r["reason"]) for r in rows]


async def test_a_suppression_ends_what_waits_and_nothing_else(runtime: Runtime, shop: Workspace) -> None:
    async with runtime.db.connection() as connection:
        first = await make_broadcast(connection, shop.id, devices=4, people=4)
        await first.queue(connection)
        sent, claimed, waiting, other = first.messages
        await first.send(connection, sent)
        await first.claim(connection, claimed)
        for phone in first.phones[:3]:
            await add_suppression(runtime, shop, phone, actor="Aminah", note="asked by phone")
        assert await outcomes(connection, first.phones[0]) == [("sent", None)]
        assert await outcomes(connection, first.phones[1]) == [("sending", None)]
        assert await outcomes(connection, first.phones[2]) == [("skipped", "opt_out")]
        assert await outcomes(connection, first.phones[3]) == [("queued", None)]
        assert await first.claim(connection, waiting) == []
        assert len(await first.claim(connection, other)) == 1
        assert await broken_invariants(connection) == []


async def test_a_suppressed_person_is_never_queued_or_claimed(runtime: Runtime, shop: Workspace) -> None:
    async with runtime.db.connection() as connection:
        made = await make_broadcast(connection, shop.id, devices=1, people=2)
        await add_suppression(runtime, shop, made.phones[0], actor="Aminah")
        # Even a row that some mistake put back does not get past the gates.
        await connection.execute("UPDATE broadcast_messages SET status = 'pending' WHERE id = $1", made.messages[0])
        await made.queue(connection)
        assert await outcomes(connection, made.phones[0]) == [("pending", "opt_out")]
        assert await outcomes(connection, made.phones[1]) == [("queued", None)]
        await connection.execute("UPDATE broadcast_messages SET status = 'queued' WHERE id = $1", made.messages[0])
        assert await made.claim(connection, made.messages[0]) == []


async def test_adding_somebody_again_changes_nothing_and_says_so(runtime: Runtime, shop: Workspace) -> None:
    first = await add_suppression(runtime, shop, "+60123456789", actor="Aminah", note="first")
    before = await find_suppression(runtime, shop, "+60123456789")
    again = await add_suppression(runtime, shop, "012-345 6789", actor="Ben", note="second")
    assert (first.added, again.added) == (True, False)
    assert first.phone == again.phone == "+60123456789"
    assert await find_suppression(runtime, shop, "+60123456789") == before
    assert before is not None
    assert before.note == "first"


async def test_only_a_person_lifts_and_the_decision_is_recorded(runtime: Runtime, shop: Workspace) -> None:
    await add_suppression(runtime, shop, "+60123456789", actor="Aminah", note="asked")
    assert await lift_suppression(runtime, shop, "0123456789", actor="Ben", note="asked to come back") == "+60123456789"
    assert await list_suppressions(runtime, shop.id) == []
    with pytest.raises(NotFound, match="not on the suppression list"):
        await lift_suppression(runtime, shop, "+60123456789", actor="Ben")
    async with runtime.db.connection() as connection:
        entries = await connection.fetch("SELECT actor, action, subject, before, after FROM audit ORDER BY id")
    assert [(e["actor"], e["action"]) for e in entries] == [
        ("Aminah", "suppression.add"),
        ("Ben", "suppression.lift"),
    ]
    assert entries[1]["subject"] == "+60123456789"
    assert entries[1]["before"]["note"] == "asked"
    assert entries[1]["after"] == {"note": "asked to come back"}


async def test_f20_a_suppression_is_of_one_workspace(runtime: Runtime, shop: Workspace) -> None:
    elsewhere = await create_workspace(runtime, "Elsewhere")
    await add_suppression(runtime, shop, "+60123456789", actor="Aminah")
    assert await list_suppressions(runtime, elsewhere.id) == []
    assert await find_suppression(runtime, elsewhere, "+60123456789") is None
    with pytest.raises(NotFound):
        await lift_suppression(runtime, elsewhere, "+60123456789", actor="Ben")


async def test_f20_a_suppression_elsewhere_does_not_move_since_when_this_one_holds(
    runtime: Runtime, shop: Workspace
) -> None:
    elsewhere = await create_workspace(runtime, "Elsewhere")
    await add_suppression(runtime, shop, "+60123456789", actor="Aminah")
    before = await find_suppression(runtime, shop, "+60123456789")
    assert before is not None
    await add_suppression(runtime, elsewhere, "+60123456789", actor="Ben")
    assert await find_suppression(runtime, shop, "+60123456789") == before


async def test_a_number_that_cannot_be_read_is_refused_by_field(runtime: Runtime, shop: Workspace) -> None:
    for wrong in ("", "hello", "123", "+999123"):
        with pytest.raises(InvalidInput) as refused:
            await add_suppression(runtime, shop, wrong, actor="Aminah")
        assert refused.value.field == "phone"
    with pytest.raises(InvalidInput) as refused:
        await add_suppression(runtime, shop, "+60123456789", actor="Aminah", note="x" * 501)
    assert refused.value.field == "note"
    assert await list_suppressions(runtime, shop.id) == []


async def test_the_list_goes_on_where_the_page_before_ended(runtime: Runtime, shop: Workspace) -> None:
    numbers = [f"+6012345{i:04d}" for i in range(7)]
    async with runtime.db.transaction() as connection:
        for phone in reversed(numbers):
            await suppress(connection, shop.id, Phone(phone), "import")
    seen: list[str] = []
    while page := await list_suppressions(runtime, shop.id, after=seen[-1] if seen else "", limit=3):
        assert len(page) <= 3
        seen += [s.recipient for s in page]
    assert seen == numbers


async def test_a_suppression_waits_for_a_plan_under_way_and_a_plan_for_it(runtime: Runtime, shop: Workspace) -> None:
    async with runtime.db.connection() as planner:
        planning = planner.transaction()
        await planning.start()
        await planner.execute("SELECT pg_advisory_xact_lock_shared($1, $2::int)", suppressions.LOCK, shop.id)
        adding = asyncio.ensure_future(add_suppression(runtime, shop, "+60123456789", actor="Aminah"))
        await waiting_for_lock(runtime)
        assert not adding.done()
        await planning.commit()
        await adding
    async with runtime.db.transaction() as connection, runtime.db.connection() as planner:
        await suppress(connection, shop.id, Phone("+60123456780"), "reply")
        assert not await planner.fetchval("SELECT pg_try_advisory_lock_shared($1, $2::int)", suppressions.LOCK, shop.id)


async def test_no_attempt_starts_after_a_suppression_that_waited_for_a_claim(runtime: Runtime, shop: Workspace) -> None:
    async with runtime.db.connection() as connection, runtime.db.connection() as sender:
        made = await make_broadcast(connection, shop.id, devices=1, people=1)
        await made.queue(connection)
        claiming = sender.transaction()
        await claiming.start()
        [claimed] = await made.claim(sender, made.messages[0])
        adding = asyncio.ensure_future(add_suppression(runtime, shop, made.phones[0], actor="Aminah"))
        await waiting_for_lock(runtime)
        await claiming.commit()
        assert (await adding).skipped == 0
        entry = await find_suppression(runtime, shop, made.phones[0])
        assert entry is not None
        assert entry.effective_at.timestamp() > claimed.now
        assert await outcomes(connection, made.phones[0]) == [("sending", None)]
        assert await broken_invariants(connection) == []


async def test_a_suppression_holds_from_its_last_statement_on(runtime: Runtime, shop: Workspace) -> None:
    async with runtime.db.connection() as connection, runtime.db.connection() as slow, runtime.db.connection() as quick:
        first = await make_broadcast(connection, shop.id, devices=1, people=1)
        second = await make_broadcast(connection, shop.id, devices=1, phones=first.phones)
        await first.queue(connection)
        await second.queue(connection)
        claiming = slow.transaction()
        await claiming.start()
        await first.claim(slow, *first.messages)
        # It is on the list by now, not committed, and waits for the claim that is just committing ...
        adding = asyncio.ensure_future(add_suppression(runtime, shop, first.phones[0], actor="Aminah"))
        await waiting_for_lock(runtime)
        # ... while another sender cannot see it yet.
        [claimed] = await second.claim(quick, *second.messages)
        await claiming.commit()
        await adding
        entry = await find_suppression(runtime, shop, first.phones[0])
        assert entry is not None
        assert entry.created_at.timestamp() < claimed.now < entry.effective_at.timestamp()
        assert await broken_invariants(connection) == []


async def test_five_hundred_stops_against_claims_leave_no_attempt_after_its_stop(
    runtime: Runtime, shop: Workspace
) -> None:
    async with runtime.db.connection() as connection, runtime.db.connection() as sender:
        made = await make_broadcast(connection, shop.id, devices=5, people=500)
        await connection.execute(
            "UPDATE devices SET transport = 'cloud'"
        )  # claims overlap here; pace is another matter
        for _ in range(5):
            await made.queue(connection)

        async def stop() -> None:
            for i in range(0, len(made.phones), 20):
                async with runtime.db.transaction() as stopping:
                    for phone in made.phones[i : i + 20]:
                        await suppress(stopping, shop.id, phone, "reply")

        async def claim() -> int:
            count = 0
            for i in range(len(made.messages), 0, -10):
                count += len(await made.claim(sender, *made.messages[max(i - 10, 0) : i]))
            return count

        _, claimed = await asyncio.gather(stop(), claim())
        skipped = await connection.fetchval("SELECT count(*) FROM broadcast_messages WHERE reason = 'opt_out'")
        assert claimed + skipped == 500
        assert claimed
        assert skipped
        assert await broken_invariants(connection) == []


async def waiting_for_lock(runtime: Runtime) -> None:
    """Until some connection of this database waits for a lock; ten seconds at most."""
    async with runtime.db.connection() as watcher, asyncio.timeout(10):
        while not await watcher.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        ):
            await watcher.execute("SELECT pg_sleep(0.005)")


async def test_many_people_who_refused_at_once_cost_their_own_messages_and_no_others(
    runtime: Runtime, shop: Workspace
) -> None:
    """A list of refusals must not read through years of messages to other people."""
    async with runtime.db.transaction() as connection:
        made = await make_broadcast(connection, shop.id, devices=4, people=100)
        await connection.execute("SET LOCAL session_replication_role = replica")
        await connection.execute(
            "INSERT INTO broadcast_messages (workspace_id, device_id, campaign_id, content_id, not_before, created_at, "
            "shard_id, recipient, dedupe_key, variables, status) "
            "SELECT $1, d.id, NULL, c.id, fleetcast_now(), fleetcast_now(), d.shard_id, '+6099' || i, 'x:' || i, '{}', "
            "'cancelled' FROM generate_series(1, 20000) i, (SELECT * FROM devices LIMIT 1) d, contents c",
            shop.id,
        )
        await connection.execute("SET LOCAL session_replication_role = origin")
    async with runtime.db.connection() as connection:
        await connection.execute("ANALYZE broadcast_messages")
    async with runtime.db.transaction() as connection:
        assert await suppress_refusals(connection, shop.id, made.phones, "said no in a list") == 100
        read: int = await connection.fetchval(
            "SELECT idx_tup_fetch + seq_tup_read FROM pg_stat_xact_user_tables WHERE relname = 'broadcast_messages'"
        )
    assert read < 2_000
