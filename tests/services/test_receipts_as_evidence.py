"""Receipts of linked devices name no attempt of ours: when one settles a doubt all the same, and when it must not."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from fleetcast.domain.identifiers import Phone, Reference, WorkspaceId
from fleetcast.domain.message import MessageStatus, Outcome, Reason
from fleetcast.runtime import Runtime
from fleetcast.services.inbound import REST, receive, settle_waiting
from fleetcast.store.connection import Connection
from fleetcast.store.invariants import broken_invariants
from fleetcast.transports.base import Inbound, OwnEcho, Receipt, ReceiptKind
from tests.store.broadcast import Broadcast, make_broadcast, move_time

MARK = "3EB0AAAA"


@pytest.fixture
async def connection(runtime: Runtime) -> AsyncIterator[Connection]:
    async with runtime.db.connection() as connection:
        yield connection


@pytest.fixture
async def cast(connection: Connection, workspace: WorkspaceId) -> Broadcast:
    """Its first message is in doubt; its devices are linked ones."""
    made = await make_broadcast(connection, workspace)
    await connection.execute("UPDATE devices SET transport = 'linked'")
    await made.queue(connection)
    await made.end(connection, made.messages[0], MessageStatus.IN_DOUBT, Reason.NO_ANSWER, Outcome.UNKNOWN)
    return made


async def receipt(
    connection: Connection, cast: Broadcast, *, device: int = 0, person: Phone | None = None, mark: str = MARK
) -> Receipt:
    """A person has got a message of which the device knows only WhatsApp's name."""
    now = await connection.fetchval("SELECT fleetcast_now()")
    return Receipt(
        f"delivered-{mark}", cast.devices[device], mark, ReceiptKind.DELIVERED, now, recipient=person or cast.phones[0]
    )


async def first(connection: Connection, cast: Broadcast) -> tuple[str, str, str | None, str | None]:
    row = await connection.fetchrow(
        "SELECT status::text, delivery::text, resolution, provider_id FROM broadcast_messages WHERE id = $1",
        cast.messages[0],
    )
    assert row is not None
    return tuple(row)


async def settled(runtime: Runtime, connection: Connection) -> None:
    """All that waiting receipts can settle is settled."""
    await settle_waiting(runtime, "test")
    await move_time(connection, REST + timedelta(seconds=1))
    await settle_waiting(runtime, "test")
    await settle_waiting(runtime, "test")


IN_DOUBT = ("in_doubt", "none", None, None)


async def test_a_receipt_of_the_person_from_the_device_settles_the_doubt(
    runtime: Runtime, connection: Connection, cast: Broadcast
) -> None:
    await receive(runtime, "test", [await receipt(connection, cast)])
    assert await first(connection, cast) == IN_DOUBT, "an answer or an echo may be on its way"
    await settled(runtime, connection)
    assert await first(connection, cast) == ("sent", "delivered", "receipt", MARK)
    assert await connection.fetchval("SELECT count(*) FROM inbox WHERE processed_at IS NULL") == 0
    assert await broken_invariants(connection) == []


async def test_a_receipt_of_somebody_else_or_for_another_device_settles_nothing(
    runtime: Runtime, connection: Connection, cast: Broadcast
) -> None:
    others = [
        await receipt(connection, cast, person=cast.phones[2]),
        await receipt(connection, cast, device=1, mark="3EB0BBBB"),
    ]
    await receive(runtime, "test", others)
    await settled(runtime, connection)
    assert await first(connection, cast) == IN_DOUBT


@pytest.mark.parametrize("echo_first", [True, False])
async def test_a_receipt_for_what_was_typed_on_the_phone_is_evidence_of_nothing(
    runtime: Runtime, connection: Connection, cast: Broadcast, echo_first: bool
) -> None:
    told = await receipt(connection, cast)
    echo = OwnEcho(f"echo-{MARK}", cast.devices[0], MARK, told.at, cast.phones[0])
    both: list[Inbound] = [echo, told]
    for event in both if echo_first else reversed(both):
        await receive(runtime, "test", [event])
    await settled(runtime, connection)
    assert await first(connection, cast) == IN_DOUBT
    assert await connection.fetchval("SELECT count(*) FROM inbox WHERE processed_at IS NULL") == 0
    body = await connection.fetchval("SELECT body FROM inbox WHERE kind = 'echo'")
    assert body is None, "what the owner writes is nobody's business"


async def test_a_receipt_from_before_the_attempt_is_for_another_message(
    runtime: Runtime, connection: Connection, cast: Broadcast
) -> None:
    early = await receipt(connection, cast)
    early = Receipt(
        early.event_id, early.device, MARK, early.kind, early.at - timedelta(minutes=1), recipient=early.recipient
    )
    await receive(runtime, "test", [early])
    await settled(runtime, connection)
    assert await first(connection, cast) == IN_DOUBT


async def test_of_two_doubts_about_one_person_a_receipt_settles_none(
    runtime: Runtime, connection: Connection, cast: Broadcast
) -> None:
    second = cast.messages[2]
    await cast.end(connection, second, MessageStatus.IN_DOUBT, Reason.NO_ANSWER, Outcome.UNKNOWN)
    await connection.execute("UPDATE broadcast_messages SET recipient = $2 WHERE id = $1", second, cast.phones[0])
    await receive(runtime, "test", [await receipt(connection, cast)])
    await settled(runtime, connection)
    assert await first(connection, cast) == IN_DOUBT


async def test_an_answer_for_which_nobody_waited_any_more_settles_the_doubt_at_once(
    runtime: Runtime, connection: Connection, cast: Broadcast
) -> None:
    now = await connection.fetchval("SELECT fleetcast_now()")
    reference = Reference(f"test-{cast.messages[0]}-1")
    late = Receipt("accepted-1", cast.devices[0], MARK, ReceiptKind.ACCEPTED, now, reference, cast.phones[0])
    await receive(runtime, "test", [late])
    assert await first(connection, cast) == ("sent", "none", "receipt", MARK)
    await receive(runtime, "test", [late])
    await settled(runtime, connection)
    assert await connection.fetchval("SELECT count(*) FROM inbox WHERE processed_at IS NULL") == 0
    assert await broken_invariants(connection) == []


async def test_receipts_of_simulated_devices_carry_references_and_are_never_guessed_at(
    runtime: Runtime, connection: Connection, cast: Broadcast
) -> None:
    await connection.execute("UPDATE devices SET transport = 'simulator'")
    await receive(runtime, "test", [await receipt(connection, cast)])
    await settled(runtime, connection)
    assert await first(connection, cast) == IN_DOUBT
