"""A device that is taken away: no work from the commit on, everything that waited is skipped and counted."""

import pytest

from fleetcast.domain.identifiers import WorkspaceId
from fleetcast.engine.sweeper import Sweeper
from fleetcast.errors import NotFound
from fleetcast.runtime import Runtime
from fleetcast.services.campaigns import show_campaign
from fleetcast.services.devices import add_device, list_devices, remove_device, waiting_messages
from fleetcast.services.workspaces import create_workspace
from fleetcast.store import transitions
from fleetcast.store.invariants import broken_invariants
from fleetcast.store.transitions import SentResult
from tests.store.broadcast import make_broadcast


async def test_a_removed_device_gets_no_work_from_the_commit_on_and_an_answer_on_its_way_still_counts(
    runtime: Runtime, workspace: WorkspaceId
) -> None:
    async with runtime.db.connection() as connection:
        made = await make_broadcast(connection, workspace, devices=2, people=6)
        await made.queue(connection)
        gone, stays = made.devices
        [claimed] = await made.claim(connection, made.messages[0])
        assert await waiting_messages(runtime, workspace, gone) == 2
        await remove_device(runtime, workspace, gone, actor="test")
        left = await connection.fetch("SELECT id FROM broadcast_messages WHERE status = 'queued' ORDER BY id")
        assert [row["id"] for row in left] == made.messages[1::2], "given back in the removal's own transaction"
        assert await made.claim(connection, made.messages[2]) == []
        await made.queue(connection)
        await Sweeper(runtime, {"simulator": 10.0}).run_once()
        rows = await connection.fetch("SELECT status::text, reason FROM broadcast_messages ORDER BY id")
        assert [tuple(row) for row in rows] == [
            ("sending", None),
            ("queued", None),
            ("skipped", "device_removed"),
            ("queued", None),
            ("skipped", "device_removed"),
            ("queued", None),
        ]
        answer = SentResult(claimed.id, claimed.attempt, claimed.epoch, "late", claimed.now, b"sha")
        assert await transitions.record_sent(connection, [answer], [gone]) == 1
        assert await broken_invariants(connection) == []
    assert [d.id for d in await list_devices(runtime, workspace)] == [stays]
    with pytest.raises(NotFound):
        await remove_device(runtime, workspace, gone, actor="test")


async def test_f39_a_device_with_many_queued_rows_is_removed_in_chunks_and_every_row_is_counted(
    runtime: Runtime, workspace: WorkspaceId
) -> None:
    rows = 2 * transitions.CHUNK + 17
    async with runtime.db.connection() as connection:
        made = await make_broadcast(connection, workspace, devices=1, people=1)
        [device] = made.devices
        await connection.execute(
            """
            INSERT INTO broadcast_messages (workspace_id, device_id, campaign_id, lead_id, content_id, not_before,
              expires_at, created_at, shard_id, recipient, dedupe_key, variables)
            SELECT workspace_id, device_id, campaign_id, lead_id, content_id, not_before, expires_at, created_at,
              shard_id, '+6019' || i, 'c:' || campaign_id || ':+6019' || i, variables
            FROM broadcast_messages, generate_series(1000001, 1000000 + $1::int) i""",
            rows - 1,
        )
        await connection.execute(
            "INSERT INTO campaign_tallies (campaign_id, counter, n) VALUES ($1, 'pending', $2)", made.campaign, rows - 1
        )
        await transitions.top_up(connection, [device], [rows])
    assert await waiting_messages(runtime, workspace, device) == rows
    await remove_device(runtime, workspace, device, actor="test")
    await Sweeper(runtime, {"simulator": 10.0}).run_once()
    counts = (await show_campaign(runtime, workspace, made.campaign)).counts
    assert counts.by_status == {"skipped": rows}
    assert counts.by_reason == {"skipped": {"device_removed": rows}}
    async with runtime.db.connection() as connection:
        assert await broken_invariants(connection) == []


async def test_the_name_of_a_removed_device_is_free(runtime: Runtime, workspace: WorkspaceId) -> None:
    device = await add_device(runtime, workspace, "Shop")
    await remove_device(runtime, workspace, device.id, actor="test")
    again = await add_device(runtime, workspace, "Shop")
    assert again.id != device.id


async def test_f20_a_device_of_another_workspace_is_not_removed(runtime: Runtime, workspace: WorkspaceId) -> None:
    device = await add_device(runtime, workspace, "Shop")
    elsewhere = await create_workspace(runtime, "Elsewhere")
    with pytest.raises(NotFound):
        await remove_device(runtime, elsewhere.id, device.id, actor="test")
    assert await waiting_messages(runtime, elsewhere.id, device.id) == 0
    assert [d.id for d in await list_devices(runtime, workspace)] == [device.id]
