"""Members and invitations over the API."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI

from fleetcast.api.app import PREFIX, create_api
from fleetcast.domain.access import Role, Scope
from fleetcast.domain.identifiers import WorkspaceId
from fleetcast.runtime import Runtime
from fleetcast.services.accounts import entrance, keys, membership
from fleetcast.services.workspaces import create_workspace
from fleetcast.web.app import create_app
from tests.api import tenants
from tests.api.tenants import Person
from tests.services.accounts.stage import GOOD, actions, dump, found_in, is_open

pytestmark = pytest.mark.usefixtures("quick_hashing")


@pytest.fixture
async def ann(runtime: Runtime, workspace: WorkspaceId) -> Person:
    return await tenants.person(runtime, workspace, Role.OWNER)


@pytest.fixture
async def owner(app: FastAPI, ann: Person) -> AsyncIterator[httpx2.AsyncClient]:
    """Ann's dashboard."""
    async with tenants.client(app, session=ann.token) as opened:
        opened.base_url = httpx2.URL(tenants.BASE + PREFIX + "/")
        yield opened


async def test_members_are_listed_changed_and_removed(
    runtime: Runtime, workspace: WorkspaceId, ann: Person, owner: httpx2.AsyncClient
) -> None:
    ben = await tenants.person(runtime, workspace, Role.VIEWER)
    listed = (await owner.get("members")).json()["items"]
    assert [(m["user_id"], m["role"]) for m in listed] == [(ann.user_id, "owner"), (ben.user_id, "viewer")]
    page = (await owner.get("members", params={"limit": 1})).json()
    assert [m["user_id"] for m in page["items"]] == [ann.user_id]
    rest = (await owner.get("members", params={"limit": 1, "after": page["next"]})).json()
    assert [m["user_id"] for m in rest["items"]] == [ben.user_id]
    path = f"members/{ben.user_id}"
    assert (await owner.get(path)).json()["email"] == ben.email
    assert (await owner.patch(path, json={"role": "operator"})).json()["role"] == "operator"
    assert not await is_open(runtime, ben.token)
    assert (await owner.delete(path)).status_code == 204
    for answer in (await owner.get(path), await owner.delete(path), await owner.patch(path, json={"role": "owner"})):
        assert answer.status_code == 404


async def test_s31_the_keys_they_made_are_revoked_if_that_is_wished(
    runtime: Runtime, workspace: WorkspaceId, owner: httpx2.AsyncClient
) -> None:
    ben = await tenants.person(runtime, workspace, Role.OPERATOR)
    made = await keys.create_key(runtime, workspace, "his", [Scope.READ], actor=f"user:{ben.email}")
    await owner.patch(f"members/{ben.user_id}", json={"role": "viewer"})
    await entrance.of_key(runtime, made.token)
    assert (await owner.delete(f"members/{ben.user_id}", params={"revoke_keys": True})).status_code == 204
    assert (await owner.get(f"keys/{made.key.id}")).json()["revoked_at"] is not None


async def test_the_only_owner_stays(ann: Person, owner: httpx2.AsyncClient) -> None:
    for answer in (
        await owner.delete(f"members/{ann.user_id}"),
        await owner.patch(f"members/{ann.user_id}", json={"role": "viewer"}),
    ):
        assert answer.status_code == 409
        assert "only owner" in answer.json()["detail"]
    assert (await owner.get("me")).json()["scopes"] == ["manage", "read", "send"]


async def test_s37_an_invitation_shows_its_link_once(
    runtime: Runtime, workspace: WorkspaceId, owner: httpx2.AsyncClient
) -> None:
    answer = await owner.post("invitations", json={"email": "new@example.org", "role": "viewer"})
    assert answer.status_code == 201, answer.text
    made = answer.json()
    assert made["link"].startswith("http://localhost:8080/invitations/fci_")
    [listed] = (await owner.get("invitations")).json()["items"]
    assert listed == made["invitation"]
    path = f"invitations/{listed['id']}"
    assert answer.headers["Location"] == path
    token = made["link"].rsplit("/", 1)[1]
    for told in (await owner.get("invitations"), await owner.get(path), await owner.get("audit")):
        assert found_in(told.text, [token]) == []
    joined = await membership.accept_as_new(runtime, token, "New", GOOD)
    assert joined.role is Role.VIEWER
    assert (await owner.get(path)).status_code == 404


async def test_an_invitation_is_withdrawn(runtime: Runtime, workspace: WorkspaceId, owner: httpx2.AsyncClient) -> None:
    made = (await owner.post("invitations", json={"email": "new@example.org"})).json()
    assert made["invitation"]["role"] == "operator"
    path = f"invitations/{made['invitation']['id']}"
    assert (await owner.delete(path)).status_code == 204
    assert (await owner.delete(path)).status_code == 404
    assert (await owner.get("invitations")).json()["items"] == []
    assert "member.withdraw" in await actions(runtime, workspace)


