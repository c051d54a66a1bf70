"""A person decides about messages in doubt: for all that are named or for none, audited, and never for others'."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from fleetcast.domain.identifiers import DeviceId, MessageId, Reference, WorkspaceId
from fleetcast.domain.message import MessageStatus, Outcome, Reason
from fleetcast.errors import Conflict, InvalidInput
from fleetcast.runtime import Runtime
from fleetcast.services.doubts import Resent, confirm_arrived, give_up, list_doubts, resend
from fleetcast.services.inbound import receive
from fleetcast.services.workspaces import create_workspace
from fleetcast.store.connection import Connection
from fleetcast.store.invariants import broken_invariants
from fleetcast.transports.base import Receipt, ReceiptKind
from tests.store.broadcast import Broadcast, make_broadcast

ACTOR = "test"


@pytest.fixture
async def connection(runtime: Runtime) -> AsyncIterator[Connection]:
    async with runtime.db.connection() as connection:
        yield connection


@pytest.fixture
async def cast(connection: Connection, workspace: WorkspaceId) -> Broadcast:
    """Six messages: the first three in doubt, the fourth sent, two queued."""
    made = await make_broadcast(connection, workspace)
    await made.queue(connection)
    for message in made.messages[:3]:
        await made.end(connection, message, MessageStatus.IN_DOUBT, Reason.NO_ANSWER, Outcome.UNKNOWN)
    await made.send(connection, made.messages[3])
    return made


async def standings(connection: Connection) -> list[tuple[str, str | None]]:
    rows = await connection.fetch("SELECT status::text, reason FROM broadcast_messages ORDER BY id")
    return [(row["status"], row["reason"]) for row in rows]


async def audited(connection: Connection) -> list[tuple[str, str]]:
    rows = await connection.fetch("SELECT action, subject FROM audit WHERE actor = $1 ORDER BY id", ACTOR)
    return [(row["action"], row["subject"]) for row in rows]


async def test_doubts_are_listed_by_number_and_by_pages(
    runtime: Runtime, cast: Broadcast, workspace: WorkspaceId
) -> None:
    assert [m.id for m in await list_doubts(runtime, workspace)] == cast.messages[:3]
    assert [m.id for m in await list_doubts(runtime, workspace, limit=2)] == cast.messages[:2]
    assert [m.id for m in await list_doubts(runtime, workspace, after=cast.messages[1])] == cast.messages[2:3]


async def test_what_arrived_counts_as_sent_on_a_persons_word(
    runtime: Runtime, connection: Connection, cast: Broadcast, workspace: WorkspaceId
) -> None:
    assert await confirm_arrived(runtime, workspace, cast.messages[:2], actor=ACTOR) == 2
    assert (await standings(connection))[:3] == [("sent", None), ("sent", None), ("in_doubt", "no_answer")]
    rows = await connection.fetch("SELECT resolution, provider_id FROM broadcast_messages ORDER BY id LIMIT 2")
    assert [tuple(row) for row in rows] == [("person", None)] * 2
    assert await audited(connection) == [("message.arrived", f"message {m}") for m in cast.messages[:2]]
    assert await broken_invariants(connection) == []


async def test_what_is_given_up_is_failed_and_unconfirmed(
    runtime: Runtime, connection: Connection, cast: Broadcast, workspace: WorkspaceId
) -> None:
    assert await give_up(runtime, workspace, cast.messages[:1], actor=ACTOR) == 1
    assert (await standings(connection))[0] == ("failed", "unconfirmed")
    assert await audited(connection) == [("message.give_up", f"message {cast.messages[0]}")]
    assert await broken_invariants(connection) == []


async def test_what_is_resent_waits_again_with_its_attempts_and_is_sent_a_second_time(
    runtime: Runtime, connection: Connection, cast: Broadcast, workspace: WorkspaceId
) -> None:
    assert await resend(runtime, workspace, cast.messages[:2], actor=ACTOR) == Resent(waiting=2, kept_back=0)
    assert (await standings(connection))[:2] == [("pending", None)] * 2
    await cast.queue(connection)
    await cast.send(connection, *cast.messages[:2])
    attempts = await connection.fetch("SELECT attempts FROM broadcast_messages ORDER BY id LIMIT 2")
    assert [row["attempts"] for row in attempts] == [2, 2]
    assert await broken_invariants(connection) == []


async def test_who_asked_for_no_more_messages_gets_no_second_copy(
    runtime: Runtime, connection: Connection, cast: Broadcast, workspace: WorkspaceId
) -> None:
    await connection.execute(
        "INSERT INTO suppressions (workspace_id, recipient, effective_at, source) "
        "VALUES ($1, $2, fleetcast_now(), 'person')",
        workspace,
        cast.phones[0],
    )
    assert await resend(runtime, workspace, cast.messages[:2], actor=ACTOR) == Resent(waiting=1, kept_back=1)
    assert (await standings(connection))[:2] == [("failed", "unconfirmed"), ("pending", None)]
    assert await audited(connection) == [
        ("message.resend", f"message {cast.messages[1]}"),
        ("message.give_up", f"message {cast.messages[0]}"),
    ]


async def test_a_resend_gives_the_campaign_more_time_only_when_its_own_is_over(
    runtime: Runtime, connection: Connection, cast: Broadcast, workspace: WorkspaceId
) -> None:
    left = await connection.fetchval(
        "UPDATE campaigns SET expires_at = fleetcast_now() + interval '2 hours' RETURNING expires_at"
    )
    await resend(runtime, workspace, cast.messages[:1], actor=ACTOR)
    assert await connection.fetchval("SELECT expires_at FROM campaigns") == left
    await connection.execute("UPDATE campaigns SET expires_at = fleetcast_now() - interval '1 second'")
    await resend(runtime, workspace, cast.messages[1:2], actor=ACTOR)
    assert await connection.fetchval("SELECT expires_at > fleetcast_now() + interval '6 days' FROM campaigns")


async def test_what_a_person_said_arrived_still_takes_its_receipts(
    runtime: Runtime, connection: Connection, cast: Broadcast, workspace: WorkspaceId
) -> None:
    await confirm_arrived(runtime, workspace, cast.messages[:2], actor=ACTOR)
    now = datetime.now(UTC)
    for n, (message, kind) in enumerate(zip(cast.messages[:2], (ReceiptKind.READ, ReceiptKind.FAILED), strict=True)):
        device = await connection.fetchval("SELECT device_id FROM broadcast_messages WHERE id = $1", message)
        receipt = Receipt(f"e{n}", DeviceId(device), f"p{message}", kind, now, Reference(f"test-{message}-1"))
        await receive(runtime, "test", [receipt])
    rows = await connection.fetch(
        "SELECT status::text, delivery::text, provider_id FROM broadcast_messages ORDER BY id LIMIT 2"
    )
    assert [tuple(row) for row in rows] == [
        ("sent", "read", f"p{cast.messages[0]}"),
        ("failed", "none", f"p{cast.messages[1]}"),
    ]
    assert await broken_invariants(connection) == []


async def test_one_message_that_is_not_in_doubt_stops_the_whole_decision(
    runtime: Runtime, connection: Connection, cast: Broadcast, workspace: WorkspaceId
) -> None:
    before = await standings(connection)
    for decide in (confirm_arrived, give_up, resend):
        with pytest.raises(InvalidInput, match=f"{cast.messages[3]} is not in doubt but sent"):
            await decide(runtime, workspace, cast.messages[:4], actor=ACTOR)
        with pytest.raises(InvalidInput, match="no message 4711"):
            await decide(runtime, workspace, [*cast.messages[:1], MessageId(4711)], actor=ACTOR)
        with pytest.raises(InvalidInput, match="at least one"):
            await decide(runtime, workspace, [], actor=ACTOR)
        for never in (0, -1, 2**63):
            with pytest.raises(InvalidInput, match="no message"):
                await decide(runtime, workspace, [MessageId(never)], actor=ACTOR)
    assert await standings(connection) == before
    assert await audited(connection) == []


async def test_f20_a_doubt_of_another_workspace_is_neither_shown_nor_decided(
    runtime: Runtime, connection: Connection, cast: Broadcast
) -> None:
    elsewhere = (await create_workspace(runtime, "Elsewhere")).id
    before = await standings(connection)
    assert await list_doubts(runtime, elsewhere) == []
    for decide in (confirm_arrived, give_up, resend):
        with pytest.raises(InvalidInput, match="no message"):
            await decide(runtime, elsewhere, cast.messages[:1], actor=ACTOR)
    assert await standings(connection) == before


async def test_a_cancelled_campaign_sends_no_second_copies(
    runtime: Runtime, connection: Connection, cast: Broadcast, workspace: WorkspaceId
) -> None:
    await connection.execute("UPDATE campaigns SET status = 'cancelled'")
    before = await standings(connection)
    with pytest.raises(Conflict, match="is over"):
        await resend(runtime, workspace, cast.messages[:1], actor=ACTOR)
    assert await standings(connection) == before
    assert await give_up(runtime, workspace, cast.messages[:1], actor=ACTOR) == 1


async def test_of_two_people_who_decide_at_once_one_is_told_that_it_is_decided(
    runtime: Runtime, connection: Connection, cast: Broadcast, workspace: WorkspaceId
) -> None:
    results = await asyncio.gather(
        confirm_arrived(runtime, workspace, cast.messages[:1], actor=ACTOR),
        give_up(runtime, workspace, cast.messages[:1], actor=ACTOR),
        return_exceptions=True,
    )
    assert sorted(type(r).__name__ for r in results) == ["InvalidInput", "int"]
    assert len(await audited(connection)) == 1
