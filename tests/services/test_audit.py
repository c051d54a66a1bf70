"""The audit log: appended to and read, page by page, never changed."""

from datetime import timedelta

import asyncpg
import pytest

from fleetcast.domain.identifiers import WorkspaceId
from fleetcast.errors import InvalidInput
from fleetcast.runtime import Runtime
from fleetcast.services.audit import Entry, list_entries
from fleetcast.services.devices import add_device, pause_device
from fleetcast.services.workspaces import create_workspace
from fleetcast.store import audit, overview
from tests.services.accounts.stage import pass_time


async def written(runtime: Runtime, workspace: WorkspaceId, count: int) -> None:
    async with runtime.db.transaction() as connection:
        for n in range(count):
            await audit.record(connection, workspace, f"user:{n % 2}", f"thing{n % 3}.change", f"{n}", after={"n": n})


async def every(runtime: Runtime, workspace: WorkspaceId, limit: int) -> list[Entry]:
    seen: list[Entry] = []
    after: str | None = None
    while True:
        page, after = await list_entries(runtime, workspace, after=after, limit=limit)
        seen += page
        if after is None:
            return seen


@pytest.mark.parametrize("statement", ["UPDATE audit SET actor = 'nobody'", "DELETE FROM audit", "TRUNCATE audit"])
async def test_the_log_cannot_be_changed_shortened_or_emptied(
    runtime: Runtime, workspace: WorkspaceId, statement: str
) -> None:
    await written(runtime, workspace, 3)
    async with runtime.db.connection() as connection:
        with pytest.raises(asyncpg.CheckViolationError, match="audit rows are never changed"):
            await connection.execute(statement)
    assert [e.actor for e in await every(runtime, workspace, 10)] == ["user:0", "user:1", "user:0"]


async def test_an_entry_says_who_what_when_before_and_after(runtime: Runtime, workspace: WorkspaceId) -> None:
    device = await add_device(runtime, workspace, "Shop", actor="user:ann@example.org")
    await pause_device(runtime, workspace, device.id, actor="user:ben@example.org", reason="stocktaking")
    paused, added = await every(runtime, workspace, 10)
    assert (added.actor, added.action, added.subject) == ("user:ann@example.org", "device.add", "Shop")
    assert (paused.actor, paused.action, paused.before) == ("user:ben@example.org", "device.pause", None)
    assert paused.after is not None
    assert paused.after["reason"] == "stocktaking"
    assert added.at <= paused.at


async def test_f20_pages_are_complete_newest_first_and_of_one_workspace(
    runtime: Runtime, workspace: WorkspaceId
) -> None:
    other = await create_workspace(runtime, "Other")
    await written(runtime, workspace, 7)
    await written(runtime, other.id, 2)
    for limit in (1, 3, 7, 100):
        assert [e.subject for e in await every(runtime, workspace, limit)] == [str(n) for n in range(6, -1, -1)]
    assert [e.subject for e in await every(runtime, other.id, 10)] == ["1", "0", "Other"]


async def test_entries_are_found_by_actor_action_and_time(runtime: Runtime, workspace: WorkspaceId) -> None:
    await written(runtime, workspace, 6)
    await pass_time(runtime, timedelta(hours=1))
    async with runtime.db.connection() as connection:
        noon = await overview.now(connection)
    await written(runtime, workspace, 2)

    async def found(**wanted: object) -> list[str]:
        page, _ = await list_entries(runtime, workspace, **wanted)  # type: ignore[arg-type]
        return [e.subject for e in page]

    assert await found(actor="user:1") == ["1", "5", "3", "1"]
    assert await found(actor="user:") == []
    assert await found(action="thing2.") == ["5", "2"]
    assert await found(action="thing") == ["1", "0", "5", "4", "3", "2", "1", "0"]
    assert await found(action="%") == []
    assert await found(since=noon) == ["1", "0"]
    assert await found(until=noon) == ["5", "4", "3", "2", "1", "0"]
    assert await found(since=noon, until=noon) == []
    assert await found(actor="user:0", action="thing0", until=noon) == ["0"]


@pytest.mark.parametrize("after", ["", "x", "-1", "1.5", "9" * 30, "１"])
async def test_a_position_that_no_page_gave_is_refused(runtime: Runtime, workspace: WorkspaceId, after: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        await list_entries(runtime, workspace, after=after)
    assert refused.value.field == "after"
