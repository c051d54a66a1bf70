"""Keys over the API."""

import httpx2
import pytest
from fastapi import FastAPI

from fleetcast.domain.access import Role, Scope
from fleetcast.domain.identifiers import WorkspaceId
from fleetcast.runtime import Runtime
from fleetcast.services.accounts import keys
from fleetcast.services.accounts.tokens import token_hash
from fleetcast.services.workspaces import create_workspace
from tests.api import tenants
from tests.services.accounts.stage import dump, found_in, log


async def test_a_key_is_made_used_listed_and_revoked(
    app: FastAPI, runtime: Runtime, workspace: WorkspaceId, api: httpx2.AsyncClient
) -> None:
    answer = await api.post("keys", json={"name": "export", "scopes": ["send", "read", "read"], "days": 30})
    assert answer.status_code == 201, answer.text
    made, token = answer.json()["key"], answer.json()["token"]
    assert (made["name"], made["scopes"], made["ending"]) == ("export", ["read", "send"], token[-4:])
    assert made["created_by"].startswith("key:")
    assert answer.headers["Location"] == f"keys/{made['id']}"
    async with tenants.client(app, key=token) as asking:
        assert (await asking.get("/api/v1/me")).json()["scopes"] == ["read", "send"]
        shown = (await api.get(f"keys/{made['id']}")).json()
        assert shown["used_at"] is not None
        assert (await api.delete(f"keys/{made['id']}")).status_code == 204
        assert (await asking.get("/api/v1/me")).status_code == 401
    assert (await api.delete(f"keys/{made['id']}")).status_code == 404
    newest, *_ = (await api.get("keys")).json()["items"]
    assert newest["revoked_at"] is not None
    page = (await api.get("keys", params={"limit": 1})).json()
    rest = (await api.get("keys", params={"limit": 1, "after": page["next"]})).json()
    assert [k["id"] for k in page["items"]] > [k["id"] for k in rest["items"]]


async def test_s37_no_role_ever_sees_a_key_again_or_what_is_stored_of_it(
    app: FastAPI, runtime: Runtime, workspace: WorkspaceId, api: httpx2.AsyncClient
) -> None:
    made = (await api.post("keys", json={"name": "export", "scopes": ["read"]})).json()
    secrets = [made["token"], token_hash(made["token"]).hex(), "argon2", "sha256", "password_hash"]
    for role in Role:
        who = await tenants.person(runtime, workspace, role)
        async with tenants.client(app, session=who.token) as asking:
            for path in (
                "me",
                "me/sessions",
                "members",
                f"members/{who.user_id}",
                "invitations",
                "keys",
                f"keys/{made['key']['id']}",
                "audit",
                "workspaces",
                "devices",
            ):
                answer = await asking.get(f"/api/v1/{path}")
                assert answer.status_code in ({200} if role is Role.OWNER else {200, 403}), path
                assert found_in(answer.text, [*secrets, who.token, token_hash(who.token).hex()]) == [], path


async def test_f08_s39_the_same_request_twice_makes_one_key_and_leaves_none_behind(
    runtime: Runtime, workspace: WorkspaceId, api: httpx2.AsyncClient
) -> None:
    content, headers = {"name": "export", "scopes": ["read"]}, {"Idempotency-Key": "once"}
    first = await api.post("keys", json=content, headers=headers)
    again = await api.post("keys", json=content, headers=headers)
    assert (again.status_code, again.json()) == (201, first.json())
    assert [k["name"] for k in (await api.get("keys")).json()["items"]].count("export") == 1
    assert found_in(await dump(runtime), [first.json()["token"]]) == []


@pytest.mark.parametrize(
    ("content", "field"),
    [
        ({}, "name"),
        ({"name": " "}, "name"),
        ({"name": "k", "scopes": []}, "scopes"),
        ({"name": "k", "scopes": ["all"]}, "scopes[0]"),
        ({"name": "k", "scopes": ["read"] * 4}, "scopes"),
        ({"name": "k", "days": 0}, "days"),
        ({"name": "k", "days": 100_000}, "days"),
        ({"name": "k", "device_id": 2**63}, "device_id"),
        ({"name": "k", "device_id": 12345}, "device_id"),
        ({"name": "k", "token": "fck_mine"}, "token"),
    ],
)
async def test_a_refusal_names_the_field(
    runtime: Runtime, api: httpx2.AsyncClient, content: dict[str, object], field: str
) -> None:
    answer = await api.post("keys", json={"scopes": ["read"]} | content)
    assert answer.status_code == 422
    assert [e["field"] for e in answer.json()["errors"]] == [field]
    assert len((await api.get("keys")).json()["items"]) == 1, "the one that asks"


async def test_s40_a_key_makes_no_key_that_may_more_than_itself_or_manages(
    app: FastAPI, runtime: Runtime, workspace: WorkspaceId, api: httpx2.AsyncClient
) -> None:
    assert (await api.post("keys", json={"name": "k", "scopes": ["read", "manage"]})).status_code == 403
    async with tenants.client(app, key=await tenants.key(runtime, workspace, {Scope.MANAGE})) as asking:
        assert (await asking.post("/api/v1/keys", json={"name": "k", "scopes": ["read"]})).status_code == 403
    owner = await tenants.person(runtime, workspace, Role.OWNER)
    async with tenants.client(app, session=owner.token) as asking:
        made = await asking.post("/api/v1/keys", json={"name": "k", "scopes": ["read", "manage"]})
        assert made.status_code == 201
    [entry] = [e for e in await log(runtime, workspace) if e["action"] == "key.create" and e["subject"] == "k"]
    assert entry["actor"] == f"user:{owner.email}"


async def test_f20_keys_and_devices_of_another_workspace_are_not_there(
    runtime: Runtime, workspace: WorkspaceId, api: httpx2.AsyncClient
) -> None:
    other = await create_workspace(runtime, "Other")
    theirs = await keys.create_key(runtime, other.id, "theirs", [Scope.READ], actor="user:them")
    for answer in (await api.get(f"keys/{theirs.key.id}"), await api.delete(f"keys/{theirs.key.id}")):
        assert answer.status_code == 404
    missing = await api.get(f"keys/{theirs.key.id + 1_000}")
    theirs_told = (await api.get(f"keys/{theirs.key.id}")).json()
    assert theirs_told == missing.json() | {"detail": theirs_told["detail"]}
    assert "theirs" not in (await api.get("keys")).text
    assert (await keys.get_key(runtime, other.id, theirs.key.id)).revoked_at is None
