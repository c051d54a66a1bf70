"""Workspaces over the API: made by the installation's owner, changed by theirs."""

import httpx2
import pytest
from fastapi import FastAPI

from fleetcast.domain.access import Role
from fleetcast.domain.identifiers import WorkspaceId
from fleetcast.runtime import Runtime
from fleetcast.services.accounts import people, sign_in
from fleetcast.services.workspaces import find_workspace, get_workspace, list_workspaces
from tests.api import tenants
from tests.services.accounts.stage import HERE, log

pytestmark = pytest.mark.usefixtures("quick_hashing")

NEW = {"name": "Shop JB", "time_zone": "Asia/Kuala_Lumpur", "region": "my"}


async def test_the_installations_owner_makes_further_workspaces_and_owns_them(
    app: FastAPI, runtime: Runtime, workspace: WorkspaceId
) -> None:
    first = await people.first_owner(runtime)
    assert first is not None
    assert first.password is not None
    done = await sign_in.sign_in(runtime, first.email, first.password, HERE)
    async with tenants.client(app, session=done.token) as asking:
        answer = await asking.post("/api/v1/workspaces", json=NEW)
        assert answer.status_code == 201, answer.text
        made = answer.json()
        assert (made["name"], made["time_zone"], made["region"]) == ("Shop JB", "Asia/Kuala_Lumpur", "MY")
        listed = (await asking.get("/api/v1/workspaces")).json()["items"]
        assert [(w["id"], w["role"]) for w in listed] == [(workspace, "owner"), (made["id"], "owner")]
        page = (await asking.get("/api/v1/workspaces", params={"limit": 1})).json()
        rest = (await asking.get("/api/v1/workspaces", params={"limit": 1, "after": page["next"]})).json()
        assert [w["id"] for w in page["items"] + rest["items"]] == [workspace, made["id"]]
        there = await asking.get("/api/v1/members", headers={"Fleetcast-Workspace": str(made["id"])})
        assert [m["email"] for m in there.json()["items"]] == [first.email]
        again = await asking.post("/api/v1/workspaces", json=NEW | {"name": "shop jb"})
        assert (again.status_code, again.json()["errors"][0]["field"]) == (422, "name")
    assert [e["actor"] for e in await log(runtime, WorkspaceId(made["id"]))] == [f"user:{first.email}"] * 2


@pytest.mark.parametrize("role", list(Role))
async def test_nobody_else_makes_workspaces(app: FastAPI, runtime: Runtime, workspace: WorkspaceId, role: Role) -> None:
    who = await tenants.person(runtime, workspace, role)
    async with tenants.client(app, session=who.token) as asking:
        assert (await asking.post("/api/v1/workspaces", json=NEW)).status_code == 403
        [mine] = (await asking.get("/api/v1/workspaces")).json()["items"]
        assert (mine["id"], mine["role"]) == (workspace, role)
    assert len(await list_workspaces(runtime)) == 1


async def test_a_workspace_is_changed_where_it_is_wished_and_it_is_noted(
    runtime: Runtime, workspace: WorkspaceId, api: httpx2.AsyncClient
) -> None:
    before = await get_workspace(runtime, workspace)
    changed = await api.patch("workspace", json={"time_zone": "Europe/Berlin"})
    assert changed.json() == {"id": workspace, "name": before.name, "time_zone": "Europe/Berlin", "region": "MY"}
    both = await api.patch("workspace", json={"name": "Kedai", "region": "de"})
    assert both.json() == {"id": workspace, "name": "Kedai", "time_zone": "Europe/Berlin", "region": "DE"}
    assert (await api.patch("workspace", json={})).status_code == 200
    assert (await api.patch("workspace", json={"name": "KEDAI"})).json()["name"] == "KEDAI"
    assert (await find_workspace(runtime, "kedai")).id == workspace
    entries = [e for e in await log(runtime, workspace) if e["action"] == "workspace.edit"]
    assert [(e["before"], e["after"]) for e in entries] == [
        ({"time_zone": "UTC"}, {"time_zone": "Europe/Berlin"}),
        ({"name": before.name, "region": "MY"}, {"name": "Kedai", "region": "DE"}),
        ({"name": "Kedai"}, {"name": "KEDAI"}),
    ]


@pytest.mark.parametrize(
    ("content", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "taken"}, "name"),
        ({"name": "x" * 150}, "name"),
        ({"time_zone": "Mars/X"}, "time_zone"),
        ({"time_zone": "../../etc/passwd"}, "time_zone"),
        ({"region": "Mars"}, "region"),
        ({"attribute_keys": ["x"]}, "attribute_keys"),
        ({"id": 1}, "id"),
    ],
)
async def test_s45_a_wrong_change_is_refused_by_field_and_changes_nothing(
    runtime: Runtime, workspace: WorkspaceId, api: httpx2.AsyncClient, content: dict[str, object], field: str
) -> None:
    async with runtime.db.connection() as connection:
        await connection.execute("INSERT INTO workspaces (name) VALUES ('Taken')")
    before = await get_workspace(runtime, workspace)
    answer = await api.patch("workspace", json={"name": "Fine"} | content)
    assert answer.status_code == 422
    assert [e["field"] for e in answer.json()["errors"]] == [field]
    assert await get_workspace(runtime, workspace) == before


async def test_an_operator_changes_no_workspace(app: FastAPI, runtime: Runtime, workspace: WorkspaceId) -> None:
    who = await tenants.person(runtime, workspace, Role.OPERATOR)
    before = await get_workspace(runtime, workspace)
    async with tenants.client(app, session=who.token) as asking:
        assert (await asking.patch("/api/v1/workspace", json={"name": "Mine"})).status_code == 403
    assert await get_workspace(runtime, workspace) == before