async def linked(runtime: Runtime, ann: Person, **settings: Any) -> str:
    """The link that an installation with these settings makes when the request's headers name somebody else's host."""
    there = replace(runtime, settings=runtime.settings.model_copy(update={"host": "0.0.0.0"} | settings))
    app = create_app(there, (PREFIX, create_api(there)))
    async with app.router.lifespan_context(app), tenants.client(app, session=ann.token) as opened:
        if settings.get("url", "").startswith("https"):
            opened.cookies.clear()
            opened.cookies.set(entrance.cookie_name(secure=True), ann.token)
        forged = {
            "Host": "evil.example",
            "X-Forwarded-Host": "evil.example",
            "X-Forwarded-Proto": "gopher",
            "Forwarded": "host=evil.example",
        }
        answer = await opened.post("/api/v1/invitations", json={"email": "new@example.org"}, headers=forged)
    assert answer.status_code == 201, answer.text
    assert "evil" not in answer.text
    assert "gopher" not in answer.text
    link: str = answer.json()["link"]
    return link.split("/invitations/")[0]


async def test_s49_a_link_leads_where_the_settings_say_whatever_host_the_request_names(
    runtime: Runtime, ann: Person
) -> None:
    assert await linked(runtime, ann, url="https://fleetcast.example.org") == "https://fleetcast.example.org"


async def test_s49_without_the_setting_a_link_leads_to_where_the_request_came_in(runtime: Runtime, ann: Person) -> None:
    assert await linked(runtime, ann) == "http://localhost:8080"


@pytest.mark.parametrize(
    ("content", "field"),
    [
        ({"email": "new"}, "email"),
        ({"email": "new\u0000@example.org"}, "email"),
        ({"email": "x" * 321}, "email"),
        ({}, "email"),
        ({"email": "new@example.org", "role": "king"}, "role"),
        ({"email": "new@example.org", "workspace_id": 1}, "workspace_id"),
    ],
)
async def test_a_refusal_names_the_field(owner: httpx2.AsyncClient, content: dict[str, object], field: str) -> None:
    answer = await owner.post("invitations", json=content)
    assert answer.status_code == 422
    assert [e["field"] for e in answer.json()["errors"]] == [field]
    assert (await owner.get("invitations")).json()["items"] == []


async def test_s40_a_key_manages_members_but_decides_not_who_manages(
    runtime: Runtime, workspace: WorkspaceId, ann: Person, api: httpx2.AsyncClient
) -> None:
    ben = await tenants.person(runtime, workspace, Role.OPERATOR)
    for answer in (
        await api.post("invitations", json={"email": "new@example.org", "role": "owner"}),
        await api.patch(f"members/{ben.user_id}", json={"role": "owner"}),
        await api.patch(f"members/{ann.user_id}", json={"role": "viewer"}),
        await api.delete(f"members/{ann.user_id}"),
    ):
        assert answer.status_code == 403, answer.text
        assert "A key cannot decide" in answer.json()["detail"]
    assert (await api.post("invitations", json={"email": "new@example.org", "role": "operator"})).status_code == 201
    assert (await api.patch(f"members/{ben.user_id}", json={"role": "viewer"})).status_code == 200
    assert (await api.delete(f"members/{ben.user_id}")).status_code == 204
    listed = (await api.get("members")).json()["items"]
    assert [(m["user_id"], m["role"]) for m in listed] == [(ann.user_id, "owner")]


async def test_f21_a_refusal_refuses(app: FastAPI, runtime: Runtime, workspace: WorkspaceId, ann: Person) -> None:
    """The predecessor's check wrote a refusal and went on."""
    other = await create_workspace(runtime, "Other")
    made = await membership.invite(runtime, workspace, "new@example.org", Role.VIEWER, actor=f"user:{ann.email}")
    who = {
        "nobody": ({}, 401),
        "viewer": ({"session": (await tenants.person(runtime, workspace, Role.VIEWER)).token}, 403),
        "operator": ({"session": (await tenants.person(runtime, workspace, Role.OPERATOR)).token}, 403),
        "sender": ({"key": await tenants.key(runtime, workspace, {Scope.READ, Scope.SEND})}, 403),
        "stranger": ({"session": (await tenants.person(runtime, other.id, Role.OWNER)).token}, 404),
    }
    asked: list[tuple[str, str, Any]] = [
        ("GET", f"members/{ann.user_id}", None),
        ("PATCH", f"members/{ann.user_id}", {"role": "viewer"}),
        ("DELETE", f"members/{ann.user_id}", None),
        ("GET", f"invitations/{made.invitation.id}", None),
        ("DELETE", f"invitations/{made.invitation.id}", None),
    ]
    before = await dump(runtime, "members", "invitations", "users", "audit")
    for name, (credentials, status) in who.items():
        async with tenants.client(app, **credentials) as asking:  # type: ignore[arg-type]
            for method, path, content in asked:
                answer = await asking.request(method, f"/api/v1/{path}", json=content)
                assert answer.status_code == status, f"{name}: {method} {path}"
    assert await dump(runtime, "members", "invitations", "users", "audit") == before
