"""Workspaces with people and keys, as tests of the API and of isolation need them."""

from collections.abc import Collection
from dataclasses import dataclass
from uuid import uuid4

import httpx2
from fastapi import FastAPI

from fleetcast.domain.access import Role, Scope, UserId
from fleetcast.domain.identifiers import DeviceId, WorkspaceId
from fleetcast.runtime import Runtime
from fleetcast.services.accounts.entrance import cookie_name
from fleetcast.services.accounts.keys import create_key
from fleetcast.services.accounts.tokens import SESSION, new_token, token_hash
from fleetcast.store import members, sessions, users

BASE = "http://localhost:8080"
API = "/api/v1"


@dataclass(frozen=True, slots=True)
class Person:
    """A member with an open session. The password is none: tests of signing in make their own people."""

    user_id: UserId
    email: str
    token: str


async def person(runtime: Runtime, workspace_id: WorkspaceId | None, role: Role = Role.OWNER) -> Person:
    """Somebody new who is signed in."""
    email, token = f"{role}-{uuid4().hex[:8]}@example.org", new_token(SESSION)
    async with runtime.db.transaction() as connection:
        user = await users.insert(connection, email, role.title(), "no password")
        assert user is not None
        if workspace_id is not None:
            await members.put(connection, workspace_id, user.id, role)
        await sessions.insert(
            connection,
            user.id,
            token_hash(token),
            seconds=3_600,
            waits_for_code=False,
            browser="tests",
            address="127.0.0.1",
        )
    return Person(user.id, email, token)


async def key(
    runtime: Runtime,
    workspace_id: WorkspaceId,
    scopes: Collection[Scope] = tuple(Scope),
    device_id: DeviceId | None = None,
) -> str:
    """A new key's token."""
    made = await create_key(
        runtime, workspace_id, f"key {uuid4().hex[:8]}", scopes, device_id=device_id, actor="user:tests"
    )
    return made.token


def client(
    app: FastAPI, *, key: str | None = None, session: str | None = None, workspace: WorkspaceId | None = None
) -> httpx2.AsyncClient:
    """A client on the application without a network. With a session it behaves like a page of the dashboard."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    if workspace is not None:
        headers["Fleetcast-Workspace"] = str(workspace)
    if session:
        headers["Sec-Fetch-Site"] = "same-origin"
    return httpx2.AsyncClient(
        transport=httpx2.ASGITransport(app=app, raise_app_exceptions=False),
        base_url=BASE,
        headers=headers,
        cookies={cookie_name(secure=False): session} if session else {},
    )
