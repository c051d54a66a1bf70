"""Workspaces: made once, found by name or because there is only one."""

import asyncio

import pytest

from fleetcast.errors import InvalidInput, NotFound
from fleetcast.runtime import Runtime
from fleetcast.services.workspaces import Workspace, create_workspace, find_workspace, list_workspaces


async def test_a_workspace_keeps_its_zone_and_region(runtime: Runtime) -> None:
    made = await create_workspace(runtime, " Kedai Café ", time_zone="Asia/Kuala_Lumpur", region="my")
    assert (made.name, made.time_zone, made.region) == ("Kedai Café", "Asia/Kuala_Lumpur", "MY")
    assert await find_workspace(runtime, "Kedai Café") == made
    # The same letters typed on another system, composed differently.
    assert await find_workspace(runtime, "Kedai Cafe\u0301") == made
    assert await find_workspace(runtime, "KEDAI Café") == made
    assert await find_workspace(runtime, None) == made
    with pytest.raises(InvalidInput, match="already exists"):
        await create_workspace(runtime, "kedai café")


async def test_nobody_guesses_which_workspace_is_meant(runtime: Runtime) -> None:
    with pytest.raises(NotFound, match="workspace create"):
        await find_workspace(runtime, None)
    for name in ("Beta", "Alpha"):
        await create_workspace(runtime, name)
    with pytest.raises(InvalidInput, match="Alpha, Beta") as refused:
        await find_workspace(runtime, None)
    assert refused.value.field == "workspace"
    with pytest.raises(NotFound, match="Gamma"):
        await find_workspace(runtime, "Gamma")
    assert [w.name for w in await list_workspaces(runtime)] == ["Alpha", "Beta"]


async def test_a_name_is_given_once_even_by_ten_at_a_time(runtime: Runtime) -> None:
    results = await asyncio.gather(*(create_workspace(runtime, "Shop") for _ in range(10)), return_exceptions=True)
    assert sum(isinstance(r, Workspace) for r in results) == 1
    assert all(isinstance(r, Workspace) or (isinstance(r, InvalidInput) and r.field == "name") for r in results)


@pytest.mark.parametrize(
    ("field", "wrong"),
    [("name", {"name": ""}), ("time_zone", {"time_zone": "UTC+8"}), ("region", {"region": "MYS"})],
)
async def test_a_wrong_workspace_is_refused_by_field(runtime: Runtime, field: str, wrong: dict[str, str]) -> None:
    with pytest.raises(InvalidInput) as refused:
        await create_workspace(runtime, **({"name": "Shop"} | wrong))
    assert refused.value.field == field
    assert await list_workspaces(runtime) == []
