"""A linked device has at most one open attempt to a person: its receipts name no message of ours, so of two in doubt
nobody could tell which arrived. What waits for that keeps nobody else waiting.
"""

from collections.abc import AsyncIterator

import pytest

from fleetcast.domain.identifiers import DeviceId, MessageId, WorkspaceId
from fleetcast.domain.message import MessageStatus, Outcome, Reason
from fleetcast.store import shards, transitions
from fleetcast.store.connection import Connection, Database
from fleetcast.store.invariants import broken_invariants
from tests.store.broadcast import Broadcast, make_broadcast

ROOM = [10, 10]


@pytest.fixture
async def connection(db: Database) -> AsyncIterator[Connection]:
    async with db.connection() as connection:
        yield connection


@pytest.fixture
async def cast(connection: Connection, workspace: WorkspaceId) -> Broadcast:
    """Messages 0, 2 and 4 are of the first device; 2 goes to the person of 0, in another campaign, and so does 1, a
    single message of the second device.
    """
    made = await make_broadcast(connection, workspace)
    await connection.execute("UPDATE devices SET transport = 'linked'")
    other: int = await connection.fetchval(
        "INSERT INTO campaigns (workspace_id, content_id, title, status, planned_at) "
        "SELECT workspace_id, content_id, 'Second', 'running', fleetcast_now() FROM campaigns RETURNING id"
    )
    await connection.execute(
        "UPDATE broadcast_messages SET recipient = $1, dedupe_key = 'm:' || id, "
        "campaign_id = CASE WHEN id = $3 THEN $2::bigint END WHERE id IN ($3, $4)",
        made.phones[0],
        other,
        made.messages[2],
        made.messages[1],
    )
    await connection.execute("DELETE FROM campaign_tallies")
    await connection.execute(
        "INSERT INTO campaign_tallies (campaign_id, counter, n) "
        "SELECT campaign_id, 'pending', count(*) FROM broadcast_messages "
        "WHERE campaign_id IS NOT NULL GROUP BY 1"
    )
    return made


async def put_in_doubt(connection: Connection, cast: Broadcast, message: MessageId) -> None:
    await cast.end(connection, message, MessageStatus.IN_DOUBT, Reason.NO_ANSWER, Outcome.UNKNOWN)


async def queued(connection: Connection, devices: list[DeviceId]) -> set[int]:
    return {r.id for r in await transitions.top_up(connection, devices, ROOM[: len(devices)])}


async def status_of(connection: Connection, message: MessageId) -> tuple[str, str | None]:
    row = await connection.fetchrow("SELECT status::text, reason FROM broadcast_messages WHERE id = $1", message)
    assert row is not None
    return row[0], row[1]


async def test_a_person_in_doubt_is_not_queued_for_again_and_those_behind_are(
    connection: Connection, cast: Broadcast
) -> None:
    first, _, same_person, _, behind, _ = cast.messages
    await transitions.top_up(connection, cast.devices[:1], [1])
    await put_in_doubt(connection, cast, first)
    assert await queued(connection, cast.devices[:1]) == {behind}
    assert await status_of(connection, same_person) == ("pending", None)


async def test_another_device_is_not_held_back(connection: Connection, cast: Broadcast) -> None:
    first, same_person_elsewhere, *_ = cast.messages
    await transitions.top_up(connection, cast.devices[:1], [1])
    await put_in_doubt(connection, cast, first)
    assert same_person_elsewhere in await queued(connection, cast.devices[1:])


@pytest.mark.parametrize("transport", ["simulator", "cloud"])
async def test_devices_whose_receipts_name_their_message_are_not_held_back(
    connection: Connection, cast: Broadcast, transport: str
) -> None:
    await connection.execute("UPDATE devices SET transport = $1", transport)
    await cast.queue(connection)
    await put_in_doubt(connection, cast, cast.messages[0])
    assert len(await cast.claim(connection, cast.messages[2])) == 1


async def test_what_was_in_the_window_already_is_refused_and_leaves_it(connection: Connection, cast: Broadcast) -> None:
    await cast.queue(connection)
    first, _, same_person, _, behind, _ = cast.messages
    await put_in_doubt(connection, cast, first)
    assert [c.id for c in await cast.claim(connection, same_person, behind)] == [behind]
    assert await transitions.requeue_held(connection, [same_person, behind]) == 1
    assert await status_of(connection, same_person) == ("pending", Reason.PERSON_IN_DOUBT)
    assert await broken_invariants(connection) == []


async def test_it_goes_on_once_the_doubt_is_settled(connection: Connection, cast: Broadcast) -> None:
    first, _, same_person, *_ = cast.messages
    await cast.queue(connection)
    await put_in_doubt(connection, cast, first)
    await transitions.requeue_held(connection, [same_person])
    await transitions.settle_doubt(connection, [(first, 1, MessageStatus.FAILED, Reason.UNCONFIRMED)])
    assert same_person in await queued(connection, cast.devices[:1])
    assert await status_of(connection, same_person) == ("queued", None)
    assert len(await cast.claim(connection, same_person)) == 1
    assert await broken_invariants(connection) == []


async def test_however_many_are_in_doubt_or_wait_for_it_what_is_queued_behind_them_is_found(
    connection: Connection, workspace: WorkspaceId
) -> None:
    cast = await make_broadcast(connection, workspace, devices=1, people=202)
    doubtful, held, last = cast.messages[:100], cast.messages[100:200], cast.messages[200:]
    await connection.execute("UPDATE devices SET transport = 'linked'")
    await connection.execute("SET session_replication_role = replica")
    await connection.execute(
        "UPDATE broadcast_messages SET status = 'in_doubt', in_doubt_since = fleetcast_now() WHERE id = ANY ($1)",
        doubtful,
    )
    await connection.execute(
        "UPDATE broadcast_messages b SET recipient = o.recipient FROM broadcast_messages o "
        "WHERE b.id = ANY ($1::bigint[]) AND o.id = b.id - 100",
        held,
    )
    await connection.execute("SET session_replication_role = origin")
    [room] = await shards.room(connection, None)
    assert (room.device, room.in_window) == (cast.devices[0], 0)
    assert await queued(connection, cast.devices) == set(last)
    found = await shards.queued(connection, cast.devices)
    assert [[message for message, _ in rows] for _, rows in found] == [list(last)]
