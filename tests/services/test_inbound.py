"""What comes in from transports, and what it may change."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from fleetcast.domain.device import DeviceState, shard_for
from fleetcast.domain.identifiers import Reference, WorkspaceId
from fleetcast.runtime import Runtime
from fleetcast.services.devices import add_device, find_device
from fleetcast.services.inbound import receive, settle_waiting
from fleetcast.store import shards, transitions
from fleetcast.store.connection import Connection
from fleetcast.store.invariants import broken_invariants
from fleetcast.store.transitions import Claim, SentResult
from fleetcast.transports.base import Receipt, ReceiptKind, Reply, StateChange
from tests.store.broadcast import Broadcast, make_broadcast, move_time

AT = datetime(2026, 3, 1, tzinfo=UTC)


async def test_a_session_that_was_taken_over_does_not_speak_for_the_device(
    runtime: Runtime, workspace: WorkspaceId
) -> None:
    """A sender that was frozen wakes up and learns that its successor has the device; the device is well."""
    device = await add_device(runtime, workspace, "sales")
    online = StateChange("one", device.id, DeviceState.ONLINE, AT)
    taken_over = StateChange("two", device.id, DeviceState.OFFLINE, AT, "replaced", replaced=True)
    await receive(runtime, "install", [online, taken_over])
    assert (await find_device(runtime, workspace, "sales")).state is DeviceState.ONLINE
    lost = StateChange("three", device.id, DeviceState.OFFLINE, AT, "the connection was lost")
    await receive(runtime, "install", [lost])
    assert (await find_device(runtime, workspace, "sales")).state is DeviceState.OFFLINE


async def test_of_a_thousand_states_that_stand_there_already_none_is_written_and_the_newest_of_a_device_counts(
    runtime: Runtime, workspace: WorkspaceId
) -> None:
    """A sender that takes devices over is told the state of each."""
    one, other = await add_device(runtime, workspace, "one"), await add_device(runtime, workspace, "other")
    until = AT + timedelta(hours=1)
    told = [StateChange("a", one.id, DeviceState.RESTRICTED, AT, "too fast", until)]
    told += [StateChange("b", other.id, DeviceState.OFFLINE, AT), StateChange("c", other.id, DeviceState.ONLINE, AT)]
    await receive(runtime, "install", told)
    before = [await find_device(runtime, workspace, name) for name in ("one", "other")]
    assert [(d.state, d.restricted_until) for d in before] == [
        (DeviceState.RESTRICTED, until),
        (DeviceState.ONLINE, None),
    ]
    async with runtime.db.connection() as connection:
        rows = await connection.fetch("SELECT xmin FROM devices ORDER BY id")
        await receive(runtime, "install", told * 500)
        assert await connection.fetch("SELECT xmin FROM devices ORDER BY id") == rows


@pytest.fixture
async def connection(runtime: Runtime) -> AsyncIterator[Connection]:
    async with runtime.db.connection() as connection:
        yield connection


@pytest.fixture
async def cast(connection: Connection, workspace: WorkspaceId) -> Broadcast:
    made = await make_broadcast(connection, workspace)
    await made.queue(connection)
    return made


def receipt(cast: Broadcast, n: int, kind: ReceiptKind, *, ours: bool = True) -> Receipt:
    message = cast.messages[n]
    return Receipt(
        f"{kind}-{n}",
        cast.devices[n % 2],
        f"provider-{message}",
        kind,
        AT,
        Reference(f"test-{message}-1") if ours else None,
        cast.phones[n],
    )


async def row(connection: Connection, message: int) -> tuple[str, str, str | None]:
    found = await connection.fetchrow(
        "SELECT status::text, delivery::text, resolution FROM broadcast_messages WHERE id = $1", message
    )
    assert found is not None
    return tuple(found)


async def waiting(connection: Connection) -> int:
    count: int = await connection.fetchval("SELECT count(*) FROM inbox WHERE processed_at IS NULL")
    return count


async def test_a_receipt_that_comes_before_the_answer_is_proof_and_the_answer_then_changes_nothing(
    runtime: Runtime, connection: Connection, cast: Broadcast
) -> None:
    [claimed] = await cast.claim(connection, cast.messages[0])
    await receive(runtime, "test", [receipt(cast, 0, ReceiptKind.DELIVERED)])
    assert await row(connection, cast.messages[0]) == ("sent", "delivered", "receipt")
    answer = SentResult(claimed.id, 1, claimed.epoch, f"provider-{claimed.id}", claimed.now, b"sha")
    assert await transitions.record_sent(connection, [answer], []) == 0
    assert await settle_waiting(runtime, "test") == 1
    assert await waiting(connection) == 0
    assert await connection.fetchval("SELECT finished_at FROM broadcast_messages WHERE id = $1", claimed.id)
    assert await broken_invariants(connection) == []


async def test_of_a_sender_that_stood_still_the_receipt_says_when_its_attempt_was_over_not_when_it_woke(
    runtime: Runtime, connection: Connection, cast: Broadcast
) -> None:
    """Its device is in other hands by then, and has rested since the receipt."""
    first, second = cast.messages[0], cast.messages[2]
    [claimed] = await cast.claim(connection, first)
    await receive(runtime, "test", [receipt(cast, 0, ReceiptKind.DELIVERED)])
    await move_time(connection, timedelta(seconds=30))
    await connection.execute("UPDATE shards SET expires_at = fleetcast_now()")
    cast.epochs = await shards.acquire(connection, "sender-2", None, 300, 64)
    woke = await shards.unix_now(connection)
    [after] = await shards.lanes(connection, list(cast.epochs), [cast.devices[0]])
    assert after.rested is not None
    assert after.rested > 29
    claim = Claim(second, shard_for(cast.devices[0]), cast.devices[0], cast.campaign, 5_000)
    assert await transitions.claim(connection, [claim], cast.epochs, "sender-2", "test")
    answer = SentResult(claimed.id, 1, claimed.epoch, f"provider-{claimed.id}", woke, b"sha")
    assert await transitions.record_sent(connection, [answer], []) == 0
    assert await settle_waiting(runtime, "test") == 1
    assert await broken_invariants(connection) == []


async def test_a_receipt_without_our_reference_waits_for_its_message(
    runtime: Runtime, connection: Connection, cast: Broadcast
) -> None:
    [claimed] = await cast.claim(connection, cast.messages[0])
    await receive(runtime, "test", [receipt(cast, 0, ReceiptKind.READ, ours=False)])
    assert await row(connection, cast.messages[0]) == ("sending", "none", None)
    answer = SentResult(claimed.id, 1, claimed.epoch, f"provider-{claimed.id}", claimed.now, b"sha")
    await transitions.record_sent(connection, [answer], [])
    assert await settle_waiting(runtime, "test") == 1
    assert await row(connection, cast.messages[0]) == ("sent", "read", "answer")


async def test_receipts_repeated_and_out_of_order_only_ever_grow(
    runtime: Runtime, connection: Connection, cast: Broadcast
) -> None:
    await cast.send(connection, cast.messages[0])
    read, delivered = receipt(cast, 0, ReceiptKind.READ), receipt(cast, 0, ReceiptKind.DELIVERED)
    for events in ([read], [delivered], [read, read], [delivered, read]):
        await receive(runtime, "test", events)
        assert (await row(connection, cast.messages[0]))[1] == "read"
    counters = await connection.fetch(
        "SELECT counter, sum(n) FROM campaign_tallies WHERE counter IN ('delivered', 'read') GROUP BY 1 ORDER BY 1"
    )
    assert [tuple(c) for c in counters] == [("delivered", 1), ("read", 1)]


async def test_of_several_failures_after_acceptance_each_finds_its_own_message(
    runtime: Runtime, connection: Connection, cast: Broadcast
) -> None:
    await cast.send(connection, cast.messages[0])
    await cast.claim(connection, cast.messages[1])
    early = receipt(cast, 1, ReceiptKind.FAILED, ours=False)
    await receive(runtime, "test", [receipt(cast, 0, ReceiptKind.FAILED), early])
    assert (await row(connection, cast.messages[0]))[0] == "failed"
    assert await waiting(connection) == 1, "the early one waits for its message"


async def test_a_reference_of_another_installation_is_no_proof(
    runtime: Runtime, connection: Connection, cast: Broadcast
) -> None:
    await cast.claim(connection, cast.messages[0])
    await receive(runtime, "another", [receipt(cast, 0, ReceiptKind.DELIVERED)])
    assert (await row(connection, cast.messages[0]))[0] == "sending"


async def test_a_stop_word_is_stored_once_and_suppresses_in_the_same_transaction(
    runtime: Runtime, connection: Connection, cast: Broadcast, workspace: WorkspaceId
) -> None:
    stop = Reply("reply-1", cast.devices[0], cast.phones[0], " STOP. ", AT)
    hello = Reply("reply-2", cast.devices[0], cast.phones[1], "Stop by any time!", AT)
    for _ in range(2):
        await receive(runtime, "test", [stop, hello])
    assert (await row(connection, cast.messages[0]))[0] == "skipped"
    assert (await row(connection, cast.messages[1]))[0] == "queued"
    assert await connection.fetchval("SELECT count(*) FROM inbox WHERE kind = 'reply'") == 2
    found = await connection.fetch("SELECT recipient, source FROM suppressions WHERE workspace_id = $1", workspace)
    assert [tuple(f) for f in found] == [(cast.phones[0], "reply")]
    assert await broken_invariants(connection) == []
