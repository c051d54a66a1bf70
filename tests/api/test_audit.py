"""The audit log over the API."""

import httpx2
import pytest
from fastapi import FastAPI

from fleetcast.domain.access import Role, Scope
from fleetcast.domain.identifiers import WorkspaceId
from fleetcast.runtime import Runtime
from fleetcast.services.devices import add_device
from fleetcast.services.workspaces import create_workspace
from tests.api import tenants


async def test_what_was_decided_is_read_newest_first_and_by_pages(api: httpx2.AsyncClient) -> None:
    device = (await api.post("devices", json={"name": "Shop"})).json()["id"]
    await api.post(f"devices/{device}/pause", json={"reason": "stocktaking"})
    newest, added, *_ = (await api.get("audit")).json()["items"]
    assert (newest["action"], newest["subject"], newest["before"]) == ("device.pause", "Shop", None)
    assert newest["after"]["reason"] == "stocktaking"
    assert added["action"] == "device.add"
    assert newest["actor"].startswith("key:")
    page = (await api.get("audit", params={"limit": 1})).json()
    assert [e["id"] for e in page["items"]] == [newest["id"]]
    rest = (await api.get("audit", params={"limit": 1, "after": page["next"]})).json()
    assert [e["id"] for e in rest["items"]] == [added["id"]]


async def test_entries_are_found_by_actor_action_and_time(
    runtime: Runtime, workspace: WorkspaceId, api: httpx2.AsyncClient
) -> None:
    await add_device(runtime, workspace, "Shop", actor="user:ann@example.org")
    entries = (await api.get("audit")).json()["items"]

    async def found(**wanted: str) -> list[str]:
        answer = await api.get("audit", params=wanted)
        assert answer.status_code == 200, answer.text
        return [e["action"] for e in answer.json()["items"]]

    assert await found(actor="user:ann@example.org") == ["device.add"]
    assert await found(action="device.") == ["device.add"]
    assert await found(action="key.create") == ["key.create"]
    assert await found(**{"from": entries[0]["at"]}) == ["device.add"]
    assert await found(to=entries[0]["at"]) == ["key.create"]


@pytest.mark.parametrize(
    ("wanted", "field"),
    [
        ({"from": "2026-01-01T00:00:00"}, "from"),
        ({"from": "0001-01-01T00:00:00Z"}, "from"),
        ({"to": "9999-12-31T23:59:59-14:00"}, "to"),
        ({"to": "yesterday"}, "to"),
        ({"action": "device' OR '1'='1"}, "action"),
        ({"action": "device%"}, "action"),
        ({"actor": "x" * 401}, "actor"),
        ({"actor": "\x00"}, "actor"),
        ({"after": "x"}, "after"),
        ({"limit": "0"}, "limit"),
        ({"limit": "100000"}, "limit"),
    ],
)
async def test_s45_a_filter_that_cannot_be_is_refused_by_name(
    api: httpx2.AsyncClient, wanted: dict[str, str], field: str
) -> None:
    answer = await api.get("audit", params=wanted)
    assert answer.status_code == 422, answer.text
    assert [e["field"] for e in answer.json()["errors"]] == [field]


async def test_f20_the_log_is_for_owners_and_of_their_workspace(
    app: FastAPI, runtime: Runtime, workspace: WorkspaceId, api: httpx2.AsyncClient
) -> None:
    other = await create_workspace(runtime, "Other")
    await api.post("devices", json={"name": "Shop"})
    stranger = await tenants.person(runtime, other.id, Role.OWNER)
    async with tenants.client(app, session=stranger.token) as asking:
        text = (await asking.get("/api/v1/audit", params={"action": ""})).text
        assert "Shop" not in text
        assert "Other" in text
    for credentials in (
        {"session": (await tenants.person(runtime, workspace, Role.OPERATOR)).token},
        {"key": await tenants.key(runtime, workspace, {Scope.READ, Scope.SEND})},
    ):
        async with tenants.client(app, **credentials) as asking:  # type: ignore[arg-type]
            assert (await asking.get("/api/v1/audit")).status_code == 403
