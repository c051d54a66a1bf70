"""People in front of the dashboard, and what they could have changed."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import httpx2
from fastapi import FastAPI
from fastapi.routing import APIRoute, RouteContext, iter_route_contexts
from starlette.routing import Mount

from fleetcast.domain.access import Role, UserId
from fleetcast.domain.identifiers import WorkspaceId
from fleetcast.runtime import Runtime
from fleetcast.services.accounts.entrance import cookie_name
from fleetcast.services.accounts.membership import add_member
from fleetcast.store import members, users
from fleetcast.store.connection import Database
from tests.api import tenants
from tests.api.tenants import Person

SESSION = cookie_name(secure=False)
SECURE_SESSION = cookie_name(secure=True)
OURS = {"Sec-Fetch-Site": "same-origin", "Accept": "text/html"}
"""What a browser says of itself when somebody uses a page of ours."""


async def join(runtime: Runtime, person: Person, *workspaces: WorkspaceId, role: Role = Role.OWNER) -> None:
    """Make somebody a member."""
    async with runtime.db.transaction() as connection:
        for workspace in workspaces:
            await members.put(connection, workspace, person.user_id, role)


async def signed_in(runtime: Runtime, *workspaces: WorkspaceId, role: Role = Role.OWNER) -> Person:
    """Somebody new who is signed in and a member of these."""
    made = await tenants.person(runtime, None)
    await join(runtime, made, *workspaces, role=role)
    return made


@dataclass(frozen=True, slots=True)
class Account:
    """Somebody who can sign in."""

    user_id: UserId
    email: str
    password: str


async def account(
    runtime: Runtime, workspace: WorkspaceId, email: str = "ann@example.org", name: str = "Ann", role: Role = Role.OWNER
) -> Account:
    """Somebody new with a password."""
    password = await add_member(runtime, workspace, email, name, role, actor="tests")
    assert password is not None
    async with runtime.db.connection() as connection:
        user = await users.by_email(connection, email)
    assert user is not None
    return Account(user.id, user.email, password)


def browser(
    app: FastAPI,
    person: Person | None = None,
    *,
    base: str = tenants.BASE,
    headers: Mapping[str, str] = OURS,
    peer: str = "127.0.0.1",
) -> httpx2.AsyncClient:
    """A browser without a network; it keeps cookies and follows nothing by itself."""
    return httpx2.AsyncClient(
        transport=httpx2.ASGITransport(app=app, raise_app_exceptions=False, client=(peer, 40_000)),
        base_url=base,
        headers=dict(headers),
        cookies={SESSION: person.token} if person else {},
    )


def routes(app: FastAPI) -> Iterator[RouteContext]:
    """Every route of the pages, those that are in no description too."""
    for route in iter_route_contexts(app.routes):
        if isinstance(route.original_route, APIRoute):
            yield route
        else:
            assert isinstance(route.original_route, Mount), f"a route of a kind that no rule knows: {route}"


def api_of(app: FastAPI) -> FastAPI:
    """The API inside."""
    [found] = [route.app for route in app.routes if isinstance(route, Mount) and isinstance(route.app, FastAPI)]
    return found


async def everything(db: Database) -> dict[str, str]:
    """Every table and a sum over its rows: what must not change by looking."""
    async with db.connection() as connection:
        tables = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")
        found = {}
        for (table,) in tables:
            rows = await connection.fetch(f'SELECT t::text FROM "{table}" t ORDER BY 1')
            found[table] = hashlib.sha256("\n".join(row[0] for row in rows).encode()).hexdigest()
    return found


async def prolong_waits(db: Database) -> None:
    """Who has to wait after wrong tries waits an hour longer, so that it is not over before it is looked at."""
    async with db.connection() as connection:
        moved = await connection.execute(
            "UPDATE sign_in_failures SET blocked_until = blocked_until + interval '1 hour' "
            "WHERE blocked_until IS NOT NULL"
        )
    assert moved == "UPDATE 1"
